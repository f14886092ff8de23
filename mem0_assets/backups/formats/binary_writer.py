"""The `binary` format: for large tables, at the speed of the disk, and restored by psql and zstd alone.

Text is three times the size of the vectors that it carries, and gzip spends 100 s on the digits of 100,000 of them. So
pg_dump writes the schema (pre-data, post-data), and the rows come as the server keeps them, by COPY (FORMAT binary) in
the same exported snapshot; large tables in ranges of pages, over several connections; all in zstd. What binary COPY
cannot carry faithfully (see live/tables.py) is left to pg_dump, which writes it as text beside the schema: also the
values of sequences, and large objects.
"""

from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import LiteralString

import psycopg
import zstandard
from psycopg import sql

from mem0_assets.backups.files import CHUNK, HashedFile, make_folder, sync_folder
from mem0_assets.backups.formats.binary_label import DATA, Label
from mem0_assets.backups.formats.crew import Crew
from mem0_assets.backups.formats.pg_dump import DumpFailedError, PgDump
from mem0_assets.backups.formats.source import Source, Written
from mem0_assets.backups.manifest import BackupFile
from mem0_assets.live.postgres import Connection, breaker, joined
from mem0_assets.live.tables import Layout, Table, plain_name

# Level 1: the exponents of the floats are packed, their digits cannot be; level 3 gains 1 % for twice the time.
LEVEL = 1
# Below this a part is not worth a connection of its own; all smaller tables share one.
PART_BYTES = 32 << 20
# Servers before this one read the whole table for every range of pages.
READS_RANGES = 140000
# Classes of errors that say nothing of the rows: the connection, a missing right, a lock, a shutdown.
_NOT_OF_THE_DATA = frozenset(["08", "42", "55", "57"])


@dataclass(frozen=True)
class Part:
    """Rows of one table: those on the pages from `first` up to `end`, or to the table's last."""

    layout: Layout
    first: int | None = None
    end: int | None = None

    @property
    def query(self) -> sql.Composed:
        """The COPY that reads them."""
        columns = sql.SQL(", ").join(sql.Identifier(name) for name, _ in self.layout.columns)
        table = sql.Identifier(*self.layout.table)
        if self.first is None:
            return sql.SQL("COPY {} ({}) TO STDOUT (FORMAT binary)").format(table, columns)
        bounds: LiteralString = "ctid >= {}::tid" if self.end is None else "ctid >= {}::tid AND ctid < {}::tid"
        places = [sql.Literal(f"({page},0)") for page in (self.first, self.end) if page is not None]
        query: LiteralString = "COPY (SELECT {} FROM ONLY {} WHERE " + bounds + ") TO STDOUT (FORMAT binary)"
        return sql.SQL(query).format(columns, table, *places)


def plan_parts(tables: Sequence[Layout], jobs: int) -> list[Part]:
    """The tables that binary COPY can carry, those of at least two parts' size cut into up to `jobs` ranges of pages."""
    return [part for table in tables if table.binary for part in _cut(table, jobs)]


def _cut(table: Layout, jobs: int) -> Iterator[Part]:
    count = min(jobs, table.bytes // PART_BYTES, table.pages)
    if count < 2:
        yield Part(table)
        return
    edges = [table.pages * number // count for number in range(count)]
    # The last one has no end: the table may have grown since its pages were counted.
    for first, end in zip(edges, [*edges[1:], None], strict=True):
        yield Part(table, first, end)


def write_binary(source: Source, folder: Path, name: str) -> Written:
    """Dump the whole database into `folder`: pre-data.sql.zst, data/*.copy.zst, post-data.sql.zst, labelled with `name`.

    Raises DumpFailedError, UnreachableError where the server fell silent, OSError. Memory does not grow with the tables.
    """
    parts = plan_parts(source.tables, source.jobs if source.server_version >= READS_RANGES else 1)
    files = len(parts) + 2
    rows = [
        _Rows(part, Label(name, number, files, "rows", part.layout.table, part.layout.columns))
        for number, part in enumerate(parts, start=2)
    ]
    carried = [_without_rows_of(table.table) for table in source.tables if table.binary]
    before = source.pg_dump("--section=pre-data", "--section=data", *carried)
    after = source.pg_dump("--section=post-data")
    make_folder(folder / DATA)
    dump = _BinaryDump(source, folder, Crew(source.jobs, source.stall_seconds, source.progress))
    tasks = [
        partial(dump.write_text, before, Label(name, 1, files, "pre-data")),
        partial(dump.write_text, after, Label(name, files, files, "post-data")),
        *(partial(dump.write_rows, chosen) for chosen in _by_connection(rows)),
    ]
    written = dict(pair for of_task in dump.crew.run(tasks) for pair in of_task)
    sync_folder(folder / DATA)
    return Written(tuple(written[number] for number in sorted(written)), (*before.warnings, *after.warnings))


@dataclass(frozen=True)
class _Rows:
    part: Part
    label: Label


def _by_connection(rows: Sequence[_Rows]) -> list[list[_Rows]]:
    """What each connection reads: a large part alone, all small tables one after the other."""
    large = [[one] for one in rows if one.part.layout.bytes >= PART_BYTES]
    small = [one for one in rows if one.part.layout.bytes < PART_BYTES]
    return [*large, small] if small else large


def _without_rows_of(table: Table) -> str:
    """The option by which pg_dump leaves out the rows of this very table: in double quotes nothing is a pattern."""
    schema, name = (part.replace('"', '""') for part in table)
    return f'--exclude-table-data="{schema}"."{name}"'


@dataclass(frozen=True)
class _BinaryDump:
    source: Source
    folder: Path
    crew: Crew

    def write_text(self, dump: PgDump, label: Label) -> list[tuple[int, BackupFile]]:
        with self.crew.breakable(dump.kill), closing(iter(dump)) as chunks:
            return [(label.file, self._write(label, chunks))]

    def write_rows(self, rows: Sequence[_Rows]) -> list[tuple[int, BackupFile]]:
        with (
            joined(self.source.postgres, self.source.snapshot) as connection,
            breaker(connection) as break_wait,
            self.crew.breakable(break_wait),
        ):
            return [(one.label.file, self._write_part(connection, one)) for one in rows]

    def _write_part(self, connection: Connection, rows: _Rows) -> BackupFile:
        with closing(_copied(connection, rows.part)) as chunks:
            return self._write(rows.label, chunks)

    def _write(self, label: Label, chunks: Iterable[bytes]) -> BackupFile:
        plain = 0
        compressor = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True).compressobj()
        with HashedFile(self.folder / label.path) as file:
            file.put(label.as_frame())
            for chunk in chunks:
                plain += len(chunk)
                file.put(compressor.compress(chunk))
                self.crew.moved(len(chunk))
            file.put(compressor.flush())
        return BackupFile(f"{self.folder.name}/{label.path}", file.bytes, file.sha256, plain, label.statement)


def _copied(connection: Connection, part: Part) -> Generator[bytes, None, None]:
    """What COPY sends, a message for each row, put together to blocks. Raises DumpFailedError for what the server says."""
    rows: list[bytes | bytearray | memoryview] = []
    size = 0
    try:
        with connection.cursor() as cursor, cursor.copy(part.query) as copy:
            for row in copy:
                rows.append(row)
                size += len(row)
                if size >= CHUNK:
                    yield b"".join(rows)
                    rows.clear()
                    size = 0
    except psycopg.Error as error:
        if error.sqlstate is None or error.sqlstate[:2] in _NOT_OF_THE_DATA:
            raise
        said = f"{error.diag.message_primary} ({error.sqlstate})"
        raise DumpFailedError(f"the rows of {plain_name(part.layout.table)} could not be read: {said}") from None
    yield b"".join(rows)
