"""Embedders on loopback that speak OpenAI's and Ollama's protocol, and misbehave on command.

    with OllamaStub() as ollama:
        ollama.first(page(429), say_nothing)      # so the next two requests end; after them all is well

`texts` holds every text that came in, in requests that were answered well.
"""

from typing import Any

from mem0_assets_tests.openai_stub import embed
from mem0_assets_tests.service_stub import Exchange, Fault, ServiceStub


class EmbedderStub(ServiceStub):
    """What both protocols share. A text of more than `longest` characters is refused, with all that came beside it."""

    path = ""
    model = ""

    def __init__(self, dimensions: int, key: str | None = None) -> None:
        super().__init__()
        self.dimensions = dimensions
        self.key = key
        self.longest = 8_000
        self.texts: list[str] = []
        self.requests = 0

    def first(self, *faults: Fault) -> None:
        """The next requests end so, one after the other."""
        left = list(faults)

        def fault(exchange: Exchange) -> None:
            ending = left.pop(0)
            if not left:
                del self.faults[self.path]
            ending(exchange)

        self.faults[self.path] = fault

    def behave(self, path: str, query: dict[str, list[str]], secret: str | None, body: Any) -> tuple[int, Any]:
        self.requests += 1
        if path != self.path:
            return self.error(404, "not_found", f"no such path {path}")
        if self.key is not None and secret != f"Bearer {self.key}":
            return self.error(401, "invalid_api_key", f"Incorrect API key provided: {secret}")
        if body["model"] != self.model:
            return self.error(404, "model_not_found", f'model "{body["model"]}" not found')
        texts = [body["input"]] if isinstance(body["input"], str) else body["input"]
        if any(not text or len(text) > self.longest for text in texts):
            return self.error(400, "context_length_exceeded", f"too long: {texts}")
        self.texts += texts
        return 200, self.result([embed(text, body.get("dimensions", self.dimensions)) for text in texts])

    def result(self, vectors: list[list[float]]) -> Any:
        """The answer's JSON."""
        raise NotImplementedError

    def error(self, status: int, code: str, message: str) -> tuple[int, Any]:
        """An error as this API words it."""
        raise NotImplementedError


class OllamaStub(EmbedderStub):
    """Ollama's POST /api/embed."""

    path = "/api/embed"
    model = "nomic-embed-text"

    def __init__(self, dimensions: int = 768) -> None:
        super().__init__(dimensions)

    def result(self, vectors: list[list[float]]) -> Any:
        timing = {"total_duration": 14143917, "load_duration": 1019500, "prompt_eval_count": 8}
        return {"model": self.model, "embeddings": vectors, **timing}

    def error(self, status: int, code: str, message: str) -> tuple[int, Any]:
        return status, {"error": message}


class OpenAIEmbedderStub(EmbedderStub):
    """OpenAI's POST /v1/embeddings, whose vectors come in any order."""

    path = "/v1/embeddings"
    model = "text-embedding-3-small"

    def __init__(self, dimensions: int = 1536, key: str = "sk-hunter2-0123456789") -> None:
        super().__init__(dimensions, key)

    @property
    def url(self) -> str:
        return super().url + "/v1"

    def result(self, vectors: list[list[float]]) -> Any:
        rows = [{"object": "embedding", "index": index, "embedding": one} for index, one in enumerate(vectors)]
        return {"object": "list", "model": self.model, "data": rows[::-1], "usage": {"prompt_tokens": 1}}

    def error(self, status: int, code: str, message: str) -> tuple[int, Any]:
        return status, {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": code}}
