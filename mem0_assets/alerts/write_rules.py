"""Writes that vanish, and writes that stop: pure rules on what was seen of a deployment's writes.

A mem0 whose embedder was switched to other dimensions says "added" and stores nothing; a bot whose token has expired says
nothing at all. In both cases every count stays as it was.
"""

from collections.abc import Collection, Iterable
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from mem0_assets.alerts.messages import moment, spoken
from mem0_assets.alerts.rules import Finding
from mem0_assets.backups.claims import Standard
from mem0_assets.fleet import Deployment
from mem0_assets.live.census import Census
from mem0_assets.live.writes import Writes

SHOWN = 3
# Told at the second look: on a disk that stalls, a deletion's history may be seconds late.
HOLD_SECONDS = 9.0

# The usual pace is known only after three weekends, of writes on ten days: a test deployment has none.
LEAST_SPAN = timedelta(days=21)
LEAST_DAYS = 10
# What was usual longer ago is no guide.
WINDOW = timedelta(days=60)
# Four times a weekend of 63 hours is ten days, and so longer than the holidays after it.
FACTOR = 4
LEAST_PAUSE = timedelta(days=1)
# A fortnight without anybody is told once a day, and not 84 times.
SILENCE_SECONDS = 86400.0
# Before mem0 there were no memories: an earlier time is one that a caller made up.
MEM0_BEGAN = datetime(2023, 6, 1, tzinfo=UTC)


def judge_writes(
    deployment: Deployment,
    census: Census,
    writes: Writes,
    standard: Standard,
    *,
    accepted: Collection[str],
    grown_since: datetime | None,
    now: datetime,
) -> list[Finding]:
    """Writes that are missing, and writes that stopped.

    `accepted`: ids of which a person said that they are meant to be gone. `grown_since`: an instant after which something
    was written for sure, by our own clock: there is more now than in a backup of then.
    """
    findings = []
    lost = [memory for memory in writes.missing if memory not in accepted]
    if lost:
        told = _told_empty(census, standard) or len(lost) <= _gone(census, standard)
        command = f"mem0-assets counts {deployment.name}"
        what = _dropped(deployment.name, lost, census.identity.dimensions)
        findings.append(Finding("writes_dropped", "writes_dropped", "critical", what, command, HOLD_SECONDS, told))
    stopped = _stopped(writes.times, grown_since, now)
    if stopped:
        command = "mem0-assets doctor"
        findings.append(Finding("writes_stopped", "writes_stopped", "warning", stopped, command, again=SILENCE_SECONDS))
    return findings


def _told_empty(census: Census, standard: Standard) -> bool:
    """Whether an alarm says already that there is nothing left: not where nothing was expected (`min_rows: 0`)."""
    expected = standard.limits.min_rows or (standard.previous and standard.previous.total)
    return census.total == 0 and bool(expected)


def _gone(census: Census, standard: Standard) -> int:
    """The memories of namespaces that are gone, told already and as badly; by the history, they are missing too."""
    before = standard.previous.namespaces if standard.previous else {}
    counts = (count for name, count in before.items() if name not in census.namespaces)
    return sum(count for count in counts if count >= standard.limits.min_namespace)


def _dropped(name: str, lost: list[str], dimensions: int | None) -> str:
    newest = lost[-SHOWN:]
    those = "1 memory is" if len(lost) == 1 else f"{len(lost)} memories are"
    more = ", ..." if len(lost) > len(newest) else ""
    column = f"{dimensions} dimensions" if dimensions else "no fixed number of dimensions"
    return (
        f"{those} in the newest rows of mem0's history and in no table, and nothing there says deleted"
        f" ({', '.join(reversed(newest))}{more}). Either mem0 drops what it is told: the column takes {column}; what does"
        " its embedder give? Or somebody deleted them past mem0; if that is meant:"
        f" mem0-assets accept {name} --history --reason WHY"
    )


def _stopped(texts: Iterable[str], grown_since: datetime | None, now: datetime) -> str | None:
    """What to say where the pause since the last write is FACTOR times the usual longest one; None where it is not.

    Usual is the longest pause but one of the WINDOW before the last write: one holiday, or one outage, is not usual.
    """
    times = _readable(texts, now)
    if not times:
        return None
    times = [at for at in times if at > times[-1] - WINDOW]
    last = max(times[-1], grown_since) if grown_since else times[-1]
    if times[-1] - times[0] < LEAST_SPAN or len({at.date() for at in times}) < LEAST_DAYS:
        return None
    usual = sorted(later - earlier for earlier, later in pairwise(times))[-2]
    if now - last <= max(FACTOR * usual, LEAST_PAUSE):
        return None
    return (
        f"Nothing was written to mem0 since {moment(last)}; of the pauses before that all but one were of {spoken(usual)} or"
        " less. Does the bot run, and does mem0 take what it sends? See both logs."
    )


def _readable(texts: Iterable[str], now: datetime) -> list[datetime]:
    """The times among `texts`, in order, in UTC: mem0 up to 1.0.6 wrote -08:00. What lies in the future says nothing."""
    times = (_time(text) for text in texts)
    return sorted({at for at in times if at and MEM0_BEGAN <= at <= now})


def _time(text: str) -> datetime | None:
    try:
        at = datetime.fromisoformat(text)
        return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None
