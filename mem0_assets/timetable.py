"""When things are due: cron lines in a deployment's own time zone, turned into instants.

Stateless on purpose: what is due is computed from what exists on disk, so that a machine that slept through 02:30, or
a night whose backup was refused, is caught up by the next run instead of losing its weekly or monthly backup.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from croniter import croniter

from mem0_assets.fleet import Schedule, Tier

# A backup that was due is late, not missing, for this long: it may wait for a lock, or take its time.
GRACE = timedelta(minutes=30)


def next_fire(line: str, zone: ZoneInfo, after: datetime) -> datetime:
    """The first instant after `after` at which this cron line fires."""
    fire: datetime = croniter(line, after.astimezone(zone)).get_next(datetime)
    return fire


def last_fire(line: str, zone: ZoneInfo, at: datetime) -> datetime:
    """The last instant, not after `at`, at which this cron line fired."""
    fire: datetime = croniter(line, at.astimezone(zone) + timedelta(seconds=1)).get_prev(datetime)
    return fire


def due_tiers(schedule: Schedule, newest: Mapping[Tier, datetime], at: datetime) -> list[Tier]:
    """The tiers whose last fire has no verified backup yet. `newest` holds each tier's newest verified backup."""
    return [
        tier
        for tier, line in schedule.tiers.items()
        if tier not in newest or newest[tier] < last_fire(line, schedule.zone, at)
    ]


def overdue_since(lines: Iterable[str], zone: ZoneInfo, newest: datetime, now: datetime) -> datetime | None:
    """The earliest fire that `newest` missed and that is more than GRACE ago; None where nothing is late."""
    missed = [next_fire(line, zone, newest) for line in lines]
    late = [fire for fire in missed if fire + GRACE < now]
    return min(late, default=None)


def longest_gap(lines: Iterable[str], zone: ZoneInfo, start: datetime) -> timedelta:
    """The longest time between two fires of these lines in the 400 days from `start` (a monthly line needs as many).

    Lines that fire at least once a day are looked at for ten days only: their gaps repeat.
    """
    iterators = [croniter(line, start.astimezone(zone)) for line in lines]
    upcoming = [iterator.get_next(datetime) for iterator in iterators]
    longest, previous, end = timedelta(0), start, start + timedelta(days=400)
    while (fire := min(upcoming)) < end:
        longest, previous = max(longest, fire - previous), fire
        if longest <= timedelta(days=1, hours=1) and fire > start + timedelta(days=10):
            break
        upcoming = [i.get_next(datetime) if f == fire else f for i, f in zip(iterators, upcoming, strict=True)]
    return longest
