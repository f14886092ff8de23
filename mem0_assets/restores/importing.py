"""Memories out of a file of JSON Lines into the live collection: read once to judge every line, and once to write.

A line that is no memory costs nothing: nothing is written before the last one was judged. Where the file changes between
the two readings, the second one judges again, inside the transaction.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from io import BufferedReader
from pathlib import Path
from typing import Any
from uuid import UUID

from mem0_assets.backups.export import Exported, write_export
from mem0_assets.backups.formats.file_blocks import opened
from mem0_assets.backups.lines import MOST_BYTES, LineError, read_lines
from mem0_assets.errors import ConfigurationError, NotFoundError, RefusedError
from mem0_assets.fleet import Deployment
from mem0_assets.live.memories import Memory, Selection
from mem0_assets.live.vectors import numbers_of
from mem0_assets.restores.new_vectors import NewVectors
from mem0_assets.restores.record import REPORT, Record, alone, new_record, require_settled
from mem0_assets.restores.reembedding import Cost
from mem0_assets.restores.rows_writer import Change, Mode, Plan, Tell, plan_memories, write_memories
from mem0_assets.restores.smaller import REPLACED


@dataclass(frozen=True)
class Judged:
    """A file in which every line is a memory: how many it has of each namespace, of the chosen ones alone.

    With `reembed` its vectors are not read: each memory gets a new one.
    """

    path: Path
    selection: Selection
    reembed: bool
    namespaces: dict[str, int]

    def memories(self, ids: frozenset[UUID] | None = None) -> Iterator[Memory]:
        """The chosen memories, read anew; of those only the `ids`. Raises LineError, UnreachableError.

        RefusedError at the end of a file that holds other numbers than when it was judged: what a file has lost since is
        not to be deleted.
        """
        wanted = self.selection if ids is None else replace(self.selection, ids=ids)
        found: Counter[str] = Counter()
        for _, memory, _ in _read(self.path):
            if wanted.takes(memory.id, memory.namespace):
                found[memory.namespace] += 1
                yield replace(memory, vector=None) if self.reembed else memory
        if ids is None and found != self.namespaces:
            raise RefusedError(f"{self.path} was written to meanwhile", next_step="Once it is complete, say it again")

    @property
    def deletes(self) -> Selection:
        """Of which live memories those may be deleted that are not in the file: of no namespace that was not named."""
        return self.selection if self.selection.namespaces is not None else Selection(ids=frozenset())


@dataclass(frozen=True)
class ImportPlan:
    """What an import would do now; `cost` of new vectors, where they are asked for."""

    file: Judged
    mode: Mode
    changes: Plan
    cost: Cost | None

    def as_json(self) -> dict[str, Any]:
        return {
            "file": str(self.file.path),
            "mode": self.mode,
            "reembed": self.file.reembed,
            "changes": {name: change.as_json() for name, change in self.changes.namespaces.items()},
            **self.changes.total.as_json(),
            "cost": self.cost.as_json() if self.cost else None,
        }


@dataclass(frozen=True)
class Imported:
    """What was done. `kept` is the file of the live rows that are not as they were; None where all are.

    `left_out` are memories without a text that the embedder takes: they were not written.
    """

    written: Change
    kept: Exported | None
    left_out: tuple[UUID, ...]

    def as_json(self) -> dict[str, Any]:
        left_out = list(map(str, self.left_out))
        return {**self.written.as_json(), "kept": str(self.kept.path) if self.kept else None, "left_out": left_out}


def judge_file(path: Path, namespaces: Sequence[str] = (), *, reembed: bool = False) -> Judged:
    """Read a file whole. Raises LineError at the first line that is no memory, or has a vector unlike those before it.

    Also RefusedError where memories come without vectors that they are to keep, NotFoundError, UnreachableError.
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
        if memory.vector is not None and not reembed:
            dimensions = len(numbers_of(memory.vector))
            first = first or (number, dimensions)
            if dimensions != first[1]:
                raise LineError(
                    f"line {number}: its vector has {dimensions} dimensions, that of line {first[0]} {first[1]}"
                )
    for name in namespaces:
        if name not in found:
            raise NotFoundError(f"there is no memory of the namespace {name} in {path}")
    if without and not reembed:
        raise RefusedError(
            f"line {without[0]} has no vector, nor have {len(without) - 1:,} others: no search would find them",
            code="null_vectors",
            next_step="Export with --vectors, or add --reembed to have new ones made",
        )
    return Judged(path, selection, reembed, dict(found))


def plan_import(deployment: Deployment, file: Judged, mode: Mode) -> ImportPlan:
    """What `import_memories` would do now; it writes nothing, and the embedder is asked for one vector at most.

    Raises what `plan_memories` raises, ConfigurationError, EmbedderError.
    """
    if file.reembed and mode == "exact":
        raise ConfigurationError(
            "with new vectors nothing is exactly as in the file", next_step="Use --mode missing, or newer"
        )
    vectors = NewVectors(deployment) if file.reembed else None
    changes = plan_memories(deployment, file.memories(), mode, file.deletes)
    cost = vectors.cost(file.memories(changes.written), changes.dimensions) if vectors else None
    return ImportPlan(file, mode, changes, cost)


def import_memories(deployment: Deployment, plan: ImportPlan, *, by: str, tell: Tell = lambda what: None) -> Imported:
    """Write the file's memories, all or none, keep what they replace, and leave a report among the deployment's restores.

    In the mode `exact` memories that are not in the file are deleted in the namespaces that were named, and in no other.
    Raises what `plan_import` and `write_memories` raise, BusyError, NoSpaceError: then the collection is as it was.
    """
    if not deployment.backups.is_dir():
        raise NotFoundError(
            f"{deployment.backups} does not exist, and what is replaced is kept there",
            next_step=f"Make a backup first: mem0-assets backup {deployment.name}",
        )
    with alone(deployment):
        require_settled(deployment)
        record, began = new_record(deployment), datetime.now(UTC)
        report: dict[str, Any] = {"restore": record.restore, "kind": "import", "deployment": deployment.name, "by": by}
        report |= {"began_at": began.isoformat(), "plan": plan.as_json(), "path": str(record.folder / REPORT)}
        record.write_report(report)
        done = _write(deployment, plan, record, tell)
        record.write_report({**report, "ended_at": datetime.now(UTC).isoformat(), **done.as_json()})
        return done


def _write(deployment: Deployment, plan: ImportPlan, record: Record, tell: Tell) -> Imported:
    kept: list[Exported] = []
    left_out: list[UUID] = []
    file, changes = plan.file, plan.changes

    def keep(memories: Iterable[Memory]) -> None:
        kept.append(write_export(memories, record.folder / REPLACED, vectors=True))

    def write(memories: Iterable[Memory]) -> Change:
        return write_memories(deployment, memories, plan.mode, file.deletes, keep=keep, tell=tell)

    if file.reembed:
        read = partial(file.memories, changes.written)
        with NewVectors(deployment).made(read, changes.dimensions, left_out, tell) as memories:
            written = write(memories)
    else:
        written = write(file.memories())
    return Imported(written, kept[0] if kept else None, tuple(left_out))


def _read(path: Path) -> Iterator[tuple[int, Memory, bool]]:
    with opened(path) as raw, BufferedReader(raw) as file:  # type: ignore[type-var]
        yield from read_lines(iter(lambda: file.readline(MOST_BYTES + 1), b""))
