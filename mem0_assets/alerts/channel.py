"""What the outbox needs of a way to reach people, and what such a way may answer.

The three errors are the three things that an outbox can do about a failure: try everything later, try everything later
and ask a person for help, or go on without this one message.
"""

import logging
from dataclasses import dataclass
from typing import Protocol, Self

from mem0_assets.alerts.pacing import Pace
from mem0_assets.alerts.text import Text
from mem0_assets.errors import Mem0AssetsError, UnreachableError

logger = logging.getLogger("mem0_assets.alerts")


class ChannelUnreachableError(UnreachableError):
    """No usable answer, or "not now". It passes by itself; `retry_after`: seconds, where the other side said so."""

    code = "channel_unreachable"

    def __init__(self, message: str, *, next_step: str = "", retry_after: float | None = None) -> None:
        super().__init__(message, next_step=next_step)
        self.retry_after = retry_after


class ChannelBlockedError(Mem0AssetsError):
    """Every message would be refused until a person changes something: a wrong token, a wrong chat, a blocked bot."""

    code = "channel_blocked"


class MessageRefusedError(Mem0AssetsError):
    """This one message was refused; others may pass."""

    code = "message_refused"


@dataclass(frozen=True)
class Delivered:
    """A message that the other side has taken. `chat_id` is where it went: a new one, where the chat has moved."""

    chat_id: str
    message_id: int | None


class Channel(Protocol):
    """A way to reach people. `send` raises one of the three errors above, and nothing with a secret in it."""

    @property
    def chat_id(self) -> str: ...

    @property
    def pace(self) -> Pace: ...

    def send(self, text: Text) -> Delivered: ...

    def in_chat(self, chat_id: str) -> Self:
        """The same channel into another chat."""


UNPACED = Pace(seconds_between=0.0, per_minute=1_000_000)


@dataclass(frozen=True)
class LogChannel:
    """Where alerts go while no Telegram is configured: the log, as warnings."""

    chat_id: str = "log"
    pace: Pace = UNPACED

    def send(self, text: Text) -> Delivered:
        """Write the text to the log `mem0_assets.alerts`."""
        logger.warning("%s", text)
        return Delivered(self.chat_id, None)

    def in_chat(self, chat_id: str) -> Self:
        """A log has no other rooms."""
        return self
