"""What belongs to a deployment beside its memories: the application's database, the server's roles.

A dump of the memories alone is half a backup: today's mem0 server keeps users, API keys and settings in a second
database, and without its roles a restored database belongs to nobody.
"""

from functools import partial
from pathlib import Path

from psycopg import sql

from mem0_assets.backups.formats.source import Written
from mem0_assets.backups.instant import Recorder
from mem0_assets.backups.manifest import Application
from mem0_assets.errors import TableMissingError
from mem0_assets.fleet import Deployment
from mem0_assets.live.postgres import SCHEMA, Connection
from mem0_assets.live.tables import count_tables

NOTHING = Written((), ())
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
        application, _, written = recorder.record(
            postgres, candidate / "application", f"application_{candidate.name}", look, required=REVISION
        )
    except TableMissingError:
        message = f"the database {postgres.database} answers, and it is none of mem0's: it has no table {REVISION[1]}"
        step = "Check stores.application in fleet.yaml, and what happened to the users and keys of this deployment"
        raise TableMissingError(message, next_step=step) from None
    return application, written


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
