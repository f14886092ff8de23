"""Where a recovery stands: read from the journal, so that any process, and any person, sees the same."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal

from mem0_assets.backups.journal import Event, Journal
from mem0_assets.recovery.gates import Gate

Stage = Literal["readiness", "restore", "cold_start", "telegram"]

# The stages in their order, and the gate that opens each.
STAGES: dict[Stage, Gate] = {"readiness": "A", "restore": "B", "cold_start": "C", "telegram": "D"}


@dataclass(frozen=True)
class Recovery:
    """A recovery that has begun and is not over. `id` is when it began; `done` holds each finished stage's event."""

    id: str
    backup: str
    done: Mapping[Stage, Event]

    @property
    def next(self) -> Stage:
        return next(stage for stage in STAGES if stage not in self.done)

    def facts(self, stage: Stage) -> dict[str, Any]:
        """What a finished stage left for the next ones."""
        facts: dict[str, Any] = self.done[stage]["facts"]
        return facts

    def when(self, stage: Stage) -> datetime:
        return datetime.fromisoformat(self.done[stage]["at"])


def last_finished(journal: Journal) -> str | None:
    """The recovery that came to its end last, by its id."""
    done = [event["recovery"] for event in journal.events("recovery_stage") if event["stage"] == "telegram"]
    return done[-1] if done else None


def current_recovery(journal: Journal) -> Recovery | None:
    """The recovery that is under way. It ends with its last stage, or when somebody takes gate A back."""
    found: Recovery | None = None
    for event in journal.events("recovery_stage", "gate_revoked"):
        if event["event"] == "gate_revoked":
            found = None if event["gate"] == "A" else found
        elif event["stage"] == "readiness":
            found = Recovery(event["recovery"], event["facts"]["backup"], {"readiness": event})
        elif event["stage"] == "telegram":
            found = None
        elif found and found.id == event["recovery"]:
            found = replace(found, done={**found.done, event["stage"]: event})
    return found
