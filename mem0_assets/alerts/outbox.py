"""A queue of alerts on disk, so that no alert is lost to a restart, a kill, an outage or a limit of Telegram.

An alert that is sent in a sensor's tick and fails is gone: the cursor moves on. So an alert is first put here, and
delivered from here, in order and at least once, by whichever process comes along. Only a yes of the other side removes
it. What cannot be delivered shows in `pending`, so that it can become an incident itself.
"""

import errno
import logging
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from mem0_assets.alerts.channel import (
    Channel,
    ChannelBlockedError,
    ChannelUnreachableError,
    Delivered,
    MessageRefusedError,
)
from mem0_assets.alerts.spool import Message, Spool
from mem0_assets.alerts.text import TELEGRAM_LIMIT, Text, bold, code
from mem0_assets.errors import NoSpaceError

logger = logging.getLogger("mem0_assets.alerts")

FULL_MESSAGES = 10  # of a storm, this many alerts are told in full; the rest in one message
FIRST_LINE = 200  # characters
MOST_LINES = 100


@dataclass(frozen=True)
class Pending:
    """What waits: alerts not yet delivered, the age of the oldest in seconds, why the last delivery failed.

    `undeliverable` counts the files that were refused or damaged and wait for a person.
    """

    count: int
    oldest_age: float | None
    last_error: str | None
    undeliverable: int


@dataclass(frozen=True)
class DeliveryReport:
    """What one call of `deliver` did: alerts sent and left, the age of the oldest left in seconds, and what failed."""

    sent: int
    left: int
    oldest_age: float | None
    error: str | None


@dataclass(frozen=True)
class Outbox:
    """The queue in `directory`, which is made when needed. Any number of processes may use it at the same time."""

    directory: Path

    @property
    def _spool(self) -> Spool:
        return Spool(self.directory)

    def enqueue(self, text: Text, *, key: str, created_at: datetime) -> bool:
        """Keep `text` until it is delivered; False where an alert of the same `key` still waits.

        Raises ValueError for a blank text or a time without a zone, NoSpaceError where the disk is full.
        """
        parts = tuple(text.split())
        if not parts:
            raise ValueError(f"the alert {key} has no text")
        if created_at.tzinfo is None:
            raise ValueError(f"the time of the alert {key} has no zone")
        key = Text.plain(key).text  # a name with broken characters in it must not stop its alert
        message = Message(created_at, {key: text.first_line[:FIRST_LINE]}, parts)
        with self._spool.locked("queue", wait=True):
            if any(key in waiting.alerts for _, waiting in self._spool.messages()):
                return False
            try:
                self._spool.add(message)
            except OSError as error:
                if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                    raise
                raise NoSpaceError(
                    f"no room to keep an alert in {self.directory}", next_step="Free some space on that disk"
                ) from error
        return True

    def deliver(
        self, channel: Channel, *, now: datetime, budget_seconds: float = 5.0, max_messages: int = 20
    ) -> DeliveryReport:
        """Send what waits, oldest first, for at most about `budget_seconds` and `max_messages` messages.

        A first message that is due goes even with a budget of 0, and takes as long as the channel's own time-out. While
        another process delivers, this one does nothing. Never raises for a failure of the channel: it is in `error`.
        """
        sent = 0
        with self._spool.locked("delivery", wait=False) as ours:
            if ours:
                self._coalesce()
                sent = _Delivery(self._spool, channel, now, budget_seconds, max_messages).run()
        pending = self.pending(now=now)
        return DeliveryReport(sent, pending.count, pending.oldest_age, pending.last_error)

    def pending(self, *, now: datetime) -> Pending:
        """What is not delivered yet."""
        messages = [message for _, message in self._spool.messages()]
        return Pending(
            count=sum(len(message.alerts) for message in messages),
            oldest_age=max((max((now - m.created_at).total_seconds(), 0.0) for m in messages), default=None),
            last_error=self._spool.read_pacing().last_error,
            undeliverable=len(self._spool.undeliverable()),
        )

    def _coalesce(self) -> None:
        """Make one message of all that wait behind the first ten: a storm must not bury what it is about."""
        with self._spool.locked("queue", wait=True):
            rest = self._spool.messages()[FULL_MESSAGES:]
            if len(rest) < 2:
                return
            alerts = {key: line for _, message in rest for key, line in message.alerts.items()}
            oldest = min(message.created_at for _, message in rest)
            try:
                self._spool.add(Message(oldest, alerts, (digest(list(alerts.values())),)))
            except OSError as error:
                logger.warning("waiting alerts could not be put together and go one by one: %s", error.strerror)
                return
            for path, _ in rest:  # a kill in here leaves alerts both alone and in the digest: the next call merges them
                self._spool.remove(path)


class _Delivery:
    """One call of `deliver`, under the delivery lock."""

    def __init__(self, spool: Spool, channel: Channel, now: datetime, budget: float, max_messages: int) -> None:
        self.spool = spool
        self.pacing = spool.read_pacing()
        self.configured = channel.chat_id
        self.channel = channel.in_chat(self.pacing.moved.get(channel.chat_id, channel.chat_id))
        self.began, self.began_clock = now, time.monotonic()
        self.budget = budget
        self.turns_left = max_messages
        self.turns_taken = 0
        self.alerts_sent = 0

    def run(self) -> int:
        """Deliver until nothing is left, the turns are used up or something fails; returns how many alerts went."""
        if self.pacing.seconds_until_retry(self.now()) > 0:
            return 0
        for path in self.spool.paths():
            try:
                message = self.spool.read(path)
            except (OSError, ValueError) as error:
                kept = self.spool.set_aside(path)
                logger.warning("a waiting alert is damaged (%s) and kept as %s", type(error).__name__, kept)
                continue
            if message is not None and not self.deliver(path, message):
                break
        return self.alerts_sent

    def deliver(self, path: Path, message: Message) -> bool:
        """Send all parts of one message that are left; False where everything has to stop here."""
        recorded = True
        while message.parts:
            if not self.wait_for_turn(now_or_never=not recorded):
                return False
            try:
                delivered, shown = self.send(message, path)
            except (ChannelUnreachableError, ChannelBlockedError, MessageRefusedError) as error:
                self.remember_failure(error)
                return False
            if not shown:
                logger.warning("a refused alert is kept as %s", self.spool.set_aside(path))
                self.remember_success(delivered)
                return True
            message = message.after_first_part()
            recorded = self.record_progress(path, message)
            self.remember_success(delivered)
        self.alerts_sent += len(message.alerts)
        return True

    def send(self, message: Message, path: Path) -> tuple[Delivered, bool]:
        """Send the first part, if need be without its entities; returns whether it was taken.

        If it was not, a notice went instead, which everybody can read and nothing can be wrong with: it tells a text
        that Telegram does not like from a chat that takes nothing. Raises where even the notice is refused.
        """
        part = message.parts[0]
        for attempt in dict.fromkeys((part, Text.plain(part.text))):
            try:
                return self.channel.send(attempt), True
            except MessageRefusedError as error:
                logger.warning("%s", error)
        return self.channel.send(notice(message, path.name)), False

    def wait_for_turn(self, *, now_or_never: bool) -> bool:
        """Wait as long as the chat's pace asks; False where the budget does not allow it.

        `now_or_never`: what was sent of this message could not be recorded, so stopping here would send its first part
        again in every call, for ever. It is finished instead, whatever that costs.
        """
        wait = self.pacing.seconds_until_turn(self.channel.pace, self.now())
        if now_or_never:
            wait = min(wait, self.channel.pace.seconds_between)
        elif self.turns_left <= 0 or ((wait or self.turns_taken) and self.elapsed() + wait > self.budget):
            return False
        time.sleep(wait)
        self.turns_left -= 1
        self.turns_taken += 1
        return True

    def record_progress(self, path: Path, message: Message) -> bool:
        """After a part was delivered, so that it is not sent again; False where the disk does not take it."""
        if not message.parts:
            self.spool.remove(path)
            return True
        try:
            self.spool.rewrite(path, message)
        except OSError as error:  # a full disk must not stop what is already on its way
            logger.warning("a part of an alert may be sent twice: its progress was not written: %s", error.strerror)
            return False
        return True

    def remember_success(self, delivered: Delivered) -> None:
        self.pacing = self.pacing.sent(self.now())
        if delivered.chat_id != self.channel.chat_id:
            logger.warning("chat %s has become %s: set that as TELEGRAM_CHAT_ID", self.configured, delivered.chat_id)
            self.pacing = self.pacing.with_move(self.configured, delivered.chat_id)
            self.channel = self.channel.in_chat(delivered.chat_id)
        self.save_pacing()

    def remember_failure(self, error: ChannelUnreachableError | ChannelBlockedError | MessageRefusedError) -> None:
        retry_after = error.retry_after if isinstance(error, ChannelUnreachableError) else None
        self.pacing = self.pacing.failed(self.now(), str(error), retry_after)
        logger.warning("alerts wait, attempt %d failed: %s", self.pacing.attempts, error)
        self.save_pacing()

    def save_pacing(self) -> None:
        try:
            self.spool.write_pacing(self.pacing)
        except OSError as error:  # a full disk must not stop alerts: perhaps they are about the disk
            logger.warning("the pace of the alerts could not be written: %s", error.strerror)

    def now(self) -> datetime:
        return self.began + timedelta(seconds=self.elapsed())

    def elapsed(self) -> float:
        return time.monotonic() - self.began_clock


def digest(lines: list[str]) -> Text:
    """One message for many alerts, by their first lines: as many as fit, and how many more there are."""
    shown = min(len(lines), MOST_LINES)
    while (text := _listing(lines, shown)).units > TELEGRAM_LIMIT:
        shown -= 1
    return text


def _listing(lines: list[str], shown: int) -> Text:
    more = [f"and {len(lines) - shown} more"] if shown < len(lines) else []
    return Text.plain("\n").join(
        [
            bold(f"{len(lines)} more alerts"),
            *(f"• {line}" for line in lines[:shown]),
            *more,
            "Run " + code("mem0-assets status") + " to see what is wrong now.",
        ]
    )


def notice(message: Message, file_name: str) -> Text:
    """What is sent in place of an alert that Telegram refuses: plain ASCII, so that nothing is left to refuse."""
    begins = " / ".join(message.alerts.values()).encode("ascii", "replace").decode()[:FIRST_LINE]
    return Text.plain(
        f"An alert was refused by Telegram. It is kept as undeliverable/{file_name} in the outbox.\n"
        f"It begins: {begins}\nRun mem0-assets status to see what is wrong now."
    )
