"""Texts into vectors: what counts as an answer, how long one is waited for, and that nothing is given away."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from mem0_assets.errors import ConfigurationError
from mem0_assets.fleet import EmbedderSettings
from mem0_assets.live.vectors import vector_of
from mem0_assets.restores import embedding
from mem0_assets.restores.embedding import (
    Embedder,
    EmbedderAwayError,
    EmbedderError,
    TextRefusedError,
    WrongVectorsError,
)
from mem0_assets_tests.embedder_stubs import OllamaStub, OpenAIEmbedderStub
from mem0_assets_tests.openai_stub import embed
from mem0_assets_tests.service_stub import Fault, half_json, hang_up, page, redirect, say_nothing

TEXTS = ["The invoice of March\nis paid", "Zoë’s review 🤫", "A flight to Oslo"]


@pytest.fixture
def openai(monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenAIEmbedderStub]:
    with OpenAIEmbedderStub() as stub:
        monkeypatch.setenv("EMBEDDER_KEY", stub.key or "")
        yield stub


@pytest.fixture
def ollama() -> Iterator[OllamaStub]:
    with OllamaStub() as stub:
        yield stub


@pytest.fixture
def waits() -> list[float]:
    """The seconds that were waited for, had time passed."""
    return []


def of_openai(stub: OpenAIEmbedderStub, waits: list[float], **other: Any) -> Embedder:
    raw = {"url": stub.url, "model": stub.model, "api_key_env": "EMBEDDER_KEY", **other}
    return Embedder(EmbedderSettings.model_validate(raw), wait=waits.append)


def of_ollama(stub: OllamaStub, waits: list[float], **other: Any) -> Embedder:
    raw = {"provider": "ollama", "url": stub.url, "model": stub.model, **other}
    return Embedder(EmbedderSettings.model_validate(raw), wait=waits.append)


def test_openais_vectors_come_in_the_order_of_the_texts(openai: OpenAIEmbedderStub, waits: list[float]) -> None:
    vectors = of_openai(openai, waits, dimensions=768).embed(TEXTS)
    assert vectors == [vector_of(embed(text, 768)) for text in TEXTS]
    assert openai.texts[0] == "The invoice of March is paid"  # as mem0 itself asks OpenAI
    assert waits == []


def test_ollamas_vectors_come_in_the_order_of_the_texts(ollama: OllamaStub, waits: list[float]) -> None:
    assert of_ollama(ollama, waits).embed(TEXTS) == [vector_of(embed(text, 768)) for text in TEXTS]
    assert ollama.texts == TEXTS


def test_the_dimensions_are_known_from_one_short_request(ollama: OllamaStub, waits: list[float]) -> None:
    assert of_ollama(ollama, waits).dimensions() == 768
    assert ollama.requests == 1


def test_two_embedders_of_other_dimensions_have_other_names(ollama: OllamaStub, waits: list[float]) -> None:
    assert of_ollama(ollama, waits).name != of_ollama(ollama, waits, dimensions=256).name


def test_a_deployment_without_an_embedder_is_told_so() -> None:
    with pytest.raises(ConfigurationError, match="names no embedder"):
        Embedder(EmbedderSettings())


def test_what_is_over_in_a_moment_is_asked_again_ever_more_patiently(
    ollama: OllamaStub, waits: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedding, "REQUEST_SECONDS", 0.2)
    ollama.first(page(503), hang_up, say_nothing, half_json)
    assert len(of_ollama(ollama, waits).embed(TEXTS)) == 3
    assert waits == [1, 2, 4, 8]


def test_who_is_told_how_long_to_wait_waits_so_long(openai: OpenAIEmbedderStub, waits: list[float]) -> None:
    date = format_datetime(datetime.now(UTC) - timedelta(hours=1), usegmt=True)
    openai.first(*[busy(header) for header in ("7", date, "soon")])
    assert len(of_openai(openai, waits).embed(TEXTS)) == 3
    assert waits == [7, 0, 4]


def busy(retry_after: str) -> Fault:
    return lambda exchange: exchange.answer(429, b"{}", {"Retry-After": retry_after})


def test_who_is_to_wait_too_long_says_so_and_does_not(openai: OpenAIEmbedderStub, waits: list[float]) -> None:
    openai.first(busy("86400"))
    with pytest.raises(EmbedderAwayError, match="86,400 s"):
        of_openai(openai, waits).embed(TEXTS)
    assert waits == []


def test_an_endpoint_that_never_recovers_is_given_up(ollama: OllamaStub, waits: list[float]) -> None:
    ollama.faults[ollama.path] = page(502)
    with pytest.raises(EmbedderAwayError) as caught:
        of_ollama(ollama, waits).embed(TEXTS)
    assert waits == [1, 2, 4, 8, 16]
    assert "kept" in caught.value.next_step


def vectors(*rows: Any) -> Fault:
    return lambda exchange: exchange.answer(200, json.dumps({"embeddings": rows}).encode())


def indexed(*indexes: Any) -> Fault:
    rows = [{"index": index, "embedding": [1.0, 2.0]} for index in indexes]
    return lambda exchange: exchange.answer(200, json.dumps({"data": rows}).encode())


@pytest.mark.parametrize(
    ("answer", "what"),
    [
        (vectors([1.0], [1.0]), "2 vectors for 3 texts"),
        (vectors([1.0], [1.0], [1.0], [1.0]), "4 vectors for 3 texts"),
        (vectors([1.0, 2.0], [1.0, 2.0], [1.0]), "different dimensions"),
        (vectors([1.0], [1.0], [float("nan")]), "a number that is none"),
        (vectors([1.0], [1.0], [1e39]), "out of range"),
        (vectors([1.0], [1.0], [10**400]), "out of range"),
        (vectors([1.0], [1.0], [0.0]), "all zeros"),
        (vectors([1.0], [1.0], [1e-60]), "all zeros"),
        (vectors([1.0], [1.0], []), "empty"),
        (vectors([1.0], [1.0], ["1"]), "no list of numbers"),
        (vectors([1.0], [1.0], None), "no list of numbers"),
        (lambda exchange: exchange.answer(200, b'{"embedding": [1.0]}'), "no list of vectors"),
        (lambda exchange: exchange.answer(200, b"[]"), "no list of vectors"),
    ],
)
def test_an_answer_that_is_not_one_good_vector_for_each_text_is_refused(
    ollama: OllamaStub, waits: list[float], answer: Fault, what: str
) -> None:
    ollama.first(answer)
    with pytest.raises(WrongVectorsError, match=what):
        of_ollama(ollama, waits).embed(TEXTS)
    assert waits == []


@pytest.mark.parametrize("indexes", [(0, 1), (0, 1, 1), (1, 2, 3), (0, 1, "2"), (0, 1, True), (0, 1, 2, 3)])
def test_openais_vectors_must_say_which_text_they_are_of(
    openai: OpenAIEmbedderStub, waits: list[float], indexes: tuple[Any, ...]
) -> None:
    openai.first(indexed(*indexes))
    with pytest.raises(WrongVectorsError):
        of_openai(openai, waits).embed(TEXTS)


def test_dimensions_that_were_asked_for_must_come(openai: OpenAIEmbedderStub, waits: list[float]) -> None:
    openai.first(indexed(0, 1, 2))
    with pytest.raises(WrongVectorsError, match="2 dimensions where 768 were asked for"):
        of_openai(openai, waits, dimensions=768).embed(TEXTS)


@pytest.mark.parametrize(
    ("fault", "error", "what"),
    [
        (page(401), EmbedderError, "refuses the key"),
        (page(404), EmbedderError, "knows no model"),
        (page(400), TextRefusedError, "does not take the texts"),
        (redirect("http://127.0.0.1:9/"), EmbedderError, "status 307"),
        (lambda exchange: exchange.answer(429, b'{"error": {"code": "insufficient_quota"}}'), EmbedderError, "quota"),
    ],
)
def test_a_no_is_told_at_once_with_what_to_check(
    openai: OpenAIEmbedderStub, waits: list[float], fault: Fault, error: type[EmbedderError], what: str
) -> None:
    openai.first(fault)
    with pytest.raises(error, match=what) as caught:
        of_openai(openai, waits).embed(TEXTS)
    assert type(caught.value) is error
    assert waits == []


def test_a_model_that_takes_no_dimensions_is_no_fault_of_the_texts(
    openai: OpenAIEmbedderStub, waits: list[float]
) -> None:
    openai.first(page(400))
    with pytest.raises(EmbedderError) as caught:
        of_openai(openai, waits, dimensions=768).dimensions()
    assert "embedder.dimensions" in caught.value.next_step


def test_neither_the_key_nor_a_text_is_in_an_error(
    openai: OpenAIEmbedderStub, waits: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EMBEDDER_KEY", "sk-hunter2-schlüssel")
    openai.longest = 3
    for key in ("sk-hunter2-schlüssel", openai.key or ""):
        monkeypatch.setenv("EMBEDDER_KEY", key)
        with pytest.raises(EmbedderError) as caught:
            of_openai(openai, waits).embed(TEXTS)
        assert "hunter2" not in str(caught.value)
        assert "invoice" not in str(caught.value)
        assert caught.value.__context__ is None
