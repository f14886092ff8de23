"""One Docker engine for all tests on recreating containers, and a deployment in it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mem0_assets.live.embedded import EmbeddedServer
from mem0_assets_tests.conftest import MakeDeployment
from mem0_assets_tests.docker_engine import DockerEngine, docker_engine
from mem0_assets_tests.recreation.house import House
from mem0_assets_tests.service_stub import Mem0Stub

OpenHouse = Callable[..., House]


@pytest.fixture(scope="session")
def engine() -> Iterator[DockerEngine]:
    with docker_engine() as running:
        yield running


@pytest.fixture
def mem0(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mem0Stub]:
    with Mem0Stub() as stub:
        monkeypatch.setenv("MEM0_ADMIN_KEY", stub.key or "")
        yield stub


@pytest.fixture
def house(
    server: EmbeddedServer, engine: DockerEngine, mem0: Mem0Stub, make_deployment: MakeDeployment, tmp_path: Path
) -> House:
    return House(tmp_path, server, engine, mem0, make_deployment)
