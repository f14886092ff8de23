"""Keeping Dagster's own records small: it never deletes a run, and a year of hourly backups is 9,000 of them.

Ticks are purged by dagster.yaml. Runs are deleted here, with what `delete_run` leaves behind: the folder of captured
logs and, on SQLite, the run's own database file.
"""

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg

KEEP = timedelta(days=60)
AT_ONCE = 500


@dg.op(description=f"Deletes runs that ended more than {KEEP.days} days ago, and their logs.")
def delete_old_runs(context: dg.OpExecutionContext) -> int:
    deleted = delete_runs_before(context.instance, datetime.now(UTC) - KEEP)
    context.log.info(f"{deleted} runs deleted")
    return deleted


@dg.job(description="Delete old runs and their logs, so that a year of them does not fill the disk.")
def housekeeping() -> None:
    delete_old_runs()


housekeeping_schedule = dg.ScheduleDefinition(
    job=housekeeping, cron_schedule="15 3 * * *", default_status=dg.DefaultScheduleStatus.RUNNING
)


def delete_runs_before(instance: dg.DagsterInstance, limit: datetime) -> int:
    """Delete the finished runs that were created before `limit`; how many they were."""
    finished = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]
    filters = dg.RunsFilter(statuses=finished, created_before=limit)
    records = instance.get_run_records(filters, limit=AT_ONCE, ascending=True)
    storage = Path(instance.storage_directory())
    for record in records:
        run_id = record.dagster_run.run_id
        instance.delete_run(run_id)
        shutil.rmtree(storage / run_id, ignore_errors=True)
        for leftover in storage.parent.glob(f"history/runs/{run_id}.db*"):
            leftover.unlink(missing_ok=True)
    return len(records)
