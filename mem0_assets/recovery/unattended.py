"""A restore that asks nobody to confirm it: into an empty database, and only while it is one (`auto_restore`).

Between the sensor's last look and the swap lie minutes of loading. So emptiness is asked for again at each step, and last
right before the swap; a single memory that has appeared ends it, and a person decides.
"""

from datetime import UTC, datetime

from mem0_assets.alerts.incidents import IncidentBook
from mem0_assets.alerts.messages import moment
from mem0_assets.alerts.text import Text, bold, code
from mem0_assets.alerts.watch import tell as tell_people
from mem0_assets.backups.catalog import Catalog
from mem0_assets.backups.legacy import Tell
from mem0_assets.errors import Mem0AssetsError, RefusedError
from mem0_assets.fleet import Deployment, Fleet
from mem0_assets.live.emptiness import Emptiness, look_for_memories
from mem0_assets.recovery.auto_restore import Decision, Watch, decide
from mem0_assets.restores.record import records
from mem0_assets.restores.report import RestoreReport
from mem0_assets.restores.restore import beginning, holding
from mem0_assets.restores.settling import settle

BY = "auto_restore"


def watch_for_emptiness(deployment: Deployment, before: Watch) -> tuple[Watch, Decision, str]:
    """One look, and what it means; the last value names the loss, so that it is restored once.

    Raises nothing expected.
    """
    try:
        seen: Emptiness | None = look_for_memories(deployment.postgres)
    except Mem0AssetsError:
        seen = None
    loss = _loss(deployment) if seen and seen.holds is None else ""
    watch, decision = decide(before, seen, bool(loss), datetime.now(UTC))
    return watch, decision, loss


def _loss(deployment: Deployment) -> str:
    """When the open incident of the loss began; empty where none is open, no backup could mend it, or a person is at it.

    Whoever undoes a restore wants what was there before, and be it nothing; until a later backup says that it was not.
    """
    try:
        newest = Catalog(deployment).newest_verified()
        last = next(iter(records(deployment)), None)
    except Mem0AssetsError:
        return ""
    undone = last.find("undone") if last else None
    if last and not last.is_settled():
        return ""
    if undone and newest and newest.created_at <= datetime.fromisoformat(undone["at"]):
        return ""
    told = [one for one in IncidentBook(deployment.backups).open() if (one.scope, one.key) == ("memories", "count")]
    return told[0].since.isoformat() if told and newest and newest.total else ""


def restore_into_empty(fleet: Fleet, deployment: Deployment, *, tell: Tell = lambda what: None) -> RestoreReport:
    """Restore the newest verified backup, unless a memory is there, and tell people.

    Raises RefusedError where the database is not (or no more) empty, or somebody is at work in it, and what a restore
    raises: then what was live is live.
    """
    with holding(deployment) as catalog:
        settled = settle(deployment, catalog, tell)
        if settled and settled.state == "done" and "undoing" not in settled.steps:
            return settled
        if settled and settled.state != "rolled_back":
            raise RefusedError(f"a person's restore {settled.restore} is {settled.state}: the rest is a person's, too")
        _require_empty(deployment)
        with beginning(deployment, catalog, "latest", by=BY, end_sessions=False, tell=tell) as work:
            work.keep_what_is_there()
            work.stop_writers()
            work.load()
            if not work.verify().ok:
                return work.give_up("what came back is not what the backup claims")
            _require_empty(deployment)
            work.swap()
        report = work.finish()
    tell_people(fleet, _message(deployment, report), key=f"{deployment.name}/auto_restore/{report.restore}")
    return report


def _require_empty(deployment: Deployment) -> None:
    seen = look_for_memories(deployment.postgres)
    step = f"Look at it, then: mem0-assets restore {deployment.name} --plan"
    if seen.holds:
        raise RefusedError(f"there are memories in {seen.holds}: nothing is put over them", next_step=step)
    if seen.busy:
        raise RefusedError(f"{seen.busy} other sessions are at work in the database", next_step=step)


def _message(deployment: Deployment, report: RestoreReport) -> Text:
    title = f"{deployment.name}: restored, as it was empty (auto_restore: {deployment.auto_restore})"
    head = Text.plain("🟢 ") + bold(title)
    what = f"It was empty, and holds the {report.total} memories of {report.backup} since {moment(datetime.now(UTC))}."
    undo = Text.plain("If that was wrong: ") + code(f"mem0-assets restore {deployment.name} --undo")
    return Text.plain("\n").join([head, what, "Find out what emptied it before it happens again.", undo])
