"""OpenAI's API on loopback: embeddings in which the same words lie near each other, and a model that keeps what it is told.

    with OpenAIStub() as openai:
        OpenAI(api_key=openai.key, base_url=openai.url).embeddings.create(...)

Enough for the real mem0 2.x, with infer=False and infer=True: its one extraction call gets every line of the user back
as a memory. The same text has the same vector in every process, so that what was stored can be searched for later.
"""

import base64
import hashlib
import json
import math
import re
import struct
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

KEY = "sk-test-0123456789abcdef"
SIZES = {"text-embedding-3-small": 1536, "text-embedding-3-large": 3072}
_NEW_MESSAGES = re.compile(r"## New Messages\n(.*?)\n\n## ", re.DOTALL)


def embed(text: str, dimensions: int) -> list[float]:
    """A bag of words, hashed into so many buckets, of length 1."""
    vector = [0.0] * dimensions
    for word in re.findall(r"\w+", text.lower()) or [text]:
        digest = hashlib.sha256(word.encode()).digest()
        vector[int.from_bytes(digest[:8]) % dimensions] += 1.0 if digest[8] % 2 else -1.0
    length = math.sqrt(sum(value * value for value in vector))
    if not length:  # two words in one bucket with opposite signs: any fixed direction will do
        return [1.0, *vector[1:]]
    return [value / length for value in vector]


def extract(prompt: str) -> list[dict[str, str]]:
    """What the model makes of mem0's extraction prompt: each line that the user said is a memory, word by word."""
    found = _NEW_MESSAGES.search(prompt)
    said = [line.removeprefix("user: ") for line in found[1].splitlines() if line.startswith("user: ")] if found else []
    return [{"id": str(number), "text": text, "attributed_to": "user"} for number, text in enumerate(said)]


class RefusalError(Exception):
    """What the API answers instead of a result."""

    def __init__(self, status: int, message: str, code: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class OpenAIStub:
    """Listens on a free port of loopback while in its `with` block."""

    key = KEY

    def __init__(self) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Exchange)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Exchange(BaseHTTPRequestHandler):
    """One request and its answer."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        try:
            self._answer(200, self._result(body))
        except RefusalError as refusal:
            error = {"message": str(refusal), "type": "invalid_request_error", "param": None, "code": refusal.code}
            self._answer(refusal.status, {"error": error})

    def _result(self, body: dict[str, Any]) -> dict[str, Any]:
        if self.headers["Authorization"] != f"Bearer {KEY}":
            raise RefusalError(401, "Incorrect API key provided.", "invalid_api_key")
        if self.path == "/v1/embeddings":
            return _embeddings(body)
        if self.path == "/v1/chat/completions":
            return _completion(body)
        raise RefusalError(404, f"Invalid URL (POST {self.path})", "unknown_url")

    def _answer(self, status: int, content: dict[str, Any]) -> None:
        encoded = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(encoded)))
        self.end_headers()
        self.wfile.write(encoded)

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


def _embeddings(body: dict[str, Any]) -> dict[str, Any]:
    model = body["model"]
    if model not in SIZES:
        raise RefusalError(404, f"The model `{model}` does not exist", "model_not_found")
    texts = [body["input"]] if isinstance(body["input"], str) else body["input"]
    vectors = [embed(text, body.get("dimensions", SIZES[model])) for text in texts]
    as_base64 = body.get("encoding_format") == "base64"
    data = [
        {"object": "embedding", "index": index, "embedding": _packed(vector) if as_base64 else vector}
        for index, vector in enumerate(vectors)
    ]
    words = sum(len(text.split()) for text in texts)
    return {"object": "list", "model": model, "data": data, "usage": {"prompt_tokens": words, "total_tokens": words}}


def _packed(vector: list[float]) -> str:
    """Single-precision, little-endian: what the openai client asks for by default, and unpacks."""
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def _completion(body: dict[str, Any]) -> dict[str, Any]:
    prompt = "\n".join(message["content"] for message in body["messages"] if message["role"] == "user")
    message = {"role": "assistant", "content": json.dumps({"memory": extract(prompt)}), "refusal": None}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1767441062,
        "model": body["model"],
        "choices": [{"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
    }
