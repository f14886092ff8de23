"""`mem0-assets import`: memories out of a file of JSON Lines back into the live table."""

import getpass
from pathlib import Path
from typing import Annotated

import typer

from mem0_assets.commands.confirmation import require_name
from mem0_assets.commands.context import DeploymentName, exit_unless, speaker, the_deployment
from mem0_assets.commands.restore_rows import show_cost
from mem0_assets.commands.rows import Namespaces
from mem0_assets.errors import ConfigurationError
from mem0_assets.restores.importing import Imported, ImportPlan, import_memories, judge_file, plan_import
from mem0_assets.restores.rows_writer import MODES


def import_rows(
    deployment: DeploymentName,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="JSON Lines, as `export` writes them.")],
    mode: Annotated[str, typer.Option(help="missing (what is gone), newer (also what was older), exact.")] = "missing",
    namespace: Namespaces = None,
    reembed: Annotated[
        bool, typer.Option("--reembed", help="With new vectors, by the embedder of fleet.yaml.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
    confirm: Annotated[str | None, typer.Option(help="The deployment's name: your word, in scripts.")] = None,
) -> None:
    """Memories out of a file of JSON Lines into the live table, all or none: see docs/export.md."""
    chosen = the_deployment(deployment)
    if mode not in MODES:
        raise ConfigurationError(f"--mode is one of {', '.join(MODES)}, not {mode!r}")
    with speaker.working(f"reading {file.name}"):
        judged = judge_file(file, namespace or (), reembed=reembed)
        plan = plan_import(chosen, judged, MODES[MODES.index(mode)])
    answer = {"deployment": chosen.name, **plan.as_json(), "dry_run": dry_run}
    _show_plan(chosen.name, plan)
    if dry_run:
        speaker.result({**answer, "kept": None, "left_out": []})
        return
    require_name(chosen.name, confirm)
    with speaker.working(f"importing {file.name}") as (_, tell):
        done = import_memories(chosen, plan, by=getpass.getuser(), tell=tell)
    speaker.result({**answer, **done.as_json()})
    _show(chosen.name, done)
    exit_unless(not done.left_out)


def _show_plan(deployment: str, plan: ImportPlan) -> None:
    rows = [(name, *vars(change).values()) for name, change in plan.changes.namespaces.items()]
    columns = ["namespace", "to insert", "to replace", "to delete", "as they are"]
    speaker.table(f"{deployment}: memories of {plan.file.path.name}, mode {plan.mode}", columns, rows)
    if plan.cost:
        show_cost(plan.cost)


def _show(deployment: str, done: Imported) -> None:
    written = done.written
    speaker.verdict(
        not done.left_out,
        f"{written.inserted:,} memories inserted, {written.replaced:,} replaced, {written.deleted:,} deleted;"
        f" {written.unchanged:,} were as they should be",
    )
    if done.left_out:
        speaker.line(f"  {len(done.left_out):,} have no text that the embedder takes, and were left out", "red")
    if done.kept:
        speaker.line(f"  what was replaced or deleted is kept: {done.kept.path}")
        speaker.line(f"  the way back: mem0-assets import {deployment} {done.kept.path} --mode exact")
