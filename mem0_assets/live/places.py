"""Where a container's data really lie: the volume or the folder behind a path inside of it. Pure.

A container that is recreated keeps what is in a named volume or in a folder of the host. What is in an anonymous volume
is lost to it (the volume stays, under a name that nobody knows), and what is in no volume at all is deleted with it.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from mem0_assets.live.containers import Container, Mount

DATA_VARIABLE = "PGDATA"
DATA_PATH = "/var/lib/postgresql/data"
ANONYMOUS = "an anonymous volume"
NOWHERE = "the container alone"

_ANONYMOUS_NAME = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True)
class Running:
    """The containers of a deployment, as far as they are known, and what the image of the server's sets by itself."""

    server: Container | None = None
    postgres: Container | None = None
    image: Mapping[str, str] = field(default_factory=dict, repr=False)


def data_path(container: Container) -> str:
    """Where PostgreSQL keeps its data inside of this container."""
    return container.environment.get(DATA_VARIABLE) or DATA_PATH


def mount_of(mounts: Iterable[Mount], path: str) -> Mount | None:
    """The mount that holds this path: the innermost one."""
    inside = PurePosixPath(path)
    holding = [mount for mount in mounts if inside.is_relative_to(mount.target)]
    return max(holding, key=lambda mount: len(PurePosixPath(mount.target).parts), default=None)


def place_of(mounts: Iterable[Mount], path: str) -> str:
    """What holds this path, in words that stay the same while it is the same."""
    mount = mount_of(mounts, path)
    if mount is None or mount.kind == "tmpfs":
        return NOWHERE
    if mount.kind == "bind":
        return f"the folder {mount.source.removeprefix('/host_mnt')}"  # Docker Desktop's own name for the host
    if not mount.volume or _ANONYMOUS_NAME.fullmatch(mount.volume):
        return ANONYMOUS
    return f"the volume {mount.volume}"
