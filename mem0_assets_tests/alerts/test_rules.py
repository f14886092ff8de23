"""What is wrong now."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from mem0_assets.alerts.rules import (
    Finding,
    judge_backups,
    judge_drills,
    judge_health,
    judge_memories,
    judge_recovery_drills,
    judge_restores,
    table_missing,
    unreachable,
    unreadable,
)
from mem0_assets.backups.claims import Standard
from mem0_assets.backups.inventory import Backup
from mem0_assets.demo.memories import INCIDENT
from mem0_assets.errors import ConfigurationError, Mem0AssetsError, UnreachableError
from mem0_assets.fleet import Deployment, Limits
from mem0_assets.live.census import Census
from mem0_assets.live.health import Code, Health
from mem0_assets.live.identity import Identity
from mem0_assets.live.postgres import DeniedError, NotReadableError
from mem0_assets.verdicts import ReasonCode, refused

NOW = datetime(2026, 1, 10, 19, 30, tzinfo=UTC)
IDENTITY = Identity("7421", "mem0", 16384, 16500, 1536, "18.4", "0.8.5")
RECREATED = Identity("9876", "mem0_prd", 16385, 16501, 768, "18.4", "0.8.5")
NIGHTLY = {"hourly": None, "weekly": None, "monthly": None, "daily": "30 2 * * *", "drill": "30 4 * * 1"}


def deployment(name: str = "prd", **settings: Any) -> Deployment:
    place = {"host": "127.0.0.1", "user": "mem0_user", "database": "mem0"}
    raw = {"name": name, "backups": Path("/backups") / name, "postgres": place, "schedule": NIGHTLY, **settings}
    return Deployment.model_validate(raw)


def census(namespaces: Mapping[str, int], identity: Identity = IDENTITY) -> Census:
    return Census("memories", sum(namespaces.values()), dict(namespaces), identity, NOW)


def backup(namespaces: Mapping[str, int] = INCIDENT, at: datetime = NOW - timedelta(hours=17)) -> Backup:
    return Backup(
        backup=at.strftime("%Y%m%d_%H%M%S"),
        state="verified",
        path=Path("/backups/prd/daily") / at.strftime("%Y%m%d_%H%M%S"),
        tiers=("daily",),
        sequence=1,
        created_at=at,
        manifest=None,
        total=sum(namespaces.values()),
        namespaces=dict(namespaces),
        dimensions=1536,
        bytes=14_000_000,
    )


def judge(
    namespaces: Mapping[str, int],
    identity: Identity = IDENTITY,
    *,
    before: Mapping[str, int] | None = INCIDENT,
    **limits: Any,
) -> list[Finding]:
    one = deployment(limits=limits)
    standard = Standard(one.limits, backup(before) if before is not None else None, IDENTITY)
    return judge_memories(one, census(namespaces, identity), standard)


def told(findings: list[Finding]) -> list[tuple[str, str]]:
    return [(finding.kind, finding.severity) for finding in findings if not finding.implied]


def without(namespace: str) -> dict[str, int]:
    return {name: count for name, count in INCIDENT.items() if name != namespace}


def test_as_many_memories_as_before_are_no_finding() -> None:
    assert judge(INCIDENT) == []


def test_more_memories_than_before_are_no_finding() -> None:
    assert judge({**INCIDENT, "mark_carey/new": 400}) == []


def test_the_morning_after_10_january_is_a_count_of_zero_in_another_database() -> None:
    findings = judge({}, RECREATED)
    assert told(findings) == [("identity_changed", "critical"), ("count_zero", "critical")]
    identity, count = (finding.what for finding in findings if not finding.implied)
    assert "from 7421 to 9876" in identity
    assert "from mem0 to mem0_prd" in identity
    assert "from 1536 to 768" in identity
    assert "mem0-assets accept prd --identity --reason WHY" in identity
    assert "20260110_023000 holds 1968" in count
    assert "Do not restart any container" in count


@pytest.mark.parametrize(
    ("auto_restore", "who"),
    [
        ("confirm", "Nothing is restored before you say so."),
        ("always", "It is restored by itself once it has been empty for a minute and nothing writes to it."),
        ("never", "It is never restored by itself (auto_restore: never)."),
    ],
)
def test_an_empty_database_is_told_with_what_would_come_back_how_fast_and_who_starts_it(
    auto_restore: str, who: str
) -> None:
    one = deployment(auto_restore=auto_restore)
    standard = Standard(one.limits, backup(), IDENTITY)
    plan = f"20260110_023000 holds 1968 memories, and comes back in about 4 s. {who}"
    (zero,) = [f for f in judge_memories(one, census({}), standard, drill_seconds=4.21) if f.key == "count"]
    assert zero.what.endswith(f"Do not restart any container. {plan}")
    (gone,) = [f for f in table_missing(one, "no table", standard, drill_seconds=4.21) if f.key == "count"]
    assert gone.what == f"The memories' table is gone: no table. {plan}"


def test_before_the_first_drill_no_time_is_promised() -> None:
    (zero,) = [finding for finding in judge({}) if finding.key == "count"]
    assert zero.what.endswith("20260110_023000 holds 1968 memories. Nothing is restored before you say so.")


def test_where_all_is_lost_the_single_namespaces_are_implied() -> None:
    findings = [finding for finding in judge({}) if finding.implied]
    assert {finding.key for finding in findings} == {
        "namespace mark_carey/synovia",
        "namespace mark_carey/sap",
        "namespace mark_carey/booking",
    }


def test_a_namespace_of_33_that_vanishes_is_critical_although_the_total_hardly_moves() -> None:
    (finding,) = judge(without("mark_carey/booking"))
    assert (finding.kind, finding.severity) == ("namespace_gone", "critical")
    assert finding.what == "All 33 memories of the namespace mark_carey/booking are gone."


def test_a_namespace_below_min_namespace_may_go() -> None:
    assert judge(without("mark_carey/personal")) == []
    assert told(judge(without("mark_carey/personal"), min_namespace=9)) == [("namespace_gone", "critical")]


def test_a_namespace_that_loses_more_than_max_drop_is_a_warning() -> None:
    (finding,) = judge({**INCIDENT, "mark_carey/booking": 16})
    assert (finding.kind, finding.severity) == ("namespace_dropped", "warning")
    assert "fell from 33 to 16 memories, a drop of 52%" in finding.what


def test_a_drop_of_exactly_max_drop_is_allowed() -> None:
    assert judge({"a": 50}, before={"a": 100}) == []
    assert told(judge({"a": 49}, before={"a": 100})) == [("count_dropped", "warning"), ("namespace_dropped", "warning")]


def test_a_total_that_falls_is_a_warning_and_keeps_its_key_when_it_reaches_zero() -> None:
    fallen = judge({"mark_carey/synovia": 900})
    (dropped,) = [finding for finding in fallen if finding.key == "count"]
    (zero,) = [finding for finding in judge({}) if finding.key == "count"]
    assert (dropped.kind, dropped.severity) == ("count_dropped", "warning")
    assert "900 memories are left, a drop of 54%" in dropped.what
    assert (zero.kind, zero.severity) == ("count_zero", "critical")


def test_a_new_deployment_without_memories_is_zero_unless_the_fleet_says_it_may_be_empty() -> None:
    assert told(judge({}, before=None)) == [("count_zero", "critical")]
    assert judge({}, before=None, min_rows=0) == []


def test_a_deployment_that_may_be_empty_must_still_not_become_so() -> None:
    assert ("count_zero", "critical") in told(judge({}, min_rows=0))


def test_an_identity_that_could_not_be_learnt_is_no_change() -> None:
    assert judge(INCIDENT, replace(IDENTITY, system_identifier=None)) == []


def test_new_versions_are_not_another_database() -> None:
    assert judge(INCIDENT, replace(IDENTITY, server_version="18.5", pgvector_version="0.9.0")) == []


def test_the_same_memories_in_another_table_are_another_identity() -> None:
    (finding,) = judge(INCIDENT, replace(IDENTITY, table_oid=20000))
    assert finding.kind == "identity_changed"
    assert "the table changed from 16500 to 20000" in finding.what


def test_before_the_first_backup_any_database_is_taken_as_it_is() -> None:
    one = deployment()
    assert judge_memories(one, census({"a": 1}), Standard(one.limits)) == []


def test_below_the_baseline_is_for_information_and_implied_by_a_loss() -> None:
    assert told(judge(INCIDENT, baseline=1969)) == [("below_baseline", "info")]
    assert judge(INCIDENT, baseline=1968) == []
    assert ("below_baseline", "info") not in told(judge({}, baseline=1969))


def test_a_missing_table_is_the_same_incident_as_a_count_of_zero() -> None:
    one = deployment()
    findings = table_missing(one, "there is no table memories", Standard(one.limits, backup(), IDENTITY))
    assert told(findings) == [("table_missing", "critical")]
    assert findings[0].key == "count"
    expected = "The memories' table is gone: there is no table memories. 20260110_023000 holds 1968 memories."
    assert findings[0].what.startswith(expected)


def test_a_missing_table_ends_neither_the_incident_of_its_identity_nor_those_of_its_namespaces() -> None:
    one = deployment()
    standard = Standard(one.limits, backup(), IDENTITY)
    open_before = {finding.key for finding in judge({}, RECREATED)}
    assert open_before <= {finding.key for finding in table_missing(one, "no table", standard)}


def test_a_missing_table_that_was_never_backed_up_is_told_too() -> None:
    one = deployment()
    assert table_missing(one, "no table", Standard(one.limits))[0].what == "The memories' table is gone: no table."


def test_the_next_command_of_a_loss_is_one_that_runs_whatever_the_folder_is_called() -> None:
    held = replace(backup(), path=Path("/my backups/prd's/20260110_023000"))
    one = deployment()
    (finding,) = judge_memories(one, census({}), Standard(Limits(), held, IDENTITY))[:1]
    assert finding.command == "mem0-assets restore prd --plan"
    gone = unreadable(deployment(backups=Path("/my backups/prd")), "cannot use it")
    assert gone.command == "ls -la '/my backups/prd'"


@pytest.mark.parametrize("message", ["it refused", "it refused.", "Is the server running?"])
def test_a_message_ends_in_one_mark(message: str) -> None:
    what = unreachable(deployment(), UnreachableError(message), 30).what
    assert what[-2].isalpha()
    assert what[-1] in ".?"


def test_an_unreachable_database_is_told_only_after_a_while() -> None:
    assert unreachable(deployment(), UnreachableError("it refused"), 30).hold == 30


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (UnreachableError("nothing listens"), "postgresql_down"),
        (DeniedError("it refused the password"), "postgresql_connection"),
        (ConfigurationError("the password is not set"), "postgresql_connection"),
        (NotReadableError("permission denied for table memories"), "postgresql_db_access"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else value,
)
def test_an_unreachable_database_is_one_incident_whatever_is_in_the_way(error: Mem0AssetsError, kind: str) -> None:
    finding = unreachable(deployment(), error, 30)
    assert (finding.key, finding.kind, finding.severity) == ("unreachable", kind, "critical")


WELL = Health("postgres", "ok", "77 memories")
AWAY = Health("postgres", "postgresql_down", "it cannot be reached", "Is the server running?")


def server(code: Code) -> Health:
    return Health("server", code, "http://127.0.0.1:8888: it answers with HTTP 500", "Can it reach its database?")


def test_what_is_well_is_no_finding() -> None:
    assert judge_health([WELL, server("ok"), Health("disk", "ok", "99 GB are free")], 30) == []


def test_a_service_that_is_away_is_told_only_after_a_while_and_a_full_disk_at_once() -> None:
    low = Health("disk", "disk_space_low", "9.1 GB are free in /backups, and 10.0 GB should be")
    neo4j = Health("neo4j", "neo4j_down", "nothing takes connections there")
    findings = judge_health([WELL, server("mem0_server_down"), neo4j, low], 30)
    assert [(one.kind, one.severity, one.hold) for one in findings] == [
        ("mem0_server_down", "critical", 30),
        ("neo4j_down", "critical", 30),
        ("disk_space_low", "warning", 0),
    ]
    assert findings[0].what.endswith("it answers with HTTP 500. Can it reach its database?")
    assert findings[0].command == "mem0-assets doctor"


def test_postgres_is_left_to_the_census() -> None:
    assert judge_health([AWAY], 30) == []


@pytest.mark.parametrize(
    ("postgres", "code", "heard"),
    [
        (AWAY, "mem0_server_endpoint", []),
        (WELL, "mem0_server_endpoint", [("mem0_server_endpoint", "critical")]),
        (AWAY, "mem0_server_down", [("mem0_server_down", "critical")]),
    ],
)
def test_a_server_that_only_says_that_its_database_is_away_is_implied(
    postgres: Health, code: Code, heard: list[tuple[str, str]]
) -> None:
    assert told(judge_health([server(code), postgres], 30)) == heard


def test_a_fresh_verified_backup_is_no_finding() -> None:
    assert judge_backups(deployment(), backup(), None, NOW) == []


def test_a_refused_attempt_is_critical_and_says_that_the_good_ones_are_there() -> None:
    refusal = ("20260111_023000", refused("empty", "it holds no memories at all"))
    (finding,) = judge_backups(deployment(), backup(), refusal, NOW)
    assert (finding.kind, finding.severity) == ("backup_refused", "critical")
    assert "it holds no memories at all [empty]" in finding.what
    assert "No good backup was touched" in finding.what


CODES: tuple[ReasonCode, ReasonCode] = ("empty", "no_space")


def test_an_attempt_that_made_nothing_has_failed_and_is_the_same_incident() -> None:
    refused_one, failed_one = (
        judge_backups(deployment(), backup(), ("20260111_023000", refused(code, "why")), NOW)[0] for code in CODES
    )
    assert (failed_one.kind, failed_one.severity) == ("backup_failed", "critical")
    assert "The newest attempt (20260111_023000) failed: why [no_space]" in failed_one.what
    assert failed_one.key == refused_one.key


def test_a_backup_is_overdue_half_an_hour_after_its_time() -> None:
    newest = backup(at=datetime(2026, 1, 10, 2, 30, 1, tzinfo=UTC))
    assert judge_backups(deployment(), newest, None, datetime(2026, 1, 11, 3, 0, tzinfo=UTC)) == []
    (finding,) = judge_backups(deployment(), newest, None, datetime(2026, 1, 11, 3, 0, 1, tzinfo=UTC))
    assert (finding.kind, finding.severity) == ("backup_overdue", "warning")
    assert "one was due at 2026-01-11T02:30:00+00:00" in finding.what


def test_a_backup_that_is_overdue_for_more_than_a_day_is_critical() -> None:
    newest = backup(at=datetime(2026, 1, 10, 2, 30, 1, tzinfo=UTC))
    (finding,) = judge_backups(deployment(), newest, None, datetime(2026, 1, 12, 2, 30, 1, tzinfo=UTC))
    assert finding.severity == "critical"


def test_what_a_refusal_explains_is_implied() -> None:
    refusal = ("20260111_023000", refused("empty", "it holds no memories at all"))
    late = judge_backups(deployment(), backup(at=NOW - timedelta(days=9)), refusal, NOW)
    never = judge_backups(deployment(), None, refusal, NOW)
    assert told(late) == told(never) == [("backup_refused", "critical")]


def test_a_deployment_that_was_never_backed_up_is_a_warning() -> None:
    assert told(judge_backups(deployment(), None, None, NOW)) == [("never_backed_up", "warning")]


def test_without_a_schedule_nothing_is_overdue() -> None:
    none = deployment(schedule={**NIGHTLY, "daily": None, "drill": None})
    old = backup(at=NOW - timedelta(days=90))
    assert judge_backups(none, old, None, NOW) == []
    assert judge_drills(none, [old], None, None, NOW) == []


def test_a_failed_drill_is_critical() -> None:
    last = ("20260110_023000", refused("count_mismatch", "it holds 5"))
    (finding,) = judge_drills(deployment(), [backup()], last, None, NOW)
    assert (finding.kind, finding.severity) == ("drill_failed", "critical")
    assert "The drill of 20260110_023000 failed: it holds 5 [count_mismatch]" in finding.what


def test_a_drill_is_overdue_when_a_monday_has_passed_without_one() -> None:
    monday = datetime(2026, 1, 5, 4, 31, tzinfo=UTC)
    assert judge_drills(deployment(), [backup()], None, monday, NOW) == []
    (finding,) = judge_drills(deployment(), [backup()], None, monday, NOW + timedelta(days=7))
    assert (finding.kind, finding.severity) == ("drill_overdue", "warning")


def test_a_drill_counts_although_its_backup_has_expired() -> None:
    """An hourly backup that is drilled on Monday morning is gone on Tuesday."""
    monday = datetime(2026, 1, 5, 4, 31, tzinfo=UTC)
    kept = [backup(), backup(at=NOW - timedelta(days=300))]
    assert all(one.drilled_at is None for one in kept)
    assert judge_drills(deployment(), kept, None, monday, NOW) == []


def test_a_first_drill_is_due_after_the_oldest_backup() -> None:
    assert judge_drills(deployment(), [backup()], None, None, NOW) == []
    old = backup(at=NOW - timedelta(days=7))
    assert told(judge_drills(deployment(), [backup(), old], None, None, NOW)) == [("drill_overdue", "warning")]


def test_without_backups_there_is_nothing_to_drill() -> None:
    assert judge_drills(deployment(), [], None, None, NOW) == []
    assert judge_recovery_drills(deployment(), [], None, None, NOW) == []


def test_a_rehearsal_that_failed_is_critical_and_one_that_is_missing_a_month_later_a_warning() -> None:
    last = ("20260110_023000", refused("restore_failed", "the swap was refused"))
    (finding,) = judge_recovery_drills(deployment(), [backup()], last, None, NOW)
    assert (finding.kind, finding.severity) == ("recovery_drill_failed", "critical")
    assert "from 20260110_023000 failed: the swap was refused [restore_failed]" in finding.what
    assert finding.command == "mem0-assets recover prd --drill"
    assert judge_recovery_drills(deployment(), [backup()], None, None, NOW) == []
    february = NOW + timedelta(days=30)
    (finding,) = judge_recovery_drills(deployment(), [backup()], None, None, february)
    assert (finding.kind, finding.severity, finding.again) == ("recovery_drill_overdue", "warning", 86400)
    assert judge_recovery_drills(deployment(), [backup()], None, february, february) == []


def test_a_restore_that_was_interrupted_is_critical_until_it_is_settled() -> None:
    (finding,) = judge_restores(deployment(), "the restore 20260110_030000 was interrupted: the writers were stopped")
    assert (finding.kind, finding.severity, finding.command) == (
        "restore_interrupted",
        "critical",
        "mem0-assets restore prd --settle",
    )
    assert finding.what.startswith("The restore 20260110_030000 was interrupted")
    assert judge_restores(deployment(), None) == []
