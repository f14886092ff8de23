"""One database at one instant: what SQL counts and what the dump holds are the same snapshot."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, LiteralString, TypeVar

from mem0_assets.backups.formats.dump_format import FORMATS
from mem0_assets.backups.formats.pg_dump import STALL_SECONDS
from mem0_assets.backups.formats.source import Progress, Source, Written
from mem0_assets.fleet import Dump, Postgres
from mem0_assets.live.postgres import Connection, answers_within, connect, connection_settings, snapshot
from mem0_assets.live.programs import Program, find_program
from mem0_assets.live.tables import Table, layouts, user_tables

QUERY_SECONDS = 30.0

Seen = TypeVar("Seen")
More = TypeVar("More")


@dataclass(frozen=True)
class Recorded(Generic[Seen, More]):
    """What a snapshot held: as `look` saw it, what was seen `meanwhile`, and the dump of it."""

    seen: Seen
    more: More
    program: Program
    written: Written


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
        meanwhile: Callable[[str, Seen], More],
    ) -> Recorded[Seen, More]:
        """Lock all tables (`required` must be among them), take a snapshot, `look` at it by SQL, and dump it.

        What takes longer to see, and belongs to the same instant, is seen `meanwhile`, over a connection of its own that
        joins the snapshot of the given name. Raises UnreachableError, TableMissingError, DumpFailedError,
        ClientMissingError, OSError, and what `look` and `meanwhile` raise.
        """
        folder.mkdir()
        with connect(postgres, seconds=None) as connection, ExitStack() as held:
            program = find_program("pg_dump", connection.info.server_version // 10000)
            with answers_within(connection, QUERY_SECONDS):
                held.enter_context(snapshot(connection, {*user_tables(connection), required}))
            with answers_within(connection, QUERY_SECONDS):
                seen = look(connection)
                exported = one(connection, "SELECT pg_export_snapshot() AS value")
                tables = layouts(connection)
            source = Source(
                postgres,
                connection_settings(postgres),
                exported,
                program,
                tables,
                connection.info.server_version,
                self.dump.jobs,
                self.progress,
                self.stall_seconds,
            )
            with ThreadPoolExecutor(1, "look") as beside:
                more = beside.submit(meanwhile, exported, seen)
                written = FORMATS[self.dump.format].write(source, folder, name)
                return Recorded(seen, more.result(), program, written)


def one(connection: Connection, query: LiteralString, *parameters: str) -> str:
    """The one text named `value` that the query gives."""
    row = connection.execute(query, parameters).fetchone()
    assert row is not None
    return str(row["value"])
