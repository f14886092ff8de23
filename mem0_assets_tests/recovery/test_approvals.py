"""Gates of a real deployment: what they show, who may open them, and what shuts them again."""

from datetime import UTC, datetime, timedelta

import pytest

from mem0_assets.backups.backup import make_backup
from mem0_assets.backups.catalog import Catalog
from mem0_assets.backups.files import remove_tree
from mem0_assets.errors import ConfigurationError, NotFoundError, RefusedError
from mem0_assets.fleet import Deployment
from mem0_assets.recovery import approvals
from mem0_assets.recovery.approvals import GateClosedError, approve, require, revoke, view
from mem0_assets.recovery.gates import Gate
from mem0_assets_tests.conftest import SMALL, MakeDeployment, run_sql
from mem0_assets_tests.recovery.approval_stub import ApprovalStub

TOTAL = sum(SMALL.values())
CALM = {"limits": {"warn_rows": 0, "warn_bytes": 0}, "health": {"min_free_bytes": 0}}


@pytest.fixture
def prd(make_deployment: MakeDeployment) -> Deployment:
    """A deployment with one good backup."""
    deployment = make_deployment(SMALL, **CALM)
    assert make_backup(deployment).verdict.ok
    return deployment


def newest(deployment: Deployment) -> str:
    found = Catalog(deployment).newest_verified()
    assert found
    return found.backup


def lines(seen: approvals.GateView) -> dict[str, bool]:
    return {line.name: line.ok for line in seen.evidence}


def test_readiness_shows_the_backup_the_drill_the_stores_the_room_and_the_plan(prd: Deployment) -> None:
    seen = view(prd, "A")
    assert not seen.state.open
    assert seen.backup == newest(prd)
    assert lines(seen) | {"doctor, prd: postgres": True, "doctor, prd: backup": True} == lines(seen)
    known = {line.name: line for line in seen.evidence}
    assert f"holds {TOTAL} memories" in known["backup"].detail
    assert (known["drill"].ok, known["drill"].fix) == (False, "mem0-assets drill prd")
    assert known["stores"].detail == "no backup brings back: application, history, files"
    assert known["space"].ok
    assert known["plan"].detail.startswith("0 memories come back, 0 that are live now go")
    assert seen.lacking == ()


def test_an_approval_is_kept_with_the_name_the_reason_and_all_that_was_known(prd: Deployment) -> None:
    seen = approve(prd, "A", by="ann", reason="the volume is gone")
    assert seen.state.open
    approval = require(prd, "A")
    assert (approval.by, approval.reason, approval.backup) == ("ann", "the volume is gone", newest(prd))
    assert {line.name for line in approval.evidence} >= {"backup", "plan", "doctor, prd: postgres"}


@pytest.mark.parametrize(("by", "reason"), [("ann", " "), ("", "because")])
def test_without_a_name_or_a_reason_nothing_is_opened(prd: Deployment, by: str, reason: str) -> None:
    with pytest.raises(ConfigurationError, match="a person with a name and a reason"):
        approve(prd, "A", by=by, reason=reason)
    assert not view(prd, "A").state.open


def test_a_deployment_without_a_verified_backup_is_not_ready(make_deployment: MakeDeployment) -> None:
    with pytest.raises(RefusedError, match="backup: prd has no backup latest"):
        approve(make_deployment(SMALL, **CALM), "A", by="ann", reason="because")


def test_a_database_that_does_not_answer_cannot_be_restored_into(prd: Deployment) -> None:
    gone = prd.model_copy(update={"postgres": prd.postgres.model_copy(update={"host": "127.0.0.1", "port": 9})})
    with pytest.raises(RefusedError, match=r"plan: postgres at 127\.0\.0\.1:9 cannot be reached"):
        approve(gone, "A", by="ann", reason="because")


def test_a_database_that_is_gone_is_no_reason_against_a_recovery(prd: Deployment) -> None:
    gone = prd.model_copy(update={"postgres": prd.postgres.model_copy(update={"database": "dropped"})})
    assert approve(gone, "A", by="ann", reason="somebody dropped it").state.open


def test_a_role_that_may_not_create_databases_is_told_what_it_needs(prd: Deployment) -> None:
    run_sql(prd, "DO $$ BEGIN CREATE ROLE gate_reader LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$")
    reader = prd.model_copy(update={"postgres": prd.postgres.model_copy(update={"user": "gate_reader"})})
    (line,) = [line for line in view(reader, "A", whole=False).evidence if line.name == "plan"]
    assert not line.ok
    assert "As a superuser: ALTER ROLE gate_reader CREATEDB" in line.fix


def test_a_gate_shuts_when_the_backup_that_it_rests_on_has_expired(prd: Deployment) -> None:
    approve(prd, "A", by="ann", reason="because")
    first = Catalog(prd).find("latest")
    assert make_backup(prd).verdict.ok
    assert view(prd, "A").state.open  # a newer backup makes nothing worse
    for tier in first.tiers:
        remove_tree(prd.backups / tier / first.backup)
    with pytest.raises(GateClosedError, match=f"backup: prd has no backup {first.backup}"):
        require(prd, "A")


def test_a_gate_shuts_with_time(prd: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    approve(prd, "A", by="ann", reason="because")

    class Tomorrow(datetime):
        @classmethod
        def now(cls, tz: object = None) -> datetime:  # type: ignore[override]
            return datetime.now(UTC) + timedelta(hours=24)

    monkeypatch.setattr(approvals, "datetime", Tomorrow)
    with pytest.raises(GateClosedError, match="the approval of ann has ended"):
        require(prd, "A")


def test_an_approval_can_be_taken_back_once(prd: Deployment) -> None:
    approve(prd, "A", by="ann", reason="because")
    assert revoke(prd, "A", by="bob", reason="wrong host").state.standing == "revoked"
    with pytest.raises(GateClosedError, match="bob has taken the approval back: wrong host"):
        require(prd, "A")
    with pytest.raises(RefusedError, match="nothing to take back"):
        revoke(prd, "A", by="bob", reason="again")


def test_a_closed_gate_names_the_command_that_opens_it(prd: Deployment) -> None:
    with pytest.raises(GateClosedError) as refusal:
        require(prd, "A")
    assert refusal.value.message == "gate A (readiness) is closed: nobody has approved it"
    assert 'mem0-assets gate prd A --approve --reason "..."' in refusal.value.next_step


@pytest.mark.parametrize("gate", ["B", "C", "D"])
def test_the_later_gates_are_of_a_recovery_that_has_begun(prd: Deployment, gate: Gate) -> None:
    with pytest.raises(RefusedError, match="recovery: no recovery is under way"):
        approve(prd, gate, by="ann", reason="because")


def test_only_verified_backups_are_chosen(prd: Deployment) -> None:
    with pytest.raises(NotFoundError):
        approve(prd, "A", by="ann", reason="because", backup="20000101_000000")
    run_sql(prd, "DELETE FROM memories")
    refused = make_backup(prd).backup
    with pytest.raises(RefusedError, match="is quarantined, and only verified backups are restored"):
        approve(prd, "A", by="ann", reason="because", backup=refused.backup)


def test_the_approval_service_is_asked_when_nobody_has_opened_the_gate(
    prd: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("APPROVAL_TOKEN", "gate-hunter2")
    with ApprovalStub() as service:
        settings = {"approval_url": f"{service.url}/gates", "approval_token_env": "APPROVAL_TOKEN"}
        recovery = prd.disaster_recovery.model_copy(update=settings)
        asking = prd.model_copy(update={"disaster_recovery": recovery})
        service.content = {"approved": False, "reason": "call me first"}
        with pytest.raises(GateClosedError, match="The approval service: it says no: call me first"):
            require(asking, "A")
        service.content = {"approved": True, "by": "ann", "reason": "seen"}
        approval = require(asking, "A")
        assert approval.by == f"ann (by {service.url}/gates)"
        assert {line["name"] for line in service.bodies[-1]["evidence"]} >= {"backup", "plan"}
        asked = len(service.bodies)
        assert require(asking, "A") == approval
        assert len(service.bodies) == asked  # an open gate is not asked for again


def test_what_a_person_has_taken_back_no_service_opens_again(prd: Deployment) -> None:
    with ApprovalStub(token=None) as service:
        service.content = {"approved": True, "by": "the pipeline", "reason": "ticket 7"}
        recovery = prd.disaster_recovery.model_copy(update={"approval_url": f"{service.url}/gates"})
        asking = prd.model_copy(update={"disaster_recovery": recovery})
        require(asking, "A")
        revoke(asking, "A", by="ann", reason="the wrong host")
        with pytest.raises(GateClosedError, match="ann has taken the approval back: the wrong host"):
            require(asking, "A")
        assert len(service.asked) == 1


def test_the_service_is_not_asked_for_what_it_cannot_mend(make_deployment: MakeDeployment) -> None:
    with ApprovalStub(token=None) as service:
        settings = {"disaster_recovery": {"approval_url": f"{service.url}/gates"}}
        with pytest.raises(GateClosedError, match="backup: prd has no backup latest"):
            require(make_deployment(SMALL, **CALM, **settings), "A")
        assert service.asked == []
