"""Texts into vectors by the deployment's own embedder: an OpenAI-compatible endpoint, or Ollama.

A wrong vector is worse than none: the memory is there, and no search finds it. So an answer counts only where it has
exactly one vector for each text, all of the same dimensions, of finite numbers that are not all zero. Neither the key nor
a word of what the endpoint says is in any error: some repeat the key, others the memory.
"""

import re
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from mem0_assets.errors import ConfigurationError, Mem0AssetsError, UnreachableError
from mem0_assets.fleet import EmbedderSettings
from mem0_assets.live.endpoints import Answer, ask
from mem0_assets.live.vectors import numbers_of, vector_of

# Ollama on two cores takes a minute for a hundred texts, and loads its model first.
REQUEST_SECONDS = 180.0
# 2,048 vectors of 3,072 numbers are 130 MB of JSON.
MOST_BYTES = 512 << 20
TRIES = 6  # with 1, 2, 4, 8 and 16 s between them, where the endpoint does not say how long
LONGEST_WAIT = 300.0
_OVERLOADED = frozenset({408, 409, 429, 500, 502, 503, 504, 529})
_TEXT_REFUSED = frozenset({400, 413, 422})
_STABLE_WORD = re.compile(r"[a-z][a-z_]{2,39}")
PROBE = "The quick brown fox jumps over the lazy dog."

Wait = Callable[[float], None]


class EmbedderError(Mem0AssetsError):
    """The endpoint answered, and said no: the key, the model, the address, the quota."""

    code = "embedder_refused"


class TextRefusedError(EmbedderError):
    """The endpoint does not take these texts: one of them is longer than its model reads, most probably."""


class WrongVectorsError(EmbedderError):
    """The endpoint answered with something that is not one vector for each text."""

    code = "wrong_vectors"


class EmbedderAwayError(UnreachableError):
    """The endpoint did not answer, or had no room, however often it was asked."""


class Embedder:
    """An endpoint that is asked for vectors, one request at a time."""

    def __init__(self, settings: EmbedderSettings, *, wait: Wait = time.sleep) -> None:
        """Raises ConfigurationError where fleet.yaml names no embedder."""
        if settings.url is None or settings.model is None:
            step = "Name its url and model there: the ones that mem0 itself embeds with"
            raise ConfigurationError("fleet.yaml names no embedder for this deployment", next_step=step)
        self.settings = settings
        self._url, self._wait = settings.url, wait

    @property
    def name(self) -> str:
        """Which vectors these are: two embedders of one name give the same ones."""
        asked = self.settings.dimensions
        return f"{self.settings.provider} {self._url} {self.settings.model}" + (f" {asked}" if asked else "")

    def dimensions(self) -> int:
        """How many numbers its vectors have, from one short request, which proves the key and the model too.

        Raises EmbedderError, EmbedderAwayError.
        """
        try:
            (vector,) = self.embed([PROBE])
        except TextRefusedError as error:
            step = "Check embedder.model and embedder.dimensions: not every model gives other dimensions than its own"
            raise EmbedderError(error.message, next_step=step) from None
        return len(numbers_of(vector))

    def embed(self, texts: Sequence[str]) -> list[bytes]:
        """A vector for each text, in their order. Raises TextRefusedError, EmbedderError, EmbedderAwayError."""
        answer = self._ask_patiently(texts)
        if answer.status != 200:
            raise self._refusal(answer)
        return self._vectors(answer.content, len(texts))

    def _ask_patiently(self, texts: Sequence[str]) -> Answer:
        problem = ""
        for attempt in range(TRIES):
            answer, problem, pause = self._attempt(texts)
            if answer is not None:
                return answer
            pause = 2.0**attempt if pause is None else pause
            if pause > LONGEST_WAIT:
                raise self._away(f"{problem}, for {pause:,.0f} s")
            if attempt + 1 < TRIES:
                self._wait(pause)
        raise self._away(problem)

    def _attempt(self, texts: Sequence[str]) -> tuple[Answer | None, str, float | None]:
        """The answer; or None, why it should be asked again, and after how many seconds where it says so."""
        try:
            answer = self._ask(texts)
        except UnreachableError as error:
            return None, error.message, None
        if answer.status == 200 and answer.content is None:
            return None, "it answers with no JSON", None
        if answer.status in _OVERLOADED and _word(answer) != "insufficient_quota":
            return None, f"it has no room (status {answer.status})", _asked_for(answer.retry_after)
        return answer, "", None

    def _away(self, problem: str) -> EmbedderAwayError:
        step = "Run the same command again later: the vectors so far are kept"
        return EmbedderAwayError(f"the embedder at {self._url}: {problem}", next_step=step)

    def _ask(self, texts: Sequence[str]) -> Answer:
        openai = self.settings.provider == "openai"
        # mem0 takes line ends out for OpenAI, and leaves them for Ollama; what is searched for must be embedded alike.
        body: dict[str, Any] = {"model": self.settings.model}
        body["input"] = [text.replace("\n", " ") for text in texts] if openai else list(texts)
        if self.settings.dimensions:
            body["dimensions"] = self.settings.dimensions
        key = self.settings.api_key()
        return ask(
            f"{self._url}/embeddings" if openai else f"{self._url}/api/embed",
            headers={"Authorization": f"Bearer {key}".encode()} if key else None,
            body=body,
            seconds=REQUEST_SECONDS,
            most_bytes=MOST_BYTES,
            through_proxy=True,
        )

    def _refusal(self, answer: Answer) -> EmbedderError:
        where, word = f"the embedder at {self._url}", _word(answer)
        said = f"(status {answer.status}{', ' + word if word else ''})"
        if answer.status in _TEXT_REFUSED:
            return TextRefusedError(f"{where} does not take the texts {said}")
        if answer.status in (401, 403):
            step = f"Check {self.settings.api_key_env or 'embedder.api_key_env, which is not set'}"
            return EmbedderError(f"{where} refuses the key {said}", next_step=step)
        if answer.status == 404:
            pull = f", or run: ollama pull {self.settings.model}" if self.settings.provider == "ollama" else ""
            step = f"Check embedder.url and embedder.model{pull}"
            return EmbedderError(f"{where} knows no model {self.settings.model} {said}", next_step=step)
        return EmbedderError(f"{where} refuses {said}", next_step="See the endpoint's own log or account")

    def _vectors(self, content: Any, count: int) -> list[bytes]:
        found = _by_index(content) if self.settings.provider == "openai" else _listed(content)
        if found is None or len(found) != count:
            given = "no list of vectors" if found is None else f"{len(found)} vectors"
            raise self._wrong(f"gave {given} for {count} texts")
        vectors = [self._vector(numbers) for numbers in found]
        sizes = {len(vector) for vector in vectors}
        if len(sizes) > 1:
            raise self._wrong("gave vectors of different dimensions in one answer")
        asked = self.settings.dimensions
        if asked and len(numbers_of(vectors[0])) != asked:
            raise self._wrong(f"gave {len(numbers_of(vectors[0]))} dimensions where {asked} were asked for")
        return vectors

    def _vector(self, numbers: Any) -> bytes:
        if not isinstance(numbers, list) or not all(type(number) in (int, float) for number in numbers):
            raise self._wrong("gave a vector that is no list of numbers")
        try:
            vector = vector_of(numbers)
        except ValueError:
            raise self._wrong("gave a vector with a number that is none, or out of range") from None
        if not any(numbers_of(vector)):
            raise self._wrong("gave a vector that is empty, or all zeros")
        return vector

    def _wrong(self, what: str) -> WrongVectorsError:
        step = "Nothing was written. Look at the endpoint: its model may have failed to load"
        return WrongVectorsError(f"the embedder at {self._url} {what}", next_step=step)


def _by_index(content: Any) -> list[Any] | None:
    """OpenAI's `{"data": [{"index": 0, "embedding": [...]}]}` in the order of the indexes; None where it is not that."""
    rows = content.get("data") if isinstance(content, dict) else None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        return None
    placed = {row["index"]: row.get("embedding") for row in rows if type(row.get("index")) is int}
    if len(placed) != len(rows) or placed.keys() != set(range(len(rows))):
        return None
    return [placed[index] for index in range(len(rows))]


def _listed(content: Any) -> list[Any] | None:
    """Ollama's `{"embeddings": [[...]]}`; None where it is not that."""
    vectors = content.get("embeddings") if isinstance(content, dict) else None
    return vectors if isinstance(vectors, list) else None


def _word(answer: Answer) -> str | None:
    """The stable word by which OpenAI names an error (`model_not_found`); what may be a sentence is not repeated."""
    error = answer.get("error")
    word = error.get("code") if isinstance(error, dict) else None
    return word if isinstance(word, str) and _STABLE_WORD.fullmatch(word) else None


def _asked_for(header: str | None) -> float | None:
    """The seconds of a Retry-After header, which holds a number or a date; None where it says nothing."""
    if header is None or header.isdecimal():
        return None if header is None else float(header)
    try:
        moment = parsedate_to_datetime(header)
    except ValueError:
        return None
    return max(0.0, (moment.replace(tzinfo=moment.tzinfo or UTC) - datetime.now(UTC)).total_seconds())
