"""What is wrong now: pure rules from what was seen to findings, each with its severity and the one command to run next.

Seeds of these rules fired wrongly or never: "drop since the last scrape" is over after one scrape and never alarmed,
and a namespace of 33 memories vanished below every threshold on the total. Here everything is held against the last
verified backup, per namespace, and against the identity of the database.
"""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from mem0_assets.backups.claims import Standard, drop
from mem0_assets.backups.inventory import Backup
from mem0_assets.errors import Mem0AssetsError
from mem0_assets.fleet import AutoRestore, Deployment, Schedule
from mem0_assets.live.census import Census
from mem0_assets.live.health import CheckName, Health, postgres_code
from mem0_assets.timetable import overdue_since
from mem0_assets.verdicts import Verdict

Severity = Literal["info", "warning", "critical"]
SEVERITIES: tuple[Severity, ...] = ("info", "warning", "critical")

Kind = Literal[
    "count_zero",
    "table_missing",
    "count_dropped",
    "namespace_gone",
    "namespace_dropped",
    "below_baseline",
    "identity_changed",
    "writes_dropped",
    "writes_stopped",
    "mem0_server_down",
    "mem0_server_endpoint",
    "postgresql_down",
    "postgresql_connection",
    "postgresql_db_access",
    "neo4j_down",
    "neo4j_endpoint",
    "grafana_down",
    "grafana_endpoint",
    "disk_space_low",
    "backups_unreadable",
    "backup_failed",
    "backup_refused",
    "backup_overdue",
    "never_backed_up",
    "drill_failed",
    "drill_overdue",
    "restore_interrupted",
    "configuration_changed",
    "next_start_differs",
    "not_guarded",
    "embedder_mismatch",
    "recovery_drill_failed",
    "recovery_drill_overdue",
    "run_failed",
    "check_failed",
    "alerts_undelivered",
]

# Which rules looked: an incident ends only when the rules that saw it look again and do not find it.
Scope = Literal[
    "reach",
    "memories",
    "writes",
    "backups",
    "drills",
    "restores",
    "health",
    "configuration",
    "runs",
    "checks",
    "alerts",
]

# An attempt that came to this has made nothing that could be judged: it failed, and was not refused.
MADE_NOTHING: frozenset[str] = frozenset(
    {"unreachable", "dump_failed", "client_missing", "client_too_old", "no_space", "interrupted"}
)

# mem0 needs its server, and in 1.x its graph, for every call; with the others away it still works, for now.
SEVERITY_OF_HEALTH: dict[CheckName, Severity] = {
    "server": "critical",
    "neo4j": "critical",
    "disk": "warning",
    "grafana": "warning",
}


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong now. `key` stays the same while it gets worse or better; `kind` names what it is.

    `hold` is how many seconds it may last before anybody is told (a restart). `implied`: another finding says it too,
    so it is recorded and not told. `again` is after how many seconds it is told once more, where the fleet's cooldown is
    shorter: what nobody can end by a word of theirs must not be said every hour.
    """

    key: str
    kind: Kind
    severity: Severity
    what: str
    command: str
    hold: float = 0.0
    implied: bool = False
    again: float = 0.0


# What is done about an empty database, as its incident says it.
_BY_ITSELF: dict[AutoRestore, str] = {
    "confirm": "Nothing is restored before you say so.",
    "always": "It is restored by itself once it has been empty for a minute and nothing writes to it.",
    "never": "It is never restored by itself (auto_restore: never).",
}


def judge_memories(
    deployment: Deployment, census: Census, standard: Standard, *, drill_seconds: float | None = None
) -> list[Finding]:
    """Losses that a census shows, against the last verified backup and the accepted identity.

    `drill_seconds`: what the last good drill took, for saying how long a restore will take.
    """
    command = _restore_command(deployment, standard.previous)
    findings = _judge_identity(deployment, census, standard, command)
    total = _judge_total(deployment, census, standard, command, drill_seconds)
    findings += total
    zero = any(finding.kind == "count_zero" for finding in total)
    findings += _judge_namespaces(census.namespaces, standard, command, implied=zero)
    baseline = deployment.limits.baseline
    if baseline is not None and census.total < baseline:
        what = f"{census.total} memories, below the baseline of {baseline}"
        status = f"mem0-assets counts {deployment.name}"
        findings.append(Finding("baseline", "below_baseline", "info", what, status, implied=bool(total)))
    return findings


def table_missing(
    deployment: Deployment, message: str, standard: Standard, *, drill_seconds: float | None = None
) -> list[Finding]:
    """The database answers and the collection is not in it: as bad as a count of zero, and of the same incident.

    With the table its identity and every namespace are gone too. That is implied, and keeps their incidents open.
    """
    previous = standard.previous
    command = _restore_command(deployment, previous)
    what = f"The memories' table is gone: {_sentence(message)}{_comeback(deployment, standard, drill_seconds)}"
    findings = [Finding("count", "table_missing", "critical", what, command)]
    if standard.identity:
        gone = "The table that was known is gone."
        findings.append(Finding("identity", "identity_changed", "critical", gone, command, implied=True))
    return findings + _judge_namespaces({}, standard, command, implied=True)


def unreachable(deployment: Deployment, error: Mem0AssetsError, hold: float) -> Finding:
    """Nothing is known. Not a loss: nobody is told before `hold` seconds, as a restart takes some."""
    command = f"mem0-assets counts {deployment.name}"
    return Finding("unreachable", postgres_code(error), "critical", _sentence(str(error)), command, hold=hold)


def judge_health(seen: Sequence[Health], hold: float) -> list[Finding]:
    """What else is not well. PostgreSQL is left to the census, which looks thirty times as often.

    A mem0 server that answers with an error while its PostgreSQL is away says what the census has told already.
    """
    away = any(one.check == "postgres" and not one.ok for one in seen)
    return [
        Finding(
            one.check,
            one.code,
            SEVERITY_OF_HEALTH[one.check],
            " ".join(_sentence(text) for text in (one.sentence, one.next_step) if text),
            "mem0-assets doctor",
            hold=0.0 if one.check == "disk" else hold,
            implied=away and one.code == "mem0_server_endpoint",
        )
        for one in seen
        if one.check != "postgres" and one.code != "ok"
    ]


def judge_restores(deployment: Deployment, interrupted: str | None) -> list[Finding]:
    """A restore that was killed: until it is settled, the writers that it stopped stand still."""
    if interrupted is None:
        return []
    what = f"{interrupted[0].upper()}{interrupted[1:]}. What writes may be standing still since."
    command = f"mem0-assets restore {deployment.name} --settle"
    return [Finding("restore", "restore_interrupted", "critical", what, command)]


def unreadable(deployment: Deployment, message: str) -> Finding:
    """The folder of the backups cannot be read: what is in it is not known, and no new backup can be made."""
    what = f"The backups cannot be read: {_sentence(message)}"
    return Finding(
        "backups_unreadable", "backups_unreadable", "critical", what, f"ls -la {_quoted(deployment.backups)}"
    )


def judge_backups(
    deployment: Deployment, newest: Backup | None, refusal: tuple[str, Verdict] | None, now: datetime
) -> list[Finding]:
    """A refused newest attempt, a backup that is overdue, and a deployment that was never backed up."""
    name, schedule = deployment.name, deployment.schedule
    findings = []
    if refusal:
        attempt, verdict = refusal
        kind: Kind = "backup_failed" if MADE_NOTHING.issuperset(verdict.codes) else "backup_refused"
        word = "failed" if kind == "backup_failed" else "was refused"
        what = f"The newest attempt ({attempt}) {word}: {verdict.sentence()}. No good backup was touched."
        findings.append(Finding("backup_refused", kind, "critical", what, f"mem0-assets backups {name}"))
    if newest is None:
        what = "There is no verified backup of these memories at all."
        command = f"mem0-assets backup {name}"
        findings.append(Finding("backup_overdue", "never_backed_up", "warning", what, command, implied=bool(refusal)))
    elif late := _late(schedule, newest.created_at, now):
        what = f"The newest verified backup is {newest.backup}; one was due at {late.isoformat()}."
        severity: Severity = "critical" if (now - late).total_seconds() > 86400 else "warning"
        command = f"mem0-assets backup {name}"
        findings.append(Finding("backup_overdue", "backup_overdue", severity, what, command, implied=bool(refusal)))
    return findings


def judge_drills(
    deployment: Deployment,
    verified: Sequence[Backup],
    last: tuple[str, Verdict] | None,
    proven_at: datetime | None,
    now: datetime,
) -> list[Finding]:
    """The last drill (its backup and verdict) failed, or no drill has succeeded for longer than the schedule allows.

    `proven_at` is when the last good drill ended, whatever has become of its backup: an hourly one that is drilled on
    Monday has expired on Tuesday.
    """
    command = f"mem0-assets drill {deployment.name}"
    if last and not last[1].ok:
        what = f"The drill of {last[0]} failed: {last[1].sentence()}."
        return [Finding("drill", "drill_failed", "critical", what, command)]
    if (missed := _missed(deployment.schedule, deployment.schedule.drill, verified, proven_at, now)) is None:
        return []
    what = f"No backup has been restored in a drill since {missed}."
    return [Finding("drill", "drill_overdue", "warning", what, command)]


def judge_recovery_drills(
    deployment: Deployment,
    verified: Sequence[Backup],
    last: tuple[str, Verdict] | None,
    proven_at: datetime | None,
    now: datetime,
) -> list[Finding]:
    """The same of the monthly rehearsal of a whole recovery."""
    command = f"mem0-assets recover {deployment.name} --drill"
    if last and not last[1].ok:
        what = f"The rehearsal of a recovery from {last[0]} failed: {last[1].sentence()}."
        return [Finding("recovery_drill", "recovery_drill_failed", "critical", what, command)]
    if (missed := _missed(deployment.schedule, deployment.schedule.recovery_drill, verified, proven_at, now)) is None:
        return []
    what = f"No recovery has been rehearsed since {missed}."
    # Whoever upgrades with older backups has never rehearsed one, and it is due once a month.
    return [Finding("recovery_drill", "recovery_drill_overdue", "warning", what, command, again=86400)]


def _missed(
    schedule: Schedule, line: str | None, verified: Sequence[Backup], proven_at: datetime | None, now: datetime
) -> str | None:
    """Since when nothing was proven, and when it should have been; None where nothing is overdue."""
    if line is None or not verified:
        return None
    since = proven_at or verified[-1].created_at
    late = overdue_since([line], schedule.zone, since, now)
    return f"{since.isoformat()}; one was due at {late.isoformat()}" if late else None


def _judge_identity(deployment: Deployment, census: Census, standard: Standard, command: str) -> list[Finding]:
    if standard.identity is None:
        return []
    changes = census.identity.changes_from(standard.identity)
    before, after = standard.identity.dimensions, census.identity.dimensions
    if before and after and before != after:
        changes.append(f"the vectors' dimensions changed from {before} to {after}")
    if not changes:
        return []
    what = f"This is another database than before: {'; '.join(changes)}. If it is meant: "
    what += f"mem0-assets accept {deployment.name} --identity --reason WHY"
    return [Finding("identity", "identity_changed", "critical", what, command)]


def _judge_total(
    deployment: Deployment, census: Census, standard: Standard, command: str, drill_seconds: float | None
) -> list[Finding]:
    previous, limits = standard.previous, standard.limits
    before = (previous.total if previous else None) or 0
    since = f" {previous.backup} holds {before}." if previous else ""
    if census.total == 0 and (before or limits.min_rows):
        what = f"The table {census.collection} holds no memories at all. Do not restart any container."
        what += _comeback(deployment, standard, drill_seconds)
        return [Finding("count", "count_zero", "critical", what, command)]
    if drop(before, census.total) > limits.max_drop:
        what = f"{census.total} memories are left, a drop of {drop(before, census.total):.0%}.{since}"
        return [Finding("count", "count_dropped", "warning", what, command)]
    return []


def _comeback(deployment: Deployment, standard: Standard, drill_seconds: float | None) -> str:
    """The plan of a restore in two sentences: what would come back, how long it takes, and who starts it."""
    previous = standard.previous
    if previous is None:
        return ""
    lasts = "" if drill_seconds is None else f", and comes back in about {max(1, round(drill_seconds))} s"
    return f" {previous.backup} holds {previous.total} memories{lasts}. {_BY_ITSELF[deployment.auto_restore]}"


def _judge_namespaces(
    namespaces: Mapping[str, int], standard: Standard, command: str, *, implied: bool
) -> list[Finding]:
    previous, limits = standard.previous, standard.limits
    findings = []
    for name, before in (previous.namespaces if previous else {}).items():
        after = namespaces.get(name, 0)
        if before < limits.min_namespace or drop(before, after) <= limits.max_drop:
            continue
        kind, severity, what = _lost(name, before, after)
        findings.append(Finding(f"namespace {name}", kind, severity, what, command, implied=implied))
    return findings


def _lost(name: str, before: int, after: int) -> tuple[Kind, Severity, str]:
    if after == 0:
        return "namespace_gone", "critical", f"All {before} memories of the namespace {name} are gone."
    what = f"The namespace {name} fell from {before} to {after} memories, a drop of {drop(before, after):.0%}."
    return "namespace_dropped", "warning", what


def _late(schedule: Schedule, newest: datetime, now: datetime) -> datetime | None:
    return overdue_since(schedule.tiers.values(), schedule.zone, newest, now)


def _restore_command(deployment: Deployment, newest: Backup | None) -> str:
    """The plan of a restore, which touches nothing; where there is no backup to restore, what else there is."""
    return f"mem0-assets restore {deployment.name} --plan" if newest else f"mem0-assets backups {deployment.name}"


def _quoted(path: Path) -> str:
    """As a shell needs it, so that a tap on the alert copies a command that runs."""
    return shlex.quote(str(path))


def _sentence(message: str) -> str:
    """With a full stop, unless it ends in a mark of its own."""
    return message if message.endswith((".", "?", "!")) else f"{message}."
