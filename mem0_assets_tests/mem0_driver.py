"""mem0's clients behind a pipe: run by file name in an environment that holds mem0 and nothing of this project.

One request per line of standard input, one answer per line of standard output:

    {"client": {"database": "mem0"}, "call": "add", "with": {...}}  ->  {"result": ...}

`client` may also name `collection`, `dimensions`, `history` (a path) and `start`. An error ends the process, with mem0's own
traceback on stderr. What was renamed between 0.1 and 2 is called `texts` and `found` here.
"""

import json
import os
import sys
import threading
import uuid
from importlib.metadata import version
from typing import Any

DIMENSIONS = 1536
OLD = int(version("mem0ai").partition(".")[0]) < 2


class Clients:
    """mem0's clients by what they were asked to be."""

    def __init__(self) -> None:
        self.clients: dict[str, Any] = {}
        self.stop = threading.Event()
        self.writers: list[threading.Thread] = []

    def answer(self, request: dict[str, Any]) -> Any:
        client = self.client(request["client"])
        match request["call"]:
            case "texts":
                return texts(client, **request["with"])
            case "found":
                return found(client, **request["with"])
            case "begin_writing":
                return self.begin_writing(client, **request["with"])
            case "begin_changing":
                return self.begin_writing(client, **request["with"], change=True)
            case "end_writing":
                return self.end_writing()
            case "let_go":
                return self.clients.pop(_name(request["client"])).vector_store.connection_pool.close()
            case method:
                return getattr(client, method)(**request["with"])

    def client(self, wanted: dict[str, Any]) -> Any:
        name = _name(wanted)
        if name not in self.clients:
            self.clients[name] = make_client(**wanted)
        return self.clients[name]

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
                client.update(ids[-2], f"{user_id}: note {len(ids) - 2}, changed")
                client.delete(ids[-3])

    def end_writing(self) -> None:
        self.stop.set()
        for writer in self.writers:
            writer.join()


def make_client(
    database: str,
    collection: str = "memories",
    dimensions: int = DIMENSIONS,
    history: str | None = None,
    start: int = 1,
) -> Any:
    """mem0's `Memory`, as its own server makes it. `dimensions` are the embedder's and, for a new table, the column's.

    `start` makes another client with the same settings, as a restart does.
    """
    from mem0 import Memory  # type: ignore[import-untyped]

    place = {"host": "127.0.0.1", "port": os.environ["POSTGRES_PORT"], "user": "postgres", "password": "any"}
    store = {**place, "dbname": database, "collection_name": collection, "embedding_model_dims": dimensions}
    embedder = {"model": "text-embedding-3-small", "embedding_dims": dimensions}
    return Memory.from_config(
        {
            "vector_store": {"provider": "pgvector", "config": store},
            "embedder": {"provider": "openai", "config": embedder},
            "llm": {"provider": "openai", "config": {"model": "gpt-5-mini"}},
            "history_db_path": history or os.path.join(os.environ["MEM0_DIR"], f"history_{uuid.uuid4().hex}.db"),
        }
    )


def texts(client: Any, user_id: str) -> list[str]:
    """Every text that mem0 itself lists in a namespace."""
    scope = {"user_id": user_id, "limit": 10_000} if OLD else {"filters": {"user_id": user_id}, "top_k": 10_000}
    return [memory["memory"] for memory in client.get_all(**scope)["results"]]


def found(client: Any, query: str, user_id: str) -> list[str]:
    """The texts that mem0 finds for a query in a namespace, the nearest first."""
    scope = {"user_id": user_id, "limit": 5} if OLD else {"filters": {"user_id": user_id}, "top_k": 5}
    return [memory["memory"] for memory in client.search(query, **scope)["results"]]


def _name(wanted: dict[str, Any]) -> str:
    return json.dumps(wanted, sort_keys=True)


def main() -> None:
    """Answer requests until the pipe closes."""
    clients = Clients()
    answers, sys.stdout = sys.stdout, sys.stderr  # whatever mem0 prints is no answer
    for line in sys.stdin:
        print(json.dumps({"result": clients.answer(json.loads(line))}), file=answers, flush=True)


if __name__ == "__main__":
    main()
