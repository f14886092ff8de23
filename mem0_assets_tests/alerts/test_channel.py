"""Where alerts go while no Telegram is configured."""

import logging

import pytest

from mem0_assets.alerts.channel import LogChannel
from mem0_assets.alerts.text import bold


def test_without_telegram_an_alert_is_a_warning_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    channel = LogChannel()
    delivered = channel.in_chat("anything").send(bold("prd is empty") + "\n100 % of 1,968 are gone")
    assert delivered.chat_id == channel.chat_id
    assert caplog.record_tuples == [
        ("mem0_assets.alerts", logging.WARNING, "prd is empty\n100 % of 1,968 are gone"),
    ]
