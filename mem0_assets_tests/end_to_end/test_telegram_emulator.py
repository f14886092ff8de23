"""Alerts through the outbox into a Bot API that other people wrote."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mem0_assets.alerts.channel import UNPACED, ChannelUnreachableError
from mem0_assets.alerts.outbox import Outbox
from mem0_assets.alerts.telegram import Telegram
from mem0_assets.alerts.text import Text, bold, code, pre
from mem0_assets_tests.telegram_emulator import Emulator, as_sent, emulator, free_port, missing
from mem0_assets_tests.telegram_stub import TOKEN

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing())

CHAT_ID = "1337"
NOW = datetime(2026, 1, 10, 8, 0, tzinfo=UTC)
ALERT = "🔴 " + bold("prd lost every memory") + "\n1,968 → 0 in " + code("mem0_prd") + "\n" + pre("mem0-assets status")


@pytest.fixture(scope="module")
def running() -> Iterator[Emulator]:
    with emulator(free_port()) as server:
        yield server


def client(url: str, token: str = TOKEN) -> Telegram:
    return Telegram(token, CHAT_ID, url, timeout=(2.0, 10.0), pace=UNPACED)


def test_the_emulator_knows_the_bot(running: Emulator) -> None:
    assert client(running.url).get_me().username == "TestNameBot"


def test_an_alert_arrives_as_it_was_written(running: Emulator, tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    outbox.enqueue(ALERT, key="prd/empty", created_at=NOW)
    assert outbox.deliver(client(running.url, "1:written"), now=NOW).sent == 1
    (message,) = running.messages("1:written")
    assert message["chat_id"] == CHAT_ID
    assert {"text": message["text"], "entities": message["entities"]} == as_sent(ALERT.as_json())


def test_a_long_alert_arrives_in_parts_and_in_order(running: Emulator, tmp_path: Path) -> None:
    lines = [f"{number:04} 😀 {'memory ' * 10}" for number in range(200)]
    outbox = Outbox(tmp_path)
    outbox.enqueue(Text.plain("\n").join(lines), key="prd/report", created_at=NOW)
    assert outbox.deliver(client(running.url, "1:long"), now=NOW).left == 0
    texts = [message["text"] for message in running.messages("1:long")]
    assert len(texts) > 1
    assert "".join(texts).splitlines() == lines


def test_alerts_wait_until_telegram_is_there(tmp_path: Path) -> None:
    port = free_port()
    outbox = Outbox(tmp_path)
    outbox.enqueue(ALERT, key="prd/empty", created_at=NOW)
    telegram = client(f"http://127.0.0.1:{port}")
    report = outbox.deliver(telegram, now=NOW)
    assert (report.sent, report.left) == (0, 1)
    assert "could not be reached" in (report.error or "")
    with emulator(port) as server:
        assert outbox.deliver(telegram, now=NOW + timedelta(minutes=1)).sent == 1
        assert [message["text"] for message in server.messages(TOKEN)] == [ALERT.text]


def test_a_path_that_is_no_bot_api_is_told_apart(running: Emulator) -> None:
    with pytest.raises(ChannelUnreachableError, match=r"telegram\.api_url"):
        client(f"{running.url}/elsewhere").send(ALERT)
