"""One consistent cut of a live deployment: census, identity and dump of the same exported snapshot, as a candidate.

Because the manifest's numbers and the dump's rows are the same instant, everything after may demand exact equality. A
dump beside a separate count would differ by every memory written in between, and a tolerance would hide small losses.
"""

import shutil
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import LiteralString

import mem0_assets
from mem0_assets.backups.catalog import Catalog
from mem0_assets.backups.files import plain_disk_errors, remove_tree, sha256_of, sync_folder, write_file, write_json
from mem0_assets.backups.formats.pg_dump import STALL_SECONDS
from mem0_assets.backups.formats.source import Progress, Written
from mem0_assets.backups.instant import Recorded, Recorder, one
from mem0_assets.backups.instructions import restore_instructions
from mem0_assets.backups.inventory import Backup
from mem0_assets.backups.manifest import CHANGES, CHECKSUMS, MANIFEST, RESTORE, BackupFile, Manifest, Roll, checksums
from mem0_assets.backups.roll import ROLL, changes_since, write_roll
from mem0_assets.backups.stores import (
    NOTHING,
    dump_application,
    keep_files,
    keep_history,
    keep_roles,
    settled_history,
)
from mem0_assets.errors import Mem0AssetsError, NoSpaceError, TableMissingError, UnreachableError
from mem0_assets.fleet import Deployment, Postgres, Tier
from mem0_assets.live.census import Census, read_census
from mem0_assets.live.indexes import Index, read_indexes
from mem0_assets.live.newest import newest_memory
from mem0_assets.live.postgres import SCHEMA, Connection, answers_within, joined
from mem0_assets.live.roll import RECIPE
from mem0_assets.live.semantics import NIGHTLY, GivenUpError, Semantics, read_semantics, unseen
from mem0_assets.live.tables import count_tables

# A look into the rows is made of many statements, each bounded by what is left of NIGHTLY.seconds when its part begins;
# the roll after it has as long again.
LOOK_SECONDS = 4 * NIGHTLY.seconds
# Space that must be free beyond the last dump's size: half as much again, and never less than this.
LEAST_FREE_BYTES = 64 << 20

_OWNER: LiteralString = """
    SELECT pg_get_userbyid(c.relowner) AS value FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE n.nspname = %s AND c.relname = %s
"""


def capture(
    deployment: Deployment,
    catalog: Catalog,
    tiers: Iterable[Tier],
    *,
    now: datetime | None = None,
    progress: Progress = lambda plain_bytes: None,
    stall_seconds: float = STALL_SECONDS,
) -> Path:
    """Write a complete candidate and return its folder. Call it with the catalog's lock held.

    Raises UnreachableError, TableMissingError, NoSpaceError, DumpFailedError, ClientMissingError: then no candidate is
    left, and the failed attempt is in the journal.
    """
    sequence = catalog.next_sequence()
    candidate: Path | None = None
    try:
        with plain_disk_errors(catalog.root):
            _require_space(catalog)
            candidate = catalog.new_candidate((now or datetime.now(UTC)).astimezone(deployment.schedule.zone))
            recorder = Recorder(deployment.dump, progress, stall_seconds)
            _fill(deployment, candidate, sequence, tuple(tiers), recorder, catalog.newest_verified())
            return candidate
    except BaseException as error:
        if candidate is not None:
            catalog.discard(candidate)
        if isinstance(error, Mem0AssetsError):
            catalog.attempt_failed(sequence, error)
        raise


@dataclass(frozen=True)
class _Seen:
    """What the snapshot of the memories' database holds, by SQL."""

    census: Census
    tables: dict[str, int]
    indexes: tuple[Index, ...]
    owner: str
    newest_memory: datetime | None


@dataclass(frozen=True)
class _Rows:
    """What the rows of that snapshot hold, and the file of their roll; None where it could not be made."""

    semantics: Semantics
    roll: BackupFile | None = None


def _fill(
    deployment: Deployment,
    candidate: Path,
    sequence: int,
    tiers: tuple[Tier, ...],
    recorder: Recorder,
    previous: Backup | None,
) -> None:
    """Every store in turn, in the order that makes them agree: what mem0 writes last is read first, and copied last."""
    started = time.monotonic()
    settled = settled_history(deployment)
    memories = _memories(deployment, candidate, recorder)
    seen = memories.seen
    application, application_files = dump_application(deployment, candidate, recorder)
    roles = keep_roles(deployment, candidate, memories.program, recorder)
    copies, files = keep_files(deployment, candidate)
    history, history_files = keep_history(deployment, candidate, settled)
    roles_files = Written((roles.file,), roles.warnings) if roles else NOTHING
    roll, semantics = _roll(previous, seen.census, memories.more, candidate, history=history is not None)
    roll_file = Written((memories.more.roll,), ()) if memories.more.roll else NOTHING
    written = (memories.written, application_files, roles_files, history_files, files, roll_file)
    manifest = Manifest(
        backup=candidate.name,
        deployment=deployment.name,
        sequence=sequence,
        tiers=tiers,
        created_at=seen.census.taken_at.astimezone(deployment.schedule.zone),
        census=seen.census,
        tables=seen.tables,
        indexes=seen.indexes,
        format=deployment.dump.format,
        program=str(memories.program),
        seconds=round(time.monotonic() - started, 3),
        files=tuple(file for part in written for file in part.files),
        warnings=tuple(warning for part in written for warning in part.warnings),
        made_by=f"mem0-assets {mem0_assets.__version__}",
        owner=seen.owner,
        application=application,
        roles=roles.names if roles else None,
        history=history,
        masked={copy.file.path: copy.masked for copy in copies if copy.masked},
        left_out=deployment.stores.left_out,
        semantics=semantics,
        roll=roll,
        newest_memory=seen.newest_memory,
    )
    _seal(candidate, manifest)


def _memories(deployment: Deployment, candidate: Path, recorder: Recorder) -> Recorded[_Seen, _Rows]:
    postgres, folder = deployment.postgres, candidate / "postgres"
    name, look = f"mem0_{candidate.name}", partial(_look, postgres.collection)
    try:
        return recorder.record(
            postgres,
            folder,
            name,
            look,
            required=(SCHEMA, postgres.collection),
            meanwhile=partial(_look_closer, postgres, candidate),
        )
    except TableMissingError as error:
        step = f"Restart nothing, mem0 would make an empty one; see `mem0-assets counts {deployment.name}`"
        raise TableMissingError(error.message, next_step=step) from None


def _look(collection: str, connection: Connection) -> _Seen:
    return _Seen(
        census=read_census(connection, collection),
        tables=count_tables(connection),
        indexes=read_indexes(connection, collection),
        owner=one(connection, _OWNER, SCHEMA, collection),
        newest_memory=newest_memory(connection, collection),
    )


def _look_closer(postgres: Postgres, candidate: Path, exported: str, seen: _Seen) -> _Rows:
    """What the rows hold, in the same snapshot. Whatever keeps us from seeing it, the backup goes on without."""
    try:
        with joined(postgres, exported) as connection, answers_within(connection, LOOK_SECONDS):
            semantics = read_semantics(connection, seen.census)
            return _Rows(semantics, write_roll(connection, seen.census, candidate))
    except GivenUpError as error:
        rows = _Rows(_without(semantics, "roll", str(error)))
    except UnreachableError as error:
        rows = _Rows(unseen(seen.census, error.message))
    remove_tree((candidate / ROLL).parent)
    return rows


def _roll(
    previous: Backup | None, census: Census, rows: _Rows, candidate: Path, *, history: bool
) -> tuple[Roll | None, Semantics]:
    """What the roll says of the time since the last verified backup; what it cannot say is told with the rows."""
    if rows.roll is None:
        return None, rows.semantics
    try:
        changes = changes_since(previous, census.identity, candidate, history=history)
    except Mem0AssetsError as error:
        return Roll(RECIPE, None), _without(rows.semantics, CHANGES, error.message)
    return Roll(RECIPE, changes), rows.semantics


def _without(semantics: Semantics, part: str, why: str) -> Semantics:
    return replace(semantics, unknown={**semantics.unknown, part: why})


def _seal(candidate: Path, manifest: Manifest) -> None:
    """Write what vouches for the dump; the manifest last: a folder with a manifest is a complete candidate."""
    write_file(candidate / RESTORE, restore_instructions(manifest))
    digests = {file.path: file.sha256 for file in manifest.files} | {RESTORE: sha256_of(candidate / RESTORE)}
    write_file(candidate / CHECKSUMS, checksums(digests))
    for folder in sorted({(candidate / file.path).parent for file in manifest.files}):
        sync_folder(folder)
    write_json(candidate / f"{MANIFEST}.part", manifest.as_json())
    (candidate / f"{MANIFEST}.part").rename(candidate / MANIFEST)
    sync_folder(candidate)


def _require_space(catalog: Catalog) -> None:
    newest = catalog.newest_verified()
    needed = max(int(1.5 * newest.bytes) if newest else 0, LEAST_FREE_BYTES)
    free = shutil.disk_usage(catalog.root).free
    if free < needed:
        raise NoSpaceError(
            f"{catalog.root} has {free:,} bytes free and this backup needs about {needed:,}",
            next_step="Free space there; no backup was lost",
        )
