"""The npm package `telegram-test-api`: a Bot API written by others, so that our idea of the protocol is not our own.

It is looked for in `.tests/npm/node_modules` of the repository, which `.ci/run` fills.
"""

import json
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

PACKAGE = Path(__file__).parents[1] / ".tests" / "npm" / "node_modules" / "telegram-test-api"

# Ends with its standard input, so that it cannot outlive a killed test.
SCRIPT = """
const [location, port] = process.argv.slice(1);
const TelegramServer = require(location);
const server = new TelegramServer({port: Number(port), host: '127.0.0.1'});
process.stdin.resume().on('end', () => process.exit(0));
server.start().then(() => console.log('ready'));
"""


def missing() -> str:
    """Why the emulator cannot be used here; empty where it can."""
    if shutil.which("node") is None:
        return "node is not installed"
    if not (PACKAGE / "package.json").is_file():
        return "telegram-test-api is not installed in .tests/npm (.ci/run does that)"
    return ""


@dataclass(frozen=True)
class Emulator:
    """A running emulator."""

    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def messages(self, token: str) -> list[dict[str, Any]]:
        """What this bot has sent, oldest first, as sendMessage got it."""
        answer = requests.post(f"{self.url}/getUpdatesHistory", json={"token": token}, timeout=10).json()
        return [update["message"] for update in answer["result"]]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextmanager
def emulator(port: int) -> Iterator[Emulator]:
    """Run the emulator on this port of loopback."""
    command = ["node", "-e", SCRIPT, str(PACKAGE), str(port)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n", "the emulator did not start"
            yield Emulator(port)
        finally:
            process.kill()


def as_sent(value: object) -> Any:
    """`value` as it comes out of JSON."""
    return json.loads(json.dumps(value))
