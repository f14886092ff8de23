"""The table of contents of a pg_dump archive, and whether the archive's data fit it.

pg_restore reads an archive for what its table of contents names, and is silent about the rest: data that no entry
names, data after the last entry's, an entry that says that it has no data. So the frame of the archive is walked here:
its entries, and the lengths of its data, which are handed on unread.

One format serves pg_dump's custom format (one file: contents, then the data of each entry under its number) and its
directory format (`toc.dat`: contents, with the name of each entry's file). It is PostgreSQL's own, not documented, and
has a version: 1.12 (PostgreSQL 9) to 1.16 (17 and 18) are known.
"""

from collections.abc import Generator, Iterable
from dataclasses import dataclass

from mem0_assets.backups.formats.byte_source import ByteSource
from mem0_assets.backups.formats.damage import DumpDamage, damage

ARCHIVE_MAGIC = b"PGDMP"

_OLDEST, _NEWEST = (1, 12), (1, 16)
_WITH_ACCESS_METHOD, _WITH_COMPRESSION, _WITH_KIND = (1, 14), (1, 15), (1, 16)
_CUSTOM, _DIRECTORY = 1, 3
_PARTS_OF_TIME = 7
_PLACE_UNKNOWN, _PLACE_KNOWN, _NO_DATA = 1, 2, 3
_TABLE_DATA, _LARGE_OBJECTS = 1, 3
# A database of 100,000 tables has some 100 MB of contents; more would only take time and memory.
_MOST_CONTENTS_BYTES = 1 << 27
_PASS_ON_BYTES = 1 << 18


@dataclass(frozen=True)
class DataEntry:
    """An entry that has data: of which kind (TABLE DATA, BLOBS) and where, as far as the contents say.

    `file` is its file's name in a directory, without the ending of a compressed one; `place` its byte in one file.
    """

    number: int
    kind: bytes
    file: bytes | None = None
    place: int | None = None


def read_contents(toc: Iterable[bytes]) -> list[DataEntry]:
    """The entries with data of a directory's `toc.dat`. Raises DumpDamage."""
    reader = _Reader(ByteSource(toc))
    version = _read_header(reader, _DIRECTORY)
    entries = [_read_entry(reader, version, _DIRECTORY) for _ in range(reader.number())]
    if not reader.at_end():
        raise damage("corrupt", "there is more in toc.dat than its table of contents")
    return [entry for entry in entries if entry]


def walk_archive(archive: ByteSource) -> Generator[bytes, None, None]:
    """The bytes of an archive in custom format as they are; DumpDamage where its contents and its data disagree."""
    reader = _Reader(archive)
    version = _read_header(reader, _CUSTOM)
    awaited: dict[int, DataEntry] = {}
    for _ in range(reader.number()):
        entry = _read_entry(reader, version, _CUSTOM)
        if entry:
            awaited[entry.number] = entry
        yield from reader.pass_on(_PASS_ON_BYTES)
    reader.most_bytes = None
    while not reader.at_end():
        yield from _walk_data(reader, awaited)
    yield from reader.pass_on(1)
    if awaited:
        raise damage("truncated", f"the data of {len(awaited)} of the archive's entries are not in it")


def _walk_data(reader: "_Reader", awaited: dict[int, DataEntry]) -> Generator[bytes, None, None]:
    """One entry's data: its kind, its number, and chunks until an empty one; large objects each after their number."""
    place = reader.taken
    kind = reader.byte()
    entry = awaited.pop(reader.number(), None)
    if kind not in (_TABLE_DATA, _LARGE_OBJECTS) or entry is None:
        raise damage("corrupt", "the archive holds data that its table of contents does not name")
    if entry.place not in (None, place) or (kind == _TABLE_DATA) != (entry.kind == b"TABLE DATA"):
        raise damage("corrupt", "the archive's data are not where its table of contents says")
    while kind == _TABLE_DATA or reader.number():
        while size := reader.number():
            reader.skip(size)
            yield from reader.pass_on(_PASS_ON_BYTES)
        if kind == _TABLE_DATA:
            return


def _read_header(reader: "_Reader", wanted: int) -> tuple[int, int]:
    """Read all that stands before the number of entries; the format's version."""
    if reader.take(len(ARCHIVE_MAGIC)) != ARCHIVE_MAGIC:
        raise damage("not_a_dump", "it is no archive of pg_dump")
    version = (reader.byte(), reader.byte())
    reader.byte()
    reader.integer_bytes, reader.offset_bytes = reader.byte(), reader.byte()
    if not _OLDEST <= version <= _NEWEST:
        raise _unknown(version)
    if reader.byte() != wanted:
        what = "a directory in pg_dump's format" if wanted == _DIRECTORY else "a file in pg_dump's custom format"
        raise damage("not_a_dump", f"it is a part of another archive of pg_dump, not of {what}")
    if version >= _WITH_COMPRESSION:
        reader.byte()
    else:
        reader.number()
    for _ in range(_PARTS_OF_TIME):
        reader.number()
    for _ in ("database", "server version", "pg_dump version"):
        reader.text()
    return version


def _unknown(version: tuple[int, int]) -> DumpDamage:
    known = ".".join(map(str, version))
    if version > _NEWEST:
        return damage("client_too_old", f"the archive was made by a newer pg_dump than is known here: format {known}")
    return damage("wrong_content", f"the archive was made by a pg_dump of before PostgreSQL 9: format {known}")


def _read_entry(reader: "_Reader", version: tuple[int, int], archive_format: int) -> DataEntry | None:
    """One entry; None where it has no data."""
    number, has_data = reader.number(), reader.number()
    for _ in ("class", "object", "name"):
        reader.text()
    kind = reader.text() or b""
    reader.number()  # section
    for _ in ("definition", "drop", "copy", "schema", "tablespace"):
        reader.text()
    if version >= _WITH_ACCESS_METHOD:
        reader.text()
    if version >= _WITH_KIND:
        reader.number()
    for _ in ("owner", "with oids"):
        reader.text()
    while reader.text() is not None:
        pass  # what it depends on
    if archive_format == _DIRECTORY:
        return _in_a_file(number, bool(has_data), kind, reader.text())
    return _at_a_place(number, bool(has_data), kind, *reader.offset())


def _in_a_file(number: int, has_data: bool, kind: bytes, file: bytes | None) -> DataEntry | None:
    if has_data != bool(file):
        raise damage("corrupt", "an entry of the table of contents has data and no file, or a file and no data")
    return DataEntry(number, kind, file=file) if has_data else None


def _at_a_place(number: int, has_data: bool, kind: bytes, state: int, place: int) -> DataEntry | None:
    if has_data != (state in (_PLACE_UNKNOWN, _PLACE_KNOWN)) or (not has_data and state != _NO_DATA):
        raise damage("corrupt", "an entry of the table of contents says that it has data, and that it has none")
    return DataEntry(number, kind, place=place if state == _PLACE_KNOWN else None) if has_data else None


class _Reader:
    """Takes an archive's numbers and strings, and keeps the bytes until they are passed on."""

    def __init__(self, source: ByteSource) -> None:
        self._source = source
        self._kept = bytearray()
        self.integer_bytes = self.offset_bytes = 0
        self.taken = 0
        self.most_bytes: int | None = _MOST_CONTENTS_BYTES

    def take(self, size: int) -> bytes:
        if self.most_bytes is not None and self.taken + size > self.most_bytes:
            raise damage("corrupt", f"a table of contents of more than {self.most_bytes} bytes")
        return self._keep(self._source.take(size))

    def skip(self, size: int) -> None:
        """Take `size` bytes of data, piece by piece."""
        if size < 0:
            raise damage("corrupt", "the archive's data have a length below zero")
        while size:
            size -= len(self._keep(self._source.some(size)))

    def _keep(self, data: bytes) -> bytes:
        self._kept += data
        self.taken += len(data)
        return data

    def pass_on(self, least: int) -> Generator[bytes, None, None]:
        """What was taken, once it is at least so many bytes."""
        if len(self._kept) >= least:
            yield bytes(self._kept)
            self._kept.clear()

    def at_end(self) -> bool:
        return not self._source.peek(1)

    def byte(self) -> int:
        return self.take(1)[0]

    def number(self) -> int:
        """A sign and the bytes of a number, the lowest first."""
        negative = self.byte()
        value = int.from_bytes(self.take(self.integer_bytes), "little")
        return -value if negative else value

    def offset(self) -> tuple[int, int]:
        return self.byte(), int.from_bytes(self.take(self.offset_bytes), "little")

    def text(self) -> bytes | None:
        size = self.number()
        return None if size < 0 else self.take(size)
