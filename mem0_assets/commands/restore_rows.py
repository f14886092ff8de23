"""`mem0-assets restore` with --namespace, --id or --reembed: some memories back into a deployment that goes on."""

import getpass
from uuid import UUID

from mem0_assets.commands.confirmation import require_name
from mem0_assets.commands.context import exit_unless, say_reasons, speaker
from mem0_assets.errors import ConfigurationError
from mem0_assets.fleet import Deployment
from mem0_assets.restores.reembedding import Cost
from mem0_assets.restores.rows_writer import MODES, Mode
from mem0_assets.restores.smaller import Outcome, SmallerPlan, SmallerReport, Wish, plan_smaller, restore_smaller


def restore_rows(chosen: Deployment, wish: Wish, *, only_plan: bool, confirm: str | None) -> None:
    """Say what would change, ask where something would be lost or paid, and do it."""
    with speaker.working(f"planning for {chosen.name}") as (_, tell):
        plan = plan_smaller(chosen, wish, tell=tell)
    _show_plan(plan)
    if only_plan:
        speaker.result(plan.as_json())
        return
    if plan.changes.total.lost or plan.cost:  # what is only added needs nobody's word
        require_name(chosen.name, confirm)
    with speaker.working(f"restoring into {chosen.name}") as (_, tell):
        report = restore_smaller(chosen, plan, by=getpass.getuser(), tell=tell)
    speaker.result(report.as_json())
    _show_report(report)
    exit_unless(report.ok)


def wish_of(
    backup: str, namespaces: list[str] | None, ids: list[str] | None, mode: str, *, history: bool, reembed: bool
) -> Wish:
    """What the command's words ask for. Raises ConfigurationError."""
    if namespaces and ids:
        raise ConfigurationError("name either namespaces or ids: --namespace NAME, or --id UUID")
    if mode not in MODES:
        raise ConfigurationError(f"--mode is one of {', '.join(MODES)}, not {mode!r}")
    chosen: Mode = MODES[MODES.index(mode)]
    return Wish(
        backup=backup,
        namespaces=frozenset(namespaces) if namespaces else None,
        ids=frozenset(map(_uuid, ids)) if ids else None,
        mode=chosen,
        history=history,
        reembed=reembed,
    )


def _uuid(word: str) -> UUID:
    try:
        return UUID(word)
    except ValueError:
        raise ConfigurationError(f"--id is the id of a memory, and {word!r} is none") from None


def _show_plan(plan: SmallerPlan) -> None:
    rows = [(name, *vars(change).values()) for name, change in plan.changes.namespaces.items()]
    columns = ["namespace", "to insert", "to replace", "to delete", "as they are"]
    speaker.table(f"{plan.deployment}: memories of {plan.backup.backup}, mode {plan.wish.mode}", columns, rows)
    total = plan.changes.total
    words = f"{total.inserted:,} to insert, {total.replaced:,} to replace, {total.deleted:,} to delete"
    speaker.line(words, "bold red" if total.lost else "bold")
    for one in plan.not_in_backup:
        speaker.line(f"  note: the backup does not hold {one}", "yellow")
    if plan.cost:
        show_cost(plan.cost)


def show_cost(cost: Cost) -> None:
    """What new vectors take, for people."""
    price = (
        "" if cost.price is None else f", about {cost.price:,.4f} in the currency of embedder.price_per_million_tokens"
    )
    speaker.line(
        f"new vectors: {cost.texts:,} texts of {cost.characters:,} characters, about {cost.tokens:,} tokens,"
        f" in {cost.requests:,} requests{price}"
    )
    if cost.without_text:
        speaker.line(f"  note: {cost.without_text:,} memories have no text, and cannot come back so", "yellow")


def _show_report(report: SmallerReport) -> None:
    outcome = report.outcome
    assert outcome is not None
    done = outcome.written
    speaker.verdict(
        report.ok,
        f"{done.inserted:,} memories inserted, {done.replaced:,} replaced, {done.deleted:,} deleted;"
        f" {done.unchanged:,} were as they should be",
    )
    say_reasons(list(outcome.reasons))
    _show_rest(report.plan.deployment, outcome)
    speaker.line(f"  {report.record.folder}")


def _show_rest(deployment: str, outcome: Outcome) -> None:
    if outcome.history is not None:
        speaker.line(f"  {outcome.history:,} rows of mem0's history")
    if outcome.kept:
        speaker.line(f"  What was replaced or deleted: {outcome.kept.path}")
        speaker.line(f"  The way back: mem0-assets import {deployment} {outcome.kept.path} --mode exact")
    for caution in outcome.cautions:
        speaker.line(f"  note: {caution}", "yellow")
