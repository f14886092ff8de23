"""Whether a recovery could be done: a proven backup, the room, and a plan that nothing stands against. For gates A and B."""

import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

from mem0_assets.alerts.messages import spoken
from mem0_assets.alerts.watch import drill_seconds, last_proof
from mem0_assets.backups.catalog import Catalog
from mem0_assets.backups.files import plain_disk_errors
from mem0_assets.backups.inventory import Backup
from mem0_assets.errors import Mem0AssetsError, NoSpaceError, NotFoundError
from mem0_assets.fleet import Deployment
from mem0_assets.live.containers import docker_of
from mem0_assets.recovery.gates import Evidence
from mem0_assets.restores.plan import plan_restore


def readiness(deployment: Deployment, backup: str) -> Iterator[Evidence]:
    """Gate A: a backup that can be restored, the room, what a restore would do, and what will be missing."""
    yield needed("backup", lambda: _backup(deployment, backup), about=backup)
    yield _drill(deployment)
    yield _stores(deployment)
    yield needed("space", lambda: _space(deployment, backup))
    yield from _plan(deployment, backup)
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
    """A safety backup is about as large as the one that is restored. (Of the database's disk the plan speaks.)"""
    found, root = verified_backup(Catalog(deployment), backup), deployment.backups
    with plain_disk_errors(root):
        free = shutil.disk_usage(root).free
    if free < found.bytes:
        what = f"a safety backup needs about {found.bytes:,} bytes in {root}, and {free:,} are free"
        raise NoSpaceError(what, next_step="Free space there")
    return f"{free:,} bytes are free for a safety backup"


def _plan(deployment: Deployment, backup: str) -> Iterator[Evidence]:
    """What a restore would do now. Whether it would lose anything is what was approved; how much may change."""
    try:
        plan = plan_restore(deployment, backup)
    except Mem0AssetsError as error:
        yield Evidence("plan", False, error.message, error.next_step, needed=True)
        return
    changes = plan.as_json()
    gained, lost, seconds = changes["gained"], changes["lost"], plan.expected_seconds
    what = f"{gained} memories come back, {lost} that are live now go"
    what += f", in about {seconds:g} s" if seconds else ""
    stops = ", ".join([*plan.containers, *map(str, plan.sessions)])
    what += f"; to be stopped: {stops}" if stops else "; nobody is connected"
    ok = plan.against.ok
    detail = what if ok else plan.against.sentence()
    about = "it loses memories" if lost else "it loses none"
    yield Evidence("plan", ok, detail, "; ".join(plan.steps), needed=True, about=about)
    for number, caution in enumerate(plan.cautions, 1):
        yield Evidence(f"caution {number}", False, caution.rstrip("."))


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
