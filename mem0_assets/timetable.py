"""When things are due: cron lines in a deployment's own time zone, turned into instants.

Stateless on purpose: what is due is computed from what exists on disk, so that a machine that slept through 02:30, or
a night whose backup was refused, is caught up by the next run instead of losing its weekly or monthly backup.

Differences and comparisons are made in UTC: between two datetimes of one zone Python takes the clocks' difference, which
is an hour off on the two days a year on which the clocks change.
"""

import heapq
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
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
    just_after = at.astimezone(UTC).replace(microsecond=0) + timedelta(seconds=1)
    fire: datetime = croniter(line, just_after.astimezone(zone)).get_prev(datetime)
    return fire


def due_tiers(schedule: Schedule, newest: Mapping[Tier, datetime], at: datetime) -> list[Tier]:
    """The tiers whose last fire has no verified backup yet. `newest` holds each tier's newest verified backup."""
    return [
        tier
        for tier, line in schedule.tiers.items()
        if tier not in newest or newest[tier].astimezone(UTC) < last_fire(line, schedule.zone, at).astimezone(UTC)
    ]


def overdue_since(lines: Iterable[str], zone: ZoneInfo, newest: datetime, now: datetime) -> datetime | None:
    """The earliest fire that `newest` missed and that is more than GRACE ago; None where nothing is late."""
    missed = [next_fire(line, zone, newest).astimezone(UTC) for line in lines]
    late = [fire for fire in missed if fire + GRACE < now.astimezone(UTC)]
    return min(late).astimezone(zone) if late else None


def longest_gap(lines: Iterable[str], zone: ZoneInfo, start: datetime) -> timedelta:
    """The longest time between two fires of these lines in the 400 days from `start` (a monthly line needs as many).

    Lines that fire at least once an hour are looked at for ten days only: their gaps repeat, and no change of the
    clocks makes them longer. A daily line's do not: one day in autumn has 25 hours. Zero without lines.
    """
    previous = first = start.astimezone(UTC)
    longest = timedelta(0)
    for fire in heapq.merge(*(_fires_in_utc(line, zone, start) for line in lines)):
        longest, previous = max(longest, fire - previous), fire
        if fire > first + (timedelta(days=10) if longest <= timedelta(hours=1) else timedelta(days=400)):
            break
    return longest


def _fires_in_utc(line: str, zone: ZoneInfo, start: datetime) -> Iterator[datetime]:
    moments = croniter(line, start.astimezone(zone))
    while True:
        yield moments.get_next(datetime).astimezone(UTC)
