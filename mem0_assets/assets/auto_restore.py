"""`auto_restore` in Dagster: a restore into an empty database by one press; with `always`, a sensor that presses it."""

import json
from dataclasses import asdict

import dagster as dg

from mem0_assets.assets.failures import failure, plain_failures
from mem0_assets.assets.groups import recovery_group
from mem0_assets.fleet import Deployment, Fleet
from mem0_assets.recovery.auto_restore import Watch
from mem0_assets.recovery.unattended import restore_into_empty, watch_for_emptiness

INTERVAL = 9  # The daemon's loop is 5 s: a tick every 10.


def build_auto_restore(fleet: Fleet, deployment: Deployment, owners: list[str]) -> dg.Definitions:
    """The asset and the job that a person may press, and with `always` the sensor; nothing where fleet.yaml says `never`."""
    if deployment.auto_restore == "never":
        return dg.Definitions()
    key = dg.AssetKey([deployment.name, "restored_when_empty"])

    @dg.asset(
        key=key,
        deps=[[deployment.name, "validated_dump"]],
        group_name=recovery_group(deployment),
        description="The newest verified backup, put into a database that was found empty. It refuses where a single "
        "memory is there, or somebody is at work: so it needs no config, and may be pressed at once.",
        kinds={"postgres"},
        owners=owners,
        pool=f"{deployment.name}_database",
    )
    def restored_when_empty(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
        with plain_failures(incident=None):
            report = restore_into_empty(fleet, deployment, tell=context.log.info)
        if not report.ok:
            raise failure(f"{report.backup} was not restored: {report.why or report.verdict.sentence()}", None)
        return dg.MaterializeResult(
            metadata={
                "backup": dg.MetadataValue.text(report.backup),
                "dagster/row_count": dg.MetadataValue.int(report.total or 0),
                "report": dg.MetadataValue.json(report.as_json()),
            }
        )

    job = dg.define_asset_job(
        f"{deployment.name}_auto_restore",
        selection=dg.AssetSelection.assets(key),
        tags={"deployment": deployment.name},
        description="Restore the newest verified backup into the database, if it is empty. One press, without any config.",
    )

    sensors = [_build_sensor(deployment)] if deployment.auto_restore == "always" else []
    return dg.Definitions(assets=[restored_when_empty], jobs=[job], sensors=sensors)


def _build_sensor(deployment: Deployment) -> dg.SensorDefinition:
    @dg.sensor(
        name=f"{deployment.name}_auto_restore",
        job_name=f"{deployment.name}_auto_restore",
        minimum_interval_seconds=INTERVAL,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Starts a restore once the database has been empty and untouched for a minute, once for each loss.",
    )
    def watch(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        before = Watch.from_json(json.loads(context.cursor)) if context.cursor else Watch()
        after, decision, loss = watch_for_emptiness(deployment, before)
        cursor = json.dumps(asdict(after))
        if not decision.begin:
            return dg.SensorResult(cursor=cursor, skip_reason=dg.SkipReason(f"Not restored: {decision.why}."))
        # The run's key is the loss: where the cursor was lost, Dagster still starts no second one.
        return dg.SensorResult(cursor=cursor, run_requests=[dg.RunRequest(run_key=f"the loss of {loss}")])

    return watch
