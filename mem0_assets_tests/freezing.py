"""A server that accepts and says nothing, as one does whose disk is dead."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mem0_assets.live.embedded import EmbeddedServer


@contextmanager
def frozen(server: EmbeddedServer) -> Iterator[None]:
    """The whole server stopped, as by a dead disk: the postmaster and every backend."""
    try:
        freeze(server)
        yield
    finally:
        thaw(server)


def freeze(server: EmbeddedServer) -> None:
    """The postmaster first: from then on it makes no backend, and reaps none."""
    for process in [postmaster(server), *_backends(server)]:
        _tell(process, signal.SIGSTOP)


def thaw(server: EmbeddedServer) -> None:
    for process in [*_backends(server), postmaster(server)]:
        _tell(process, signal.SIGCONT)


def postmaster(server: EmbeddedServer) -> int:
    return int((server.folder / "postmaster.pid").read_text().split()[0])


def children_file(server: EmbeddedServer) -> Path:
    """Where Linux lists the numbers of the backends."""
    number = postmaster(server)
    return Path(f"/proc/{number}/task/{number}/children")


def _backends(server: EmbeddedServer) -> list[int]:
    return [int(number) for number in children_file(server).read_text().split()]


def _tell(process: int, what: signal.Signals) -> None:
    with suppress(ProcessLookupError):  # a backend may end at any moment
        os.kill(process, what)
