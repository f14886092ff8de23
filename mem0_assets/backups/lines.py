"""Memories as JSON Lines: one a line, from which each comes back to the letter. docs/export.md describes it for people.

`payload` stands as PostgreSQL writes it, untouched: 1.50 stays 1.50. A key that is missing is not a null: without
`payload` the column is NULL, `"payload": null` is the JSON null; without `vector` vectors were not exported,
`"vector": null` is a memory without one.
"""

import json
import re
from collections.abc import Iterable, Iterator
from typing import NoReturn
from uuid import UUID

from mem0_assets.errors import RefusedError
from mem0_assets.live.memories import Memory
from mem0_assets.live.namespaces import namespace_of, numeric_text
from mem0_assets.live.vectors import numbers_of, vector_of_text

_KEYS = frozenset(["id", "payload", "vector"])
# A row of PostgreSQL has 1 GB at most; a memory has some KB, and 16,000 dimensions are 200 KB of digits.
MOST_BYTES = 1 << 26
_UUID = re.compile(r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
_BLANKS = re.compile(r"[ \t\r\n]*")
_ZERO = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")


class LineError(RefusedError):
    """A line that is no memory. The message holds its number, and nothing of its content."""

    code = "not_an_export"


def line_of(memory: Memory, *, vectors: bool) -> bytes:
    """The line of one memory, its newline included."""
    members = [f'"id": "{memory.id}"']
    if memory.payload is not None:
        # jsonb is written without newlines; in a column of type json they are blanks.
        payload = memory.payload.replace("\n", " ").replace("\r", " ")
        members.append(f'"payload": {payload}')
    if vectors:
        members.append(f'"vector": {"null" if memory.vector is None else _digits(memory.vector)}')
    return f"{{{', '.join(members)}}}\n".encode()


def _digits(vector: bytes) -> str:
    """The elements with the nine digits that a float4 needs to come back to the last bit."""
    return f"[{','.join(f'{number:.9g}' for number in numbers_of(vector))}]"


def read_lines(lines: Iterable[bytes]) -> Iterator[tuple[int, Memory, bool]]:
    """Every memory of a file in this form: the number of its line, and whether it says which vector it has.

    Empty lines are passed over. Raises LineError at the first line that is no memory, or whose id was there already.
    """
    seen: dict[bytes, int] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            memory, with_vector = _memory_of(line)
        except RecursionError:
            raise LineError(f"line {number}: it is nested too deeply") from None
        except ValueError as error:
            raise LineError(f"line {number}: {_plain(error)}") from None
        first = seen.setdefault(memory.id.bytes, number)
        if first != number:
            raise LineError(f"line {number}: its id is that of line {first}")
        yield number, memory, with_vector


def _plain(error: ValueError) -> str:
    """What is wrong, without the text that it is wrong in."""
    if isinstance(error, json.JSONDecodeError):
        return f"no JSON: {error.msg} (character {error.pos + 1})"
    return "it is not UTF-8" if isinstance(error, UnicodeError) else str(error)


def _memory_of(line: bytes) -> tuple[Memory, bool]:
    if len(line) > MOST_BYTES:
        raise ValueError(f"it has more than {MOST_BYTES} bytes")
    members = _members(line.decode())
    number, payload, vector = (members.get(key) for key in ("id", "payload", "vector"))
    if number is None or not _UUID.fullmatch(number[1:-1]):
        raise ValueError("its id is no uuid" if number else "it has no id")
    if payload is not None:
        _refuse_impossible(payload)
    return Memory(UUID(number[1:-1]), namespace_of(payload), payload, _vector(vector)), vector is not None


def _vector(written: str | None) -> bytes | None:
    if written is None or written == "null":
        return None
    try:
        return vector_of_text(written)
    except ValueError:
        raise ValueError("its vector is none") from None


def _members(text: str) -> dict[str, str]:
    """The members of the object on a line, each value as it is written: what JSON reads, it cannot write again."""
    members: dict[str, str] = {}
    at = _after(text, "{", 0)
    while True:
        if not text.startswith('"', at):
            raise json.JSONDecodeError("Expecting a key", text, at)
        key, at = _DECODER.raw_decode(text, at)
        if key not in _KEYS or key in members:
            raise ValueError("a key that is not id, payload or vector, or stands there twice")
        at = _after(text, ":", at)
        end = text.find("]", at) + 1 if key == "vector" and text.startswith("[", at) else 0
        if not end:
            _, end = _DECODER.raw_decode(text, at)
        members[key] = text[at:end]
        ending = _skip(text, end)
        if not text.startswith(",", ending):
            if _after(text, "}", ending) != len(text):
                raise ValueError("there is more on it than one memory")
            return members
        at = _after(text, ",", ending)


def _skip(text: str, at: int) -> int:
    blanks = _BLANKS.match(text, at)
    assert blanks is not None
    return blanks.end()


def _after(text: str, sign: str, at: int) -> int:
    """Where the next token begins behind this sign. Raises ValueError where the sign is not there."""
    at = _skip(text, at)
    if not text.startswith(sign, at):
        raise json.JSONDecodeError(f"Expecting '{sign}'", text, at)
    return _skip(text, at + 1)


def _refuse_impossible(payload: str) -> None:
    """What JSON may say and jsonb cannot hold: zero characters, halves of surrogate pairs. (Numbers were looked at.)"""
    if _ZERO.search(payload):
        raise ValueError("its payload holds a zero character")
    if "\\u" in payload:
        try:
            json.dumps(json.loads(payload), ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise ValueError("its payload holds half of a surrogate pair") from None


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"no JSON: {name}")


_DECODER = json.JSONDecoder(parse_float=numeric_text, parse_int=numeric_text, parse_constant=_refuse_constant)
