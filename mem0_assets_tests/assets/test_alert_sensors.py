"""Failed runs and failed checks are told once, by what tells most, at least once, and are over when they are over."""

import json
from datetime import UTC, datetime

import dagster as dg
import pytest

from mem0_assets.alerts.incidents import Incident, IncidentBook
from mem0_assets.alerts.watch import look, observe
from mem0_assets.assets.alert_sensors import build_check_sensor
from mem0_assets_tests.assets.conftest import CALM, QUIET, OpenProject, Project
from mem0_assets_tests.conftest import MakeDeployment, run_sql

THE_PAST = json.dumps({"after": 0.0, "failed": {}})


@pytest.fixture
def project(make_deployment: MakeDeployment, open_project: OpenProject) -> Project:
    """A small prd and a small test, never backed up."""
    return open_project(make_deployment(name="prd", limits=CALM), make_deployment(name="test", limits=CALM))


@dg.asset(key=["prd", "restore_drill"])
def broken_drill() -> int:
    """What a bug in an asset looks like from outside: an exception that nobody expected."""
    return int("not a number")


def crash(project: Project, job: str | None = None) -> None:
    """Let the step prd/restore_drill fail by a bug, in this job or as by a click in the UI."""
    jobs = [dg.define_asset_job(job, tags={"deployment": "prd"})] if job else []
    broken = dg.Definitions(assets=[broken_drill], jobs=jobs)
    definition = broken.resolve_job_def(job) if job else broken.resolve_implicit_global_asset_job_def()
    definition.execute_in_process(instance=project.instance, run_config=QUIET, raise_on_error=False)


def incidents(project: Project, name: str = "prd") -> list[Incident]:
    """What is open now and comes from Dagster itself."""
    return [
        one for one in IncidentBook(project.fleet.deployment(name).backups).open() if one.scope in ("runs", "checks")
    ]


def titles(project: Project) -> list[str]:
    """The first lines of what waits to be told."""
    return [text.splitlines()[0] for text in project.waiting()]


# Runs


def test_a_bug_in_a_run_is_told_as_a_failed_run_and_over_with_the_next_success(project: Project) -> None:
    project.run("prd_backup")
    crash(project, "prd_drill")
    data = project.tick("run_alerts", THE_PAST)
    (incident,) = incidents(project)
    assert (incident.kind, incident.severity) == ("run_failed", "warning")
    assert "of prd_drill failed at prd/restore_drill: ValueError: invalid literal for int()" in incident.what
    project.run("prd_drill")
    project.tick("run_alerts", data.cursor)
    assert incidents(project) == []
    assert titles(project) == ["🟠 prd: run failed", "✅ prd: over: run failed"]


def test_a_failure_is_told_once_however_often_it_is_seen(project: Project) -> None:
    crash(project, "prd_drill")
    cursor = THE_PAST
    for _ in range(3):
        cursor = project.tick("run_alerts", cursor).cursor
    assert titles(project) == ["🟠 prd: run failed"]


def test_a_failure_survives_a_restart_and_a_lost_cursor(project: Project) -> None:
    crash(project, "prd_drill")
    cursor = project.tick("run_alerts", THE_PAST).cursor
    project.tick("run_alerts", cursor)
    project.tick("run_alerts", THE_PAST)
    assert len(incidents(project)) == 1
    assert titles(project) == ["🟠 prd: run failed"]


def test_a_failure_that_is_stored_a_little_late_is_seen_all_the_same(project: Project) -> None:
    crash(project, "prd_drill")
    project.tick("run_alerts", json.dumps({"after": datetime.now(UTC).timestamp() + 5, "failed": {}}))
    assert len(incidents(project)) == 1


def test_a_clock_that_was_set_back_hides_no_failure(project: Project) -> None:
    crash(project, "prd_drill")
    project.tick("run_alerts", json.dumps({"after": datetime.now(UTC).timestamp() + 86400, "failed": {}}))
    assert len(incidents(project)) == 1


def test_a_click_that_fails_is_told_and_another_asset_does_not_mend_it(project: Project) -> None:
    """All that is materialized in the UI is one job, `__ASSET_JOB`."""
    crash(project)
    cursor = project.tick("run_alerts", THE_PAST).cursor
    assert "of __ASSET_JOB failed at prd/restore_drill" in incidents(project)[0].what
    assert project.click(["prd", "memory_counts"]).success
    cursor = project.tick("run_alerts", cursor).cursor
    assert len(incidents(project)) == 1
    project.run("prd_backup")
    assert project.run("prd_drill").success
    project.tick("run_alerts", cursor)
    assert incidents(project) == []


def test_a_run_over_several_deployments_is_told_of_the_one_that_failed(
    make_deployment: MakeDeployment, open_project: OpenProject
) -> None:
    prd, test = make_deployment(name="prd"), make_deployment(name="test")
    test.backups.parent.mkdir(exist_ok=True)
    test.backups.write_text("where the folder was, a file is")
    project = open_project(prd, test)
    project.click(["prd", "postgres_backup"], ["test", "postgres_backup"])
    project.tick("run_alerts", THE_PAST)
    assert incidents(project, "prd") == []
    assert titles(project) == ["🟠 test: run failed"]


def test_checks_that_are_executed_alone_and_crash_are_told(project: Project) -> None:
    key = dg.AssetKey(["prd", "postgres_backup"])
    checks = dg.define_asset_job("checks", selection=dg.AssetSelection.checks_for_assets(key))
    job = dg.Definitions.merge(project.definitions, dg.Definitions(jobs=[checks])).resolve_job_def("checks")
    job.execute_in_process(instance=project.instance, raise_on_error=False)
    project.tick("run_alerts", THE_PAST)
    assert "failed at prd_backup_checks: prd/postgres_backup was not materialized yet" in incidents(project)[0].what


def test_a_run_that_dies_without_a_word_is_told_until_its_job_succeeds(project: Project) -> None:
    """What run monitoring does where a worker was killed, or never started."""
    job = project.definitions.resolve_job_def("prd_drill")
    run = project.instance.create_run_for_job(job, tags=job.tags)
    project.instance.report_run_failed(run, "Run timed out due to taking longer than 6 hours")
    cursor = project.tick("run_alerts", THE_PAST).cursor
    assert incidents(project)[0].what.endswith("of prd_drill failed: Run timed out due to taking longer than 6 hours")
    project.run("prd_backup")
    project.run("prd_drill")
    project.tick("run_alerts", cursor)
    assert incidents(project) == []


def test_a_refused_backup_is_told_with_its_reasons_and_not_again_as_a_failed_run(project: Project) -> None:
    project.run("prd_backup")
    prd = project.fleet.deployment("prd")
    run_sql(prd, "DELETE FROM memories")
    assert not project.run("prd_backup").success
    project.tick("run_alerts", THE_PAST)
    project.tick("check_alerts")
    assert incidents(project) == []
    observe(project.fleet, prd, look(project.fleet, prd).findings)
    assert titles(project) == ["🔴 prd: memory count is ZERO", "🔴 prd: backup refused"]


@pytest.mark.parametrize("job", ["prd_backup", "prd_census", "prd_drill"])
def test_an_outage_is_not_told_a_second_time_by_the_runs_that_it_fails(
    make_deployment: MakeDeployment, open_project: OpenProject, job: str
) -> None:
    project = open_project(make_deployment(postgres={"host": "127.0.0.1", "port": 9}))
    assert not project.run(job).success
    project.tick("run_alerts", THE_PAST)
    told = [incident.what for incident in incidents(project)]
    # A drill needs no live database: that it found no backup is news of its own.
    assert len(told) == (1 if job == "prd_drill" else 0)


def test_a_backups_folder_that_cannot_be_used_is_told_as_a_failed_run(
    make_deployment: MakeDeployment, open_project: OpenProject
) -> None:
    """No attempt could be noted there, so no refusal is told."""
    deployment = make_deployment()
    deployment.backups.parent.mkdir(exist_ok=True)
    deployment.backups.write_text("where the folder was, a file is")
    project = open_project(deployment)
    assert not project.run("prd_backup").success
    project.tick("run_alerts", THE_PAST)
    (text,) = project.waiting()
    assert "failed at prd/postgres_backup: cannot use" in text


# Checks


def test_a_warning_is_told_until_it_passes_again(make_deployment: MakeDeployment, open_project: OpenProject) -> None:
    project = open_project(make_deployment(limits={"warn_rows": 70, "warn_bytes": 0}))
    run_sql(project.fleet.deployment("prd"), "DELETE FROM memories WHERE payload->>'user_id' = 'carol'")
    assert project.run("prd_backup").success
    cursor = project.tick("check_alerts").cursor
    (incident,) = incidents(project)
    assert (incident.kind, incident.severity) == ("check_failed", "warning")
    assert incident.what == (
        "The check prd/postgres_backup:has_memories fails: Only 65 memories: fewer than warn_rows, which is 70."
    )
    cursor = project.tick("check_alerts", cursor).cursor
    run_sql(
        project.fleet.deployment("prd"),
        "INSERT INTO memories SELECT gen_random_uuid(), vector, payload FROM memories LIMIT 10",
    )
    project.run("prd_backup")
    project.tick("check_alerts", cursor)
    assert incidents(project) == []
    assert titles(project) == ["🟠 prd: check failed", "✅ prd: over: check failed"]


def test_a_check_that_is_only_planned_keeps_what_was_known(
    make_deployment: MakeDeployment, open_project: OpenProject
) -> None:
    project = open_project(make_deployment(limits={"warn_rows": 1000, "warn_bytes": 0}))
    project.run("prd_backup")
    cursor = project.tick("check_alerts").cursor
    project.instance.create_run_for_job(project.definitions.resolve_job_def("prd_backup"))
    again = project.tick("check_alerts", cursor)
    assert again.cursor == cursor
    assert len(incidents(project)) == 1


def test_a_check_of_somebody_elses_asset_is_told_with_its_severity(project: Project) -> None:
    """A check that a person adds on one of our assets, and that no incident of ours covers."""
    key = dg.AssetKey(["prd", "memory_counts"])

    @dg.asset_check(asset=key)
    def even() -> dg.AssetCheckResult:
        return dg.AssetCheckResult(passed=False, description="77 is odd")

    checks = dg.define_asset_job("checks", selection=dg.AssetSelection.checks(even))
    definitions = dg.Definitions(assets=[dg.AssetSpec(key)], asset_checks=[even], jobs=[checks])
    definitions.resolve_job_def("checks").execute_in_process(instance=project.instance, run_config=QUIET)
    sensor = build_check_sensor(project.fleet, [dg.AssetCheckKey(key, "even")])
    with dg.build_sensor_context(instance=project.instance, definitions=definitions) as context:
        sensor.evaluate_tick(context)
    (incident,) = incidents(project)
    assert (incident.severity, incident.what) == ("critical", "The check prd/memory_counts:even fails: 77 is odd")


def test_both_sensors_are_on_by_default_and_skip_where_there_is_nothing(project: Project) -> None:
    for name in ("run_alerts", "check_alerts"):
        assert project.definitions.resolve_sensor_def(name).default_status == dg.DefaultSensorStatus.RUNNING
    assert project.tick("run_alerts").skip_message == "0 things failed."
    assert project.tick("check_alerts").skip_message == "0 checks fail."
    assert titles(project) == []
