"""Programs as a shell would join them, each one's exit status read; and the memory that a tree of processes takes."""

import os
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

# How often the memory of a contender's processes is read.
SAMPLE_SECONDS = 0.05
_MESSAGE_LENGTH = 500


class ContenderFailed(Exception):
    """A contender did not do its work; the text says what it said itself."""


@dataclass(frozen=True)
class Runner:
    """How programs are run: with which variables, as which user (None: as we are), and where."""

    environment: Mapping[str, str]
    user: str | None = None
    folder: Path | None = None

    def run(self, *command: str | Path) -> bytes:
        """One program; what it printed."""
        return self.pipeline([command])

    def pipeline(
        self, commands: Sequence[Sequence[str | Path]], output: Path | None = None, *, sync: bool = False
    ) -> bytes:
        """The commands joined by pipes; what the last one printed, which goes to the file `output` where one is given.

        `sync` waits until that file is on disk. Raises ContenderFailed where any of them does not end with status 0.
        """
        with tempfile.TemporaryFile() as complaints, _opened(output) as target:
            with self.started(commands, complaints, target) as children:
                last = children[-1]
                printed = last.stdout.read() if last.stdout else b""
            _require_success(commands, children, complaints, printed)
            if sync and target is not None:
                os.fsync(target.fileno())
        return printed

    @contextmanager
    def started(
        self, commands: Sequence[Sequence[str | Path]], complaints: IO[bytes], target: IO[bytes] | None = None
    ) -> Iterator[list["subprocess.Popen[bytes]"]]:
        """The running commands, joined by pipes; all have ended afterwards, also where we are interrupted."""
        children: list[subprocess.Popen[bytes]] = []
        try:
            for number, command in enumerate(commands, 1):
                out = target if target is not None and number == len(commands) else subprocess.PIPE
                stdin = children[-1].stdout if children else subprocess.DEVNULL
                children.append(self._start(command, stdin, out, complaints))
                if children[:-1] and (piped := children[-2].stdout):
                    piped.close()  # the next one holds it: a writer whose reader is gone must learn so
            yield children
            for child in children:
                child.wait()
        finally:
            for child in children:
                child.kill()  # nothing happens to one that has ended by itself
                child.wait()
                if child.stdout:
                    child.stdout.close()

    def _start(
        self, command: Sequence[str | Path], stdin: IO[bytes] | int | None, out: IO[bytes] | int, complaints: IO[bytes]
    ) -> "subprocess.Popen[bytes]":
        own = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        groups: list[int] | None = [] if self.user else None
        return subprocess.Popen(
            command,
            stdin=stdin,
            stdout=out,
            stderr=complaints,
            env={**own, "LC_ALL": "C.UTF-8", **self.environment},
            cwd=self.folder,
            user=self.user,
            extra_groups=groups,
        )


def _require_success(
    commands: Sequence[Sequence[str | Path]],
    children: "list[subprocess.Popen[bytes]]",
    complaints: IO[bytes],
    printed: bytes,
) -> None:
    failed = [
        (command, child.returncode) for command, child in zip(commands, children, strict=True) if child.returncode
    ]
    if failed:
        complaints.seek(0)
        said = " ".join((complaints.read() + printed).decode(errors="replace").split())[-_MESSAGE_LENGTH:]
        ends = "; ".join(f"{Path(command[0]).name} ended with status {status}" for command, status in failed)
        raise ContenderFailed(f"{ends}: {said}")


@contextmanager
def _opened(path: Path | None) -> Iterator[IO[bytes] | None]:
    if path is None:
        yield None
    else:
        with open(path, "wb") as file:
            yield file


@dataclass
class Memory:
    """The most bytes that all child processes held at once, in two ways of counting."""

    # Proportional set size, summed at each look: shared pages count once. What a peak between two looks took is missed.
    shared_once: int = 0
    # Each living process's own high-water mark (VmHWM), summed: misses nothing, and counts shared pages many times.
    at_most: int = 0


@contextmanager
def watched_memory() -> Iterator[Memory]:
    """Looks at all processes below this one, every SAMPLE_SECONDS. Servers are not below it: they run by themselves."""
    memory, done = Memory(), threading.Event()

    def look() -> None:
        while not done.wait(SAMPLE_SECONDS):
            tree = list(_below(os.getpid()))
            memory.shared_once = max(memory.shared_once, sum(_bytes(pid, "smaps_rollup", "Pss:") for pid in tree))
            memory.at_most = max(memory.at_most, sum(_bytes(pid, "status", "VmHWM:") for pid in tree))

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    try:
        yield memory
    finally:
        done.set()
        watcher.join()


def _below(pid: int) -> Iterator[int]:
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in _read(children).split():
            yield int(child)
            yield from _below(int(child))


def _bytes(pid: int, file: str, name: str) -> int:
    for line in _read(Path(f"/proc/{pid}/{file}")).splitlines():
        if line.startswith(name):
            return int(line.split()[1]) << 10
    return 0


def _read(path: Path) -> str:
    """A file of /proc; nothing where its process has just ended."""
    try:
        return path.read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""
