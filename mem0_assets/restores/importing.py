"""Memories out of a file of JSON Lines into the live collection: read once to judge every line, and once to write.

A line that is no memory costs nothing: nothing is written before the last one was judged. Where the file changes between
the two readings, the second one judges again, inside the transaction.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from io import BufferedReader
from pathlib import Path
from typing import Any

from mem0_assets.backups.export import write_export
from mem0_assets.backups.files import make_folder
from mem0_assets.backups.formats.file_blocks import opened
from mem0_assets.backups.inventory import ID_FORMAT
from mem0_assets.backups.lines import MOST_BYTES, LineError, read_lines
from mem0_assets.errors import NotFoundError, RefusedError
from mem0_assets.fleet import Deployment
from mem0_assets.live.memories import Memory, Selection
from mem0_assets.live.vectors import numbers_of
from mem0_assets.restores.rows_writer import Change, Mode, Plan, Tell, plan_memories, write_memories

KEPT = "restores"


@dataclass(frozen=True)
class Judged:
    """A file in which every line is a memory: how many it has of each namespace, of the chosen ones alone."""

    path: Path
    selection: Selection
    namespaces: dict[str, int]

    def memories(self) -> Iterator[Memory]:
        """The chosen memories, read anew. Raises LineError, UnreachableError."""
        for _, memory, _ in _read(self.path):
            if self.selection.takes(memory.id, memory.namespace):
                yield memory

    @property
    def deletes(self) -> Selection:
        """Of which live memories those may be deleted that are not in the file: of no namespace that was not named."""
        return self.selection if self.selection.namespaces is not None else Selection(ids=frozenset())


@dataclass(frozen=True)
class Imported:
    """What was done, and where what was replaced or deleted is kept; None where nothing was."""

    change: Change
    kept: Path | None

    def as_json(self) -> dict[str, Any]:
        return {**self.change.as_json(), "kept": str(self.kept) if self.kept else None}


def judge_file(path: Path, namespaces: Sequence[str] = ()) -> Judged:
    """Read a file whole. Raises LineError at the first line that is no memory, or has a vector unlike those before it.

    Also RefusedError where memories come without vectors, NotFoundError, UnreachableError.
    """
    selection = Selection(frozenset(namespaces) if namespaces else None)
    found: Counter[str] = Counter()
    without: list[int] = []
    first: tuple[int, int] | None = None
    for number, memory, with_vector in _read(path):
        if not selection.takes(memory.id, memory.namespace):
            continue
        found[memory.namespace] += 1
        if not with_vector:
            without.append(number)
        if memory.vector is not None:
            dimensions = len(numbers_of(memory.vector))
            first = first or (number, dimensions)
            if dimensions != first[1]:
                raise LineError(
                    f"line {number}: its vector has {dimensions} dimensions, that of line {first[0]} {first[1]}"
                )
    for name in namespaces:
        if name not in found:
            raise NotFoundError(f"there is no memory of the namespace {name} in {path}")
    if without:
        raise RefusedError(
            f"line {without[0]} has no vector, nor have {len(without) - 1:,} others: no search would find them",
            code="null_vectors",
            next_step="Export with --vectors",
        )
    return Judged(path, selection, dict(found))


def plan_import(deployment: Deployment, file: Judged, mode: Mode) -> Plan:
    """What `import_memories` would do now; it writes nothing. Raises what `plan_memories` raises."""
    return plan_memories(deployment, file.memories(), mode, file.deletes)


def import_memories(deployment: Deployment, file: Judged, mode: Mode, *, tell: Tell = lambda what: None) -> Imported:
    """Write the file's memories, all or none, and keep what they replace in a file of the same kind.

    In the mode `exact` memories that are not in the file are deleted in the namespaces that were named, and in no other.
    Raises what `write_memories` raises.
    """
    kept: list[Path] = []

    def keep(memories: Iterable[Memory]) -> None:
        kept.append(write_export(memories, _place(deployment), vectors=True).path)

    change = write_memories(deployment, file.memories(), mode, file.deletes, keep=keep, tell=tell)
    return Imported(change, kept[0] if kept else None)


def _place(deployment: Deployment) -> Path:
    """A file that was not there, among the restores of a deployment that has backups."""
    if not deployment.backups.is_dir():
        raise NotFoundError(
            f"{deployment.backups} does not exist, and what is replaced is kept there",
            next_step=f"Make a backup first: mem0-assets backup {deployment.name}",
        )
    folder, moment = deployment.backups / KEPT, datetime.now(deployment.schedule.zone)
    make_folder(folder)
    while (path := folder / f"replaced_{moment.strftime(ID_FORMAT)}.jsonl").exists():
        moment += timedelta(seconds=1)
    return path


def _read(path: Path) -> Iterator[tuple[int, Memory, bool]]:
    with opened(path) as raw, BufferedReader(raw) as file:  # type: ignore[type-var]
        yield from read_lines(iter(lambda: file.readline(MOST_BYTES + 1), b""))
