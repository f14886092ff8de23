"""Jobs run from the command line are real runs: they are in the instance's history, and say whether they succeeded."""

import shutil
from pathlib import Path

import dagster as dg

from mem0_assets.assets.execution import run_jobs
from mem0_assets_tests.assets.conftest import CALM, OpenProject
from mem0_assets_tests.conftest import MakeDeployment

ROOT = Path(__file__).parents[2]


def test_each_job_runs_in_its_turn_and_a_failed_one_does_not_stop_the_next(
    make_deployment: MakeDeployment, open_project: OpenProject, tmp_path: Path
) -> None:
    shutil.copy(ROOT / "dagster.yaml", tmp_path)
    definitions = open_project(make_deployment(limits=CALM)).definitions
    jobs = ["prd_drill", "prd_backup", "prd_census"]  # there is no backup yet to drill
    assert run_jobs(definitions, tmp_path, jobs) == {"prd_drill": False, "prd_backup": True, "prd_census": True}
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        assert {run.job_name: run.is_success for run in instance.get_runs()} == {
            "prd_drill": False,
            "prd_backup": True,
            "prd_census": True,
        }
