"""Reads gzip and zstd strictly: every way in which they can be damaged ends in a DumpDamage, never in a shorter text.

GzipFile and igzip pass over zeros after the end, and zstandard's stream reader takes a cut frame for a whole one: so
the members, the frames and their blocks are walked here, and only the decompression itself is theirs.
"""

import struct
from collections.abc import Generator, Iterator
from typing import cast

import zstandard
from isal import igzip_lib, isal_zlib

from mem0_assets.backups.formats.byte_source import ByteSource
from mem0_assets.backups.formats.damage import damage
from mem0_assets.verdicts import ReasonCode

GZIP_MAGIC = b"\x1f\x8b"
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
ZSTD_SKIPPABLE = frozenset(bytes([first, 0x2A, 0x4D, 0x18]) for first in range(0x50, 0x60))

# isal's type hints call its exception class an exception.
_IsalError = cast("type[Exception]", igzip_lib.IsalError)
_BLOCK_BYTES = 1 << 20
_GZIP_HEADER_CHECK, _GZIP_EXTRA, _GZIP_NAME, _GZIP_COMMENT, _GZIP_RESERVED = 0x02, 0x04, 0x08, 0x10, 0xE0
_NAME_BYTES = 1 << 16
_ZSTD_LONGEST_HEADER = 18
_ZSTD_RLE, _ZSTD_RESERVED = 1, 3


def gzip_blocks(source: ByteSource) -> Generator[bytes, None, None]:
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
        if following == GZIP_MAGIC[:1]:
            raise damage("truncated", "the file ends too early")
        if following != GZIP_MAGIC:
            raise damage("corrupt", "there are bytes after the end of the gzip data")


def _inflated(inflater: igzip_lib.IgzipDecompressor, source: ByteSource) -> bytes:
    data = source.some(_BLOCK_BYTES) if inflater.needs_input else b""
    try:
        return inflater.decompress(data, _BLOCK_BYTES)
    except _IsalError as error:
        raise damage("corrupt", f"the gzip data is damaged: {error}") from error


def _skip_gzip_header(source: ByteSource) -> None:
    header = source.take(10)
    method, flags = header[2], header[3]
    if method != 8 or flags & _GZIP_RESERVED:
        raise damage("corrupt", "the gzip header is damaged")
    if flags & _GZIP_EXTRA:
        length = source.take(2)
        header += length + source.take(int.from_bytes(length, "little"))
    if flags & _GZIP_NAME:
        header += _take_through_zero(source)
    if flags & _GZIP_COMMENT:
        header += _take_through_zero(source)
    if flags & _GZIP_HEADER_CHECK:
        expected = isal_zlib.crc32(header) & 0xFFFF
        if int.from_bytes(source.take(2), "little") != expected:
            raise damage("corrupt", "the checksum of the gzip header does not fit")


def _take_through_zero(source: ByteSource) -> bytes:
    """A name of the header: all bytes up to and with the next zero byte."""
    ahead = source.peek(_NAME_BYTES)
    end = ahead.find(b"\0")
    if end < 0 and len(ahead) == _NAME_BYTES:
        raise damage("corrupt", "the gzip header is damaged: a name without end")
    return source.take(end + 1 if end >= 0 else len(ahead) + 1)


def zstd_blocks(source: ByteSource) -> Generator[bytes, None, None]:
    """The plain bytes of all zstd frames, each read to its end, and nothing after the last."""
    while magic := source.peek(4):
        if magic in ZSTD_SKIPPABLE:
            _skip_zstd_frame(source)
        elif magic == ZSTD_MAGIC:
            yield from _zstd_frame(source)
        elif len(magic) < 4 and any(known.startswith(magic) for known in (ZSTD_MAGIC, *ZSTD_SKIPPABLE)):
            raise damage("truncated", "the file ends too early")
        else:
            raise damage("corrupt", "there are bytes after the end of the zstd data")


def _skip_zstd_frame(source: ByteSource) -> None:
    left = int.from_bytes(source.take(8)[4:], "little")
    while left:
        left -= len(source.some(left))


def _zstd_frame(source: ByteSource) -> Iterator[bytes]:
    """One frame, fed block by block: a block stands for 128 KiB at most, whatever a bomb makes of a few bytes."""
    decoder = zstandard.ZstdDecompressor().decompressobj()
    header, checksum_bytes = _zstd_header(source)
    gathered = bytearray(_decoded(decoder, header))
    last = False
    while not last:
        block, last = _zstd_block(source)
        gathered += _decoded(decoder, block)
        if len(gathered) >= _BLOCK_BYTES:
            yield bytes(gathered)
            gathered.clear()
    gathered += _decoded(decoder, source.take(checksum_bytes))
    if not decoder.eof:
        raise damage("corrupt", "the zstd data is damaged: a frame ends before its time")
    if gathered:
        yield bytes(gathered)


def _zstd_header(source: ByteSource) -> tuple[bytes, int]:
    """The header of a frame, and how many bytes of checksum stand at the frame's end."""
    ahead = source.peek(_ZSTD_LONGEST_HEADER)
    try:
        size = zstandard.frame_header_size(ahead)
        checked = zstandard.get_frame_parameters(ahead).has_checksum
    except zstandard.ZstdError as error:
        code: ReasonCode = "corrupt" if len(ahead) == _ZSTD_LONGEST_HEADER else "truncated"
        raise damage(code, f"the zstd header is damaged: {error}") from error
    return source.take(size), 4 if checked else 0


def _zstd_block(source: ByteSource) -> tuple[bytes, bool]:
    """The next block of a frame, as it is, and whether it is the frame's last."""
    header = source.take(3)
    fields = int.from_bytes(header, "little")
    last, kind, size = bool(fields & 1), fields >> 1 & 3, fields >> 3
    if kind == _ZSTD_RESERVED:
        raise damage("corrupt", "the zstd data is damaged: a block of no kind")
    return header + source.take(1 if kind == _ZSTD_RLE else size), last


def _decoded(decoder: "zstandard.ZstdDecompressionObj", data: bytes) -> bytes:
    if not data:
        return b""
    try:
        return decoder.decompress(data)
    except zstandard.ZstdError as error:
        raise damage("corrupt", f"the zstd data is damaged: {error}") from error
