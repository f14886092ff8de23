"""Writes that vanish are an alarm, and so is a pause that no weekend explains; a quiet deployment is none."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta, timezone

from mem0_assets.alerts.rules import Finding
from mem0_assets.alerts.write_rules import judge_writes
from mem0_assets.backups.claims import Standard
from mem0_assets.fleet import Limits
from mem0_assets.live.writes import Writes
from mem0_assets_tests.alerts.test_rules import backup, census, deployment

NOW = datetime(2026, 1, 27, 9, 0, tzinfo=UTC)  # a Tuesday
IDS = tuple(f"00000000-0000-4000-8000-{number:012}" for number in range(5))


def judge(
    writes: Writes,
    *,
    total: int = 10,
    before: dict[str, int] | None = None,
    accepted: Iterable[str] = (),
    grown_since: datetime | None = None,
    now: datetime = NOW,
) -> list[Finding]:
    counts = census({"alice": total} if total else {})
    standard = Standard(Limits(), backup(before or {"alice": total}))
    return judge_writes(
        deployment(), counts, writes, standard, accepted=set(accepted), grown_since=grown_since, now=now
    )


def missing(*ids: str) -> Writes:
    return Writes(ids, ())


def at(*times: datetime) -> Writes:
    return Writes((), tuple(time.isoformat() for time in times))


def hours(
    first: datetime, last: datetime, *, only: Iterable[int] = range(24), days: Iterable[int] = range(7)
) -> list[datetime]:
    """Each full hour from the first to the last, on these weekdays (0 is Monday) and at these hours."""
    count = int((last - first) / timedelta(hours=1))
    spots = (first + timedelta(hours=number) for number in range(count + 1))
    return [spot for spot in spots if spot.hour in only and spot.weekday() in days]


def office(last: datetime) -> list[datetime]:
    """Writes of sixty days, from nine to five from Monday to Friday."""
    return hours(last - timedelta(days=60), last, only=range(9, 18), days=range(5))


def test_writes_that_are_there_are_no_finding() -> None:
    assert judge(missing()) == []


def test_first_writes_that_are_dropped_are_told_where_an_empty_table_is_none() -> None:
    new, empty = Standard(Limits(min_rows=0), None), census({})
    (finding,) = judge_writes(deployment(), empty, missing(*IDS), new, accepted=set(), grown_since=None, now=NOW)
    assert not finding.implied


def test_a_write_that_is_nowhere_is_critical_and_names_ids_and_dimensions() -> None:
    (finding,) = judge(missing(*IDS))
    assert (finding.key, finding.kind, finding.severity) == ("writes_dropped", "writes_dropped", "critical")
    assert finding.what.startswith("5 memories are in the newest rows of mem0's history and in no table")
    assert f"({IDS[4]}, {IDS[3]}, {IDS[2]}, ...)" in finding.what
    assert "the column takes 1536 dimensions" in finding.what
    assert "mem0-assets accept prd --history --reason WHY" in finding.what
    assert not finding.implied


def test_what_a_person_accepted_is_no_finding_and_what_is_lost_later_is() -> None:
    assert judge(missing(*IDS), accepted=IDS) == []
    (finding,) = judge(missing(*IDS), accepted=IDS[1:])
    assert finding.what.startswith("1 memory is in")
    assert f"({IDS[0]})" in finding.what


def test_of_an_emptied_table_the_count_of_zero_is_told_and_not_each_write() -> None:
    (finding,) = judge(missing(*IDS), total=0)
    assert finding.implied


def test_of_a_namespace_that_is_gone_that_is_told_and_whatever_is_missing_beside_it() -> None:
    assert [one.implied for one in judge(missing(*IDS), before={"alice": 10, "bob": 10})] == [True]
    assert [one.implied for one in judge(missing(*IDS, *IDS, IDS[0]), before={"alice": 10, "bob": 10})] == [False]
    assert [one.implied for one in judge(missing(*IDS), before={"alice": 10, "bob": 9})] == [False]


def test_a_bot_that_writes_all_day_is_missed_after_a_day() -> None:
    def stopped(pause: timedelta) -> list[Finding]:
        return judge(at(*hours(NOW - timedelta(days=40), NOW - pause)))

    assert stopped(timedelta(hours=24)) == []
    (finding,) = stopped(timedelta(hours=25))
    assert (finding.kind, finding.severity, finding.command) == ("writes_stopped", "warning", "mem0-assets doctor")
    assert finding.again == 86400
    assert "since 2026-01-26 08:00:00+00:00" in finding.what
    assert "all but one were of 1 h or less" in finding.what


def test_neither_a_weekend_nor_a_holiday_after_one_is_an_alarm() -> None:
    friday = datetime(2026, 1, 16, 17, 0, tzinfo=UTC)
    assert judge(at(*office(friday))) == []  # Tuesday a week later: ten days and sixteen hours
    (finding,) = judge(at(*office(friday - timedelta(days=1))))
    assert "all but one were of 2 d 16 h or less" in finding.what


def test_one_holiday_does_not_make_the_next_stop_invisible() -> None:
    stop = NOW - timedelta(days=2)
    before = hours(NOW - timedelta(days=50), NOW - timedelta(days=30))
    after = hours(NOW - timedelta(days=20), stop)
    assert [one.kind for one in judge(at(*before, *after))] == ["writes_stopped"]


def test_what_was_usual_months_ago_is_no_guide() -> None:
    seldom = [NOW - timedelta(days=days) for days in range(70, 400, 10)]
    assert [one.kind for one in judge(at(*seldom, *hours(NOW - timedelta(days=50), NOW - timedelta(days=2))))] == [
        "writes_stopped"
    ]


def test_a_deployment_that_is_too_young_or_too_quiet_has_no_usual_pace() -> None:
    month_ago = NOW - timedelta(days=30)
    assert judge(at()) == []
    assert judge(at(month_ago)) == []
    assert judge(at(*hours(month_ago - timedelta(days=20), month_ago))) == []
    assert judge(at(*(month_ago - timedelta(days=days) for days in range(0, 27, 3)))) == []


def test_offsets_may_be_mixed_and_a_time_without_one_is_utc() -> None:
    pacific = timezone(timedelta(hours=-8))
    times = hours(NOW - timedelta(days=40), NOW - timedelta(hours=25))
    mixed = [spot.astimezone(pacific) if number % 2 else spot.replace(tzinfo=None) for number, spot in enumerate(times)]
    (finding,) = judge(at(*mixed))
    assert "since 2026-01-26 08:00:00+00:00" in finding.what
    assert "all but one were of 1 h or less" in finding.what


def test_the_future_and_what_is_no_time_say_nothing() -> None:
    times = tuple(spot.isoformat() for spot in hours(NOW - timedelta(days=40), NOW - timedelta(hours=25)))
    odd = ("yesterday", "", "9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00", "2026-01-28T00:00:00+00:00")
    assert [one.kind for one in judge(Writes((), (*odd, *times)))] == ["writes_stopped"]
    assert judge(Writes((), odd)) == []


def test_times_that_callers_made_up_are_no_alarm_while_the_memories_grow() -> None:
    imported = hours(NOW - timedelta(days=400), NOW - timedelta(days=340))
    assert [one.kind for one in judge(at(*imported))] == ["writes_stopped"]
    assert judge(at(*imported), grown_since=NOW - timedelta(hours=20)) == []


def test_the_sentence_stays_the_same_while_nothing_new_is_written() -> None:
    """Each change of it would be one more line in the book of incidents, every ten seconds."""
    stopped = at(*hours(NOW - timedelta(days=40), NOW - timedelta(days=2)))
    assert judge(stopped) == judge(stopped, now=NOW + timedelta(hours=7, minutes=5)) != []
