"""The files of the outbox: one per waiting message, each whole or not there, in the order in which they were put in.

    DIRECTORY/waiting/00001768999182123456789.json    the name is a time in nanoseconds, made to grow
    DIRECTORY/undeliverable/                          refused or damaged: kept for a look; moved back, it is tried again
    DIRECTORY/pacing.json                             see pacing.py
    DIRECTORY/queue.lock  delivery.lock               held with flock, so a killed process lets go of them

Every temporary file has one fixed name under the lock of its writer, so that a kill leaves at most one behind.
"""

import fcntl
import logging
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from pydantic import AwareDatetime, TypeAdapter

from mem0_assets.alerts.pacing import Pacing
from mem0_assets.alerts.text import Text

logger = logging.getLogger("mem0_assets.alerts")

LockName = Literal["queue", "delivery"]


@dataclass(frozen=True)
class Message:
    """One file: the alerts in it (key to first line), and the parts of the text that are still to be sent."""

    created_at: AwareDatetime
    alerts: Mapping[str, str]
    parts: tuple[Text, ...]

    def after_first_part(self) -> "Message":
        """What is left once the first part was delivered."""
        return replace(self, parts=self.parts[1:])


_MESSAGES = TypeAdapter(Message)
_PACINGS = TypeAdapter(Pacing)


@dataclass(frozen=True)
class Spool:
    """The directory of one outbox. Reading needs no lock; writing says which one it needs."""

    directory: Path

    @property
    def waiting_directory(self) -> Path:
        return self.directory / "waiting"

    @property
    def undeliverable_directory(self) -> Path:
        return self.directory / "undeliverable"

    @contextmanager
    def locked(self, name: LockName, *, wait: bool) -> Iterator[bool]:
        """Hold a lock of this outbox against every other process and thread; yields whether it was got."""
        for directory in (self.waiting_directory, self.undeliverable_directory):
            directory.mkdir(parents=True, exist_ok=True)
        with (self.directory / f"{name}.lock").open("a") as file:
            got = True
            try:
                fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                got = False
            try:
                yield got
            finally:
                if got:  # closing is not enough: a forked child may hold a copy of the file
                    fcntl.flock(file, fcntl.LOCK_UN)

    def paths(self) -> list[Path]:
        """The waiting files, first in first."""
        return sorted(self.waiting_directory.glob("*.json"))

    def read(self, path: Path) -> Message | None:
        """The message in a waiting file; None where it was delivered meanwhile. Raises ValueError if it is damaged."""
        try:
            message = _MESSAGES.validate_json(path.read_bytes())
        except FileNotFoundError:
            return None
        if not message.parts:
            raise ValueError("there is no text in it")
        return message

    def messages(self) -> list[tuple[Path, Message]]:
        """All waiting messages, first in first, without the damaged ones."""
        found = []
        for path in self.paths():
            try:
                message = self.read(path)
            except (OSError, ValueError):
                continue
            if message is not None:
                found.append((path, message))
        return found

    def add(self, message: Message) -> Path:
        """Put a message behind all others. Needs the queue lock. Raises OSError where it cannot be written."""
        taken = (path.stem for folder in (self.waiting_directory, self.undeliverable_directory) for path in _in(folder))
        newest = max((int(stem) for stem in taken if stem.isdecimal()), default=0)
        path = self.waiting_directory / f"{max(time.time_ns(), newest + 1):020d}.json"
        _write(path, _MESSAGES.dump_json(message), temporary=".queue.tmp")
        return path

    def rewrite(self, path: Path, message: Message) -> None:
        """Replace what a waiting file holds. Needs the delivery lock. Raises OSError where it cannot be written."""
        _write(path, _MESSAGES.dump_json(message), temporary=".delivery.tmp")

    def remove(self, path: Path) -> None:
        """Forget a waiting message for good: it was delivered."""
        path.unlink(missing_ok=True)
        _sync(path.parent)

    def set_aside(self, path: Path) -> Path:
        """Move a waiting file to `undeliverable/`. A rename: it works on a full disk."""
        target = self.undeliverable_directory / path.name
        path.rename(target)
        _sync(self.undeliverable_directory)
        _sync(self.waiting_directory)
        return target

    def undeliverable(self) -> list[Path]:
        """What was set aside and waits for a person."""
        return sorted(_in(self.undeliverable_directory))

    def read_pacing(self) -> Pacing:
        """What is remembered of earlier deliveries; a damaged file is as good as none."""
        try:
            return _PACINGS.validate_json((self.directory / "pacing.json").read_bytes())
        except FileNotFoundError:
            return Pacing()
        except (OSError, ValueError) as error:
            logger.warning("pacing.json of the outbox could not be read and starts anew (%s)", type(error).__name__)
            return Pacing()

    def write_pacing(self, pacing: Pacing) -> None:
        """Remember. Needs the delivery lock. Raises OSError where it cannot be written."""
        _write(self.directory / "pacing.json", _PACINGS.dump_json(pacing), temporary=".delivery.tmp")


def _in(folder: Path) -> Iterator[Path]:
    return folder.glob("*.json")


def _write(path: Path, content: bytes, *, temporary: str) -> None:
    """Write a file so that a kill or a power cut leaves either the old content or the new one."""
    unfinished = path.with_name(temporary)
    with unfinished.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)
    _sync(path.parent)


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
