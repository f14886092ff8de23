"""Each thing that must be right before memories are safe, one line each, with what to do where it is not."""

import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mem0_assets.alerts.outbox import Outbox
from mem0_assets.alerts.telegram import Telegram
from mem0_assets.alerts.watch import channel_of
from mem0_assets.backups.catalog import Catalog
from mem0_assets.backups.deployment_files import copy_files
from mem0_assets.errors import Mem0AssetsError
from mem0_assets.fleet import Deployment, Fleet, Postgres
from mem0_assets.live.health import look_at_health
from mem0_assets.live.history import newest_row
from mem0_assets.live.postgres import connect
from mem0_assets.live.programs import find_program
from mem0_assets.live.tables import user_tables
from mem0_assets.restores.scratch import scratch_major

SECONDS = 10.0


@dataclass(frozen=True)
class Check:
    """One line of the doctor: `fix` says what to do, and is empty where all is well."""

    name: str
    ok: bool
    detail: str
    fix: str = ""

    def as_json(self) -> dict[str, Any]:
        return dict(vars(self))


def examine(fleet: Fleet) -> Iterator[Check]:
    """All checks of a fleet, in the order in which a person would look."""
    yield Check("fleet", True, f"{fleet.path}: {', '.join(fleet.deployments)}")
    yield _checked("backups folder", lambda: _backups_folder(fleet.backups_root))
    yield _telegram(fleet)
    yield _outbox(fleet)
    for deployment in fleet.deployments.values():
        yield from examine_deployment(deployment)


def examine_deployment(deployment: Deployment) -> Iterator[Check]:
    """The checks of one deployment, in the order in which a person would look."""
    name = deployment.name
    for seen in look_at_health(deployment):
        yield Check(f"{name}: {seen.check}", seen.ok, seen.sentence, seen.next_step)
    yield _checked(f"{name}: pg_dump", lambda: _pg_dump(deployment))
    yield _checked(f"{name}: drill server", lambda: _drill_server(deployment))
    yield from _stores(deployment)
    yield _newest_backup(deployment)
    yield _newest_drill(deployment)


def _checked(name: str, look: Callable[[], str]) -> Check:
    try:
        return Check(name, True, look())
    except Mem0AssetsError as error:
        return Check(name, False, error.message, error.next_step)


def _backups_folder(folder: Path) -> str:
    try:
        folder.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".doctor_", dir=folder) as scratch:
            one, two = Path(scratch, "one"), Path(scratch, "two")
            one.touch()
            os.link(one, two)
    except OSError as error:
        step = "Is the disk mounted, may this user write there, and does it have hard links?"
        raise Mem0AssetsError(f"{folder}: {error.strerror}", next_step=step) from None
    return f"{folder} can be written, and has hard links"


def _telegram(fleet: Fleet) -> Check:
    channel = channel_of(fleet)
    if not isinstance(channel, Telegram):
        return Check("telegram", True, "not configured: alerts go to the log only (add `telegram: {}` to fleet.yaml)")
    return _checked("telegram", lambda: f"the bot is @{channel.get_me().username}; alerts go to chat {channel.chat_id}")


def _outbox(fleet: Fleet) -> Check:
    waiting = Outbox(fleet.alerts_folder).pending(now=datetime.now(UTC))
    if not waiting.count and not waiting.undeliverable:
        return Check("outbox", True, "no alert waits for delivery")
    detail = f"{waiting.count} alerts wait, {waiting.undeliverable} were refused: {waiting.last_error}"
    return Check("outbox", False, detail, "mem0-assets alert test")


def _server_major(deployment: Deployment) -> int:
    with connect(deployment.postgres, seconds=SECONDS) as connection:
        return connection.info.server_version // 10000


def _pg_dump(deployment: Deployment) -> str:
    major = _server_major(deployment)
    program = find_program("pg_dump", major)
    return f"{program} ({program.path}) for PostgreSQL {major}"


def _drill_server(deployment: Deployment) -> str:
    major = _server_major(deployment)
    scratch = scratch_major(str(major))
    return f"backups of PostgreSQL {major} are drilled on an embedded PostgreSQL {scratch}"


def _stores(deployment: Deployment) -> Iterator[Check]:
    """The other stores, as the next backup will want them."""
    history, application = deployment.stores.history, deployment.application
    if history:
        yield _checked(f"{deployment.name}: history", lambda: f"{history} has {newest_row(history):,} events")
    if application:
        yield _checked(f"{deployment.name}: application", lambda: _application(application))
    if deployment.stores.files:
        yield _checked(f"{deployment.name}: files", lambda: _files(deployment))


def _application(postgres: Postgres) -> str:
    with connect(postgres, seconds=SECONDS) as connection:
        return f"{postgres.address} holds {len(user_tables(connection))} tables"


def _files(deployment: Deployment) -> str:
    with tempfile.TemporaryDirectory(prefix="mem0-assets-doctor-") as scratch:
        copies = copy_files(deployment.stores.files, Path(scratch))
    masked = sum(len(copy.masked) for copy in copies)
    return f"{len(copies)} files can be kept, {masked} secrets in them masked"


def _newest_backup(deployment: Deployment) -> Check:
    newest = Catalog(deployment).newest_verified()
    if newest is None:
        return Check(f"{deployment.name}: backup", False, "never backed up", f"mem0-assets backup {deployment.name}")
    return Check(f"{deployment.name}: backup", True, f"{newest.backup} holds {newest.total} memories")


def _newest_drill(deployment: Deployment) -> Check:
    event = Catalog(deployment).last_drill()
    name, fix = f"{deployment.name}: drill", f"mem0-assets drill {deployment.name}"
    if event is None:
        return Check(name, False, "no backup was ever restored in a drill", fix)
    ok = event["verdict"] == "ok"
    return Check(name, ok, f"{event['backup']} at {event['at']}: {event['verdict']}", "" if ok else fix)
