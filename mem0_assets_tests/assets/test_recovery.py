"""A disaster recovery as the UI runs it: one job, launched again after each gate, and the monthly rehearsal."""

from typing import Any

import dagster as dg
import pytest

from mem0_assets.backups.backup import make_backup
from mem0_assets.fleet import Deployment
from mem0_assets.live.census import take_census
from mem0_assets.recovery.approvals import approve
from mem0_assets.recovery.record import STAGES
from mem0_assets_tests.assets.conftest import CALM, QUIET, OpenProject, Project, failure_of, materialized, metadata_of
from mem0_assets_tests.conftest import SMALL, MakeDeployment, run_sql
from mem0_assets_tests.telegram_stub import TelegramStub

TOTAL = sum(SMALL.values())


@pytest.fixture
def prd(make_deployment: MakeDeployment) -> Deployment:
    """Emptied, with one good backup."""
    deployment = make_deployment(limits=CALM, health={"min_free_bytes": 0})
    assert make_backup(deployment).verdict.ok
    run_sql(deployment, "DELETE FROM memories")
    return deployment


def launch(project: Project, confirm: str = "prd") -> dg.ExecuteInProcessResult:
    """The job, with the one thing that a person types into its launchpad."""
    config: dict[str, Any] = {**QUIET, "ops": {"prd__recovery_restore": {"config": {"by": "ann", "confirm": confirm}}}}
    job = project.definitions.resolve_job_def("prd_disaster_recovery")
    return job.execute_in_process(instance=project.instance, run_config=config, raise_on_error=False)


def test_the_job_goes_as_far_as_the_gates_are_open(
    prd: Deployment, open_project: OpenProject, telegram: TelegramStub
) -> None:
    project = open_project(prd, telegram=telegram)
    stages: list[str] = []
    for stage, gate in STAGES.items():
        shut = launch(project)
        assert materialized(shut) == stages
        failure = failure_of(shut)
        assert f"gate {gate} " in (failure.description or "")
        assert f"mem0-assets gate prd {gate} --approve" in (failure.description or "")
        approve(prd, gate, by="ann", reason="because")
        stages.append(f"recovery_{stage}")
    done = launch(project)
    assert done.success
    assert materialized(done) == [f"recovery_{stage}" for stage in STAGES]
    assert take_census(prd.postgres).namespaces == SMALL
    assert metadata_of(done, "recovery_restore")["already_done"] is True
    assert metadata_of(done, "recovery_telegram")["facts"]["report"]["gates"]["B"]["reason"] == "because"


def test_a_shut_gate_alarms_nobody_and_a_wrong_confirmation_does(
    prd: Deployment, open_project: OpenProject, telegram: TelegramStub
) -> None:
    project = open_project(prd)
    cursor = project.tick("run_alerts").cursor
    launch(project)
    cursor = project.tick("run_alerts", cursor).cursor
    assert project.waiting() == []
    for gate in ("A", "B"):
        approve(prd, gate, by="ann", reason="because")
        launch(project, confirm="test")
    project.tick("run_alerts", cursor)
    (text,) = project.waiting()
    assert "not confirmed: the name of the deployment is prd" in text


def test_the_rehearsal_is_a_job_of_its_own_and_shows_its_times(prd: Deployment, open_project: OpenProject) -> None:
    project = open_project(prd)
    done = project.run("prd_recovery_drill")
    assert done.success
    assert metadata_of(done, "recovery_drill")["restore_seconds"] > 0
    assert take_census(prd.postgres).total == 0
