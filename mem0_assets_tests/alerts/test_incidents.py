"""Told once, again after the cooldown, at once when worse, and once more when it is over."""

import json
import logging
import os
import resource
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mem0_assets.alerts import incidents
from mem0_assets.alerts.incidents import INCIDENTS, Incident, IncidentBook, Notice
from mem0_assets.alerts.rules import Finding, Scope, Severity

NOW = datetime(2026, 1, 10, 19, 30, tzinfo=UTC)
COOLDOWN = 3600.0

ZERO = Finding("count", "count_zero", "critical", "no memories", "cat RESTORE.md")
DROPPED = Finding("count", "count_dropped", "warning", "900 left", "cat RESTORE.md")
AWAY = Finding("unreachable", "postgresql_down", "critical", "it does not answer.", "mem0-assets counts", hold=30)


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    """What one test's full disk made this process remember is no other test's."""
    yield
    incidents._unwritten.clear()


class Watcher:
    """Looks at one deployment at given seconds, and keeps what people were told."""

    def __init__(self, folder: Path, scope: Scope = "memories") -> None:
        self.folder = folder
        self.scope = scope
        self.told: list[tuple[str, Severity]] = []
        self.takes_alerts = True

    def see(self, seconds: float, *findings: Finding) -> list[tuple[str, Severity]]:
        """What a look after so many seconds tells; each look is a new process."""
        before = len(self.told)
        now = NOW + timedelta(seconds=seconds)
        IncidentBook(self.folder).observe(self.scope, findings, now, COOLDOWN, self.tell)
        return self.told[before:]

    def tell(self, notice: Notice) -> bool:
        if self.takes_alerts:
            self.told.append((notice.change, notice.incident.severity))
        return self.takes_alerts

    @property
    def open(self) -> list[Incident]:
        return IncidentBook(self.folder).open()


@pytest.fixture
def watcher(tmp_path: Path) -> Watcher:
    return Watcher(tmp_path / "prd")


def test_an_incident_is_told_at_its_first_sight_and_not_again_ten_seconds_later(watcher: Watcher) -> None:
    assert watcher.see(0, ZERO) == [("opened", "critical")]
    assert [watcher.see(tick, ZERO) for tick in range(10, 3600, 600)] == [[]] * 6


def test_what_waits_for_longer_than_the_cooldown_is_told_again_only_then(watcher: Watcher) -> None:
    seldom = replace(DROPPED, again=2 * COOLDOWN)
    assert watcher.see(0, seldom) == [("opened", "warning")]
    assert watcher.see(COOLDOWN, seldom) == []
    assert watcher.see(COOLDOWN + 1, replace(ZERO, again=2 * COOLDOWN)) == [("worse", "critical")]
    assert watcher.see(3 * COOLDOWN + 1, seldom) == [("still", "warning")]


def test_it_is_told_again_when_the_cooldown_is_over_and_then_after_another(watcher: Watcher) -> None:
    watcher.see(0, ZERO)
    assert watcher.see(3599.9, ZERO) == []
    assert watcher.see(3600, ZERO) == [("still", "critical")]
    assert watcher.see(7199, ZERO) == []
    assert watcher.see(7200, ZERO) == [("still", "critical")]


def test_three_days_of_nothing_are_told_once_an_hour(watcher: Watcher) -> None:
    for tick in range(0, 3 * 86400, 1200):
        watcher.see(tick, ZERO)
    assert watcher.told == [("opened", "critical"), *[("still", "critical")] * (3 * 24 - 1)]


def test_it_is_told_at_once_when_it_gets_worse(watcher: Watcher) -> None:
    watcher.see(0, DROPPED)
    assert watcher.see(10, ZERO) == [("worse", "critical")]
    assert watcher.see(20, ZERO) == []


def test_the_cooldown_begins_anew_with_each_telling(watcher: Watcher) -> None:
    watcher.see(0, DROPPED)
    watcher.see(3000, ZERO)
    assert watcher.see(6599, ZERO) == []
    assert watcher.see(6600, ZERO) == [("still", "critical")]


def test_it_is_not_told_when_it_gets_better_or_swings(watcher: Watcher) -> None:
    watcher.see(0, ZERO)
    assert [watcher.see(tick, finding) for tick, finding in ((10, DROPPED), (20, ZERO), (30, DROPPED))] == [[]] * 3


def test_it_is_told_once_that_it_is_over(watcher: Watcher) -> None:
    watcher.see(0, ZERO)
    assert watcher.see(60) == [("over", "critical")]
    assert watcher.see(70) == []
    assert watcher.open == []


def test_one_that_flaps_is_not_told_within_its_cooldown(watcher: Watcher) -> None:
    watcher.see(0, ZERO)
    watcher.see(10)
    for tick in range(20, 3500, 120):
        assert watcher.see(tick, ZERO) == []
        assert watcher.see(tick + 60) == []


def test_one_that_comes_back_and_stays_is_told_after_its_cooldown_as_new(watcher: Watcher) -> None:
    watcher.see(0, ZERO)
    watcher.see(10)
    assert watcher.see(20, ZERO) == []
    assert watcher.see(3599, ZERO) == []
    assert watcher.see(3600, ZERO) == [("opened", "critical")]
    assert watcher.see(3610) == [("over", "critical")]


def test_one_that_comes_back_worse_is_told_at_once(watcher: Watcher) -> None:
    watcher.see(0, DROPPED)
    watcher.see(10)
    assert watcher.see(20, ZERO) == [("opened", "critical")]


def test_one_that_comes_back_after_its_cooldown_is_told_at_once(watcher: Watcher) -> None:
    watcher.see(0, ZERO)
    watcher.see(10)
    assert watcher.see(3600, ZERO) == [("opened", "critical")]


def test_a_restart_of_thirty_seconds_is_told_to_nobody(watcher: Watcher) -> None:
    assert watcher.see(0, AWAY) == []
    assert watcher.see(29, AWAY) == []
    assert watcher.see(31) == []
    assert watcher.told == []


def test_what_is_held_off_is_told_with_the_time_of_its_first_sight(watcher: Watcher) -> None:
    watcher.see(0, AWAY)
    assert watcher.see(30, AWAY) == [("opened", "critical")]
    assert watcher.open[0].since == NOW


def test_each_absence_is_held_off_anew(watcher: Watcher) -> None:
    for start in range(0, 600, 60):
        assert watcher.see(start, AWAY) == []
        assert watcher.see(start + 29, AWAY) == []
        assert watcher.see(start + 31) == []


def test_a_clock_that_was_set_back_does_not_hold_an_incident_off_for_hours(watcher: Watcher) -> None:
    watcher.see(0, AWAY)
    assert watcher.see(-7200, AWAY) == []
    assert watcher.see(-7170, AWAY) == [("opened", "critical")]


def test_a_clock_that_was_set_back_does_not_silence_an_incident_for_hours(watcher: Watcher) -> None:
    watcher.see(0, ZERO)
    assert watcher.see(-7200, ZERO) == [("still", "critical")]
    assert watcher.see(-7190, ZERO) == []
    assert watcher.see(-3600, ZERO) == [("still", "critical")]


def test_an_implied_finding_is_open_and_not_told(watcher: Watcher) -> None:
    implied = replace(ZERO, key="namespace a", kind="namespace_gone", implied=True)
    assert watcher.see(0, implied) == []
    assert [incident.key for incident in watcher.open] == ["namespace a"]
    assert watcher.see(10) == []


def test_a_finding_that_is_no_longer_implied_is_told(watcher: Watcher) -> None:
    gone = replace(ZERO, key="namespace a", kind="namespace_gone")
    watcher.see(0, ZERO, replace(gone, implied=True))
    assert watcher.see(10, gone) == [("opened", "critical"), ("over", "critical")]


def test_one_that_was_told_and_is_now_implied_is_not_over(watcher: Watcher) -> None:
    gone = replace(ZERO, key="namespace a", kind="namespace_gone")
    watcher.see(0, gone)
    assert watcher.see(10, ZERO, replace(gone, implied=True)) == [("opened", "critical")]
    assert watcher.see(20) == [("over", "critical"), ("over", "critical")]


def test_incidents_of_one_scope_are_not_ended_by_a_look_of_another(tmp_path: Path) -> None:
    Watcher(tmp_path / "prd", "memories").see(0, ZERO)
    backups = Watcher(tmp_path / "prd", "backups")
    assert backups.see(10) == []
    assert [incident.key for incident in backups.open] == ["count"]


def test_an_incident_without_a_change_writes_nothing(watcher: Watcher) -> None:
    watcher.see(0, ZERO)
    size = (watcher.folder / INCIDENTS).stat().st_size
    watcher.see(10, ZERO)
    assert (watcher.folder / INCIDENTS).stat().st_size == size


def test_what_is_read_back_is_what_was_written(watcher: Watcher) -> None:
    watcher.see(0, ZERO)
    incident = watcher.open[0]
    assert incident == Incident.from_json(json.loads(json.dumps(incident.as_json())))
    assert (incident.told_at, incident.told_as, incident.announced, incident.ended) == (NOW, "critical", True, None)


@pytest.mark.parametrize("name", ["Zoë’s 🤫", "a\u2028b\x85c\x0bd", 'quoted "\\" \n\r\t\0'])
def test_a_namespace_may_be_called_anything(watcher: Watcher, name: str) -> None:
    finding = replace(ZERO, key=f"namespace {name}", what=f"{name} is gone")
    watcher.see(0, finding)
    assert watcher.see(10, finding) == []
    assert watcher.open[0].what == finding.what


def test_a_name_that_is_not_utf_8_is_told_and_kept(watcher: Watcher) -> None:
    finding = replace(ZERO, what=os.fsdecode(b"/backups/\xff cannot be used"))
    assert watcher.see(0, finding) == [("opened", "critical")]
    assert watcher.open[0].what == "/backups/? cannot be used"


def test_a_torn_last_line_costs_that_line_only(watcher: Watcher) -> None:
    watcher.see(0, ZERO)
    watcher.see(5, ZERO, DROPPED)
    whole = (watcher.folder / INCIDENTS).read_bytes()
    (watcher.folder / INCIDENTS).write_bytes(whole + whole.strip()[: len(whole) // 2])
    assert watcher.see(10, ZERO) == []
    assert watcher.see(20) == [("over", "critical")]
    assert watcher.open == []


@pytest.mark.parametrize("line", ["[]", "17", '{"key": "count"}', "\x00\x00\x00", '"text"', "{"])
def test_a_line_that_is_no_incident_is_passed_over(watcher: Watcher, line: str) -> None:
    watcher.see(0, ZERO)
    with open(watcher.folder / INCIDENTS, "a") as file:
        file.write(line + "\n")
    assert watcher.see(10, ZERO) == []


def test_what_cannot_be_told_is_told_at_the_next_look(watcher: Watcher) -> None:
    watcher.takes_alerts = False
    assert watcher.see(0, ZERO) == []
    watcher.takes_alerts = True
    assert watcher.see(10, ZERO) == [("opened", "critical")]
    assert watcher.see(20, ZERO) == []


def test_the_end_of_an_incident_that_cannot_be_told_is_told_at_the_next_look(watcher: Watcher) -> None:
    watcher.see(0, ZERO)
    watcher.takes_alerts = False
    watcher.see(10)
    watcher.takes_alerts = True
    assert watcher.see(20) == [("over", "critical")]


def test_an_incident_is_noted_only_after_it_was_told(watcher: Watcher) -> None:
    """A kill between the two repeats an alert; the other way round it would lose one."""
    noted: list[bool] = []

    def tell(notice: Notice) -> bool:
        noted.append(bool(watcher.open))
        return True

    IncidentBook(watcher.folder).observe("memories", [ZERO], NOW, COOLDOWN, tell)
    assert noted == [False]
    assert watcher.open


@contextmanager
def files_cannot_grow() -> Iterator[None]:
    """Every write fails, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_disk_that_takes_nothing_neither_silences_nor_repeats(
    watcher: Watcher, caplog: pytest.LogCaptureFixture
) -> None:
    with files_cannot_grow(), caplog.at_level(logging.ERROR):
        assert watcher.see(0, DROPPED) == [("opened", "warning")]
        assert watcher.see(10, DROPPED) == []
        assert watcher.see(20, ZERO) == [("worse", "critical")]
        assert watcher.see(30) == [("over", "critical")]
        assert watcher.see(40) == []
    assert "takes nothing (File too large): this process remembers" in caplog.text


def test_what_a_full_disk_did_not_take_is_written_when_it_takes_again(watcher: Watcher) -> None:
    with files_cannot_grow():
        watcher.see(0, ZERO)
    watcher.see(10, ZERO)
    incidents._unwritten.clear()  # another process reads the file alone
    assert watcher.see(20, ZERO) == []
    assert watcher.open[0].since == NOW


def test_no_folders_are_made_for_a_disk_that_is_not_mounted(tmp_path: Path) -> None:
    watcher = Watcher(tmp_path / "nas" / "backups" / "prd")
    assert watcher.see(0, ZERO) == [("opened", "critical")]
    assert watcher.see(10, ZERO) == []
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_goes_away_and_comes_back_keeps_its_incidents(tmp_path: Path) -> None:
    watcher = Watcher(tmp_path / "nas" / "backups" / "prd")
    watcher.folder.mkdir(parents=True)
    watcher.see(0, ZERO)
    shutil.move(tmp_path / "nas", tmp_path / "away")
    watcher.see(10, ZERO)
    shutil.move(tmp_path / "away", tmp_path / "nas")
    assert watcher.see(20, ZERO) == []
    assert watcher.see(30) == [("over", "critical")]


def test_a_cron_job_and_the_sensor_at_the_same_moment_tell_a_thing_once(watcher: Watcher) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda tick: watcher.see(0, ZERO), range(40)))
    assert watcher.told == [("opened", "critical")]


def test_the_worst_incident_stands_first_and_of_equals_the_oldest(watcher: Watcher) -> None:
    later = replace(ZERO, key="identity")
    watcher.see(0, DROPPED)
    watcher.see(10, DROPPED, replace(ZERO, key="namespace a"))
    watcher.see(20, DROPPED, replace(ZERO, key="namespace a"), later)
    assert [incident.key for incident in watcher.open] == ["namespace a", "identity", "count"]
