"""When things are due, also on the two days a year on which the clocks change."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from mem0_assets.fleet import Schedule, Tier
from mem0_assets.timetable import GRACE, due_tiers, last_fire, longest_gap, next_fire, overdue_since

LONDON = ZoneInfo("Europe/London")
SCHEDULE = Schedule(timezone="Europe/London")
HOURLY, DAILY, WEEKLY, MONTHLY, DRILL = "0 * * * *", "30 2 * * *", "30 2 * * 0", "30 2 1 * *", "30 4 * * 1"


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def everywhere(moment: datetime) -> dict[Tier, datetime]:
    """A verified backup of this moment in every tier."""
    return dict.fromkeys(SCHEDULE.tiers, moment)


def test_a_fire_is_told_in_the_deployments_own_time() -> None:
    assert next_fire(DAILY, LONDON, utc("2026-07-01T12:00")).isoformat() == "2026-07-02T02:30:00+01:00"
    assert last_fire(DAILY, LONDON, utc("2026-01-15T12:00")).isoformat() == "2026-01-15T02:30:00+00:00"


@pytest.mark.parametrize(
    ("at", "last", "following"),
    [
        ("2026-01-15T02:29:59.999999", "2026-01-14T02:30", "2026-01-15T02:30"),
        ("2026-01-15T02:30:00", "2026-01-15T02:30", "2026-01-16T02:30"),
        ("2026-01-15T02:30:00.5", "2026-01-15T02:30", "2026-01-16T02:30"),
    ],
)
def test_the_last_fire_is_never_in_the_future_and_the_next_one_never_in_the_past(
    at: str, last: str, following: str
) -> None:
    assert last_fire(DAILY, LONDON, utc(at)) == utc(last)
    assert next_fire(DAILY, LONDON, utc(at)) == utc(following)


def test_without_any_backup_every_tier_is_due() -> None:
    assert due_tiers(SCHEDULE, {}, utc("2026-01-15T12:00")) == ["hourly", "daily", "weekly", "monthly"]


def test_a_tier_that_is_off_is_never_due() -> None:
    schedule = Schedule(timezone="Europe/London", hourly=None, weekly=None)
    assert due_tiers(schedule, {}, utc("2026-01-15T12:00")) == ["daily", "monthly"]


def test_tiers_that_fall_on_the_same_minute_are_due_together() -> None:
    """1 March 2026 is a Sunday: at 02:30 daily, weekly and monthly meet, and one backup serves them all."""
    before, at = utc("2026-03-01T02:00:05"), utc("2026-03-01T02:30:00")
    assert due_tiers(SCHEDULE, everywhere(before), before) == []
    assert due_tiers(SCHEDULE, everywhere(before), at) == ["daily", "weekly", "monthly"]
    assert due_tiers(SCHEDULE, everywhere(at + timedelta(milliseconds=200)), at + timedelta(minutes=1)) == []


def test_what_a_sleeping_machine_missed_is_caught_up_by_the_next_run() -> None:
    slept, woke = utc("2026-02-28T23:10"), utc("2026-03-01T09:10")
    assert due_tiers(SCHEDULE, everywhere(slept), woke) == ["hourly", "daily", "weekly", "monthly"]
    later = everywhere(woke) | {"monthly": slept}
    assert due_tiers(SCHEDULE, later, utc("2026-03-09T09:20")) == ["hourly", "daily", "weekly", "monthly"]
    assert due_tiers(SCHEDULE, later, woke + timedelta(minutes=5)) == ["monthly"]


def test_a_refused_weekly_backup_stays_due_until_one_is_verified() -> None:
    newest = everywhere(utc("2026-03-08T02:30:10")) | {"weekly": utc("2026-03-01T02:30:10")}
    assert due_tiers(SCHEDULE, newest, utc("2026-03-08T02:45")) == ["weekly"]
    assert due_tiers(SCHEDULE, newest | {"weekly": utc("2026-03-08T02:46")}, utc("2026-03-08T02:47")) == []


def fires(line: str, since: str, until: str) -> list[str]:
    """Every fire between two moments (UTC), as clock times of London."""
    found, moment = [], utc(since)
    while (moment := next_fire(line, LONDON, moment)) <= utc(until):
        found.append(moment.isoformat())
    return found


def test_in_spring_the_hour_that_does_not_exist_loses_no_backup() -> None:
    """On 29 March 2026 the clocks of London go from 01:00 to 02:00."""
    assert fires(HOURLY, "2026-03-28T23:30", "2026-03-29T02:30") == [
        "2026-03-29T00:00:00+00:00",
        "2026-03-29T02:00:00+01:00",
        "2026-03-29T03:00:00+01:00",
    ]
    assert fires("30 1 * * *", "2026-03-28T12:00", "2026-03-30T12:00") == [
        "2026-03-29T02:00:00+01:00",
        "2026-03-30T01:30:00+01:00",
    ]
    newest = everywhere(utc("2026-03-29T00:00:20"))
    assert due_tiers(SCHEDULE, newest, utc("2026-03-29T01:30")) == ["hourly", "daily", "weekly"]


def test_in_autumn_the_hour_that_comes_twice_is_backed_up_twice() -> None:
    """On 25 October 2026 the clocks of London go from 02:00 back to 01:00, at 01:00 UTC."""
    assert fires(HOURLY, "2026-10-24T23:30", "2026-10-25T02:30") == [
        "2026-10-25T01:00:00+01:00",
        "2026-10-25T01:00:00+00:00",
        "2026-10-25T02:00:00+00:00",
    ]
    assert fires(DAILY, "2026-10-24T12:00", "2026-10-26T12:00") == [
        "2026-10-25T02:30:00+00:00",
        "2026-10-26T02:30:00+00:00",
    ]
    for at, last in (("00:59:59", "00:00"), ("00:59:59.5", "00:00"), ("01:00:00", "01:00")):
        fire = last_fire(HOURLY, LONDON, utc(f"2026-10-25T{at}"))
        assert fire.astimezone(UTC) == utc(f"2026-10-25T{last}")


def test_in_autumn_a_backup_of_the_first_01_10_does_not_serve_the_second_hour() -> None:
    """Both datetimes carry London's own zone: by their clocks alone 01:10 is after 01:00."""
    newest = everywhere(utc("2026-10-25T00:10").astimezone(LONDON))
    assert due_tiers(SCHEDULE, newest, utc("2026-10-25T01:05").astimezone(LONDON)) == ["hourly"]


def test_a_backup_is_overdue_when_its_grace_has_passed_and_not_before() -> None:
    newest = utc("2026-01-15T02:30:05")
    late = utc("2026-01-16T02:30")
    assert overdue_since([DAILY], LONDON, newest, late + GRACE) is None
    assert overdue_since([DAILY], LONDON, newest, late + GRACE + timedelta(seconds=1)) == late
    assert overdue_since([DAILY], LONDON, newest, utc("2026-02-01T00:00")) == late


def test_of_several_missed_backups_the_first_one_says_since_when() -> None:
    newest, now = utc("2026-01-15T02:30:05"), utc("2026-01-18T12:00")
    assert overdue_since([MONTHLY, WEEKLY, DAILY, HOURLY], LONDON, newest, now) == utc("2026-01-15T03:00")
    assert overdue_since([], LONDON, newest, now) is None


def test_in_autumn_an_overdue_backup_is_noticed_after_half_an_hour_and_not_after_an_hour_and_a_half() -> None:
    """The fire of 01:45 BST and its grace of 30 minutes end at 01:15 GMT, not at 02:15."""
    newest = utc("2026-10-24T20:00")
    assert overdue_since(["45 1 * * *"], LONDON, newest, utc("2026-10-25T01:15").astimezone(LONDON)) is None
    late = overdue_since(["45 1 * * *"], LONDON, newest, utc("2026-10-25T01:16").astimezone(LONDON))
    assert late is not None
    assert late.isoformat() == "2026-10-25T01:45:00+01:00"


@pytest.mark.parametrize(
    ("lines", "hours"),
    [
        ([HOURLY, DAILY, WEEKLY, MONTHLY], 1),
        ([HOURLY], 1),
        ([DAILY, WEEKLY, MONTHLY], 25),
        ([WEEKLY], 7 * 24 + 1),
        ([MONTHLY], 31 * 24 + 1),
        ([DRILL], 7 * 24 + 1),
        (["0 9-17 * * 1-5"], 65),
        (["0 */6 * * *"], 7),
        (["0 12 1 1 *"], 365 * 24),
        ([], 0),
    ],
)
@pytest.mark.parametrize("start", ["2025-06-10T12:00", "2026-10-20T03:15"])
def test_the_longest_gap_of_a_schedule_counts_the_day_of_25_hours(lines: Iterable[str], hours: int, start: str) -> None:
    assert longest_gap(lines, LONDON, utc(start)) == timedelta(hours=hours)
