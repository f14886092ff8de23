"""The approval service: a clear yes is a yes, and whatever else it does is none."""

from collections.abc import Iterator
from typing import Any

import pytest

from mem0_assets.fleet import DisasterRecovery
from mem0_assets.live import endpoints
from mem0_assets.recovery.approval_service import ServiceAnswer, ask_service
from mem0_assets.recovery.gates import Evidence
from mem0_assets_tests.recovery.approval_stub import YES, ApprovalStub
from mem0_assets_tests.service_stub import Fault, brackets, drip, flood, half_json, hang_up, page, redirect, say_nothing

BACKUP = Evidence("backup", True, "20260103_133102 holds 1968 memories", needed=True, about="20260103_133102")


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[ApprovalStub]:
    monkeypatch.setenv("APPROVAL_TOKEN", "gate-hunter2")
    monkeypatch.setattr(endpoints, "ANSWER_SECONDS", 0.3)
    with ApprovalStub() as stub:
        yield stub


def asked(stub: ApprovalStub) -> ServiceAnswer:
    settings = DisasterRecovery(approval_url=f"{stub.url}/gates", approval_token_env="APPROVAL_TOKEN")
    return ask_service(settings, "prd", "B", "20260103_133102", [BACKUP])


def test_it_is_shown_the_gate_and_the_evidence_and_its_yes_names_a_person(service: ApprovalStub) -> None:
    assert asked(service) == ServiceAnswer(True, "it says yes", "ann", "seen on the phone")
    (body,) = service.bodies
    assert body == {
        "deployment": "prd",
        "gate": "B",
        "title": "before the teardown",
        "backup": "20260103_133102",
        "evidence": [BACKUP.as_json()],
    }


def test_its_no_says_why(service: ApprovalStub) -> None:
    service.content = {"approved": False, "by": "ann", "reason": "not before\x1b[31m noon\n"}
    assert asked(service) == ServiceAnswer(False, "it says no: not before [31m noon")


@pytest.mark.parametrize(
    "content",
    [
        {**YES, "approved": "true"},
        {**YES, "approved": 1},
        {**YES, "by": ""},
        {**YES, "by": " \n"},
        {**YES, "reason": None},
        {**YES, "reason": 7},
        {"approved": True},
        {"by": "ann", "reason": "because"},
        [YES],
        "yes",
        True,
        {},
    ],
    ids=str,
)
def test_a_yes_of_the_wrong_shape_is_none(service: ApprovalStub, content: Any) -> None:
    service.content = content
    answer = asked(service)
    assert not answer.approved
    assert answer.why == "what it answers is neither a no, nor a yes with a name and a reason"


@pytest.mark.parametrize(
    "fault",
    [say_nothing, hang_up, drip, flood, half_json, brackets, page(200), page(500), page(403)],
    ids=["frozen", "hung up", "dripping", "flood", "half", "too deep", "a page", "HTTP 500", "HTTP 403"],
)
def test_misbehaviour_is_no_yes(service: ApprovalStub, fault: Fault) -> None:
    service.faults["/gates"] = fault
    assert not asked(service).approved


def test_a_redirect_is_not_followed_not_even_to_a_yes(service: ApprovalStub) -> None:
    with ApprovalStub(token=None) as stranger:
        service.faults["/gates"] = redirect(f"{stranger.url}/gates")
        assert asked(service) == ServiceAnswer(False, "it answers with HTTP 307")
        assert stranger.asked == []


def test_a_yes_with_another_status_is_none(service: ApprovalStub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APPROVAL_TOKEN", "wrong")
    assert asked(service) == ServiceAnswer(False, "it answers with HTTP 401")


def test_nobody_there_is_no_yes(service: ApprovalStub) -> None:
    settings = DisasterRecovery(approval_url="http://127.0.0.1:9")
    assert ask_service(settings, "prd", "A", "latest", []).why == "nothing takes connections there"
