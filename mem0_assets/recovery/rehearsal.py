"""The monthly drill of a whole recovery: on a scratch server, by the very code that would do it, and without gates.

A drill proves that a backup comes back. This proves that a recovery works: an empty deployment like the one of January
2026 is made, the newest verified backup is planned, loaded beside, verified and swapped in; then it is undone, and all of
it is thrown away. The deployment itself is not touched: only its backup is read.
"""

import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from psycopg import sql

from mem0_assets.backups.catalog import Catalog
from mem0_assets.backups.files import link_tree, make_folder, plain_disk_errors
from mem0_assets.backups.inventory import Backup
from mem0_assets.backups.legacy import Tell, examine_legacy
from mem0_assets.errors import Mem0AssetsError, NoSpaceError, RefusedError, UnreachableError
from mem0_assets.fleet import Deployment, Postgres, Stores
from mem0_assets.live.census import take_census
from mem0_assets.live.embedded import PORT, SUPERUSER, EmbeddedServer
from mem0_assets.live.emptiness import look_for_memories
from mem0_assets.recovery.comparison import came_back
from mem0_assets.recovery.readiness import verified_backup
from mem0_assets.restores.plan import plan_restore, room_needed
from mem0_assets.restores.restore import restore
from mem0_assets.restores.scratch import connect_scratch, scratch_major, scratch_server
from mem0_assets.restores.undo import undo
from mem0_assets.verdicts import OK, Verdict, refused

BY = "recovery drill"


@dataclass(frozen=True)
class Rehearsal:
    """What became of it. `seconds`: `plan`, `restore` until the memories were in their place, `undo`, and `total`."""

    backup: str
    verdict: Verdict
    seconds: dict[str, float]

    def as_json(self) -> dict[str, Any]:
        return {**self.verdict.as_json(), "backup": self.backup, "seconds": self.seconds}


def rehearse(deployment: Deployment, backup: str = "latest", *, tell: Tell = lambda what: None) -> Rehearsal:
    """Rehearse a recovery from a backup ("latest" is the newest verified one). The result is in the journal.

    Raises NotFoundError, NoSpaceError, NoScratchServerError, UnreachableError: then nothing was learnt.
    """
    catalog = Catalog(deployment)
    with plain_disk_errors(catalog.root):
        examine_legacy(catalog, tell)
        chosen = verified_backup(catalog, backup)
        make_folder(catalog.candidates_folder)
        _require_room(catalog, chosen)
        result = _rehearse(deployment, catalog, chosen, tell)
        catalog.journal.record("recovery_drill", **result.as_json())
    return result


def _rehearse(deployment: Deployment, catalog: Catalog, backup: Backup, tell: Tell) -> Rehearsal:
    started = time.monotonic()
    seconds: dict[str, float] = {}
    version = backup.manifest.census.identity.server_version if backup.manifest else None
    with scratch_server(catalog.candidates_folder, scratch_major(version)) as server:
        twin = _twin(deployment, backup, server)
        try:
            for name, step in _steps(twin, backup, tell):
                tell(name)
                began = time.monotonic()
                step()
                seconds[name] = round(time.monotonic() - began, 3)
            verdict = OK
        except (NoSpaceError, UnreachableError):
            raise
        except Mem0AssetsError as error:
            verdict = refused("restore_failed", error.message)
    return Rehearsal(backup.backup, verdict, {**seconds, "total": round(time.monotonic() - started, 3)})


def _steps(twin: Deployment, backup: Backup, tell: Tell) -> Iterator[tuple[str, Callable[[], None]]]:
    """The parts of a recovery, in order, by the names under which their times are kept."""

    def plan() -> None:
        against = plan_restore(twin, backup.backup).against
        if not against.ok:
            raise RefusedError(against.sentence())

    def put_back() -> None:
        report = restore(twin, backup.backup, by=BY, confirm=twin.name, tell=tell)
        if not report.ok:
            raise RefusedError(report.why or report.verdict.sentence())

    def compare() -> None:
        came_back(twin, backup.backup)
        found = take_census(twin.postgres).namespaces
        if found != backup.namespaces:
            raise RefusedError(f"the restored deployment holds {found}, not {backup.namespaces}")

    def take_back() -> None:
        undo(twin, by=BY, confirm=twin.name, tell=tell)
        if (seen := look_for_memories(twin.postgres)).holds:
            raise RefusedError(f"after the way back there are still memories in {seen.holds}")

    yield "plan", plan
    yield "restore", put_back
    yield "compare", compare
    yield "undo", take_back


def _twin(deployment: Deployment, backup: Backup, server: EmbeddedServer) -> Deployment:
    """An empty deployment of the same names on the scratch server, which has only this backup and writes only there."""
    home = server.folder.parent
    backups = home / "backups" / deployment.name
    tier = backup.tiers[0]
    make_folder(backups / tier)
    link_tree(backup.path, backups / tier / backup.backup)
    manifest = backup.manifest
    names = [deployment.postgres.database]
    application = manifest.application.database if manifest and manifest.application else None
    names += [application] if application else []
    _make_databases(server, names)
    postgres = Postgres(
        host=str(server.socket_folder),
        port=PORT,
        user=SUPERUSER,
        database=names[0],
        collection=deployment.postgres.collection,
    )
    history = home / "history.db" if manifest and manifest.history else None
    stores = Stores(application=application, history=history)
    return Deployment(
        name=deployment.name,
        backups=backups,
        postgres=postgres,
        stores=stores,
        dump=deployment.dump,
        limits=deployment.limits,
        schedule=deployment.schedule,
    )


def _make_databases(server: EmbeddedServer, names: list[str]) -> None:
    with connect_scratch(server, "template1") as connection:
        rows = connection.execute("SELECT datname FROM pg_database").fetchall()
        for name in {*names} - {row["datname"] for row in rows}:
            connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name)))


def _require_room(catalog: Catalog, backup: Backup) -> None:
    needed, free = room_needed(backup), shutil.disk_usage(catalog.root).free
    if free < needed:
        what = f"rehearsing a recovery from {backup.backup} needs about {needed:,} bytes in {catalog.root}"
        raise NoSpaceError(f"{what}, and {free:,} are free", next_step="Free space there; nothing was learnt")
