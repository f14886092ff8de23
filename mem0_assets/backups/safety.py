"""A backup of what a restore finds in its way, whatever it is: empty, damaged in parts, without its history.

A person who restores wants to be rid of what is there now, and may be wrong about that. So it is kept, as far as it is
there, in a place of its own: it is never the newest verified backup, and retention never touches it.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from mem0_assets.backups.capture import capture
from mem0_assets.backups.catalog import Catalog
from mem0_assets.backups.formats.source import Progress
from mem0_assets.backups.inventory import Backup
from mem0_assets.backups.stores import REVISION
from mem0_assets.backups.validation import verify_files
from mem0_assets.errors import NotACollectionError, RefusedError, TableMissingError
from mem0_assets.fleet import Deployment
from mem0_assets.live.census import CENSUS_SECONDS, take_census
from mem0_assets.live.history import HistoryDamagedError, HistoryMissingError, newest_row
from mem0_assets.live.postgres import connect, snapshot


@dataclass(frozen=True)
class SafetyBackup:
    """What was kept; None where there was nothing that a backup could hold. `notes` say what is not in it, and why."""

    backup: Backup | None
    notes: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        return {"backup": self.backup.backup if self.backup else None, "notes": list(self.notes)}


def keep_what_is_there(
    deployment: Deployment,
    catalog: Catalog,
    databases: Collection[str],
    *,
    progress: Progress = lambda plain_bytes: None,
) -> SafetyBackup:
    """Make a safety backup of the stores that are there; `databases` are those of the server. The lock must be held.

    Raises what `capture` raises, and RefusedError where what was written cannot be read back.
    """
    if deployment.postgres.database not in databases:
        return SafetyBackup(None, (f"there is no database {deployment.postgres.database}: nothing to keep",))
    try:
        take_census(deployment.postgres)
    except (TableMissingError, NotACollectionError) as error:
        why = f"{error.message}: no backup can hold that, and the database itself is kept under another name"
        return SafetyBackup(None, (why,))
    present, notes = _as_it_stands(deployment, databases)
    candidate = capture(present, catalog, ("daily",), progress=progress)
    verdict = verify_files(candidate).verdict
    if not verdict.ok:
        catalog.quarantine(candidate, verdict)
        raise RefusedError(f"the safety backup cannot be read back: {verdict.sentence()}")
    return SafetyBackup(catalog.keep_safe(candidate), tuple(notes))


def _as_it_stands(deployment: Deployment, databases: Collection[str]) -> tuple[Deployment, list[str]]:
    """The deployment without the stores that are gone: a nightly backup is refused for them, and this one must not be."""
    gone: dict[str, Any] = {}
    notes = []
    application, history = deployment.application, deployment.stores.history
    if application and (application.database not in databases or not _has_application(deployment)):
        gone["application"] = None
        notes.append(f"the database {application.database} is not there, or is none of mem0's: it is not kept")
    if history:
        try:
            newest_row(history)
        except (HistoryMissingError, HistoryDamagedError) as error:
            gone["history"] = None
            notes.append(f"{error.message}: the history is not kept")
    return deployment.model_copy(update={"stores": deployment.stores.model_copy(update=gone)}), notes


def _has_application(deployment: Deployment) -> bool:
    assert deployment.application is not None
    try:
        with connect(deployment.application, seconds=CENSUS_SECONDS) as connection, snapshot(connection, [REVISION]):
            return True
    except TableMissingError:
        return False
