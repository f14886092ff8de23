"""Each thing that must be right before memories are safe, one line each, with what to do where it is not."""

import os
import shlex
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from psycopg.sql import SQL, Identifier

from mem0_assets.alerts.outbox import Outbox
from mem0_assets.alerts.telegram import Telegram
from mem0_assets.alerts.watch import channel_of
from mem0_assets.backups.catalog import Catalog
from mem0_assets.backups.deployment_files import copy_files
from mem0_assets.backups.stores import REVISION
from mem0_assets.errors import Mem0AssetsError, TableMissingError
from mem0_assets.fleet import Deployment, Fleet, Postgres
from mem0_assets.live.containers import ContainerMissingError, Docker, DockerUnreachableError, docker_of
from mem0_assets.live.health import look_at_health
from mem0_assets.live.history import newest_row
from mem0_assets.live.postgres import SCHEMA, Connection, connect
from mem0_assets.live.programs import find_program
from mem0_assets.live.tables import user_tables
from mem0_assets.restores.scratch import scratch_major

SECONDS = 10.0
APPLICATION_TABLES = ("users", "api_keys")  # without which nobody can log in


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
    yield from _programs(deployment)
    yield from _stores(deployment)
    yield from _containers(deployment)
    yield _newest_backup(deployment)
    yield _newest_drill(deployment)


def _checked(name: str, look: Callable[[], str], command: str = "") -> Check:
    """One look. `command` shows more where it fails: it comes first, to be pasted as it is, with the next step."""
    try:
        return Check(name, True, look())
    except Mem0AssetsError as error:
        return Check(name, False, error.message, "  # ".join(part for part in (command, error.next_step) if part))


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


def _programs(deployment: Deployment) -> Iterator[Check]:
    """What this machine needs for a server of that version; one line where the server does not tell its version."""
    name = deployment.name
    try:
        with connect(deployment.postgres, seconds=SECONDS) as connection:
            major = connection.info.server_version // 10000
    except Mem0AssetsError:
        detail = "not known which are needed before PostgreSQL answers"
        yield Check(f"{name}: programs", False, detail, "Mend that first, then `mem0-assets doctor`")
        return
    yield _checked(f"{name}: pg_dump", lambda: _program("pg_dump", major))
    if deployment.stores.roles:
        yield _checked(f"{name}: roles", lambda: _program("pg_dumpall", major))
    yield _checked(f"{name}: drill server", lambda: _drill_server(major))


def _program(name: str, major: int) -> str:
    program = find_program(name, major)
    return f"{program} ({program.path}) for PostgreSQL {major}"


def _drill_server(major: int) -> str:
    scratch = scratch_major(str(major))
    return f"backups of PostgreSQL {major} are drilled on an embedded PostgreSQL {scratch}"


def _stores(deployment: Deployment) -> Iterator[Check]:
    """The other stores, as the next backup will want them: a line each, and one for those that are not kept."""
    name, stores, application = deployment.name, deployment.stores, deployment.application
    if application:
        yield _checked(f"{name}: application", lambda: _application(application), _databases(application))
    if history := stores.history:
        look = shlex.join(["ls", "-l", str(history.parent)])
        yield _checked(f"{name}: history", lambda: f"{history} has {newest_row(history):,} events", look)
    if stores.files:
        look = shlex.join(["ls", "-l", *map(str, stores.files)])
        yield _checked(f"{name}: files", lambda: _files(deployment), look)
    if stores.left_out:
        detail = f"not kept, as fleet.yaml does not name it: {', '.join(stores.left_out)}"
        yield Check(f"{name}: other stores", True, detail)


def _databases(postgres: Postgres) -> str:
    """The command that lists what databases there are; none for a server of our own, which is started when needed."""
    if postgres.embedded:
        return ""
    return shlex.join(
        ["psql", "-h", postgres.host, "-p", str(postgres.port), "-U", postgres.user, "-d", "postgres", "-l"]
    )


def _application(postgres: Postgres) -> str:
    with connect(postgres, seconds=SECONDS) as connection:
        tables = user_tables(connection)
        if REVISION not in tables:
            message = f"{postgres.address} is none of mem0's: it has no table {REVISION[1]}"
            raise TableMissingError(message, next_step="Correct stores.application in fleet.yaml")
        counts = [_rows(connection, name) for name in APPLICATION_TABLES if (SCHEMA, name) in tables]
    return f"{postgres.address} holds {len(tables)} tables: {', '.join(counts)}"


def _rows(connection: Connection, table: str) -> str:
    row = connection.execute(SQL("SELECT count(*) AS rows FROM {}").format(Identifier(SCHEMA, table))).fetchone()
    return f"{row['rows'] if row else 0:,} {table}"


def _files(deployment: Deployment) -> str:
    with tempfile.TemporaryDirectory(prefix="mem0-assets-doctor-") as scratch:
        copies = copy_files(deployment.stores.files, Path(scratch))
    masked = sum(len(copy.masked) for copy in copies)
    return f"{len(copies)} files can be kept, {masked} secrets in them masked"


def _containers(deployment: Deployment) -> Iterator[Check]:
    """Every container that fleet.yaml names; all of them in one line where no Docker answers."""
    containers = deployment.containers
    if not containers.named:
        return
    try:
        with docker_of(containers) as docker:
            yield from [_container(deployment.name, docker, container) for container in containers.named]
    except DockerUnreachableError as error:
        names = ", ".join(containers.named)
        yield Check(
            f"{deployment.name}: containers", False, f"{names}: {error.message}", f"docker info  # {error.next_step}"
        )


def _container(deployment: str, docker: Docker, name: str) -> Check:
    check = f"{deployment}: container {name}"
    try:
        seen = docker.inspect(name)
    except ContainerMissingError as error:
        fix = "docker ps --all --format '{{.Names}}'  # and correct containers in fleet.yaml"
        return Check(check, False, error.message, fix)
    if not seen.running:
        return Check(check, False, "does not run", shlex.join(["docker", "start", name]))
    since = f" since {seen.started_at.isoformat(timespec='seconds')}" if seen.started_at else ""
    return Check(check, True, f"runs {seen.image}{since}")


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
