"""Sending to Telegram through the Bot API, and what its refusals mean for the person who has to act on them.

The bot's token is part of every URL, and `requests` and `urllib3` put URLs into exceptions and debug logs. So no
exception of theirs leaves this file, not even as the hidden context of ours, and their log lines are cleaned.
Nothing here waits or retries: it runs inside a sensor's tick. The outbox does, and remembers.
"""

import json
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self
from urllib.parse import quote

import requests
import urllib3

from mem0_assets.alerts.channel import ChannelBlockedError, ChannelUnreachableError, Delivered, MessageRefusedError
from mem0_assets.alerts.pacing import LONGEST_RETRY_AFTER, Pace
from mem0_assets.alerts.text import Text
from mem0_assets.errors import Mem0AssetsError, without_secrets

ONE_CHAT = Pace(seconds_between=1.0, per_minute=20)  # what Telegram takes in one chat without a 429

_TOKEN_IN_URL = re.compile(r"/bot[^/\s]+")
_BAD_URL = (
    requests.exceptions.InvalidURL,
    requests.exceptions.MissingSchema,
    requests.exceptions.InvalidSchema,
    urllib3.exceptions.LocationValueError,
)


class _WithoutTokens(logging.Filter):
    """Takes bot tokens out of the log lines of urllib3, which prints the path of each request at DEBUG."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = _TOKEN_IN_URL.sub("/bot***", record.getMessage()), ()
        return True


for _name in ("urllib3.connectionpool", "urllib3.connection", "urllib3.util.retry"):
    logging.getLogger(_name).addFilter(_WithoutTokens())


@dataclass(frozen=True)
class Bot:
    """Who the token belongs to."""

    id: str
    username: str


@dataclass(frozen=True)
class Telegram:
    """One bot and the chat it writes to. `timeout` is in seconds: to connect, and to wait for an answer."""

    token: str = field(repr=False)
    chat_id: str
    api_url: str = "https://api.telegram.org"
    timeout: tuple[float, float] = (3.0, 10.0)
    pace: Pace = ONE_CHAT

    def in_chat(self, chat_id: str) -> Self:
        """The same bot, writing to another chat."""
        return replace(self, chat_id=chat_id)

    def send(self, text: Text) -> Delivered:
        """Send one message of at most 4,096 units. A group that became a supergroup is followed to its new id.

        Raises ChannelUnreachableError, ChannelBlockedError or MessageRefusedError.
        """
        chat_id = self.chat_id
        answer = self._ask("sendMessage", _message(chat_id, text))
        new_id = _parameters(answer).get("migrate_to_chat_id")
        if isinstance(new_id, int) and not answer["ok"]:
            chat_id = str(new_id)
            answer = self._ask("sendMessage", _message(chat_id, text))
        message_id = self._result(answer).get("message_id")
        return Delivered(chat_id, message_id if isinstance(message_id, int) else None)

    def get_me(self) -> Bot:
        """Ask whether the token is valid, without writing to anybody. Raises as `send` does."""
        result = self._result(self._ask("getMe", {}))
        return Bot(str(result.get("id", "")), str(result.get("username", "")))

    def _ask(self, method: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """The Bot API's answer, be it yes or no. Raises where there was none."""
        failure: Mem0AssetsError
        try:
            response = requests.post(
                f"{self.api_url.rstrip('/')}/bot{quote(self.token, safe=':')}/{method}",
                json=body,
                timeout=self.timeout,
                allow_redirects=False,
            )
            content = without_secrets(response.content.decode(errors="replace"), [self.token])
            return _answer(response.status_code, content)
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            failure = _failure(error)
        # Raised out here: inside the `except`, `error`, whose text holds the token, would become its __context__.
        raise failure

    def _result(self, answer: Mapping[str, Any]) -> dict[str, Any]:
        """What Telegram returned with its yes. Raises what its no means."""
        if not answer["ok"]:
            raise _refusal(answer)
        result = answer.get("result")
        return result if isinstance(result, dict) else {}


def _message(chat_id: str, text: Text) -> dict[str, Any]:
    return {"chat_id": chat_id, **text.as_json(), "link_preview_options": {"is_disabled": True}}


def _parameters(answer: Mapping[str, Any]) -> dict[str, Any]:
    parameters = answer.get("parameters")
    return parameters if isinstance(parameters, dict) else {}


def _answer(status: int, content: str) -> dict[str, Any]:
    """The JSON object that every answer of the Bot API is; a proxy's error page is none."""
    try:
        answer = json.loads(content)
    except ValueError:
        answer = None
    if not isinstance(answer, dict) or not isinstance(answer.get("ok"), bool):
        raise ChannelUnreachableError(
            f"what answered (HTTP {status}) is not Telegram's Bot API, or it is out of order",
            next_step="It is tried again; if it stays, check telegram.api_url and the proxy in between",
        )
    return answer


def _failure(error: requests.RequestException | urllib3.exceptions.HTTPError) -> Mem0AssetsError:
    """What it means that a request came to nothing, without a word of the error's own text."""
    kind = type(error).__name__
    if isinstance(error, _BAD_URL):
        return ChannelBlockedError(
            f"telegram.api_url is not a usable URL ({kind})", next_step="Correct it in fleet.yaml"
        )
    if isinstance(error, requests.Timeout):
        message = f"Telegram did not answer in time ({kind})"
    elif isinstance(error, requests.exceptions.SSLError):
        message = f"there is no trusted connection to Telegram ({kind})"
    elif isinstance(error, requests.ConnectionError):
        message = f"Telegram could not be reached ({kind})"
    else:
        message = f"the exchange with Telegram broke off ({kind})"
    return ChannelUnreachableError(
        message, next_step="It is tried again; if it stays, check telegram.api_url and this machine's network"
    )


def _refusal(answer: Mapping[str, Any]) -> Mem0AssetsError:
    """Which of the three kinds of failure a no of the Bot API is, and what a person can do about it."""
    status, description = answer.get("error_code"), str(answer.get("description", "no reason given"))
    if status in (401, 404):  # 404: the token does not even have the shape of one
        return ChannelBlockedError(
            f"the bot token is not valid ({description})",
            next_step="Check TELEGRAM_BOT_TOKEN; @BotFather tells the right one",
        )
    if status == 403:
        return ChannelBlockedError(
            f"the bot was blocked or is not in the chat ({description})",
            next_step="Add the bot to the chat, or start it there, and check TELEGRAM_CHAT_ID",
        )
    if status == 400 and ("chat not found" in description or "chat_id is empty" in description):
        return ChannelBlockedError(
            f"there is no such chat for this bot ({description})",
            next_step="Check TELEGRAM_CHAT_ID, and write to the bot or add it to the group first",
        )
    if status in (400, 413):
        return MessageRefusedError(
            f"Telegram refused a message ({description})",
            next_step="If it refuses all of them, check the bot's rights in the chat",
        )
    wait = _parameters(answer).get("retry_after")
    return ChannelUnreachableError(
        f"Telegram takes no message now ({description})",
        next_step="It is tried again",
        retry_after=float(min(wait, LONGEST_RETRY_AFTER)) if isinstance(wait, int) else None,
    )
