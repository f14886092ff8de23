"""Asking a service over HTTP: what it says, and that whatever it does instead is bounded and gives nothing away."""

import http.server
import socket
import threading
from collections.abc import Iterator

import pytest

from mem0_assets.errors import UnreachableError
from mem0_assets.live import endpoints
from mem0_assets.live.endpoints import NoAnswerError, NoConnectionError, ask
from mem0_assets_tests.service_stub import (
    Asked,
    Fault,
    Mem0Stub,
    brackets,
    drip,
    flood,
    half_json,
    hang_up,
    page,
    redirect,
    say_nothing,
)

PATH = "/auth/setup-status"
SECRET = "hunter2-schlüssel"


@pytest.fixture
def mem0() -> Iterator[Mem0Stub]:
    with Mem0Stub() as stub:
        yield stub


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """For answers that never come whole: to wait longer would change nothing."""
    monkeypatch.setattr(endpoints, "ANSWER_SECONDS", 0.2)


def failure(url: str) -> UnreachableError:
    """What asking came to; no error that it was made from may hang on to it."""
    with pytest.raises(UnreachableError) as caught:
        ask(url, headers={"X-API-Key": SECRET.encode()})
    assert caught.value.__context__ is None
    assert "hunter2" not in str(caught.value)
    return caught.value


def test_an_answer_is_its_status_and_its_json(mem0: Mem0Stub) -> None:
    answer = ask(mem0.url + PATH)
    assert (answer.status, answer.get("needsSetup"), answer.get("other")) == (200, False, None)


def test_a_status_is_an_answer_whatever_it_is(mem0: Mem0Stub) -> None:
    mem0.faults[PATH] = page(500)
    answer = ask(mem0.url + PATH)
    assert (answer.status, answer.content, answer.get("code")) == (500, None, None)


@pytest.mark.parametrize("fault", [half_json, brackets], ids=lambda fault: fault.__name__)
def test_json_that_cannot_be_read_is_none(mem0: Mem0Stub, fault: Fault) -> None:
    mem0.faults[PATH] = fault
    assert ask(mem0.url + PATH).content is None


def test_a_secret_in_any_script_is_sent(mem0: Mem0Stub) -> None:
    ask(mem0.url + PATH, headers={"X-API-Key": SECRET.encode()})
    assert mem0.asked[0].secret == SECRET.encode().decode("latin-1")


def test_a_secret_that_no_header_can_carry_is_not_repeated(mem0: Mem0Stub) -> None:
    with pytest.raises(NoAnswerError) as caught:
        ask(mem0.url, headers={"X-API-Key": b"hunter2\r\nHost: evil"})
    assert "hunter2" not in str(caught.value)
    assert mem0.asked == []


def test_a_redirect_is_not_followed(mem0: Mem0Stub) -> None:
    with Mem0Stub() as stranger:
        mem0.faults[PATH] = redirect(stranger.url + PATH)
        assert ask(mem0.url + PATH, headers={"X-API-Key": SECRET.encode()}).status == 307
    assert stranger.asked == []


def test_no_proxy_and_no_netrc_of_the_environment_has_a_say(mem0: Mem0Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    assert ask(mem0.url + PATH).status == 200
    assert mem0.asked == [Asked(PATH, None)]


def test_where_nothing_listens_there_is_no_connection() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))  # bound and not listening: the port is ours, and nobody answers
        error = failure(f"http://127.0.0.1:{probe.getsockname()[1]}/")
    assert isinstance(error, NoConnectionError)
    assert str(error) == "nothing takes connections there"


def test_a_name_that_nobody_knows_is_told_as_that(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)  # a real look-up would ask the network
    error = failure("http://mem0.invalid/")
    assert isinstance(error, NoConnectionError)
    assert str(error) == "its name is not known on this machine"


@pytest.mark.parametrize("fault", [say_nothing, drip], ids=lambda fault: fault.__name__)
@pytest.mark.usefixtures("impatient")
def test_an_answer_that_does_not_come_or_does_not_end_is_given_up(mem0: Mem0Stub, fault: Fault) -> None:
    mem0.faults[PATH] = fault
    assert isinstance(failure(mem0.url + PATH), NoAnswerError)


def test_an_answer_that_is_too_long_is_given_up(mem0: Mem0Stub) -> None:
    mem0.faults[PATH] = flood
    assert "more than 1 MiB" in str(failure(mem0.url + PATH))


def test_one_that_hangs_up_has_taken_the_connection(mem0: Mem0Stub) -> None:
    mem0.faults[PATH] = hang_up
    error = failure(mem0.url + PATH)
    assert isinstance(error, NoAnswerError)
    assert "broke off" in str(error)


def test_something_that_speaks_no_http_is_no_answer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def greet() -> None:
            with listener.accept()[0] as caller:
                caller.recv(1000)
                caller.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")

        greeting = threading.Thread(target=greet)
        greeting.start()
        error = failure(f"http://127.0.0.1:{listener.getsockname()[1]}/")
        greeting.join()
    assert isinstance(error, NoAnswerError)


def test_tls_where_there_is_none_is_no_answer(mem0: Mem0Stub) -> None:
    assert isinstance(failure(mem0.url.replace("http:", "https:")), NoAnswerError)


def test_what_is_packed_is_not_unpacked(mem0: Mem0Stub) -> None:
    """A page of 1 kB may unpack into a gigabyte."""

    def packed(exchange: http.server.BaseHTTPRequestHandler) -> None:
        assert exchange.headers["Accept-Encoding"] == "identity"
        exchange.answer(200, b"\x1f\x8b not to be read", {"Content-Encoding": "gzip"})  # type: ignore[attr-defined]

    mem0.faults[PATH] = packed
    assert ask(mem0.url + PATH).content is None


def test_a_proxy_has_a_say_only_where_it_is_asked_for(mem0: Mem0Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", mem0.url)
    monkeypatch.delenv("no_proxy", raising=False)
    outside = "http://embeddings.example" + PATH
    assert ask(outside, through_proxy=True).status == 200
    with pytest.raises(NoConnectionError):
        ask(outside)


def test_an_answer_may_be_long_and_late_where_the_caller_says_so(mem0: Mem0Stub) -> None:
    mem0.faults[PATH] = lambda exchange: exchange.answer(429, b'"' + b"x" * 2_000_000 + b'"', {"Retry-After": "7"})
    answer = ask(mem0.url + PATH, seconds=30, most_bytes=1 << 22)
    assert (answer.status, answer.retry_after, len(answer.content)) == (429, "7", 2_000_000)
