"""New vectors for memories: what they cost, that nothing is paid twice, and that one bad text does not cost the others."""

import hashlib
import json
import os
import signal
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from mem0_assets.fleet import EmbedderSettings
from mem0_assets.live.memories import Memory
from mem0_assets.live.vectors import vector_of
from mem0_assets.restores import reembedding
from mem0_assets.restores.embedding import Embedder, EmbedderAwayError, EmbedderError
from mem0_assets.restores.reembedding import cost_of, make_vectors, text_of, with_new_vectors
from mem0_assets.restores.vector_file import FILE, VectorFileError, remove_vector_file, vector_file
from mem0_assets_tests.embedder_stubs import OllamaStub
from mem0_assets_tests.openai_stub import embed
from mem0_assets_tests.service_stub import page


def of(text: object, number: int = 0) -> Memory:
    return Memory(uuid.UUID(int=number), "alice", json.dumps({"data": text}), None)


MEMORIES = [of(f"note {number % 20}: Zoë’s review", number) for number in range(25)]


@pytest.fixture
def ollama() -> Iterator[OllamaStub]:
    with OllamaStub(8) as stub:
        yield stub


def asking(ollama: OllamaStub, **other: object) -> Embedder:
    raw = {"provider": "ollama", "url": ollama.url, "model": ollama.model, "batch": 8, **other}
    return Embedder(EmbedderSettings.model_validate(raw), wait=lambda seconds: None)


def quiet(what: str) -> None:
    pass


def test_the_text_of_a_memory_is_its_data() -> None:
    payloads = [None, "null", "[]", '{"data": null}', '{"data": 1}', '{"data": " "}', '{"memory": "x"}']
    assert [text_of(Memory(uuid.uuid4(), "alice", payload, None)) for payload in payloads] == [None] * 7
    assert text_of(of("Zoë 🤫")) == "Zoë 🤫"


def test_the_cost_is_of_each_text_once_and_of_none_that_is_kept(ollama: OllamaStub, tmp_path: Path) -> None:
    embedder = asking(ollama, price_per_million_tokens=2.0)
    with vector_file(tmp_path, embedder.name) as kept:
        kept.put({"note 0: Zoë’s review": vector_of([1.0])})
        cost = cost_of([*MEMORIES, of(None)], embedder, kept)
    texts = [f"note {number}: Zoë’s review" for number in range(1, 20)]
    size = sum(len(text.encode()) for text in texts)
    tokens = (size + 3) // 4
    assert (cost.texts, cost.characters, cost.tokens) == (19, sum(map(len, texts)), tokens)
    assert (cost.requests, cost.price, cost.without_text) == (3, tokens * 2 / 1e6, 1)
    assert ollama.requests == 0


def test_a_batch_of_long_texts_is_a_small_one(
    ollama: OllamaStub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reembedding, "MOST_CHARACTERS", 50)
    embedder = asking(ollama)
    with vector_file(tmp_path, embedder.name) as kept:
        assert cost_of(MEMORIES, embedder, kept).requests == 10  # of two texts each
        make_vectors(MEMORIES, embedder, kept, quiet)
    assert ollama.requests == 10


def test_every_memory_gets_the_vector_of_its_text_and_none_is_asked_for_twice(
    ollama: OllamaStub, tmp_path: Path
) -> None:
    embedder = asking(ollama)
    left_out: list[uuid.UUID] = []
    with vector_file(tmp_path, embedder.name) as kept:
        make_vectors(MEMORIES, embedder, kept, quiet)
        found = list(with_new_vectors(MEMORIES, kept, left_out))
    assert [(memory.id, memory.payload) for memory in found] == [(memory.id, memory.payload) for memory in MEMORIES]
    assert [memory.vector for memory in found] == [vector_of(embed(text_of(memory) or "", 8)) for memory in MEMORIES]
    assert left_out == []
    assert len(ollama.texts) == 20
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600
    assert b"review" not in (tmp_path / FILE).read_bytes()


def test_a_text_that_is_not_taken_costs_no_other_its_vector(ollama: OllamaStub, tmp_path: Path) -> None:
    ollama.longest = 100
    long = [of("x" * 101, 101), of("y" * 101, 102)]
    embedder = asking(ollama)
    left_out: list[uuid.UUID] = []
    with vector_file(tmp_path, embedder.name) as kept:
        make_vectors([*MEMORIES[:3], *long, *MEMORIES[3:]], embedder, kept, quiet)
        found = list(with_new_vectors([*long, *MEMORIES, of(None, 103)], kept, left_out))
    assert [memory.id for memory in found] == [memory.id for memory in MEMORIES]
    assert [one.int for one in left_out] == [101, 102, 103]


def test_an_endpoint_that_takes_no_text_any_more_is_not_asked_for_each(ollama: OllamaStub, tmp_path: Path) -> None:
    embedder = asking(ollama)
    ollama.faults[ollama.path] = page(400)
    with vector_file(tmp_path, embedder.name) as kept, pytest.raises(EmbedderError, match="does not take"):
        make_vectors(MEMORIES, embedder, kept, quiet)
    assert len(ollama.asked) == 16  # the first batch of eight, its halves down to each text, and the question why


def test_an_endpoint_that_goes_away_is_asked_for_the_rest_next_time(ollama: OllamaStub, tmp_path: Path) -> None:
    embedder = asking(ollama)
    told: list[str] = []

    def go_away(what: str) -> None:
        told.append(what)
        ollama.faults[ollama.path] = page(503)

    with vector_file(tmp_path, embedder.name) as kept, pytest.raises(EmbedderAwayError):
        make_vectors(MEMORIES, embedder, kept, go_away)
    assert told == ["8 texts embedded"]
    ollama.faults.clear()
    with vector_file(tmp_path, embedder.name) as kept:
        make_vectors(MEMORIES, embedder, kept, quiet)
    assert len(ollama.texts) == 20


def test_a_kill_costs_a_batch_at_the_most(ollama: OllamaStub, tmp_path: Path) -> None:
    embedder = asking(ollama)
    child = os.fork()
    if child == 0:
        with vector_file(tmp_path, embedder.name) as kept:
            make_vectors(MEMORIES, embedder, kept, lambda what: os.kill(os.getpid(), signal.SIGKILL))
        os._exit(1)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    with vector_file(tmp_path, embedder.name) as kept:
        make_vectors(MEMORIES, embedder, kept, quiet)
    assert len(ollama.texts) == 20


def test_vectors_of_another_embedder_are_not_taken(ollama: OllamaStub, tmp_path: Path) -> None:
    for dimensions in (8, 4):
        embedder = asking(ollama, dimensions=dimensions)
        with vector_file(tmp_path, embedder.name) as kept:
            make_vectors(MEMORIES, embedder, kept, quiet)
    assert len(ollama.texts) == 40
    remove_vector_file(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_file_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(hashlib.sha256(b"x").digest() * 100)
    with pytest.raises(VectorFileError, match="remove"), vector_file(tmp_path, "any"):
        pass
