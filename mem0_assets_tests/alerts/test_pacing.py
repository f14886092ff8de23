"""When the next message may go."""

from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from mem0_assets.alerts.pacing import LONGEST_WAIT, WINDOW, Pace, Pacing
from mem0_assets.alerts.telegram import ONE_CHAT

NOW = datetime(2026, 1, 10, 8, 0, tzinfo=UTC)


def later(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def test_a_second_message_waits_for_the_rest_of_its_second() -> None:
    pacing = Pacing().sent(NOW)
    assert pacing.seconds_until_turn(ONE_CHAT, later(0.25)) == 0.75
    assert pacing.seconds_until_turn(ONE_CHAT, later(1)) == 0


def test_the_twenty_first_message_of_a_minute_waits_for_the_first_to_be_a_minute_old() -> None:
    pacing = Pacing()
    for second in range(20):
        pacing = pacing.sent(later(second))
    assert pacing.seconds_until_turn(ONE_CHAT, later(20)) == 40
    assert pacing.seconds_until_turn(ONE_CHAT, later(60)) == 0


def test_failures_wait_twice_as_long_each_time_and_never_more_than_five_minutes() -> None:
    pacing, waits = Pacing(), []
    for _ in range(9):
        pacing = pacing.failed(NOW, "down")
        waits.append(pacing.seconds_until_retry(NOW))
    assert waits == [5, 10, 20, 40, 80, 160, 300, 300, 300]


def test_a_hundred_thousand_failures_still_wait_five_minutes() -> None:
    assert Pacing(attempts=100_000).failed(NOW, "down").wait_seconds == LONGEST_WAIT


def test_what_was_asked_for_is_waited_out_even_beyond_five_minutes() -> None:
    pacing = Pacing().failed(NOW, "too many requests", retry_after=3600)
    assert pacing.seconds_until_retry(later(3599)) == 1
    assert pacing.seconds_until_retry(later(3600)) == 0


def test_an_absurd_request_to_wait_is_cut_to_a_day() -> None:
    assert Pacing().failed(NOW, "too many requests", retry_after=1e12).wait_seconds == 86_400


def test_a_success_forgets_the_failures_but_not_where_the_chat_went() -> None:
    pacing = Pacing().with_move("-1", "-100").failed(NOW, "down").sent(later(5))
    assert pacing == Pacing(sent_at=(later(5),), moved={"-1": "-100"})


def test_a_clock_that_was_set_back_does_not_keep_the_alerts_waiting() -> None:
    pacing = Pacing().sent(NOW).failed(NOW, "down")
    yesterday = NOW - timedelta(days=1)
    assert pacing.seconds_until_retry(yesterday) == 0
    assert pacing.seconds_until_turn(ONE_CHAT, yesterday) == 0


def test_two_processes_whose_clocks_were_read_in_another_order_still_wait() -> None:
    pacing = Pacing().failed(NOW, "too many requests", retry_after=30)
    assert pacing.seconds_until_retry(NOW - timedelta(milliseconds=50)) > 30


@settings(deadline=None)
@given(
    st.lists(st.floats(min_value=-1e6, max_value=1e6), max_size=40),
    st.floats(min_value=0, max_value=5),
    st.integers(min_value=1, max_value=30),
)
def test_no_clock_can_make_a_turn_wait_longer_than_a_minute(sent: list[float], between: float, most: int) -> None:
    pacing = Pacing(sent_at=tuple(later(second) for second in sent))
    assert 0 <= pacing.seconds_until_turn(Pace(between, most), NOW) <= WINDOW
