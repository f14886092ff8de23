"""Alerts of what Dagster itself knows: steps and runs that failed, and checks that no more telling incident covers.

Plain sensors whose cursor holds what is failing. (`run_failure_sensor` moves its cursor even when the message could not
be sent, so an alert is lost to one time-out; and it never sees a check that fails without failing its run.)
"""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from mem0_assets.alerts.rules import Finding, Severity
from mem0_assets.alerts.watch import observe
from mem0_assets.assets.checks import BACKUP_CHECKS, COUNT_CHECKS
from mem0_assets.assets.configuration_checks import CONFIGURATION_CHECKS
from mem0_assets.assets.failures import INCIDENT
from mem0_assets.assets.health_checks import HEALTH_CHECKS
from mem0_assets.backups.content_rules import CONTENT_CHECKS
from mem0_assets.fleet import Fleet

INTERVAL = 9
RUNS_AT_ONCE = 100
# Runs are read again for so long: one may be stored a moment after another that ended later. Noting twice is harmless.
OVERLAP_SECONDS = 10.0
NO_REASON = "nothing says why"
FINISHED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE]
TELLING = {
    dg.DagsterEventType.STEP_FAILURE,
    dg.DagsterEventType.STEP_SUCCESS,
    dg.DagsterEventType.ASSET_CHECK_EVALUATION,
    dg.DagsterEventType.RUN_FAILURE,
}

# Whoever fails these is told of by the census, the health's, the backups' or the drills' own incidents, with reasons.
TOLD_ELSEWHERE = (
    {("postgres_backup", name) for name in BACKUP_CHECKS.keys() | CONTENT_CHECKS.keys()}
    | {("memory_counts", name) for name in COUNT_CHECKS}
    | {("memories", name) for name, _ in HEALTH_CHECKS.values()}
    | {("configuration", name) for name in CONFIGURATION_CHECKS}
    | {("validated_dump", "read_back"), ("restore_drill", "restored_exactly")}
)

Failed = dict[str, dict[str, str]]


def build_run_sensor(fleet: Fleet, steps: Mapping[str, str]) -> dg.SensorDefinition:
    """The sensor `run_alerts`: a step that failed is an incident until it succeeds, in whichever run.

    By step, not by job: what is materialized in the UI is all one job, and another asset's success there mends nothing.
    `steps` maps each step to its deployment.
    """

    @dg.sensor(
        name="run_alerts",
        minimum_interval_seconds=INTERVAL,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Alarms on failed runs that no other incident explains.",
    )
    def run_alerts(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        now = datetime.now(UTC).timestamp()
        state: dict[str, Any] = json.loads(context.cursor) if context.cursor else {"after": now, "failed": {}}
        after = min(state["after"], now) - OVERLAP_SECONDS  # min: the clock may have been set back
        filters = dg.RunsFilter(statuses=FINISHED, updated_after=datetime.fromtimestamp(after, UTC))
        records = context.instance.get_run_records(
            filters, limit=RUNS_AT_ONCE, order_by="update_timestamp", ascending=True
        )
        failed: Failed = state["failed"]
        for record in records:
            _note_run(context.instance, record.dagster_run, steps, failed)
            state["after"] = record.update_timestamp.timestamp()
        for name, deployment in fleet.deployments.items():
            findings = [_run_finding(what, one) for what, one in failed.items() if one["deployment"] == name]
            observe(fleet, deployment, {"runs": findings})
        return dg.SensorResult(cursor=json.dumps(state), skip_reason=dg.SkipReason(f"{len(failed)} things failed."))

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
        failing: Failed = json.loads(context.cursor) if context.cursor else {}
        # Not public API: the one batched query over all checks; test_fleet_definitions watches it.
        latest = context.instance.event_log_storage.get_latest_asset_check_execution_by_key(list(checks))
        for key in checks:
            if key in latest:
                _note_check(key, latest[key], failing)
        for name, deployment in fleet.deployments.items():
            findings = [_check_finding(name, what) for what in failing.values() if what["deployment"] == name]
            observe(fleet, deployment, {"checks": findings})
        return dg.SensorResult(cursor=json.dumps(failing), skip_reason=dg.SkipReason(f"{len(failing)} checks fail."))

    return check_alerts


def _note_run(instance: dg.DagsterInstance, run: dg.DagsterRun, steps: Mapping[str, str], failed: Failed) -> None:
    """What this run failed and mended: each of its steps, or the run itself where it failed outside of them."""
    logs = instance.all_logs(run.run_id, of_type=TELLING)
    events = [entry.dagster_event for entry in logs if entry.dagster_event is not None]
    ended = [event for event in events if event.is_step_failure or event.is_step_success]
    told = {event.step_key for event in events if _told_elsewhere(event)}
    for event in ended:
        step = event.step_key or ""
        failed.pop(step, None)
        if event.is_step_failure and step in steps and step not in told:
            failed[step] = _failure(run, steps[step], f" at {step.replace('__', '/')}", _why(event))
    deployment = run.tags.get("deployment") or _deployment_of_selection(run)
    whole = f"{deployment} {run.job_name}"
    failed.pop(whole, None)
    if run.status == dg.DagsterRunStatus.FAILURE and not any(event.is_step_failure for event in ended):
        why = next((event.message for event in events if event.is_run_failure and event.message), NO_REASON)
        failed[whole] = _failure(run, deployment, "", why)


def _failure(run: dg.DagsterRun, deployment: str, at: str, why: str) -> dict[str, str]:
    return {"deployment": deployment, "run": run.run_id[:8], "job": run.job_name, "at": at, "why": why}


def _deployment_of_selection(run: dg.DagsterRun) -> str:
    checked = {key.asset_key for key in run.asset_check_selection or ()}
    return min((key.path[0] for key in checked | set(run.asset_selection or ())), default="")


def _told_elsewhere(event: dg.DagsterEvent) -> bool:
    """Whether an incident of its own tells of what failed here: a refusal's checks, or a failure that names it."""
    if event.is_step_failure:
        data = event.step_failure_data.user_failure_data
        return data is not None and INCIDENT in data.metadata
    if event.event_type != dg.DagsterEventType.ASSET_CHECK_EVALUATION:
        return False
    check = event.asset_check_evaluation_data
    refused = not check.passed and check.severity == dg.AssetCheckSeverity.ERROR
    return refused and (check.asset_key.path[-1], check.check_name) in TOLD_ELSEWHERE


def _why(event: dg.DagsterEvent) -> str:
    data = event.step_failure_data
    if data.user_failure_data and data.user_failure_data.description:
        return data.user_failure_data.description
    if data.error:
        cause = data.error.cause or data.error
        return cause.message.strip().splitlines()[0]
    return event.message or NO_REASON


def _run_finding(what: str, failure: dict[str, str]) -> Finding:
    run, job, at, why = (failure[name] for name in ("run", "job", "at", "why"))
    command = f"mem0-assets doctor  # then the run {run} in Dagster"
    return Finding(what, "run_failed", "warning", f"The run {run} of {job} failed{at}: {why}", command)


def _note_check(key: dg.AssetCheckKey, record: object, failing: Failed) -> None:
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
    severity: Severity = "critical" if failing["severity"] == "critical" else "warning"
    return Finding(failing["check"], "check_failed", severity, what, f"mem0-assets backups {deployment}")
