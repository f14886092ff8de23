"""What belongs to a deployment beside its memories: the application's database, roles, history.db, its own files.

A dump of the memories alone is half a backup: today's mem0 server keeps users, API keys and settings in a second
database, every memory's history in a SQLite file, and without its roles a restored database belongs to nobody. Each
function here keeps one of these stores, or nothing where fleet.yaml does not name it.
"""

from functools import partial
from pathlib import Path

from psycopg import sql

from mem0_assets.backups.deployment_files import CopiedFile, DeploymentFileError, copy_files
from mem0_assets.backups.files import sha256_of
from mem0_assets.backups.formats.source import Written
from mem0_assets.backups.instant import Recorder
from mem0_assets.backups.manifest import Application, BackupFile, History
from mem0_assets.backups.roles import Roles, write_roles
from mem0_assets.errors import RefusedError, TableMissingError
from mem0_assets.fleet import Deployment
from mem0_assets.live.history import copy_history, newest_row
from mem0_assets.live.postgres import SCHEMA, Connection, connection_settings
from mem0_assets.live.programs import Program, find_program
from mem0_assets.live.tables import count_tables

NOTHING = Written((), ())
HISTORY = "history.db"
REVISION = (SCHEMA, "alembic_version")


def dump_application(deployment: Deployment, candidate: Path, recorder: Recorder) -> tuple[Application | None, Written]:
    """The application's database in a snapshot of its own; nothing where fleet.yaml does not name it.

    Raises what `Recorder.record` raises; TableMissingError also where the database is there and holds no table: then mem0
    never finished to make it, or somebody dropped what was in it.
    """
    postgres = deployment.application
    if postgres is None:
        return None, NOTHING
    look = partial(application_state, postgres.database)
    try:
        recorded = recorder.record(
            postgres,
            candidate / "application",
            f"application_{candidate.name}",
            look,
            required=REVISION,
            meanwhile=lambda exported, seen: None,
        )
    except TableMissingError:
        message = f"the database {postgres.database} answers, and it is none of mem0's: it has no table {REVISION[1]}"
        step = "Check stores.application in fleet.yaml, and what happened to the users and keys of this deployment"
        raise TableMissingError(message, next_step=step) from None
    return recorded.seen, recorded.written


def application_state(database: str, connection: Connection) -> Application:
    """What an application's database holds now, in the caller's snapshot: it is claimed so, and compared so in a drill."""
    revision = connection.execute(sql.SQL("SELECT version_num FROM {}").format(sql.Identifier(*REVISION))).fetchone()
    owner = connection.execute(
        "SELECT pg_get_userbyid(datdba) AS owner FROM pg_database WHERE datname = current_database()"
    ).fetchone()
    assert owner is not None
    return Application(
        database=database,
        owner=owner["owner"],
        tables=count_tables(connection),
        revision=revision["version_num"] if revision else None,
    )


def keep_roles(deployment: Deployment, candidate: Path, dump: Program, recorder: Recorder) -> Roles | None:
    """The server's roles, by the pg_dumpall that belongs to the pg_dump of the memories.

    Raises DumpFailedError, UnreachableError, ClientMissingError, OSError.
    """
    if not deployment.stores.roles:
        return None
    folder = candidate / "roles"
    folder.mkdir()
    settings, program = connection_settings(deployment.postgres), find_program("pg_dumpall", dump.major)
    return write_roles(program, settings, folder, stall_seconds=recorder.stall_seconds)


def keep_files(deployment: Deployment, candidate: Path) -> tuple[list[CopiedFile], Written]:
    """The deployment's own files, without their secrets. Raises OSError.

    Files that cannot be kept so are left out, with a warning: a slip of the pen in a compose file must not cost the
    memories their backup.
    """
    if not deployment.stores.files:
        return [], NOTHING
    folder = candidate / "files"
    folder.mkdir()
    health = deployment.health
    known = [deployment.postgres.password(), health.admin_key(), health.neo4j_password()]
    try:
        copies = copy_files(deployment.stores.files, folder, secrets=[secret for secret in known if secret])
    except (DeploymentFileError, RefusedError) as error:
        return [], Written((), (f"the deployment's own files are not in this backup [{error.code}]: {error.message}",))
    return copies, Written(tuple(copy.file for copy in copies), ())


def keep_history(deployment: Deployment, candidate: Path, settled: int) -> tuple[History | None, Written]:
    """A copy of the live history, taken last. `settled` is what `settled_history` said before the memories' snapshot.

    Raises HistoryMissingError, HistoryDamagedError, UnreachableError, NoSpaceError, OSError.
    """
    path = deployment.stores.history
    if path is None:
        return None, NOTHING
    target = candidate / "history" / HISTORY
    target.parent.mkdir()
    copy = copy_history(path, target)
    size = target.stat().st_size
    return History(settled, copy), Written((BackupFile(f"history/{HISTORY}", size, sha256_of(target), size),), ())


def settled_history(deployment: Deployment) -> int:
    """The newest row of the live history, before anything else is read; 0 without one. Raises what `newest_row` raises."""
    return newest_row(deployment.stores.history) if deployment.stores.history else 0
