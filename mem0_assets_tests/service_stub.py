"""mem0's server, Neo4j and Grafana as far as their health goes: what the real ones answer, and misbehaviour on command.

    with Mem0Stub() as mem0:
        mem0.database_up = False                  # as with PostgreSQL stopped behind it
        mem0.faults["/memories"] = hang_up        # this path misbehaves

`asked` holds every request that came in: its path, and its key or login.
"""

import json
import threading
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

Fault = Callable[["Exchange"], None]


def say_nothing(exchange: "Exchange") -> None:
    """Take the request, and never answer, as a frozen server does."""
    exchange.stub.ended.wait()


def hang_up(exchange: "Exchange") -> None:
    """Take the request and close, as Docker's proxy does for a container that is gone."""


def drip(exchange: "Exchange") -> None:
    """An answer that comes for ever, a byte at a time."""
    exchange.begin(200, {"Content-Length": "1000000"})
    while not exchange.stub.ended.wait(0.01):
        exchange.write(b" ")


def flood(exchange: "Exchange") -> None:
    """An answer without end, as fast as it goes."""
    exchange.begin(200, {})
    while exchange.write(b" " * 65536):
        pass


def page(status: int) -> Fault:
    """A page for people, which says nothing to us."""
    return lambda exchange: exchange.answer(status, b"<html>hunter2</html>")


def half_json(exchange: "Exchange") -> None:
    exchange.answer(200, b'{"needsSetup": fal')


def brackets(exchange: "Exchange") -> None:
    """JSON that is too deep to be read."""
    exchange.answer(200, b"[" * 200_000)


def redirect(url: str) -> Fault:
    """Send the caller, with all that it carries, to somebody else."""
    return lambda exchange: exchange.answer(307, b"", {"Location": url})


@dataclass(frozen=True)
class Asked:
    """One request: `secret` is its X-API-Key or its Authorization."""

    path: str
    secret: str | None


class ServiceStub:
    """Listens on a free port of loopback while in its `with` block."""

    def __init__(self) -> None:
        self.faults: dict[str, Fault] = {}
        self.asked: list[Asked] = []
        self.ended = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("BoundExchange", (Exchange,), {"stub": self}))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def behave(self, path: str, query: dict[str, list[str]], secret: str | None, body: Any) -> tuple[int, Any]:
        """The status and the JSON that the real one answers."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.ended.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class Exchange(BaseHTTPRequestHandler):
    """One request, and its answer, after which the connection is closed."""

    stub: ServiceStub

    def do_GET(self) -> None:
        self.exchange(None)

    def do_POST(self) -> None:
        self.exchange(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

    def exchange(self, body: Any) -> None:
        parts = urlsplit(self.path)
        secret = self.headers.get("X-API-Key") or self.headers.get("Authorization")
        self.stub.asked.append(Asked(parts.path, secret))
        if fault := self.stub.faults.get(parts.path):
            fault(self)
            return
        status, content = self.stub.behave(parts.path, parse_qs(parts.query), secret, body)
        self.answer(status, json.dumps(content).encode())

    def answer(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
        self.begin(status, {"Content-Length": str(len(content)), **(headers or {})})
        self.write(content)

    def begin(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def write(self, content: bytes) -> bool:
        """False once the caller has gone."""
        try:
            self.wfile.write(content)
        except OSError:
            return False
        return True

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


NOT_FOUND = (404, {"detail": "Not Found"})


class Mem0Stub(ServiceStub):
    """mem0's own server. `version` 1 has no users; `key` None lets everybody in (AUTH_DISABLED, or 1.x without a key)."""

    def __init__(self, version: int = 2, key: str | None = "admin-hunter2") -> None:
        super().__init__()
        self.version = version
        self.key = key
        self.users = 1
        self.database_up = True
        self.configuration: dict[str, Any] | None = None  # what GET /configure answers; None as in 1.x, which has none
        self.memories: dict[str, Any] = {}  # by id, as GET /memories/{id} answers
        self.dead_connections = 0  # the next so many calls meet a connection that PostgreSQL's restart has cut
        self.held: dict[tuple[str, str], str] = {}  # a memory's text by its scope, like ("user_id", "alice")

    def behave(self, path: str, query: dict[str, list[str]], secret: str | None, body: Any) -> tuple[int, Any]:
        up = self.database_up and not self._met_a_dead_connection()
        if path == "/openapi.json":
            return 200, {"openapi": "3.1.0", "info": {"title": "Mem0 REST APIs", "version": "1.0.0"}}
        if path == "/auth/setup-status" and self.version == 2:
            return (200, {"needsSetup": self.users == 0}) if up else (500, {"detail": "Internal Server Error"})
        if path == "/configure" and self.configuration is not None:
            return (200, self.configuration) if self.key in (None, secret) else (401, {"detail": "Invalid API key."})
        if path == "/memories":
            if self.key not in (None, secret):
                return 401, {"detail": "Invalid API key."}
            scope = next((key, query[key][0]) for key in ("user_id", "agent_id", "run_id") if key in query)
            if up and scope in self.held:
                return 200, {"results": [{"memory": self.held[scope]}]}
            down = (502, {"detail": "The memory database is unreachable.", "code": "datastore_unavailable"})
            return (200, {"results": []}) if up else (down if self.version == 2 else (500, {"detail": "refused"}))
        return self._told_with_key(path, secret)

    def _told_with_key(self, path: str, secret: str | None) -> tuple[int, Any]:
        if path != "/configure" and not path.startswith("/memories/"):
            return NOT_FOUND
        if self.key not in (None, secret):
            return 401, {"detail": "Invalid API key."}
        if path == "/configure":
            return (200, self.configuration) if self.configuration else (405, {"detail": "Method Not Allowed"})
        return 200, self.memories.get(path.rpartition("/")[2])

    def _met_a_dead_connection(self) -> bool:
        self.dead_connections -= 1
        return self.dead_connections >= 0


class Neo4jStub(ServiceStub):
    """Neo4j 5's HTTP API with one database."""

    def __init__(self, password: str | None = "graph-hunter2", nodes: int = 42) -> None:
        super().__init__()
        self.login = None if password is None else "Basic " + b64encode(f"neo4j:{password}".encode()).decode()
        self.nodes = nodes
        self.error: str | None = None

    def behave(self, path: str, query: dict[str, list[str]], secret: str | None, body: Any) -> tuple[int, Any]:
        if path == "/":
            return 200, {"neo4j_version": "5.26.4", "neo4j_edition": "community", "transaction": "db/{name}/tx"}
        if path != "/db/neo4j/tx/commit":
            return 404, {"errors": [{"code": "Neo.ClientError.Request.Invalid", "message": "Not Found"}]}
        if self.login not in (None, secret):
            error = {"code": "Neo.ClientError.Security.Unauthorized", "message": "Invalid credential."}
            return 401, {"errors": [error]}
        if self.error:
            return 200, {"results": [], "errors": [{"code": self.error, "message": "hunter2"}]}
        (statement,) = body["statements"]
        assert statement["statement"] == "MATCH (n) RETURN count(n)"
        result = {"columns": ["count(n)"], "data": [{"row": [self.nodes], "meta": [None]}]}
        return 200, {"results": [result], "errors": [], "lastBookmarks": ["FB:kcwQ"]}


class GrafanaStub(ServiceStub):
    """Grafana's /api/health."""

    def __init__(self) -> None:
        super().__init__()
        self.database_up = True

    def behave(self, path: str, query: dict[str, list[str]], secret: str | None, body: Any) -> tuple[int, Any]:
        if path != "/api/health":
            return 302, {}
        state = "ok" if self.database_up else "failing"
        return 200 if self.database_up else 503, {"database": state, "version": "11.2.0", "commit": "2a88694fd3"}
