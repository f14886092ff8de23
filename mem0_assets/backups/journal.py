"""The append-only journal of a deployment: what no backup's folder can tell.

Drills, a person's words (accepted backups and identities), attempts that left no files, publications begun and done.
Plain JSON lines: readable with `cat`, and a torn last line (a kill in mid-write) costs that line only.
"""

import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

JOURNAL = "catalog.jsonl"

EventKind = Literal["attempt_failed", "publishing", "published", "accepted", "identity_accepted", "drill", "examined"]
Event = dict[str, Any]


class Journal:
    """One deployment's events, oldest first. `{"event": kind, "at": ISO 8601, ...}` each."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / JOURNAL
        self._read: tuple[tuple[int, int], list[Event]] | None = None

    def record(self, kind: EventKind, **facts: Any) -> Event:
        """Append one event and make sure that it is on disk."""
        event: Event = {"event": kind, "at": datetime.now(UTC).isoformat(), **facts}
        line = json.dumps(event, ensure_ascii=False) + "\n"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(descriptor, (self._mend(descriptor) + line).encode())
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        return event

    def events(self, *kinds: EventKind) -> Iterator[Event]:
        """The events of these kinds (of all, where none is named), oldest first."""
        return (event for event in self._events() if not kinds or event["event"] in kinds)

    def last(self, *kinds: EventKind) -> Event | None:
        """The newest event of these kinds."""
        return next((event for event in reversed(self._events()) if event["event"] in kinds), None)

    def _events(self) -> list[Event]:
        try:
            state = self.path.stat()
        except FileNotFoundError:
            return []
        key = (state.st_size, state.st_mtime_ns)
        if self._read is None or self._read[0] != key:
            self._read = key, [*_parse(self.path.read_bytes())]
        return self._read[1]

    @staticmethod
    def _mend(descriptor: int) -> str:
        """A line end, where a kill left the last line without one."""
        size = os.fstat(descriptor).st_size
        return "\n" if size and os.pread(descriptor, 1, size - 1) != b"\n" else ""


def _parse(content: bytes) -> Iterator[Event]:
    for line in content.splitlines():
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict) and "event" in event:
            yield event
