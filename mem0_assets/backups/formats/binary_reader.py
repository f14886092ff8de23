"""Reads a `binary` dump whole, as `sql_reader` reads SQL: every row of every table is counted, none is loaded.

The schema's text says which tables there are and how wide the vectors must be; the rows come from files of COPY's
binary form. Each file is read once, from the disk, and hashed on the way.
"""

import hashlib
import os
import struct
from collections import Counter
from collections.abc import Generator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from uuid import UUID

from mem0_assets.backups.formats.binary_label import DATA, POST_DATA, PRE_DATA, Label, read_label
from mem0_assets.backups.formats.container import COPY_MAGIC, open_dump
from mem0_assets.backups.formats.damage import DumpDamage, damage
from mem0_assets.backups.formats.dump_tables import Column, DumpTable
from mem0_assets.backups.formats.memory_rows import RowFault
from mem0_assets.backups.formats.sql_lexer import MAX_LINE_BYTES
from mem0_assets.backups.formats.sql_reader import DumpContents, Reading, finish, follow, judge
from mem0_assets.backups.formats.sql_statements import SqlStatements
from mem0_assets.live.memories import Memory, Selection
from mem0_assets.live.tables import Table, plain_name
from mem0_assets.verdicts import Reason

_HEADER = COPY_MAGIC + bytes(8)  # no flags, no extension
_END = 0xFFFF
_LENGTH = struct.Struct(">i")
# Bytes per element, and before the first, of the types that a vector column may have.
_ELEMENT_BYTES = {"vector": 4, "halfvec": 2}
_VECTOR_HEAD = 4
_UUID_BYTES = 16
_JSONB_VERSION = b"\x01"
READERS = min(4, os.cpu_count() or 1)


class BinaryRows:
    """Counts the rows of one file of COPY's binary form into `table`. Feed it the plain bytes, then ask for the `end`.

    With a `selection`, those that it takes are put to `memories`, for whoever feeds to take them away.
    """

    def __init__(
        self, table: DumpTable, columns: Sequence[tuple[str, str]], selection: Selection | None = None
    ) -> None:
        self._table = table
        self._selection = selection if table.is_memories else None
        self.memories: list[Memory] = []
        names, self._types = [name for name, _ in columns], dict(columns)
        self._width = len(columns)
        self._vector = names.index("vector") if table.is_memories else -1
        self._payload = names.index("payload") if table.is_memories else -1
        self._id = names.index("id") if table.is_memories else -1
        self._rest = bytearray()
        self._begun = self._ended = False

    def feed(self, block: bytes) -> None:
        """Count the rows that are whole by now. Raises DumpDamage."""
        self._rest += block
        at = 0
        if not self._begun:
            if len(self._rest) < len(_HEADER):
                return
            if not self._rest.startswith(_HEADER):
                raise damage("corrupt", "it does not begin as COPY's binary form does")
            self._begun, at = True, len(_HEADER)
        del self._rest[: self._count(at)]
        if len(self._rest) > MAX_LINE_BYTES:
            raise damage("corrupt", f"a row of more than {MAX_LINE_BYTES} bytes")

    def end(self) -> None:
        """Say that there is no more. Raises DumpDamage where the end mark has not come."""
        if not self._ended:
            raise damage("truncated", "its rows have no end mark")

    def _count(self, at: int) -> int:
        """Count all whole rows from here on; where the first one begins that is not."""
        data, size, width = self._rest, len(self._rest), self._width
        read_length = _LENGTH.unpack_from
        fields = [(0, 0)] * width
        while at + 2 <= size:
            if self._ended:
                raise damage("corrupt", "there is more after the end mark of its rows")
            found, row = data[at] << 8 | data[at + 1], at
            at += 2
            if found != width:
                self._end_or_damage(found)
                continue
            for number in range(width):
                if at + 4 > size:
                    return row
                (length,) = read_length(data, at)
                at += 4
                fields[number] = at, length
                if length > 0:
                    at += length
                elif length < -1:
                    raise damage("corrupt", f"a field of {length} bytes, after row {self._table.rows}")
            if at > size:
                return row
            self._row(fields)
        return at

    def _end_or_damage(self, found: int) -> None:
        if found != _END:
            rows = self._table.rows
            raise damage("corrupt", f"a row of {found} columns instead of {self._width}, after row {rows}")
        self._ended = True

    def _row(self, fields: Sequence[tuple[int, int]]) -> None:
        self._table.rows += 1
        if self._vector < 0:
            return
        try:
            payload = self._json(*fields[self._payload])
            namespace = self._table.memories.tally(self._dimensions(*fields[self._vector]), payload)
            if self._selection is not None:
                self._select(self._selection, namespace, payload, fields)
        except RowFault as fault:
            self._table.fault(str(fault))

    def _select(
        self, selection: Selection, namespace: str, payload: bytes | None, fields: Sequence[tuple[int, int]]
    ) -> None:
        number = self._value(*fields[self._id])
        if number is None or len(number) != _UUID_BYTES or self._types["id"] != "uuid":
            raise RowFault("its id is none")
        memory = UUID(bytes=number)
        if not selection.takes(memory, namespace):
            return
        vector = self._value(*fields[self._vector]) if selection.vectors else None
        if vector is not None and self._types["vector"] != "vector":
            raise RowFault("its vector is none")
        self.memories.append(Memory(memory, namespace, None if payload is None else payload.decode(), vector))

    def _value(self, at: int, length: int) -> bytes | None:
        return None if length == -1 else bytes(self._rest[at : at + length])

    def _dimensions(self, at: int, length: int) -> int:
        """The dimensions of a vector (two bytes, and two unused ones before its elements); 0 for NULL and other types."""
        size = _ELEMENT_BYTES.get(self._types["vector"])
        if size is None or length == -1:
            return 0
        dimensions = self._rest[at] << 8 | self._rest[at + 1] if length > _VECTOR_HEAD else 0
        if length != _VECTOR_HEAD + size * dimensions:
            raise RowFault("its vector is none")
        return dimensions

    def _json(self, at: int, length: int) -> bytes | None:
        if length == -1 or self._types["payload"] != "jsonb":
            return self._value(at, length)
        if self._rest[at : at + 1] != _JSONB_VERSION or not length:
            raise RowFault("its payload is damaged: no jsonb")
        return bytes(self._rest[at + 1 : at + length])


@dataclass
class _File:
    """One file of the dump as it was read."""

    path: Path
    reasons: list[Reason] = field(default_factory=list)
    label: Label | None = None
    statements: SqlStatements | None = None
    table: DumpTable | None = None
    plain_bytes: int = 0
    sha256: str | None = None


def is_binary_dump(folder: Path) -> bool:
    """Whether this folder holds a dump of this format, whole or not."""
    return (folder / PRE_DATA).is_file() or (folder / POST_DATA).is_file()


def files_of(folder: Path) -> list[Path]:
    """The files of the dump in this folder, in no order: their labels say that."""
    return [*folder.glob("*.zst"), *folder.glob(f"{DATA}/*")]


def read_binary(paths: Iterable[Path], *, collection: str | None, memories: bool = True) -> Reading:
    """Read all files of a dump, in several threads, and judge them as one. Raises UnreachableError, NotFoundError."""
    with ThreadPoolExecutor(READERS) as pool:
        files = list(pool.map(_read_file, paths))
    return _judge_files(files, collection=collection, memories=memories)


def walk_binary(paths: Iterable[Path], *, collection: str, selection: Selection) -> Generator[Memory, None, Reading]:
    """`read_binary`, file by file, which gives the memories of the collection that the `selection` takes on the way.

    They may be believed once the walk has come to its end and its verdict is ok. Raises as `read_binary` does.
    """
    files = [_File(path) for path in paths]
    for file in files:
        yield from _walk_file(file, collection, selection)
    return _judge_files(files, collection=collection)


def _judge_files(files: Sequence[_File], *, collection: str | None, memories: bool = True) -> Reading:
    labels = [file.label for file in files if file.label]
    reasons = [reason for file in files for reason in file.reasons]
    reasons += [] if reasons else _judge_set(labels)
    texts = [file.statements for file in files if file.statements and file.label and file.label.content == "pre-data"]
    schema = texts[0] if texts else SqlStatements([], max_bytes=0)
    for file in files:
        if file.label and file.table:
            reasons += _add(schema, file.label, file.table)
    contents = judge(schema, reasons, collection=collection, memories=memories)
    whole = {file.path: file.sha256 for file in files if file.sha256}
    plain = sum(file.plain_bytes for file in files)
    return Reading(replace(contents, format="binary", uncompressed_bytes=plain, complete=not reasons), whole)


def is_part(path: Path) -> bool:
    """Whether this file holds rows of a dump of this format, and says whose."""
    try:
        return read_label(path).content == "rows"
    except DumpDamage:
        return False


def statement_of(path: Path) -> str | None:
    """The statement that loads this file's rows, by its own label; None where it has none, or is damaged."""
    try:
        return read_label(path).statement
    except DumpDamage:
        return None


def read_part(path: Path, *, collection: str | None) -> DumpContents:
    """What one file of rows holds, by itself. Raises NotFoundError, UnreachableError."""
    file = _read_file(path)
    alone = SqlStatements([], max_bytes=0)
    if file.table:
        alone.tables[0, None, file.table.name] = file.table
    contents = judge(alone, file.reasons, collection=collection)
    return replace(contents, format="binary", uncompressed_bytes=file.plain_bytes, complete=not file.reasons)


def _read_file(path: Path) -> _File:
    file = _File(path)
    finish(_walk_file(file))
    return file


def _walk_file(
    file: _File, collection: str | None = None, selection: Selection | None = None
) -> Generator[Memory, None, None]:
    """Read one file into `file`, and give the memories that are wanted."""
    path, digest = file.path, hashlib.sha256()
    try:
        file.label = read_label(path)
        with open_dump(path, digest=digest) as dump, closing(_counted(dump.blocks, file)) as blocks:
            holds_rows = dump.wrapping[-1] == "copy"
            if holds_rows != (file.label.table is not None):
                raise damage(
                    "corrupt", f"it holds {'rows' if holds_rows else 'SQL'}, and its label says {file.label.what}"
                )
            if file.label.table:
                whose = file.label.table
                wanted = selection if plain_name(whose) == collection else None
                file.table = yield from _walk_rows(whose, file.label.columns, blocks, wanted)
            else:
                file.statements = SqlStatements(blocks, max_bytes=MAX_LINE_BYTES)
                file.reasons += yield from follow(file.statements)
    except DumpDamage as damaged:
        file.reasons.append(damaged.reason)
    file.reasons = [replace(reason, message=f"{path.name}: {reason.message}") for reason in file.reasons]
    file.sha256 = None if file.reasons else digest.hexdigest()


def _counted(blocks: Iterable[bytes], file: _File) -> Generator[bytes, None, None]:
    for block in blocks:
        file.plain_bytes += len(block)
        yield block


def _walk_rows(
    whose: Table, columns: Sequence[tuple[str, str]], blocks: Iterable[bytes], selection: Selection | None
) -> Generator[Memory, None, DumpTable]:
    table = DumpTable(plain_name(whose), None, tuple(Column(name) for name, _ in columns))
    rows = BinaryRows(table, columns, selection)
    for block in blocks:
        rows.feed(block)
        yield from rows.memories
        rows.memories.clear()
    rows.end()
    return table


def _judge_set(labels: Sequence[Label]) -> list[Reason]:
    """The reasons against files that are each whole, and together no dump: one is missing, or of another dump."""
    if len({(label.dump, label.files) for label in labels}) > 1:
        dumps = " and ".join(sorted({label.dump for label in labels}))
        return [Reason("corrupt", f"these are files of several dumps: {dumps}")]
    seen = Counter(label.file for label in labels)
    expected = range(1, labels[0].files + 1) if labels else range(1, 2)
    reasons = [Reason("truncated", f"the file {n} of {len(expected)} is missing") for n in expected if n not in seen]
    return reasons + [Reason("corrupt", f"the file {number} is there {n} times") for number, n in seen.items() if n > 1]


def _add(schema: SqlStatements, label: Label, rows: DumpTable) -> list[Reason]:
    """Put the rows of one file to the table that the schema's text created."""
    tables = [table for table in schema.tables.values() if table.name == rows.name and table.created]
    if len(tables) != 1:
        return [Reason("corrupt", f"{label.path} holds rows of {rows.name}, which the schema does not create")]
    table = tables[0]
    if not set(rows.names() or ()) <= set(table.names() or rows.names() or ()):
        return [Reason("corrupt", f"{label.path} has columns that the schema gives {rows.name} not")]
    table.add(rows)
    return []
