"""A smaller restore: some memories of a verified backup back into the live collection, beside a mem0 that goes on.

First a plan, which changes nothing; then, on a person's word, new vectors where they are asked for, one transaction, and
the history. What is replaced or deleted is kept in the restore's folder, in the form that `import` reads. Whatever the end,
the next attempt may begin from the start: nothing comes twice.
"""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any
from uuid import UUID

from mem0_assets.backups.catalog import Catalog
from mem0_assets.backups.export import Exported, write_export
from mem0_assets.backups.files import plain_disk_errors
from mem0_assets.backups.inventory import Backup
from mem0_assets.backups.legacy import Tell, examine_legacy
from mem0_assets.backups.memories import read_memories
from mem0_assets.errors import ConfigurationError, Mem0AssetsError, NotFoundError, RefusedError
from mem0_assets.fleet import Deployment
from mem0_assets.live.memories import Memory, Selection
from mem0_assets.restores.history_writer import restore_history
from mem0_assets.restores.new_vectors import NewVectors
from mem0_assets.restores.record import REPORT, Record, alone, new_record, require_settled
from mem0_assets.restores.reembedding import Cost
from mem0_assets.restores.rows_writer import Change, Mode, Plan, other_dimensions, plan_memories, write_memories

REPLACED = "replaced.jsonl"
ENTITIES = "mem0's entity links are left as they are: mem0 makes those of a memory again when it next updates it"


@dataclass(frozen=True)
class Wish:
    """Which memories are to come back, and how. `namespaces` and `ids`: None is all of them."""

    backup: str = "latest"
    namespaces: frozenset[str] | None = None
    ids: frozenset[UUID] | None = None
    mode: Mode = "missing"
    history: bool = True
    reembed: bool = False

    def selection(self, *, vectors: bool) -> Selection:
        return Selection(self.namespaces, self.ids, vectors)

    def as_json(self) -> dict[str, Any]:
        chosen = {name: sorted(map(str, of)) if (of := getattr(self, name)) else None for name in ("namespaces", "ids")}
        return {**asdict(self), **chosen}


@dataclass(frozen=True)
class SmallerPlan:
    """What a smaller restore would do now. `found` are the ids of the chosen memories in the backup; `cost` of new
    vectors, where they are asked for.
    """

    deployment: str
    backup: Backup
    wish: Wish
    changes: Plan
    found: frozenset[UUID]
    cost: Cost | None

    @property
    def not_in_backup(self) -> list[str]:
        """The ids that were named and that the backup does not hold."""
        return sorted(map(str, (self.wish.ids or frozenset()) - self.found))

    def as_json(self) -> dict[str, Any]:
        return {
            "deployment": self.deployment,
            **self.wish.as_json(),
            "backup": self.backup.backup,
            "changes": {name: change.as_json() for name, change in self.changes.namespaces.items()},
            **self.changes.total.as_json(),
            "not_in_backup": self.not_in_backup,
            "cost": self.cost.as_json() if self.cost else None,
        }


@dataclass(frozen=True)
class Outcome:
    """What a smaller restore did. `history` is how many of its rows came back; None where none was asked for, or cannot be.

    `kept` is the file of the live rows that are not as they were, in the form that `import` reads. `left_out` are memories
    for which there is no new vector. `reasons` are what went wrong beside the memories, which are back.
    """

    written: Change
    kept: Exported | None
    history: int | None
    left_out: tuple[UUID, ...]
    reasons: tuple[dict[str, str], ...]
    cautions: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        return {
            "verdict": "refused" if self.reasons else "ok",
            "reasons": list(self.reasons),
            **self.written.as_json(),
            "history": self.history,
            "kept": str(self.kept.path) if self.kept else None,
            "left_out": list(map(str, self.left_out)),
            "cautions": list(self.cautions),
        }


@dataclass(frozen=True)
class SmallerReport:
    """A smaller restore from its beginning: who, when, from which files, planned how, and what came of it.

    It stands in the restore's folder from the first moment. Where `outcome` is missing there, somebody killed it: then
    either nothing was written or all of it.
    """

    record: Record
    by: str
    began_at: datetime
    plan: SmallerPlan
    outcome: Outcome | None = None

    @property
    def ok(self) -> bool:
        return self.outcome is not None and not self.outcome.reasons

    def as_json(self) -> dict[str, Any]:
        backup, now = self.plan.backup, datetime.now(UTC)
        files = backup.manifest.files if backup.manifest else ()
        ended = {"ended_at": now.isoformat(), "seconds": {"total": round((now - self.began_at).total_seconds(), 3)}}
        return {
            "restore": self.record.restore,
            "kind": "memories",
            "deployment": self.plan.deployment,
            "backup": backup.backup,
            "by": self.by,
            "began_at": self.began_at.isoformat(),
            "files": {file.path: file.sha256 for file in files},
            "plan": self.plan.as_json(),
            "path": str(self.record.folder / REPORT),
            **(ended | self.outcome.as_json() if self.outcome else {}),
        }


def plan_smaller(deployment: Deployment, wish: Wish, *, tell: Tell = lambda what: None) -> SmallerPlan:
    """What `restore_smaller` would do now. Of the deployment it changes nothing; the embedder is asked for one vector.

    Raises NotFoundError, RefusedError (`dimensions_changed`), ConfigurationError, DumpDamage, TableMissingError,
    EmbedderError, UnreachableError.
    """
    if wish.reembed and wish.mode == "exact":
        raise ConfigurationError(
            "with new vectors nothing is exactly as in the backup", next_step="Use --mode missing, or newer"
        )
    vectors = NewVectors(deployment) if wish.reembed else None
    tell("reading the backup")
    backup = _chosen(deployment, wish, tell)
    found: set[UUID] = set()
    selection = wish.selection(vectors=wish.mode == "exact")
    memories = _noting(read_memories(backup, selection), found)
    changes = plan_memories(deployment, memories, wish.mode, selection)
    if wish.ids and not found:
        raise NotFoundError(f"none of the ids is in the backup {backup.backup}")
    if vectors is None and changes.dimensions and backup.dimensions not in (None, changes.dimensions):
        raise other_dimensions(backup.dimensions or 0, changes.dimensions)
    written = replace(wish.selection(vectors=False), ids=changes.written)
    cost = vectors.cost(read_memories(backup, written), changes.dimensions) if vectors else None
    return SmallerPlan(deployment.name, backup, wish, changes, frozenset(found), cost)


def restore_smaller(
    deployment: Deployment, plan: SmallerPlan, *, by: str, tell: Tell = lambda what: None
) -> SmallerReport:
    """Do what was planned, as far as it is still to be done, and leave a report of it in the deployment's restores.

    A plan that shows no memory to be replaced or deleted replaces and deletes none: RefusedError, where it would now.
    Raises what `plan_smaller` raises, BusyError, NoSpaceError: then the collection is as it was.
    """
    with alone(deployment):
        require_settled(deployment)
        report = SmallerReport(new_record(deployment), by, datetime.now(UTC), plan)
        report.record.write_report(report.as_json())
        outcome = _Deed(deployment, plan, report.record, tell).outcome()
        report = replace(report, outcome=outcome)
        report.record.write_report(report.as_json())
        return report


class _Deed:
    """The steps of one smaller restore."""

    def __init__(self, deployment: Deployment, plan: SmallerPlan, record: Record, tell: Tell) -> None:
        self._deployment, self._plan, self._tell = deployment, plan, tell
        self._replaced = record.folder / REPLACED
        self._kept: Exported | None = None
        self._left_out: list[UUID] = []

    def outcome(self) -> Outcome:
        written = self._with_new_vectors() if self._plan.wish.reembed else self._as_they_were()
        reasons, cautions = [], [ENTITIES]
        if self._left_out:
            message = f"{len(self._left_out)} memories have no text that the embedder takes, and did not come back"
            reasons.append({"code": "left_out", "message": message})
        rows: int | None = None
        try:
            rows = self._history(cautions)
        except Mem0AssetsError as error:  # the memories are back: that must be said too
            reasons.append({"code": error.code, "message": f"the history did not come back: {error}"})
        return Outcome(written, self._kept, rows, tuple(self._left_out), tuple(reasons), tuple(cautions))

    def _as_they_were(self) -> Change:
        return self._write(self._read(vectors=True))

    def _with_new_vectors(self) -> Change:
        changes, vectors = self._plan.changes, NewVectors(self._deployment)
        read = partial(self._read, ids=changes.written)
        with vectors.made(read, changes.dimensions, self._left_out, self._tell) as memories:
            return self._write(memories)

    def _read(self, *, vectors: bool = False, ids: frozenset[UUID] | None = None) -> Iterator[Memory]:
        selection = self._plan.wish.selection(vectors=vectors)
        return read_memories(self._plan.backup, selection if ids is None else replace(selection, ids=ids))

    def _write(self, memories: Iterable[Memory]) -> Change:
        wish = self._plan.wish
        selection = wish.selection(vectors=True)
        return write_memories(self._deployment, memories, wish.mode, selection, keep=self._keep, tell=self._tell)

    def _keep(self, lost: Iterable[Memory]) -> None:
        """What a plan did not show was not asked of anybody: mem0 may have written since."""
        if self._plan.changes.total.lost:
            self._kept = write_export(lost, self._replaced, vectors=True)
        elif any(True for _ in lost):
            raise RefusedError(
                "mem0 wrote meanwhile to what the plan would not have changed: nothing was written",
                next_step="Run the same command again: its plan shows what would be lost now",
            )

    def _history(self, cautions: list[str]) -> int | None:
        live, manifest = self._deployment.stores.history, self._plan.backup.manifest
        if not self._plan.wish.history:
            return None
        if live is None or manifest is None or manifest.history is None:
            where = "fleet.yaml names no history" if live is None else "the backup holds no history"
            cautions.append(f"no row of mem0's history came back: {where}")
            return None
        self._tell("putting the history back")
        copy = self._plan.backup.path / manifest.files_of("history")[0].path
        # The story of a memory that is not there would be told as one that was lost.
        back = self._plan.found.difference(self._left_out)
        return restore_history(live, copy, back.__contains__)


def _chosen(deployment: Deployment, wish: Wish, tell: Tell) -> Backup:
    """The backup that is meant, which must be verified and know the namespaces. Raises NotFoundError, RefusedError."""
    catalog = Catalog(deployment)
    with plain_disk_errors(catalog.root):
        examine_legacy(catalog, tell)
    backup = catalog.find(wish.backup)
    if backup.state != "verified":
        step = f"If it is meant all the same: mem0-assets accept {deployment.name} --backup {backup.backup}"
        raise RefusedError(
            f"{backup.backup} is {backup.state}: memories come from verified backups only", next_step=step
        )
    unknown = sorted((wish.namespaces or frozenset()) - backup.namespaces.keys())
    if unknown:
        known = ", ".join(backup.namespaces) or "none"
        raise NotFoundError(f"the backup {backup.backup} has no namespace {', '.join(unknown)}; it has: {known}")
    return backup


def _noting(memories: Iterable[Memory], ids: set[UUID]) -> Iterator[Memory]:
    for memory in memories:
        ids.add(memory.id)
        yield memory
