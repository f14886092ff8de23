"""The first fleet.yaml: a commented one to fill in, or one that is read off mem0's own compose file and .env.

In the incident of January 2026 scripts, `.env` and containers each had their own idea of ports and credentials. A first
fleet.yaml that is typed by hand begins with a fourth idea. So it is read from what Docker itself starts, and where two
places disagree, or none says what is true, a note says so: no guess stays silent.

Here is decided what one deployment of a compose file means: where this machine reaches its database, and which variable
names its password. Which services are one deployment is in compose_groups.py, its other stores and its containers in
compose_stores.py, how the file is read in compose.py, and how a fleet.yaml looks in fleet_text.py.
Secrets are compared, never copied: fleet.yaml, notes and errors name variables and files only.
"""

import ipaddress
import itertools
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from mem0_assets.backups.files import sync_folder, write_file
from mem0_assets.compose import PASSWORD, POSTGRES_PORT, Service, read_compose, read_env
from mem0_assets.compose_groups import DEFAULT_NAME, Group, find_groups, note_strays, numbered
from mem0_assets.compose_stores import SERVER_PORTS, Kept, containers_of, server_of, stores_of
from mem0_assets.errors import ConfigurationError
from mem0_assets.fleet import DEPLOYMENT_NAME, Postgres, TelegramSettings
from mem0_assets.fleet_text import Entry, Password, Plan, fleet_text

# Where this machine finds a port that is published on this address.
REACHED_AT = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}
ADMIN_KEY = "ADMIN_API_KEY"  # of mem0's server; with it health sees whether the memories answer
TELEGRAM = TelegramSettings()
TELEGRAM_VARIABLES = (TELEGRAM.bot_token_env, TELEGRAM.chat_id_env)


@dataclass(frozen=True)
class Written:
    """A fleet.yaml that was written: where, the names of its deployments, and what the user must know or do."""

    path: Path
    deployments: tuple[str, ...]
    notes: tuple[str, ...]


def write_fleet(target: Path, *, source: Path | None = None, name: str = DEFAULT_NAME, force: bool = False) -> Written:
    """Write a fleet.yaml to `target`, whole or not at all.

    `source` is a folder with mem0's compose file and .env, or one of these files; without it, all values are defaults.
    `name` is for the deployment that no suffix names (a service `postgres_test` is `test`); where there is only one
    deployment, a name other than the default wins over the suffix. Raises ConfigurationError where `target` exists
    (unless `force`), and where a file is missing, unreadable, not what it should be, or holds no PostgreSQL.
    """
    target = Path(os.path.abspath(target))
    if not DEPLOYMENT_NAME.fullmatch(name):
        raise ConfigurationError(f"{name!r} is not a deployment name: letters, digits and _ only, a letter first")
    if os.path.lexists(target) and not force:
        raise ConfigurationError(
            f"{target}: exists already, and was left as it is",
            next_step="Write it anew with --force, or name another file with --fleet",
        )
    plan = _blank(target, name) if source is None else _read_off(Path(os.path.abspath(source)), target, name)
    _publish(target, fleet_text(plan))
    return Written(target, tuple(entry.name for entry in plan.deployments), plan.notes)


def _publish(target: Path, text: str) -> None:
    candidate = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        write_file(candidate, text)
        candidate.replace(target)
        sync_folder(target.parent)
    except OSError as error:
        with suppress(OSError):
            candidate.unlink()
        raise ConfigurationError(
            f"{target}: cannot be written: {error.strerror or error}",
            next_step="Is its folder there, and may this user write to it?",
        ) from None


# --- What is to be written ---


def _blank(target: Path, name: str) -> Plan:
    secrets = ", ".join(f"{variable}=..." for variable in (*TELEGRAM_VARIABLES, PASSWORD))
    notes = (
        f"Fill in host, port, user and database of the deployment {name}",
        f"Write the secrets into {target.parent / '.env'}: {secrets}",
    )
    return Plan((Entry(name, Password(PASSWORD)),), ".env", True, notes)


def _read_off(source: Path, target: Path, name: str) -> Plan:
    compose = read_compose(source)
    groups = find_groups(compose, name)
    note_strays(compose, groups)
    entries = _told_apart([_entry(group, target.parent) for group in groups])
    env_file = _env_file(entries, compose.env_file or target.parent / ".env")
    variables = read_env(env_file)
    held = {variable for variable, value in variables.items() if value}
    entries = [_with_key(entry, server_of(group), variables) for entry, group in zip(entries, groups, strict=True)]
    read = f"Read {compose.path}" + (f" and {compose.env_file}" if compose.env_file else "; there is no .env beside it")
    notes = (read, *dict.fromkeys([*compose.notes, *_secret_notes(entries, env_file, held)]))
    return Plan(tuple(entries), _seen_from(target.parent, env_file), held.issuperset(TELEGRAM_VARIABLES), notes)


def _seen_from(folder: Path, file: Path) -> str:
    """Relative where the file lies in or below the folder, so that both can be moved together; else absolute."""
    if file.parent == folder:
        return file.name
    return f"./{file.relative_to(folder)}" if file.is_relative_to(folder) else str(file)


# --- One deployment ---


def _entry(group: Group, folder: Path) -> Entry:
    """`folder` is that of fleet.yaml, from which paths are seen."""
    place, remark = _place(group)
    account = next((service for service in (group.database, *group.clients) if service.has_password()), group.database)
    postgres = {**place, "user": _user(group, account), "database": _database(group)}
    if collection := group.said("POSTGRES_COLLECTION_NAME"):
        postgres["collection"] = collection
    _check(group, postgres)
    server = server_of(group)
    stores = _stores(stores_of(group, server, postgres["database"]), folder)
    health = _health(server) if server else {}
    return Entry(group.name, _password(group, account), postgres, remark, stores, health, containers_of(group, server))


def _stores(kept: Kept, folder: Path) -> dict[str, Any]:
    history = _seen_from(folder, kept.history) if kept.history else None
    files = tuple(_seen_from(folder, file) for file in kept.files)
    return {"application": kept.application, "history": history, "files": files}


def _health(server: Service) -> dict[str, Any]:
    """Where this machine reaches the mem0 server, so that its health can be seen; nothing where that cannot be read.

    Only a look more, so that nothing about it is an error: a variable of its ports may be set where we cannot see it.
    """
    with suppress(ConfigurationError, ValueError):
        for port in server.ports():
            inside = next((number for number in SERVER_PORTS if number in port.target), None)
            if inside and len(port.published) == len(port.target):
                host = ipaddress.ip_address(REACHED_AT.get(port.host, port.host))
                address = f"[{host}]" if host.version == 6 else str(host)
                return {"server_url": f"http://{address}:{port.published[port.target.index(inside)]}"}
    return {}


def _with_key(entry: Entry, server: Service | None, variables: Mapping[str, str]) -> Entry:
    """With the name of the server's own key, where fleet.yaml's env file holds that very key under that name."""
    key = ""
    if server and entry.health:
        with suppress(ConfigurationError):
            key = server.value(ADMIN_KEY)
    if not key or variables.get(ADMIN_KEY) != key:
        return entry
    return replace(entry, health={**entry.health, "admin_key_env": ADMIN_KEY})


def _check(group: Group, postgres: Mapping[str, Any]) -> None:
    """What the schema refuses (a URL for a database, say) is refused here, before it is written."""
    compose = group.database.compose
    try:
        Postgres.model_validate(dict(postgres), context={"base": compose.path.parent})
    except ValidationError as error:
        problems = error.errors(include_url=False, include_input=False, include_context=False)
        reasons = [f"{'.'.join(map(str, problem['loc']))} {problem['msg']}" for problem in problems]
        raise compose.error("services", f"cannot be used for {group.name}: {'; '.join(reasons)}") from None


def _user(group: Group, account: Service) -> str:
    """The user of the service whose password is taken."""
    user = account.value("POSTGRES_USER") or "postgres"
    for client in group.clients:
        other = client.value("POSTGRES_USER")
        if other not in ("", user):
            group.note(
                f"services.{client.name} connects as {other}, services.{account.name} says {user}: "
                f"{user} is taken, and `mem0-assets doctor` shows whether it may connect"
            )
    return user


def _database(group: Group) -> str:
    """Where the mem0 server keeps its memories, or else the database that this PostgreSQL was made with."""
    service = group.database
    said = group.said("POSTGRES_DB")
    made = service.value("POSTGRES_DB") or service.value("POSTGRES_USER") or "postgres"
    if said and service.value("POSTGRES_DB") not in ("", said):
        group.note(
            f"the mem0 server uses the database {said}, services.{service.name} was made with {made}: {said} is taken"
        )
    if not said and made != "postgres":
        group.note(
            f"the database is {made}, as services.{service.name} says; but no mem0 server names it, and "
            "mem0's own uses postgres unless POSTGRES_DB is set: `mem0-assets counts` shows which is right"
        )
    return said or made


def _place(group: Group) -> tuple[dict[str, Any], str]:
    """Host and port as this machine sees them; with a remark where it cannot."""
    database = group.database
    said = [database.port("PGPORT"), *(client.port("POSTGRES_PORT") for client in group.clients), POSTGRES_PORT]
    inside = [port for port in said if port]
    if database.text("network_mode") == "host":
        return {"host": "127.0.0.1", "port": inside[0]}, ""
    for port in inside:
        if place := _published(group, port):
            return {"host": place[0], "port": place[1]}, ""
    cure = "publish the port on 127.0.0.1"
    network = "run mem0-assets in the same Docker network"
    group.note(
        f"services.{database.name} publishes no fixed port for PostgreSQL: {cure} "
        f'(`ports: ["127.0.0.1:8432:{inside[0]}"]`, or any other free port) and correct host and port, or {network}'
    )
    remark = f"No fixed port is published, so this host is known in its Docker network only: {cure}, or {network}."
    return {"host": database.name, "port": inside[0]}, remark


def _published(group: Group, inside: int) -> tuple[str, int] | None:
    """The host and port on which this machine reaches the container's port; one that is reached at 127.0.0.1 first."""
    places = []
    for port in group.database.ports():
        if inside not in port.target or not port.published:
            continue
        host = REACHED_AT.get(port.host, port.host)
        if len(port.published) == len(port.target):
            places.append((host, port.published[port.target.index(inside)]))
            continue
        places.append((host, port.published[0]))
        group.note(
            f"Docker picks the port of services.{group.database.name} from {port.published[0]} to "
            f"{port.published[-1]} at each start, and the first is taken: publish one fixed port"
        )
    return min(places, key=lambda place: place[0] != "127.0.0.1", default=None)


# --- Passwords: their names, never their values ---


def _password(group: Group, account: Service) -> Password:
    compose, setting = account.compose, account.environment.get(PASSWORD)
    if not account.has_password():
        return _proposed(group, None, f"is not in {compose.path.name}")
    if setting is None and "POSTGRES_PASSWORD_FILE" in account.environment:
        return _proposed(group, None, "is in the file that POSTGRES_PASSWORD_FILE names")
    if setting is None:
        return Password(None)
    if setting.file is not None:
        return Password(PASSWORD, setting.file)
    variables, value = account.written_password()
    for variable in variables:
        if compose.variables.get(variable):
            return Password(variable, compose.env_file)
    if variables:
        return Password(variables[0], None, compose.unset)
    return _proposed(group, value, f"is written in {compose.path.name} itself, and must be moved")


def _proposed(group: Group, value: str | None, why: str) -> Password:
    """A variable for a password that has none: one that is free, or that holds it already (`value` None: unknown)."""
    compose, own = group.database.compose, numbered(f"{PASSWORD}_{group.name.upper()}")
    for variable in itertools.chain([PASSWORD] if group.alone else [], own):
        held = compose.variables.get(variable)
        if not held:
            return Password(variable, None, why)
        if value in (None, held):
            break
    return Password(variable, compose.env_file)


def _told_apart(entries: Sequence[Entry]) -> list[Entry]:
    """fleet.yaml has one env file: a variable that stands in two files, for two passwords, gets a second name."""
    first: dict[str, Path | None] = {}
    apart = []
    for entry in entries:
        password, variable, file = entry.password, entry.password.variable, entry.password.file
        if variable and first.setdefault(variable, file) != file:
            why = f"is called {variable} in {file}, as another one is elsewhere" if file else password.why
            password = Password(f"{PASSWORD}_{entry.name.upper()}", None, why)
        apart.append(replace(entry, password=password))
    return apart


def _env_file(entries: Sequence[Entry], usual: Path) -> Path:
    """The one file that sets the passwords; the usual one where there are several, or none."""
    files = {entry.password.file for entry in entries if entry.password.file}
    return files.pop() if len(files) == 1 else usual


def _secret_notes(entries: Sequence[Entry], env_file: Path, held: set[str]) -> list[str]:
    """What must still be written into the env file of fleet.yaml, which holds these variables."""
    notes = []
    for entry in entries:
        variable, file = entry.password.variable, entry.password.file
        if variable and file != env_file and (file or variable not in held):
            why = entry.password.why or f"is in {file}"
            notes.append(f"{entry.name}: the password {why}: write it into {env_file} as {variable}=...")
    if not held.issuperset(TELEGRAM_VARIABLES):
        secrets = " and ".join(f"{variable}=..." for variable in TELEGRAM_VARIABLES)
        notes.append(
            f"Alerts go to the log only: write {secrets} into {env_file}, and turn `telegram` on in fleet.yaml"
        )
    return notes
