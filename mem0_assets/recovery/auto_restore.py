"""`auto_restore: always`: when a restore may begin without a person. Pure, and as narrow as it can be.

Only into a database in which not one memory is, that has been the same empty one in every look for a whole minute, in
which nobody is at work, and once per incident: what failed once is not tried again at night by a machine.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from mem0_assets.live.emptiness import Emptiness

STILL_SECONDS = 60.0
# Looks that lie further apart than this are no watching: a sensor that was off has seen nothing meanwhile.
UNWATCHED_SECONDS = 30.0


@dataclass(frozen=True)
class Watch:
    """What is remembered from look to look: since when the database is the same empty one, and the last look at it.

    `begun`: a restore was begun for this emptiness, whatever became of it.
    """

    since: float | None = None
    at: float = 0.0
    state: str = ""
    begun: bool = False

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "Watch":
        return cls(**content)


@dataclass(frozen=True)
class Decision:
    """Whether a restore begins now; `why` is a sentence, either way."""

    begin: bool
    why: str


def decide(before: Watch, seen: Emptiness | None, can_restore: bool, now: datetime) -> tuple[Watch, Decision]:
    """What a look means, after what is remembered. `seen` is None where nothing could be learnt.

    `can_restore`: there is a verified backup that holds memories, and an open incident that tells of the loss.
    """
    at = now.timestamp()
    if seen is None:
        return replace(before, since=None, at=at), Decision(False, "nothing is known of the database")
    if seen.holds is not None:
        return Watch(at=at), Decision(False, f"there are memories in {seen.holds}")
    if seen.busy:
        return _anew(before, seen, None, at), Decision(False, f"{seen.busy} other sessions are at work there")
    same = before.since is not None and before.state == seen.state and 0 <= at - before.at <= UNWATCHED_SECONDS
    since = before.since if same and before.since is not None else at
    watch = _anew(before, seen, since, at)
    if before.begun:
        return watch, Decision(False, "a restore was begun already for this loss: the rest is a person's")
    if not can_restore:
        return watch, Decision(False, "there is no verified backup with memories, or no loss was told")
    if at - since < STILL_SECONDS:
        return watch, Decision(False, f"empty and still for {at - since:.0f} s of {STILL_SECONDS:.0f} s")
    return replace(watch, begun=True), Decision(True, f"empty and still for {at - since:.0f} s")


def _anew(before: Watch, seen: Emptiness, since: float | None, at: float) -> Watch:
    return Watch(since=since, at=at, state=seen.state, begun=before.begun)
