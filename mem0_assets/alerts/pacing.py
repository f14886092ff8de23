"""When the next message may go, and what a failure means for it: pure, and kept on disk between processes.

Telegram takes about one message per second and 20 per minute in one chat; who sends faster is told to wait (429), and
who does not wait is told to wait longer. A sensor that starts anew every few seconds cannot remember any of this, so
the outbox keeps it in a file.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from pydantic import AwareDatetime

FIRST_WAIT = 5.0  # seconds after the first failure; doubled by each further one
LONGEST_WAIT = 300.0
LONGEST_RETRY_AFTER = 86_400.0  # so that one absurd answer cannot silence the alerts for good
WINDOW = 60.0  # seconds; also how far two clocks may disagree before one of them was set back


@dataclass(frozen=True)
class Pace:
    """What one chat takes."""

    seconds_between: float
    per_minute: int


@dataclass(frozen=True)
class Pacing:
    """What is remembered from one delivery to the next.

    `sent_at` holds the messages of the last minute. `attempts`, `wait_seconds`, `next_attempt_at` and `last_error`
    speak of the failures since the last success. `moved` maps a configured chat id to the one it was migrated to.
    """

    sent_at: tuple[AwareDatetime, ...] = ()
    attempts: int = 0
    wait_seconds: float = 0.0
    next_attempt_at: AwareDatetime | None = None
    last_error: str | None = None
    moved: Mapping[str, str] = field(default_factory=dict)

    def seconds_until_retry(self, now: datetime) -> float:
        """How long a failure still keeps everything waiting; 0 where nothing does.

        A retry that lies further ahead than it was ever put means that the clock was set back: it is due at once,
        or the alerts of a machine with a repaired clock would wait for hours.
        """
        if self.next_attempt_at is None:
            return 0.0
        remaining = (self.next_attempt_at - now).total_seconds()
        return 0.0 if remaining > self.wait_seconds + WINDOW else max(remaining, 0.0)

    def seconds_until_turn(self, pace: Pace, now: datetime) -> float:
        """How long the pace of the chat asks to wait before one more message."""
        ages = [(now - sent).total_seconds() for sent in self.sent_at]
        recent = sorted(max(age, 0.0) for age in ages if abs(age) < WINDOW)
        waits = [0.0]
        if recent:
            waits.append(pace.seconds_between - recent[0])
        if len(recent) >= pace.per_minute:
            waits.append(WINDOW - recent[pace.per_minute - 1])
        return max(waits)

    def sent(self, now: datetime) -> "Pacing":
        """After a message that was delivered: failures are forgotten."""
        recent = tuple(sent for sent in self.sent_at if abs((now - sent).total_seconds()) < WINDOW)
        return Pacing(sent_at=(*recent, now), moved=self.moved)

    def failed(self, now: datetime, error: str, retry_after: float | None = None) -> "Pacing":
        """After a failure: wait as long as was asked for, else 5 s, 10 s, 20 s and so on up to 5 minutes."""
        attempts = self.attempts + 1
        wait = min(FIRST_WAIT * 2 ** min(attempts - 1, 10), LONGEST_WAIT)
        if retry_after is not None:
            wait = min(max(retry_after, 0.0), LONGEST_RETRY_AFTER)
        return replace(
            self,
            attempts=attempts,
            wait_seconds=wait,
            next_attempt_at=now + timedelta(seconds=wait),
            last_error=error,
        )

    def with_move(self, configured: str, current: str) -> "Pacing":
        """After the chat `configured` was found to have become `current`."""
        return replace(self, moved={**self.moved, configured: current})
