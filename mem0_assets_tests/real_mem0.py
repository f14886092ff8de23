"""The real mem0 client (mem0ai) of any version, in a process of its own, asked over a pipe (mem0_driver.py).

In a process, because importing mem0 writes into a folder of the user's and reads its settings once, and because two
versions cannot be imported into one; here all of it is the test's own.
"""

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mem0_assets.live.embedded import EmbeddedServer
from mem0_assets_tests.mem0_driver import DIMENSIONS as DIMENSIONS
from mem0_assets_tests.mem0_environments import OWN, ROOT, Environment
from mem0_assets_tests.openai_stub import OpenAIStub


class RealMem0:
    """One mem0 process. It opens a client for each database that it is asked about."""

    def __init__(self, child: "subprocess.Popen[str]", settings: dict[str, Any] | None = None) -> None:
        self._child = child
        self._settings = settings or {}

    def configured(self, **settings: Any) -> "RealMem0":
        """The same process, and in it clients with another `collection`, other `dimensions`, or this `history` (a path)."""
        return RealMem0(self._child, self._settings | settings)

    def call(self, database: str, method: str, **arguments: Any) -> Any:
        """What a method of mem0's `Memory` returns. Raises AssertionError where it raises: its traceback is on stderr."""
        assert self._child.stdin
        assert self._child.stdout
        request = {"client": {"database": database, **self._settings}, "call": method, "with": arguments}
        try:
            self._child.stdin.write(json.dumps(request) + "\n")
            self._child.stdin.flush()
        except BrokenPipeError:
            raise AssertionError("an earlier call has ended mem0: see its traceback on stderr") from None
        answer = self._child.stdout.readline()
        assert answer, f"{method} has ended mem0: see its traceback on stderr"
        return json.loads(answer)["result"]

    def add(self, database: str, text: str, user_id: str) -> None:
        """Store one text as it is."""
        self.call(database, "add", messages=text, user_id=user_id, infer=False)

    def texts(self, database: str, user_id: str) -> list[str]:
        """Every text that mem0 itself lists in a namespace."""
        found: list[str] = self.call(database, "texts", user_id=user_id)
        return found

    def search(self, database: str, query: str, user_id: str) -> list[str]:
        """The texts that mem0 finds for a query in a namespace, the nearest first."""
        found: list[str] = self.call(database, "found", query=query, user_id=user_id)
        return found

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
def real_mem0(
    server: EmbeddedServer, openai: OpenAIStub, folder: Path, environment: Environment = OWN
) -> Iterator[RealMem0]:
    """A mem0 process on the databases of `server`, which must listen on TCP."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("OPENAI_", "OPENROUTER_"))}
    variables = {
        **inherited,
        **environment.variables,
        "MEM0_DIR": str(folder),
        "MEM0_TELEMETRY": "False",
        "OPENAI_API_KEY": openai.key,
        "OPENAI_BASE_URL": openai.url,
        "POSTGRES_PORT": str(server.port),
    }
    with subprocess.Popen(
        [str(environment.python), "-P", str(ROOT / "mem0_assets_tests" / "mem0_driver.py")],
        cwd=folder,
        env=variables,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        try:
            yield RealMem0(child)
        finally:
            child.terminate()
