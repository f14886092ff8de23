"""The PostgreSQL server that a restore works on: which databases it has, who holds them, and what our role may do there.

mem0's own server keeps its memories in the database `postgres`, so no database can be taken for the one to work from: it
is one that is not to be replaced.
"""

import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from psycopg import sql

from mem0_assets.fleet import Deployment, Postgres
from mem0_assets.live.postgres import Connection, connect
from mem0_assets.verdicts import Reason

WORK_SECONDS = 60.0

_SESSIONS = """
    SELECT pid, datname AS database, coalesce(usename, '') AS role, coalesce(application_name, '') AS application,
           coalesce(host(client_addr), 'a socket') AS client
      FROM pg_stat_activity
     WHERE datname = ANY (%s) AND pid <> pg_backend_pid() AND coalesce(backend_type, 'client backend') = 'client backend'
     ORDER BY pid
"""
_ROLE = """
    SELECT current_user AS name, rolsuper AS super, rolcreatedb AS creates FROM pg_roles WHERE rolname = current_user
"""
_EXTENSION = """
    SELECT bool_or(v.trusted) AS trusted FROM pg_available_extensions e
      JOIN pg_available_extension_versions v USING (name) WHERE e.name = 'vector' AND v.version = e.default_version
"""
_FOREIGN = """
    SELECT d.datname AS database, pg_get_userbyid(d.datdba) AS owner FROM pg_database d
     WHERE d.datname = ANY (%s) AND NOT pg_has_role(current_user, d.datdba, 'MEMBER')
"""


@dataclass(frozen=True)
class Session:
    """Somebody who is connected to a database: `role` and where from, as PostgreSQL lets us see it."""

    pid: int
    database: str
    role: str
    application: str
    client: str

    def __str__(self) -> str:
        return f"{self.application or 'a session'} of {self.role} from {self.client} (pid {self.pid})"

    def as_json(self) -> dict[str, Any]:
        return dict(vars(self))


def targets(deployment: Deployment) -> tuple[str, ...]:
    """The databases of a deployment: the memories', and the application's where there is one."""
    application = deployment.application
    return (deployment.postgres.database, *([application.database] if application else []))


@contextmanager
def working(deployment: Deployment, *, seconds: float | None = WORK_SECONDS) -> Iterator[Connection]:
    """A connection of the role that restores, to a database that is not to be replaced. Raises UnreachableError."""
    place = next(name for name in ("postgres", "template1") if name not in targets(deployment))
    with connect(admin_of(deployment, place), seconds=seconds) as connection:
        yield connection


def admin_of(deployment: Deployment, database: str) -> Postgres:
    """A database of the deployment's server, as the role that restores."""
    return deployment.postgres.admin.model_copy(update={"database": database})


def databases(connection: Connection) -> dict[str, int]:
    """Every database of the server, and its oid: a name can be given to another, an oid never is."""
    rows = connection.execute("SELECT datname::text AS name, oid::bigint AS oid FROM pg_database").fetchall()
    return {row["name"]: row["oid"] for row in rows}


def sessions(connection: Connection, names: Collection[str]) -> list[Session]:
    """Who else is connected to these databases now."""
    return [Session(**row) for row in connection.execute(_SESSIONS, (list(names),)).fetchall()]


def missing_rights(connection: Connection, names: Sequence[str]) -> list[tuple[Reason, str]]:
    """What keeps our role from restoring these databases, each with the next step that gives it the right."""
    role = _one(connection, _ROLE)
    extension = _one(connection, _EXTENSION)["trusted"]
    name = _plain(role["name"])
    found = []
    if extension is None:
        found.append(
            ("the server has no pgvector to install", "Install pgvector on the server (image pgvector/pgvector)")
        )
    if role["super"]:
        return [(Reason("no_right", what), step) for what, step in found]
    if not role["creates"]:
        found.append((f"the role {name} may not create databases", f"As a superuser: ALTER ROLE {name} CREATEDB"))
    for foreign in connection.execute(_FOREIGN, (list(names),)).fetchall():
        what = f"the role {name} does not own the database {foreign['database']}, and so cannot rename it"
        found.append((what, f"As a superuser: GRANT {_plain(foreign['owner'])} TO {name}"))
    if extension is False:
        what = f"the role {name} may not create the extension vector, which only a superuser may here"
        found.append((what, "Name a superuser as postgres.admin_user in fleet.yaml (and its admin_password_env)"))
    return [(Reason("no_right", what), step) for what, step in found]


def _one(connection: Connection, query: str) -> dict[str, Any]:
    row = connection.execute(sql.SQL(query)).fetchone()
    assert row is not None
    return row


def _plain(role: str) -> str:
    return role if re.fullmatch(r"[a-z_][a-z0-9_]*", role) else sql.Identifier(role).as_string()
