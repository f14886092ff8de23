"""What is known before a gate is opened: looked at anew each time, and never changed by looking.

What a stage cannot do without is `needed` (gates.py); the doctor's lines are only shown, because in a disaster the
server, or Grafana, is red for good reason.
"""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

from mem0_assets.alerts.messages import spoken
from mem0_assets.backups.catalog import Catalog
from mem0_assets.doctor import examine_deployment
from mem0_assets.errors import Mem0AssetsError
from mem0_assets.fleet import Deployment
from mem0_assets.live.containers import docker_of
from mem0_assets.live.health import look_at_health
from mem0_assets.recovery.comparison import came_back
from mem0_assets.recovery.gates import Evidence, Gate
from mem0_assets.recovery.readiness import containers_there, needed, readiness
from mem0_assets.recovery.record import Recovery, Stage, current_recovery, last_finished

Look = Callable[[Deployment, str], Iterator[Evidence]]


def evidence_of(deployment: Deployment, gate: Gate, backup: str, *, whole: bool) -> list[Evidence]:
    """What a gate rests on, for a recovery from `backup` (an id). `whole`: with what is only shown, which takes longer."""
    lines = list(_LOOKS[gate](deployment, backup))
    if whole and gate in ("A", "B"):
        lines += [
            Evidence(f"doctor, {one.name}", one.ok, one.detail, one.fix) for one in examine_deployment(deployment)
        ]
    return lines


def _before_it_begins(deployment: Deployment, backup: str) -> Iterator[Evidence]:
    """Gate A: an approval is for one recovery. A job that is launched once more after its end begins none by itself."""
    yield from readiness(deployment, backup)
    last = last_finished(Catalog(deployment).journal)
    detail = f"the last one was that of {last}" if last else "there was none before"
    yield Evidence(
        "recovery", True, detail, needed=True, about=f"one after that of {last}" if last else "the first one"
    )


def _before_teardown(deployment: Deployment, backup: str) -> Iterator[Evidence]:
    """Gate B: all of gate A's, what was kept of the present state, and the volumes that must not be lost."""
    recovery = current_recovery(Catalog(deployment).journal)
    if recovery is None:
        yield _not_begun(deployment)
        return
    yield from readiness(deployment, backup)
    yield _safety_backup(deployment, recovery)
    if deployment.containers.postgres:
        yield _volumes(deployment, deployment.containers.postgres)


def _not_begun(deployment: Deployment) -> Evidence:
    fix = f"Open gate A, then: mem0-assets recover {deployment.name} --confirm {deployment.name}"
    return Evidence("recovery", False, "no recovery is under way", fix, needed=True)


def _safety_backup(deployment: Deployment, recovery: Recovery) -> Evidence:
    """As fresh as an approval must be: what was written since would be in no backup."""
    safety, age = recovery.facts("readiness")["safety"], datetime.now(UTC) - recovery.when("readiness")
    fresh = age <= timedelta(hours=deployment.disaster_recovery.gate_hours)
    detail = f"{safety}, {spoken(age)} ago"
    fix = "" if fresh else f"Begin anew: mem0-assets gate {deployment.name} A --revoke --reason WHY"
    return Evidence("safety backup", fresh, detail, fix, needed=True, about=recovery.id)


def _volumes(deployment: Deployment, container: str) -> Evidence:
    """Where the live database's files are: another volume than the one that was seen is another database."""
    try:
        with docker_of(deployment.containers) as docker:
            mounts = docker.inspect(container).mounts
    except Mem0AssetsError as error:
        return Evidence("volumes", False, error.message, error.next_step, needed=True)
    places = ", ".join(sorted(f"{one.target} on {one.volume or one.source}" for one in mounts))
    return Evidence("volumes", True, f"{container} has {places or 'none'}", needed=True, about=places)


def _after_cold_start(deployment: Deployment, backup: str) -> Iterator[Evidence]:
    """Gate C: which database runs now, what it holds, and whether what serves it is well."""
    recovery = current_recovery(Catalog(deployment).journal)
    if recovery is None or "restore" not in recovery.done:
        yield _not_begun(deployment) if recovery is None else _not_done(deployment, "restore")
        return
    report = recovery.facts("restore")
    yield Evidence("restore", True, f"{report['restore']} brought back {backup}", needed=True, about=report["restore"])
    yield needed("memories", lambda: came_back(deployment, backup))
    for seen in look_at_health(deployment):
        yield Evidence(f"health, {seen.check}", seen.ok, seen.sentence, seen.next_step)
    if deployment.containers.named:
        yield needed("containers", lambda: containers_there(deployment))


def _not_done(deployment: Deployment, stage: Stage) -> Evidence:
    fix = f"mem0-assets recover {deployment.name} --confirm {deployment.name}"
    return Evidence("recovery", False, f"its stage {stage} is not done", fix, needed=True)


def _telegram(deployment: Deployment, backup: str) -> Iterator[Evidence]:
    """Gate D: a message that Telegram took. Whether a person has read it, only a person can say."""
    recovery = current_recovery(Catalog(deployment).journal)
    if recovery is None or "cold_start" not in recovery.done:
        yield _not_begun(deployment) if recovery is None else _not_done(deployment, "cold_start")
        return
    message, age = recovery.facts("cold_start")["message"], datetime.now(UTC) - recovery.when("cold_start")
    if message is None:
        fix = "Add telegram to fleet.yaml, then begin anew"
        yield Evidence("message", False, "the message went to the log: no Telegram is named", fix, needed=True)
        return
    detail = f"Telegram took the message {message}, {spoken(age)} ago: has it been read?"
    yield Evidence("message", True, detail, needed=True, about=str(message))


_LOOKS: dict[Gate, Look] = {"A": _before_it_begins, "B": _before_teardown, "C": _after_cold_start, "D": _telegram}
