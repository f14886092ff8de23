"""What mem0 is told, by its own configuration and by its container's environment, in one vocabulary."""

from typing import Any

import pytest

from mem0_assets.live.settings import MEANINGS, MODEL_DIMENSIONS, from_environment, from_mem0_config

SECRET = "hunter2"


def told(**environment: str) -> dict[Any, str]:
    return from_environment(environment, lambda secret: f"fingerprint of {len(secret)}")


def test_mem0s_own_variables_are_known_by_what_they_decide() -> None:
    said = told(
        POSTGRES_HOST="postgres",
        POSTGRES_PORT="5432",
        POSTGRES_DB="mem0",
        POSTGRES_USER="mem0_user",
        POSTGRES_COLLECTION_NAME="memories",
        HISTORY_DB_PATH="/data/history.db",
        MEM0_DEFAULT_EMBEDDER_MODEL="text-embedding-3-small",
        MEM0_DEFAULT_LLM_MODEL="gpt-5-mini",
    )
    assert said == {
        "host": "postgres",
        "port": "5432",
        "database": "mem0",
        "user": "mem0_user",
        "collection": "memories",
        "history_path": "/data/history.db",
        "embedder_model": "text-embedding-3-small",
        "embedder_dimensions": "1536",
        "llm_model": "gpt-5-mini",
    }


def test_the_password_is_a_fingerprint_and_an_empty_variable_is_not_set() -> None:
    assert told(POSTGRES_PASSWORD=SECRET, POSTGRES_DB="") == {"password": "fingerprint of 7"}


@pytest.mark.parametrize(
    ("name", "setting"),
    [
        ("EMBEDDING_MODEL", "embedder_model"),
        ("OLLAMA_EMBED_MODEL", "embedder_model"),
        ("EMBEDDER_MODEL_NAME", "embedder_model"),
        ("EMBEDDING_DIMS", "embedder_dimensions"),
        ("MEM0_EMBEDDING_DIMENSIONS", "embedder_dimensions"),
        ("EMBEDDER_PROVIDER", "embedder_provider"),
        ("LLM_MODEL", "llm_model"),
    ],
)
def test_other_houses_call_the_embedder_otherwise(name: str, setting: str) -> None:
    assert told(**{name: "42"}) == {setting: "42"}


@pytest.mark.parametrize("name", ["EMBEDDING_API_KEY", "EMBEDDING_MODEL_API_KEY", "OPENAI_API_KEY", "LLM_MODEL_TOKEN"])
def test_no_variable_that_may_hold_a_key_is_read(name: str) -> None:
    assert told(**{name: SECRET}) == {}


def test_two_variables_that_disagree_are_both_told() -> None:
    said = told(OPENAI_EMBEDDING_MODEL="text-embedding-3-small", OLLAMA_EMBED_MODEL="nomic-embed-text")
    assert said == {"embedder_model": "nomic-embed-text or text-embedding-3-small"}


@pytest.mark.parametrize("name", ["nomic-embed-text", "nomic-embed-text:latest", "ollama/nomic-embed-text:v1.5"])
def test_a_known_model_says_its_dimensions(name: str) -> None:
    assert told(EMBEDDING_MODEL=name)["embedder_dimensions"] == "768"


def test_dimensions_that_are_asked_for_come_before_the_models_own() -> None:
    assert told(EMBEDDING_MODEL="text-embedding-3-large", EMBEDDING_DIMS="1024")["embedder_dimensions"] == "1024"
    config = {"embedder": {"config": {"model": "text-embedding-3-large", "embedding_dims": 1024}}}
    assert from_mem0_config(config)["embedder_dimensions"] == "1024"


def test_mem0s_own_configuration_says_the_same_without_its_secrets() -> None:
    config = {
        "vector_store": {
            "provider": "pgvector",
            "config": {
                "host": "postgres",
                "port": 5432,
                "dbname": "mem0",
                "user": "mem0_user",
                "password": SECRET,
                "collection_name": "memories",
            },
        },
        "embedder": {"provider": "ollama", "config": {"model": "nomic-embed-text", "api_key": SECRET}},
        "llm": {"provider": "openai", "config": {"model": "gpt-5-mini", "api_key": SECRET}},
        "history_db_path": "/app/history/history.db",
    }
    said = from_mem0_config(config)
    assert said == {
        "database": "mem0",
        "user": "mem0_user",
        "host": "postgres",
        "port": "5432",
        "collection": "memories",
        "embedder_provider": "ollama",
        "embedder_model": "nomic-embed-text",
        "embedder_dimensions": "768",
        "llm_model": "gpt-5-mini",
        "history_path": "/app/history/history.db",
    }
    assert SECRET not in repr(said)


@pytest.mark.parametrize("config", [{}, {"embedder": None}, {"embedder": []}, {"embedder": {"config": "x"}}])
def test_a_part_that_is_missing_or_of_another_shape_says_nothing(config: dict[str, Any]) -> None:
    assert from_mem0_config(config) == {}


def test_every_setting_has_a_name_for_people() -> None:
    assert len(set(MEANINGS.values())) == len(MEANINGS)
    assert all(1 <= dimensions <= 16000 for dimensions in MODEL_DIMENSIONS.values())
