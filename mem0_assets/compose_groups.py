"""Which services of a compose file are one deployment: each PostgreSQL, the services that use it, and a name for both.

A file may hold `prd` and `test` side by side, and services that only look as if they belonged to mem0. Where it is not
certain which belongs to which, or a PostgreSQL is used by nobody, a note says so.
"""

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from mem0_assets.compose import PLAIN_NAME, Compose, Service
from mem0_assets.errors import ConfigurationError
from mem0_assets.fleet import DEPLOYMENT_NAME

DEFAULT_NAME = "prd"


@dataclass(frozen=True)
class Group:
    """One deployment in the compose file: its PostgreSQL, and the services that use it. `alone`: there is no other."""

    name: str
    database: Service
    clients: Sequence[Service]
    alone: bool

    def note(self, text: str) -> None:
        self.database.compose.note(f"{self.name}: {text}")

    def said(self, key: str) -> str:
        """What the clients say of this; the first one's word where they disagree, with a note."""
        said = {client.name: client.value(key) for client in self.clients if client.value(key)}
        if len(set(said.values())) > 1:
            ideas = ", ".join(f"{value} in services.{service}" for service, value in said.items())
            self.note(f"{key} is {ideas}: the first is taken")
        return next(iter(said.values()), "")


def find_groups(compose: Compose, name: str) -> list[Group]:
    """Every deployment of a compose file. `name` is for the one that no suffix names. Raises ConfigurationError."""
    databases = [service for service in compose.services if service.is_postgres()]
    if not databases:
        raise _no_postgres(compose)
    clients = {database.name: _clients(database, databases) for database in databases}
    names = _names(compose, databases, clients, name)
    alone = len(databases) == 1
    return [Group(names[database.name], database, clients[database.name], alone) for database in databases]


def _no_postgres(compose: Compose) -> ConfigurationError:
    hosts = sorted({service.value("POSTGRES_HOST") for service in compose.services} - {""})
    outside = ", ".join(host for host in hosts if PLAIN_NAME.fullmatch(host))
    return compose.error(
        "services",
        "none is a PostgreSQL (an image like pgvector/pgvector or postgres)"
        + (f"; they look for it at {outside}" if outside else ""),
        "Name the compose file that holds it with --from, or fill in by hand what `mem0-assets init` alone writes",
    )


def _clients(database: Service, databases: Sequence[Service]) -> list[Service]:
    """The services that use this PostgreSQL. mem0's own server looks for a host `postgres` where nothing is said."""
    clients = []
    for service in database.compose.services:
        if service in databases:
            continue
        host = service.value("POSTGRES_HOST")
        unsaid = not host and service.is_mem0() and (len(databases) == 1 or "postgres" in database.hosts())
        if unsaid or host in database.hosts():
            clients.append(service)
    return clients


def _names(
    compose: Compose, databases: Sequence[Service], clients: Mapping[str, Sequence[Service]], name: str
) -> dict[str, str]:
    """The deployment's name of each PostgreSQL service; no name twice."""
    chosen = name != DEFAULT_NAME
    if chosen and len(databases) == 1:
        return {databases[0].name: name}
    fallback = name if chosen else compose.stage() or name
    main = next((database for database in databases if clients[database.name]), databases[0])
    names: dict[str, str] = {}
    for database in databases:
        wish = database.stage() or (fallback if database is main else _as_deployment_name(database.name))
        names[database.name] = next(each for each in numbered(wish) if each not in names.values())
    return names


def _as_deployment_name(service: str) -> str:
    plain = re.sub(r"\W", "_", service, flags=re.ASCII)
    return plain if DEPLOYMENT_NAME.fullmatch(plain) else f"mem0_{plain}"


def numbered(wish: str) -> Iterator[str]:
    """The name that is wished for, then the same with numbers, for where it is taken."""
    return itertools.chain([wish], (f"{wish}_{number}" for number in itertools.count(2)))


def note_strays(compose: Compose, groups: Sequence[Group]) -> None:
    """Which PostgreSQL is used but not in the file, and which is in the file but not used."""
    linked = {service.name for group in groups for service in (group.database, *group.clients)}
    for service in compose.services:
        if service.name not in linked and service.value("POSTGRES_HOST"):
            compose.note(
                f"services.{service.name}: its POSTGRES_HOST is no PostgreSQL service of this file: if mem0 keeps its "
                "memories there, correct host, port, user and database by hand"
            )
    for unused in (group.database.name for group in groups if not group.clients):
        compose.note(
            f"services.{unused}: no mem0 server of this file uses it: check database and collection, "
            "or remove the deployment if it holds no memories"
        )
