"""A restore as a run of Dagster: only on a person's word, each part with its evidence, and nothing live on a refusal."""

from mem0_assets.backups.backup import make_backup
from mem0_assets.restores.restore import restore
from mem0_assets_tests.assets.conftest import CALM, OpenProject, failure_of, materialized, metadata_of
from mem0_assets_tests.conftest import MakeDeployment, run_sql
from mem0_assets_tests.forged import forge
from mem0_assets_tests.restores.contents import databases_like, fingerprint


def test_a_run_with_the_name_restores_and_shows_its_evidence(
    open_project: OpenProject, make_deployment: MakeDeployment
) -> None:
    deployment = make_deployment(limits=CALM)
    project, before = open_project(deployment), fingerprint(deployment)
    backup = make_backup(deployment).backup
    run_sql(deployment, "TRUNCATE memories")
    job = project.definitions.resolve_job_def("prd_restore")
    result = job.execute_in_process(
        instance=project.instance, run_config={"backup": backup.backup, "confirm": "prd", "by": "anna"}
    )
    assert materialized(result) == ["restore_plan", "safety_backup", "restored_database", "restored_deployment"]
    assert [one.check_name for one in result.get_asset_check_evaluations() if one.passed] == ["restored_exactly"]
    assert metadata_of(result, "restore_plan")["gained"] == 77
    assert metadata_of(result, "restored_deployment")["by"] == "anna"
    assert fingerprint(deployment) == before
    first = project.tick("fleet_census")  # what a run has reported is not reported again
    assert _restores(project.tick("fleet_census", first.cursor)) == []


def test_without_the_name_nothing_is_begun_and_nobody_is_alarmed(
    open_project: OpenProject, make_deployment: MakeDeployment
) -> None:
    deployment = make_deployment(limits=CALM)
    project, before = open_project(deployment), fingerprint(deployment)
    make_backup(deployment)
    keys = [("prd", thing) for thing in ("safety_backup", "restored_database", "restored_deployment")]
    result = project.click(*keys)
    assert not result.success
    assert failure_of(result).metadata["incident"].value == "not_confirmed"
    assert not (deployment.backups / "restores").exists()
    assert fingerprint(deployment) == before


def test_what_came_back_otherwise_fails_the_run_and_leaves_what_is_live(
    open_project: OpenProject, make_deployment: MakeDeployment
) -> None:
    deployment = make_deployment(limits=CALM)
    project, before = open_project(deployment), fingerprint(deployment)
    forge(deployment, "20260103_023000", 1)  # it claims an index that is not in its dump
    job = project.definitions.resolve_job_def("prd_restore")
    result = job.execute_in_process(instance=project.instance, run_config={"confirm": "prd"}, raise_on_error=False)
    assert not result.success
    assert "[index_missing]" in (failure_of(result).description or "")
    assert materialized(result) == ["restore_plan", "safety_backup"]
    assert fingerprint(deployment) == before
    assert databases_like(deployment) == [deployment.postgres.database]


def test_a_restore_by_the_command_line_is_shown_by_the_sensor_once(
    open_project: OpenProject, make_deployment: MakeDeployment
) -> None:
    deployment = make_deployment(limits=CALM)
    project = open_project(deployment)
    make_backup(deployment)
    report = restore(deployment, by="anna", confirm="prd")
    ticks = [project.tick("fleet_census")]
    for _ in range(2):
        ticks.append(project.tick("fleet_census", ticks[-1].cursor))
    assert [_restores(tick) for tick in ticks] == [[], [report.restore], []]


def _restores(tick: object) -> list[str]:
    """The restores that a tick reports."""
    events = getattr(tick, "asset_events", [])
    return [
        str(event.metadata["restore"].value) for event in events if event.asset_key.path[-1] == "restored_deployment"
    ]
