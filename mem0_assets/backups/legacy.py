"""Folders made before this project: a dated folder with only a dump in it, as the old scripts left them.

They are read once, whole, and what was found is journalled with the file's size and time: then they are listed, held
against, drilled and kept like our own. In the incident 17 of them held nothing; those are shown as refused.
"""

from collections.abc import Callable
from pathlib import Path

from mem0_assets.backups.catalog import Catalog
from mem0_assets.backups.files import plain_disk_errors
from mem0_assets.backups.inventory import legacy_dump, stamp
from mem0_assets.backups.validation import examine_dump
from mem0_assets.errors import NotFoundError, UnreachableError

Tell = Callable[[str], None]


def examine_legacy(catalog: Catalog, tell: Tell = lambda what: None) -> None:
    """Read every folder without a manifest that was not read yet, or whose dump has changed since.

    One that the disk does not give stays unknown, and does not stand in the way of a new backup.
    """
    for backup in catalog.backups():
        dump = legacy_dump(backup.path)
        if backup.state != "candidate" or dump is None:
            continue
        tell(f"reading {backup.backup}, made before this project")
        try:
            _examine(catalog, backup.backup, dump)
        except (UnreachableError, NotFoundError) as error:
            tell(f"{backup.backup} stays unknown: {error}")


def _examine(catalog: Catalog, name: str, dump: Path) -> None:
    with plain_disk_errors(catalog.root):
        before = stamp(dump)
        examined = examine_dump(dump)
        catalog.journal.record(
            "examined",
            backup=name,
            stamp=before,
            verdict=examined.verdict.word,
            reasons=[reason.as_json() for reason in examined.verdict.reasons],
            total=examined.contents.total,
            namespaces=examined.contents.namespaces,
            dimensions=examined.contents.dimensions,
        )
