"""The servers of a benchmark: as initdb leaves them, fsync on, each with one database that holds one table.

Two, because no peer that copies whole servers supports the newest PostgreSQL in Debian's version: the embedded 18 with
pgvector for all that dump, and the newest server that Debian has for pgBackRest and Barman.
"""

import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.data import DATABASE, Column, Size, create_table
from benchmarks.processes import Runner
from mem0_assets.live.embedded import PORT, SUPERUSER, EmbeddedServer
from mem0_assets.live.postgres import connect_embedded
from mem0_assets.live.programs import Program, installed

EMBEDDED_MAJOR = 18
SETTINGS = (
    "fsync",
    "shared_buffers",
    "wal_level",
    "max_wal_size",
    "maintenance_work_mem",
    "max_parallel_maintenance_workers",
)


@dataclass(frozen=True)
class DebianServer(EmbeddedServer):
    """A server of Debian's programs, run just like an embedded one."""

    bin: Path = Path()

    @property
    def programs(self) -> Path:
        return self.bin


def debian_programs() -> Program | None:
    """The newest server that Debian's packages installed; None without one."""
    found = [one for one in installed("postgres") if one.path.is_relative_to("/usr/lib/postgresql")]
    return max(found, key=lambda program: program.major, default=None)


def as_owner() -> str | None:
    """Who runs the server and the programs that read its files: `nobody` where we are root, else we ourselves."""
    return "nobody" if os.geteuid() == 0 else None


def owner_name() -> str:
    return as_owner() or pwd.getpwuid(os.geteuid()).pw_name


def owned_folder(path: Path) -> Path:
    """A new folder that belongs to the server's user."""
    path.mkdir()
    if user := as_owner():
        os.chown(path, pwd.getpwnam(user).pw_uid, pwd.getpwnam(user).pw_gid)
    return path


@contextmanager
def embedded_server(folder: Path) -> Iterator[EmbeddedServer]:
    """A running PostgreSQL 18 in `folder`; stopped afterwards."""
    with _running(EmbeddedServer(folder, major=EMBEDDED_MAJOR)) as server:
        yield server


@contextmanager
def debian_server(folder: Path, program: Program) -> Iterator[EmbeddedServer]:
    """A running server of Debian's in `folder`; stopped afterwards."""
    with _running(DebianServer(folder, bin=program.path.parent)) as server:
        yield server


@contextmanager
def _running(server: EmbeddedServer) -> Iterator[EmbeddedServer]:
    try:
        server.start()
        with connect_embedded(server, "postgres") as connection:
            connection.execute(f"CREATE DATABASE {DATABASE}")
        yield server
    finally:
        server.stop("immediate")


def fill(server: EmbeddedServer, size: Size, column: Column) -> int:
    """Make the table; its bytes on disk."""
    with connect_embedded(server, DATABASE) as connection:
        return create_table(connection, size, column)


def clients(server: EmbeddedServer, database: str = DATABASE) -> Runner:
    """Runs client programs against this server."""
    where = {"PGHOST": str(server.socket_folder), "PGPORT": str(PORT), "PGUSER": SUPERUSER, "PGDATABASE": database}
    return Runner(where)


def settings_of(server: EmbeddedServer) -> dict[str, str]:
    """What the server says of the settings that matter here."""
    with connect_embedded(server, DATABASE) as connection:
        rows = connection.execute(
            "SELECT name, current_setting(name) AS value FROM unnest(%s::text[]) AS names (name)", (list(SETTINGS),)
        ).fetchall()
    return {row["name"]: row["value"] for row in rows}
