"""`mem0-assets gate`: the gates of a disaster recovery, seen and opened."""

import getpass
from typing import Annotated, Any

import typer

from mem0_assets.commands.context import DeploymentName, exit_unless, speaker, the_deployment
from mem0_assets.errors import ConfigurationError
from mem0_assets.recovery.approvals import GateView, approve, command, revoke, view
from mem0_assets.recovery.gates import GATES, Gate


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
