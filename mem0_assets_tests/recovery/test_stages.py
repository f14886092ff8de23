"""A whole recovery, stage by stage, behind its gates, on a real database that has lost its memories."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from mem0_assets.backups.backup import make_backup
from mem0_assets.backups.catalog import Catalog
from mem0_assets.errors import ConfigurationError, RefusedError
from mem0_assets.fleet import Deployment, Fleet, TelegramSettings
from mem0_assets.live.census import take_census
from mem0_assets.recovery.approvals import GateClosedError, approve, revoke, view
from mem0_assets.recovery.record import STAGES, current_recovery
from mem0_assets.recovery.stages import StageReport, run_stage
from mem0_assets.restores.restore import restore
from mem0_assets_tests.conftest import SMALL, MakeDeployment, run_sql
from mem0_assets_tests.restores.killed import killed_after
from mem0_assets_tests.telegram_stub import TelegramStub, unauthorized

CALM = {"limits": {"warn_rows": 0, "warn_bytes": 0}, "health": {"min_free_bytes": 0}}


@pytest.fixture
def prd(make_deployment: MakeDeployment) -> Deployment:
    """A deployment whose memories are gone; one good backup has them."""
    deployment = make_deployment(SMALL, **CALM)
    assert make_backup(deployment).verdict.ok
    run_sql(deployment, "DELETE FROM memories")
    return deployment


@pytest.fixture
def telegram(monkeypatch: pytest.MonkeyPatch) -> Iterator[TelegramStub]:
    with TelegramStub() as stub:
        monkeypatch.setenv("TELEGRAM_BOT_TOKEN", stub.token)
        monkeypatch.setenv("TELEGRAM_CHAT_ID", stub.chat_id)
        yield stub


@pytest.fixture
def fleet(prd: Deployment, telegram: TelegramStub, tmp_path: Path) -> Fleet:
    return Fleet(
        path=tmp_path / "fleet.yaml",
        backups_root=tmp_path / "backups",
        telegram=TelegramSettings(api_url=telegram.url),
        deployments={"prd": prd},
    )


def go_on(fleet: Fleet, confirm: str = "prd") -> list[StageReport]:
    """What `mem0-assets recover` does: every stage, up to the first gate that is shut."""
    done: list[StageReport] = []
    prd = fleet.deployments["prd"]
    for stage in STAGES:
        try:
            done.append(run_stage(fleet, prd, stage, by="ann", confirm=confirm))
        except GateClosedError:
            break
    return done


def test_a_recovery_goes_from_gate_to_gate(prd: Deployment, fleet: Fleet, telegram: TelegramStub) -> None:
    assert go_on(fleet) == []
    approve(prd, "A", by="ann", reason="all memories are gone")
    assert [(one.stage, one.already) for one in go_on(fleet)] == [("readiness", False)]
    assert take_census(prd.postgres).total == 0

    seen = approve(prd, "B", by="bob", reason="the plan is right")
    assert "keeps 0 memories" in next(line.detail for line in seen.evidence if line.name == "safety backup")
    done = go_on(fleet)
    assert [(one.stage, one.already) for one in done] == [("readiness", True), ("restore", False)]
    assert take_census(prd.postgres).namespaces == SMALL
    assert telegram.texts == []

    approve(prd, "C", by="ann", reason="it is our database, and it is full")
    assert [one.stage for one in go_on(fleet)] == ["readiness", "restore", "cold_start"]
    (text,) = telegram.texts
    assert "77 memories in the restored database" in text
    assert 'mem0-assets gate prd D --approve --reason "..."' in text

    seen = approve(prd, "D", by="bob", reason="read on the phone")
    message = telegram.messages[-1].message_id
    assert f"Telegram took the message {message}" in next(line.detail for line in seen.evidence)
    done = go_on(fleet)
    assert [one.stage for one in done] == list(STAGES)
    report = done[-1].facts["report"]
    assert [report["gates"][gate]["by"] for gate in "ABCD"] == ["ann", "bob", "ann", "bob"]
    assert report["stages"]["restore"]["report"]["total"] == sum(SMALL.values())
    assert current_recovery(Catalog(prd).journal) is None


def test_no_stage_starts_without_its_gate_or_out_of_turn(prd: Deployment, fleet: Fleet) -> None:
    with pytest.raises(RefusedError, match="the stage restore comes after readiness"):
        run_stage(fleet, prd, "restore", confirm="prd")
    approve(prd, "A", by="ann", reason="because")
    run_stage(fleet, prd, "readiness")
    with pytest.raises(GateClosedError, match=r"gate B \(before the teardown\) is closed: nobody has approved it"):
        run_stage(fleet, prd, "restore", confirm="prd")
    assert take_census(prd.postgres).total == 0


def test_an_approval_of_one_recovery_opens_nothing_in_the_next(
    prd: Deployment, fleet: Fleet, telegram: TelegramStub
) -> None:
    for gate in ("A", "B", "C", "D"):
        approve(prd, gate, by="ann", reason="because")
        go_on(fleet)
    run_sql(prd, "DELETE FROM memories")
    approve(prd, "A", by="ann", reason="again")
    assert [one.stage for one in go_on(fleet)] == ["readiness"]
    state = view(prd, "B", whole=False).state
    assert state.standing == "void"
    assert take_census(prd.postgres).total == 0


def test_an_approval_is_for_one_recovery(prd: Deployment, fleet: Fleet, telegram: TelegramStub) -> None:
    for gate in ("A", "B", "C", "D"):
        approve(prd, gate, by="ann", reason="because")
        go_on(fleet)
    assert go_on(fleet) == []
    assert current_recovery(Catalog(prd).journal) is None
    assert view(prd, "A", whole=False).state.standing == "void"


def test_an_interrupted_restore_of_another_backup_is_not_taken_for_the_approved_one(
    prd: Deployment, fleet: Fleet
) -> None:
    first = restore(prd, by="bob", confirm="prd").backup
    run_sql(prd, 'INSERT INTO memories SELECT gen_random_uuid(), vector, \'{"user_id": "dora"}\' FROM memories LIMIT 9')
    second = make_backup(prd).backup.backup
    run_sql(prd, "DELETE FROM memories")
    for gate in ("A", "B"):
        approve(prd, gate, by="ann", reason="because")
        if gate == "A":
            go_on(fleet)
    assert killed_after("swapped", lambda: restore(prd, first, by="bob", confirm="prd"))
    assert [(one.stage, one.backup) for one in go_on(fleet)] == [("readiness", second), ("restore", second)]
    assert take_census(prd.postgres).namespaces["dora"] == 9


def test_without_the_deployments_name_nothing_is_restored(prd: Deployment, fleet: Fleet) -> None:
    approve(prd, "A", by="ann", reason="because")
    go_on(fleet)
    approve(prd, "B", by="ann", reason="because")
    with pytest.raises(ConfigurationError, match="not confirmed"):
        go_on(fleet, confirm="test")
    assert take_census(prd.postgres).total == 0


def test_a_message_that_telegram_does_not_take_leaves_the_stage_undone(
    prd: Deployment, fleet: Fleet, telegram: TelegramStub
) -> None:
    for gate in ("A", "B"):
        approve(prd, gate, by="ann", reason="because")
        go_on(fleet)
    approve(prd, "C", by="ann", reason="because")
    telegram.then(unauthorized())
    with pytest.raises(Exception, match="the bot token is not valid"):
        go_on(fleet)
    assert view(prd, "D", whole=False).lacking[0].detail == "its stage cold_start is not done"
    assert [one.stage for one in go_on(fleet)] == ["readiness", "restore", "cold_start"]


def test_memories_that_would_be_lost_since_the_approval_shut_gate_b(prd: Deployment, fleet: Fleet) -> None:
    approve(prd, "A", by="ann", reason="because")
    go_on(fleet)
    approve(prd, "B", by="ann", reason="there is nothing to lose")
    run_sql(prd, 'INSERT INTO memories (id, payload) VALUES (gen_random_uuid(), \'{"user_id": "dora"}\')')
    with pytest.raises(GateClosedError, match="plan: it was: it loses none, and is now: it loses memories"):
        run_stage(fleet, prd, "restore", confirm="prd")
    assert take_census(prd.postgres).namespaces == {"dora": 1}


def test_memories_that_were_lost_again_shut_gate_c(prd: Deployment, fleet: Fleet) -> None:
    for gate in ("A", "B"):
        approve(prd, gate, by="ann", reason="because")
        go_on(fleet)
    approve(prd, "C", by="ann", reason="because")
    run_sql(prd, "DELETE FROM memories WHERE payload->>'user_id' = 'carol'")
    with pytest.raises(GateClosedError, match="the namespace carol holds 0 of 12"):
        run_stage(fleet, prd, "cold_start")


def test_a_recovery_that_is_under_way_is_given_up_by_taking_gate_a_back(prd: Deployment, fleet: Fleet) -> None:
    approve(prd, "A", by="ann", reason="because")
    go_on(fleet)
    with pytest.raises(RefusedError, match="its next stage is restore, behind gate B"):
        approve(prd, "A", by="ann", reason="once more")
    revoke(prd, "A", by="ann", reason="the wrong host")
    assert current_recovery(Catalog(prd).journal) is None
    approve(prd, "A", by="ann", reason="now it is right")
