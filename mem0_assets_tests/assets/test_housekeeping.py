"""Old runs go with all that they left behind; newer ones, and those that still run, stay."""

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from mem0_assets.assets.housekeeping import KEEP, delete_runs_before, housekeeping, housekeeping_schedule
from mem0_assets_tests.assets.conftest import QUIET

CONFIG = Path(__file__).parents[2] / "dagster.yaml"


@dg.asset
def something() -> None:
    """Anything that runs and leaves logs."""
    print("to the captured logs")


SOMETHING = dg.Definitions(assets=[something], jobs=[dg.define_asset_job("some_job")])


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A DAGSTER_HOME with the project's own dagster.yaml."""
    folder = tmp_path / "dagster"
    folder.mkdir()
    shutil.copy(CONFIG, folder)
    return folder


@pytest.fixture
def instance(home: Path) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.from_config(str(home)) as running:
        yield running


def run_once(instance: dg.DagsterInstance) -> str:
    job = SOMETHING.resolve_job_def("some_job")
    return job.execute_in_process(instance=instance, run_config=QUIET).run_id


def traces(home: Path, run_id: str) -> set[str]:
    """Every file and folder below DAGSTER_HOME that carries the name of a run."""
    return {str(path.relative_to(home)) for path in home.rglob(f"*{run_id}*")}


def test_an_old_run_leaves_nothing_behind(home: Path, instance: dg.DagsterInstance) -> None:
    old = run_once(instance)
    assert {f"storage/{old}", f"history/runs/{old}.db"} <= traces(home, old)
    assert delete_runs_before(instance, datetime.now(UTC)) == 1
    assert instance.get_run_by_id(old) is None
    assert traces(home, old) == set()


def test_a_newer_run_stays_whole(home: Path, instance: dg.DagsterInstance) -> None:
    run_once(instance)
    limit = datetime.now(UTC)
    new = run_once(instance)
    before = traces(home, new)
    assert delete_runs_before(instance, limit) == 1
    assert [run.run_id for run in instance.get_runs()] == [new]
    assert traces(home, new) == before
    assert instance.all_logs(new) != []


def test_a_run_that_is_not_over_stays_however_old_it_is(instance: dg.DagsterInstance) -> None:
    job = SOMETHING.resolve_job_def("some_job")
    running = [
        instance.create_run_for_job(job, status=status).run_id
        for status in (dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING)
    ]
    assert delete_runs_before(instance, datetime.now(UTC) + timedelta(days=1)) == 0
    assert {run.run_id for run in instance.get_runs()} == set(running)


def test_failed_and_cancelled_runs_go_too(instance: dg.DagsterInstance) -> None:
    job = SOMETHING.resolve_job_def("some_job")
    for status in (dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED):
        instance.create_run_for_job(job, status=status)
    assert delete_runs_before(instance, datetime.now(UTC)) == 2
    assert instance.get_runs() == []


def test_a_folder_that_is_already_gone_stops_nothing(home: Path, instance: dg.DagsterInstance) -> None:
    old = run_once(instance)
    shutil.rmtree(home / "storage" / old)
    assert delete_runs_before(instance, datetime.now(UTC)) == 1


def test_what_an_asset_last_did_is_still_known_while_its_run_is_young(instance: dg.DagsterInstance) -> None:
    run_once(instance)
    limit = datetime.now(UTC)
    run_once(instance)
    delete_runs_before(instance, limit)
    assert instance.get_latest_materialization_event(dg.AssetKey("something")) is not None


def test_the_job_runs_every_night_and_keeps_what_is_recent(instance: dg.DagsterInstance) -> None:
    young = run_once(instance)
    result = housekeeping.execute_in_process(instance=instance, run_config=QUIET)
    assert result.output_for_node("delete_old_runs") == 0
    assert instance.get_run_by_id(young) is not None
    assert timedelta(days=30) < KEEP
    assert housekeeping_schedule.cron_schedule == "15 3 * * *"
    assert housekeeping_schedule.default_status == dg.DefaultScheduleStatus.RUNNING
