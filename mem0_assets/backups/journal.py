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

from mem0_assets.backups.files import make_folder, sync_folder

JOURNAL = "catalog.jsonl"

EventKind = Literal[
    "attempt_failed",
    "publishing",
    "published",
    "accepted",
    "identity_accepted",
    "history_accepted",
    "drill",
    "examined",
    "gate_approved",
    "gate_revoked",
    "recovery_stage",
    "configuration_accepted",
    "preflight",
    "postflight",
    "recovery_drill",
]
Event = dict[str, Any]

# What the readers rely on: a line of this kind without one of these (another version's, or edited) says nothing.
_FACTS: dict[str, set[str]] = {
    "attempt_failed": {"sequence", "code", "message"},
    "publishing": {"backup", "sequence", "tiers"},
    "published": {"backup", "sequence", "tiers"},
    "accepted": {"backup", "by", "reason"},
    "identity_accepted": {"identity", "sequence", "by", "reason"},
    "history_accepted": {"memories", "by", "reason"},
    "drill": {"backup", "verdict", "reasons"},
    "examined": {"backup", "stamp", "verdict", "reasons", "total", "namespaces", "dimensions"},
    "gate_approved": {"gate", "by", "reason", "backup", "evidence"},
    "gate_revoked": {"gate", "by", "reason"},
    "recovery_stage": {"recovery", "stage", "facts"},
    "configuration_accepted": {"configuration", "by", "reason"},
    "preflight": {"go", "reasons", "saw"},
    "postflight": {"verdict", "reasons"},
    "recovery_drill": {"backup", "verdict", "reasons", "seconds"},
}


# What each file held, and which state of it that was. Every look asks a journal five times, as five objects; one of a year
# (17,500 events of hourly backups) takes 0.1 s to read.
_read: dict[Path, tuple[tuple[int, int, int], list[Event]]] = {}


class Journal:
    """One deployment's events, oldest first. `{"event": kind, "at": ISO 8601, ...}` each."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / JOURNAL

    def record(self, kind: EventKind, **facts: Any) -> Event:
        """Append one event and make sure that it is on disk. Raises OSError; then no reader takes a part for an event."""
        event: Event = {"event": kind, "at": datetime.now(UTC).isoformat(), **facts}
        append_line(self.path, event)
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
        key, read = (state.st_ino, state.st_size, state.st_mtime_ns), _read.get(self.path)
        if read is None or read[0] != key:
            _read[self.path] = read = key, [*_parse(self.path.read_bytes())]
        return read[1]


def append_line(path: Path, content: dict[str, Any]) -> None:
    """Append one object as a line of JSON, and make sure that it is on disk. Raises OSError."""
    line = json.dumps(content, ensure_ascii=False) + "\n"
    make_folder(path.parent)
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        rest = (_mend(descriptor) + line).encode(errors="backslashreplace")
        while rest:  # a disk that fills up takes a part, and says so at the next
            rest = rest[os.write(descriptor, rest) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    sync_folder(path.parent)


def read_lines(content: bytes) -> Iterator[dict[str, Any]]:
    """The objects of lines of JSON; a torn line is passed over."""
    for line in content.splitlines():
        try:
            found = json.loads(line)
        except ValueError:
            continue
        if isinstance(found, dict):
            yield found


def _mend(descriptor: int) -> str:
    """A line end, where a kill left the last line without one."""
    size = os.fstat(descriptor).st_size
    return "\n" if size and os.pread(descriptor, 1, size - 1) != b"\n" else ""


def _parse(content: bytes) -> Iterator[Event]:
    for event in read_lines(content):
        facts = _FACTS.get(str(event.get("event")))
        if facts is not None and event.keys() >= facts | {"at"}:
            yield event
