"""The gates of a disaster recovery as a person meets them in the UI."""

from typing import Any

import dagster as dg
import pytest

from mem0_assets.backups.backup import make_backup
from mem0_assets.fleet import Deployment
from mem0_assets.recovery.approvals import require
from mem0_assets_tests.assets.conftest import CALM, QUIET, OpenProject, Project, failure_of, metadata_of
from mem0_assets_tests.conftest import SMALL, MakeDeployment

TOTAL = sum(SMALL.values())


@pytest.fixture
def prd(make_deployment: MakeDeployment) -> Deployment:
    deployment = make_deployment(limits=CALM, health={"min_free_bytes": 0})
    assert make_backup(deployment).verdict.ok
    return deployment


def press(project: Project, gate: str, **config: str) -> dg.ExecuteInProcessResult:
    """Materialize a gate as the UI's button does, with what was typed into the launchpad."""
    job = project.definitions.resolve_implicit_global_asset_job_def()
    run_config: dict[str, Any] = {**QUIET, "ops": {f"prd__{gate}": {"config": config}}}
    return job.execute_in_process(
        instance=project.instance,
        run_config=run_config,
        raise_on_error=False,
        asset_selection=[dg.AssetKey(["prd", gate])],
    )


def evidence(metadata: Any) -> dict[str, str]:
    return {record.data["what"]: record.data["is"] for record in metadata.records}


def test_a_person_opens_a_gate_with_a_name_and_a_reason(prd: Deployment, open_project: OpenProject) -> None:
    project = open_project(prd)
    done = press(project, "gate_a", by="ann", reason="the volume is gone")
    assert done.success
    shown = metadata_of(done, "gate_a")
    assert (shown["standing"], shown["by"], shown["reason"]) == ("open", "ann", "the volume is gone")
    (event,) = done.get_asset_materialization_events()
    assert evidence(event.materialization.metadata["evidence"].value)["backup"] == "ok"
    assert require(prd, "A").by == "ann"


@pytest.mark.parametrize("config", [{}, {"by": "ann"}, {"reason": "because"}, {"by": " ", "reason": "because"}])
def test_without_a_name_or_a_reason_it_fails_and_shows_what_the_gate_rests_on(
    prd: Deployment, open_project: OpenProject, config: dict[str, str]
) -> None:
    done = press(open_project(prd), "gate_a", **config)
    assert not done.success
    failure = failure_of(done)
    assert failure.description == "gate A stays as it was: give the config `by` and `reason` to open it"
    assert evidence(failure.metadata["evidence"].value)["plan"] == "ok"
    assert failure.metadata["standing"].value == "never_approved"


def test_a_gate_that_cannot_be_opened_says_why_and_nobody_is_alarmed(
    prd: Deployment, open_project: OpenProject
) -> None:
    project = open_project(prd)
    cursor = project.tick("run_alerts").cursor
    failure = failure_of(press(project, "gate_b", by="ann", reason="because"))
    assert "no recovery is under way" in (failure.description or "")
    project.tick("run_alerts", cursor)
    assert project.waiting() == []
