"""Memories with new vectors: first what that costs, then the vectors, then the memories as they will be written.

The embedder is asked before the database is touched: a transaction never waits for a network. What it was asked for is
kept in a file, so that a kill, or an endpoint that has no more room tonight, costs nothing twice.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Protocol
from uuid import UUID

from mem0_assets.live.memories import Memory
from mem0_assets.restores.embedding import Embedder, TextRefusedError
from mem0_assets.restores.vector_file import VectorFile

# OpenAI takes 300,000 tokens in a request, and a Chinese letter may be one.
MOST_CHARACTERS = 200_000
# What OpenAI's tokens come to in European languages; it is said as an estimate.
BYTES_PER_TOKEN = 4

Tell = Callable[[str], None]


class Kept(Protocol):
    """The vectors that are kept, by their texts: a VectorFile, or a dict."""

    def get(self, text: str, /) -> bytes | None:
        """The vector of a text; None where there is none yet."""


@dataclass(frozen=True)
class Cost:
    """What new vectors will take. A text of several memories counts once, and one whose vector is kept not at all.

    `price` is in the currency of the fleet's `price_per_million_tokens`; None where that is not set. `without_text` are
    memories that no vector can be made for.
    """

    texts: int
    characters: int
    tokens: int
    requests: int
    price: float | None
    without_text: int

    def as_json(self) -> dict[str, Any]:
        return dict(vars(self))


def text_of(memory: Memory) -> str | None:
    """The text of a memory, which mem0 embeds; None where it has none."""
    payload = json.loads(memory.payload) if memory.payload else None
    text = payload.get("data") if isinstance(payload, dict) else None
    return text if isinstance(text, str) and text.strip() else None


def cost_of(memories: Iterable[Memory], embedder: Embedder, kept: Kept) -> Cost:
    """What new vectors for these memories will take, without asking for any."""
    without = Counter[str]()
    texts = requests = characters = size = 0
    for batch in _batches(_unasked(memories, kept, without), embedder.settings.batch):
        requests += 1
        texts += len(batch)
        characters += sum(map(len, batch))
        size += sum(len(text.encode()) for text in batch)
    tokens, rate = -(-size // BYTES_PER_TOKEN), embedder.settings.price_per_million_tokens
    price = None if rate is None else tokens * rate / 1e6
    return Cost(texts, characters, tokens, requests, price, without.total())


def make_vectors(memories: Iterable[Memory], embedder: Embedder, kept: VectorFile, tell: Tell) -> None:
    """Ask for the vectors that are not kept, and keep them. A text that the embedder does not take stays without one.

    Raises EmbedderError, EmbedderAwayError, VectorFileError, NoSpaceError: what was kept until then stays.
    """
    done = 0
    for batch in _batches(_unasked(memories, kept, Counter()), embedder.settings.batch):
        if not _ask(batch, embedder, kept):
            embedder.dimensions()  # is it these texts, or does it take none at all any more?
        done += len(batch)
        tell(f"{done:,} texts embedded")


def _ask(batch: list[str], embedder: Embedder, kept: VectorFile) -> int:
    """How many of the texts have their vector now. Where a batch is not taken, its halves are asked for: one text that is
    too long must not cost the others theirs.
    """
    try:
        kept.put(dict(zip(batch, embedder.embed(batch), strict=True)))
    except TextRefusedError:
        half = len(batch) // 2
        return sum(_ask(part, embedder, kept) for part in (batch[:half], batch[half:])) if half else 0
    return len(batch)


def with_new_vectors(memories: Iterable[Memory], kept: Kept, left_out: list[UUID]) -> Iterator[Memory]:
    """The memories with the vectors that are kept. Those that have none are left out, and their ids noted."""
    for memory in memories:
        text = text_of(memory)
        vector = None if text is None else kept.get(text)
        if vector is None:
            left_out.append(memory.id)
        else:
            yield replace(memory, vector=vector)


def _unasked(memories: Iterable[Memory], kept: Kept, without: Counter[str]) -> Iterator[str]:
    """The texts whose vectors are not kept, each once; memories that have none are counted."""
    seen = set[bytes]()
    for memory in memories:
        text = text_of(memory)
        if text is None:
            without["text"] += 1
        elif (digest := hashlib.sha256(text.encode()).digest()) not in seen and kept.get(text) is None:
            seen.add(digest)
            yield text


def _batches(texts: Iterable[str], most: int) -> Iterator[list[str]]:
    """As many texts as are asked for at once."""
    batch: list[str] = []
    characters = 0
    for text in texts:
        if batch and (len(batch) == most or characters + len(text) > MOST_CHARACTERS):
            yield batch
            batch, characters = [], 0
        batch.append(text)
        characters += len(text)
    if batch:
        yield batch
