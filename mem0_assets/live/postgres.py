"""Connections to a live deployment: read only, by keyword, bounded in time, and honest about what is not known.

Reading must not harm, and must not hang: a server that is frozen (SIGSTOP, a dead disk) accepts the connection and then
says nothing, and `statement_timeout` cannot help, because the server would have to enforce it. So a watchdog shuts the
socket down from this side.
"""

import os
import socket
import threading
import weakref
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import psycopg
from psycopg import sql

from mem0_assets.errors import Mem0AssetsError, TableMissingError, UnreachableError, without_secrets
from mem0_assets.fleet import Postgres
from mem0_assets.live.embedded import SUPERUSER, EmbeddedServer

Connection = psycopg.Connection[dict[str, Any]]

CONNECT_SECONDS = 4
LOCK_SECONDS = 2
SCHEMA = "public"  # mem0 looks for its collections in `public` only


class DeniedError(UnreachableError):
    """The server answered and said no: a wrong password, role or database, or a missing right. Nothing was learnt."""


def connection_settings(postgres: Postgres) -> dict[str, Any]:
    """Keywords for psycopg (and, as PG* variables, for the client programs). Starts an embedded server."""
    settings: dict[str, Any] = {"dbname": postgres.database}
    if postgres.embedded is not None:
        server = EmbeddedServer(postgres.embedded)
        if server.made_by is None:
            raise UnreachableError(f"there is no embedded server in {postgres.embedded}")
        settings |= {"host": str(server.start()), "port": 5432, "user": SUPERUSER}
    else:
        settings |= {"host": postgres.host, "port": postgres.port, "user": postgres.user}
        settings["password"] = postgres.password()
    return settings


@contextmanager
def connect(postgres: Postgres, *, seconds: float | None) -> Iterator[Connection]:
    """A connection whose every statement is bounded by `seconds`, and which is given up after as long in all.

    With None neither is bounded, as a dump may take hours: then guard each exchange with `answers_within`.
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
            autocommit=True,
            row_factory=psycopg.rows.dict_row,
        )
        stack.enter_context(connection)
        with answers_within(connection, guard):
            _bound_statements(connection, seconds or 0)
        if seconds is not None:
            stack.enter_context(answers_within(connection, seconds))
        yield connection


@contextmanager
def answers_within(connection: Connection, seconds: float) -> Iterator[None]:
    """Shut the connection's socket down after `seconds`, so that a blocked call returns with an error at once."""
    watchdog = _watchdog(connection, seconds)
    try:
        yield
    finally:
        watchdog.cancel()


@contextmanager
def snapshot(connection: Connection, tables: Iterable[tuple[str, str]]) -> Iterator[None]:
    """One REPEATABLE READ, READ ONLY transaction in which `tables` (schema, name) cannot be truncated or dropped.

    TRUNCATE is not MVCC-safe: one that commits between the snapshot and the first read would empty both the count and
    the dump. So the (weakest) lock comes first and the snapshot after it. Raises TableMissingError.
    """
    with connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        names = sql.SQL(", ").join(sql.Identifier(*table) for table in sorted(tables))
        try:
            connection.execute(sql.SQL("LOCK TABLE {} IN ACCESS SHARE MODE").format(names))
        except psycopg.errors.UndefinedTable as error:
            raise TableMissingError(f"the database answers, and {error.diag.message_primary}") from None
        try:
            yield
        finally:
            _watchdog(connection, CONNECT_SECONDS)  # a server that froze meanwhile would block the end, too


def _bound_statements(connection: Connection, seconds: float) -> None:
    """Our own limits, whatever the role's are: waits are bounded, and an exported snapshot may sit idle."""
    limits = {
        "statement_timeout": f"{int(seconds * 1000)}ms",
        "lock_timeout": f"{LOCK_SECONDS}s",
        "idle_in_transaction_session_timeout": "0",
        "row_security": "off",  # rows hidden from this role are an error, not a smaller count
    }
    if connection.info.server_version >= 170000:
        limits["transaction_timeout"] = "0"
    for name, value in limits.items():
        connection.execute("SELECT set_config(%s, %s, false)", (name, value))


def _watchdog(connection: Connection, seconds: float) -> threading.Timer:
    """Shuts the connection's socket down after `seconds` (and a second of grace), unless cancelled."""
    connected = weakref.ref(connection)
    watchdog = threading.Timer(seconds + 1, _shut_down, [connected])
    watchdog.daemon = True
    watchdog.start()
    return watchdog


def _shut_down(connected: "weakref.ref[Connection]") -> None:
    connection = connected()
    if connection is None or connection.closed:
        return
    with suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(connection.fileno())) as duplicate:
        duplicate.shutdown(socket.SHUT_RDWR)


@contextmanager
def _plain_errors(postgres: Postgres, password: str | None, seconds: float) -> Iterator[None]:
    """The driver's errors as ours: without secrets, and with the next step."""
    try:
        yield
    except Mem0AssetsError:
        raise
    except psycopg.errors.InsufficientPrivilege as error:
        raise DeniedError(
            f"{postgres.address}: {error.diag.message_primary}",
            next_step=f"Let the role read: GRANT pg_read_all_data TO {postgres.user}",
        ) from None
    except psycopg.errors.LockNotAvailable:
        raise UnreachableError(
            f"{postgres.address}: another session holds an exclusive lock for more than {LOCK_SECONDS} s"
        ) from None
    except psycopg.errors.QueryCanceled:
        raise UnreachableError(f"{postgres.address} did not answer within {seconds:g} s") from None
    except psycopg.Error as error:
        text = without_secrets(" ".join(str(error).split()), [password])
        raise _unreachable(postgres, text, seconds) from None


def _unreachable(postgres: Postgres, text: str, seconds: float) -> UnreachableError:
    if "password authentication failed" in text or "no password supplied" in text:
        return DeniedError(
            f"{postgres.address} refused the password of {postgres.user}",
            next_step=f"Check {postgres.password_env or 'password_env, which is not set,'} against the server's own",
        )
    if f'database "{postgres.database}" does not exist' in text:
        return DeniedError(
            f"the server answers, and it has no database {postgres.database}",
            next_step="A recreated container starts with an empty server: look at its volume before anything else",
        )
    if "does not exist" in text and "role" in text:
        return DeniedError(
            f"the server answers, and it has no role {postgres.user}",
            next_step="A recreated container starts with an empty server: look at its volume before anything else",
        )
    if "closed the connection unexpectedly" in text or "timeout" in text:
        return UnreachableError(
            f"{postgres.address} did not answer within {seconds:g} s: {text}",
            next_step="Is the server frozen, or its disk? See its log",
        )
    return UnreachableError(f"{postgres.address} cannot be reached: {text}", next_step="Is the server running?")
