"""Running a fleet's jobs as Dagster runs from the command line: what the demo does before it serves the UI."""

from pathlib import Path

import dagster as dg

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


def run_jobs(definitions: dg.Definitions, home: Path, jobs: list[str]) -> dict[str, bool]:
    """Run these jobs one after the other in the instance of `home`; each job's name, and whether it succeeded."""
    with dg.DagsterInstance.from_config(str(home)) as instance:
        return {
            job: definitions.resolve_job_def(job)
            .execute_in_process(instance=instance, run_config=QUIET, raise_on_error=False)
            .success
            for job in jobs
        }
