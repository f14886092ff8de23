"""Telegram's answers, kind and unkind, become what a person or the outbox can act on; the token never shows."""

import logging
import pickle
import traceback
from collections.abc import Iterator

import pytest

from mem0_assets.alerts.channel import ChannelBlockedError, ChannelUnreachableError, Delivered, MessageRefusedError
from mem0_assets.alerts.telegram import Telegram
from mem0_assets.alerts.text import Entity, Text, bold, code
from mem0_assets.errors import Mem0AssetsError
from mem0_assets_tests import telegram_stub as stub
from mem0_assets_tests.telegram_stub import CHAT_ID, TOKEN, Fault, TelegramStub

SECRET = TOKEN.partition(":")[2]
SUPERGROUP = "-1001557912345"

ALL_FAULTS: dict[str, Fault] = {
    "429": stub.too_many_requests(7),
    "401": stub.unauthorized(),
    "403": stub.forbidden(),
    "chat not found": stub.chat_not_found(),
    "bad entities": stub.bad_entities(),
    "500": stub.refuse(500, "Internal Server Error"),
    "502 page": stub.page(502),
    "403 page": stub.page(403),
    "302 page": stub.page(302),
    "hang": stub.hang(),
    "closed": stub.close_connection(),
    "truncated": stub.truncated_json(),
    "cut": stub.cut_answer(),
    "lost": stub.lose_answer(),
    "echo": stub.refuse(400, f"Bad Request: no such path /bot{TOKEN}/sendMessage"),
}


@pytest.fixture
def server() -> Iterator[TelegramStub]:
    with TelegramStub() as running:
        yield running


def client(server: TelegramStub, *, token: str = TOKEN, chat_id: str = CHAT_ID, patience: float = 10.0) -> Telegram:
    return Telegram(token, chat_id, server.url, timeout=(10.0, patience))


def failure_of(telegram: Telegram, text: str = "prd is empty") -> Mem0AssetsError:
    with pytest.raises(Mem0AssetsError) as caught:
        telegram.send(Text.plain(text))
    return caught.value


def test_a_message_arrives_with_its_entities(server: TelegramStub) -> None:
    delivered = client(server).send("🔴 " + bold("prd") + " lost " + code("booking"))
    assert delivered == Delivered(CHAT_ID, 1)
    assert server.messages[0].text == "🔴 prd lost booking"
    assert server.messages[0].entities == [
        {"type": "bold", "offset": 3, "length": 3},
        {"type": "code", "offset": 12, "length": 7},
    ]


def test_links_in_an_alert_get_no_preview(server: TelegramStub) -> None:
    client(server).send(Text.plain("see http://127.0.0.1:3000"))
    assert server.bodies[0]["link_preview_options"] == {"is_disabled": True}


@pytest.mark.parametrize("text", ["<b>prd & co</b>", "*prd* _lost_ [x](y) `z`", "{}%s\\", "\x00\x07prd", "é😀👩‍👧"])
def test_nothing_in_a_text_is_markup(server: TelegramStub, text: str) -> None:
    client(server).send(Text.plain(text))
    assert server.texts == [text]


def test_a_429_says_how_long_to_wait(server: TelegramStub) -> None:
    server.then(stub.too_many_requests(7))
    error = failure_of(client(server))
    assert isinstance(error, ChannelUnreachableError)
    assert error.retry_after == 7


@pytest.mark.parametrize("value", ["soon", None, [1]])
def test_a_429_without_a_usable_time_leaves_it_to_the_outbox(server: TelegramStub, value: object) -> None:
    answer = {"ok": False, "error_code": 429, "description": "Too Many Requests", "parameters": {"retry_after": value}}
    server.then(lambda exchange: exchange.reply_json(429, answer))
    error = failure_of(client(server))
    assert isinstance(error, ChannelUnreachableError)
    assert error.retry_after is None


def test_an_absurd_time_to_wait_is_cut_to_a_day(server: TelegramStub) -> None:
    server.then(stub.too_many_requests(10**400))
    error = failure_of(client(server))
    assert isinstance(error, ChannelUnreachableError)
    assert error.retry_after == 86_400


def test_a_group_that_became_a_supergroup_is_followed(server: TelegramStub) -> None:
    server.migrate(SUPERGROUP)
    delivered = client(server).send(Text.plain("prd is empty"))
    assert delivered.chat_id == SUPERGROUP
    assert server.messages[0].chat_id == SUPERGROUP
    assert client(server).in_chat(delivered.chat_id).send(Text.plain("again")).chat_id == SUPERGROUP
    assert len(server.bodies) == 3


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("401", ("token is not valid", "TELEGRAM_BOT_TOKEN")),
        ("403", ("blocked or is not in the chat", "TELEGRAM_CHAT_ID")),
        ("chat not found", ("no such chat", "TELEGRAM_CHAT_ID")),
    ],
)
def test_what_only_a_person_can_mend_says_what_to_do(server: TelegramStub, fault: str, words: tuple[str, ...]) -> None:
    server.then(ALL_FAULTS[fault])
    error = failure_of(client(server))
    assert isinstance(error, ChannelBlockedError)
    assert error.next_step
    for word in words:
        assert word in str(error)


def test_another_bots_token_and_half_a_token_are_both_not_valid(server: TelegramStub) -> None:
    for token in ("1:other", "half", "", "110201543:../../x y\n"):
        error = failure_of(client(server, token=token))
        assert isinstance(error, ChannelBlockedError)
        assert "token is not valid" in str(error)


def test_an_empty_chat_id_is_no_chat(server: TelegramStub) -> None:
    assert isinstance(failure_of(client(server, chat_id="")), ChannelBlockedError)


def test_one_text_too_long_or_blank_is_refused_alone(server: TelegramStub) -> None:
    assert isinstance(failure_of(client(server), "x" * 4097), MessageRefusedError)
    assert isinstance(failure_of(client(server), " \n"), MessageRefusedError)
    client(server).send(Text("x" * 4096))
    assert len(server.messages) == 1


@pytest.mark.parametrize(
    "fault", ["500", "502 page", "403 page", "302 page", "hang", "closed", "truncated", "cut", "lost"]
)
def test_what_passes_by_itself_is_temporary(server: TelegramStub, fault: str) -> None:
    server.then(ALL_FAULTS[fault])
    error = failure_of(client(server, patience=0.3))
    assert isinstance(error, ChannelUnreachableError)
    assert error.retry_after is None
    assert error.next_step


def test_a_redirect_is_not_followed_because_the_token_is_in_the_path(server: TelegramStub) -> None:
    with TelegramStub() as stranger:
        server.then(stub.redirect(stranger.url))
        assert isinstance(failure_of(client(server)), ChannelUnreachableError)
        assert stranger.bodies == []


def test_a_refused_connection_is_temporary() -> None:
    with TelegramStub() as gone:
        telegram = client(gone)
    error = failure_of(telegram)
    assert isinstance(error, ChannelUnreachableError)
    assert "could not be reached" in str(error)


def test_a_server_without_tls_behind_https_is_not_trusted(server: TelegramStub) -> None:
    telegram = Telegram(TOKEN, CHAT_ID, server.url.replace("http:", "https:"))
    assert "no trusted connection" in str(failure_of(telegram))


@pytest.mark.parametrize("api_url", ["api.telegram.org", "ftp://127.0.0.1", "http://", "http://[::1", "http://a..b"])
def test_an_address_that_is_none_asks_a_person(api_url: str) -> None:
    error = failure_of(Telegram(TOKEN, CHAT_ID, api_url))
    assert isinstance(error, ChannelBlockedError)
    assert "fleet.yaml" in str(error)
    assert_no_token(error)


def test_get_me_says_whose_token_it_is_and_writes_to_nobody(server: TelegramStub) -> None:
    assert client(server).get_me().username == "mem0_alerts_bot"
    assert server.messages == []


def test_get_me_with_a_wrong_token_says_so(server: TelegramStub) -> None:
    with pytest.raises(ChannelBlockedError, match="TELEGRAM_BOT_TOKEN"):
        client(server, token="1:other").get_me()


def assert_no_token(error: BaseException) -> None:
    """Neither in the error nor in anything that hangs on it, tracebacks with local variables included."""
    seen: list[BaseException] = []
    pending: list[BaseException | None] = [error]
    while pending:
        one = pending.pop()
        if one is None or one in seen:
            continue
        seen.append(one)
        pending += [one.__cause__, one.__context__]
        trace = traceback.TracebackException.from_exception(one, capture_locals=True)
        shown = "".join(trace.format()) + repr(one) + repr(vars(one)) + repr(one.args)
        assert SECRET not in shown
        assert SECRET.encode() not in pickle.dumps(vars(one))


@pytest.mark.parametrize("name", ALL_FAULTS)
def test_no_failure_shows_the_token(server: TelegramStub, caplog: pytest.LogCaptureFixture, name: str) -> None:
    caplog.set_level(logging.DEBUG)
    server.then(ALL_FAULTS[name])
    error = failure_of(client(server, patience=0.3))
    assert_no_token(error)
    assert SECRET not in caplog.text


def test_a_refused_connection_does_not_show_the_token(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with TelegramStub() as gone:
        telegram = client(gone)
    assert_no_token(failure_of(telegram))
    assert SECRET not in caplog.text


def test_success_does_not_show_the_token_either(server: TelegramStub, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    telegram = client(server)
    telegram.send(Text.plain("prd is empty"))
    assert "/bot***/sendMessage" in caplog.text, "urllib3 no longer logs the path: is the filter still needed?"
    assert SECRET not in caplog.text
    assert SECRET not in repr(telegram)


def test_the_stub_refuses_what_the_real_one_refuses(server: TelegramStub) -> None:
    broken = Text("prd")
    object.__setattr__(broken, "entities", (Entity("bold", 0, 9),))
    with pytest.raises(MessageRefusedError, match="ends after the end of the text"):
        client(server).send(broken)
