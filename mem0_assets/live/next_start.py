"""What the next `docker compose up` would start: the deployment's compose file and .env as they lie on disk now.

A running container keeps what it was started with. In January 2026 `.env` said something else for days before the
containers were recreated, and nobody looked.
"""

import os
from collections.abc import Callable
from pathlib import Path

from mem0_assets.compose import POSTGRES_PORT, Compose, Service, read_compose, read_env
from mem0_assets.errors import ConfigurationError, NotFoundError
from mem0_assets.fleet import Deployment
from mem0_assets.live.containers import Container, Mount
from mem0_assets.live.places import DATA_PATH, DATA_VARIABLE, Running, place_of
from mem0_assets.live.settings import DEFAULTS, SERVER_PORTS, Fingerprint, Setting, Settings, from_environment

YAML = (".yaml", ".yml")


class NotSaidError(NotFoundError):
    """The files on disk do not say it."""


def read_next_start(
    deployment: Deployment,
    running: Running,
    fingerprint: Fingerprint,
) -> Settings:
    """The settings of the next start.

    The running containers, where they are known, say which services of the file are meant, where relative paths begin, and
    what the image of mem0's server sets by itself.
    Raises NotSaidError, ConfigurationError (a file cannot be read, or a variable that it demands is not set).
    """
    compose = _compose(deployment)
    if compose is None:
        environment = read_env(_env_file(deployment))
        return from_environment(environment, fingerprint)
    containers = deployment.containers
    server = _service(compose, containers.server, running.server, _serves_mem0, _may_serve_mem0)
    if server is None:
        raise NotSaidError(
            f"no service of {compose.path} is surely this deployment's mem0",
            next_step="Name containers.server in fleet.yaml, as container_name has it there",
        )
    postgres = _service(compose, containers.postgres, running.postgres, Service.is_postgres)
    return {**_of_server(server, running, fingerprint), **_of_postgres(postgres, running.postgres)}


def _of_server(service: Service, running: Running, fingerprint: Fingerprint) -> Settings:
    environment = {**running.image, **{name: service.value(name) for name in service.environment}}
    said = from_environment(environment, fingerprint)
    path = said.get("history_path", DEFAULTS["history_path"])
    said["history_place"] = place_of(_mounts(service, running.server), path)
    if name := service.text("image"):
        said["server_image"] = name
    return {**said, **_port("server_port", service, SERVER_PORTS)}


def _of_postgres(service: Service | None, running: Container | None) -> Settings:
    if service is None:
        return {}
    inside = running.environment.get(DATA_VARIABLE) if running else None
    path = service.value(DATA_VARIABLE) or inside or DATA_PATH
    said: Settings = {"data_place": place_of(_mounts(service, running), path)}
    if name := service.text("image"):
        said["postgres_image"] = name
    return {**said, **_port("postgres_port", service, (POSTGRES_PORT,))}


def _port(setting: Setting, service: Service, inside: tuple[int, ...]) -> Settings:
    for port in service.ports():
        number = next((one for one in inside if one in port.target), None)
        if number and len(port.published) == len(port.target):
            return {setting: str(port.published[port.target.index(number)])}
    return {}


def _mounts(service: Service, running: Container | None) -> list[Mount]:
    folder = (running and running.folder) or service.compose.path.parent
    project = service.compose.project(running.project if running else None)
    return [_mount(service.compose, one.said, str(one.target), folder, project) for one in service.mounts()]


def _mount(compose: Compose, source: str, target: str, folder: Path, project: str) -> Mount:
    if source.startswith((".", "/", "~")):
        return Mount(target, "bind", os.path.abspath(folder / os.path.expanduser(source)))
    return Mount(target, "volume", "", compose.volume(source, project) if source else None)


def _service(
    compose: Compose, name: str | None, running: Container | None, *fits: Callable[[Service], bool]
) -> Service | None:
    """The service of this container: by the container's name, by what compose said when it made it, or by its looks.

    None where two look alike: a guess would compare one deployment with another.
    """
    wanted = [service for service in compose.services if name and service.text("container_name") == name]
    wanted = wanted or [one for one in compose.services if running and running.service == one.name]
    for looks in fits:
        wanted = wanted or [service for service in compose.services if looks(service)]
    return wanted[0] if len(wanted) == 1 else None


def _serves_mem0(service: Service) -> bool:
    listens = any(port in one.target for one in service.ports() for port in SERVER_PORTS)
    return _may_serve_mem0(service) and (listens or "POSTGRES_COLLECTION_NAME" in service.environment)


def _may_serve_mem0(service: Service) -> bool:
    return service.is_mem0() and not service.is_postgres()


def _compose(deployment: Deployment) -> Compose | None:
    """The compose file that fleet.yaml names, with the env file that it names, else the one beside it."""
    files = deployment.stores.files
    if not files:
        raise NotSaidError("fleet.yaml names no stores.files", next_step="Name .env and the compose file there")
    path = next((file for file in files if "compose" in file.name and file.suffix in YAML), None)
    if path is None:
        return None
    named = [file for file in files if _is_env(file)]
    return Compose(path, _there(named[0])) if len(named) == 1 else read_compose(path)


def _env_file(deployment: Deployment) -> Path:
    path = next((file for file in deployment.stores.files if _is_env(file)), None)
    if path is None:
        raise NotSaidError("stores.files in fleet.yaml names neither a compose file nor an env file")
    return _there(path)


def _is_env(file: Path) -> bool:
    return file.name.startswith(".env") or file.suffix == ".env"


def _there(file: Path) -> Path:
    if not file.is_file():
        raise ConfigurationError(f"{file}: there is no such file")
    return file
