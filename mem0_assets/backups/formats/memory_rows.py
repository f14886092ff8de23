"""What the rows of one table of memories say: namespaces, dimensions, and whether each row could be loaded at all.

A row is some 20 KB, of which the vector's digits are all but a few hundred bytes: to count it the vector's commas are
counted and its digits never looked at, only the payload is parsed. They are read where the row is wanted as a memory.
"""

import re
from collections import Counter
from dataclasses import dataclass, field
from uuid import UUID

from mem0_assets.backups.formats.span import Span
from mem0_assets.live.memories import Memory, Selection
from mem0_assets.live.namespaces import namespace_of
from mem0_assets.live.vectors import vector_of_text

SHAPE = frozenset({"id", "vector", "payload"})
# All that PostgreSQL reads as a uuid.
UUID_TEXT = re.compile(rb"\{?(?:[0-9A-Fa-f]{4}-?){7}[0-9A-Fa-f]{4}\}?")

_COPY_ESCAPE = re.compile(rb"\\(x[0-9A-Fa-f]{1,2}|[0-7]{1,3}|.)", re.DOTALL)
_STRING_ESCAPE = re.compile(rb"''|\\(x[0-9A-Fa-f]{1,2}|[0-7]{1,3}|.)", re.DOTALL)
_LETTERS = {b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v"}


class RowFault(ValueError):
    """Why a row could not be loaded, or is no memory. Never holds a part of the row."""


@dataclass
class MemoryRows:
    """The tally of the rows of one table that has the columns id, vector and payload."""

    namespaces: Counter[str] = field(default_factory=Counter)
    dimensions: Counter[int] = field(default_factory=Counter)
    last_number: bytes | None = None

    def add(self, number: bytes | None, vector: Span | None, payload: bytes | None, encoding: str) -> str:
        """Count one row: its id, its vector in text form and its payload as JSON, where None is NULL; its namespace.

        Raises RowFault, and then counts nothing.
        """
        if number == self.last_number and number is not None:
            raise RowFault("its id is that of the row before it")
        self.last_number = number
        dimensions = 0
        if vector is not None:
            if not (vector.starts_with(b"[") and vector.ends_with(b"]")):
                raise RowFault("its vector is none")
            dimensions = vector.count(b",") + 1
        return self.tally(dimensions, payload, encoding)

    def tally(self, dimensions: int, payload: bytes | None, encoding: str = "utf-8") -> str:
        """Count one row by its vector's dimensions (0: it has none) and its payload. Raises RowFault likewise."""
        try:
            text = None if payload is None else payload.decode(encoding)
            namespace = namespace_of(text)
        except UnicodeDecodeError:
            raise RowFault("its payload is not in the encoding of the dump") from None
        except ValueError as error:
            raise RowFault(f"its payload is damaged: {error}") from None
        self.namespaces[namespace] += 1
        if dimensions:
            self.dimensions[dimensions] += 1
        return namespace


def memory_of_text(
    number: bytes | None,
    namespace: str,
    payload: bytes | None,
    vector: Span | None,
    encoding: str,
    selection: Selection,
) -> Memory | None:
    """The memory of one counted row in text form; None where it is not selected. Raises RowFault."""
    if number is None or not UUID_TEXT.fullmatch(number):
        raise RowFault("its id is none")
    memory = UUID(number.decode())
    if not selection.takes(memory, namespace):
        return None
    text = None if payload is None else payload.decode(encoding)
    if vector is None or not selection.vectors:
        return Memory(memory, namespace, text, None)
    try:
        return Memory(memory, namespace, text, vector_of_text(vector.value().decode()))
    except ValueError:
        raise RowFault("its vector is none") from None


def copy_field(raw: bytes) -> bytes | None:
    """The value of a field of a COPY line: its escapes resolved; None for NULL."""
    if raw == b"\\N":
        return None
    if b"\\" not in raw:
        return raw
    if b"\\" not in raw.replace(b"\\\\", b""):  # What jsonb brings: its own backslashes, doubled.
        return raw.replace(b"\\\\", b"\\")
    return _COPY_ESCAPE.sub(_unescaped, raw)


def string_value(raw: bytes, *, escapes: bool) -> bytes:
    """The value of a string literal, from what stands between its quotes."""
    if escapes and b"\\" in raw:
        return _STRING_ESCAPE.sub(_unescaped, raw)
    return raw.replace(b"''", b"'") if b"'" in raw else raw


def _unescaped(match: re.Match[bytes]) -> bytes:
    escape = match.group(1)
    if escape is None:
        return b"'"
    if escape[:1] in b"01234567":
        return bytes([int(escape, 8) & 0xFF])
    if escape[:1] == b"x" and len(escape) > 1:
        return bytes([int(escape[1:], 16)])
    return _LETTERS.get(escape, escape)
