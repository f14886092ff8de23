"""The record of one restore: each step as it is taken, on disk before the next one begins, and at the end a report.

    BACKUPS_ROOT/DEPLOYMENT/restores/ID/steps.jsonl   append-only; whoever comes after a kill reads how far it came
    BACKUPS_ROOT/DEPLOYMENT/restores/ID/report.json   who, when, what, hashes, times, verdicts

The record says what was about to happen; whether the databases were swapped is asked of the server, which cannot lie.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal, get_args

from mem0_assets.backups.files import make_folder, plain_disk_errors, sync_folder, wait_for_lock, write_json
from mem0_assets.backups.inventory import ID_FORMAT, dated_folders
from mem0_assets.backups.journal import append_line, read_lines
from mem0_assets.errors import BusyError, NotFoundError, RefusedError
from mem0_assets.fleet import Deployment

RESTORES = "restores"
STEPS = "steps.jsonl"
REPORT = "report.json"
BUSY_SECONDS = 2.0

Step = Literal[
    "begun",
    "keeping",
    "kept",
    "stopping_writers",
    "writers_stopped",
    "loading",
    "loaded",
    "verified",
    "swapping",
    "swapped",
    "history_placed",
    "identity_accepted",
    "writers_started",
    "asked",
    "done",
    "rolled_back",
    "undoing",
    "undone",
    "forgetting",
    "forgotten",
]
# After one of these nothing is left to do.
SETTLED: frozenset[Step] = frozenset({"done", "rolled_back", "undone", "forgotten"})
# What a person reads of a restore that was interrupted after this step.
MEANING: dict[Step, str] = {
    "begun": "it had only begun: nothing live was touched",
    "keeping": "the safety backup was being made: nothing live was touched",
    "kept": "the safety backup was made: nothing live was touched",
    "stopping_writers": "the writers were being stopped: the live database is as it was",
    "writers_stopped": "the writers were stopped: the live database is as it was",
    "loading": "the backup was being loaded beside: the live database is as it was",
    "loaded": "the backup was loaded beside: the live database is as it was",
    "verified": "the backup was loaded beside and verified: the live database is as it was",
    "swapping": "the databases were about to be swapped",
    "swapped": "the databases were swapped",
    "history_placed": "the databases and the history were swapped",
    "identity_accepted": "the databases and the history were swapped",
    "writers_started": "all was swapped, and the writers were started",
    "asked": "all was swapped, and the writers were started",
    "undoing": "it was being undone",
    "forgetting": "what it had replaced was being removed",
}


@dataclass(frozen=True)
class Record:
    """One restore's folder."""

    folder: Path

    @property
    def restore(self) -> str:
        return self.folder.name

    def note(self, step: Step, **facts: Any) -> None:
        """Write a step down, and make sure that it is on disk."""
        with plain_disk_errors(self.folder):
            append_line(self.folder / STEPS, {"step": step, "at": datetime.now(UTC).isoformat(), **facts})

    def steps(self) -> list[dict[str, Any]]:
        """All steps, the first one first."""
        try:
            content = (self.folder / STEPS).read_bytes()
        except FileNotFoundError:
            return []
        return [step for step in read_lines(content) if step.get("step") in get_args(Step)]

    def find(self, name: Step) -> dict[str, Any] | None:
        """The last time that this step was taken."""
        return next((step for step in reversed(self.steps()) if step["step"] == name), None)

    def last(self) -> Step | None:
        """The step that was taken last."""
        steps = self.steps()
        return steps[-1]["step"] if steps else None

    def is_settled(self) -> bool:
        """Whether nothing is left to do. A restore that was killed before it wrote anything down did nothing."""
        last = self.last()
        return last is None or last in SETTLED

    def write_report(self, content: dict[str, Any]) -> None:
        """Write the report in one piece: a kill leaves the old one, or none."""
        with plain_disk_errors(self.folder):
            write_json(self.folder / f"{REPORT}.part", content)
            (self.folder / f"{REPORT}.part").rename(self.folder / REPORT)
            sync_folder(self.folder)


def records(deployment: Deployment) -> list[Record]:
    """Every restore of a deployment, the newest first."""
    with plain_disk_errors(deployment.backups):
        folders = dated_folders(deployment.backups / RESTORES)
    return [Record(folder) for folder in sorted(folders, key=lambda folder: folder.name, reverse=True)]


def unfinished(deployment: Deployment) -> Record | None:
    """The restore that was interrupted, or is at work just now."""
    return next((record for record in records(deployment) if not record.is_settled()), None)


def require_settled(deployment: Deployment) -> None:
    """A database that is about to be swapped away would take with it what is written now. Raises RefusedError."""
    whole = unfinished(deployment)
    if whole:
        step = f"First: mem0-assets restore {deployment.name} --settle"
        raise RefusedError(f"the restore {whole.restore} was interrupted, and is not settled", next_step=step)


def last_in(deployment: Deployment, *states: Step) -> Record:
    """The newest restore whose last step is one of these. Raises NotFoundError."""
    found = next((record for record in records(deployment) if record.last() in states), None)
    if found is None:
        raise NotFoundError(
            f"{deployment.name} has no restore that is {' or '.join(states)}",
            next_step=f"See `mem0-assets restore {deployment.name} --status`",
        )
    return found


def new_record(deployment: Deployment) -> Record:
    """An empty folder for a new restore, named after this second, or the next one that no restore has had."""
    moment = datetime.now(deployment.schedule.zone)
    with plain_disk_errors(deployment.backups):
        parent = deployment.backups / RESTORES
        make_folder(parent)
        while (parent / moment.strftime(ID_FORMAT)).exists():
            moment += timedelta(seconds=1)
        folder = parent / moment.strftime(ID_FORMAT)
        folder.mkdir()
        sync_folder(parent)
    return Record(folder)


@contextmanager
def alone(deployment: Deployment, *, seconds: float | None = None) -> Iterator[None]:
    """Hold the restores of this deployment. Raises BusyError where one is at work, NotFoundError without any backups."""
    if not deployment.backups.is_dir():  # an unmounted disk must not be replaced by an empty folder
        raise NotFoundError(f"{deployment.backups} does not exist", next_step="Is the disk of the backups mounted?")
    with plain_disk_errors(deployment.backups):
        make_folder(deployment.backups / RESTORES)
        lock = open(deployment.backups / RESTORES / ".lock", "a+")  # noqa: SIM115 - closed below
    with lock:
        patience = BUSY_SECONDS if seconds is None else seconds
        wait_for_lock(lock, patience, f"another restore of {deployment.name} has been at work")
        yield


def at_work(deployment: Deployment) -> bool:
    """Whether a restore of this deployment holds its lock now."""
    if not (deployment.backups / RESTORES / ".lock").exists():
        return False
    with suppress(BusyError), alone(deployment, seconds=0.0):
        return False
    return True
