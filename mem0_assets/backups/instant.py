"""One database at one instant: what SQL counts and what the dump holds are the same snapshot."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import LiteralString, TypeVar

from mem0_assets.backups.formats.dump_format import FORMATS
from mem0_assets.backups.formats.pg_dump import STALL_SECONDS
from mem0_assets.backups.formats.source import Progress, Source, Written
from mem0_assets.fleet import Dump, Postgres
from mem0_assets.live.postgres import Connection, answers_within, connect, connection_settings, snapshot
from mem0_assets.live.programs import Program, find_program
from mem0_assets.live.semantics import NIGHTLY
from mem0_assets.live.tables import Table, user_tables

# Half a minute for the counts, and what a look into the rows may take.
QUERY_SECONDS = 30.0 + NIGHTLY.seconds

Seen = TypeVar("Seen")


@dataclass(frozen=True)
class Recorder:
    """How databases are dumped: in which format, who is told of the bytes, and how long they may stand still."""

    dump: Dump
    progress: Progress = lambda plain_bytes: None
    stall_seconds: float = STALL_SECONDS

    def record(
        self,
        postgres: Postgres,
        folder: Path,
        name: str,
        look: Callable[[Connection], Seen],
        *,
        required: Table,
    ) -> tuple[Seen, Program, Written]:
        """Lock all tables (`required` must be among them), take a snapshot, `look` at it by SQL, and dump it.

        Raises UnreachableError, TableMissingError, DumpFailedError, ClientMissingError, OSError, and what `look` raises.
        """
        folder.mkdir()
        with connect(postgres, seconds=None) as connection:
            program = find_program("pg_dump", connection.info.server_version // 10000)
            with answers_within(connection, QUERY_SECONDS):
                locked = {*user_tables(connection), required}
            with snapshot(connection, locked):
                with answers_within(connection, QUERY_SECONDS):
                    seen = look(connection)
                    exported = one(connection, "SELECT pg_export_snapshot() AS value")
                source = Source(
                    postgres,
                    connection,
                    connection_settings(postgres),
                    exported,
                    program,
                    self.dump.jobs,
                    self.progress,
                    self.stall_seconds,
                )
                return seen, program, FORMATS[self.dump.format].write(source, folder, name)


def one(connection: Connection, query: LiteralString, *parameters: str) -> str:
    """The one text named `value` that the query gives."""
    row = connection.execute(query, parameters).fetchone()
    assert row is not None
    return str(row["value"])
