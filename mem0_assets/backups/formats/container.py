"""Opens a dump file whatever it is wrapped in, and gives its plain text, block by block, with flat memory.

A dump that somebody hands us is plain SQL, gzip, zstd or a pg_dump archive (custom format); its name may lie, so the
first bytes decide. Every way in which the wrapping can be damaged ends in a DumpDamage, never in a shorter text.
GzipFile and igzip pass over zeros after the end, and zstandard's stream reader takes a cut frame for a whole one: so
the members and the frames are walked here, and only the decompression itself is theirs.
"""

import os
import select
import struct
import subprocess
import tempfile
import threading
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal, Protocol, cast

import zstandard
from isal import igzip_lib, isal_zlib

from mem0_assets.errors import NotFoundError, RefusedError, UnreachableError
from mem0_assets.verdicts import Reason, ReasonCode

# No row of PostgreSQL is longer than this in text form; a longer line is no row, and reading it would take the memory.
MAX_LINE_BYTES = 1 << 30

# A healthy pg_restore writes as fast as it is fed.
PG_RESTORE_PATIENCE_SECONDS = 60.0

Wrapping = Literal["plain", "gzip", "zstd", "archive", "copy"]

# isal's type hints call its exception class an exception.
_IsalError = cast("type[Exception]", igzip_lib.IsalError)
_BLOCK_BYTES = 1 << 20
# A zstd block of 4 bytes can stand for 128 KiB: 4 KiB of input are at most 128 MiB of output.
_ZSTD_STEP_BYTES = 1 << 12
_GZIP_MAGIC = b"\x1f\x8b"
_GZIP_HEADER_CHECK, _GZIP_EXTRA, _GZIP_NAME, _GZIP_COMMENT, _GZIP_RESERVED = 0x02, 0x04, 0x08, 0x10, 0xE0
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_ZSTD_SKIPPABLE = frozenset(bytes([first, 0x2A, 0x4D, 0x18]) for first in range(0x50, 0x60))
_ARCHIVE_MAGIC = b"PGDMP"
COPY_MAGIC = b"PGCOPY\n\xff\r\n\0"
# What else people keep dumps in, by where its mark stands: named, so that they know what to do.
_NOT_OURS = {
    (0, b"\xff\xfe"): "UTF-16 text, as PowerShell's `>` writes it",
    (0, b"\xfe\xff"): "UTF-16 text",
    (0, b"BZh"): "bzip2",
    (0, b"\xfd7zXZ"): "xz",
    (0, b"\x04\x22\x4d\x18"): "lz4",
    (0, b"PK\x03\x04"): "zip",
    (0, b"7z\xbc\xaf"): "7z",
    (0, b"SQLite format 3"): "a SQLite database",
    (0, b"age-encryption.org"): "encrypted with age",
    # pg_restore of 16 and 18 never ends on a tar archive that was cut, and misses what was cut off its end.
    (257, b"ustar"): "a tar archive (of pg_dump's archives, only the custom format is read)",
}
_HEAD_BYTES = 512
_NAME_BYTES = 1 << 16
_PROGRAM_TEXT_BYTES = 600


class DumpDamage(RefusedError):
    """A dump file that is not whole, or is none; `reason` says which, as the verdict carries it."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.message, code=reason.code)
        self.reason = reason


def damage(code: ReasonCode, message: str) -> DumpDamage:
    """A DumpDamage of this reason, to raise."""
    return DumpDamage(Reason(code, message))


class Digest(Protocol):
    """Takes bytes, as the digests of hashlib do."""

    def update(self, data: bytes, /) -> object: ...


@dataclass(frozen=True)
class OpenDump:
    """A dump file being read: what it is wrapped in, from the outside in, and its plain bytes in blocks.

    `blocks` can be read once. It raises DumpDamage where the file turns out damaged, and UnreachableError where the
    disk does not give it.
    """

    wrapping: tuple[Wrapping, ...]
    blocks: Iterator[bytes]


@contextmanager
def open_dump(
    path: Path,
    *,
    pg_restore: Path | None = None,
    patience: float = PG_RESTORE_PATIENCE_SECONDS,
    digest: Digest | None = None,
) -> Iterator[OpenDump]:
    """Open the dump file `path` by what is in it, not by its name.

    `pg_restore` is the newest client program of that name; only pg_dump's own archives (custom format) need it. It is
    given up where it does nothing at all for `patience` seconds. `digest` is given the file's own bytes as they are read.
    Raises NotFoundError, UnreachableError (no permission, a failing disk) and DumpDamage; the blocks raise the latter
    two also.
    """
    with opened(path) as file, closing(_blocks_of(file, path, digest)) as blocks:
        wrapping, source = _unwrapped(_Source(blocks))
        plain = _archive_blocks(source, pg_restore, patience) if wrapping[-1] == "archive" else iter(source)
        with closing(plain):
            yield OpenDump(wrapping, plain)


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """A regular file, open for reading. Raises NotFoundError, UnreachableError, and DumpDamage where it is none."""
    try:
        if not path.is_file():
            if not path.exists():
                raise NotFoundError(f"{path} does not exist")
            raise damage("not_a_dump", f"{path} is not a regular file")
        file = path.open("rb", buffering=0)
    except OSError as error:
        raise UnreachableError(f"{path} cannot be read: {error.strerror}") from error
    with file:
        yield file


def _blocks_of(file: IO[bytes], path: Path, digest: Digest | None) -> Generator[bytes, None, None]:
    while True:
        try:
            block = file.read(_BLOCK_BYTES)
        except OSError as error:
            raise UnreachableError(f"{path} cannot be read: {error.strerror}") from error
        if not block:
            return
        if digest is not None:
            digest.update(block)
        yield block


class _Source:
    """Bytes by number from blocks of any size, and what was taken too many given back."""

    def __init__(self, blocks: Iterable[bytes]) -> None:
        self._blocks = iter(blocks)
        self._rest = b""

    def more(self) -> bytes:
        """The next bytes, at most a block; none at the end."""
        rest, self._rest = self._rest, b""
        return rest or next(self._blocks, b"")

    def give_back(self, data: bytes) -> None:
        self._rest = data + self._rest

    def peek(self, size: int) -> bytes:
        """The next `size` bytes, fewer only at the end, without taking them."""
        while len(self._rest) < size:
            block = next(self._blocks, b"")
            if not block:
                break
            self._rest += block
        return self._rest[:size]

    def take(self, size: int) -> bytes:
        """Exactly `size` bytes; raises DumpDamage `truncated` where the file ends before."""
        data = self.peek(size)
        if len(data) < size:
            raise damage("truncated", "the compressed file ends too early")
        self._rest = self._rest[size:]
        return data

    def take_through_zero(self) -> bytes:
        """All bytes up to and with the next zero byte."""
        end = self.peek(_NAME_BYTES).find(b"\0")
        if end < 0 and len(self._rest) >= _NAME_BYTES:
            raise damage("corrupt", "the gzip header is damaged: a name without end")
        return self.take(end + 1 if end >= 0 else len(self._rest) + 1)

    def __iter__(self) -> Generator[bytes, None, None]:
        while block := self.more():
            yield block


def _unwrapped(source: _Source) -> tuple[tuple[Wrapping, ...], _Source]:
    head = source.peek(_HEAD_BYTES)
    if head.startswith(_GZIP_MAGIC):
        inner = _Source(_gzip_blocks(source))
        return ("gzip", _innermost(inner)), inner
    if head.startswith(_ZSTD_MAGIC) or head[:4] in _ZSTD_SKIPPABLE:
        inner = _Source(_zstd_blocks(source))
        return ("zstd", _innermost(inner)), inner
    return (_innermost(source),), source


def _innermost(source: _Source) -> Literal["plain", "archive", "copy"]:
    head = source.peek(_HEAD_BYTES)
    if not head:
        raise damage("not_a_dump", "the file is empty: whatever was to write the dump wrote no byte of it")
    if head.startswith(_ARCHIVE_MAGIC):
        return "archive"
    if head.startswith(COPY_MAGIC):
        return "copy"
    for (at, magic), kind in _NOT_OURS.items():
        if head.startswith(magic, at):
            raise damage("not_a_dump", f"the file is no dump that can be read here: it looks like {kind}")
    if b"\0" in head:
        raise damage("not_a_dump", "the file is neither SQL text, nor gzip, nor zstd, nor a pg_dump archive")
    return "plain"


def _gzip_blocks(source: _Source) -> Generator[bytes, None, None]:
    """The plain bytes of all gzip members, each proven by its checksum and its length, and nothing after the last."""
    while True:
        _skip_gzip_header(source)
        inflater = igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_DEFLATE)
        checksum = size = 0
        while not inflater.eof:
            block = _inflated(inflater, source)
            checksum = isal_zlib.crc32(block, checksum)
            size += len(block)
            if block:
                yield block
        source.give_back(inflater.unused_data)
        if struct.unpack("<II", source.take(8)) != (checksum, size & 0xFFFFFFFF):
            raise damage("corrupt", "the gzip checksum does not fit the content")
        following = source.peek(2)
        if not following:
            return
        if following == _GZIP_MAGIC[:1]:
            raise damage("truncated", "the compressed file ends too early")
        if following != _GZIP_MAGIC:
            raise damage("corrupt", "there are bytes after the end of the gzip data")


def _inflated(inflater: igzip_lib.IgzipDecompressor, source: _Source) -> bytes:
    data = b""
    if inflater.needs_input:
        data = source.more()
        if not data:
            raise damage("truncated", "the compressed file ends too early")
    try:
        return inflater.decompress(data, _BLOCK_BYTES)
    except _IsalError as error:
        raise damage("corrupt", f"the gzip data is damaged: {error}") from error


def _skip_gzip_header(source: _Source) -> None:
    header = source.take(10)
    method, flags = header[2], header[3]
    if method != 8 or flags & _GZIP_RESERVED:
        raise damage("corrupt", "the gzip header is damaged")
    if flags & _GZIP_EXTRA:
        length = source.take(2)
        header += length + source.take(int.from_bytes(length, "little"))
    if flags & _GZIP_NAME:
        header += source.take_through_zero()
    if flags & _GZIP_COMMENT:
        header += source.take_through_zero()
    if flags & _GZIP_HEADER_CHECK:
        expected = isal_zlib.crc32(header) & 0xFFFF
        if int.from_bytes(source.take(2), "little") != expected:
            raise damage("corrupt", "the checksum of the gzip header does not fit")


def _zstd_blocks(source: _Source) -> Generator[bytes, None, None]:
    """The plain bytes of all zstd frames, each read to its end, and nothing after the last."""
    while magic := source.peek(4):
        if magic in _ZSTD_SKIPPABLE:
            _skip_zstd_frame(source)
        elif magic == _ZSTD_MAGIC:
            yield from _zstd_frame(source)
        elif len(magic) < 4 and any(known.startswith(magic) for known in (_ZSTD_MAGIC, *_ZSTD_SKIPPABLE)):
            raise damage("truncated", "the compressed file ends too early")
        else:
            raise damage("corrupt", "there are bytes after the end of the zstd data")


def _skip_zstd_frame(source: _Source) -> None:
    left = int.from_bytes(source.take(8)[4:], "little")
    while left:
        data = source.more()
        if not data:
            raise damage("truncated", "the compressed file ends too early")
        source.give_back(data[left:])
        left -= min(left, len(data))


def _zstd_frame(source: _Source) -> Iterator[bytes]:
    frame = zstandard.ZstdDecompressor().decompressobj()
    while not frame.eof:
        data = source.more()
        if not data:
            raise damage("truncated", "the compressed file ends too early")
        parts: list[bytes] = []
        size = at = 0
        while at < len(data) and not frame.eof and size < _BLOCK_BYTES:
            try:
                parts.append(frame.decompress(data[at : at + _ZSTD_STEP_BYTES]))
            except zstandard.ZstdError as error:
                raise damage("corrupt", f"the zstd data is damaged: {error}") from error
            size += len(parts[-1])
            at += _ZSTD_STEP_BYTES
        source.give_back(frame.unused_data + data[at:] if frame.eof else data[at:])
        if size:
            yield b"".join(parts)


class _Feeder(threading.Thread):
    """Writes an archive into pg_restore while its text is read; keeps the damage that it met in the wrapping."""

    def __init__(self, archive: Iterable[bytes], pipe: IO[bytes]) -> None:
        super().__init__(daemon=True)
        self._archive = archive
        self._pipe = pipe
        self._reading = True
        self.written = 0
        self.error: DumpDamage | UnreachableError | None = None

    @property
    def waits_for_disk(self) -> bool:
        """Whether it is the file, not pg_restore, that keeps everybody waiting."""
        return self._reading and self.is_alive()

    def run(self) -> None:
        try:
            with self._pipe:
                for block in self._archive:
                    self._reading = False
                    self._pipe.write(block)
                    self.written += len(block)
                    self._reading = True
        except (DumpDamage, UnreachableError) as error:
            self.error = error
        except OSError:
            return  # pg_restore stopped reading; its own words say why.


def _archive_blocks(archive: _Source, pg_restore: Path | None, patience: float) -> Generator[bytes, None, None]:
    """The SQL text of a pg_dump archive, as the program `pg_restore` writes it."""
    if pg_restore is None:
        raise damage("client_missing", "a pg_dump archive is read by pg_restore, and there is none here")
    with tempfile.TemporaryFile() as words:
        program = _start_pg_restore(pg_restore, words)
        assert program.stdin is not None
        assert program.stdout is not None
        feeder = _Feeder(archive, program.stdin)
        feeder.start()
        try:
            yield from _output_of(program.stdout, feeder, patience)
            status = program.wait()
        finally:
            program.kill()  # Nothing happens to one that has ended by itself.
            program.wait()
            program.stdout.close()
            feeder.join()
        words.seek(0)
        _judge_pg_restore(status, words.read(_PROGRAM_TEXT_BYTES).decode("utf-8", "replace"), feeder.error)


def _start_pg_restore(pg_restore: Path, words: IO[bytes]) -> "subprocess.Popen[bytes]":
    try:
        return subprocess.Popen(
            [str(pg_restore), "--file=-"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=words,
            env={**os.environ, "LC_ALL": "C"},
        )
    except OSError as error:
        raise damage("client_missing", f"{pg_restore} cannot be run: {error.strerror}") from error


def _output_of(stdout: IO[bytes], feeder: _Feeder, patience: float) -> Iterator[bytes]:
    """What pg_restore writes; DumpDamage where it does nothing for `patience` seconds though it has all it needs.

    Of 400 archives with one bit flipped, one made pg_restore 18 decompress for ever what is not compressed.
    """
    while True:
        written = feeder.written
        ready, _, _ = select.select([stdout], [], [], patience)
        if ready:
            block = os.read(stdout.fileno(), _BLOCK_BYTES)
            if not block:
                return
            yield block
        elif written == feeder.written and not feeder.waits_for_disk:
            raise damage("corrupt", f"pg_restore got lost in the archive: nothing came of it for {patience} seconds")


def _judge_pg_restore(status: int, words: str, fed: DumpDamage | UnreachableError | None) -> None:
    if fed is not None:
        raise fed
    said = " ".join(words.split())
    if "unsupported version" in said:
        raise damage("client_too_old", f"the archive was made by a newer pg_dump than this pg_restore: {said}")
    if status != 0 or said:
        raise damage("corrupt", f"pg_restore could not read the archive: {said or f'it ended with status {status}'}")
