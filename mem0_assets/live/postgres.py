"""Connections to a live deployment: read only, by keyword, bounded in time, and honest about what is not known.

Reading must not harm, and must not hang: a server that is frozen (SIGSTOP, a dead disk) accepts the connection and then
says nothing, and `statement_timeout` cannot help, because the server would have to enforce it. So a watchdog shuts the
socket down from this side.
"""

import os
import re
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from mem0_assets.errors import (
    Mem0AssetsError,
    NotACollectionError,
    TableMissingError,
    UnreachableError,
    without_secrets,
)
from mem0_assets.fleet import Postgres
from mem0_assets.live.embedded import PORT, SUPERUSER, EmbeddedServer

Connection = psycopg.Connection[dict[str, Any]]

CONNECT_SECONDS = 4
LOCK_SECONDS = 2
SCHEMA = "public"  # mem0 looks for its collections in `public` only

FROZEN = "Is the server frozen, or its disk? See its log"
CHECK_COLLECTION = "Check postgres.collection in fleet.yaml, and who changed the table"
RECREATED = "A recreated container starts with an empty server: look at its volume before anything else"
REFUSALS = (
    "no pg_hba.conf entry",
    "pg_hba.conf rejects",
    "authentication failed",
    "permission denied for database",
    "is not permitted to log in",
)
NO_ROOM = "failed: FATAL: "  # how libpq begins to tell a server's no to a new connection


class DeniedError(UnreachableError):
    """The server answered and said no: a wrong password, role or database, or a missing right. Nothing was learnt."""


class NotReadableError(DeniedError):
    """The server let us in, and the memories could not be read: a missing right, somebody's lock, or too slow."""


def connection_settings(postgres: Postgres) -> dict[str, Any]:
    """Keywords for psycopg (and, as PG* variables, for the client programs). Starts an embedded server."""
    settings: dict[str, Any] = {"dbname": postgres.database}
    if postgres.embedded is not None:
        settings |= {"host": str(_started(postgres.embedded)), "port": 5432, "user": SUPERUSER}
    else:
        settings |= {"host": postgres.host, "port": postgres.port, "user": postgres.user}
        settings["password"] = postgres.password()
    return settings


def _started(folder: Path) -> Path:
    try:
        return EmbeddedServer(folder).start(make=False)
    except PermissionError:
        raise DeniedError(
            f"the embedded server in {folder} belongs to another user", next_step="Run this as the user who made it"
        ) from None


@contextmanager
def connect(postgres: Postgres, *, seconds: float | None) -> Iterator[Connection]:
    """A connection whose every statement is bounded by `seconds`, and which is given up after as long in all.

    Connecting may take CONNECT_SECONDS before that, and a server that says nothing at all has a second more. With None
    neither is bounded, as a dump may take hours: then guard each exchange with `answers_within`.
    Raises UnreachableError (nothing is known), or DeniedError where the server answered and refused.
    """
    settings = connection_settings(postgres)
    guard = CONNECT_SECONDS if seconds is None else seconds
    with ExitStack() as stack:
        stack.enter_context(_plain_errors(postgres, settings.get("password"), guard))
        connection = psycopg.connect(
            **settings,
            connect_timeout=CONNECT_SECONDS,
            application_name="mem0-assets",
            client_encoding="UTF8",  # a database in SQL_ASCII (a cluster made in the C locale) would give bytes
            autocommit=True,
            row_factory=psycopg.rows.dict_row,
        )
        stack.enter_context(connection)
        with answers_within(connection, guard):
            _bound_statements(connection, seconds or 0)
        if seconds is not None:
            stack.enter_context(answers_within(connection, seconds))
        yield connection


def connect_embedded(server: EmbeddedServer, database: str) -> Connection:
    """A connection to a running server of our own, as its superuser.

    Everything that says where is said here: a person who exported PGPORT or PGHOSTADDR meant the live server, and the
    demo's losses must never happen there.
    """
    return psycopg.connect(
        host=str(server.socket_folder),
        hostaddr="",
        port=PORT,
        user=SUPERUSER,
        dbname=database,
        connect_timeout=10,
        autocommit=True,
        row_factory=psycopg.rows.dict_row,
    )


@contextmanager
def answers_within(connection: Connection, seconds: float) -> Iterator[None]:
    """Shut the connection's socket down after `seconds` (and one of grace), so that a blocked call returns at once."""
    with breaker(connection) as break_wait:
        watchdog = threading.Timer(seconds + 1, break_wait)
        watchdog.daemon = True
        watchdog.start()
        try:
            yield
        finally:
            watchdog.cancel()
            watchdog.join()


@contextmanager
def breaker(connection: Connection) -> Iterator[Callable[[], None]]:
    """A function that shuts the connection's socket down, from any thread, so that a blocked call returns at once."""
    try:
        duplicate = socket.socket(fileno=os.dup(connection.fileno()))
    except psycopg.OperationalError:  # the connection is lost: nothing can block on it
        yield lambda: None
        return
    with duplicate:
        yield partial(_shut_down, duplicate)


def _shut_down(duplicate: socket.socket) -> None:
    with suppress(OSError):  # closed meanwhile from the other side
        duplicate.shutdown(socket.SHUT_RDWR)


@contextmanager
def snapshot(connection: Connection, tables: Iterable[tuple[str, str]]) -> Iterator[None]:
    """One REPEATABLE READ, READ ONLY transaction in which `tables` (schema, name) cannot be truncated or dropped.

    TRUNCATE is not MVCC-safe: one that commits between the snapshot and the first read would empty both the count and
    the dump. So the (weakest) lock comes first and the snapshot after it. The beginning and the end are bounded in
    time, what happens inside is the caller's. Raises TableMissingError, NotACollectionError.
    """
    wanted = sorted(tables)
    names = sql.SQL(", ").join(sql.Identifier(*table) for table in wanted)
    with ExitStack() as guard:
        guard.enter_context(answers_within(connection, CONNECT_SECONDS + LOCK_SECONDS * len(wanted)))
        with connection.transaction():
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            try:
                connection.execute(sql.SQL("LOCK TABLE {} IN ACCESS SHARE MODE").format(names))
            except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName) as error:
                raise TableMissingError(f"the database answers, and {error.diag.message_primary}") from None
            except psycopg.errors.WrongObjectType as error:  # an index, a sequence
                raise NotACollectionError(str(error.diag.message_primary), next_step=CHECK_COLLECTION) from None
            guard.close()
            try:
                yield
            finally:
                guard.enter_context(answers_within(connection, CONNECT_SECONDS))


@contextmanager
def joined(postgres: Postgres, exported: str) -> Iterator[Connection]:
    """One more connection that sees the very snapshot which another one `exported`, and holds.

    Its beginning and its end are bounded in time, what happens inside is the caller's. Raises UnreachableError.
    """
    with connect(postgres, seconds=None) as connection, ExitStack() as guard:
        guard.enter_context(answers_within(connection, CONNECT_SECONDS))
        with connection.transaction():
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            connection.execute(sql.SQL("SET TRANSACTION SNAPSHOT {}").format(sql.Literal(exported)))
            guard.close()
            try:
                yield connection
            finally:
                guard.enter_context(answers_within(connection, CONNECT_SECONDS))


def _bound_statements(connection: Connection, seconds: float) -> None:
    """Our own limits, whatever the role's are: waits are bounded, and an exported snapshot may sit idle."""
    limits = {
        "statement_timeout": f"{int(seconds * 1000)}ms",
        "lock_timeout": f"{LOCK_SECONDS}s",
        "idle_in_transaction_session_timeout": "0",
        "row_security": "off",  # rows hidden from this role are an error, not a smaller count
    }
    if connection.info.server_version >= 140000:
        limits["idle_session_timeout"] = "0"
    if connection.info.server_version >= 170000:
        limits["transaction_timeout"] = "0"
    connection.execute(
        "SELECT set_config(name, value, false) FROM unnest(%s::text[], %s::text[]) AS limits (name, value)",
        (list(limits), list(limits.values())),
    )


@contextmanager
def _plain_errors(postgres: Postgres, password: str | None, seconds: float) -> Iterator[None]:
    """The driver's errors as ours: without secrets, and with the next step."""
    try:
        yield
    except Mem0AssetsError:
        raise
    except psycopg.errors.InsufficientPrivilege as error:
        what = error.diag.message_primary or ""
        raise NotReadableError(f"{postgres.address}: {what}", next_step=_missing_right(postgres.user, what)) from None
    except psycopg.errors.LockNotAvailable:
        raise NotReadableError(
            f"{postgres.address}: another session holds an exclusive lock for more than {LOCK_SECONDS} s"
        ) from None
    except psycopg.errors.QueryCanceled:
        raise NotReadableError(f"{postgres.address} did not answer within {seconds:g} s") from None
    except psycopg.errors.ConnectionTimeout:
        raise UnreachableError(
            f"{postgres.address} did not answer within {CONNECT_SECONDS} s", next_step=FROZEN
        ) from None
    except psycopg.Error as error:
        text = " ".join(str(error).split()).rstrip(".")
        refusal = _refusal(postgres, text)  # judged before the password is taken out, which may be a common word
        raise refusal or _unreachable(postgres, error, without_secrets(text, [password]), seconds) from None


def _missing_right(user: str, what: str) -> str:
    role = user if re.fullmatch(r"[a-z_][a-z0-9_]*", user) else f'"{user}"'
    if "row-level security" in what:
        return f"Let the role see all rows: ALTER ROLE {role} BYPASSRLS"
    return f"Let the role read: GRANT pg_read_all_data TO {role}"


def _refusal(postgres: Postgres, text: str) -> DeniedError | None:
    """What a server says that answers and refuses; None for everything else."""
    if "password authentication failed" in text or "no password supplied" in text:
        return DeniedError(
            f"{postgres.address} refused the password of {postgres.user}",
            next_step=f"Check {postgres.password_env or 'password_env, which is not set,'} against the server's own",
        )
    if f'database "{postgres.database}" does not exist' in text:
        return DeniedError(f"the server answers, and it has no database {postgres.database}", next_step=RECREATED)
    if f'role "{postgres.user}" does not exist' in text:
        return DeniedError(f"the server answers, and it has no role {postgres.user}", next_step=RECREATED)
    if any(phrase in text for phrase in REFUSALS):
        return DeniedError(
            f"{postgres.address} does not let {postgres.user} in: {text.rpartition('FATAL: ')[2]}",
            next_step="Check pg_hba.conf on the server, and the role's and the database's rights",
        )
    if NO_ROOM in text:  # too many clients, starting up, shutting down
        return DeniedError(
            f"{postgres.address} takes no connection: {text.rpartition('FATAL: ')[2]}", next_step="See the server's log"
        )
    return None


def _unreachable(postgres: Postgres, error: psycopg.Error, text: str, seconds: float) -> UnreachableError:
    if "closed the connection unexpectedly" in text or "connection is lost" in text:
        return UnreachableError(
            f"{postgres.address} did not answer within {seconds:g} s, or broke off: {text}", next_step=FROZEN
        )
    if error.sqlstate:
        return UnreachableError(f"{postgres.address} answered with an error: {text}", next_step="See the server's log")
    return UnreachableError(f"{postgres.address} cannot be reached: {text}", next_step="Is the server running?")
