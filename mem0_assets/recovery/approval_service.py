"""Asking an approval service whether a gate is approved: bounded, and never a yes by mistake.

POST of `{deployment, gate, title, backup, evidence}`; a yes is HTTP 200 with `{"approved": true, "by": NAME, "reason":
TEXT}` and nothing else. An error, a redirect, a time-out, a page, a `"true"`, a yes without a name: all of these are no.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from mem0_assets.errors import UnreachableError
from mem0_assets.fleet import DisasterRecovery
from mem0_assets.live.endpoints import Answer, ask
from mem0_assets.recovery.gates import GATES, Evidence, Gate

LONGEST = 500  # characters of a name or a reason: both are kept in the journal, and shown


@dataclass(frozen=True)
class ServiceAnswer:
    """`by` and `reason` are the service's words, where it approved; `why` says what it came to."""

    approved: bool
    why: str
    by: str = ""
    reason: str = ""


def ask_service(
    settings: DisasterRecovery, deployment: str, gate: Gate, backup: str, evidence: Iterable[Evidence]
) -> ServiceAnswer:
    """Ask once. Raises nothing expected: what is no clear yes is a no, and says why."""
    token = settings.approval_token()
    body = {
        "deployment": deployment,
        "gate": gate,
        "title": GATES[gate][0],
        "backup": backup,
        "evidence": [line.as_json() for line in evidence],
    }
    headers = {"Authorization": f"Bearer {token}".encode()} if token else {}
    try:
        return read_answer(ask(settings.approval_url or "", headers=headers, body=body))
    except UnreachableError as error:
        return ServiceAnswer(False, error.message)


def read_answer(answer: Answer) -> ServiceAnswer:
    """What an answer of the service means. Pure."""
    if answer.status != 200:
        return ServiceAnswer(False, f"it answers with HTTP {answer.status}")
    approved, by, reason = answer.get("approved"), answer.get("by"), answer.get("reason")
    if approved is False:
        return ServiceAnswer(False, f"it says no{_because(reason)}")
    if approved is not True or not _said(by) or not _said(reason):
        return ServiceAnswer(False, "what it answers is neither a no, nor a yes with a name and a reason")
    return ServiceAnswer(True, "it says yes", _plain(by), _plain(reason))


def _because(reason: object) -> str:
    return f": {_plain(reason)}" if _said(reason) else ""


def _said(text: object) -> bool:
    return isinstance(text, str) and bool(_plain(text))


def _plain(text: object) -> str:
    """One line of printable text: it is shown in terminals."""
    return " ".join("".join(one if one.isprintable() else " " for one in str(text)).split())[:LONGEST]
