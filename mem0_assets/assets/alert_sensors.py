"""Alerts of what Dagster itself knows: failed runs, and checks that failed without a more telling incident.

Plain sensors whose cursor holds what is failing. (`run_failure_sensor` moves its cursor even when the message could not
be sent, so an alert is lost to one time-out; and it never sees a check that fails without failing its run.)
"""

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

import dagster as dg

from mem0_assets.alerts.rules import Finding
from mem0_assets.alerts.watch import observe
from mem0_assets.assets.checks import BACKUP_CHECKS, COUNT_CHECKS
from mem0_assets.assets.failures import INCIDENT
from mem0_assets.fleet import Fleet

INTERVAL = 9
RUNS_AT_ONCE = 100
FINISHED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE]

# Whoever fails these is told of by the census, the backups' or the drills' own incidents, with the reasons.
TOLD_ELSEWHERE = (
    {("postgres_backup", name) for name in BACKUP_CHECKS}
    | {("memory_counts", name) for name in COUNT_CHECKS}
    | {("validated_dump", "read_back"), ("restore_drill", "restored_exactly")}
)


def build_run_sensor(fleet: Fleet) -> dg.SensorDefinition:
    """The sensor `run_alerts`: a job whose newest finished run failed is an incident until one succeeds."""

    @dg.sensor(
        name="run_alerts",
        minimum_interval_seconds=INTERVAL,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Alarms on failed runs that no other incident explains.",
    )
    def run_alerts(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        now = datetime.now(UTC).timestamp()
        state = json.loads(context.cursor) if context.cursor else {"after": now, "failed": {}}
        after = datetime.fromtimestamp(state["after"], UTC)
        filters = dg.RunsFilter(statuses=FINISHED, updated_after=after)
        records = context.instance.get_run_records(
            filters, limit=RUNS_AT_ONCE, order_by="update_timestamp", ascending=True
        )
        failed: dict[str, dict[str, str]] = state["failed"]
        for record in records:
            _note(context.instance, fleet, record.dagster_run, failed)
            state["after"] = max(state["after"], record.update_timestamp.timestamp())
        for name, deployment in fleet.deployments.items():
            findings = [_run_finding(name, job, run) for job, run in failed.items() if run["deployment"] == name]
            observe(fleet, deployment, {"runs": findings})
        return dg.SensorResult(cursor=json.dumps(state), skip_reason=dg.SkipReason(f"{len(failed)} jobs failed last."))

    return run_alerts


def build_check_sensor(fleet: Fleet, checks: Sequence[dg.AssetCheckKey]) -> dg.SensorDefinition:
    """The sensor `check_alerts`: a failing check is an incident until it passes, unless another incident tells of it."""

    @dg.sensor(
        name="check_alerts",
        minimum_interval_seconds=INTERVAL,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Alarms on asset checks that fail: warnings, and checks that no other incident covers.",
    )
    def check_alerts(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        failing: dict[str, dict[str, str]] = json.loads(context.cursor) if context.cursor else {}
        # Not public API: the one batched query over all checks; test_alert_sensors watches it.
        latest = context.instance.event_log_storage.get_latest_asset_check_execution_by_key(list(checks))
        for key in checks:
            if key in latest:
                _note_check(key, latest[key], failing)
        for name, deployment in fleet.deployments.items():
            findings = [_check_finding(name, what) for what in failing.values() if what["deployment"] == name]
            observe(fleet, deployment, {"checks": findings})
        return dg.SensorResult(cursor=json.dumps(failing), skip_reason=dg.SkipReason(f"{len(failing)} checks fail."))

    return check_alerts


def _note(instance: dg.DagsterInstance, fleet: Fleet, run: dg.DagsterRun, failed: dict[str, dict[str, str]]) -> None:
    deployment = run.tags.get("deployment") or _deployment_of_assets(run)
    if deployment not in fleet.deployments:
        return
    job = f"{deployment} {run.job_name}"
    if run.status == dg.DagsterRunStatus.SUCCESS or _told_elsewhere(instance, run.run_id):
        failed.pop(job, None)
    else:
        failed[job] = {
            "deployment": deployment,
            "job": run.job_name,
            "run": run.run_id,
            "why": _why(instance, run.run_id),
        }


def _deployment_of_assets(run: dg.DagsterRun) -> str:
    selection = sorted(key.path[0] for key in run.asset_selection or ())
    return selection[0] if selection else ""


def _told_elsewhere(instance: dg.DagsterInstance, run_id: str) -> bool:
    """Whether every step that failed did so for something that an incident of its own tells of."""
    refusals = [e for e in _events(instance, run_id, dg.DagsterEventType.ASSET_CHECK_EVALUATION) if _covered(e)]
    failures = list(_events(instance, run_id, dg.DagsterEventType.STEP_FAILURE))
    if not failures:
        return False
    told = [e for e in failures if _named_incident(e)]
    return len(told) == len(failures) or bool(refusals)


def _covered(event: dg.DagsterEvent) -> bool:
    data = event.asset_check_evaluation_data
    return not data.passed and (data.asset_key.path[-1], data.check_name) in TOLD_ELSEWHERE


def _named_incident(event: dg.DagsterEvent) -> bool:
    data = event.step_failure_data.user_failure_data
    return data is not None and INCIDENT in data.metadata


def _why(instance: dg.DagsterInstance, run_id: str) -> str:
    for event in _events(instance, run_id, dg.DagsterEventType.STEP_FAILURE):
        data = event.step_failure_data
        if data.user_failure_data and data.user_failure_data.description:
            return data.user_failure_data.description
        if data.error:
            cause = data.error.cause or data.error
            return cause.message.strip().splitlines()[0]
    for event in _events(instance, run_id, dg.DagsterEventType.RUN_FAILURE):
        return event.message or "no step said why"
    return "no step said why"


def _events(instance: dg.DagsterInstance, run_id: str, kind: dg.DagsterEventType) -> Iterable[dg.DagsterEvent]:
    return (e.dagster_event for e in instance.all_logs(run_id, of_type=kind) if e.dagster_event is not None)


def _run_finding(deployment: str, job: str, run: dict[str, str]) -> Finding:
    what = f"The run {run['run'][:8]} of {run['job']} failed: {run['why']}"
    return Finding(
        job, "run_failed", "warning", what, f"mem0-assets doctor  # then the run {run['run'][:8]} in Dagster"
    )


def _note_check(key: dg.AssetCheckKey, record: object, failing: dict[str, dict[str, str]]) -> None:
    status = record.status.value  # type: ignore[attr-defined]
    name = key.to_user_string()
    if status == "SUCCEEDED":
        failing.pop(name, None)
    if status != "FAILED":
        return
    data = record.event.dagster_event.asset_check_evaluation_data  # type: ignore[attr-defined]
    error = data.severity == dg.AssetCheckSeverity.ERROR
    if error and (key.asset_key.path[-1], key.name) in TOLD_ELSEWHERE:
        failing.pop(name, None)
        return
    failing[name] = {
        "deployment": key.asset_key.path[0],
        "check": name,
        "severity": "critical" if error else "warning",
        "why": data.description or "it gives no reason",
    }


def _check_finding(deployment: str, failing: dict[str, str]) -> Finding:
    what = f"The check {failing['check']} fails: {failing['why']}"
    severity = "critical" if failing["severity"] == "critical" else "warning"
    return Finding(failing["check"], "check_failed", severity, what, f"mem0-assets backups {deployment}")
