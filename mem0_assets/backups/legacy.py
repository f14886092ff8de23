"""Folders made before this project: a dated folder with only a dump in it, as the old scripts left them.

They are read once, whole, and what was found is journalled with the file's size and time: then they are listed, held
against, drilled and kept like our own. In the incident 17 of them held nothing; those are shown as refused.
"""

from collections.abc import Callable

from mem0_assets.backups.catalog import Catalog
from mem0_assets.backups.inventory import legacy_dump, stamp
from mem0_assets.backups.validation import examine_dump

Tell = Callable[[str], None]


def examine_legacy(catalog: Catalog, tell: Tell = lambda what: None) -> None:
    """Read every folder without a manifest that was not read yet, or whose dump has changed since."""
    for backup in catalog.backups():
        dump = legacy_dump(backup.path)
        if backup.state != "candidate" or dump is None:
            continue
        tell(f"reading {backup.backup}, made before this project")
        examined = examine_dump(dump)
        catalog.journal.record(
            "examined",
            backup=backup.backup,
            stamp=stamp(dump),
            verdict=examined.verdict.word,
            reasons=[reason.as_json() for reason in examined.verdict.reasons],
            total=examined.contents.total,
            namespaces=examined.contents.namespaces,
            dimensions=examined.contents.dimensions,
        )
