"""The files of an archive in pg_dump's directory format: all that its table of contents names, whole, and no others.

pg_restore opens what it needs and looks at nothing else: it follows links, waits for ever at a pipe, takes a
`3001.dat` beside a `3001.dat.gz`, and passes over what stands behind the end of a compressed file.
"""

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from mem0_assets.backups.formats.archive_toc import DataEntry, read_contents
from mem0_assets.backups.formats.bomb import without_bomb
from mem0_assets.backups.formats.byte_source import ByteSource
from mem0_assets.backups.formats.compression import gzip_blocks, zstd_blocks
from mem0_assets.backups.formats.damage import damage
from mem0_assets.backups.formats.file_blocks import file_blocks
from mem0_assets.errors import UnreachableError

TOC = "toc.dat"

_TABLE_FILE = re.compile(rb"[0-9]+\.dat")
_LARGE_OBJECTS_TOC = re.compile(rb"blobs(_[0-9]+)?\.toc")
_LARGE_OBJECT = re.compile(rb"[0-9]+ (blob_[0-9]+\.dat)")
_ENDINGS: dict[str, Callable[[ByteSource], Iterator[bytes]] | None] = {
    "": iter,
    ".gz": gzip_blocks,
    ".zst": zstd_blocks,
    ".lz4": None,  # Only pg_restore can read it.
}
# pg_dump writes two empty lines behind a table's last row, in COPY and in INSERT form.
_END_OF_ROWS = b"\n\n\n"
_END_WITHOUT_ROWS = b"\n\n"


def check_folder(folder: Path) -> None:
    """Read the folder whole. Raises DumpDamage; UnreachableError where the disk does not give it."""
    present = _files_in(folder)
    present.discard(TOC)
    for entry in read_contents(file_blocks(folder / TOC)):
        _check_entry(folder, entry, present)
    if present:
        raise damage("corrupt", f"the archive's table of contents does not name {min(present)}, which is in its folder")


def _files_in(folder: Path) -> set[str]:
    try:
        with os.scandir(folder) as entries:
            regular = {entry.name: entry.is_file(follow_symlinks=False) for entry in entries}
    except OSError as error:
        raise UnreachableError(f"{folder} cannot be read: {error.strerror}") from error
    for name in sorted(regular):
        if not regular[name]:
            raise damage("corrupt", f"{name} in the archive's folder is not a regular file")
    return set(regular)


def _check_entry(folder: Path, entry: DataEntry, present: set[str]) -> None:
    name = entry.file or b""
    if entry.kind == b"TABLE DATA" and _TABLE_FILE.fullmatch(name):
        tail = _read_whole(folder, name, present)
        if tail not in (None, _END_OF_ROWS, _END_WITHOUT_ROWS):
            raise damage("truncated", f"{name.decode()} of the archive does not come to the end of its rows")
    elif entry.kind != b"TABLE DATA" and _LARGE_OBJECTS_TOC.fullmatch(name):
        _read_whole(folder, name, present)
        for line in (folder / name.decode()).read_bytes().splitlines():
            named = _LARGE_OBJECT.fullmatch(line)
            if named is None:
                raise damage("corrupt", f"{name.decode()} of the archive is damaged")
            _read_whole(folder, named.group(1), present)
    else:
        raise damage("corrupt", "the archive's table of contents names a file that no pg_dump writes")


def _read_whole(folder: Path, name: bytes, present: set[str]) -> bytes | None:
    """Read one file to its end, as it is or compressed; its last bytes, or None where only pg_restore can read it."""
    forms = [ending for ending in _ENDINGS if name.decode() + ending in present]
    if not forms:
        raise damage("truncated", f"{name.decode()} of the archive is missing")
    if len(forms) > 1:
        raise damage("corrupt", f"{name.decode()} of the archive is there in {len(forms)} forms")
    path = folder / (name.decode() + forms[0])
    present.discard(path.name)
    reads = _ENDINGS[forms[0]]
    if reads is None:
        return None
    tail = b""
    blocks = reads(ByteSource(file_blocks(path)))
    for block in without_bomb(blocks, path.stat().st_size):
        tail = (tail + block)[-len(_END_OF_ROWS) :]
    return tail
