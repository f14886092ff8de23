"""What a deployment's configuration is: each source read for real, and none believed more than it says."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mem0_assets.demo.stores import create_application
from mem0_assets.fleet import Deployment
from mem0_assets.live.configuration import Configuration, read_configuration
from mem0_assets.live.embedded import EmbeddedServer
from mem0_assets.live.fingerprints import fingerprint_in
from mem0_assets_tests.compose_files import INCIDENT, MEM0_2, lay_out
from mem0_assets_tests.conftest import MakeDeployment, make_database, open_connection
from mem0_assets_tests.docker_engine import DockerEngine, docker_engine, needs_docker
from mem0_assets_tests.freezing import frozen
from mem0_assets_tests.service_stub import Mem0Stub, half_json, say_nothing

SECRET = "hunter2"
ENV = f"POSTGRES_USER=mem0_user\nPOSTGRES_DB=mem0\nPOSTGRES_PASSWORD={SECRET}\n"
SERVED = {
    "vector_store": {"config": {"collection_name": "memories", "dbname": "mem0", "password": SECRET}},
    "embedder": {"provider": "openai", "config": {"model": "text-embedding-3-small", "api_key": SECRET}},
    "llm": {"config": {"model": "gpt-5-mini"}},
}


@pytest.fixture
def mem0(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mem0Stub]:
    with Mem0Stub() as stub:
        monkeypatch.setenv("MEM0_ADMIN_KEY", stub.key or "")
        stub.configuration = SERVED
        yield stub


def read(deployment: Deployment, tmp_path: Path) -> Configuration:
    """Read it, and make sure that no secret got out."""
    found = read_configuration(deployment, fingerprint_in(tmp_path))
    assert SECRET not in repr(found)
    assert Configuration.from_json(json.loads(json.dumps(found.as_json()))) == found
    return found


def settings_of(mem0: Mem0Stub) -> dict[str, Any]:
    return {"server_url": mem0.url, "admin_key_env": "MEM0_ADMIN_KEY"}


def files(folder: Path, compose: str, env: str | None = ENV) -> dict[str, Any]:
    lay_out(folder, {"docker-compose.yaml": compose, **({".env": env} if env is not None else {})})
    names = ["docker-compose.yaml", *([".env"] if env is not None else [])]
    return {"files": [folder / name for name in names]}


# Sources that are always there


def test_the_database_says_who_it_is_and_fleet_yaml_what_is_guarded(
    make_deployment: MakeDeployment, tmp_path: Path
) -> None:
    deployment = make_deployment()
    found = read(deployment, tmp_path)
    assert found.of("database", "dimensions") == "8"
    assert str(found.of("database", "server_version")).startswith("18.")
    assert found.of("database", "pgvector_version")
    assert found.said["fleet"] == {
        "database": deployment.postgres.database,
        "collection": "memories",
        "user": deployment.postgres.user,
    }


def test_what_cannot_be_read_is_said_with_the_reason(make_deployment: MakeDeployment, tmp_path: Path) -> None:
    found = read(make_deployment(), tmp_path)
    assert found.unknown == {
        "server": "fleet.yaml names no health.server_url",
        "settings": "fleet.yaml names no stores.application",
        "server_container": "fleet.yaml names no containers.server",
        "postgres_container": "fleet.yaml names no containers.postgres",
        "files": "fleet.yaml names no stores.files. Name .env and the compose file there",
    }


def test_a_frozen_database_is_not_known_and_holds_nobody_up(
    own_server: EmbeddedServer, make_deployment: MakeDeployment, tmp_path: Path
) -> None:
    deployment = make_deployment(on=own_server)
    with frozen(own_server):
        found = read(deployment, tmp_path)
    assert "did not answer" in found.unknown["database"]
    assert "fleet" in found.said


# mem0's server, and its settings


def test_the_server_says_what_it_uses(make_deployment: MakeDeployment, mem0: Mem0Stub, tmp_path: Path) -> None:
    found = read(make_deployment(health=settings_of(mem0)), tmp_path)
    assert found.in_force("collection") == ("memories", "server")
    assert found.in_force("embedder_dimensions") == ("1536", "server")


def test_a_server_that_does_not_tell_is_not_known(
    make_deployment: MakeDeployment, mem0: Mem0Stub, tmp_path: Path
) -> None:
    deployment = make_deployment(health=settings_of(mem0))
    mem0.faults["/configure"] = half_json
    assert "it does not say (HTTP 200)" in read(deployment, tmp_path).unknown["server"]
    mem0.faults["/configure"] = say_nothing
    assert "said nothing for 5 s" in read(deployment, tmp_path).unknown["server"]
    del mem0.faults["/configure"]
    mem0.configuration = None
    assert "it does not say (HTTP 405): servers of mem0 1.x" in read(deployment, tmp_path).unknown["server"]
    mem0.key = "another"
    assert "it asks for another key" in read(deployment, tmp_path).unknown["server"]
    nameless = make_deployment(health={"server_url": mem0.url})
    assert "Name it: health.admin_key_env" in read(nameless, tmp_path).unknown["server"]


@pytest.mark.parametrize("nested", [False, True])
def test_the_settings_in_the_application_database_are_read_and_its_keys_are_not(
    server: EmbeddedServer, make_deployment: MakeDeployment, tmp_path: Path, nested: bool
) -> None:
    name = f"app_settings_{tmp_path.name}"[:60]
    make_database(server, name, None)
    overrides = json.dumps({"vector_store": {"config": {"collection_name": "notes"}}, "embedder": SERVED["embedder"]})
    with open_connection(server, name) as connection:
        create_application(connection)
        value = (
            json.dumps(overrides) if nested else overrides
        )  # a text column holds JSON, a jsonb one may hold its text
        connection.execute("UPDATE settings SET value = %s::jsonb WHERE key = 'config_overrides'", (value,))
    found = read(make_deployment(stores={"application": name}), tmp_path)
    assert found.said["settings"] == {
        "collection": "notes",
        "embedder_provider": "openai",
        "embedder_model": "text-embedding-3-small",
        "embedder_dimensions": "1536",
    }


def test_without_overrides_the_settings_say_nothing_and_without_the_table_they_are_not_known(
    server: EmbeddedServer, make_deployment: MakeDeployment, tmp_path: Path
) -> None:
    name = f"app_none_{tmp_path.name}"[:60]
    make_database(server, name, None)
    deployment = make_deployment(stores={"application": name})
    assert "has no table settings" in read(deployment, tmp_path).unknown["settings"]
    with open_connection(server, name) as connection:
        create_application(connection, used=False)
    assert read(deployment, tmp_path).said["settings"] == {}


# The files on disk


def test_the_compose_file_says_what_the_next_start_would_use(make_deployment: MakeDeployment, tmp_path: Path) -> None:
    folder = tmp_path / "mem0"
    found = read(make_deployment(stores=files(folder, INCIDENT)), tmp_path)
    password = fingerprint_in(tmp_path)(SECRET)
    assert found.said["files"] == {
        "host": "postgres",
        "port": "5432",
        "user": "mem0_user",
        "database": "mem0",
        "password": password,
        "collection": "memories_768",
        "history_place": "the container alone",
        "server_image": "mem0-server:latest",
        "server_port": "8889",
        "data_place": "the container alone",
        "postgres_image": "pgvector/pgvector:pg16",
        "postgres_port": "5433",
    }


def test_volumes_are_called_as_docker_calls_them(make_deployment: MakeDeployment, tmp_path: Path) -> None:
    env = f"{ENV}JWT_SECRET={SECRET}\n"
    found = read(make_deployment(stores=files(tmp_path / "server", MEM0_2, env)), tmp_path)
    assert found.of("files", "data_place") == "the volume mem0-dev_postgres_db"
    named = f"{MEM0_2}volumes:\n  postgres_db: {{name: precious}}\n"
    found = read(make_deployment(stores=files(tmp_path / "named", named, env)), tmp_path)
    assert found.of("files", "data_place") == "the volume precious"
    moved = f"{env}COMPOSE_PROJECT_NAME=other\n"
    found = read(make_deployment(stores=files(tmp_path / "moved", MEM0_2, moved)), tmp_path)
    assert found.of("files", "data_place") == "the volume other_postgres_db"


def test_a_folder_of_the_host_is_told_by_its_whole_path(make_deployment: MakeDeployment, tmp_path: Path) -> None:
    compose = INCIDENT.replace(
        "container_name: mem0_server_prd", "container_name: mem0_server_prd\n    volumes: ['./history:/app/history']"
    )
    found = read(make_deployment(stores=files(tmp_path / "mem0", compose)), tmp_path)
    assert found.of("files", "history_place") == f"the folder {tmp_path / 'mem0' / 'history'}"


def test_a_variable_that_must_be_set_and_is_not_makes_the_files_unknown(
    make_deployment: MakeDeployment, tmp_path: Path
) -> None:
    found = read(make_deployment(stores=files(tmp_path / "mem0", MEM0_2, ENV)), tmp_path)
    assert "JWT_SECRET is not set" in found.unknown["files"]


def test_a_file_that_is_gone_is_said(make_deployment: MakeDeployment, tmp_path: Path) -> None:
    stores = files(tmp_path / "mem0", INCIDENT)
    (tmp_path / "mem0" / ".env").unlink()
    assert "there is no such file" in read(make_deployment(stores=stores), tmp_path).unknown["files"]


def test_an_env_file_alone_is_read_as_it_is(make_deployment: MakeDeployment, tmp_path: Path) -> None:
    path = lay_out(tmp_path / "mem0", {".env": ENV}) / ".env"
    found = read(make_deployment(stores={"files": [path]}), tmp_path)
    assert found.of("files", "database") == "mem0"
    assert found.of("files", "history_place") is None


def test_services_that_could_be_anybodys_are_not_guessed(make_deployment: MakeDeployment, tmp_path: Path) -> None:
    twice = INCIDENT + "  mem0_test: {image: mem0-server, ports: ['8890:8888']}\n"
    stores = files(tmp_path / "mem0", twice)
    assert "is surely this deployment's mem0" in read(make_deployment(stores=stores), tmp_path).unknown["files"]
    named = make_deployment(stores=stores, containers={"server": "mem0_server_prd", "postgres": "mem0_postgres_prd"})
    assert read(named, tmp_path).of("files", "database") == "mem0"


# Containers


@pytest.fixture(scope="module")
def engine() -> Iterator[DockerEngine]:
    with docker_engine() as running:
        yield running


@needs_docker
def test_running_containers_say_what_they_were_started_with(
    engine: DockerEngine, make_deployment: MakeDeployment, tmp_path: Path
) -> None:
    started = {"POSTGRES_HOST": "postgres", "POSTGRES_DB": "mem0", "POSTGRES_PASSWORD": SECRET}
    engine.run("mem0_server_prd", environment=started, volumes=[f"{tmp_path}:/app/history"])
    engine.run("mem0_postgres_prd", volumes=["mem0_postgres_db:/var/lib/postgresql/data"])
    containers = {"server": "mem0_server_prd", "postgres": "mem0_postgres_prd", "docker_url": engine.url}
    found = read(make_deployment(containers=containers), tmp_path)
    assert found.of("server_container", "database") == "mem0"
    assert found.of("server_container", "password") == fingerprint_in(tmp_path)(SECRET)
    assert found.of("server_container", "history_place") == f"the folder {tmp_path}"
    assert found.of("postgres_container", "data_place") == "the volume mem0_postgres_db"
    assert str(found.of("postgres_container", "postgres_image_id")).startswith("sha256:")


@needs_docker
def test_a_container_that_is_gone_leaves_the_other_one_known(
    engine: DockerEngine, make_deployment: MakeDeployment, tmp_path: Path
) -> None:
    engine.run("mem0_server_prd", environment={"POSTGRES_DB": "mem0"})
    containers = {"server": "mem0_server_prd", "postgres": "nobody", "docker_url": engine.url}
    found = read(make_deployment(containers=containers), tmp_path)
    assert found.of("server_container", "database") == "mem0"
    assert "Docker has no container nobody" in found.unknown["postgres_container"]


@needs_docker
def test_relative_folders_begin_where_compose_was_run(
    engine: DockerEngine, make_deployment: MakeDeployment, tmp_path: Path
) -> None:
    labels = {"com.docker.compose.project.working_dir": "/srv/mem0", "com.docker.compose.project": "mem0"}
    engine.run("mem0_server_prd", labels=labels, volumes=["/srv/mem0/history:/app/history"])
    compose = INCIDENT.replace(
        "container_name: mem0_server_prd", "container_name: mem0_server_prd\n    volumes: ['./history:/app/history']"
    )
    containers = {"server": "mem0_server_prd", "docker_url": engine.url}
    deployment = make_deployment(containers=containers, stores=files(tmp_path / "seen_here", compose))
    found = read(deployment, tmp_path)
    assert found.of("files", "history_place") == found.of("server_container", "history_place")


def test_a_docker_that_is_away_is_said_for_each_of_its_containers(
    make_deployment: MakeDeployment, tmp_path: Path
) -> None:
    containers = {"server": "a", "postgres": "b", "docker_url": f"unix://{tmp_path}/no.sock"}
    unknown = read(make_deployment(containers=containers), tmp_path).unknown
    assert unknown["server_container"] == unknown["postgres_container"]
    assert "Docker cannot be reached" in unknown["server_container"]
