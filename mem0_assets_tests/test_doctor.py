"""The doctor on the other stores and the containers: a line for each, and a command where one is not right."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from mem0_assets.demo.stores import FILES, create_application, create_history, write_files
from mem0_assets.doctor import Check, examine
from mem0_assets.fleet import Deployment, Fleet
from mem0_assets.live.embedded import EmbeddedServer
from mem0_assets_tests.conftest import SMALL, MakeDeployment, make_database, open_connection
from mem0_assets_tests.docker_engine import docker_engine, needs_docker


def doctor(deployment: Deployment) -> dict[str, Check]:
    """What the doctor says of the deployment, by the name of the check without the deployment's."""
    fleet = Fleet(
        path=Path("fleet.yaml"), backups_root=deployment.backups.parent, deployments={deployment.name: deployment}
    )
    own = f"{deployment.name}: "
    return {check.name.removeprefix(own): check for check in examine(fleet) if check.name.startswith(own)}


@pytest.fixture
def whole(server: EmbeddedServer, make_deployment: MakeDeployment, tmp_path: Path) -> Deployment:
    application = f"doctor_{os.getpid()}_{tmp_path.name}"[:60]
    make_database(server, application, None)
    with open_connection(server, application) as connection:
        create_application(connection)
    folder = tmp_path / "server"
    write_files(folder)
    history = folder / "history" / "history.db"
    files = [folder / name for name in FILES]
    deployment = make_deployment(SMALL, stores={"application": application, "history": history, "files": files})
    with open_connection(server, deployment.postgres.database) as connection:
        create_history(history, connection, "memories")
    return deployment


def test_each_store_has_a_line_of_its_own(whole: Deployment) -> None:
    seen = doctor(whole)
    stores = [seen[name] for name in ("application", "history", "files", "roles")]
    assert [check for check in stores if not check.ok or check.fix] == []
    assert seen["application"].detail.endswith("holds 6 tables: 1 users, 1 api_keys")
    assert seen["history"].detail == f"{whole.stores.history} has {sum(SMALL.values())} events"
    assert seen["files"].detail == "2 files can be kept, 3 secrets in them masked"
    assert "other stores" not in seen


def test_what_is_not_kept_is_said(make_deployment: MakeDeployment) -> None:
    seen = doctor(make_deployment(SMALL, stores={"roles": False}))["other stores"]
    assert (seen.ok, seen.fix) == (True, "")
    assert seen.detail == "not kept, as fleet.yaml does not name it: application, history, files, roles"


def test_a_history_that_is_not_there_comes_with_the_command_that_looks_for_it(whole: Deployment) -> None:
    assert whole.stores.history is not None
    whole.stores.history.unlink()
    seen = doctor(whole)["history"]
    assert (seen.ok, seen.detail) == (False, f"there is no {whole.stores.history}")
    assert seen.fix.startswith(f"ls -l {whole.stores.history.parent}  # Is its folder mounted")


def test_a_file_that_is_no_history_is_no_store(whole: Deployment) -> None:
    assert whole.stores.history is not None
    whole.stores.history.unlink()
    with closing(sqlite3.connect(whole.stores.history)) as database:
        database.execute("CREATE TABLE other (id int)")
    assert not doctor(whole)["history"].ok


def test_a_database_that_is_none_of_mem0s_is_no_application(whole: Deployment) -> None:
    stores = whole.stores.model_copy(update={"application": "postgres"})
    seen = doctor(whole.model_copy(update={"stores": stores}))["application"]
    assert not seen.ok
    assert "is none of mem0's: it has no table alembic_version" in seen.detail
    assert seen.fix.startswith(f"psql -h {whole.postgres.host} -p {whole.postgres.port} -U postgres -d postgres -l  # ")


def test_a_file_that_is_gone_comes_with_the_command_that_looks_for_it(whole: Deployment) -> None:
    env = whole.stores.files[0]
    env.unlink()
    seen = doctor(whole)["files"]
    assert (seen.ok, seen.detail) == (False, f"{env}: there is no such file")
    assert seen.fix.startswith(f"ls -l {env} ")


@needs_docker
def test_each_container_has_a_line_and_a_command_where_it_is_missing_or_stands(make_deployment: MakeDeployment) -> None:
    with docker_engine() as engine:
        engine.run("mem0_postgres_prd")
        engine.run("mem0_server_prd").stop(timeout=5)
        names = {"postgres": "mem0_postgres_prd", "server": "mem0_server_prd", "writers": ["bot"]}
        seen = doctor(make_deployment(SMALL, containers={**names, "docker_url": engine.url}))
    runs, stands, missing = (seen[f"container {name}"] for name in ("mem0_postgres_prd", "mem0_server_prd", "bot"))
    assert (runs.ok, runs.fix) == (True, "")
    assert runs.detail.startswith("runs mem0-assets-tests:1 since 20")
    assert (stands.ok, stands.detail, stands.fix) == (False, "does not run", "docker start mem0_server_prd")
    assert (missing.ok, missing.detail) == (False, "Docker has no container bot")
    assert missing.fix == "docker ps --all --format '{{.Names}}'  # and correct containers in fleet.yaml"


def test_without_a_docker_that_answers_nothing_is_known_of_any_container(
    make_deployment: MakeDeployment, tmp_path: Path
) -> None:
    containers = {"postgres": "mem0_postgres_prd", "writers": ["bot"], "docker_url": f"unix://{tmp_path}/none.sock"}
    seen = doctor(make_deployment(SMALL, containers=containers))["containers"]
    assert not seen.ok
    assert seen.detail.startswith("mem0_postgres_prd, bot: Docker cannot be reached")
    assert seen.fix.startswith("docker info  # Does it run, and may this user use it")


def test_where_no_container_is_named_docker_is_not_asked(make_deployment: MakeDeployment) -> None:
    assert [name for name in doctor(make_deployment(SMALL)) if "container" in name] == []


def test_a_database_that_does_not_answer_is_told_once_and_not_by_every_look(make_deployment: MakeDeployment) -> None:
    deployment = make_deployment(SMALL)
    away = deployment.postgres.model_copy(update={"host": "127.0.0.1", "port": 9})
    seen = doctor(deployment.model_copy(update={"postgres": away}))
    assert [name for name, check in seen.items() if "cannot be reached" in check.detail] == ["postgres"]
    assert seen["programs"].detail == "not known which are needed before PostgreSQL answers"
