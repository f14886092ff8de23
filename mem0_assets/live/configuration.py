"""What a deployment's configuration is now, by every source that can be read: each value with who says it.

In January 2026 `.env`, scripts and containers had drifted apart for days, and no look at one of them could show it. So
all are read, and none is believed more than it deserves: what mem0's server itself says is in force, then its settings,
then what its container was started with; the files on disk say what the next start would use. What cannot be read is
said, and never guessed: a source that is silent differs from nothing.

Not to be had: the version of mem0ai. The server's API carries a constant, and its compose file installs the newest at
each start; that a container was made anew, or its image is another, is what can be seen of it.
"""

import json
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal
from urllib.parse import urlsplit

from mem0_assets.compose import POSTGRES_PORT
from mem0_assets.errors import Mem0AssetsError, TableMissingError, UnreachableError
from mem0_assets.fleet import Deployment
from mem0_assets.live.census import take_census
from mem0_assets.live.containers import Container, Docker, docker_of
from mem0_assets.live.endpoints import ask
from mem0_assets.live.next_start import NotSaidError, read_next_start
from mem0_assets.live.places import Running, data_path, place_of
from mem0_assets.live.postgres import connect
from mem0_assets.live.settings import (
    DEFAULTS,
    MEANINGS,
    SERVER_PORTS,
    Fingerprint,
    Setting,
    Settings,
    from_environment,
    from_mem0_config,
)

SECONDS = 5
OVERRIDES = "config_overrides"
THIS_MACHINE = ("127.0.0.1", "localhost", "::1", "0.0.0.0")

Source = Literal["server", "settings", "server_container", "postgres_container", "database", "fleet", "files"]
# In the order in which they are believed of what runs now; `files` speak of the next start only.
SOURCES: dict[Source, str] = {
    "server": "mem0's server (/configure)",
    "settings": "mem0's settings in its application database",
    "server_container": "the server's container",
    "postgres_container": "PostgreSQL's container",
    "database": "the database",
    "fleet": "fleet.yaml",
    "files": "the files on disk",
}
IN_FORCE: tuple[Source, ...] = ("server", "settings", "server_container", "postgres_container", "database")


@dataclass(frozen=True)
class Configuration:
    """What each source that could be read says, and why the others could not be. No secret: only their fingerprints."""

    said: Mapping[Source, Settings]
    unknown: Mapping[Source, str]

    def of(self, source: Source, setting: Setting) -> str | None:
        """What a source says of a setting; None where it says nothing, or could not be read."""
        return self.said.get(source, {}).get(setting)

    def in_force(self, setting: Setting) -> tuple[str, Source] | None:
        """The value that is used now, by the source that is believed most; None where none of them says it."""
        for source in IN_FORCE:
            if (value := self.of(source, setting)) is not None:
                return value, source
        return None

    def rows(self) -> list[tuple[str, str, str]]:
        """Every value as `(setting, value, who says it)`, in the order of MEANINGS."""
        return [
            (setting, value, SOURCES[source])
            for setting in MEANINGS
            for source in SOURCES
            if (value := self.of(source, setting)) is not None
        ]

    def as_json(self) -> dict[str, Any]:
        return {"said": {name: dict(settings) for name, settings in self.said.items()}, "unknown": dict(self.unknown)}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "Configuration":
        return cls(content["said"], content["unknown"])


def read_configuration(deployment: Deployment, fingerprint: Fingerprint) -> Configuration:
    """Ask every source, all at the same time and each for a few seconds. Raises nothing that is expected."""
    with ThreadPoolExecutor(max_workers=4) as pool:
        containers = pool.submit(_containers, deployment)
        answers = {
            "server": pool.submit(_tried, partial(_server, deployment)),
            "settings": pool.submit(_tried, partial(_settings, deployment)),
            "database": pool.submit(_tried, partial(_database, deployment)),
        }
        running, missing = containers.result()
        found: dict[Source, Settings | str] = {**_of_containers(running, fingerprint), **missing}
        found["files"] = _tried(partial(read_next_start, deployment, running, fingerprint))
        found["fleet"] = _tried(partial(_fleet, deployment, fingerprint))
        found |= {source: answer.result() for source, answer in answers.items()}  # type: ignore[misc]
    said = {source: found[source] for source in SOURCES if isinstance(found[source], dict)}
    return Configuration(said, {source: why for source, why in found.items() if isinstance(why, str)})  # type: ignore[arg-type]


def named(deployment: Deployment) -> set[Source]:
    """The sources that fleet.yaml names: one of these that does not answer may speak again."""
    places: dict[Source, object] = {
        "server": deployment.health.server_url,
        "settings": deployment.stores.application,
        "server_container": deployment.containers.server,
        "postgres_container": deployment.containers.postgres,
        "files": deployment.stores.files,
    }
    return {source for source in SOURCES if places.get(source, True)}


def _tried(read: Callable[[], Settings]) -> Settings | str:
    """What a source says, or why it cannot be read."""
    try:
        return read()
    except Mem0AssetsError as error:
        return str(error)


def _database(deployment: Deployment) -> Settings:
    identity = take_census(deployment.postgres, seconds=SECONDS).identity
    found: dict[Setting, Any] = {
        "cluster": identity.system_identifier,
        "database_oid": identity.database_oid,
        "table_oid": identity.table_oid,
        "dimensions": identity.dimensions,
        "server_version": identity.server_version,
        "pgvector_version": identity.pgvector_version,
    }
    return {name: str(value) for name, value in found.items() if value is not None}


def _fleet(deployment: Deployment, fingerprint: Fingerprint) -> Settings:
    """What is guarded. Host and port are of this machine, and comparable only where Docker publishes them here."""
    postgres = deployment.postgres
    said: Settings = {"database": postgres.database, "collection": postgres.collection}
    if postgres.embedded is None:
        said["user"] = postgres.user
        if password := postgres.password():
            said["password"] = fingerprint(password)
        if postgres.host in THIS_MACHINE:
            said["postgres_port"] = str(postgres.port)
    url = urlsplit(deployment.health.server_url or "")
    if url.hostname in THIS_MACHINE and url.port:
        said["server_port"] = str(url.port)
    return said


def _server(deployment: Deployment) -> Settings:
    url, key = deployment.health.server_url, deployment.health.admin_key()
    if url is None:
        raise NotSaidError("fleet.yaml names no health.server_url")
    answer = ask(f"{url}/configure", headers={"X-API-Key": os.fsencode(key)} if key else None)
    if answer.status in (401, 403):
        step = "Check health.admin_key_env against its ADMIN_API_KEY" if key else "Name it: health.admin_key_env"
        raise UnreachableError(f"it asks for {'another' if key else 'a'} key", next_step=step)
    if answer.status != 200 or not isinstance(answer.content, dict) or "vector_store" not in answer.content:
        raise NotSaidError(f"it does not say (HTTP {answer.status}): servers of mem0 1.x have no such page")
    return from_mem0_config(answer.content)


def _settings(deployment: Deployment) -> Settings:
    """What was changed in the dashboard or by POST /configure: it overrides `.env` at each start. Its keys stay unread."""
    if deployment.application is None:
        raise NotSaidError("fleet.yaml names no stores.application")
    with connect(deployment.application, seconds=SECONDS) as connection:
        there = connection.execute("SELECT to_regclass('public.settings') IS NOT NULL AS there").fetchone()
        if there != {"there": True}:
            raise TableMissingError(f"{deployment.application.address} has no table settings")
        row = connection.execute("SELECT value::text FROM settings WHERE key = %s", (OVERRIDES,)).fetchone()
    return from_mem0_config(_object(row["value"])) if row else {}


def _object(text: str | None) -> dict[str, Any]:
    """The JSON object of a text, or of a JSON string that holds one; its words are never repeated: keys are among them."""
    try:
        content = json.loads(text or "")
        content = json.loads(content) if isinstance(content, str) else content
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise NotSaidError(f"the setting {OVERRIDES} is no JSON object")
    return content


# Containers


def _containers(deployment: Deployment) -> tuple[Running, dict[Source, str]]:
    """Those that could be looked at, and why the others could not."""
    names: dict[Source, str | None] = {
        "server_container": deployment.containers.server,
        "postgres_container": deployment.containers.postgres,
    }
    missing: dict[Source, str] = {
        source: f"fleet.yaml names no containers.{source.partition('_')[0]}"
        for source, name in names.items()
        if name is None
    }
    if len(missing) == len(names):
        return Running(), missing
    try:
        with docker_of(deployment.containers, seconds=SECONDS) as docker:
            found = {source: _inspected(docker, name, source, missing) for source, name in names.items() if name}
            server = found.get("server_container")
            image = docker.image_environment(server) if server else {}
    except Mem0AssetsError as error:
        return Running(), {**missing, **{source: str(error) for source, name in names.items() if name}}
    return Running(server, found.get("postgres_container"), image), missing


def _inspected(docker: Docker, name: str, source: Source, missing: dict[Source, str]) -> Container | None:
    try:
        return docker.inspect(name)
    except Mem0AssetsError as error:
        missing[source] = str(error)
        return None


def _of_containers(running: Running, fingerprint: Fingerprint) -> dict[Source, Settings]:
    said: dict[Source, Settings] = {}
    if server := running.server:
        told = from_environment(server.environment, fingerprint)
        path = told.get("history_path", DEFAULTS["history_path"])
        more: Settings = {"history_place": place_of(server.mounts, path), **_image("server", server)}
        said["server_container"] = {**told, **more, **_published("server_port", server, SERVER_PORTS)}
    if postgres := running.postgres:
        place: Settings = {"data_place": place_of(postgres.mounts, data_path(postgres)), **_image("postgres", postgres)}
        said["postgres_container"] = {**place, **_published("postgres_port", postgres, (POSTGRES_PORT,))}
    return said


def _image(which: Literal["server", "postgres"], container: Container) -> Settings:
    image: Setting = "server_image" if which == "server" else "postgres_image"
    number: Setting = "server_image_id" if which == "server" else "postgres_image_id"
    created: Setting = "server_created" if which == "server" else "postgres_created"
    made = {created: container.created_at.isoformat()} if container.created_at else {}
    return {image: container.image, number: container.image_id, **made}


def _published(setting: Setting, container: Container, inside: tuple[int, ...]) -> Settings:
    places = next((container.ports[port] for port in inside if port in container.ports), ())
    return {setting: str(places[0][1])} if places else {}
