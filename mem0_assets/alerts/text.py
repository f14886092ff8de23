"""The text of an alert: plain characters, and beside them which ranges are bold or code.

Telegram's Markdown and HTML break, or are refused, as soon as a namespace or an error message holds a `<` or a `_`. So
nothing here is markup: the ranges (Telegram's `entities`) are sent next to the text, and there is nothing to escape.
Telegram counts in UTF-16 code units (an emoji is two) and takes 4,096 of them per message; a longer text is split.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal

from pydantic import TypeAdapter

TELEGRAM_LIMIT = 4096  # UTF-16 code units in one message

EntityType = Literal["bold", "code", "pre"]


@dataclass(frozen=True)
class Entity:
    """A range of a text, in UTF-16 code units, and how it looks. Field names are those of the Bot API."""

    type: EntityType
    offset: int
    length: int

    @property
    def end(self) -> int:
        return self.offset + self.length


@dataclass(frozen=True)
class Text:
    """Characters and their entities, in order and without overlap. Raises ValueError for anything Telegram refuses.

    Built from `Text.plain`, `bold`, `code` and `pre`, joined by `+` (a `str` counts as plain) and `join`.
    """

    text: str
    entities: tuple[Entity, ...] = ()

    def __post_init__(self) -> None:
        encoded = self.text.encode("utf-16-le")
        free = 0
        for entity in self.entities:
            if entity.length < 1 or entity.offset < free or entity.end > len(encoded) // 2:
                raise ValueError(f"{entity} is empty, overlaps the one before, or reaches outside the text")
            if _inside_pair(encoded, entity.offset) or _inside_pair(encoded, entity.end):
                raise ValueError(f"{entity} cuts a character in two")
            free = entity.end

    @staticmethod
    def plain(text: str) -> "Text":
        """`text` as it is."""
        return Text(_well_formed(text))

    def __add__(self, other: "Text | str") -> "Text":
        right = Text.plain(other) if isinstance(other, str) else other
        shift = self.units
        moved = tuple(Entity(entity.type, entity.offset + shift, entity.length) for entity in right.entities)
        return Text(self.text + right.text, self.entities + moved)

    def __radd__(self, other: str) -> "Text":
        return Text.plain(other) + self

    def __str__(self) -> str:
        return self.text

    def join(self, texts: "Iterable[Text | str]") -> "Text":
        """All `texts` with this one between them, as `str.join` does."""
        joined = Text("")
        for number, text in enumerate(texts):
            joined = (joined + self if number else joined) + text
        return joined

    @property
    def units(self) -> int:
        """The length as Telegram counts it: UTF-16 code units."""
        return len(self.text.encode("utf-16-le")) // 2

    @property
    def first_line(self) -> str:
        """The first line that says something; empty where none does."""
        return next((line.strip() for line in self.text.splitlines() if line.strip()), "")

    def split(self, limit: int = TELEGRAM_LIMIT) -> "list[Text]":
        """Parts of at most `limit` units that say the same, none of them blank; an empty list for a blank text.

        Cut after a line, else after a word, else between two characters. An entity that a cut crosses goes on in the
        next part.
        """
        if limit < 2:
            raise ValueError("one character can take two UTF-16 units: the limit must be at least 2")
        parts, start = [], 0
        while start < len(self.text):
            end = start + _cut(self.text[start:], limit)
            if self.text[start:end].strip():
                parts.append(self._slice(start, end))
            start = end
        return parts

    def _slice(self, start: int, end: int) -> "Text":
        """The characters from `start` to `end` with what of the entities falls on them."""
        first = Text(self.text[:start]).units
        last = first + Text(self.text[start:end]).units
        kept = tuple(
            Entity(entity.type, max(entity.offset, first) - first, min(entity.end, last) - max(entity.offset, first))
            for entity in self.entities
            if entity.offset < last and entity.end > first
        )
        return Text(self.text[start:end], kept)

    def as_json(self) -> dict[str, Any]:
        """`{text, entities: [{type, offset, length}]}`: what sendMessage takes, and what the outbox keeps."""
        return asdict(self)

    @staticmethod
    def from_json(raw: object) -> "Text":
        """The reverse of `as_json`. Raises ValueError for anything else."""
        return _TEXTS.validate_python(raw)


_TEXTS = TypeAdapter(Text)


def bold(text: str) -> Text:
    """`text` in bold."""
    return _styled("bold", text)


def code(text: str) -> Text:
    """`text` in the typewriter face, copied by one tap: commands, names, numbers."""
    return _styled("code", text)


def pre(text: str) -> Text:
    """`text` as a block of its own in the typewriter face."""
    return _styled("pre", text)


def _styled(kind: EntityType, text: str) -> Text:
    plain = Text.plain(text)
    return Text(plain.text, (Entity(kind, 0, plain.units),)) if plain.text else plain


def _well_formed(text: str) -> str:
    """`text` without halves of surrogate pairs: what a driver decoded with `surrogateescape` must not stop an alert."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _inside_pair(encoded: bytes, unit: int) -> bool:
    """Whether this position of a UTF-16-LE text lies between the two halves of one character."""
    return 2 * unit < len(encoded) and 0xDC <= encoded[2 * unit + 1] <= 0xDF


def _cut(rest: str, limit: int) -> int:
    """How many characters of `rest` the next part takes: at least one, at most `limit` units."""
    most = len(rest.encode("utf-16-le")[: 2 * limit].decode("utf-16-le", "ignore"))
    if most == len(rest):
        return most
    for mark in ("\n", " "):
        if cut := min(rest.rfind(mark, 0, most + 1) + 1, most):
            return cut
    return most
