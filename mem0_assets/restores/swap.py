"""Databases put in each other's place by renames, all in one transaction: either all names mean the new ones, or none does.

ALTER DATABASE ... RENAME locks the database against new connections until its transaction ends, and waits five seconds for
those there are to go. So nothing has to be barred, and nothing is left barred by a kill: while it waits, the sessions that
may be ended are ended over a second connection, and whoever connects again waits, and then finds the new database.
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import psycopg
from psycopg import sql

from mem0_assets.errors import Mem0AssetsError
from mem0_assets.fleet import Deployment
from mem0_assets.live.postgres import Connection
from mem0_assets.restores.server import sessions, working

SWAP_SECONDS = 60.0
ATTEMPTS = 3
LOOK_SECONDS = 0.05

Rename = tuple[str, str]


class SessionsHeldError(Mem0AssetsError):
    """Somebody is connected to a database that is to be replaced."""

    code = "sessions_held"


def swap(deployment: Deployment, renames: Sequence[Rename], *, end_sessions: bool) -> None:
    """Rename these databases, in this order and all at once.

    Raises SessionsHeldError where others are connected (to any of them) and are not to be ended: then nothing has changed.
    UnreachableError says nothing of what became of it: ask the server for its oids.
    """
    held = [old for old, _ in renames]
    for attempt in range(1, ATTEMPTS + 1):
        with working(deployment, seconds=SWAP_SECONDS) as connection, _ending(deployment, held, end_sessions):
            try:
                with connection.transaction():
                    for old, new in renames:
                        rename = sql.SQL("ALTER DATABASE {} RENAME TO {}")
                        connection.execute(rename.format(sql.Identifier(old), sql.Identifier(new)))
                return
            except psycopg.errors.ObjectInUse:
                somebody = not end_sessions and sessions(connection, held)
                if somebody or attempt == ATTEMPTS:  # else the server's own: vacuum, or one that is just going
                    raise held_by(connection, held) from None
            except psycopg.errors.LockNotAvailable:  # many who connect at once: each holds the name for a moment
                if attempt == ATTEMPTS:
                    raise held_by(connection, held) from None


def held_by(connection: Connection, names: Sequence[str]) -> SessionsHeldError:
    """The error that says who is connected."""
    who = ", ".join(f"{session.database}: {session}" for session in sessions(connection, names)) or "somebody"
    return SessionsHeldError(
        f"other sessions hold the database: {who}",
        next_step="Stop what is connected (the mem0 server, the bots), or say --end-sessions",
    )


@contextmanager
def _ending(deployment: Deployment, names: Sequence[str], wanted: bool) -> Iterator[None]:
    """Meanwhile, where that is `wanted`, every session of these databases is ended as soon as it is seen."""
    if not wanted:
        yield
        return
    done = threading.Event()
    with working(deployment, seconds=SWAP_SECONDS) as connection:
        ender = threading.Thread(target=_end_until, args=(connection, names, done), daemon=True)
        ender.start()
        try:
            yield
        finally:
            done.set()
            ender.join()


def _end_until(connection: Connection, names: Sequence[str], done: threading.Event) -> None:
    """What may not be ended (a superuser's session, and we are none) is left, and told by the rename that fails."""
    query = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = %s"
    while not done.wait(LOOK_SECONDS):
        try:
            for session in sessions(connection, names):
                connection.execute(query, (session.pid,))
        except psycopg.errors.InsufficientPrivilege:
            continue
        except psycopg.Error:
            return
