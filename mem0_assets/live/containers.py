"""A deployment's containers, as Docker knows them: what runs, with which environment and on which volumes.

`.env` says what the next container would be started with; only Docker knows what the running one was started with. In
the incident of January 2026 these were two different things for a week, and nobody compared them.

Everything here but `start` and `stop` only looks. A container's environment holds secrets: it is never shown.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import docker
import docker.errors
import requests

from mem0_assets.errors import Mem0AssetsError, UnreachableError
from mem0_assets.fleet import Containers

ANSWER_SECONDS = 10
# What a container may take to end by itself before Docker kills it: PostgreSQL writes a checkpoint, mem0 ends its requests.
STOP_SECONDS = 60
NEVER = "0001-01-01"


class DockerUnreachableError(UnreachableError):
    """No Docker answers: nothing is known of any container."""

    code = "docker_unreachable"


class ContainerMissingError(Mem0AssetsError):
    """Docker answers, and has no container of this name."""

    code = "container_missing"


@dataclass(frozen=True)
class Mount:
    """Where a container's files really are: a folder of the host (`bind`), or a volume of Docker's by its name."""

    target: str
    kind: str
    source: str
    volume: str | None = None
    writable: bool = True


@dataclass(frozen=True)
class Container:
    """One container. `ports` maps each port inside to where the host publishes it; `project` is compose's, and `folder`
    is where compose was run. `image` is a name that may mean another image tomorrow, `image_id` is the image.

    `environment` is what it was started with, secrets and all: for comparing, and left out of every text.
    """

    name: str
    id: str
    image: str
    running: bool
    created_at: datetime | None
    started_at: datetime | None
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    mounts: tuple[Mount, ...] = ()
    ports: Mapping[int, tuple[tuple[str, int], ...]] = field(default_factory=dict)
    networks: tuple[str, ...] = ()
    project: str | None = None
    service: str | None = None
    image_id: str = ""
    folder: Path | None = None


class Docker:
    """The Docker that runs a deployment's containers. Use `docker_of`."""

    def __init__(self, client: docker.DockerClient) -> None:
        self._client = client

    def inspect(self, name: str) -> Container:
        """The container of this name. Raises ContainerMissingError, DockerUnreachableError."""
        with _plain_errors(name):
            return _read(self._client.api.inspect_container(name))

    def image_environment(self, container: Container) -> dict[str, str]:
        """What the container's image sets where nobody else does; nothing where the image is gone. Raises as `inspect`."""
        try:
            with _plain_errors(container.image):
                image = self._client.api.inspect_image(container.image_id)  # type: ignore[no-untyped-call]
                return _environment(image["Config"].get("Env"))
        except ContainerMissingError:
            return {}

    def stop(self, name: str) -> None:
        """Stop a container, and wait until it stands. One that stands already is left as it is. Raises as `inspect`."""
        with _plain_errors(name):
            self._client.api.stop(name, timeout=STOP_SECONDS)

    def start(self, name: str) -> None:
        """Start a container. One that runs already is left as it is. Raises as `inspect`."""
        with _plain_errors(name):
            self._client.api.start(name)


@contextmanager
def docker_of(containers: Containers, *, seconds: int = ANSWER_SECONDS + STOP_SECONDS) -> Iterator[Docker]:
    """The Docker at `docker_url`, else at $DOCKER_HOST, else at the usual socket; each answer within `seconds`, which by
    default leave time for a stop. Raises DockerUnreachableError.
    """
    with _plain_errors(None):
        client = _connected(containers.docker_url, seconds)
    try:
        yield Docker(client)
    finally:
        client.close()


def _connected(url: str | None, timeout: int) -> docker.DockerClient:
    client = docker.DockerClient(base_url=url, timeout=timeout) if url else docker.from_env(timeout=timeout)
    client.ping()
    return client


@contextmanager
def _plain_errors(name: str | None) -> Iterator[None]:
    """docker-py's errors as ours."""
    try:
        yield
    except docker.errors.NotFound:
        raise ContainerMissingError(
            f"Docker has no container {name}", next_step="See `docker ps -a`, and containers in fleet.yaml"
        ) from None
    except docker.errors.APIError as error:
        raise DockerUnreachableError(f"Docker refused: {error.explanation or type(error).__name__}") from None
    except (docker.errors.DockerException, requests.RequestException, OSError) as error:
        raise DockerUnreachableError(
            f"Docker cannot be reached ({type(error).__name__})",
            next_step="Does it run, and may this user use it (group docker)? Or set containers.docker_url in fleet.yaml",
        ) from None


def _read(content: dict[str, Any]) -> Container:
    config, state = content["Config"], content["State"]
    labels = config.get("Labels") or {}
    network = content.get("NetworkSettings") or {}
    return Container(
        name=content["Name"].lstrip("/"),
        id=content["Id"],
        image=config["Image"],
        running=bool(state["Running"]) and not state.get("Paused"),
        created_at=_moment(content.get("Created")),
        started_at=_moment(state.get("StartedAt")),
        environment=_environment(config.get("Env")),
        mounts=tuple(_mount(mount) for mount in content.get("Mounts") or ()),
        ports=_ports(network.get("Ports") or {}),
        networks=tuple(sorted(network.get("Networks") or {})),
        project=labels.get("com.docker.compose.project"),
        service=labels.get("com.docker.compose.service"),
        image_id=content.get("Image", ""),
        folder=Path(folder) if (folder := labels.get("com.docker.compose.project.working_dir")) else None,
    )


def _environment(lines: list[str] | None) -> dict[str, str]:
    return dict(line.partition("=")[::2] for line in lines or ())


def _mount(mount: dict[str, Any]) -> Mount:
    return Mount(
        target=mount["Destination"],
        kind=mount.get("Type", "volume"),
        source=str(Path(mount["Source"])) if mount.get("Source") else "",
        volume=mount.get("Name") or None,
        writable=bool(mount.get("RW", True)),
    )


def _ports(published: dict[str, list[dict[str, str]] | None]) -> dict[int, tuple[tuple[str, int], ...]]:
    return {
        int(inside.partition("/")[0]): tuple((at["HostIp"], int(at["HostPort"])) for at in places)
        for inside, places in published.items()
        if places and not inside.endswith("/udp")
    }


def _moment(text: str | None) -> datetime | None:
    """Docker's time, which has nanoseconds; None for one that never was."""
    if not text or text.startswith(NEVER):
        return None
    return datetime.fromisoformat(text)
