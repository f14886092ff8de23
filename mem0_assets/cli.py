"""The `mem0-assets` command: reads the words, calls the domain, says the result. What it means is in CONTRACT terms:

exit status 0: done, and the verdict is ok; 1: a refusal or a failed check; 2: wrong usage or configuration; 3: something
could not be reached, and nothing is known.
"""

import getpass
import logging
import signal
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from mem0_assets import __version__
from mem0_assets.alerts.incidents import Incident, IncidentBook
from mem0_assets.alerts.messages import spoken, test_text
from mem0_assets.alerts.rules import SEVERITIES, Severity
from mem0_assets.alerts.telegram import Telegram
from mem0_assets.alerts.watch import channel_of, last_proof, look
from mem0_assets.backups.backup import BY_HAND, accept_backup, accept_history, accept_identity, make_backup
from mem0_assets.backups.catalog import Catalog
from mem0_assets.backups.inventory import Backup
from mem0_assets.backups.legacy import examine_legacy
from mem0_assets.backups.retention import prune as prune_backups
from mem0_assets.backups.validation import verify as verify_path
from mem0_assets.commands.configuration import accept_drift, configuration
from mem0_assets.commands.context import (
    DeploymentName,
    alerting,
    exit_unless,
    fleet_and,
    fleet_option,
    say_reasons,
    speaker,
    the_deployment,
)
from mem0_assets.commands.import_rows import import_rows
from mem0_assets.commands.recovery import gate, recover
from mem0_assets.commands.recreation import postflight, preflight
from mem0_assets.commands.restore import restore
from mem0_assets.commands.rows import diff, export
from mem0_assets.console import in_mib
from mem0_assets.demo.deployment import COUNTED, HOWS, NAME, SEEN, SHOWN_BY, Demo, How
from mem0_assets.doctor import examine
from mem0_assets.errors import ConfigurationError, Mem0AssetsError
from mem0_assets.fleet import TIERS, Deployment, Fleet, Tier, fleet_path, load_fleet
from mem0_assets.init import write_fleet
from mem0_assets.live.census import take_census
from mem0_assets.restores.drill import drill as drill_backup
from mem0_assets.restores.status import restore_status
from mem0_assets.timetable import next_fire

app = typer.Typer(
    name="mem0-assets",
    help="Keeps self-hosted mem0 deployments from losing memories.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
alert_app = typer.Typer(help="Alerts.", no_args_is_help=True)
demo_app = typer.Typer(help="A guarded deployment to try things on.", invoke_without_command=True)
app.add_typer(alert_app, name="alert")
app.add_typer(demo_app, name="demo")
app.command()(gate)
app.command()(restore)
app.command()(configuration)
app.command()(preflight)
app.command()(postflight)
app.command()(recover)


@app.callback()
def _options(
    fleet: Annotated[Path | None, typer.Option(help="fleet.yaml (default: $MEM0_FLEET, else ./fleet.yaml).")] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout. May stand anywhere.")] = False,
) -> None:
    fleet_option[:] = [fleet] if fleet else []


@app.command()
def counts(deployment: DeploymentName) -> None:
    """How many memories each namespace holds now, and in which database."""
    chosen = the_deployment(deployment)
    census = take_census(chosen.postgres)
    speaker.result({"deployment": chosen.name, **census.as_json()})
    speaker.table(f"{chosen.name}: memories", ["namespace", "memories"], census.namespaces.items())
    speaker.line(f"{census.total:,} memories in all, taken at {census.taken_at.isoformat()}", "bold")
    identity = [(name, None if value is None else str(value)) for name, value in census.identity.as_json().items()]
    speaker.table("identity", ["what", "value"], identity)


@app.command()
def backup(
    deployment: DeploymentName,
    tier: Annotated[str, typer.Option(help="hourly, daily, weekly or monthly.")] = BY_HAND,
) -> None:
    """Make a backup, prove it, and publish it; or refuse it, and say why."""
    fleet, chosen = fleet_and(deployment)
    newest = Catalog(chosen).newest_verified()
    expected = newest.manifest.plain_bytes if newest and newest.manifest else None
    with (
        alerting(fleet, chosen),
        speaker.working(f"backing up {chosen.name}", expected_bytes=expected) as (count, tell),
    ):
        outcome = make_backup(chosen, [_tier(tier)], progress=count, tell=tell)
    speaker.result(outcome.as_json())
    made = outcome.backup
    memories = "an unknown number of" if made.total is None else f"{made.total:,}"
    speaker.verdict(outcome.verdict.ok, f"{made.backup} is {made.state}: {memories} memories, {in_mib(made.bytes)}")
    speaker.line(f"  {made.path}")
    say_reasons(outcome.verdict.as_json()["reasons"])
    if outcome.may_be_meant:
        speaker.line(
            f'  only if somebody meant it: mem0-assets accept {chosen.name} --backup {made.backup} --reason "..."'
        )
    for caution in outcome.cautions:
        speaker.line(f"  note: {caution}", "yellow")
    exit_unless(outcome.verdict.ok)


@app.command()
def backups(deployment: DeploymentName) -> None:
    """Every backup of a deployment, the newest first."""
    chosen = the_deployment(deployment)
    catalog = Catalog(chosen)
    if catalog.root.exists():
        with catalog.locked(), speaker.working("reading") as (_, tell):
            examine_legacy(catalog, tell)
    found = catalog.backups()
    speaker.result({"backups": [one.as_json() for one in found]})
    columns = ["backup", "state", "memories", "size", "drilled", "tiers"]
    speaker.table(f"{chosen.name}: backups in {catalog.root}", columns, [_row(one) for one in found])
    for one in found:
        if one.reasons:
            speaker.line(f"{one.backup} was refused: {', '.join(dict.fromkeys(r.code for r in one.reasons))}", "red")


@app.command()
def verify(path: Annotated[Path, typer.Argument(help="A backup's folder, or any dump file, ours or not.")]) -> None:
    """Read a backup or a dump whole, without a server, and say what it holds and whether it may be believed."""
    with speaker.working(f"reading {path.name}"):
        examined = verify_path(path)
    contents = examined.contents
    speaker.result(examined.as_json())
    speaker.verdict(examined.verdict.ok, f"{path}: {examined.verdict.word}, {contents.total:,} memories")
    say_reasons(examined.verdict.as_json()["reasons"])
    speaker.table("namespaces", ["namespace", "memories"], contents.namespaces.items())
    speaker.table("tables", ["table", "rows"], contents.tables.items())
    exit_unless(examined.verdict.ok)


@app.command()
def accept(
    deployment: DeploymentName,
    reason: Annotated[str, typer.Option(help="Why it is meant; kept in the catalog.")],
    backup: Annotated[str | None, typer.Option(help="The quarantined backup that is meant.")] = None,
    identity: Annotated[bool, typer.Option("--identity", help="The live database is meant to be this one.")] = False,
    history: Annotated[bool, typer.Option("--history", help="What mem0's history misses is meant to be gone.")] = False,
    configuration: Annotated[bool, typer.Option("--configuration", help="It is meant as it is now.")] = False,
) -> None:
    """Your word that a quarantined backup, a changed identity, a loss that the history shows, or drift, is meant."""
    fleet, chosen = fleet_and(deployment)
    if [backup is not None, identity, history, configuration].count(True) != 1:
        raise ConfigurationError("say which: --backup ID, --identity, --history, or --configuration")
    catalog, by = Catalog(chosen), getpass.getuser()
    if backup is not None:
        accepted: Any = accept_backup(catalog, backup, by=by, reason=reason).backup
    elif history:
        accepted = {"lost": accept_history(catalog, by=by, reason=reason)}
    elif configuration:
        accepted = accept_drift(fleet, chosen, by=by, reason=reason)
    else:
        accepted = accept_identity(catalog, by=by, reason=reason).as_json()
    speaker.result({"accepted": accepted, "by": by, "reason": reason})
    words = accepted if backup is not None else ", ".join(f"{name} {value}" for name, value in accepted.items())
    speaker.verdict(True, f"accepted by {by}: {words}")
    if history:
        speaker.line(f"  A failed drill's alert ends with the next one: mem0-assets drill {chosen.name}")


@app.command()
def drill(
    deployment: DeploymentName,
    backup: Annotated[str, typer.Option(help="Its id (default: the newest verified).")] = "latest",
) -> None:
    """Restore a backup for real into a scratch server, compare it exactly, and throw the server away."""
    fleet, chosen = fleet_and(deployment)
    with alerting(fleet, chosen), speaker.working(f"drilling {chosen.name}") as (_, tell):
        result = drill_backup(chosen, backup, tell=tell)
    speaker.result(result.as_json())
    speaker.verdict(result.verdict.ok, result.sentence)
    say_reasons(result.verdict.as_json()["reasons"])
    for caution in result.cautions:
        speaker.line(f"  note: {caution}", "yellow")
    speaker.table("seconds", list(result.seconds), [list(result.seconds.values())])
    exit_unless(result.verdict.ok)


@app.command()
def prune(
    deployment: DeploymentName,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be expired.")] = False,
) -> None:
    """Expire the verified backups beyond retention; never the newest, and nothing while the newest attempt is refused."""
    catalog = Catalog(the_deployment(deployment))
    with catalog.locked():
        examine_legacy(catalog)
        plan = prune_backups(catalog, dry_run=dry_run)
    speaker.result(plan.as_json())
    word = "would expire" if dry_run else "expired"
    rows = [(one.backup.backup, one.tier, "kept" if one.keep else word, one.why) for one in plan.decisions]
    speaker.table(f"{deployment}: retention", ["backup", "tier", "decision", "why"], rows)
    if plan.held:
        speaker.line(f"Nothing is deleted: {plan.held}", "yellow")


@app.command()
def status() -> None:
    """All deployments at a glance: live counts, newest proven backup and drill, what is wrong, what runs next."""
    fleet = load_fleet(*fleet_option)
    seen = {name: _status_of(fleet, deployment) for name, deployment in fleet.deployments.items()}
    speaker.result({"deployments": seen})
    rows = [_status_row(name, state) for name, state in seen.items()]
    columns = ["deployment", "memories", "backup", "drill", "incidents", "next backup"]
    speaker.table(f"fleet of {fleet.path}", columns, rows)
    for name, state in seen.items():
        for incident in state["incidents"]:
            speaker.line(f"{name}: {incident['severity']}: {incident['what']}", "red")
            speaker.line(f"  next: {incident['command']}")


@alert_app.command("test")
def alert_test(severity: Annotated[str, typer.Option(help="info, warning or critical.")] = "info") -> None:
    """Send one alert, to see that it arrives."""
    if severity not in SEVERITIES:
        raise ConfigurationError(f"--severity is one of {', '.join(SEVERITIES)}, not {severity!r}")
    chosen: Severity = SEVERITIES[SEVERITIES.index(severity)]
    channel = channel_of(load_fleet(*fleet_option))
    channel.send(test_text(chosen, datetime.now(UTC)))
    name = "telegram" if isinstance(channel, Telegram) else "log"
    speaker.result({"delivered": True, "channel": name})
    speaker.verdict(True, f"delivered to {name}")


@app.command()
def doctor() -> None:
    """Each thing that must be right, one line each, with what to do where it is not."""
    checks = []
    for check in examine(load_fleet(*fleet_option)):
        checks.append(check)
        speaker.verdict(check.ok, f"{check.name}: {check.detail}")
        if check.fix:
            speaker.line(f"    {check.fix}")
    speaker.result({"checks": [check.as_json() for check in checks]})
    exit_unless(all(check.ok for check in checks))


@app.command()
def init(
    source: Annotated[Path | None, typer.Option("--from", help="mem0's folder: docker-compose.yaml and .env.")] = None,
    name: Annotated[str, typer.Option(help="What to call the deployment.")] = "prd",
    force: Annotated[bool, typer.Option("--force", help="Replace a fleet.yaml that is there.")] = False,
) -> None:
    """Write a commented fleet.yaml, from mem0's own compose file and .env where --from names them."""
    written = write_fleet(fleet_path(*fleet_option), source=source, name=name, force=force)
    speaker.result({"path": str(written.path), "deployments": list(written.deployments), "notes": list(written.notes)})
    speaker.verdict(True, f"{written.path}: {', '.join(written.deployments)}")
    for note in written.notes:
        speaker.line(f"  note: {note}", "yellow")
    speaker.line("Next: mem0-assets doctor")


Folder = Annotated[Path, typer.Option("--dir", help="The demo's folder.")]


@demo_app.callback()
def demo(
    context: typer.Context,
    folder: Folder = Path("demo"),
    ui: Annotated[bool, typer.Option("--ui/--no-ui", help="Serve the Dagster UI afterwards.")] = True,
    port: Annotated[int, typer.Option(help="The UI's port.")] = 3000,
) -> None:
    """An embedded deployment with 1,968 memories, guarded: census, backup, validation, drill; then the Dagster UI."""
    if context.invoked_subcommand is None:
        from mem0_assets.demo.show import show_demo

        exit_unless(show_demo(Demo(folder.absolute()), speaker, ui=ui, port=port))


@demo_app.command("lose")
def demo_lose(
    how: Annotated[str, typer.Option(help=f"One of: {', '.join(HOWS)}.")],
    folder: Folder = Path("demo"),
) -> None:
    """Break the demo deployment, to see what happens."""
    if how not in HOWS:
        raise ConfigurationError(f"--how is one of {', '.join(HOWS)}, not {how!r}")
    chosen: How = HOWS[HOWS.index(how)]
    demo = Demo(folder.absolute())
    story = demo.lose(chosen)
    speaker.result({"deployment": NAME, "how": chosen, "what": story, "fleet": str(demo.fleet_file)})
    speaker.line(story, "bold")
    seen, commands = SHOWN_BY.get(chosen, (COUNTED, SEEN))
    speaker.line(seen)
    for command in commands:
        speaker.line(f"  mem0-assets --fleet {demo.fleet_file} {command}")


@app.command()
def version() -> None:
    """Which version this is."""
    speaker.result({"version": __version__})
    speaker.line(__version__)


app.command()(diff)
app.command()(export)
app.command("import")(import_rows)


def main() -> None:
    """The entry point: errors become one line, or one JSON object, and an exit status."""
    logging.basicConfig(format="%(message)s", level=logging.WARNING, stream=sys.stderr)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what is half done is cleaned up
    words = sys.argv[1:]
    speaker.as_json = "--json" in words
    try:
        app(args=[word for word in words if word != "--json"], prog_name="mem0-assets")
    except Mem0AssetsError as error:
        speaker.error(error)
        sys.exit(error.exit_status)


def _tier(word: str) -> Tier:
    if word not in TIERS:
        raise ConfigurationError(f"--tier is one of {', '.join(TIERS)}, not {word!r}")
    return TIERS[TIERS.index(word)]


def _row(one: Backup) -> list[object]:
    drilled = f"{spoken(datetime.now(UTC) - one.drilled_at)} ago" if one.drilled_at else None
    return [one.backup, one.state, one.total, in_mib(one.bytes), drilled, " ".join(one.tiers) or None]


def _status_of(fleet: Fleet, deployment: Deployment) -> dict[str, Any]:
    seen, catalog = look(fleet, deployment), Catalog(deployment)
    newest, proof = catalog.newest_verified(), last_proof(catalog)
    noted = IncidentBook(deployment.backups).open()
    since = {incident.key: incident.since for incident in noted}
    found = [finding for findings in seen.findings.values() for finding in findings if not finding.implied]
    return {
        "total": seen.census.total if seen.census else None,
        "problem": str(seen.problem) if seen.problem else None,
        "newest_verified": _aged(newest.backup, newest.created_at, seen.at) | {"total": newest.total}
        if newest
        else None,
        "newest_drill": _aged(proof[1], proof[0], seen.at) if proof else None,
        "incidents": [
            {
                "kind": finding.kind,
                "severity": finding.severity,
                "what": finding.what,
                "since": since.get(finding.key, seen.at).isoformat(),
                "command": finding.command,
            }
            for finding in found
        ]
        + [_noted(incident) for incident in noted if incident.announced and incident.scope not in seen.findings],
        "next_runs": _next_runs(deployment, seen.at),
        "restore": restore_status(deployment).standing,
    }


def _noted(incident: Incident) -> dict[str, Any]:
    """What a sensor has found that looks seldom (health, drift, runs): true as of its last look."""
    told = {name: getattr(incident, name) for name in ("kind", "severity", "what", "command")}
    return told | {"since": incident.since.isoformat()}


def _aged(backup: str, at: datetime, now: datetime) -> dict[str, Any]:
    age = max(0.0, round((now - at).total_seconds(), 1))
    return {"backup": backup, "at": at.isoformat(), "age_seconds": age}


def _next_runs(deployment: Deployment, now: datetime) -> dict[str, str]:
    schedule = deployment.schedule
    lines: dict[str, str] = dict(schedule.tiers.items())
    others = {"drill": schedule.drill, "recovery_drill": schedule.recovery_drill, "report": schedule.report}
    lines |= {name: line for name, line in others.items() if line}
    return {name: next_fire(line, schedule.zone, now).isoformat() for name, line in lines.items()}


def _status_row(name: str, state: dict[str, Any]) -> list[object]:
    total = "unknown" if state["total"] is None else f"{state['total']:,}"
    backups = [run for tier, run in state["next_runs"].items() if tier in TIERS]
    ages = [_age(state["newest_verified"]), _age(state["newest_drill"])]
    until = min(map(datetime.fromisoformat, backups)) - datetime.now(UTC) if backups else None
    return [name, total, *ages, len(state["incidents"]), f"in {spoken(until)}" if until else None]


def _age(newest: dict[str, Any] | None) -> str | None:
    return f"{spoken(timedelta(seconds=newest['age_seconds']))} ago" if newest else None


if __name__ == "__main__":
    main()
