"""When a restore may begin without a person: what was seen, look by look."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from mem0_assets.live.emptiness import Emptiness
from mem0_assets.recovery.auto_restore import Decision, Watch, decide

BEGIN = datetime(2026, 1, 10, 19, 30, tzinfo=UTC)
EMPTY = Emptiness(None, 0, "16384/16500/0")
FULL = Emptiness("memories", 0, "16384/16500/1")
BUSY = replace(EMPTY, busy=1)
OTHER = replace(EMPTY, state="16390/None/None")

Look = tuple[float, Emptiness | None]


def watch(*looks: Look, can_restore: bool = True, before: Watch | None = None) -> list[Decision]:
    """The decision after each look, made so many seconds after the beginning."""
    state, decisions = before or Watch(), []
    for seconds, seen in looks:
        state, decision = decide(state, seen, can_restore, BEGIN + timedelta(seconds=seconds))
        decisions.append(decision)
    return decisions


def every_ten(until: int, seen: Emptiness = EMPTY, start: int = 0) -> list[Look]:
    return [(float(second), seen) for second in range(start, until + 1, 10)]


def test_a_database_that_stays_empty_for_a_minute_is_restored_once() -> None:
    decisions = watch(*every_ten(120))
    assert [decision.begin for decision in decisions] == [False] * 6 + [True] + [False] * 6
    assert decisions[6].why == "empty and still for 60 s"
    assert "begun already" in decisions[7].why


@pytest.mark.parametrize(
    ("looks", "why"),
    [
        ([*every_ten(50), (60, FULL)], "there are memories in memories"),
        ([*every_ten(40), (50, FULL), (60, EMPTY)], "empty and still for 0 s of 60 s"),
        ([*every_ten(50), (60, BUSY)], "1 other sessions are at work there"),
        ([*every_ten(40), (50, BUSY), (60, EMPTY)], "empty and still for 0 s of 60 s"),
        ([*every_ten(50), (60, OTHER)], "empty and still for 0 s of 60 s"),
        ([*every_ten(40), (50, None), (60, EMPTY)], "empty and still for 0 s of 60 s"),
        ([*every_ten(50), (60, None)], "nothing is known of the database"),
        ([(0, EMPTY), (60, EMPTY)], "empty and still for 0 s of 60 s"),
        ([(60, EMPTY), (0, EMPTY)], "empty and still for 0 s of 60 s"),
        ([(0, FULL)], "there are memories in memories"),
    ],
    ids=[
        "one memory appears within the minute",
        "one came and went",
        "somebody writes",
        "somebody wrote",
        "it is another database now",
        "it was away for a moment",
        "it is away",
        "nobody watched meanwhile",
        "the clock was set back",
        "nothing is lost",
    ],
)
def test_nothing_begins_where(looks: list[Look], why: str) -> None:
    decisions = watch(*looks)
    assert not any(decision.begin for decision in decisions)
    assert decisions[-1].why == why


def test_nothing_begins_without_a_backup_that_holds_memories() -> None:
    assert not any(decision.begin for decision in watch(*every_ten(120), can_restore=False))


def test_a_restore_that_failed_is_not_begun_again_while_the_database_stays_empty() -> None:
    begun = Watch(begun=True)
    assert not any(one.begin for one in watch(*every_ten(120), (130, None), *every_ten(240, start=140), before=begun))


def test_a_later_loss_is_another_one() -> None:
    decisions = watch((0, FULL), *every_ten(70, start=10), before=Watch(begun=True))
    assert decisions[-1].begin
