"""`mem0-assets restore`: the plan first, always; then, on a person's word, the restore itself, and the way back from it."""

import getpass
import sys
from datetime import timedelta
from typing import Annotated

import typer

from mem0_assets.alerts.messages import spoken
from mem0_assets.commands.context import DeploymentName, alerting, exit_unless, fleet_and, say_reasons, speaker
from mem0_assets.commands.restore_rows import restore_rows, wish_of
from mem0_assets.console import in_mib
from mem0_assets.errors import ConfigurationError
from mem0_assets.fleet import Deployment, Fleet
from mem0_assets.restores.plan import Plan, plan_restore
from mem0_assets.restores.report import RestoreReport
from mem0_assets.restores.restore import holding, require_confirmation
from mem0_assets.restores.restore import restore as restore_backup
from mem0_assets.restores.settling import settle as settle_restore
from mem0_assets.restores.status import restore_status
from mem0_assets.restores.undo import forget as forget_restore
from mem0_assets.restores.undo import leftovers, written_since
from mem0_assets.restores.undo import undo as undo_restore


def restore(
    deployment: DeploymentName,
    backup: Annotated[str, typer.Option(help="Its id (default: the newest verified).")] = "latest",
    plan: Annotated[bool, typer.Option("--plan", help="Only say what would be done.")] = False,
    status: Annotated[bool, typer.Option("--status", help="Where the last restores stand.")] = False,
    settle: Annotated[bool, typer.Option("--settle", help="Finish or roll back an interrupted restore.")] = False,
    undo: Annotated[bool, typer.Option("--undo", help="Swap back what the last restore replaced.")] = False,
    forget: Annotated[bool, typer.Option("--forget", help="Drop what the last restore replaced, for ever.")] = False,
    confirm: Annotated[str | None, typer.Option(help="The deployment's name: your word, in scripts.")] = None,
    end_sessions: Annotated[
        bool, typer.Option("--end-sessions", help="End the sessions of others that hold the database.")
    ] = False,
    without_safety_backup: Annotated[
        bool, typer.Option("--without-safety-backup", help="Make none; the old database is kept all the same.")
    ] = False,
    namespace: Annotated[
        list[str] | None, typer.Option(help="Only its memories, beside a mem0 that goes on. Several times.")
    ] = None,
    id: Annotated[list[str] | None, typer.Option(help="Only this memory, likewise. Several times.")] = None,
    mode: Annotated[
        str | None, typer.Option(help="Of these: missing (what is gone; default), newer (in the backup), or exact.")
    ] = None,
    history: Annotated[bool, typer.Option(help="The rows of mem0's history of these memories too.")] = True,
    reembed: Annotated[
        bool, typer.Option("--reembed", help="With new vectors, by the embedder of fleet.yaml.")
    ] = False,
) -> None:
    """Put a backup in the place of what is live: loaded beside, verified, swapped, and with a way back."""
    fleet, chosen = fleet_and(deployment)
    if [plan, status, settle, undo, forget].count(True) > 1:
        raise ConfigurationError("say one of --plan, --status, --settle, --undo, --forget")
    if status:
        _show_status(chosen)
    elif settle:
        _settle(fleet, chosen)
    elif undo:
        _undo(fleet, chosen, confirm, end_sessions=end_sessions)
    elif forget:
        _forget(fleet, chosen, confirm)
    elif namespace or id or mode or reembed:
        wish = wish_of(backup, namespace, id, mode or "missing", history=history, reembed=reembed)
        restore_rows(chosen, wish, only_plan=plan, confirm=confirm)
    elif not history:
        raise ConfigurationError(
            "--no-history is for some memories: a whole restore puts all stores back, which agree with each other",
            next_step="Say which (--namespace, --id), or --mode missing for all that is gone",
        )
    else:
        _restore(
            fleet, chosen, backup, confirm, only_plan=plan, end_sessions=end_sessions, safety=not without_safety_backup
        )


def _restore(
    fleet: Fleet,
    deployment: Deployment,
    backup: str,
    confirm: str | None,
    *,
    only_plan: bool,
    end_sessions: bool,
    safety: bool,
) -> None:
    """The plan is shown before a word is asked for; who gave it beforehand has seen it, and a program reads one answer."""
    if not only_plan and confirm is not None:
        require_confirmation(deployment, confirm)
    if only_plan or confirm is None:
        with speaker.working(f"looking at {deployment.name}"):
            planned = plan_restore(deployment, backup)
        show_plan(planned)
        if only_plan:
            speaker.result(planned.as_json())
            _show_standing(deployment)
        exit_unless(planned.against.ok)
        if only_plan:
            return
        backup = planned.backup.backup
    word = _word(deployment, confirm)
    with alerting(fleet, deployment), speaker.working(f"restoring {deployment.name}") as (_, tell):
        report = restore_backup(
            deployment,
            backup,
            by=getpass.getuser(),
            confirm=word,
            end_sessions=end_sessions,
            safety_backup=safety,
            tell=tell,
        )
    _show_report(report)


def _undo(fleet: Fleet, deployment: Deployment, confirm: str | None, *, end_sessions: bool) -> None:
    written = written_since(deployment)
    speaker.line(f"Since the restore {written.restore}: {written.then:,} memories then, {written.now:,} now.", "bold")
    for name, difference in written.changed.items():
        speaker.line(f"  {name}: {difference:+,}", "yellow")
    speaker.line("What was written since is kept in the database that is swapped out.")
    word = _word(deployment, confirm)
    with alerting(fleet, deployment), speaker.working(f"undoing the restore of {deployment.name}") as (_, tell):
        report = undo_restore(deployment, by=getpass.getuser(), confirm=word, end_sessions=end_sessions, tell=tell)
    _show_report(report)


def _forget(fleet: Fleet, deployment: Deployment, confirm: str | None) -> None:
    found = leftovers(deployment)
    speaker.line(f"Kept of the restore {found.record.restore}, and to be removed for ever:", "bold")
    for name, total in found.totals.items():
        speaker.line(f"  the database {name}" + ("" if total is None else f" with {total:,} memories"))
    for path in found.history:
        speaker.line(f"  {path}")
    if found.safety_backup:
        speaker.line(f"  the safety backup {found.safety_backup}")
    word = _word(deployment, confirm)
    with alerting(fleet, deployment), speaker.working(f"forgetting the restore of {deployment.name}") as (_, tell):
        report = forget_restore(deployment, by=getpass.getuser(), confirm=word, tell=tell)
    _show_report(report)


def _settle(fleet: Fleet, deployment: Deployment) -> None:
    with (
        alerting(fleet, deployment),
        speaker.working(f"settling {deployment.name}") as (_, tell),
        holding(deployment) as catalog,
    ):
        report = settle_restore(deployment, catalog, tell)
    if report is None:
        speaker.result({"settled": None})
        speaker.verdict(True, f"no restore of {deployment.name} was interrupted")
        return
    _show_report(report)


def _word(deployment: Deployment, confirm: str | None) -> str:
    """A person's word: given with --confirm, or typed now. Raises ConfigurationError where nobody can be asked."""
    if confirm is not None:
        require_confirmation(deployment, confirm)
        return confirm
    typed = ""
    if sys.stdin.isatty() and not speaker.as_json:
        typed = typer.prompt(f"Type {deployment.name} to go on", default="", show_default=False, err=True)
    require_confirmation(deployment, typed)
    return typed


def show_plan(plan: Plan) -> None:
    """The plan for people: what is gained and lost first, then what must stop, and what stands against it."""
    content, backup, live = plan.as_json(), plan.backup, plan.live
    columns = ["namespace", "live", "backup", "gained", "lost", "changed back"]
    rows = [list(change.values()) for change in plan.changes]
    rows.append(["(all)", live.total, backup.total, content["gained"], content["lost"], content["changed"]])
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


def _show_report(report: RestoreReport) -> None:
    """What became of it, and what is the next thing to do."""
    speaker.result(report.as_json())
    name = report.deployment
    memories = f": {report.total:,} memories of {report.backup}" if report.state == "done" else ""
    speaker.verdict(report.ok, f"{name}: the restore {report.restore} is {report.state.replace('_', ' ')}{memories}")
    if report.why:
        speaker.line("  what was live before is live", "yellow")
    say_reasons(report.verdict.as_json()["reasons"])
    for live, kept in report.kept.items():
        speaker.line(f"  kept: {kept} (it was {live} before)")
    if report.state == "done":
        _show_done(report)
    speaker.line(f"  {report.path}")
    if report.state == "done":
        speaker.line(f"Next: mem0-assets backup {name}. The way back: mem0-assets restore {name} --undo")
    exit_unless(report.ok)


def _show_done(report: RestoreReport) -> None:
    if report.safety_backup:
        speaker.line(f"  safety backup: {report.safety_backup}")
    seconds = report.seconds
    times = f"readable after {seconds['restore']:g} s, indexed after {seconds['index']:g} s more"
    speaker.line(f"  {times}, {seconds['total']:g} s in all; nothing could write for {seconds['stopped']:g} s")
    if report.asked:
        _show_asked(report)
    for caution in report.cautions:
        speaker.line(f"  note: {caution}", "yellow")


def _show_asked(report: RestoreReport) -> None:
    asked = report.asked or {}
    if asked["problem"]:
        speaker.line(f"  mem0 was not asked: {asked['problem']}", "yellow")
    else:
        found = asked["asked"] - len(asked["without"])
        speaker.line(f"  mem0 gave a memory of {found} of {asked['asked']} namespaces")
    for name in asked["without"]:
        speaker.line(f"  mem0 gave none of {name}", "red")


def _show_status(deployment: Deployment) -> None:
    found = restore_status(deployment)
    speaker.result(found.as_json())
    rows = [[one.restore, one.state.replace("_", " "), one.backup, one.total, one.by] for one in found.reports]
    speaker.table(f"{deployment.name}: restores", ["restore", "state", "backup", "memories", "by"], rows)
    for one in found.reports:
        for live, kept in one.kept.items():
            speaker.line(f"kept of {one.restore}: {kept} (it was {live} before)")
    _show_standing(deployment)
    exit_unless(found.unfinished is None or found.busy)


def _show_standing(deployment: Deployment) -> None:
    found = restore_status(deployment)
    if found.standing:
        speaker.line(found.standing, "red")
    if found.standing and not found.busy:
        speaker.line(f"  next: mem0-assets restore {deployment.name} --settle")
