"""What each file of a `binary` dump says of itself: to which dump it belongs, and whose rows it holds.

It stands before the data, in a frame that zstd skips: `zstd -dc` gives the data alone, and a file that was lost, mixed
up or renamed is still known for what it is, with the manifest or without.
"""

import json
import re
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from psycopg import sql
from pydantic import TypeAdapter, ValidationError

from mem0_assets.backups.formats.damage import damage
from mem0_assets.backups.formats.file_blocks import opened
from mem0_assets.live.tables import Table, plain_name

PRE_DATA = "pre-data.sql.zst"
POST_DATA = "post-data.sql.zst"
DATA = "data"

_FRAME = struct.Struct("<III")  # zstd's mark of a frame to skip, its length, and the checksum of what follows
_MARK = 0x184D2A5E
_MOST_BYTES = 1 << 20  # 1,600 columns with names of 63 bytes
_SAFE = re.compile(r"[^A-Za-z0-9_-]+")


@dataclass(frozen=True)
class Label:
    """`file` of `files` of the dump named `dump`, counted from 1. A file of rows says whose: its table, their columns.

    `columns` are (name, type) in the order of the rows' fields.
    """

    dump: str
    file: int
    files: int
    content: Literal["pre-data", "rows", "post-data"]
    table: Table | None = None
    columns: tuple[tuple[str, str], ...] = ()

    @property
    def path(self) -> str:
        """Where the file stands in the dump's folder: in the order of loading, with a name that any shell takes."""
        if self.table is None:
            return PRE_DATA if self.content == "pre-data" else POST_DATA
        return f"{DATA}/{self.file:04d}_{_SAFE.sub('_', self.table[1])[:40]}.copy.zst"

    @property
    def what(self) -> str:
        """What is in it, for people."""
        return f"rows of {plain_name(self.table)}" if self.table else self.content

    @property
    def statement(self) -> str | None:
        """The SQL that loads the rows; None for a file that is SQL itself."""
        if self.table is None:
            return None
        columns = sql.SQL(", ").join(sql.Identifier(name) for name, _ in self.columns)
        text = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT binary)").format(sql.Identifier(*self.table), columns)
        return text.as_string()

    def as_frame(self) -> bytes:
        """The bytes that stand before the data."""
        content = json.dumps(vars(self), ensure_ascii=False).encode()
        return _FRAME.pack(_MARK, len(content) + 4, zlib.crc32(content)) + content


_READER = TypeAdapter(Label)


def read_label(path: Path) -> Label:
    """The label of a file of a binary dump. Raises DumpDamage, NotFoundError, UnreachableError."""
    with opened(path) as file:
        head = file.read(_FRAME.size)
        if len(head) < _FRAME.size:
            raise damage("truncated", f"{path.name} ends before its label does")
        mark, length, checksum = _FRAME.unpack(head)
        if mark != _MARK or not 4 < length <= _MOST_BYTES:
            raise damage("corrupt", f"{path.name} does not begin with the label of a binary dump")
        content = file.read(length - 4)
    if len(content) < length - 4:
        raise damage("truncated", f"{path.name} ends inside its label")
    try:
        if zlib.crc32(content) != checksum:
            raise ValueError
        return _READER.validate_json(content, strict=True)
    except (ValidationError, ValueError):
        raise damage("corrupt", f"the label of {path.name} is damaged") from None
