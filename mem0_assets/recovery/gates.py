"""The four gates of a disaster recovery: pure rules on when one is open.

A recovery takes down what still runs, at an hour at which nobody decides well. So it is cut into four stages, and a
person opens each of them, by name and with a reason, after having seen what is known. The word of a person rests on that
evidence: it ends with time, and at once when what it rested on is no more.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from mem0_assets.backups.journal import Event

Gate = Literal["A", "B", "C", "D"]
Standing = Literal["open", "never_approved", "revoked", "expired", "void"]

# Each gate: what it is called, and what it lets happen.
GATES: dict[Gate, tuple[str, str]] = {
    "A": ("readiness", "a recovery begins, and keeps what is there now in a safety backup"),
    "B": ("before the teardown", "what writes is stopped, and the backup takes the place of the live database"),
    "C": ("after the cold start", "what runs now is checked against the backup, and a message is sent"),
    "D": ("Telegram end to end", "the recovery is declared over"),
}
# A clock that was set back by more than this makes an approval one of the future, which proves nothing.
SKEW = timedelta(minutes=5)


@dataclass(frozen=True)
class Evidence:
    """One line that a gate rests on; `fix` says what to do where it is not as it must be.

    `needed`: without it nobody opens the gate, and an approval is void once it is lost. What is not needed is shown, and
    is for the person to weigh: in a disaster, something always is red. `about` is the very thing that the line speaks of
    (a backup's id, a volume): the same sentence about another one is other evidence.
    """

    name: str
    ok: bool
    detail: str
    fix: str = ""
    needed: bool = False
    about: str = ""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Approval:
    """A person's word: who, why, when, for which backup, and the evidence that was seen."""

    gate: Gate
    by: str
    reason: str
    at: datetime
    backup: str
    evidence: tuple[Evidence, ...]

    @classmethod
    def from_event(cls, event: Event) -> "Approval":
        evidence = tuple(Evidence(**line) for line in event["evidence"])
        at = datetime.fromisoformat(event["at"])
        return cls(event["gate"], event["by"], event["reason"], at, event["backup"], evidence)


@dataclass(frozen=True)
class GateState:
    """How a gate stands: `why` says what keeps it shut, in sentences; `expires` is None where nobody opened it."""

    gate: Gate
    standing: Standing
    why: tuple[str, ...]
    approval: Approval | None
    expires: datetime | None

    @property
    def open(self) -> bool:
        return self.standing == "open"

    def as_json(self) -> dict[str, Any]:
        said = self.approval
        return {
            "gate": self.gate,
            "open": self.open,
            "standing": self.standing,
            "why": list(self.why),
            "approved": {"by": said.by, "reason": said.reason, "at": said.at.isoformat(), "backup": said.backup}
            if said
            else None,
            "expires": self.expires.isoformat() if self.expires else None,
        }


def judge_gate(gate: Gate, word: Event | None, evidence: Iterable[Evidence], now: datetime, hours: float) -> GateState:
    """How a gate stands, by the last word on it (approved or revoked; None: there is none) and by what is known now.

    `hours` is for how long an approval holds. Only the needed lines of `evidence` are looked at.
    """
    if word is None:
        return GateState(gate, "never_approved", ("nobody has approved it",), None, None)
    if word["event"] == "gate_revoked":
        why = f"{word['by']} has taken the approval back: {word['reason']}"
        return GateState(gate, "revoked", (why,), None, None)
    approval = Approval.from_event(word)
    expires = approval.at + timedelta(hours=hours)
    if not approval.at - SKEW <= now < expires:
        why = f"the approval of {approval.by} has ended: it held from {approval.at.isoformat()} for {hours:g} h"
        return GateState(gate, "expired", (why,), approval, expires)
    lost = tuple(worse(approval.evidence, evidence))
    return GateState(gate, "void" if lost else "open", lost, approval, expires)


def worse(before: Iterable[Evidence], now: Iterable[Evidence]) -> Iterable[str]:
    """What an approval rested on and is no more, or is another thing now, and what else is lacking: a sentence each."""
    rested_on = {line.name: line for line in before if line.needed}
    for line in now:
        then = rested_on.pop(line.name, None)
        if line.needed and not line.ok:
            yield f"{line.name}: {line.detail}"
        elif then and then.about != line.about:
            yield f"{line.name}: it was: {then.about or 'nothing'}, and is now: {line.about or 'nothing'}"
    for name, line in rested_on.items():
        yield f"{name}: nothing is known of it now; it was: {line.detail}"


def lacking(evidence: Iterable[Evidence]) -> list[Evidence]:
    """The lines without which nobody opens the gate."""
    return [line for line in evidence if line.needed and not line.ok]
