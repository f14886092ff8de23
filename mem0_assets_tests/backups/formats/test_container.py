"""Opening dump files: recognised by content, and no damage of the wrapping may pass for a shorter text."""

import bz2
import gzip
import lzma
import os
import random
import struct
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from isal import igzip

from mem0_assets.backups.formats.container import open_dump
from mem0_assets.backups.formats.damage import DumpDamage
from mem0_assets.errors import NotFoundError, UnreachableError
from mem0_assets_tests.forged import dump_text

TEXT = dump_text({"alice": 1})
HALF = len(TEXT) // 2


def _zstd(data: bytes, *, checksum: bool = True) -> bytes:
    return zstandard.ZstdCompressor(level=1, write_checksum=checksum).compress(data)


def _gzip_with(flags: int, fields: bytes) -> bytes:
    """A gzip file whose header has optional fields."""
    header = b"\x1f\x8b\x08" + bytes([flags]) + b"\0\0\0\0\0\x03" + fields
    if flags & 0x02:
        header += struct.pack("<H", zlib.crc32(header) & 0xFFFF)
    return header + gzip.compress(TEXT, mtime=0)[10:]


SKIPPABLE = b"\x5a\x2a\x4d\x18" + struct.pack("<I", 11) + b"hello frame"
WRAPPED = {
    "plain": TEXT,
    "gzip": gzip.compress(TEXT),
    "igzip": igzip.compress(TEXT),
    "gzip, stored": gzip.compress(TEXT, 0),
    "gzip of two members": gzip.compress(TEXT[:HALF]) + igzip.compress(TEXT[HALF:]),
    "gzip with an empty member": gzip.compress(b"") + gzip.compress(TEXT) + gzip.compress(b""),
    "gzip with all header fields": _gzip_with(0x1F, b"\x04\0abcd" + b"dump.sql\0" + b"a comment\0"),
    "gzip with a name": _gzip_with(0x08, b"dump.sql\0"),
    "zstd": _zstd(TEXT),
    "zstd without checksum": _zstd(TEXT, checksum=False),
    "zstd of two frames": _zstd(TEXT[:HALF]) + _zstd(TEXT[HALF:]),
    "zstd with skippable frames": SKIPPABLE + _zstd(TEXT) + SKIPPABLE,
}
# Of these every bit is vouched for by a checksum.
CHECKED = ["gzip", "igzip", "gzip of two members", "gzip with all header fields", "zstd", "zstd of two frames"]


class Read:
    """Reads bytes as a dump file; `code` instead of the text where it is refused."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __call__(self, data: bytes) -> bytes:
        self._path.write_bytes(data)
        with open_dump(self._path) as dump:
            return b"".join(dump.blocks)

    def code(self, data: bytes) -> str:
        try:
            self(data)
        except DumpDamage as damage:
            return damage.reason.code
        return "ok"


@pytest.fixture
def read(tmp_path: Path) -> Read:
    return Read(tmp_path / "dump.sql.gz")


@pytest.mark.parametrize("kind", WRAPPED)
def test_a_dump_is_known_by_its_content_not_by_its_name(read: Read, kind: str) -> None:
    assert read(WRAPPED[kind]) == TEXT


@pytest.mark.parametrize("kind", ["gzip", "igzip", "gzip, stored", "gzip with all header fields", "gzip with a name"])
def test_gzip_cut_at_any_byte_is_truncated(read: Read, kind: str) -> None:
    whole = WRAPPED[kind]
    assert {read.code(whole[:length]) for length in range(2, len(whole))} == {"truncated"}


@pytest.mark.parametrize("kind", ["zstd", "zstd without checksum"])
def test_zstd_cut_at_any_byte_is_truncated(read: Read, kind: str) -> None:
    whole = WRAPPED[kind]
    assert {read.code(whole[:length]) for length in range(4, len(whole))} == {"truncated"}


@pytest.mark.parametrize(
    ("kind", "boundary"),
    [("gzip of two members", len(gzip.compress(TEXT[:HALF]))), ("zstd of two frames", len(_zstd(TEXT[:HALF])))],
)
def test_only_between_two_members_can_a_cut_go_unseen(read: Read, kind: str, boundary: int) -> None:
    """There the file is whole in itself; that the SQL ends too early is for the SQL's own end marker to tell."""
    whole = WRAPPED[kind]
    codes = {length: read.code(whole[:length]) for length in range(4, len(whole))}
    assert codes.pop(boundary) == "ok"
    assert set(codes.values()) == {"truncated"}
    assert read(whole[:boundary]) == TEXT[:HALF]


@pytest.mark.parametrize("kind", CHECKED)
def test_one_flipped_bit_never_changes_the_text(read: Read, kind: str) -> None:
    """A time, a name or a spare bit of the header may differ; then the text is the same, byte for byte."""
    whole = WRAPPED[kind]
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << place % 8
        code = read.code(bytes(damaged))
        assert code in ("corrupt", "truncated", "not_a_dump") or read(bytes(damaged)) == TEXT


@pytest.mark.parametrize("kind", CHECKED)
@pytest.mark.parametrize("tail", [b"\0", bytes(4096), b"\n", b"pg_dump: error", b"\xff" * 9, b"--\n"])
def test_bytes_after_the_end_are_corrupt_even_zeros(read: Read, kind: str, tail: bytes) -> None:
    assert read.code(WRAPPED[kind] + tail) == "corrupt"


@pytest.mark.parametrize(("kind", "tail"), [("gzip", b"\x1f"), ("gzip", b"\x1f\x8b\x08"), ("zstd", b"\x28\xb5")])
def test_the_beginning_of_a_further_member_is_a_cut(read: Read, kind: str, tail: bytes) -> None:
    assert read.code(WRAPPED[kind] + tail) == "truncated"


@pytest.mark.parametrize(
    "data",
    [b"", gzip.compress(b""), gzip.compress(b"", mtime=0) * 3, _zstd(b""), SKIPPABLE],
    ids=["an empty file", "gzip of nothing", "three of it", "zstd of nothing", "a skippable frame"],
)
def test_nothing_is_not_a_dump_however_well_it_is_wrapped(read: Read, data: bytes) -> None:
    """`pg_dump | gzip` leaves such a file, of 20 valid bytes, and exit status 0 where pg_dump could not connect."""
    assert read.code(data) == "not_a_dump"


@pytest.mark.parametrize(
    ("data", "hint"),
    [
        (TEXT.decode().encode("utf-16"), "PowerShell"),
        (bz2.compress(TEXT), "bzip2"),
        (lzma.compress(TEXT), "xz"),
        (b"SQLite format 3\0" + bytes(100), "SQLite"),
        (random.Random(1).randbytes(2000), "neither"),
    ],
    ids=["UTF-16", "bzip2", "xz", "SQLite", "noise"],
)
def test_what_is_no_dump_is_named(read: Read, data: bytes, hint: str) -> None:
    with pytest.raises(DumpDamage, match=hint) as refused:
        read(data)
    assert refused.value.code == "not_a_dump"


def test_a_tar_archive_is_refused_because_pg_restore_never_ends_on_a_cut_one(tmp_path: Path) -> None:
    (tmp_path / "toc.dat").write_bytes(b"PGDMP")
    with tarfile.open(tmp_path / "dump.tar", "w") as archive:
        archive.add(tmp_path / "toc.dat", "toc.dat")
    with pytest.raises(DumpDamage, match="custom format"), open_dump(tmp_path / "dump.tar"):
        pass


def test_a_folder_and_a_pipe_are_no_dumps_and_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(DumpDamage, match="not a regular file") as refused, open_dump(path):
            pass
        assert refused.value.code == "not_a_dump"


def test_a_missing_file_and_a_failing_disk_say_nothing_about_a_dump(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError), open_dump(tmp_path / "dump.sql"):
        pass
    with pytest.raises(UnreachableError, match="cannot be read"), open_dump(Path("/proc/self/mem")):
        pass


@pytest.mark.parametrize("wrap", [igzip.compress, _zstd], ids=["gzip", "zstd"])
def test_a_bomb_comes_in_small_blocks(tmp_path: Path, wrap: Callable[[bytes], bytes]) -> None:
    text = b"boom" * (40 << 20)
    (tmp_path / "bomb").write_bytes(wrap(text))
    with open_dump(tmp_path / "bomb") as dump:
        sizes = [len(block) for block in dump.blocks]
    assert sum(sizes) == len(text)
    assert max(sizes) < 1 << 21


@pytest.mark.parametrize("wrap", [gzip.compress, _zstd], ids=["gzip", "zstd"])
def test_what_is_compressed_twice_is_said_to_be(read: Read, wrap: Callable[[bytes], bytes]) -> None:
    for inner in (gzip.compress, _zstd):
        with pytest.raises(DumpDamage, match="compressed twice") as refused:
            read(wrap(inner(TEXT)))
        assert refused.value.code == "not_a_dump"


def test_blocks_of_a_large_file_are_whole_and_in_order(read: Read) -> None:
    lines = b"".join(b"%d\n" % number for number in range(700_000))
    assert read(gzip.compress(lines, 1)) == read(_zstd(lines)) == read(lines) == lines
