"""What people read: pure texts of alerts and reports. What happened, since when, how bad, the one command to run next."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from mem0_assets.alerts.incidents import Change, Incident, Notice
from mem0_assets.alerts.rules import Severity
from mem0_assets.alerts.text import Text, bold, code

SIGNS: dict[Severity, str] = {"critical": "🔴", "warning": "🟠", "info": "🔵"}

TITLES: dict[str, str] = {
    "count_zero": "memory count is ZERO",
    "table_missing": "the memories' table is gone",
    "count_dropped": "memory count dropped",
    "namespace_gone": "a namespace is gone",
    "namespace_dropped": "a namespace dropped",
    "below_baseline": "memory count below the baseline",
    "identity_changed": "this is another database",
    "writes_dropped": "writes are DROPPED",
    "writes_stopped": "no new memories",
    "mem0_server_down": "the mem0 server is down",
    "mem0_server_endpoint": "the mem0 server answers wrongly",
    "postgresql_down": "database unreachable",
    "postgresql_connection": "database unreachable: it lets nobody in",
    "postgresql_db_access": "database unreachable: its memories cannot be read",
    "neo4j_down": "Neo4j is down",
    "neo4j_endpoint": "Neo4j answers wrongly",
    "grafana_down": "Grafana is down",
    "grafana_endpoint": "Grafana answers wrongly",
    "disk_space_low": "disk space is low",
    "backups_unreadable": "the backups cannot be read",
    "backup_failed": "backup failed",
    "backup_refused": "backup refused",
    "backup_overdue": "backup overdue",
    "never_backed_up": "never backed up",
    "drill_failed": "restore drill failed",
    "drill_overdue": "restore drill overdue",
    "restore_interrupted": "a restore was interrupted",
    "configuration_changed": "the configuration changed",
    "next_start_differs": "the next start would use another configuration",
    "not_guarded": "mem0 uses what is not guarded",
    "embedder_mismatch": "the embedder does not fit the memories",
    "recovery_drill_failed": "recovery drill failed",
    "recovery_drill_overdue": "recovery drill overdue",
    "run_failed": "run failed",
    "check_failed": "check failed",
    "alerts_undelivered": "alerts could not be delivered",
}

# What the end of an incident is called, where there is a better word: who heard of a failure waits for a success.
SUCCESS = "backup succeeded (backup_success)"
GOOD_ENDS: dict[str, str] = {"backup_failed": SUCCESS, "backup_refused": SUCCESS}

_CHANGES: dict[Change, str] = {"opened": "", "worse": "worse: ", "still": "still: ", "over": "over: "}


@dataclass(frozen=True)
class DeploymentReport:
    """What the daily report says of one deployment. None where it is not known, or there is none."""

    name: str
    total: int | None
    namespaces: Mapping[str, int]
    unknown: str | None
    backup: str | None
    backup_total: int | None
    backup_age: timedelta | None
    drilled: str | None
    drill_age: timedelta | None
    incidents: tuple[Incident, ...]


def incident_text(deployment: str, notice: Notice, now: datetime) -> Text:
    """The message of one change of one incident. It names the kind as the runbook does, for people and for filters."""
    incident = notice.incident
    title = f"{_CHANGES[notice.change]}{_title(incident)}"
    if notice.change == "over":
        title = GOOD_ENDS.get(incident.kind, title)
        lasted = spoken((incident.ended or now) - incident.since)
        return (
            Text.plain("✅ ")
            + bold(f"{deployment}: {title}")
            + f"\nIt lasted {lasted} ({incident.kind}). It was: {incident.what}"
        )
    head = Text.plain(f"{SIGNS[incident.severity]} ") + bold(f"{deployment}: {title}")
    when = f"{incident.severity} ({incident.kind}), since {moment(incident.since)}"
    if notice.change != "opened":
        when += f" ({spoken(now - incident.since)})"
    return Text.plain("\n").join([head, incident.what, when, Text.plain("Next: ") + code(incident.command)])


def report_text(reports: Iterable[DeploymentReport], now: datetime) -> Text:
    """The daily report: counts per namespace, and the age of the newest proven backup of each deployment."""
    parts = [_report_of(report) for report in reports]
    return Text.plain("\n\n").join([bold(f"mem0 report, {now:%A %d %B %Y}"), *parts])


def test_text(severity: Severity, now: datetime) -> Text:
    """What `mem0-assets alert test` sends."""
    head = Text.plain(f"{SIGNS[severity]} ") + bold(f"mem0-assets: a test alert ({severity})")
    return head + f"\nSent at {moment(now)}. Alerts of this deployment reach you here. Nothing is wrong."


def moment(at: datetime) -> str:
    """A time for people, to the second, with its offset."""
    return at.isoformat(sep=" ", timespec="seconds")


def spoken(span: timedelta) -> str:
    """A duration for people: its two largest units."""
    seconds = max(0, int(span.total_seconds()))
    units = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))
    parts = []
    for name, size in units:
        count, seconds = divmod(seconds, size)
        if count:
            parts.append(f"{count} {name}")
    return " ".join(parts[:2]) or "0 s"


def _title(incident: Incident) -> str:
    """An incident that another version of this program has noted may be of a kind that has no title here."""
    return TITLES.get(incident.kind, incident.kind)


def _report_of(report: DeploymentReport) -> Text:
    total = f"{report.total:,} memories" if report.total is not None else f"count unknown: {report.unknown}"
    sign = SIGNS[report.incidents[0].severity] if report.incidents else "✅"
    lines = [Text.plain(f"{sign} ") + bold(report.name) + f": {total}"]
    lines += [Text.plain(f"  {name}: {count:,}") for name, count in report.namespaces.items()]
    lines.append(Text.plain(_proof(report)))
    lines += [Text.plain(f"{SIGNS[one.severity]} {_title(one)} since {moment(one.since)}") for one in report.incidents]
    return Text.plain("\n").join(lines)


def _proof(report: DeploymentReport) -> str:
    if report.backup is None or report.backup_age is None:
        return "No verified backup."
    text = f"Newest verified backup: {report.backup}, {report.backup_total} memories, {spoken(report.backup_age)} old."
    if report.drilled is None or report.drill_age is None:
        return f"{text} None was restored in a drill yet."
    return f"{text} Last proven by a restore: {report.drilled}, {spoken(report.drill_age)} ago."
