"""The commands on single memories: what differs between two sets of them, and taking them out as JSON Lines."""

import os
import sys
from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from mem0_assets.backups.catalog import Catalog
from mem0_assets.backups.difference import PARTS, Difference, difference
from mem0_assets.backups.export import write_export
from mem0_assets.backups.lines import line_of
from mem0_assets.backups.memories import read_memories
from mem0_assets.commands.context import DeploymentName, speaker, the_deployment
from mem0_assets.console import in_mib
from mem0_assets.errors import ConfigurationError, NotFoundError
from mem0_assets.fleet import Deployment
from mem0_assets.live.memories import ALL, Memory, Selection, read_deployment

LIVE = "live"
STDOUT = "-"

Read = Callable[[Selection], Iterator[Memory]]

Namespaces = Annotated[
    list[str] | None, typer.Option("--namespace", help="Only this namespace. May be given several times.")
]


def diff(
    deployment: DeploymentName,
    a: Annotated[str, typer.Argument(metavar="A", help="A backup's id, `latest`, or `live`: what was.")],
    b: Annotated[str, typer.Argument(metavar="[B]", help="The same: what there is now.")] = LIVE,
    namespace: Namespaces = None,
    ids: Annotated[bool, typer.Option("--ids", help="List the ids of what differs; never a text.")] = False,
) -> None:
    """What two backups, or a backup and the live table, have not in common: per namespace, by memory."""
    chosen = the_deployment(deployment)
    (name_a, before), (name_b, after) = (_side(chosen, what) for what in (a, b))
    selection = _selected(namespace)
    with speaker.working(f"comparing {name_a} and {name_b}"):
        found = difference(before(selection), after(selection), keep_ids=ids)
    _require_known(selection, found.namespaces, f"{name_a} or {name_b}")
    speaker.result({"deployment": chosen.name, "a": name_a, "b": name_b, **found.as_json(ids=ids)})
    _show(found, f"{chosen.name}: from {name_a} to {name_b}", ids=ids)


def export(
    deployment: DeploymentName,
    backup: Annotated[str, typer.Option(help="A backup's id, `latest`, or `live`.")] = LIVE,
    namespace: Namespaces = None,
    vectors: Annotated[
        bool, typer.Option("--vectors", help="With the vectors: 20 KB more a memory of 1,536 dimensions.")
    ] = False,
    output: Annotated[str, typer.Option(help="A file, which only you may read; `-` is standard output.")] = STDOUT,
) -> None:
    """Memories as JSON Lines, one a line, from a backup or from the live table: see docs/export.md."""
    chosen = the_deployment(deployment)
    if output == STDOUT and speaker.as_json:
        raise ConfigurationError("--json and the memories cannot both be on standard output: name a file with --output")
    name, read = _side(chosen, backup)
    selection = replace(_selected(namespace), vectors=vectors)
    with speaker.working(f"exporting {name}") as (count, _):
        memories = _all_known(read(selection), selection, name)
        if output == STDOUT:
            _stream(memories, vectors=vectors)
            return
        written = write_export(memories, Path(output), vectors=vectors, progress=count)
    speaker.result({"deployment": chosen.name, "source": name, **written.as_json()})
    speaker.verdict(True, f"{written.path}: {written.memories:,} memories of {name}, {in_mib(written.bytes)}")


def _stream(memories: Iterable[Memory], *, vectors: bool) -> None:
    """Write to standard output, whose reader may have enough before the end (`| head`)."""
    number = 0
    try:
        for number, memory in enumerate(memories, start=1):  # noqa: B007 - told below
            sys.stdout.buffer.write(line_of(memory, vectors=vectors))
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left in the buffer is for nobody
        raise typer.Exit(1) from None
    speaker.err.print(f"{number:,} memories")


def _all_known(memories: Iterable[Memory], selection: Selection, where: str) -> Iterator[Memory]:
    """The same memories; at the end `_require_known`, before they are published."""
    found = set()
    for memory in memories:
        found.add(memory.namespace)
        yield memory
    _require_known(selection, found, where)


def _side(deployment: Deployment, what: str) -> tuple[str, Read]:
    """The name of what a person named, and how its memories are read. Raises NotFoundError."""
    if what == LIVE:
        return LIVE, partial(read_deployment, deployment.postgres)
    backup = Catalog(deployment).find(what)
    return backup.backup, partial(read_memories, backup)


def _selected(namespaces: list[str] | None) -> Selection:
    return replace(ALL, namespaces=frozenset(namespaces)) if namespaces else ALL


def _require_known(selection: Selection, found: Container[str], where: str) -> None:
    """A name with a slip in it must not look like a namespace that is empty. Raises NotFoundError."""
    for name in sorted(selection.namespaces or ()):
        if name not in found:
            raise NotFoundError(f"there is no memory of the namespace {name} in {where}")


def _show(found: Difference, title: str, *, ids: bool) -> None:
    differing = {name: one for name, one in found.namespaces.items() if not one.same}
    rows: list[list[Any]] = [
        [name, one.gained, one.lost, one.changed, one.unchanged, *(one.parts[part] for part in PARTS)]
        for name, one in differing.items()
    ]
    if rows:
        columns = ["namespace", "gained", "lost", "changed", "unchanged", *(f"its {part}" for part in PARTS)]
        speaker.table(title, columns, rows)
    for one in differing.values() if ids else ():
        for number in one.gained_ids:
            speaker.line(f"+ {number}", "green")
        for number in one.lost_ids:
            speaker.line(f"- {number}", "red")
        for change in one.changes:
            speaker.line(f"~ {change.id}  {', '.join(change.parts)}", "yellow")
    totals = f"{found.gained:,} gained, {found.lost:,} lost, {found.changed:,} changed, {found.unchanged:,} unchanged"
    speaker.line(totals, "bold")
