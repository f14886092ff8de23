"""The promise that every failure must keep: good backups untouched, no half one left, and nothing deleted."""

from collections.abc import Iterator
from contextlib import contextmanager

from mem0_assets.backups.catalog import Catalog
from mem0_assets.backups.retention import prune
from mem0_assets.backups.validation import verify_files
from mem0_assets.fleet import Deployment


@contextmanager
def nothing_lost(deployment: Deployment, code: str) -> Iterator[None]:
    """What was verified before still is, byte by byte; the newest attempt was refused for `code`; retention is held."""
    catalog = Catalog(deployment)
    before = {backup.backup: backup.path for backup in catalog.verified()}
    assert before, "there must be a good backup to lose"
    yield
    for name, path in before.items():
        assert catalog.find(name).state == "verified"
        assert verify_files(path).verdict.ok
    left = [path.name for path in catalog.candidates_folder.iterdir() if not path.name.startswith(".")]
    assert left == []
    refusal = catalog.last_refusal()
    assert refusal is not None
    assert code in refusal[1].codes
    with catalog.locked():
        plan = prune(catalog)
    assert plan.expired == []
    assert plan.held is not None
    assert f"[{code}]" in plan.held
