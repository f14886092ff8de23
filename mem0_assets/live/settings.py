"""What mem0 is told, in one vocabulary: by its own configuration (JSON), and by the environment of its container. Pure.

The names differ from version to version and from house to house (`MEM0_DEFAULT_EMBEDDER_MODEL`, `EMBEDDING_MODEL`,
`OLLAMA_EMBED_MODEL`), what they decide does not: which table is read, and who makes the vectors.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, Literal

Setting = Literal[
    "cluster",
    "database_oid",
    "table_oid",
    "dimensions",
    "server_version",
    "pgvector_version",
    "database",
    "user",
    "password",
    "host",
    "port",
    "collection",
    "embedder_provider",
    "embedder_model",
    "embedder_dimensions",
    "llm_model",
    "history_path",
    "history_place",
    "data_place",
    "postgres_port",
    "server_port",
    "postgres_image",
    "postgres_image_id",
    "server_image",
    "server_image_id",
    "postgres_created",
    "server_created",
]
# What each is called in a sentence.
MEANINGS: dict[Setting, str] = {
    "cluster": "the cluster",
    "database_oid": "the database's oid",
    "table_oid": "the table's oid",
    "dimensions": "the dimensions of the table's vectors",
    "server_version": "PostgreSQL's version",
    "pgvector_version": "pgvector's version",
    "database": "the database",
    "user": "the database user",
    "password": "the database password",
    "host": "the database's host",
    "port": "the database's port",
    "collection": "the collection",
    "embedder_provider": "the embedder's provider",
    "embedder_model": "the embedding model",
    "embedder_dimensions": "the embedder's dimensions",
    "llm_model": "the language model",
    "history_path": "the path of history.db",
    "history_place": "what holds history.db",
    "data_place": "what holds PostgreSQL's data",
    "postgres_port": "the published port of PostgreSQL",
    "server_port": "the published port of mem0's server",
    "postgres_image": "PostgreSQL's image",
    "postgres_image_id": "the image behind that name of PostgreSQL",
    "server_image": "the image of mem0's server",
    "server_image_id": "the image behind that name of mem0's server",
    "postgres_created": "the creation of PostgreSQL's container",
    "server_created": "the creation of the server's container",
}
Settings = dict[Setting, str]
# A secret as something that says only whether it is the same one.
Fingerprint = Callable[[str], str]

# What mem0's server takes where nobody says anything, in every version.
DEFAULTS: Settings = {
    "database": "postgres",
    "user": "postgres",
    "host": "postgres",
    "port": "5432",
    "collection": "memories",
    "history_path": "/app/history/history.db",
}
PASSWORD = "POSTGRES_PASSWORD"
# On which mem0's server listens in its container: its own image, and older ones.
SERVER_PORTS = (8000, 8888)
_VARIABLES: dict[str, Setting] = {
    "POSTGRES_DB": "database",
    "POSTGRES_USER": "user",
    "POSTGRES_HOST": "host",
    "POSTGRES_PORT": "port",
    "POSTGRES_COLLECTION_NAME": "collection",
    "HISTORY_DB_PATH": "history_path",
}
_PATTERNS: dict[Setting, re.Pattern[str]] = {
    "embedder_provider": re.compile(r"(?=.*EMBED).*_PROVIDER"),
    "embedder_model": re.compile(r"(?=.*EMBED).*_MODEL(_NAME)?"),
    "embedder_dimensions": re.compile(r"(?=.*EMBED).*_DIM(S|ENSIONS?)?"),
    "llm_model": re.compile(r"(.*_)?LLM_MODEL(_NAME)?"),
}
# What a model gives where nobody asks it for another number: the switch of January 2026 was one of names only.
MODEL_DIMENSIONS = {
    "text-embedding-3-small": 1536,
    "text-embedding-3-large": 3072,
    "text-embedding-ada-002": 1536,
    "text-embedding-004": 768,
    "gemini-embedding-001": 3072,
    "nomic-embed-text": 768,
    "mxbai-embed-large": 1024,
    "bge-m3": 1024,
    "all-minilm": 384,
    "all-MiniLM-L6-v2": 384,
    "snowflake-arctic-embed": 1024,
}


def from_environment(environment: Mapping[str, str], fingerprint: Fingerprint) -> Settings:
    """What the variables of mem0's server say, the password as its fingerprint. An empty one is one that is not set."""
    said: Settings = {setting: environment[name] for name, setting in _VARIABLES.items() if environment.get(name)}
    for setting, pattern in _PATTERNS.items():
        values = {value for name, value in environment.items() if value and pattern.fullmatch(name)}
        if values:
            said[setting] = " or ".join(sorted(values))
    if password := environment.get(PASSWORD):
        said["password"] = fingerprint(password)
    return _with_dimensions(said)


def from_mem0_config(config: Mapping[str, Any]) -> Settings:
    """What mem0's own configuration says: all of it (`GET /configure`), or a part that overrides the rest."""
    store, embedder, llm = (_inner(config, name) for name in ("vector_store", "embedder", "llm"))
    found: dict[Setting, Any] = {
        "database": store.get("dbname"),
        "user": store.get("user"),
        "host": store.get("host"),
        "port": store.get("port"),
        "collection": store.get("collection_name"),
        "embedder_provider": _section(config, "embedder").get("provider"),
        "embedder_model": embedder.get("model"),
        "embedder_dimensions": embedder.get("embedding_dims"),
        "llm_model": llm.get("model"),
        "history_path": config.get("history_db_path"),
    }
    said: Settings = {name: str(value) for name, value in found.items() if isinstance(value, str | int) and value}
    return _with_dimensions(said)


def _with_dimensions(said: Settings) -> Settings:
    model = said.get("embedder_model", "").rpartition("/")[2].partition(":")[0]
    known = MODEL_DIMENSIONS.get(model)
    return said if known is None else {"embedder_dimensions": str(known), **said}


def _section(config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    section = config.get(name)
    return section if isinstance(section, dict) else {}


def _inner(config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    return _section(_section(config, name), "config")
