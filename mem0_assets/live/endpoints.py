"""Asking a service over HTTP: bounded in time and size, straight to it, and without a word that could be a secret.

What answers here may be frozen, half dead, or something else altogether: a proxy that accepts for a container that is
gone, a page that never ends, a redirect to a stranger. So nothing is followed (whoever follows carries the key along),
no proxy and no .netrc of this machine has a say, and no text of an error or an answer is repeated.
"""

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import requests
import urllib3
from requests.utils import get_environ_proxies

from mem0_assets.errors import UnreachableError

CONNECT_SECONDS = 3.0
ANSWER_SECONDS = 5.0  # until an answer begins, and for the rest of it
MOST_BYTES = 1 << 20  # the longest honest answer is mem0's own openapi.json, of some 100 kB
CHUNK = 1 << 16


class NoConnectionError(UnreachableError):
    """Nothing takes connections there: the service is not running, or no way leads to it."""


class NoAnswerError(UnreachableError):
    """Something takes the connection and gives no whole answer: it hangs, breaks off, or never ends."""


@dataclass(frozen=True)
class Answer:
    """`content` is the JSON that came; None where it was none. `retry_after` is the header of that name, as it came."""

    status: int
    content: Any
    retry_after: str | None = None

    def get(self, key: str) -> Any:
        """A value of the JSON object that came; None where it is another thing, or has no such key."""
        return self.content.get(key) if isinstance(self.content, dict) else None


def ask(
    url: str,
    *,
    headers: Mapping[str, bytes] | None = None,
    body: Any = None,
    seconds: float | None = None,
    most_bytes: int = MOST_BYTES,
    through_proxy: bool = False,
) -> Answer:
    """GET a URL, or POST it a JSON `body`; whatever status comes is an answer.

    `seconds` (None: ANSWER_SECONDS) is how long an answer may take to begin, and again to end. Headers are bytes: a secret
    that is not Latin-1 would, as text, be quoted by the error that it causes. `through_proxy` is for what lies outside,
    where $HTTPS_PROXY may be the only way; nothing else of the environment has a say even then.
    Raises NoConnectionError, NoAnswerError.
    """
    patience = ANSWER_SECONDS if seconds is None else seconds
    with requests.Session() as session:
        session.trust_env = False
        session.proxies.update(get_environ_proxies(url) if through_proxy else {})
        session.verify = os.environ.get("REQUESTS_CA_BUNDLE") or True
        # identity: what is packed small may be large, and is not unpacked.
        session.headers.update({"Accept": "application/json", "Accept-Encoding": "identity", **(headers or {})})
        try:
            response = session.request(
                "GET" if body is None else "POST",
                url,
                json=body,
                timeout=(CONNECT_SECONDS, patience),
                allow_redirects=False,
                stream=True,
            )
            content = _parsed(_read(response, patience, most_bytes))
            return Answer(response.status_code, content, response.headers.get("Retry-After"))
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            failure = _failure(error, patience)
    # Raised out here: inside the `except`, `error`, whose text may hold a header, would become its __context__.
    raise failure


def _read(response: requests.Response, seconds: float, most_bytes: int) -> bytes:
    """As it comes, piece by piece: a time-out counts anew with each byte, and so holds up no one who drips."""
    deadline = time.monotonic() + seconds
    content = bytearray()
    while chunk := response.raw.read1(CHUNK, decode_content=False):
        content += chunk
        if len(content) > most_bytes:
            raise NoAnswerError(f"it answers with more than {most_bytes >> 20} MiB")
        if time.monotonic() > deadline:
            raise NoAnswerError(f"it had not answered in full after {seconds:g} s")
    return bytes(content)


def _parsed(content: bytes) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


def _failure(error: requests.RequestException | urllib3.exceptions.HTTPError, seconds: float) -> UnreachableError:
    """What it means that a request came to nothing, without a word of the error's own text."""
    cause = getattr(error.args[0] if error.args else None, "reason", error)
    if isinstance(cause, urllib3.exceptions.NameResolutionError):
        return NoConnectionError("its name is not known on this machine")
    if isinstance(error, requests.ConnectTimeout):
        return NoConnectionError(f"no connection came about within {CONNECT_SECONDS:g} s")
    if isinstance(cause, urllib3.exceptions.NewConnectionError):
        return NoConnectionError("nothing takes connections there")
    if isinstance(error, requests.exceptions.SSLError):
        return NoAnswerError("it shows no certificate that this machine trusts")
    if isinstance(error, requests.Timeout | urllib3.exceptions.TimeoutError):
        return NoAnswerError(f"it took the connection, and said nothing for {seconds:g} s")
    return NoAnswerError(f"it took the connection, and broke off ({type(error).__name__})")
