"""`mem0-assets restore`: the plan first, always; then, on a person's word, the restore itself."""

from datetime import timedelta
from typing import Annotated

import typer

from mem0_assets.alerts.messages import spoken
from mem0_assets.commands.context import DeploymentName, exit_unless, fleet_and, say_reasons, speaker
from mem0_assets.console import in_mib
from mem0_assets.restores.plan import Plan, plan_restore


def restore(
    deployment: DeploymentName,
    backup: Annotated[str, typer.Option(help="Its id (default: the newest verified).")] = "latest",
    plan: Annotated[bool, typer.Option("--plan", help="Only say what would be done.")] = False,
) -> None:
    """Put a backup in the place of what is live: loaded beside, verified, swapped, and with a way back."""
    _, chosen = fleet_and(deployment)
    with speaker.working(f"looking at {chosen.name}"):
        planned = plan_restore(chosen, backup)
    speaker.result(planned.as_json())
    show_plan(planned)
    exit_unless(planned.against.ok)


def show_plan(plan: Plan) -> None:
    """The plan for people: what is gained and lost first, then what must stop, and what stands against it."""
    content, backup, live = plan.as_json(), plan.backup, plan.live
    columns = ["namespace", "live", "backup", "gained", "lost"]
    rows = [list(change.values()) for change in plan.changes]
    rows.append(["(all)", live.total, backup.total, content["gained"], content["lost"]])
    speaker.table(f"{plan.deployment}: what a restore of {backup.backup} would change", columns, rows)
    if live.problem:
        speaker.line(f"live now: {live.problem}", "red")
    newest = content["backup"]["newest_memory"] or f"not known; taken at {backup.created_at.isoformat()}"
    speaker.line(f"newest memory: live {content['live']['newest_memory'] or 'none'}; backup {newest}")
    speaker.line(f"dimensions: live {live.dimensions or 'unknown'}; backup {backup.dimensions or 'unknown'}")
    free = "not known from here" if plan.free_bytes is None else in_mib(plan.free_bytes)
    speaker.line(f"space: about {in_mib(plan.needed_bytes)} on the server's disk; free: {free}")
    took = None if plan.expected_seconds is None else spoken(timedelta(seconds=plan.expected_seconds))
    speaker.line(f"expected time: {took or 'not known (no drill yet)'}")
    if plan.containers:
        speaker.line(f"will be stopped meanwhile: {', '.join(plan.containers)}")
    for session in plan.sessions:
        speaker.line(f"connected to {session.database}: {session}", "yellow")
    for caution in plan.cautions:
        speaker.line(f"  note: {caution}", "yellow")
    say_reasons(content["reasons"])
    for step in plan.steps:
        speaker.line(f"  {step}", "red")
