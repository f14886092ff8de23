"""Which embedder the running mem0 server uses, as far as it says: vectors of other dimensions cannot be searched by it.

In the incident the embedding model was changed with everything else: what the backups held could not have been queried.
"""

import os
from dataclasses import dataclass
from typing import Any

from mem0_assets.errors import UnreachableError
from mem0_assets.fleet import HealthSettings
from mem0_assets.live.endpoints import ask

# What their makers say of models that mem0's users name; a model may be asked for fewer, and mem0's settings say so then.
KNOWN = {
    "text-embedding-3-small": 1536,
    "text-embedding-3-large": 3072,
    "text-embedding-ada-002": 1536,
    "nomic-embed-text": 768,
    "mxbai-embed-large": 1024,
    "all-minilm": 384,
}


@dataclass(frozen=True)
class RunningEmbedder:
    """The model that the server names, and the dimensions that follow; None where it does not say."""

    model: str | None
    dimensions: int | None

    def as_json(self) -> dict[str, Any]:
        return dict(vars(self))


def running_embedder(health: HealthSettings) -> RunningEmbedder | None:
    """What GET /configure says; None where no server is named, it does not answer, or it has no such path (mem0 1.x)."""
    key = health.admin_key() if health.server_url else None
    if not health.server_url or not key:
        return None
    try:
        answer = ask(f"{health.server_url}/configure", headers={"X-API-Key": os.fsencode(key)})
    except UnreachableError:
        return None
    if answer.status != 200 or not isinstance(answer.content, dict):
        return None
    embedder, store = (_config(answer.content, part) for part in ("embedder", "vector_store"))
    model = embedder.get("model")
    model = model if isinstance(model, str) else None
    known = KNOWN.get((model or "").split(":")[0])
    said = (embedder.get("embedding_dims"), store.get("embedding_model_dims"), known)
    return RunningEmbedder(model, next((one for one in said if isinstance(one, int)), None))


def _config(content: dict[str, Any], part: str) -> dict[str, Any]:
    section = content.get(part)
    config = section.get("config") if isinstance(section, dict) else None
    return config if isinstance(config, dict) else {}
