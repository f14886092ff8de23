"""No alert is lost: not to a restart, a kill, an outage, a limit, a bad text, a damaged file or a full queue."""

import itertools
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mem0_assets.alerts.channel import UNPACED, LogChannel
from mem0_assets.alerts.outbox import DeliveryReport, Outbox, digest
from mem0_assets.alerts.pacing import Pace
from mem0_assets.alerts.telegram import Telegram
from mem0_assets.alerts.text import TELEGRAM_LIMIT, Text, bold
from mem0_assets_tests import telegram_stub as stub
from mem0_assets_tests.telegram_stub import CHAT_ID, TOKEN, TelegramStub

NOW = datetime(2026, 1, 10, 8, 0, tzinfo=UTC)
SUPERGROUP = "-1001557912345"


def later(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


@pytest.fixture
def server() -> Iterator[TelegramStub]:
    with TelegramStub() as running:
        yield running


@pytest.fixture
def outbox(tmp_path: Path) -> Outbox:
    return Outbox(tmp_path / "outbox")


def client(server: TelegramStub, *, pace: Pace = UNPACED, patience: float = 10.0) -> Telegram:
    return Telegram(TOKEN, CHAT_ID, server.url, timeout=(10.0, patience), pace=pace)


def put(outbox: Outbox, *texts: str | Text) -> None:
    for text in texts:
        outbox.enqueue(Text.plain("") + text, key=str(text)[:40], created_at=NOW)


def waiting_files(outbox: Outbox) -> list[Path]:
    return sorted((outbox.directory / "waiting").glob("*.json"))


# In order, once, and kept


def test_alerts_arrive_in_the_order_in_which_they_were_put_in(outbox: Outbox, server: TelegramStub) -> None:
    put(outbox, "one", "two", "three")
    report = outbox.deliver(client(server), now=NOW)
    assert server.texts == ["one", "two", "three"]
    assert report == DeliveryReport(sent=3, left=0, oldest_age=None, error=None)


def test_a_delivered_alert_is_gone(outbox: Outbox, server: TelegramStub) -> None:
    put(outbox, "one")
    outbox.deliver(client(server), now=NOW)
    outbox.deliver(client(server), now=later(5))
    assert server.texts == ["one"]
    assert waiting_files(outbox) == []


def test_an_empty_outbox_has_nothing_to_say(outbox: Outbox, server: TelegramStub) -> None:
    assert outbox.pending(now=NOW).count == 0
    assert outbox.deliver(client(server), now=NOW) == DeliveryReport(0, 0, None, None)


def test_an_alert_waits_through_a_restart(outbox: Outbox, server: TelegramStub) -> None:
    put(outbox, bold("prd") + " is empty")
    Outbox(outbox.directory).deliver(client(server), now=later(60))
    assert server.messages[0].text == "prd is empty"
    assert server.messages[0].entities == [{"type": "bold", "offset": 0, "length": 3}]


def test_a_key_that_still_waits_is_not_put_in_twice(outbox: Outbox, server: TelegramStub) -> None:
    assert outbox.enqueue(Text.plain("first"), key="prd/empty", created_at=NOW)
    assert not outbox.enqueue(Text.plain("second"), key="prd/empty", created_at=later(10))
    outbox.deliver(client(server), now=later(20))
    assert outbox.enqueue(Text.plain("third"), key="prd/empty", created_at=later(30))
    outbox.deliver(client(server), now=later(40))
    assert server.texts == ["first", "third"]


def test_the_order_survives_a_clock_that_was_set_back(outbox: Outbox, server: TelegramStub) -> None:
    put(outbox, "one")
    (only,) = waiting_files(outbox)
    only.rename(only.with_name("09999999999999999999.json"))
    put(outbox, "two")
    outbox.deliver(client(server), now=NOW)
    assert server.texts == ["one", "two"]


def test_a_name_that_is_not_text_does_not_stop_its_alert(outbox: Outbox, server: TelegramStub) -> None:
    outbox.enqueue(Text.plain("lost: \udce9"), key="prd/\udce9", created_at=NOW)
    assert not outbox.enqueue(Text.plain("lost: \udce9"), key="prd/\udce9", created_at=NOW)
    outbox.deliver(client(server), now=NOW)
    assert server.texts == ["lost: \ufffd"]


def test_a_blank_alert_and_a_time_without_a_zone_are_mistakes(outbox: Outbox) -> None:
    with pytest.raises(ValueError, match="no text"):
        outbox.enqueue(Text.plain(" \n"), key="prd/empty", created_at=NOW)
    with pytest.raises(ValueError, match="no zone"):
        outbox.enqueue(Text.plain("x"), key="prd/empty", created_at=NOW.replace(tzinfo=None))


def test_without_telegram_alerts_go_to_the_log(outbox: Outbox, caplog: pytest.LogCaptureFixture) -> None:
    put(outbox, *(f"alert {number}" for number in range(8)))
    assert outbox.deliver(LogChannel(), now=NOW).sent == 8
    assert caplog.messages == [f"alert {number}" for number in range(8)]


# Long texts


def test_a_long_text_arrives_in_parts_and_a_retry_repeats_none(outbox: Outbox, server: TelegramStub) -> None:
    put(outbox, "a" * TELEGRAM_LIMIT + "b" * TELEGRAM_LIMIT + "c", "next")
    server.always = stub.page(502)
    for number, fault in enumerate([stub.Exchange.behave, stub.page(502), stub.Exchange.behave, stub.page(500)]):
        server.then(fault)
        if number % 2:
            outbox.deliver(client(server), now=later(1000 * number))
    server.always = None
    outbox.deliver(client(server), now=later(9000))
    assert [text[0] for text in server.texts] == ["a", "b", "c", "n"]


# Failures that pass


@pytest.mark.parametrize(
    "fault",
    [
        stub.page(502),
        stub.refuse(500, "Internal Server Error"),
        stub.hang(),
        stub.close_connection(),
        stub.cut_answer(),
    ],
)
def test_an_outage_stops_delivery_and_loses_nothing(outbox: Outbox, server: TelegramStub, fault: stub.Fault) -> None:
    put(outbox, "one", "two")
    server.then(fault)
    report = outbox.deliver(client(server, patience=0.3), now=later(60))
    assert (report.sent, report.left, report.oldest_age) == (0, 2, 60)
    assert report.error is not None
    assert outbox.deliver(client(server), now=later(120)).sent == 2
    assert server.texts == ["one", "two"]


def test_an_outage_is_retried_ever_more_rarely(outbox: Outbox, server: TelegramStub) -> None:
    put(outbox, "one")
    server.always = stub.page(502)
    tries, after = [], 0
    while after < 1200:
        before = len(server.bodies)
        outbox.deliver(client(server), now=later(after))
        if len(server.bodies) > before:
            tries.append(after)
        after += 5
    gaps = [second - first for first, second in itertools.pairwise(tries)]
    assert gaps[0] < 60
    assert gaps[-1] >= 300
    assert len(tries) <= 10


def test_the_wait_after_a_failure_survives_a_restart(outbox: Outbox, server: TelegramStub) -> None:
    put(outbox, "one")
    server.then(stub.page(502))
    outbox.deliver(client(server), now=NOW)
    again = Outbox(outbox.directory)
    assert again.deliver(client(server), now=later(2)).sent == 0
    assert len(server.bodies) == 1
    assert again.deliver(client(server), now=later(60)).sent == 1


def test_a_429_is_waited_out_for_as_long_as_telegram_asks(outbox: Outbox, server: TelegramStub) -> None:
    put(outbox, "one")
    server.then(stub.too_many_requests(900))
    outbox.deliver(client(server), now=NOW)
    outbox.deliver(client(server), now=later(899))
    assert len(server.bodies) == 1
    assert outbox.deliver(client(server), now=later(960)).sent == 1


def test_a_clock_that_was_set_back_by_a_year_does_not_silence_the_alerts(outbox: Outbox, server: TelegramStub) -> None:
    put(outbox, "one")
    server.then(stub.page(502))
    outbox.deliver(client(server), now=later(365 * 86_400))
    assert outbox.deliver(client(server), now=NOW).sent == 1


def test_an_answer_that_was_lost_means_that_the_alert_comes_twice_rather_than_never(
    outbox: Outbox, server: TelegramStub
) -> None:
    put(outbox, "one", "two")
    server.then(stub.lose_answer())
    outbox.deliver(client(server), now=NOW)
    outbox.deliver(client(server), now=later(10))
    assert server.texts == ["one", "one", "two"]


# Failures that need a person


@pytest.mark.parametrize(
    ("fault", "word"),
    [
        (stub.unauthorized(), "TELEGRAM_BOT_TOKEN"),
        (stub.forbidden(), "not in the chat"),
        (stub.chat_not_found(), "no such chat"),
    ],
)
def test_a_blocked_channel_keeps_every_alert_and_says_why(
    outbox: Outbox, server: TelegramStub, fault: stub.Fault, word: str
) -> None:
    put(outbox, "one", "two", "three")
    server.always = fault
    for hour in range(5):
        outbox.deliver(client(server), now=later(3600 * hour))
    pending = outbox.pending(now=later(5 * 3600))
    assert (pending.count, pending.oldest_age, pending.undeliverable) == (3, 5 * 3600, 0)
    assert word in (pending.last_error or "")
    server.always = None
    assert outbox.deliver(client(server), now=later(6 * 3600)).sent == 3
    assert outbox.pending(now=later(6 * 3600)).last_error is None
    assert server.texts == ["one", "two", "three"]


def test_no_file_of_the_outbox_holds_the_token(outbox: Outbox, server: TelegramStub) -> None:
    put(outbox, "one")
    for number, fault in enumerate([stub.page(502), stub.unauthorized(), stub.close_connection(), stub.bad_entities()]):
        server.then(fault)
        outbox.deliver(client(server), now=later(1000 * number))
    held = [path.read_bytes() for path in outbox.directory.rglob("*") if path.is_file()]
    assert held
    assert not any(TOKEN.partition(":")[2].encode() in content for content in held)


# Texts that Telegram does not take


def test_an_alert_whose_entities_are_refused_arrives_as_plain_text(outbox: Outbox, server: TelegramStub) -> None:
    put(outbox, bold("prd") + " is empty", "next")
    server.then(stub.bad_entities())
    assert outbox.deliver(client(server), now=NOW).sent == 2
    assert server.texts == ["prd is empty", "next"]
    assert server.messages[0].entities == []


def test_a_refused_alert_is_kept_and_announced_and_does_not_block_the_others(
    outbox: Outbox, server: TelegramStub
) -> None:
    put(outbox, bold("prd 🔴") + " is empty", "next")
    server.then(stub.bad_entities(), stub.refuse(400, "Bad Request: message text is empty"))
    report = outbox.deliver(client(server), now=NOW)
    assert (report.sent, report.left, report.error) == (1, 0, None)
    kept = list((outbox.directory / "undeliverable").iterdir())
    assert len(kept) == outbox.pending(now=NOW).undeliverable == 1
    assert "prd" in kept[0].read_text()
    assert f"undeliverable/{kept[0].name}" in server.texts[0]
    assert "prd ? is empty" in server.texts[0]
    assert server.texts[1:] == ["next"]


def test_an_undeliverable_alert_that_is_moved_back_is_tried_again(outbox: Outbox, server: TelegramStub) -> None:
    put(outbox, "one")
    server.then(stub.refuse(400, "Bad Request: message text is empty"))
    outbox.deliver(client(server), now=NOW)
    (kept,) = (outbox.directory / "undeliverable").iterdir()
    kept.rename(outbox.directory / "waiting" / kept.name)
    outbox.deliver(client(server), now=NOW)
    assert server.texts[1:] == ["one"]


def test_a_chat_that_refuses_everything_does_not_empty_the_queue(outbox: Outbox, server: TelegramStub) -> None:
    put(outbox, "one", "two")
    server.always = stub.refuse(400, "Bad Request: have no rights to send a message")
    for hour in range(4):
        outbox.deliver(client(server), now=later(3600 * hour))
    pending = outbox.pending(now=later(4 * 3600))
    assert (pending.count, pending.undeliverable) == (2, 0)
    assert "rights" in (pending.last_error or "")
    server.always = None
    outbox.deliver(client(server), now=later(5 * 3600))
    assert server.texts == ["one", "two"]


@pytest.mark.parametrize("damage", [b"", b"{", b"\xff\xfe", b"null", b'{"parts": 3}', b"\x00" * 4096])
def test_a_damaged_file_is_set_aside_and_the_others_go_on(outbox: Outbox, server: TelegramStub, damage: bytes) -> None:
    put(outbox, "one", "two", "three")
    waiting_files(outbox)[1].write_bytes(damage)
    assert outbox.pending(now=NOW).count == 2
    outbox.deliver(client(server), now=NOW)
    assert server.texts == ["one", "three"]
    assert [path.read_bytes() for path in (outbox.directory / "undeliverable").iterdir()] == [damage]


def test_a_message_without_parts_is_damage_too(outbox: Outbox, server: TelegramStub) -> None:
    put(outbox, "one")
    waiting_files(outbox)[0].write_text('{"created_at": "2026-01-10T08:00:00Z", "alerts": {"a": "b"}, "parts": []}')
    assert outbox.deliver(client(server), now=NOW).sent == 0
    assert outbox.pending(now=NOW).undeliverable == 1


@pytest.mark.parametrize(
    "damage", [b"", b'{"attempts": "many"}', b"\xff", b'{"next_attempt_at": "2026-01-10T08:00:00"}']
)
def test_a_damaged_memory_of_the_pace_starts_anew(outbox: Outbox, server: TelegramStub, damage: bytes) -> None:
    put(outbox, "one")
    (outbox.directory / "pacing.json").write_bytes(damage)
    assert outbox.deliver(client(server), now=NOW).sent == 1


# The chat moves


def test_a_chat_that_moved_is_remembered(outbox: Outbox, server: TelegramStub) -> None:
    server.then(stub.migrated(SUPERGROUP))
    put(outbox, "one", "two")
    outbox.deliver(client(server), now=NOW)
    put(outbox, "three")
    Outbox(outbox.directory).deliver(client(server), now=later(10))
    assert [message.chat_id for message in server.messages] == [SUPERGROUP] * 3
    assert [body["chat_id"] for body in server.bodies] == [CHAT_ID, SUPERGROUP, SUPERGROUP, SUPERGROUP]


# Pace and storms


def test_each_message_waits_for_its_turn_whoever_sends_it(outbox: Outbox, server: TelegramStub) -> None:
    telegram = client(server, pace=Pace(seconds_between=30, per_minute=20))
    put(outbox, *"abcd")
    sent = [outbox.deliver(telegram, now=later(at), budget_seconds=0).sent for at in (0, 15, 40, 55, 80)]
    assert sent == [1, 0, 1, 0, 1]


def test_in_one_chat_twenty_messages_go_per_minute(outbox: Outbox, server: TelegramStub) -> None:
    telegram = client(server, pace=Pace(seconds_between=0, per_minute=20))
    for second in range(0, 120, 2):
        outbox.enqueue(Text.plain(f"alert {second}"), key=str(second), created_at=later(second))
        outbox.deliver(telegram, now=later(second), budget_seconds=0)
        if second == 58:
            assert len(server.messages) == 20
    assert 30 <= len(server.messages) <= 41


def test_within_its_budget_delivery_waits_for_its_turn(outbox: Outbox, server: TelegramStub) -> None:
    put(outbox, *"abc")
    report = outbox.deliver(client(server, pace=Pace(0.05, 20)), now=NOW, budget_seconds=10)
    assert report.sent == 3


def test_no_more_messages_go_than_asked_for(outbox: Outbox, server: TelegramStub) -> None:
    put(outbox, *"abc")
    report = outbox.deliver(client(server), now=NOW, max_messages=2)
    assert (report.sent, report.left) == (2, 1)


def test_a_storm_ends_in_one_message_that_lists_the_rest(outbox: Outbox, server: TelegramStub) -> None:
    put(outbox, *(f"alert {number}\nwith details" for number in range(30)))
    report = outbox.deliver(client(server), now=NOW)
    assert (report.sent, report.left) == (30, 0)
    assert server.texts[:10] == [f"alert {number}\nwith details" for number in range(10)]
    (listing,) = server.texts[10:]
    assert listing.splitlines() == [
        "20 more alerts",
        *(f"• alert {number}" for number in range(10, 30)),
        "Run mem0-assets status to see what is wrong now.",
    ]


def test_a_storm_during_an_outage_is_merged_again_and_again_without_losing_a_line(
    outbox: Outbox, server: TelegramStub
) -> None:
    server.always = stub.page(502)
    for number in range(60):
        put(outbox, f"alert {number}")
        outbox.deliver(client(server), now=later(60 * number))
        put(outbox, f"alert {number}")
    assert len(waiting_files(outbox)) <= 12
    assert outbox.pending(now=later(3600)).count == 60
    server.always = None
    assert outbox.deliver(client(server), now=later(7200)).sent == 60
    told = [line.removeprefix("• ") for text in server.texts for line in text.splitlines()]
    assert [line for line in told if line.startswith("alert")] == [f"alert {number}" for number in range(60)]


def test_a_kill_in_the_middle_of_merging_tells_no_alert_twice(outbox: Outbox, server: TelegramStub) -> None:
    put(outbox, *(f"alert {number}" for number in range(15)))
    originals = {path: path.read_bytes() for path in waiting_files(outbox)[12:]}
    outbox.deliver(client(server), now=NOW, max_messages=0)
    assert len(waiting_files(outbox)) == 11
    for path, content in originals.items():
        path.write_bytes(content)
    assert outbox.deliver(client(server), now=NOW).sent == 15
    told = [line.removeprefix("• ") for text in server.texts for line in text.splitlines()]
    assert sorted(line for line in told if line.startswith("alert")) == sorted(f"alert {n}" for n in range(15))


def test_a_digest_is_always_one_message() -> None:
    few, many, long = digest(["a", "b"]), digest([f"alert {n}" for n in range(5000)]), digest(["😀" * 200] * 90)
    assert "more alerts\n• a\n• b\nRun" in few.text
    assert "and 4900 more\n" in many.text
    for text in (few, many, long):
        assert len(text.split()) == 1


# Several processes

DELIVER = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from mem0_assets.alerts.channel import UNPACED
from mem0_assets.alerts.outbox import Outbox
from mem0_assets.alerts.telegram import Telegram

outbox = Outbox(Path(sys.argv[1]))
channel = Telegram(sys.argv[2], sys.argv[3], sys.argv[4], timeout=(5.0, 60.0), pace=UNPACED)
while outbox.deliver(channel, now=datetime.now(UTC), max_messages=1).left:
    pass
"""

ENQUEUE = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from mem0_assets.alerts.outbox import Outbox
from mem0_assets.alerts.text import Text

outbox = Outbox(Path(sys.argv[1]))
for number in range(25):
    for name in (f"{sys.argv[2]}-{number}", f"shared-{number}"):
        outbox.enqueue(Text.plain(f"alert {name}"), key=name, created_at=datetime.now(UTC))
"""


NOT_A_BYTE = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))"


def start(script: str, *arguments: object) -> subprocess.Popen[bytes]:
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", script, *(str(argument) for argument in arguments)]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    return subprocess.Popen(command, cwd=root, env=environment, stderr=subprocess.DEVNULL)


def start_delivering(outbox: Outbox, server: TelegramStub) -> subprocess.Popen[bytes]:
    return start(DELIVER, outbox.directory, TOKEN, CHAT_ID, server.url)


def end(*processes: subprocess.Popen[bytes]) -> None:
    for process in processes:
        process.kill()
        process.wait()


@pytest.mark.parametrize(
    ("fault", "expected"),
    [(stub.hang(), ["one", "two", "three"]), (stub.take_then_hang(), ["one", "two", "two", "three"])],
)
def test_a_process_killed_while_it_delivers_loses_nothing(
    outbox: Outbox, server: TelegramStub, fault: stub.Fault, expected: list[str]
) -> None:
    put(outbox, "one", "two", "three")
    server.then(stub.Exchange.behave, fault)
    process = start_delivering(outbox, server)
    try:
        server.wait_for_requests(2)
    finally:
        end(process)
    assert outbox.deliver(client(server), now=later(60)).left == 0
    assert server.texts == expected


def test_processes_killed_again_and_again_deliver_everything_in_order(outbox: Outbox, server: TelegramStub) -> None:
    names = [f"alert {number}" for number in range(11)]
    put(outbox, *names)
    for count in (2, 5, 8):
        process = start_delivering(outbox, server)
        try:
            server.wait_for_requests(count)
        finally:
            end(process)
    outbox.deliver(client(server), now=datetime.now(UTC) + timedelta(minutes=5))
    assert list(dict.fromkeys(server.texts)) == names
    assert len(server.texts) <= len(names) + 3


def test_processes_that_deliver_at_once_send_each_alert_once(outbox: Outbox, server: TelegramStub) -> None:
    names = [f"alert {number}" for number in range(11)]
    put(outbox, *names)
    processes = [start_delivering(outbox, server) for _ in range(3)]
    try:
        assert [process.wait(60) for process in processes] == [0, 0, 0]
    finally:
        end(*processes)
    assert server.texts == names


def test_where_nothing_can_be_written_any_more_what_waits_is_still_delivered(
    outbox: Outbox, server: TelegramStub
) -> None:
    names = [f"alert {number}" for number in range(14)]
    put(outbox, "a" * TELEGRAM_LIMIT + "b", *names)
    process = start(f"{NOT_A_BYTE}\n{DELIVER}", outbox.directory, TOKEN, CHAT_ID, server.url)
    try:
        assert process.wait(60) == 0
    finally:
        end(process)
    assert [text[:8] for text in server.texts] == ["aaaaaaaa", "b", *names]


def test_while_another_process_delivers_this_one_does_nothing(outbox: Outbox, server: TelegramStub) -> None:
    put(outbox, "one")
    server.then(stub.hang())
    process = start_delivering(outbox, server)
    try:
        server.wait_for_requests(1)
        assert outbox.deliver(client(server), now=NOW) == DeliveryReport(0, 1, 0, None)
        put(outbox, "two")
        assert len(server.bodies) == 1
    finally:
        end(process)


def test_processes_that_put_in_at_once_lose_nothing_and_repeat_nothing(outbox: Outbox, server: TelegramStub) -> None:
    processes = [start(ENQUEUE, outbox.directory, name) for name in ("a", "b")]
    try:
        assert [process.wait(60) for process in processes] == [0, 0]
    finally:
        end(*processes)
    expected = {f"{name}-{number}" for name in ("a", "b", "shared") for number in range(25)}
    assert outbox.pending(now=NOW).count == len(expected)
    assert len(waiting_files(outbox)) == len(expected)
    outbox.deliver(client(server), now=NOW)
    told = [line.removeprefix("• ") for text in server.texts for line in text.splitlines()]
    assert sorted(line for line in told if line.startswith("alert")) == sorted(f"alert {name}" for name in expected)
