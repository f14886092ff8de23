"""Incidents: one thing that is wrong, from its first sight to its end, told neither too often nor too seldom.

Told once; again after the cooldown while it lasts; at once when it gets worse, cooldown or not (a flat cooldown would
swallow "dropped" turning into "zero"); and once more when it is over. One that flaps is not told anew within its
cooldown. Kept as append-only JSON lines, so that a restart neither repeats nor forgets; and while the disk takes
nothing, in memory: a full disk is no time to fall silent, and none to say the same every ten seconds.
"""

import fcntl
import json
import logging
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from mem0_assets.alerts.rules import SEVERITIES, Finding, Scope, Severity

logger = logging.getLogger("mem0_assets.alerts")

INCIDENTS = "incidents.jsonl"

Change = Literal["opened", "worse", "still", "over"]


@dataclass(frozen=True)
class Incident:
    """One incident as it stands. `told_at` and `told_as`: when and with which severity people last heard of it."""

    scope: Scope
    key: str
    kind: str
    severity: Severity
    what: str
    command: str
    since: datetime
    told_at: datetime | None = None
    told_as: Severity | None = None
    ended: datetime | None = None
    announced: bool = False

    def as_json(self) -> dict[str, Any]:
        times = {name: value.isoformat() for name, value in vars(self).items() if isinstance(value, datetime)}
        return {**asdict(self), **times}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "Incident":
        times = {name: datetime.fromisoformat(content[name]) for name in ("since", "told_at", "ended") if content[name]}
        return cls(**{**content, **times})


@dataclass(frozen=True)
class Notice:
    """Something to tell people: an incident, and what has become of it."""

    change: Change
    incident: Incident


Tell = Callable[[Notice], bool]


def advance(
    known: Iterable[Incident], scope: Scope, findings: Iterable[Finding], now: datetime, cooldown: float
) -> tuple[list[Incident], list[Notice]]:
    """The incidents of one scope after a look: those that changed, and what to tell of them. Pure.

    `known` holds every incident of the scope, ended ones too: their cooldown goes on.
    """
    before = {incident.key: incident for incident in known}
    found = {finding.key: finding for finding in findings}
    changed, notices = [], []
    for key, finding in found.items():
        incident, notice = _seen(before.get(key), scope, finding, now, cooldown)
        if incident != before.get(key):
            changed.append(incident)
        notices += [notice] if notice else []
    for key, incident in before.items():
        if key not in found and incident.ended is None:
            over = replace(incident, ended=now)
            changed.append(replace(over, announced=False))
            notices += [Notice("over", over)] if incident.announced else []
    return changed, notices


def _seen(
    before: Incident | None, scope: Scope, finding: Finding, now: datetime, cooldown: float
) -> tuple[Incident, Notice | None]:
    is_open = before is not None and before.ended is None
    incident = Incident(
        scope=scope,
        key=finding.key,
        kind=finding.kind,
        severity=finding.severity,
        what=finding.what,
        command=finding.command,
        since=min(before.since, now) if before and is_open else now,  # a clock that was set back holds nothing back
        told_at=before.told_at if before else None,
        told_as=before.told_as if before else None,
        announced=bool(before and is_open and before.announced),
    )
    if finding.implied or (now - incident.since).total_seconds() < finding.hold:
        return incident, None
    worse = _rank(incident.severity) > _rank(incident.told_as)
    pause = max(cooldown, finding.again)
    quiet = incident.told_at is not None and 0 <= (now - incident.told_at).total_seconds() < pause
    if quiet and not worse:
        return incident, None
    change: Change = "still" if incident.announced else "opened"
    told = replace(incident, told_at=now, told_as=incident.severity, announced=True)
    return told, Notice("worse" if incident.announced and worse else change, told)


def _rank(severity: Severity | None) -> int:
    return SEVERITIES.index(severity) if severity else -1


# What the disk did not take, by file: this process remembers it until the disk does.
_unwritten: dict[Path, list[Incident]] = {}
_alone_in_process = threading.RLock()


class IncidentBook:
    """The incidents of one deployment (or of the fleet), on disk. Any number of processes may use it.

    `folder` lies in the backups' root.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / INCIDENTS

    def observe(
        self, scope: Scope, findings: Iterable[Finding], now: datetime, cooldown: float, tell: Tell
    ) -> list[Notice]:
        """Note what the rules of a scope see now, and `tell` each change; which were told.

        Told first, and noted after: a kill in between says a thing twice, the other way round it would be lost. What
        `tell` cannot tell (it says False) is not noted, and so is told at the next look.
        """
        with self._locked():
            known = [incident for incident in self._latest() if incident.scope == scope]
            changed, notices = advance(known, scope, findings, now, cooldown)
            told = [notice for notice in notices if tell(notice)]
            untold = {notice.incident.key for notice in notices} - {notice.incident.key for notice in told}
            self._append([incident for incident in changed if incident.key not in untold])
        return told

    def open(self) -> list[Incident]:
        """The incidents that are not over, the worst first."""
        incidents = [incident for incident in self._latest() if incident.ended is None]
        return sorted(incidents, key=lambda incident: (-_rank(incident.severity), incident.since))

    def _latest(self) -> list[Incident]:
        try:
            state = self.path.stat()
            written = _read(self.path, state.st_size, state.st_mtime_ns)
        except FileNotFoundError:
            written = ()
        except OSError as error:
            logger.error("%s cannot be read: %s", self.path, error.strerror)
            written = ()
        return _last_of_each([*written, *_unwritten.get(self.path, [])])

    def _append(self, incidents: list[Incident]) -> None:
        waiting = _last_of_each([*_unwritten.pop(self.path, []), *incidents])
        if not waiting:
            return
        # A line end first: a kill in mid-write may have left the last line without one. Blank lines are passed over.
        lines = "".join("\n" + json.dumps(incident.as_json(), ensure_ascii=False) for incident in waiting) + "\n"
        try:
            with open(self.path, "a", encoding="utf-8", errors="replace") as file:
                file.write(lines)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            logger.error("%s takes nothing (%s): this process remembers", self.path, error.strerror)
            _unwritten[self.path] = waiting

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with _alone_in_process, ExitStack() as stack:
            try:
                # One level and no more: folders made for a disk that is not mounted would lie on another one.
                self.path.parent.parent.mkdir(exist_ok=True)
                self.path.parent.mkdir(exist_ok=True)
                lock = stack.enter_context(open(self.path.parent / ".incidents.lock", "w"))
                fcntl.flock(lock, fcntl.LOCK_EX)
            except OSError as error:
                logger.error("%s cannot be locked: %s", self.path, error.strerror)
            yield


def _last_of_each(incidents: Iterable[Incident]) -> list[Incident]:
    """Of several states of one incident the last."""
    return list({(incident.scope, incident.key): incident for incident in incidents}.values())


@lru_cache(maxsize=256)
def _read(path: Path, size: int, changed: int) -> tuple[Incident, ...]:
    """Each incident as it was last written. Asked ten times a minute, and read again only when the file has changed."""
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")  # splitlines cuts at U+2028, too
    return tuple(_last_of_each(incident for line in lines if (incident := _parse(line))))


def _parse(line: str) -> Incident | None:
    try:
        return Incident.from_json(json.loads(line))
    except (ValueError, TypeError, KeyError):
        return None
