"""What a compose file says of the rest of a deployment: its other stores, its containers, and who writes to it.

A backup holds only what fleet.yaml names, and a first fleet.yaml that names the memories alone would leave users, keys and
every memory's history without any. What mem0's own compose file means is known; where another one is not clear, nothing is
filled in, and a note says what to do. A container's name that is not written there is a guess, and is noted as one.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from mem0_assets.compose import Mount, Service
from mem0_assets.compose_groups import Group
from mem0_assets.errors import ConfigurationError

SERVER_PORTS = (8000, 8888)  # on which mem0's server listens in its container: its own image, and older ones
SERVER_VARIABLES = {"POSTGRES_COLLECTION_NAME", "HISTORY_DB_PATH", "APP_DB_NAME", "JWT_SECRET", "ADMIN_API_KEY"}
HOME = PurePosixPath("/app")  # where mem0's server runs in its container
HISTORY = "history/history.db"  # where it keeps every memory's history, unless HISTORY_DB_PATH says otherwise
APPLICATION = "mem0_app"
APPLICATION_SCRIPT = "init-db.sh"  # by which mem0's own compose file makes that database, since 2026-04


@dataclass(frozen=True)
class Kept:
    """The stores beside the memories, as `stores` in fleet.yaml names them; None where there is none, or none is seen."""

    application: str | None
    history: Path | None
    files: tuple[Path, ...]


def server_of(group: Group) -> Service | None:
    """mem0's own server; None, with a note, where it is not clear which service that is.

    Dashboards and exporters have mem0 in their names, too: so its port decides, and then its own variables.
    """
    servers = [client for client in group.clients if client.is_mem0()]
    for sign in (_listens, _is_set_up):
        if len(servers) > 1:
            servers = [service for service in servers if sign(service)] or servers
    if len(servers) == 1:
        return servers[0]
    if group.clients:
        names = ", ".join(f"services.{service.name}" for service in servers or group.clients)
        group.note(
            f"which of {names} is mem0's server is not clear: name its container under containers.server, "
            "its history.db under stores.history and its address under health.server_url"
        )
    return None


def _listens(service: Service) -> bool:
    with suppress(ConfigurationError):
        return any(number in port.target for port in service.ports() for number in SERVER_PORTS)
    return False


def _is_set_up(service: Service) -> bool:
    return bool(service.environment.keys() & SERVER_VARIABLES)


# --- Stores ---


def stores_of(group: Group, server: Service | None, memories: str) -> Kept:
    """The other stores of a deployment whose memories are in the database `memories`."""
    return Kept(_application(group, server, memories), _history(group, server) if server else None, _files(group))


def _application(group: Group, server: Service | None, memories: str) -> str | None:
    """The database of users, keys and settings; none in servers of mem0 1.x, which have no users."""
    name = group.said("APP_DB_NAME") or group.database.value("APP_DB_NAME")
    if not name and _has_users(group, server):
        name = APPLICATION
        group.note(f"no APP_DB_NAME is set; {name} is taken for stores.application, as mem0's server takes it")
    return name if name not in ("", memories) else None


def _has_users(group: Group, server: Service | None) -> bool:
    script = any(mount.is_file(APPLICATION_SCRIPT) for mount in _mounts(group.database))
    return script or (server is not None and "JWT_SECRET" in server.environment)


def _history(group: Group, server: Service) -> Path | None:
    """history.db as this machine sees it: through the innermost folder that is mounted around it."""
    said = _value(server, "HISTORY_DB_PATH")
    inside = HOME / (said or HISTORY)
    around = [mount for mount in _mounts(server) if inside.is_relative_to(mount.target)]
    mount = max(around, key=lambda each: len(each.target.parts), default=None)
    if mount is None or mount.source is None:
        where = "in a volume of Docker's" if mount else "in the container alone, and goes with it"
        unsaid = "" if said else " (HISTORY_DB_PATH is not set)"
        group.note(
            f"{inside}{unsaid} of services.{server.name} is {where}, and in no backup until this machine sees it: "
            f"`docker compose stop {server.name}`, `docker compose cp {server.name}:{inside.parent} ./history`, "
            f"mount that folder (`./history:{inside.parent}`), start the server, and name the file under stores.history"
        )
        return None
    path = mount.source / inside.relative_to(mount.target)
    if not path.exists():
        group.note(
            f"{path} is not there: backups are refused until mem0 has made it, or stores.history names the right file"
        )
    return path


def _files(group: Group) -> tuple[Path, ...]:
    """The compose file and the env files that were read. A backup keeps them in one folder: no name twice."""
    compose = group.database.compose
    services = (group.database, *group.clients)
    read = [compose.path, compose.env_file, *(file for service in services for file in service.env_files)]
    files: dict[str, Path] = {}
    for file in dict.fromkeys(file for file in read if file):
        if files.setdefault(file.name, file) != file:
            group.note(f"{file} is not among stores.files: a backup cannot hold two files of one name; rename it")
    return tuple(files.values())


# --- Containers ---


def containers_of(group: Group, server: Service | None) -> dict[str, Any]:
    """The names of a deployment's containers, as `containers` in fleet.yaml has them; what is not clear is left out."""
    writers = list(_writers(group, server))
    services = [service for service in (group.database, server, *writers) if service]
    names = {service.name: name for service in services if (name := service.container())}
    for service in services:
        if service.name not in names:
            group.note(f"services.{service.name} has no container of one fixed name: name it under containers by hand")
    guessed = [names[each.name] for each in services if each.name in names and not each.text("container_name")]
    if guessed:
        group.note(
            f"no container_name is set, so that Docker Compose's own names are taken: {', '.join(guessed)}; "
            "correct them under containers where `docker ps` shows others"
        )
    return {
        "postgres": names.get(group.database.name),
        "server": names.get(server.name) if server else None,
        "writers": tuple(names[writer.name] for writer in writers if writer.name in names),
    }


def _writers(group: Group, server: Service | None) -> Iterator[Service]:
    """The services that write memories through mem0's server. Who may do so by another way is noted."""
    compose = group.database.compose
    for service in compose.services:
        if service in (group.database, server) or "exporter" in service.name:
            continue
        hosts = _mem0_hosts(service)
        if server and hosts & server.hosts():
            yield service
        elif service in group.clients and _value(service, "POSTGRES_HOST"):
            group.note(
                f"services.{service.name} uses the database, too: "
                "if it writes memories, name its container under containers.writers"
            )
        elif hosts and not any(hosts & other.hosts() for other in compose.services):
            compose.note(
                f"services.{service.name} looks for a mem0 that is no service of this file: "
                "if it is this one, name its container under containers.writers"
            )


def _mem0_hosts(service: Service) -> set[str]:
    """The hosts of all addresses that a service has for mem0, like MEM0_URL and CHAT_MEM0_ENDPOINT."""
    addresses = [_value(service, variable) for variable in service.environment if "MEM0" in variable]
    hosts = set()
    for address in addresses:
        with suppress(ValueError):
            hosts.add(urlsplit(address).hostname or "" if "://" in address else "")
    return hosts - {""}


def _value(service: Service, variable: str) -> str:
    """A variable of a service, and nothing where it needs another that is set where we cannot see it."""
    with suppress(ConfigurationError):
        return service.value(variable)
    return ""


def _mounts(service: Service) -> list[Mount]:
    with suppress(ConfigurationError):
        return service.mounts()
    return []
