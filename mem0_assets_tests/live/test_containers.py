"""Containers, seen through a real Docker engine."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from mem0_assets.fleet import Containers
from mem0_assets.live.containers import ContainerMissingError, DockerUnreachableError, Mount, docker_of
from mem0_assets_tests.docker_engine import DockerEngine, docker_engine, needs_docker

PASSWORD = "hunter2"

pytestmark = needs_docker


@pytest.fixture(scope="module")
def engine() -> Iterator[DockerEngine]:
    with docker_engine() as running:
        yield running


def settings(engine: DockerEngine) -> Containers:
    return Containers(server="mem0_server_prd", docker_url=engine.url)


def test_a_container_is_seen_with_its_environment_mounts_and_state(engine: DockerEngine, tmp_path: Path) -> None:
    engine.run(
        "mem0_server_prd",
        environment={"POSTGRES_DB": "mem0_prd", "POSTGRES_PASSWORD": PASSWORD, "EMPTY": "", "WITH": "a=b"},
        volumes=[f"{tmp_path}:/app/history:ro", "postgres_db:/var/lib/postgresql/data"],
        labels={"com.docker.compose.project": "mem0", "com.docker.compose.service": "mem0"},
    )
    with docker_of(settings(engine)) as docker:
        seen = docker.inspect("mem0_server_prd")
    assert (seen.name, seen.running, seen.project, seen.service) == ("mem0_server_prd", True, "mem0", "mem0")
    assert seen.environment["POSTGRES_DB"] == "mem0_prd"
    assert (seen.environment["EMPTY"], seen.environment["WITH"]) == ("", "a=b")
    mounts = {mount.target: mount for mount in seen.mounts}
    assert mounts["/app/history"] == Mount("/app/history", "bind", str(tmp_path), None, writable=False)
    data = mounts["/var/lib/postgresql/data"]
    assert (data.kind, data.volume, data.writable) == ("volume", "postgres_db", True)
    assert seen.created_at is not None
    assert seen.started_at is not None
    assert seen.created_at <= seen.started_at


def test_its_environment_stands_in_no_text(engine: DockerEngine) -> None:
    engine.run("mem0_server_prd", environment={"POSTGRES_PASSWORD": PASSWORD})
    with docker_of(settings(engine)) as docker:
        assert PASSWORD not in repr(docker.inspect("mem0_server_prd"))


def test_it_stops_and_starts_and_doing_so_twice_is_no_error(engine: DockerEngine) -> None:
    engine.run("mem0_server_prd")
    with docker_of(settings(engine)) as docker:
        for work, running in ((docker.stop, False), (docker.start, True)):
            work("mem0_server_prd")
            work("mem0_server_prd")
            assert docker.inspect("mem0_server_prd").running is running


def test_one_that_is_missing_is_told_from_a_docker_that_is_away(engine: DockerEngine, tmp_path: Path) -> None:
    with docker_of(settings(engine)) as docker:
        for work in (docker.inspect, docker.stop, docker.start):
            with pytest.raises(ContainerMissingError, match="Docker has no container nobody"):
                work("nobody")
    with (
        pytest.raises(DockerUnreachableError, match="Docker cannot be reached"),
        docker_of(Containers(docker_url=f"unix://{tmp_path}/docker.sock")),
    ):
        pass


def test_a_docker_that_goes_away_in_between_is_unreachable(engine: DockerEngine) -> None:
    with docker_engine() as other, docker_of(Containers(docker_url=other.url)) as docker:
        other.run("mem0_server_prd")
        assert docker.inspect("mem0_server_prd").running
        left = docker
    with pytest.raises(DockerUnreachableError):
        left.inspect("mem0_server_prd")
