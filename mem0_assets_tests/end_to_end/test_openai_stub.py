"""The stub of OpenAI's API, seen through the real client."""

import json
import math
from collections.abc import Iterator

import pytest
from openai import AuthenticationError, NotFoundError, OpenAI

from mem0_assets_tests.openai_stub import OpenAIStub

SMALL_MODEL = "text-embedding-3-small"


@pytest.fixture(scope="module")
def stub() -> Iterator[OpenAIStub]:
    with OpenAIStub() as running:
        yield running


@pytest.fixture
def client(stub: OpenAIStub) -> OpenAI:
    return OpenAI(api_key=stub.key, base_url=stub.url, max_retries=0)


def embedded(client: OpenAI, *texts: str) -> list[list[float]]:
    answer = client.embeddings.create(model=SMALL_MODEL, input=list(texts))  # the client asks for base64
    return [one.embedding for one in answer.data]


def cosine(one: list[float], other: list[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))


def test_both_encodings_are_the_same_vector_of_length_1(client: OpenAI) -> None:
    (packed,) = embedded(client, "Zoë’s review 🤫")
    plain = client.embeddings.create(model=SMALL_MODEL, input="Zoë’s review 🤫", encoding_format="float")
    assert packed == pytest.approx(plain.data[0].embedding)
    assert math.hypot(*packed) == pytest.approx(1)
    assert len(packed) == 1536


@pytest.mark.parametrize("dimensions", [1, 2, 768])
def test_dimensions_are_as_asked_for(client: OpenAI, dimensions: int) -> None:
    answer = client.embeddings.create(model=SMALL_MODEL, input=["two words", "🤫", " "], dimensions=dimensions)
    assert [len(one.embedding) for one in answer.data] == [dimensions] * 3
    assert [math.hypot(*one.embedding) for one in answer.data] == pytest.approx([1] * 3)


def test_texts_with_the_same_words_lie_near_each_other(client: OpenAI) -> None:
    asked, near, far = embedded(client, "morning flight to London", "the morning flight", "SAP transports on Thursday")
    assert cosine(asked, near) > 0.4 > cosine(asked, far)


def test_the_model_gives_back_each_line_of_the_user_as_a_memory(client: OpenAI) -> None:
    prompt = (
        "## Existing Memories\n[]\n\n## New Messages\nuser: tea\nassistant: noted\nuser: no milk\n\n\n## Current Date\n"
    )
    answer = client.chat.completions.create(model="gpt-5-mini", messages=[{"role": "user", "content": prompt}])
    memories = json.loads(answer.choices[0].message.content or "")["memory"]
    assert [memory["text"] for memory in memories] == ["tea", "no milk"]


def test_what_the_real_one_refuses_is_refused(client: OpenAI, stub: OpenAIStub) -> None:
    with pytest.raises(AuthenticationError):
        OpenAI(api_key="sk-other", base_url=stub.url, max_retries=0).embeddings.create(model=SMALL_MODEL, input="a")
    with pytest.raises(NotFoundError):
        client.embeddings.create(model="nomic-embed-text", input="a")
