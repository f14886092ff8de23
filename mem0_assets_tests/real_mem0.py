"""The real mem0 client (mem0ai) in a process of its own, asked over a pipe.

In a process, because importing mem0 writes into a folder of the user's and reads its settings once; here both are the
test's own. One object per request and answer, each a line of JSON:

    {"database": "mem0", "call": "add", "with": {...}}  ->  {"result": ...}

An error ends the process, with mem0's own traceback on stderr.
"""

import json
import os
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mem0_assets.live.embedded import SUPERUSER, EmbeddedServer
from mem0_assets_tests.openai_stub import OpenAIStub

DIMENSIONS = 1536


class RealMem0:
    """One mem0 process. It opens a client for each database that it is asked about."""

    def __init__(self, child: "subprocess.Popen[str]") -> None:
        self._child = child

    def call(self, database: str, method: str, **arguments: Any) -> Any:
        """What a method of mem0's `Memory` returns. Raises AssertionError where it raises: its traceback is on stderr."""
        assert self._child.stdin
        assert self._child.stdout
        self._child.stdin.write(json.dumps({"database": database, "call": method, "with": arguments}) + "\n")
        self._child.stdin.flush()
        answer = self._child.stdout.readline()
        assert answer, f"{method} has ended mem0: see its traceback on stderr"
        return json.loads(answer)["result"]

    def add(self, database: str, text: str, user_id: str) -> None:
        """Store one text as it is."""
        self.call(database, "add", messages=text, user_id=user_id, infer=False)

    def texts(self, database: str, user_id: str) -> list[str]:
        """Every text that mem0 itself lists in a namespace."""
        found = self.call(database, "get_all", filters={"user_id": user_id}, top_k=10_000)
        return [memory["memory"] for memory in found["results"]]

    def search(self, database: str, query: str, user_id: str) -> list[str]:
        """The texts that mem0 finds for a query in a namespace, the nearest first."""
        found = self.call(database, "search", query=query, filters={"user_id": user_id}, top_k=5)
        return [memory["memory"] for memory in found["results"]]

    @contextmanager
    def writing(self, database: str, user_ids: list[str]) -> Iterator[None]:
        """mem0 writes `NAMESPACE: note N`, N = 1, 2, 3, ..., from one thread per namespace for as long as this is open."""
        self.call(database, "begin_writing", user_ids=user_ids)
        try:
            yield
        finally:
            self.call(database, "end_writing")

    @contextmanager
    def changing(self, database: str, user_ids: list[str]) -> Iterator[None]:
        """As `writing`, and of every three memories a thread leaves one, changes one and deletes one."""
        self.call(database, "begin_changing", user_ids=user_ids)
        try:
            yield
        finally:
            self.call(database, "end_writing")

    def close(self, database: str) -> None:
        """Let go of a database: of every connection to it."""
        self.call(database, "let_go")


@contextmanager
def real_mem0(server: EmbeddedServer, openai: OpenAIStub, folder: Path) -> Iterator[RealMem0]:
    """A mem0 process on the databases of `server`, which must listen on TCP."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("OPENAI_", "OPENROUTER_"))}
    environment = {
        **inherited,
        "MEM0_DIR": str(folder),
        "MEM0_TELEMETRY": "False",
        "OPENAI_API_KEY": openai.key,
        "OPENAI_BASE_URL": openai.url,
        "POSTGRES_PORT": str(server.port),
    }
    with subprocess.Popen(
        [sys.executable, "-m", "mem0_assets_tests.real_mem0"],
        cwd=Path(__file__).parents[1],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        try:
            yield RealMem0(child)
        finally:
            child.terminate()


class _Clients:
    """The other side of the pipe: mem0's clients by database."""

    def __init__(self) -> None:
        self.clients: dict[str, Any] = {}
        self.stop = threading.Event()
        self.writers: list[threading.Thread] = []

    def answer(self, request: dict[str, Any]) -> Any:
        client = self.client(request["database"])
        match request["call"]:
            case "begin_writing":
                return self.begin_writing(client, **request["with"])
            case "begin_changing":
                return self.begin_writing(client, **request["with"], change=True)
            case "end_writing":
                return self.end_writing()
            case "let_go":
                return self.clients.pop(request["database"]).vector_store.connection_pool.close()
            case method:
                return getattr(client, method)(**request["with"])

    def client(self, database: str) -> Any:
        from mem0 import Memory  # type: ignore[import-untyped]

        if database not in self.clients:
            place = {"host": "127.0.0.1", "port": os.environ["POSTGRES_PORT"], "user": SUPERUSER, "password": "any"}
            store = {**place, "dbname": database, "collection_name": "memories", "embedding_model_dims": DIMENSIONS}
            embedder = {"model": "text-embedding-3-small", "embedding_dims": DIMENSIONS}
            self.clients[database] = Memory.from_config(
                {
                    "vector_store": {"provider": "pgvector", "config": store},
                    "embedder": {"provider": "openai", "config": embedder},
                    "llm": {"provider": "openai", "config": {"model": "gpt-5-mini"}},
                    "history_db_path": os.path.join(os.environ["MEM0_DIR"], f"history_{uuid.uuid4().hex}.db"),
                }
            )
        return self.clients[database]

    def begin_writing(self, client: Any, user_ids: list[str], *, change: bool = False) -> None:
        self.stop.clear()
        work = self.change if change else self.write
        self.writers = [threading.Thread(target=work, args=(client, user_id)) for user_id in user_ids]
        for writer in self.writers:
            writer.start()

    def write(self, client: Any, user_id: str) -> None:
        number = 0
        while not self.stop.is_set():
            number += 1
            client.add(f"{user_id}: note {number}", user_id=user_id, infer=False)

    def change(self, client: Any, user_id: str) -> None:
        ids: list[str] = []
        while not self.stop.is_set():
            added = client.add(f"{user_id}: note {len(ids)}", user_id=user_id, infer=False)
            ids.append(added["results"][0]["id"])
            if len(ids) % 3 == 0:
                client.update(ids[-2], text=f"{user_id}: changed")
                client.delete(ids[-3])

    def end_writing(self) -> None:
        self.stop.set()
        for writer in self.writers:
            writer.join()


def main() -> None:
    """Answer requests until the pipe closes."""
    clients = _Clients()
    answers, sys.stdout = sys.stdout, sys.stderr  # whatever mem0 prints is no answer
    for line in sys.stdin:
        print(json.dumps({"result": clients.answer(json.loads(line))}), file=answers, flush=True)


if __name__ == "__main__":
    main()
