"""Where the restores of a deployment stand: the one that was interrupted, and what is kept of those that ended."""

from dataclasses import dataclass
from typing import Any

from mem0_assets.fleet import Deployment
from mem0_assets.restores.record import MEANING, Record, at_work, records, unfinished
from mem0_assets.restores.report import RestoreReport, report_of


@dataclass(frozen=True)
class RestoreStatus:
    """`standing` says in words where the unfinished restore stands; None where there is none. `busy`: it is at work now."""

    unfinished: Record | None
    busy: bool
    standing: str | None
    reports: tuple[RestoreReport, ...]

    def as_json(self) -> dict[str, Any]:
        return {
            "unfinished": self.unfinished.restore if self.unfinished else None,
            "at_work": self.busy,
            "standing": self.standing,
            "restores": [report.as_json() for report in self.reports],
        }


def restore_status(deployment: Deployment) -> RestoreStatus:
    """Read from the records alone: the server need not answer. The newest restore comes first."""
    record = unfinished(deployment)
    busy = at_work(deployment) if record else False
    reports = tuple(report_of(one) for one in records(deployment) if one.last() is not None)
    return RestoreStatus(record, busy, standing(record, busy=busy) if record else None, reports)


def newest_done(deployment: Deployment) -> RestoreReport | None:
    """The report of the newest restore, where that one is done."""
    newest = next(iter(records(deployment)), None)
    return report_of(newest) if newest and newest.last() == "done" else None


def interrupted(deployment: Deployment) -> str | None:
    """One sentence on a restore that was interrupted and waits to be settled; None where there is none."""
    record = unfinished(deployment)
    return None if record is None or at_work(deployment) else standing(record, busy=False)


def standing(record: Record, *, busy: bool) -> str:
    """One sentence on a restore that has not ended."""
    last = record.last()
    where = MEANING.get(last, last) if last else "nothing was done"
    return f"the restore {record.restore} {'is at work' if busy else 'was interrupted'}: {where}"
