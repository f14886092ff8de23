"""`mem0-assets gate` and `recover`: the gates of a disaster recovery, seen and opened, and its stages."""

import getpass
from typing import Annotated, Any

import typer

from mem0_assets.commands.context import (
    DeploymentName,
    alerting,
    exit_unless,
    fleet_and,
    say_reasons,
    speaker,
    the_deployment,
)
from mem0_assets.errors import ConfigurationError
from mem0_assets.fleet import Deployment, Fleet
from mem0_assets.recovery.approvals import GateClosedError, GateView, approve, command, revoke, view
from mem0_assets.recovery.gates import GATES, Gate
from mem0_assets.recovery.record import STAGES
from mem0_assets.recovery.rehearsal import rehearse
from mem0_assets.recovery.stages import StageReport, run_stage


def gate(
    deployment: DeploymentName,
    letter: Annotated[str, typer.Argument(metavar="A|B|C|D", help="Which gate.")],
    show: Annotated[bool, typer.Option("--show", help="Only show it (the default).")] = False,
    approve_it: Annotated[bool, typer.Option("--approve", help="Open it: you have read what it rests on.")] = False,
    revoke_it: Annotated[bool, typer.Option("--revoke", help="Take an approval back.")] = False,
    reason: Annotated[str, typer.Option(help="Why; kept with what was known.")] = "",
    by: Annotated[str, typer.Option(help="Who opens it (default: this user's name).")] = "",
    backup: Annotated[str | None, typer.Option(help="Gate A: what would be restored (default: the newest).")] = None,
) -> None:
    """A gate of a disaster recovery: what it rests on, and a person's word that opens it."""
    chosen = the_deployment(deployment)
    which = _gate(letter)
    if [show, approve_it, revoke_it].count(True) > 1:
        raise ConfigurationError("say one: --show, --approve, or --revoke")
    if backup is not None and which != "A":
        raise ConfigurationError("--backup is chosen at gate A; the other gates are of the recovery that it began")
    who = by or getpass.getuser()
    with speaker.working(f"looking at gate {which} of {chosen.name}"):
        if approve_it:
            seen = approve(chosen, which, by=who, reason=reason, backup=backup)
        elif revoke_it:
            seen = revoke(chosen, which, by=who, reason=reason)
        else:
            seen = view(chosen, which, backup)
    speaker.result({"deployment": chosen.name, **seen.as_json()})
    _show(seen)
    if not seen.state.open and not revoke_it:
        speaker.line(f"  open it: {command(chosen, which)}" if not seen.lacking else "  It cannot be opened yet.")
    exit_unless(seen.state.open or revoke_it)


def recover(
    deployment: DeploymentName,
    confirm: Annotated[str, typer.Option(help="The deployment's name, typed once more.")] = "",
    end_sessions: Annotated[bool, typer.Option("--end-sessions", help="End whoever holds the database.")] = False,
    by: Annotated[str, typer.Option(help="Who recovers (default: whoever opened the gate).")] = "",
    drill: Annotated[
        bool, typer.Option("--drill", help="Rehearse all of it on a scratch server, without gates.")
    ] = False,
) -> None:
    """Go on with a disaster recovery, as far as its gates are open. Say it again once the next one is."""
    fleet, chosen = fleet_and(deployment)
    if drill:
        _drill(fleet, chosen)
        return
    done: list[StageReport] = []
    shut: GateClosedError | None = None
    with alerting(fleet, chosen), speaker.working(f"recovering {chosen.name}") as (_, tell):
        for stage in STAGES:
            try:
                report = run_stage(fleet, chosen, stage, by=by, confirm=confirm, end_sessions=end_sessions, tell=tell)
            except GateClosedError as error:
                shut = error
                break
            done.append(report)
    reasons = [{"code": shut.code, "message": shut.message}] if shut else []
    speaker.result(
        {
            "deployment": chosen.name,
            "stages": [report.as_json() for report in done],
            "over": shut is None,
            "reasons": reasons,
            "next_step": shut.next_step if shut else "",
        }
    )
    for report in done:
        speaker.verdict(True, f"{report.stage}: {'done before' if report.already else 'done'}")
    say_reasons(reasons)
    speaker.line(f"  {shut.next_step}" if shut else "The recovery is over; its report is in the journal.")
    exit_unless(shut is None)


def _drill(fleet: Fleet, chosen: Deployment) -> None:
    with alerting(fleet, chosen), speaker.working(f"rehearsing a recovery of {chosen.name}") as (_, tell):
        result = rehearse(chosen, tell=tell)
    speaker.result(result.as_json())
    what = "was planned, restored, compared and undone" if result.verdict.ok else "would not have been recovered"
    speaker.verdict(result.verdict.ok, f"{result.backup} {what}")
    say_reasons(result.verdict.as_json()["reasons"])
    speaker.table("seconds", list(result.seconds), [list(result.seconds.values())])
    exit_unless(result.verdict.ok)


def _gate(letter: str) -> Gate:
    gates: dict[str, Gate] = {name: name for name in GATES}
    if letter.upper() not in gates:
        raise ConfigurationError(f"a gate is one of {', '.join(gates)}, not {letter!r}")
    return gates[letter.upper()]


def _show(seen: GateView) -> None:
    state, (title, opens) = seen.state, GATES[seen.state.gate]
    speaker.table(
        f"Gate {state.gate}, {title}: opened, {opens}", ["what", "is", "known"], [_row(one) for one in seen.evidence]
    )
    said: Any = state.approval
    if state.open and said and state.expires:
        until = f"until {state.expires.isoformat(timespec='minutes')}"
        speaker.verdict(True, f"open {until}: approved by {said.by} for {seen.backup}: {said.reason}")
    else:
        speaker.verdict(False, f"closed: {'; '.join(state.why)}")
    for line in seen.evidence:
        if not line.ok and line.fix:
            speaker.line(f"  {line.name}: {line.fix}", "yellow")


def _row(line: Any) -> list[object]:
    word = "ok" if line.ok else ("LACKING" if line.needed else "not ok")
    return [line.name, word, line.detail]
