"""What a restore would do, before it does anything: what is gained and lost, what must stop, what stands against it.

Nothing is written. What cannot be known from here (the disk of a server elsewhere, an embedder that does not say) is said to
be unknown, and never guessed.
"""

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from mem0_assets.backups.catalog import Catalog
from mem0_assets.backups.difference import Difference, difference
from mem0_assets.backups.files import plain_disk_errors
from mem0_assets.backups.formats.damage import DumpDamage
from mem0_assets.backups.inventory import Backup
from mem0_assets.backups.legacy import examine_legacy
from mem0_assets.backups.memories import read_memories
from mem0_assets.errors import NotACollectionError, RefusedError, TableMissingError, UnreachableError
from mem0_assets.fleet import Deployment
from mem0_assets.live.census import CENSUS_SECONDS, Census, collections, read_census
from mem0_assets.live.memories import Selection, read_deployment
from mem0_assets.live.newest import newest_memory
from mem0_assets.live.postgres import SCHEMA, Connection, connect, snapshot
from mem0_assets.restores.embedder import RunningEmbedder, running_embedder
from mem0_assets.restores.server import Session, databases, missing_rights, sessions, targets, working
from mem0_assets.verdicts import Reason, Verdict

# What tables and indexes take on the server for each byte of the dump: the digits of vectors in SQL are three times as
# long as the vectors, and an HNSW index holds each vector a second time.
ROOM_PER_BYTE = {"sql": 1.0, "binary": 2.5}
ROOM_FOR_WAL = 256 << 20


@dataclass(frozen=True)
class Live:
    """What the live database holds now. `total` is None where it could not be counted, and `problem` says why.

    `neighbours` are the collections there that are another mem0's.
    """

    total: int | None
    namespaces: Mapping[str, int]
    newest: datetime | None
    identity: dict[str, Any] | None
    problem: str | None
    neighbours: tuple[str, ...] = ()

    @property
    def dimensions(self) -> int | None:
        return self.identity["dimensions"] if self.identity else None

    def as_json(self) -> dict[str, Any]:
        newest = self.newest.isoformat() if self.newest else None
        return {"total": self.total, "newest_memory": newest, "identity": self.identity, "problem": self.problem}


@dataclass(frozen=True)
class Plan:
    """All that a person should know before a restore. `against` and `steps` are what forbids it, and what mends that.

    `missing` names the databases that are not on the server at all. `free_bytes` is None where nobody can know from here.
    `difference`, from live to the backup, is by id: ten new memories beside ten that were deleted are no difference of
    numbers. None where there is nothing live, or the backup cannot be read; a vector alone that changed is not seen.
    """

    deployment: str
    backup: Backup
    live: Live
    difference: Difference | None
    missing: tuple[str, ...]
    embedder: RunningEmbedder | None
    needed_bytes: int
    free_bytes: int | None
    expected_seconds: float | None
    containers: tuple[str, ...]
    sessions: tuple[Session, ...]
    history: Path | None
    against: Verdict
    steps: tuple[str, ...]
    cautions: tuple[str, ...]

    @property
    def changes(self) -> list[dict[str, Any]]:
        """Per namespace: what it holds live and in the backup, and how many are gained, lost, and changed back."""
        found = self.difference.namespaces if self.difference else {}
        live, back = self.live.namespaces, self.backup.namespaces
        names = sorted(found or live.keys() | back.keys(), key=lambda name: (-back.get(name, 0), name))
        rows = []
        for name in names:
            one = found.get(name)
            same = one.changed + one.unchanged if one else 0
            gained, lost = (one.gained, one.lost) if one else (back.get(name, 0), live.get(name, 0))
            rows.append(
                {
                    "namespace": name,
                    "live": lost + same,
                    "backup": gained + same,
                    "gained": gained,
                    "lost": lost,
                    "changed": one.changed if one else 0,
                }
            )
        return rows

    def as_json(self) -> dict[str, Any]:
        newest = self.backup.manifest.newest_memory if self.backup.manifest else None
        return {
            **self.against.as_json(),
            "deployment": self.deployment,
            "backup": {**self.backup.as_json(), "newest_memory": newest.isoformat() if newest else None},
            "live": self.live.as_json(),
            "namespaces": self.changes,
            "gained": sum(change["gained"] for change in self.changes),
            "lost": sum(change["lost"] for change in self.changes),
            "changed": sum(change["changed"] for change in self.changes),
            "dimensions": {
                "live": self.live.dimensions,
                "backup": self.backup.dimensions,
                "embedder": self.embedder.as_json() if self.embedder else None,
            },
            "missing_databases": list(self.missing),
            "space": {"needed_bytes": self.needed_bytes, "free_bytes": self.free_bytes},
            "expected_seconds": self.expected_seconds,
            "stops": {
                "containers": list(self.containers),
                "sessions": [session.as_json() for session in self.sessions],
            },
            "history": str(self.history) if self.history else None,
            "next_steps": list(self.steps),
            "cautions": list(self.cautions),
        }


def plan_restore(deployment: Deployment, backup: str = "latest", *, by_id: bool = True) -> Plan:
    """Look at the backup ("latest" is the newest verified one) and at what is live. Changes nothing on the server.

    `by_id` reads the memories of both, without their vectors; else only their numbers are compared.
    Raises NotFoundError, RefusedError where the backup may not be restored, UnreachableError where the server is away.
    """
    catalog = Catalog(deployment)
    with plain_disk_errors(catalog.root):
        examine_legacy(catalog)
        chosen = restorable(catalog, backup)
    with working(deployment) as connection:
        there = databases(connection)
        held = sessions(connection, targets(deployment))
        rights = missing_rights(connection, [name for name in targets(deployment) if name in there])
        major = connection.info.server_version // 10000
    live = _look(deployment) if deployment.postgres.database in there else _nothing(deployment)
    compared, damaged = _compared(deployment, chosen, live) if by_id else (None, [])
    embedder = running_embedder(deployment.health)
    needed, free = room_needed(chosen), room_free(deployment)
    obstacles = [*rights, *damaged, *_obstacles(chosen, major, needed, free)]
    return Plan(
        deployment=deployment.name,
        backup=chosen,
        live=live,
        difference=compared,
        missing=tuple(name for name in targets(deployment) if name not in there),
        embedder=embedder,
        needed_bytes=needed,
        free_bytes=free,
        expected_seconds=_expected_seconds(catalog, chosen),
        containers=deployment.containers.writing,
        sessions=tuple(held),
        history=deployment.stores.history if chosen.manifest and chosen.manifest.history else None,
        against=Verdict(tuple(reason for reason, _ in obstacles)),
        steps=tuple(step for _, step in obstacles),
        cautions=tuple(_cautions(deployment, chosen, live, embedder)),
    )


def restorable(catalog: Catalog, backup: str) -> Backup:
    """The backup of this id, or the newest verified one. Raises NotFoundError, RefusedError."""
    chosen = catalog.find(backup)
    if chosen.state not in ("verified", "safety"):
        step = f"If it is meant: mem0-assets accept {catalog.deployment.name} --backup {chosen.backup} --reason WHY"
        raise RefusedError(f"{chosen.backup} is {chosen.state}, and is not restored", next_step=step)
    return chosen


def room_needed(backup: Backup) -> int:
    """Bytes that the restored databases take on the server, with what is written on the way."""
    if backup.manifest is None:
        return 3 * backup.bytes + ROOM_FOR_WAL
    return int(backup.manifest.plain_bytes * ROOM_PER_BYTE[backup.manifest.format]) + ROOM_FOR_WAL


def room_free(deployment: Deployment) -> int | None:
    """Bytes that are free where the server keeps its data; None where that is not on this machine for sure."""
    folder = deployment.postgres.embedded
    return shutil.disk_usage(folder).free if folder and folder.exists() else None


def _look(deployment: Deployment) -> Live:
    postgres = deployment.postgres
    try:
        with (
            connect(postgres, seconds=CENSUS_SECONDS) as connection,
            snapshot(connection, [(SCHEMA, postgres.collection)]),
        ):
            return _counted(connection, read_census(connection, postgres.collection))
    except (TableMissingError, NotACollectionError, UnreachableError) as error:
        return Live(None, {}, None, None, error.message)


def _compared(deployment: Deployment, backup: Backup, live: Live) -> tuple[Difference | None, list[tuple[Reason, str]]]:
    """What differs by id; nothing is read where nothing is live. And what forbids the restore: a backup that is damaged."""
    if not live.total:
        return None, []
    selection = Selection(vectors=False)
    try:
        return difference(read_deployment(deployment.postgres, selection), read_memories(backup, selection)), []
    except DumpDamage as damage:
        return None, [(damage.reason, f"Restore another one: mem0-assets backups {deployment.name}")]


def _counted(connection: Connection, census: Census) -> Live:
    newest = newest_memory(connection, census.collection)
    own = {census.collection, f"{census.collection}_entities", "mem0migrations", "mem0migrations_entities"}
    neighbours = tuple(name for name in collections(connection) if name not in own)
    return Live(census.total, census.namespaces, newest, census.identity.as_json(), None, neighbours)


def _nothing(deployment: Deployment) -> Live:
    return Live(None, {}, None, None, f"the server answers, and it has no database {deployment.postgres.database}")


def _obstacles(backup: Backup, major: int, needed: int, free: int | None) -> Iterator[tuple[Reason, str]]:
    made_by = backup.manifest.census.identity.server_version if backup.manifest else None
    if made_by and int(made_by.split(".")[0]) > major:
        what = f"the backup comes from PostgreSQL {made_by}, and the server is of the older version {major}"
        yield Reason("server_too_old", what), "Restore into a server of the backup's version or newer"
    if free is not None and free < needed:
        what = f"the restored databases need about {needed:,} bytes where the server's data lie, and {free:,} are free"
        yield Reason("no_space", what), "Free space there; nothing was touched"


def _expected_seconds(catalog: Catalog, backup: Backup) -> float | None:
    """What the last good drill took, in proportion to the bytes where it was of another backup."""
    sizes = {one.backup: one.bytes for one in catalog.backups()}
    for drill in reversed(list(catalog.journal.events("drill"))):
        size, seconds = sizes.get(drill["backup"]), drill.get("seconds", {}).get("total")
        if drill["verdict"] == "ok" and size and seconds:
            return round(float(seconds) * backup.bytes / size, 1)
    return None


def _cautions(deployment: Deployment, backup: Backup, live: Live, embedder: RunningEmbedder | None) -> Iterator[str]:
    yield from _embedder_cautions(backup, live, embedder)
    if live.neighbours:
        what = f"The database also holds the collections {', '.join(live.neighbours)}"
        yield f"{what}: they go back to the time of the backup with it. --mode missing writes to this collection alone."
    manifest = backup.manifest
    if deployment.application and (manifest is None or manifest.application is None):
        yield f"The backup does not hold {deployment.application.database}: users and keys stay as they are."
    if manifest and manifest.application and deployment.application is None:
        yield "The backup holds an application's database, which fleet.yaml does not name: it is not restored."
    if deployment.stores.history and (manifest is None or manifest.history is None):
        yield f"The backup does not hold mem0's history: {deployment.stores.history} stays as it is."
    if manifest and manifest.history and deployment.stores.history is None:
        yield "The backup holds mem0's history, and fleet.yaml does not name its place: it is not restored."
    if manifest and manifest.census.collection != deployment.postgres.collection:
        what = f"The backup's collection is {manifest.census.collection}"
        yield f"{what}, and fleet.yaml names {deployment.postgres.collection}: mem0 will not see what comes back."


def _embedder_cautions(backup: Backup, live: Live, embedder: RunningEmbedder | None) -> Iterator[str]:
    back = backup.dimensions
    if back and live.dimensions and back != live.dimensions:
        what = f"The backup's vectors have {back} dimensions, and the live ones {live.dimensions}"
        yield f"{what}: what runs now was made for {live.dimensions}, and cannot search what comes back."
    if embedder is None:
        yield "Which embedder runs is not known (name health.server_url and health.admin_key_env)."
    elif embedder.dimensions is None:
        yield f"How many dimensions the embedder {embedder.model or 'of the server'} gives is not known."
    elif back and embedder.dimensions != back:
        what = f"The running embedder ({embedder.model or 'unnamed'}) gives {embedder.dimensions} dimensions"
        yield f"{what}, the backup has {back}: change mem0's settings, or nothing that comes back can be searched."
