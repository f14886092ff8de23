"""`mem0-assets preflight` and `postflight`: before and after containers are recreated."""

import typer

from mem0_assets.commands.context import DeploymentName, alerting, exit_unless, fleet_and, speaker, the_deployment
from mem0_assets.console import Speaker
from mem0_assets.recreation.postflight import postflight as look_after
from mem0_assets.recreation.preflight import preflight as look_before
from mem0_assets.recreation.sight import Ground


def preflight(deployment: DeploymentName) -> None:
    """Before containers are recreated: back up, compare what runs with what would start, and say go or no-go."""
    fleet, chosen = fleet_and(deployment)
    with alerting(fleet, chosen), speaker.working(f"preflight of {chosen.name}") as (_, tell):
        result = look_before(chosen, tell)
    speaker.result(result.as_json())
    rows = [(one.container, one.target, one.place, one.holds or None) for one in result.sight.volumes]
    speaker.table("volumes", ["container", "path", "is in", "holds"], rows)
    compared = [(one["what"], one["runs"], one["next"], "" if one["same"] else "DIFFERS") for one in result.compared]
    speaker.table("what runs, and what would start", ["setting", "runs", "next", ""], compared)
    _say(speaker, result.reasons, result.notes)
    backup = f"backup {result.backup}" if result.backup else "no backup"
    speaker.verdict(result.go, f"GO: {backup}" if result.go else f"NO-GO: recreate nothing ({backup})")
    _exit(result.go, result.reached)


def postflight(deployment: DeploymentName) -> None:
    """After containers were recreated: is all that preflight saw still there, and found?"""
    chosen = the_deployment(deployment)
    with speaker.working(f"postflight of {chosen.name}"):
        result = look_after(chosen)
    speaker.result(result.as_json())
    _say(speaker, result.reasons, result.notes)
    speaker.verdict(result.ok, f"held against the preflight of {result.preflight_at}, backup {result.backup}")
    _exit(result.ok, result.reached)


def _say(speaker: Speaker, reasons: tuple[Ground, ...], notes: tuple[str, ...]) -> None:
    for note in notes:
        speaker.line(f"  note: {note}", "yellow")
    for reason in reasons:
        speaker.line(f"  {reason.code}: {reason.message}", "red")
        if reason.do:
            speaker.line(f"    {reason.do}")


def _exit(ok: bool, reached: bool) -> None:
    if not reached:
        raise typer.Exit(3)
    exit_unless(ok)
