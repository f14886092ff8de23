"""A Docker engine of the tests' own: Debian's dockerd in a folder, with one image of a few hundred KB, and no network.

There is no registry to pull from, so the image is made of busybox. Needs root, dockerd and busybox (Debian's `docker.io`
and `busybox-static`).
"""

import io
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import docker
import docker.errors
import pytest
import requests
from docker.models.containers import Container

from mem0_assets_tests.waiting import wait_until

IMAGE = "mem0-assets-tests:1"
BUSYBOX = Path("/bin/busybox")

needs_docker = pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("dockerd") or not BUSYBOX.exists(),
    reason="needs root, dockerd and busybox",
)


class DockerEngine:
    """`url` is what containers.docker_url takes; `run` starts a container that sleeps."""

    def __init__(self, url: str, client: docker.DockerClient) -> None:
        self.url = url
        self.client = client

    def run(
        self,
        name: str,
        *,
        environment: Mapping[str, str] | None = None,
        volumes: list[str] | None = None,
        command: str = "sleep 3600",
        labels: Mapping[str, str] | None = None,
        image: str = IMAGE,
    ) -> Container:
        """A running container of this name, in place of the one that had it. `volumes`: as Docker writes them.

        `image` is only another name for the one that there is.
        """
        self.client.images.get(IMAGE).tag(*image.split(":"))
        with suppress(docker.errors.NotFound):
            self.client.containers.get(name).remove(force=True)
        return self.client.containers.run(
            image,
            ["/bin/busybox", "sh", "-c", f"trap 'exit 0' TERM; {command} & wait"],
            name=name,
            detach=True,
            environment=dict(environment or {}),
            volumes=volumes or [],
            labels=dict(labels or {}),
            network_mode="none",
        )


@contextmanager
def docker_engine() -> Iterator[DockerEngine]:
    """A running engine; its containers, images and folder are gone afterwards."""
    # Not below pytest's folder: a socket's path may have 107 bytes.
    home = Path(tempfile.mkdtemp(prefix="docker_"))
    url = f"unix://{home}/docker.sock"
    options = ["--bridge=none", "--iptables=false", "--ip6tables=false", "--storage-driver=vfs"]
    places = [f"--data-root={home}/data", f"--exec-root={home}/exec", f"--pidfile={home}/pid"]
    with (
        open(home / "log", "wb") as log,
        subprocess.Popen(["dockerd", f"--host={url}", *places, *options], stdout=log, stderr=log) as engine,
    ):
        try:
            wait_until(lambda: _answers(url), seconds=60)
            with closing(docker.DockerClient(base_url=url)) as client:
                client.api.import_image_from_data(_image(), repository="mem0-assets-tests", tag="1")
                try:
                    yield DockerEngine(url, client)
                finally:
                    for container in client.containers.list(all=True):
                        container.remove(force=True)
        finally:
            engine.terminate()
    shutil.rmtree(home, ignore_errors=True)


def _answers(url: str) -> bool:
    with suppress(docker.errors.DockerException, requests.RequestException):
        docker.DockerClient(base_url=url).close()
        return True
    return False


def _image() -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        archive.add(BUSYBOX, "bin/busybox")
    return content.getvalue()
