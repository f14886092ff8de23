"""What people read."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import get_args
from zoneinfo import ZoneInfo

import pytest

from mem0_assets.alerts.incidents import Change, Incident, Notice
from mem0_assets.alerts.messages import TITLES, DeploymentReport, incident_text, moment, report_text, spoken
from mem0_assets.alerts.messages import test_text as trial_text
from mem0_assets.alerts.rules import SEVERITIES, Kind, Severity
from mem0_assets.alerts.text import Text

SINCE = datetime(2026, 1, 10, 19, 30, tzinfo=UTC)
ZERO = Incident(
    scope="memories",
    key="count",
    kind="count_zero",
    severity="critical",
    what="The table memories holds no memories at all. 20260110_023000 holds 1968. Do not restart any container.",
    command="cat /backups/prd/daily/20260110_023000/RESTORE.md",
    since=SINCE,
    told_at=SINCE,
    told_as="critical",
    announced=True,
)
REPORT = DeploymentReport(
    name="prd",
    total=1968,
    namespaces={"mark_carey/synovia": 1243, "mark_carey/sap": 678},
    unknown=None,
    backup="20260110_023000",
    backup_total=1968,
    backup_age=timedelta(hours=5, minutes=30),
    drilled="20260105_023000",
    drill_age=timedelta(days=5, hours=3),
    incidents=(),
)


def lines(change: Change, after: timedelta = timedelta(0), incident: Incident = ZERO) -> list[str]:
    return incident_text("prd", Notice(change, incident), SINCE + after).text.splitlines()


def styled(text: Text, kind: str) -> list[str]:
    encoded = text.text.encode("utf-16-le")
    ranges = [entity for entity in text.entities if entity.type == kind]
    return [encoded[2 * one.offset : 2 * one.end].decode("utf-16-le") for one in ranges]


def test_an_alert_says_what_since_when_how_bad_and_the_one_command_to_run_next() -> None:
    assert lines("opened") == [
        "🔴 prd: memory count is ZERO",
        ZERO.what,
        "critical (count_zero), since 2026-01-10 19:30:00+00:00",
        "Next: cat /backups/prd/daily/20260110_023000/RESTORE.md",
    ]


def test_a_repeated_alert_says_how_long_it_has_lasted() -> None:
    head, _, when, _ = lines("still", timedelta(hours=26, minutes=1))
    assert head == "🔴 prd: still: memory count is ZERO"
    assert when == "critical (count_zero), since 2026-01-10 19:30:00+00:00 (1 d 2 h)"


def test_one_that_got_worse_says_so() -> None:
    assert lines("worse", timedelta(seconds=10))[0] == "🔴 prd: worse: memory count is ZERO"


def test_the_end_of_an_incident_says_how_long_it_lasted_and_what_it_was() -> None:
    ended = replace(ZERO, ended=SINCE + timedelta(hours=3, minutes=5))
    assert lines("over", timedelta(days=9), ended) == [
        "✅ prd: over: memory count is ZERO",
        f"It lasted 3 h 5 min (count_zero). It was: {ZERO.what}",
    ]


@pytest.mark.parametrize("kind", ["backup_failed", "backup_refused"])
def test_who_heard_of_a_failed_backup_hears_of_the_next_success(kind: str) -> None:
    ended = replace(ZERO, kind=kind, ended=SINCE + timedelta(hours=1))
    assert lines("over", timedelta(hours=1), ended)[0] == "✅ prd: backup succeeded (backup_success)"


@pytest.mark.parametrize(("severity", "sign"), [("critical", "🔴"), ("warning", "🟠"), ("info", "🔵")])
def test_the_sign_shows_the_severity(severity: Severity, sign: str) -> None:
    assert lines("opened", incident=replace(ZERO, severity=severity))[0].startswith(sign)


def test_the_title_is_bold_and_the_command_is_copied_by_one_tap() -> None:
    text = incident_text("prd", Notice("opened", ZERO), SINCE)
    assert styled(text, "bold") == ["prd: memory count is ZERO"]
    assert styled(text, "code") == [ZERO.command]


def test_a_name_with_markup_in_it_is_shown_as_it_is() -> None:
    odd = replace(ZERO, what="All 33 memories of the namespace <b>_*[x](y)`🤫 are gone.")
    assert lines("opened", incident=odd)[1] == odd.what


def test_an_incident_of_a_later_version_is_told_by_its_kind() -> None:
    assert lines("over", incident=replace(ZERO, kind="graph_zero"))[0] == "✅ prd: over: graph_zero"


def test_every_kind_of_finding_has_a_title_and_stands_in_the_runbook() -> None:
    assert set(TITLES) == set(get_args(Kind))
    runbook = (Path(__file__).parents[2] / "docs" / "runbook.md").read_text()
    assert [kind for kind in (*get_args(Kind), "backup_success") if f"`{kind}`" not in runbook] == []


@pytest.mark.parametrize("kind", get_args(Kind))
@pytest.mark.parametrize("change", get_args(Change))
def test_every_message_has_the_exact_name_of_its_kind(kind: Kind, change: Change) -> None:
    ended = SINCE + timedelta(hours=1) if change == "over" else None
    assert f"({kind})" in "\n".join(lines(change, incident=replace(ZERO, kind=kind, ended=ended)))


@pytest.mark.parametrize("severity", SEVERITIES)
def test_a_test_alert_says_that_nothing_is_wrong(severity: Severity) -> None:
    text = trial_text(severity, SINCE).text
    assert severity in text
    assert "Nothing is wrong." in text


def test_the_report_of_a_healthy_deployment() -> None:
    assert report_text([REPORT], SINCE).text.splitlines() == [
        "mem0 report, Saturday 10 January 2026",
        "",
        "✅ prd: 1,968 memories",
        "  mark_carey/synovia: 1,243",
        "  mark_carey/sap: 678",
        "Newest verified backup: 20260110_023000, 1968 memories, 5 h 30 min old. "
        "Last proven by a restore: 20260105_023000, 5 d 3 h ago.",
    ]


def test_the_report_names_what_is_wrong_under_the_sign_of_the_worst() -> None:
    refused = replace(ZERO, kind="backup_refused", since=SINCE + timedelta(hours=7))
    text = report_text([replace(REPORT, total=0, namespaces={}, incidents=(ZERO, refused))], SINCE).text
    assert "🔴 prd: 0 memories" in text
    assert "🔴 memory count is ZERO since 2026-01-10 19:30:00+00:00" in text
    assert "🔴 backup refused since 2026-01-11 02:30:00+00:00" in text


def test_the_report_never_takes_unknown_for_zero() -> None:
    text = report_text([replace(REPORT, total=None, namespaces={}, unknown="it does not answer")], SINCE).text
    assert "prd: count unknown: it does not answer" in text
    assert "0 memories" not in text.replace("1968 memories", "")


def test_the_report_says_where_there_is_no_proof() -> None:
    never = replace(REPORT, backup=None, backup_total=None, backup_age=None, drilled=None, drill_age=None)
    undrilled = replace(REPORT, drilled=None, drill_age=None)
    assert "No verified backup." in report_text([never], SINCE).text
    assert report_text([undrilled], SINCE).text.endswith("None was restored in a drill yet.")


def test_the_report_of_a_fleet_has_a_part_for_each_deployment() -> None:
    parts = report_text([REPORT, replace(REPORT, name="test", total=5)], SINCE).text.split("\n\n")
    assert [part.splitlines()[0] for part in parts[1:]] == ["✅ prd: 1,968 memories", "✅ test: 5 memories"]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"),
        (0.9, "0 s"),
        (59, "59 s"),
        (60, "1 min"),
        (3661, "1 h 1 min"),
        (17 * 86400, "17 d"),
        (17 * 86400 + 59, "17 d 59 s"),
        (-5, "0 s"),
    ],
)
def test_a_duration_is_spoken_in_its_two_largest_units(seconds: float, words: str) -> None:
    assert spoken(timedelta(seconds=seconds)) == words


def test_a_moment_carries_its_offset() -> None:
    london = datetime(2026, 7, 1, 2, 30, 0, 999, tzinfo=ZoneInfo("Europe/London"))
    assert moment(london) == "2026-07-01 02:30:00+01:00"
