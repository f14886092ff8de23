"""When things run: four schedules per deployment, in its own time zone, all on by default.

The tiers are one schedule with several cron lines, not four: where they fall on the same minute one backup serves them
all. Which tiers a run serves is computed from what is on disk, so a machine that slept through Sunday 02:30, or a night
that was refused, is caught up by the next run.
"""

from collections.abc import Sequence

import dagster as dg

from mem0_assets.alerts.watch import deliver, report, tell
from mem0_assets.fleet import Deployment, Fleet

RUNNING = dg.DefaultScheduleStatus.RUNNING


def build_schedules(fleet: Fleet, deployment: Deployment) -> Sequence[dg.ScheduleDefinition]:
    """The schedules of one deployment; one that fleet.yaml turns off (null) is not there."""
    lines = deployment.schedule
    schedules = []
    if lines.tiers:
        schedules.append(
            dg.ScheduleDefinition(
                name=f"{deployment.name}_backup",
                job_name=f"{deployment.name}_backup",
                cron_schedule=list(dict.fromkeys(lines.tiers.values())),
                execution_timezone=lines.timezone,
                default_status=RUNNING,
                tags={"deployment": deployment.name},
                description="Backups: " + "; ".join(f"{tier} {line}" for tier, line in lines.tiers.items()),
            )
        )
    drills = {
        "drill": (lines.drill, "Restore the newest verified backup for real."),
        "recovery_drill": (lines.recovery_drill, "Rehearse a whole recovery on a scratch server."),
    }
    schedules += [
        dg.ScheduleDefinition(
            name=f"{deployment.name}_{what}",
            job_name=f"{deployment.name}_{what}",
            cron_schedule=line,
            execution_timezone=lines.timezone,
            default_status=RUNNING,
            tags={"deployment": deployment.name},
            description=description,
        )
        for what, (line, description) in drills.items()
        if line
    ]
    return [*schedules, *([_report(fleet, deployment, lines.report)] if lines.report else [])]


def _report(fleet: Fleet, deployment: Deployment, line: str) -> dg.ScheduleDefinition:
    """The daily report is sent by the schedule itself: a run takes seconds and a place in the queue for one message."""

    def send(context: dg.ScheduleEvaluationContext) -> dg.SkipReason:
        when = context.scheduled_execution_time
        tell(fleet, report(fleet, [deployment]), key=f"{deployment.name}/report/{when.date()}")
        sent = deliver(fleet)
        return dg.SkipReason(f"The report is sent by this tick, not by a run. Waiting for delivery: {sent.left}.")

    return dg.ScheduleDefinition(
        name=f"{deployment.name}_report",
        job_name=f"{deployment.name}_census",
        cron_schedule=line,
        execution_timezone=deployment.schedule.timezone,
        default_status=RUNNING,
        execution_fn=send,
        description="Send the daily report: counts per namespace, and the age of the newest proven backup.",
    )
