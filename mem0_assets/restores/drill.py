"""A drill: a backup restored for real into a scratch server, compared with its manifest, measured and thrown away.

What none of the peers has whole: a restore of the same major version, exact equality per namespace, indexes that are
valid, and a search that finds what was stored. A backup that has not been restored is a hope.
"""

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import psycopg

from mem0_assets.backups.catalog import Catalog
from mem0_assets.backups.files import make_folder, plain_disk_errors
from mem0_assets.backups.formats.damage import DumpDamage
from mem0_assets.backups.formats.sql_loader import LoadFailedError, LoadTimes
from mem0_assets.backups.inventory import Backup
from mem0_assets.backups.legacy import examine_legacy
from mem0_assets.backups.manifest import Manifest
from mem0_assets.backups.validation import verify_files
from mem0_assets.errors import Mem0AssetsError, NoSpaceError, NotFoundError, TableMissingError
from mem0_assets.fleet import Deployment
from mem0_assets.live.embedded import EmbeddedServer
from mem0_assets.live.postgres import answers_within
from mem0_assets.live.semantics import Semantics
from mem0_assets.restores.checks import Expected, check_application
from mem0_assets.restores.history_checks import HistoryReport
from mem0_assets.restores.loader import Loader, dump_of
from mem0_assets.restores.scratch import APPLICATION, DATABASE, connect_scratch, scratch_major, scratch_server
from mem0_assets.restores.verification import Restored, expected_of, judge_replay, replay_history, verify_memories
from mem0_assets.verdicts import OK, Verdict, refused

Tell = Callable[[str], None]
# Three exact searches and a few counts: an hour is for a hundred million memories.
CHECK_SECONDS = 3600.0
_FREE_SPACE = "Free space there; nothing was learnt of the backup"


@dataclass(frozen=True)
class DrillResult:
    """What a drill proved. `seconds`: `restore` until the data were readable, `index`, `checks`, and `total`.

    `history` is the replay of history.db against what came back, where the backup has one; `cautions` are sentences on
    what is odd in the rows and in the history, and does not fail the drill.
    """

    backup: str
    verdict: Verdict
    total: int
    namespaces: dict[str, int]
    seconds: dict[str, float]
    server_version: str
    history: HistoryReport | None = None
    cautions: tuple[str, ...] = ()

    @property
    def sentence(self) -> str:
        """What it comes to. Where only the history knows of more, the backup itself came back: that is not the same."""
        restored = f"{self.backup} restored: {self.total:,} memories in PostgreSQL {self.server_version}"
        if self.verdict.ok:
            return restored
        if {reason.code for reason in self.verdict.reasons} == {"history_lost_memories"}:
            return f"{restored}; but mem0's history knows of more"
        return f"{self.backup} would not come back"

    def as_json(self) -> dict[str, Any]:
        return {
            **self.verdict.as_json(),
            "backup": self.backup,
            "total": self.total,
            "namespaces": self.namespaces,
            "seconds": self.seconds,
            "server_version": self.server_version,
            "history": self.history.as_json() if self.history else None,
            "cautions": list(self.cautions),
        }


def drill(deployment: Deployment, backup: str = "latest", *, tell: Tell = lambda what: None) -> DrillResult:
    """Restore a backup ("latest" is the newest verified one) into a scratch server and compare it, exactly.

    The result is in the journal, whatever it is. Raises NotFoundError, NoSpaceError, NoScratchServerError,
    UnreachableError: then nothing was learnt, and nothing is in the journal.
    """
    catalog = Catalog(deployment)
    with plain_disk_errors(catalog.root):
        examine_legacy(catalog, tell)
        chosen = catalog.find(backup)
        if chosen.state != "verified":
            raise NotFoundError(f"{chosen.backup} is {chosen.state}, and only verified backups are drilled")
        make_folder(catalog.candidates_folder)
        _require_space(catalog, chosen)
        result = _drill(deployment, catalog, chosen, tell)
        lost = list(result.history.lost.ids) if result.history else []
        catalog.journal.record("drill", **result.as_json(), sequence=chosen.sequence, lost=lost)
    return result


def _drill(deployment: Deployment, catalog: Catalog, backup: Backup, tell: Tell) -> DrillResult:
    started = time.monotonic()
    tell("checking the files")
    files = verify_files(backup.path)
    version = backup.manifest.census.identity.server_version if backup.manifest else files.contents.server_version
    if not backup.path.is_dir():
        raise NotFoundError(f"{backup.backup} was expired while it was being drilled", next_step="Drill the latest one")
    if not files.verdict.ok:  # what is known to be damaged need not be restored to say so
        return DrillResult(backup.backup, files.verdict, 0, {}, _seconds(started), version or "")
    expected = expected_of(deployment, backup, files.contents.collection)
    with scratch_server(catalog.candidates_folder, scratch_major(version)) as server:
        tell(f"restoring into a scratch server (PostgreSQL {server.made_by})")
        loader = Loader(server, deployment.dump.jobs)
        try:
            loader.load_roles(backup)
            times = loader.load(DATABASE, *dump_of(backup, "postgres"))
            if backup.manifest and backup.manifest.application:
                loader.load(APPLICATION, *dump_of(backup, "application"))
            tell("comparing with the manifest")
            loaded = time.monotonic()
            restored = _compare(server, expected, backup.manifest.semantics if backup.manifest else None)
            verdict = restored.verdict + _compare_application(server, backup.manifest)
            report = _replay_history(server, catalog, backup)
        except (LoadFailedError, DumpDamage, TableMissingError, psycopg.Error) as error:
            _require_disk(server)
            return DrillResult(backup.backup, _failed(error), 0, {}, _seconds(started), str(server.made_by))
        seconds = _seconds(started, times, time.monotonic() - loaded)
        census = restored.census
        version = census.identity.server_version or str(server.made_by)
    judged, untold = judge_replay(catalog, backup, report)
    cautions = (*restored.odd, *untold)
    return DrillResult(
        backup.backup, verdict + judged, census.total, census.namespaces, seconds, version, report, cautions
    )


def _failed(error: Exception) -> Verdict:
    if isinstance(error, DumpDamage):  # whole when it was checked, and no more
        return Verdict((error.reason,))
    text = error.message if isinstance(error, Mem0AssetsError) else " ".join(str(error).split())
    return refused("restore_failed", text)


def _require_disk(server: EmbeddedServer) -> None:
    """A disk that ran full says nothing against the backup. The server's own log tells, also when it died of it."""
    log = server.folder / "server.log"
    if log.exists() and "No space left on device" in log.read_text(errors="replace"):
        raise NoSpaceError("the disk ran full while the backup was being restored", next_step=_FREE_SPACE)


def _compare(server: EmbeddedServer, expected: Expected, claimed: Semantics | None) -> Restored:
    with connect_scratch(server) as connection, answers_within(connection, CHECK_SECONDS):
        return verify_memories(connection, expected, claimed)


def _compare_application(server: EmbeddedServer, manifest: Manifest | None) -> Verdict:
    if manifest is None or manifest.application is None:
        return OK
    with connect_scratch(server, APPLICATION) as connection, answers_within(connection, CHECK_SECONDS):
        return check_application(connection, manifest.application)


def _replay_history(server: EmbeddedServer, catalog: Catalog, backup: Backup) -> HistoryReport | None:
    with connect_scratch(server) as connection, answers_within(connection, CHECK_SECONDS):
        return replay_history(connection, catalog, backup)


def _require_space(catalog: Catalog, backup: Backup) -> None:
    """A restored table and its indexes take about as much as the SQL text that they come from."""
    plain = backup.manifest.plain_bytes if backup.manifest else 3 * backup.bytes
    free = shutil.disk_usage(catalog.root).free
    if free < plain + (256 << 20):
        needs = f"a drill of {backup.backup} needs about {plain:,} bytes in {catalog.root}, and {free:,} are free"
        raise NoSpaceError(needs, next_step=_FREE_SPACE)


def _seconds(started: float, times: LoadTimes | None = None, checks: float = 0.0) -> dict[str, float]:
    parts = {
        "restore": times.readable if times else 0.0,
        "index": times.indexes if times else 0.0,
        "checks": checks,
        "total": time.monotonic() - started,
    }
    return {name: round(value, 3) for name, value in parts.items()}
