"""What two sets of memories have not in common: per namespace what was gained, lost and changed, and in which part.

Of each memory before, the id (16 bytes) and a digest of each part (8 bytes each) are kept, never its text: a million of
them take 250 MB, and 20 s more than reading them. Of those after, nothing is kept but the ids that are asked for.
"""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, Literal, get_args
from uuid import UUID

from mem0_assets.live.memories import Memory

Part = Literal["text", "metadata", "times", "vector"]
PARTS: tuple[Part, ...] = get_args(Part)

_TEXT_KEYS = frozenset(["data", "hash", "text_lemmatized"])  # mem0 derives the latter two from the first
_TIME_KEYS = frozenset(["created_at", "updated_at"])
_DIGEST_BYTES = 8


@dataclass(frozen=True)
class Change:
    """One memory that is on both sides, and the parts of it that differ."""

    id: UUID
    parts: tuple[Part, ...]


@dataclass
class NamespaceDifference:
    """What became of one namespace. `parts` counts the changed memories by part: one may stand under several.

    A memory whose namespace changed was lost from the one and gained by the other. So lost, changed and unchanged are
    all that was there before, and gained, changed and unchanged all that is there after.
    """

    gained: int = 0
    lost: int = 0
    changed: int = 0
    unchanged: int = 0
    parts: Counter[Part] = field(default_factory=Counter)
    gained_ids: list[UUID] = field(default_factory=list)
    lost_ids: list[UUID] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)

    @property
    def same(self) -> bool:
        return not (self.gained or self.lost or self.changed)

    def as_json(self) -> dict[str, Any]:
        return {
            "gained": self.gained,
            "lost": self.lost,
            "changed": self.changed,
            "unchanged": self.unchanged,
            "changed_parts": {part: self.parts[part] for part in PARTS},
        }

    def ids_as_json(self) -> dict[str, Any]:
        changes = sorted(self.changes, key=lambda change: change.id)
        return {
            "gained_ids": sorted(map(str, self.gained_ids)),
            "lost_ids": sorted(map(str, self.lost_ids)),
            "changed_ids": {str(change.id): list(change.parts) for change in changes},
        }


@dataclass(frozen=True)
class Difference:
    """The namespaces of both sides, those with the most losses first."""

    namespaces: dict[str, NamespaceDifference]

    @property
    def same(self) -> bool:
        return all(one.same for one in self.namespaces.values())

    @property
    def gained(self) -> int:
        return sum(one.gained for one in self.namespaces.values())

    @property
    def lost(self) -> int:
        return sum(one.lost for one in self.namespaces.values())

    @property
    def changed(self) -> int:
        return sum(one.changed for one in self.namespaces.values())

    @property
    def unchanged(self) -> int:
        return sum(one.unchanged for one in self.namespaces.values())

    def as_json(self, *, ids: bool = False) -> dict[str, Any]:
        named = self.namespaces.items()
        return {
            "gained": self.gained,
            "lost": self.lost,
            "changed": self.changed,
            "unchanged": self.unchanged,
            "namespaces": {name: one.as_json() | (one.ids_as_json() if ids else {}) for name, one in named},
        }


def difference(before: Iterable[Memory], after: Iterable[Memory], *, keep_ids: bool = False) -> Difference:
    """Compare two sets of memories by id; each is read once, `before` first. With `keep_ids` it is told which differ.

    Where vectors were not read on both sides, they count as equal. Raises what reading raises.
    """
    found: dict[str, NamespaceDifference] = {}
    known: dict[bytes, tuple[NamespaceDifference, bytes]] = {}
    for memory in before:
        known[memory.id.bytes] = found.setdefault(memory.namespace, NamespaceDifference()), _digests(memory)
    for memory in after:
        one = found.setdefault(memory.namespace, NamespaceDifference())
        was, digests = known.pop(memory.id.bytes, (None, b""))
        if was is one:
            _compare(one, memory, digests, keep_ids)
            continue
        one.gained += 1
        if keep_ids:
            one.gained_ids.append(memory.id)
        if was is not None:
            _lose(was, memory.id, keep_ids)
    for number, (was, _) in known.items():
        _lose(was, UUID(bytes=number), keep_ids)
    return Difference(dict(sorted(found.items(), key=_worst_first)))


def _worst_first(named: tuple[str, NamespaceDifference]) -> tuple[int, int, int, str]:
    name, one = named
    return -one.lost, -one.changed, -one.gained, name


def _lose(one: NamespaceDifference, memory: UUID, keep_ids: bool) -> None:
    one.lost += 1
    if keep_ids:
        one.lost_ids.append(memory)


def _compare(one: NamespaceDifference, memory: Memory, before: bytes, keep_ids: bool) -> None:
    after = _digests(memory)
    if after == before:
        one.unchanged += 1
        return
    parts = tuple(
        part
        for number, part in enumerate(PARTS)
        if before[number * _DIGEST_BYTES :][:_DIGEST_BYTES] != after[number * _DIGEST_BYTES :][:_DIGEST_BYTES]
    )
    one.changed += 1
    one.parts.update(parts)
    if keep_ids:
        one.changes.append(Change(memory.id, parts))


def _digests(memory: Memory) -> bytes:
    """A digest of each part, in the order of PARTS."""
    text, metadata, times = _parts_of(memory.payload)
    return _digest(text) + _digest(metadata) + _digest(times) + _digest(memory.vector or b"")


def _digest(data: bytes) -> bytes:
    return blake2b(data, digest_size=_DIGEST_BYTES).digest()


def _parts_of(payload: str | None) -> tuple[bytes, bytes, bytes]:
    """Text, metadata and times of a payload. What is no object, or is nested too deeply to be read, is all metadata."""
    try:
        content = None if payload is None else _DECODER.decode(payload)
    except RecursionError:
        content = None
    if not isinstance(content, dict):
        return b"", (payload or "").encode(), b""
    text = {key: value for key, value in content.items() if key in _TEXT_KEYS}
    times = {key: value for key, value in content.items() if key in _TIME_KEYS}
    metadata = {key: value for key, value in content.items() if key not in _TEXT_KEYS and key not in _TIME_KEYS}
    return _canonical(text) if text else b"", _canonical(metadata), _canonical(times) if times else b""


def _canonical(content: dict[str, Any]) -> bytes:
    return json.dumps(content, ensure_ascii=False).encode()


def _as_written(number: str) -> str:
    """A number as its digits, marked so that no string is taken for it: jsonb holds no zero character."""
    return f"\0{number}"


_DECODER = json.JSONDecoder(parse_float=_as_written, parse_int=_as_written)
