"""Whether a recovery could be done: a proven backup, the rights and the room. What gates A and B rest on."""

import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

from mem0_assets.alerts.messages import spoken
from mem0_assets.alerts.watch import drill_seconds, last_proof
from mem0_assets.backups.catalog import Catalog
from mem0_assets.backups.files import plain_disk_errors
from mem0_assets.backups.inventory import Backup
from mem0_assets.errors import Mem0AssetsError, NoSpaceError, NotFoundError, RefusedError
from mem0_assets.fleet import Deployment
from mem0_assets.live.containers import docker_of
from mem0_assets.live.postgres import connect
from mem0_assets.recovery.gates import Evidence

SECONDS = 10.0
MAINTENANCE = "postgres"  # every server has this database: the live one may be what was lost


def readiness(deployment: Deployment, backup: str) -> Iterator[Evidence]:
    """Gate A: a backup that can be restored, the rights and the room to do it, and what will be missing."""
    yield needed("backup", lambda: _backup(deployment, backup), about=backup)
    yield _drill(deployment)
    yield _stores(deployment)
    yield needed("space", lambda: _space(deployment, backup))
    yield needed("rights", lambda: _rights(deployment))
    if deployment.containers.named:
        yield needed("containers", lambda: containers_there(deployment))


def needed(name: str, look: Callable[[], str], about: str = "") -> Evidence:
    """A line without which the gate stays shut, from a look that raises where it is not well."""
    try:
        return Evidence(name, True, look(), needed=True, about=about)
    except Mem0AssetsError as error:
        return Evidence(name, False, error.message, error.next_step, needed=True, about=about)


def _backup(deployment: Deployment, backup: str) -> str:
    found = verified_backup(Catalog(deployment), backup)
    age = spoken(datetime.now(UTC) - found.created_at)
    return f"{found.backup} holds {found.total} memories, is verified, and {age} old"


def _drill(deployment: Deployment) -> Evidence:
    catalog = Catalog(deployment)
    proof, last = last_proof(catalog), catalog.last_drill()
    fix = f"mem0-assets drill {deployment.name}"
    if proof is None or last is None:
        return Evidence("drill", False, "no backup was ever restored in a drill", fix)
    age = spoken(datetime.now(UTC) - proof[0])
    detail = f"{proof[1]} was restored in {drill_seconds(catalog) or 0:g} s, {age} ago"
    if last["verdict"] != "ok":
        return Evidence("drill", False, f"the newest drill, of {last['backup']}, failed; before it, {detail}", fix)
    return Evidence("drill", True, detail)


def _stores(deployment: Deployment) -> Evidence:
    left_out = ", ".join(deployment.stores.left_out)
    detail = f"no backup brings back: {left_out}" if left_out else "application, history, files and roles are kept"
    return Evidence("stores", not left_out, detail, "Name them under `stores` in fleet.yaml" if left_out else "")


def _space(deployment: Deployment, backup: str) -> str:
    """A safety backup is about as large as the one that is restored; the restored tables, as their SQL text."""
    found, root = verified_backup(Catalog(deployment), backup), deployment.backups
    with plain_disk_errors(root):
        free = shutil.disk_usage(root).free
    _require_room(f"the backups in {root}", found.bytes, free)
    embedded = deployment.postgres.embedded
    if embedded is None:
        return f"{free:,} bytes are free for a safety backup; the disk of the database cannot be seen from here"
    plain = found.manifest.plain_bytes if found.manifest else 3 * found.bytes
    with plain_disk_errors(embedded):
        there = shutil.disk_usage(embedded).free
    _require_room(f"the database in {embedded}", plain, there)
    return f"{free:,} bytes are free for a safety backup, and {there:,} for the restored database"


def _require_room(where: str, wanted: int, free: int) -> None:
    if free < wanted:
        raise NoSpaceError(
            f"{where}: {free:,} bytes are free, and about {wanted:,} are needed", next_step="Free space there"
        )


def _rights(deployment: Deployment) -> str:
    """Whether the server answers, and its role may make the database that takes the live one's place."""
    elsewhere = deployment.postgres.model_copy(update={"database": MAINTENANCE})
    with connect(elsewhere, seconds=SECONDS) as connection:
        row = connection.execute(
            "SELECT current_user AS role, rolsuper OR rolcreatedb AS may, rolsuper AS superuser,"
            " EXISTS (SELECT FROM pg_available_extensions WHERE name = 'vector') AS pgvector"
            " FROM pg_roles WHERE rolname = current_user"
        ).fetchone()
    assert row is not None  # every session has a role
    if not row["pgvector"]:
        raise RefusedError("this server has no pgvector", next_step="Install it there, or use pgvector's own image")
    if not row["may"]:
        raise RefusedError(
            f"the role {row['role']} may not create databases", next_step=f'ALTER ROLE "{row["role"]}" CREATEDB'
        )
    return f"the server answers, has pgvector, and {row['role']} may create databases"


def containers_there(deployment: Deployment) -> str:
    """Every container that fleet.yaml names, and whether it runs. Raises as `Docker.inspect` does."""
    with docker_of(deployment.containers) as docker:
        found = [docker.inspect(name) for name in deployment.containers.named]
    return ", ".join(f"{one.name} {'runs' if one.running else 'stands still'}" for one in found)


def verified_backup(catalog: Catalog, backup: str) -> Backup:
    """The backup of this id. Raises NotFoundError where it has expired, or is not verified."""
    found = catalog.find(backup)
    if found.state != "verified":
        raise NotFoundError(f"{found.backup} is {found.state}, and only verified backups are restored")
    return found
