"""Opens a dump whatever it is wrapped in, and gives its plain text, block by block, with flat memory.

A dump that somebody hands us is plain SQL, gzip, zstd or a pg_dump archive (a file in custom format, a folder in
directory format); its name may lie, so the first bytes decide. Every way in which the wrapping can be damaged ends in
a DumpDamage, never in a shorter text.
"""

from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mem0_assets.backups.formats.archive_folder import TOC
from mem0_assets.backups.formats.archive_toc import ARCHIVE_MAGIC
from mem0_assets.backups.formats.archives import custom_text, folder_text
from mem0_assets.backups.formats.bomb import without_bomb
from mem0_assets.backups.formats.byte_source import ByteSource
from mem0_assets.backups.formats.compression import (
    GZIP_MAGIC,
    ZSTD_MAGIC,
    ZSTD_SKIPPABLE,
    gzip_blocks,
    zstd_blocks,
)
from mem0_assets.backups.formats.damage import damage
from mem0_assets.backups.formats.file_blocks import Digest, file_blocks
from mem0_assets.backups.formats.read_ahead import read_ahead

# A healthy pg_restore writes as fast as it is fed.
PG_RESTORE_PATIENCE_SECONDS = 60.0

COPY_MAGIC = b"PGCOPY\n\xff\r\n\0"

Wrapping = Literal["plain", "gzip", "zstd", "custom", "directory", "copy"]

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
    (257, b"ustar"): "a tar archive (pg_dump's custom format and its directory format are read)",
}
_HEAD_BYTES = 512


@dataclass(frozen=True)
class OpenDump:
    """A dump being read: what it is wrapped in, from the outside in, and its plain bytes in blocks.

    `blocks` can be read once. It raises DumpDamage where the dump turns out damaged, and UnreachableError where the
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
    """Open the dump `path` by what is in it, not by its name.

    `pg_restore` is the newest client program of that name; only pg_dump's own archives need it. It is given up where it
    does nothing at all for `patience` seconds. `digest` is given a file's own bytes as they are read.
    Raises NotFoundError, UnreachableError (no permission, a failing disk) and DumpDamage; the blocks raise the latter
    two also.
    """
    if is_archive_folder(path):
        with closing(folder_text(path, pg_restore, patience)) as text:
            yield OpenDump(("directory",), without_bomb(text, size_of(path)))
        return
    with closing(file_blocks(path, digest)) as file:
        wrapping, source = _unwrapped(ByteSource(file))
        with closing(_text(wrapping, source, pg_restore, patience)) as text:
            yield OpenDump(wrapping, without_bomb(text, size_of(path)))


def size_of(path: Path) -> int:
    """The bytes of a dump on disk: of the file, or of all files in the folder; 0 where it cannot be asked."""
    try:
        files = path.iterdir() if path.is_dir() else [path]
        return sum(file.stat().st_size for file in files)
    except OSError:
        return 0


def is_archive_folder(path: Path) -> bool:
    """Whether `path` is a folder that pg_dump's directory format could have made."""
    return path.is_dir() and (path / TOC).exists()


def _text(
    wrapping: tuple[Wrapping, ...], source: ByteSource, pg_restore: Path | None, patience: float
) -> Generator[bytes, None, None]:
    if wrapping[-1] == "custom":
        return custom_text(source, pg_restore, patience)
    unpacked = len(wrapping) > 1 and wrapping[-1] == "plain"
    return read_ahead(iter(source)) if unpacked else iter(source)


def _unwrapped(source: ByteSource) -> tuple[tuple[Wrapping, ...], ByteSource]:
    head = source.peek(_HEAD_BYTES)
    if head.startswith(GZIP_MAGIC):
        inner = ByteSource(gzip_blocks(source))
        return ("gzip", _innermost(inner)), inner
    if _is_zstd(head):
        inner = ByteSource(zstd_blocks(source))
        return ("zstd", _innermost(inner)), inner
    return (_innermost(source),), source


def _is_zstd(head: bytes) -> bool:
    return head.startswith(ZSTD_MAGIC) or head[:4] in ZSTD_SKIPPABLE


def _innermost(source: ByteSource) -> Literal["plain", "custom", "copy"]:
    head = source.peek(_HEAD_BYTES)
    if not head:
        raise damage("not_a_dump", "the file is empty: whatever was to write the dump wrote no byte of it")
    if head.startswith(ARCHIVE_MAGIC):
        return "custom"
    if head.startswith(COPY_MAGIC):
        return "copy"
    if head.startswith(GZIP_MAGIC) or _is_zstd(head):
        raise damage("not_a_dump", "the file is compressed twice: unpack it once, and verify what comes of it")
    for (at, magic), kind in _NOT_OURS.items():
        if head.startswith(magic, at):
            raise damage("not_a_dump", f"the file is no dump that can be read here: it looks like {kind}")
    if b"\0" in head:
        raise damage("not_a_dump", "the file is neither SQL text, nor gzip, nor zstd, nor a pg_dump archive")
    return "plain"
