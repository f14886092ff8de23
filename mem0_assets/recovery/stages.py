"""The four stages of a disaster recovery, each behind its gate: what Dagster's job and the command line both run.

    readiness    A   keep what is there now in a safety backup
    restore      B   stop what writes, load beside, verify, swap, start what was stopped (restores/restore.py)
    cold_start   C   containers run, health is green, the memories are those of the backup; then a message is sent
    telegram     D   a person has read the message: the recovery is over, and its report is written

Each stage is done once in a recovery: running all of them again goes on where the last run stopped at a closed gate.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from mem0_assets.alerts.messages import moment
from mem0_assets.alerts.text import Text, bold, code
from mem0_assets.alerts.watch import channel_of
from mem0_assets.backups.catalog import Catalog
from mem0_assets.backups.files import plain_disk_errors, wait_for_lock
from mem0_assets.backups.legacy import Tell
from mem0_assets.backups.safety import keep_what_is_there
from mem0_assets.errors import RefusedError
from mem0_assets.fleet import Deployment, Fleet
from mem0_assets.live.containers import docker_of
from mem0_assets.recovery.approvals import command, last_word, require
from mem0_assets.recovery.comparison import came_back, is_well
from mem0_assets.recovery.gates import GATES, Approval
from mem0_assets.recovery.record import STAGES, Recovery, Stage, current_recovery
from mem0_assets.restores.restore import restore
from mem0_assets.restores.server import databases, working

BUSY_SECONDS = 2.0


@dataclass(frozen=True)
class StageReport:
    """What a stage did: `facts` for the next ones. `already`: an earlier run has done it in this recovery."""

    stage: Stage
    recovery: str
    backup: str
    already: bool
    facts: dict[str, Any]

    def as_json(self) -> dict[str, Any]:
        return dict(vars(self))


@dataclass(frozen=True)
class Work:
    """What a stage works on. `confirm` is the deployment's name, typed by whoever restores."""

    fleet: Fleet
    deployment: Deployment
    approval: Approval
    recovery: Recovery | None
    by: str
    confirm: str
    end_sessions: bool
    tell: Tell


def run_stage(
    fleet: Fleet,
    deployment: Deployment,
    stage: Stage,
    *,
    by: str = "",
    confirm: str = "",
    end_sessions: bool = False,
    tell: Tell = lambda what: None,
) -> StageReport:
    """Do one stage, or say that it is done; without `by`, in the name of whoever has opened its gate.

    Raises GateClosedError where its gate is shut: then nothing was done. Raises RefusedError where the stage before it is
    not done, BusyError where another run is at work, and what the stage itself raises: then it may be run again.
    """
    with _alone(deployment):
        journal = Catalog(deployment).journal
        recovery = current_recovery(journal)
        if recovery and stage in recovery.done:
            return StageReport(stage, recovery.id, recovery.backup, True, recovery.facts(stage))
        _require_turn(deployment, recovery, stage)
        approval = require(deployment, STAGES[stage])
        work = Work(fleet, deployment, approval, recovery, by or approval.by, confirm, end_sessions, tell)
        tell(stage)
        facts = {**_DO[stage](work), "by": work.by, "approved_by": approval.by}
        name = recovery.id if recovery else datetime.now(UTC).isoformat()
        with plain_disk_errors(deployment.backups):
            journal.record("recovery_stage", recovery=name, stage=stage, facts=facts)
        return StageReport(stage, name, approval.backup, False, facts)


def _require_turn(deployment: Deployment, recovery: Recovery | None, stage: Stage) -> None:
    turn: Stage = recovery.next if recovery else "readiness"
    if stage != turn:
        raise RefusedError(
            f"the stage {stage} comes after {turn}, which is not done",
            next_step=f"mem0-assets recover {deployment.name} --confirm {deployment.name}",
        )


def _readiness(work: Work) -> dict[str, Any]:
    deployment, catalog = work.deployment, Catalog(work.deployment)
    with working(deployment) as connection:
        there = databases(connection)
    with catalog.locked():
        kept = keep_what_is_there(deployment, catalog, there)
    what = f"{kept.backup.backup} keeps {kept.backup.total} memories" if kept.backup else "nothing was there to keep"
    return {"backup": work.approval.backup, "safety": "; ".join([what, *kept.notes])}


def _restore(work: Work) -> dict[str, Any]:
    report = restore(
        work.deployment,
        work.approval.backup,
        by=work.by,
        confirm=work.confirm,
        end_sessions=work.end_sessions,
        tell=work.tell,
    )
    if not report.ok:
        raise RefusedError(f"{report.backup} was not restored: {report.why or report.verdict.sentence()}")
    return {"restore": report.restore, "report": report.as_json()}


def _cold_start(work: Work) -> dict[str, Any]:
    deployment = work.deployment
    if deployment.containers.named:
        with docker_of(deployment.containers) as docker:
            for name in deployment.containers.named:
                docker.start(name)
    work.tell("waiting until all is well")
    well = is_well(deployment)
    memories = came_back(deployment, work.approval.backup)
    sent = channel_of(work.fleet).send(_message(deployment, memories))
    return {"health": well, "memories": memories, "message": sent.message_id}


def _message(deployment: Deployment, memories: str) -> Text:
    title, _ = GATES["D"]
    head = Text.plain("🟢 ") + bold(f"{deployment.name}: the recovery has come to its last gate, {title}")
    ask = Text.plain("Have you read this? Then: ") + code(command(deployment, "D"))
    return Text.plain("\n").join([head, memories, f"Sent at {moment(datetime.now(UTC))}.", ask])


def _telegram(work: Work) -> dict[str, Any]:
    """The report: who opened which gate and why, and when each stage was done."""
    recovery = work.recovery
    assert recovery is not None  # _require_turn has seen it
    gates = {
        gate: {name: word[name] for name in ("by", "reason", "at", "backup")}
        for gate in GATES
        if (word := last_word(work.deployment, gate)) and word["event"] == "gate_approved"
    }
    stages = {stage: {"at": event["at"], **event["facts"]} for stage, event in recovery.done.items()}
    return {"report": {"recovery": recovery.id, "backup": recovery.backup, "gates": gates, "stages": stages}}


_DO: dict[Stage, Callable[[Work], dict[str, Any]]] = {
    "readiness": _readiness,
    "restore": _restore,
    "cold_start": _cold_start,
    "telegram": _telegram,
}


@contextmanager
def _alone(deployment: Deployment) -> Iterator[None]:
    """One run at a time works on a deployment's recovery. Raises BusyError."""
    with plain_disk_errors(deployment.backups):
        lock = open(deployment.backups / ".recovery.lock", "a+")  # noqa: SIM115 - closed below
    with lock:
        wait_for_lock(lock, BUSY_SECONDS, f"another run has been at the recovery of {deployment.name}")
        yield
