"""What is seen of a deployment before its containers are recreated, and again afterwards: what must be the same."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from mem0_assets.errors import Mem0AssetsError
from mem0_assets.fleet import Deployment
from mem0_assets.live.configuration import SECONDS, Configuration
from mem0_assets.live.containers import Container, Docker, docker_of
from mem0_assets.live.identity import Identity
from mem0_assets.live.places import data_path, mount_of, place_of
from mem0_assets.live.settings import DEFAULTS

Holds = Literal["data", "history", ""]


@dataclass(frozen=True)
class Ground:
    """Why something is a no-go, or is refused: a stable code, what was seen, and what to do about it."""

    code: str
    message: str
    do: str

    def as_json(self) -> dict[str, str]:
        return dict(vars(self))


@dataclass(frozen=True)
class Volume:
    """One place of a container's files. `holds`: PostgreSQL's data, mem0's history, or something else."""

    container: str
    target: str
    place: str
    holds: Holds = ""

    def as_json(self) -> dict[str, str]:
        return dict(vars(self))


@dataclass(frozen=True)
class Sight:
    """What preflight keeps for postflight. None where it was not seen. `history_row` is the newest row of history.db."""

    total: int | None
    namespaces: Mapping[str, int]
    identity: Identity | None
    history_row: int | None
    volumes: tuple[Volume, ...]
    configuration: Configuration

    def as_json(self) -> dict[str, Any]:
        return {
            "total": self.total,
            "namespaces": dict(self.namespaces),
            "identity": self.identity.as_json() if self.identity else None,
            "history_row": self.history_row,
            "volumes": [volume.as_json() for volume in self.volumes],
            "configuration": self.configuration.as_json(),
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "Sight":
        return cls(
            total=content["total"],
            namespaces=content["namespaces"],
            identity=Identity.from_json(content["identity"]) if content["identity"] else None,
            history_row=content["history_row"],
            volumes=tuple(Volume(**one) for one in content["volumes"]),
            configuration=Configuration.from_json(content["configuration"]),
        )


@dataclass(frozen=True)
class Containers:
    """The volumes of the containers that were seen, which of them stand still, and why others were not seen."""

    volumes: tuple[Volume, ...] = ()
    stopped: tuple[str, ...] = ()
    unseen: tuple[str, ...] = ()


def look_at_containers(deployment: Deployment) -> Containers:
    """Every container that fleet.yaml names, as Docker knows it now. Raises nothing that is expected."""
    names = deployment.containers.named
    if not names:
        return Containers(unseen=("fleet.yaml names no containers",))
    found: list[Container] = []
    unseen: list[str] = []
    try:
        with docker_of(deployment.containers, seconds=SECONDS) as docker:
            for name in names:
                _inspect(docker, name, found, unseen)
    except Mem0AssetsError as error:
        unseen.append(str(error))
    volumes = [volume for one in found for volume in _volumes(deployment, one)]
    return Containers(tuple(volumes), tuple(one.name for one in found if not one.running), tuple(unseen))


def _inspect(docker: Docker, name: str, found: list[Container], unseen: list[str]) -> None:
    try:
        found.append(docker.inspect(name))
    except Mem0AssetsError as error:
        unseen.append(str(error))


def _volumes(deployment: Deployment, container: Container) -> Iterator[Volume]:
    holds = _holds(deployment, container)
    for target, what in holds.items():
        mount = mount_of(container.mounts, target)
        yield Volume(container.name, mount.target if mount else target, place_of(container.mounts, target), what)
    for mount in container.mounts:
        if not any(mount_of(container.mounts, target) == mount for target in holds):
            yield Volume(container.name, mount.target, place_of(container.mounts, mount.target))


def _holds(deployment: Deployment, container: Container) -> dict[str, Holds]:
    """The paths inside of a container that must outlive it."""
    if container.name == deployment.containers.postgres:
        return {data_path(container): "data"}
    if container.name == deployment.containers.server:
        return {container.environment.get("HISTORY_DB_PATH") or DEFAULTS["history_path"]: "history"}
    return {}
