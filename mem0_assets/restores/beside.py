"""Loading a backup's databases into new ones beside the live ones, on the same server: nothing live is touched.

A dump that we did not write names roles, may connect to other databases, and may hold more than one: near a live server that
would be a second incident. So it first goes into a scratch server, where all of that does no harm, and from there, without
owners and grants, into the live one.
"""

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from psycopg import sql

from mem0_assets.backups.catalog import Catalog
from mem0_assets.backups.formats.dump_format import FORMATS
from mem0_assets.backups.formats.pg_dump import PgDump
from mem0_assets.backups.formats.sql_loader import LoadFailedError, LoadTimes, load_dump
from mem0_assets.backups.instant import one
from mem0_assets.backups.inventory import Backup
from mem0_assets.backups.manifest import Store
from mem0_assets.errors import NoSpaceError, UnreachableError
from mem0_assets.fleet import Deployment
from mem0_assets.live.embedded import PORT, SUPERUSER, EmbeddedServer
from mem0_assets.live.postgres import Connection, connect, connection_settings
from mem0_assets.live.programs import Program, find_program
from mem0_assets.restores.loader import Loader, dump_of
from mem0_assets.restores.machine import index_build_parameters
from mem0_assets.restores.names import beside_name, kept_name
from mem0_assets.restores.ownership import Ownership, carry_grants, existing_role, give, owner_of, read_tables
from mem0_assets.restores.scratch import DATABASE, connect_scratch, scratch_major, scratch_server
from mem0_assets.restores.server import WORK_SECONDS, admin_of, working

# CREATE and DROP DATABASE write a checkpoint, which may take minutes on a busy server.
SLOW_SECONDS = 900.0
# A server elsewhere, or in a container, may have little memory, and 64 MB of it to share (docker's default): without
# helpers no shared memory is asked for.
CAREFUL = {"maintenance_work_mem": "256MB", "max_parallel_maintenance_workers": "0"}


@dataclass(frozen=True)
class Place:
    """One database of a restore: its live name, what it is called while it lies beside, and what the old one will be.

    `live_oid` is None where there is no live database: then nothing is kept.
    """

    store: Store
    live: str
    beside: str
    kept: str
    live_oid: int | None

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def places(deployment: Deployment, backup: Backup, there: Mapping[str, int], restore: str) -> list[Place]:
    """The databases that this backup brings back here; `there` are those of the server, with their oids."""
    names: dict[Store, str] = {"postgres": deployment.postgres.database}
    if deployment.application and backup.manifest and backup.manifest.application:
        names["application"] = deployment.application.database
    return [
        Place(store, name, beside_name(name, restore), kept_name(name, restore), there.get(name))
        for store, name in names.items()
    ]


def load_beside(
    deployment: Deployment, catalog: Catalog, backup: Backup, place: Place, *, made_by: str | None
) -> tuple[LoadTimes, list[str]]:
    """Make the new database and load it, for its owners; the times, and what could not be carried over.

    `made_by` is the version of the server that was dumped, as far as the dump says.
    Raises LoadFailedError, DumpDamage, NoSpaceError, UnreachableError.
    """
    with _full_disk_told(), working(deployment, seconds=SLOW_SECONDS) as connection:
        ownership = _ownership(deployment, connection, backup, place)
        database, owner = sql.Identifier(place.beside), sql.Identifier(ownership.owner)
        make = sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE template0 ENCODING 'UTF8'")
        connection.execute(make.format(database, owner))
        notes = carry_grants(connection, place.live, place.beside)
        major = connection.info.server_version // 10000
    settings, program = connection_settings(admin_of(deployment, place.beside)), find_program("psql", major)
    with _full_disk_told():
        if backup.manifest:
            dump_format, files = dump_of(backup, place.store)
            load = FORMATS[dump_format].load
            times = load(program, settings, files, parameters=_parameters(deployment), jobs=deployment.dump.jobs)
        else:
            with scratch_server(catalog.candidates_folder, scratch_major(made_by or str(major))) as scratch:
                times = _load_foreign(deployment, backup, scratch, settings, program)
    with connect(admin_of(deployment, place.beside), seconds=WORK_SECONDS) as connection:
        notes += give(connection, ownership)
    return times, notes


def drop_beside(deployment: Deployment, names: list[str]) -> None:
    """Drop databases that were loaded beside and did not take any place. Raises UnreachableError."""
    with working(deployment, seconds=SLOW_SECONDS) as connection:
        for name in names:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


@contextmanager
def _full_disk_told() -> Iterator[None]:
    """A full disk by its name: nothing is wrong with the backup, and nothing with the server."""
    try:
        yield
    except (LoadFailedError, UnreachableError) as error:
        if "No space left on device" not in error.message:
            raise
        step = "Free space on the server's disk; the live database is as it was"
        raise NoSpaceError("the server's disk ran full while the backup was loaded", next_step=step) from None


def _ownership(deployment: Deployment, connection: Connection, backup: Backup, place: Place) -> Ownership:
    manifest = backup.manifest
    claimed = manifest.owner if manifest else None
    if place.store == "application" and manifest and manifest.application:
        claimed = manifest.application.owner
    live_owner = owner_of(connection, place.live)
    owner = existing_role(connection, live_owner, claimed, deployment.postgres.user)
    ownership = Ownership(owner, existing_role(connection, claimed, owner))
    if live_owner is None:
        return ownership
    with connect(admin_of(deployment, place.live), seconds=WORK_SECONDS) as live:
        return read_tables(live, ownership, deployment.postgres.collection)


def _load_foreign(
    deployment: Deployment, backup: Backup, scratch: EmbeddedServer, settings: dict[str, Any], program: Program
) -> LoadTimes:
    """By way of a scratch server: what the dump says of roles and of other databases stays there."""
    Loader(scratch, deployment.dump.jobs).load(DATABASE, *dump_of(backup, "postgres"))
    with connect_scratch(scratch) as connection, connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        exported = one(connection, "SELECT pg_export_snapshot() AS value")
        dump = PgDump(find_program("pg_dump", scratch.made_by or 0), _scratch_settings(scratch), exported)
        with closing(iter(dump)) as blocks, dump.killed_on_error():
            return load_dump(program, settings, blocks, parameters=_parameters(deployment))


def _scratch_settings(scratch: EmbeddedServer) -> dict[str, Any]:
    return {"host": str(scratch.socket_folder), "port": PORT, "user": SUPERUSER, "dbname": DATABASE}


def _parameters(deployment: Deployment) -> dict[str, str]:
    """Memory and helpers for building indexes: this machine's where the server is our own, else little."""
    return index_build_parameters() if deployment.postgres.embedded else CAREFUL
