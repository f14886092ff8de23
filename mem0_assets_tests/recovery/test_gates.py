"""When a gate is open: the pure rule, as a table of what was seen, what is known now, and how much time has passed."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from mem0_assets.recovery.gates import Evidence, judge_gate, lacking, worse

AT = datetime(2026, 1, 27, 3, 0, tzinfo=UTC)
HOURS = 24.0
BACKUP = Evidence("backup", True, "20260103_133102 holds 1968 memories", needed=True, about="20260103_133102")
DRILL = Evidence("drill", True, "restored in 4 s")
SEEN = (BACKUP, DRILL)


def approved(evidence: tuple[Evidence, ...] = SEEN) -> dict[str, Any]:
    lines = [line.as_json() for line in evidence]
    said = {"gate": "A", "by": "ann", "reason": "the volume is gone", "backup": "20260103_133102", "evidence": lines}
    return {"event": "gate_approved", "at": AT.isoformat(), **said}


def lost(line: Evidence, detail: str = "it has expired") -> Evidence:
    return Evidence(line.name, False, detail, needed=line.needed, about=line.about)


def about(line: Evidence, other: str) -> Evidence:
    return Evidence(line.name, True, line.detail, needed=line.needed, about=other)


@pytest.mark.parametrize(
    ("now", "hours", "standing", "why"),
    [
        (SEEN, 0, "open", ()),
        (SEEN, 23.9, "open", ()),
        (SEEN, 24, "expired", ("the approval of ann has ended: it held from 2026-01-27T03:00:00+00:00 for 24 h",)),
        (SEEN, -1, "expired", ("the approval of ann has ended: it held from 2026-01-27T03:00:00+00:00 for 24 h",)),
        (SEEN, -0.05, "open", ()),
        ((lost(BACKUP), DRILL), 1, "void", ("backup: it has expired",)),
        ((BACKUP, lost(DRILL)), 1, "open", ()),
        ((BACKUP,), 1, "open", ()),
        ((DRILL,), 1, "void", ("backup: nothing is known of it now; it was: 20260103_133102 holds 1968 memories",)),
        (
            (about(BACKUP, "20260104_023000"), DRILL),
            1,
            "void",
            ("backup: it was: 20260103_133102, and is now: 20260104_023000",),
        ),
        ((*SEEN, Evidence("containers", False, "Docker has no container mem0", needed=True)), 1, "void", None),
        ((*SEEN, Evidence("grafana", False, "it is down")), 1, "open", ()),
    ],
    ids=[
        "just approved",
        "near its end",
        "after its end",
        "from the future",
        "from a clock that is three minutes ahead",
        "the backup that it rested on is gone",
        "what was only shown got worse",
        "what was only shown is not looked at",
        "what was needed is not known any more",
        "another backup",
        "something else is lacking now",
        "something else is red now",
    ],
)
def test_an_approval_holds_while_it_is_young_and_what_it_rests_on_is_there(
    now: tuple[Evidence, ...], hours: float, standing: str, why: tuple[str, ...] | None
) -> None:
    state = judge_gate("A", approved(), now, AT + timedelta(hours=hours), HOURS)
    assert state.standing == standing
    assert state.open == (standing == "open")
    assert why is None or state.why == why
    assert state.expires == AT + timedelta(hours=HOURS)


def test_a_gate_that_nobody_opened_is_shut() -> None:
    state = judge_gate("B", None, SEEN, AT, HOURS)
    assert (state.open, state.standing, state.why) == (False, "never_approved", ("nobody has approved it",))


def test_an_approval_that_was_taken_back_opens_nothing() -> None:
    word = {"event": "gate_revoked", "at": AT.isoformat(), "gate": "A", "by": "bob", "reason": "wrong backup"}
    state = judge_gate("A", word, SEEN, AT, HOURS)
    assert (state.open, state.why) == (False, ("bob has taken the approval back: wrong backup",))


def test_an_approval_is_shown_with_who_gave_it_and_until_when() -> None:
    shown = judge_gate("A", approved(), SEEN, AT, HOURS).as_json()
    assert shown["approved"] == {
        "by": "ann",
        "reason": "the volume is gone",
        "at": AT.isoformat(),
        "backup": "20260103_133102",
    }
    assert shown["expires"] == "2026-01-28T03:00:00+00:00"


def test_only_what_is_needed_keeps_a_person_from_opening_a_gate() -> None:
    assert lacking([BACKUP, lost(DRILL)]) == []
    assert lacking([lost(BACKUP), DRILL]) == [lost(BACKUP)]


def test_the_same_evidence_is_not_worse() -> None:
    assert list(worse(SEEN, SEEN)) == []
