"""The other stores of a deployment, its containers and its writers, as the fleet.yaml read off a compose file has them."""

from pathlib import Path

import pytest

from mem0_assets.backups.deployment_files import copy_files
from mem0_assets_tests.compose_files import (
    INCIDENT,
    INCIDENT_ENV,
    MEM0_1,
    MEM0_2,
    SECRET,
    Result,
    forget_exported_secrets,
    lay_out,
    read_off,
    with_postgres,
)

ENV_2 = f"POSTGRES_PASSWORD={SECRET}-database\nJWT_SECRET={SECRET}-jwt\n"
HISTORY = {"history/history.db": ""}


@pytest.fixture(autouse=True)
def _no_variables_of_this_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    forget_exported_secrets(monkeypatch)


# --- mem0's own compose files ---


def test_every_store_of_todays_server_is_named(tmp_path: Path) -> None:
    result = read_off(tmp_path, MEM0_2, ENV_2, HISTORY)
    server = tmp_path / "server"
    files = [str(server / "docker-compose.yaml"), str(server / ".env")]
    history = str(server / "history" / "history.db")
    assert result.section("stores") == {"application": "mem0_app", "history": history, "files": files, "roles": True}
    assert "mem0_app" not in result.notes
    assert "history" not in result.notes


def test_a_server_of_1_x_has_no_application(tmp_path: Path) -> None:
    result = read_off(tmp_path, MEM0_1, "OPENAI_API_KEY=sk-s3cret\n", HISTORY)
    stores = result.section("stores")
    assert stores["application"] is None
    assert stores["history"] == str(tmp_path / "server" / "history" / "history.db")


def test_the_fleet_that_is_written_beside_mem0_names_its_stores_from_there(tmp_path: Path) -> None:
    source = lay_out(tmp_path / "guard", {"docker-compose.yaml": MEM0_2, ".env": ENV_2, **HISTORY})
    result = read_off(tmp_path, "", source=source)
    stores = result.section("stores")
    assert (stores["history"], stores["files"]) == ("./history/history.db", ["docker-compose.yaml", ".env"])
    assert result.load().deployment("prd").stores.history == source / "history" / "history.db"


def test_the_files_that_are_named_can_be_kept_without_a_secret(tmp_path: Path) -> None:
    stores = read_off(tmp_path, MEM0_2, ENV_2).load().deployment("prd").stores
    target = tmp_path / "kept"
    target.mkdir()
    assert {copy.masked for copy in copy_files(stores.files, target)} >= {("POSTGRES_PASSWORD", "JWT_SECRET")}
    assert SECRET not in "".join(file.read_text() for file in target.iterdir())


def test_mem0s_own_containers_are_named_as_docker_compose_names_them_and_that_is_told(tmp_path: Path) -> None:
    result = read_off(tmp_path, MEM0_2, ENV_2)
    containers = result.section("containers")
    assert (containers["postgres"], containers["server"]) == ("mem0-dev-postgres-1", "mem0-dev-mem0-1")
    assert containers["writers"] == []
    assert "Docker Compose's own names are taken: mem0-dev-postgres-1, mem0-dev-mem0-1" in result.notes


def test_names_that_are_set_are_no_guess(tmp_path: Path) -> None:
    result = read_off(tmp_path, INCIDENT, INCIDENT_ENV)
    containers = result.section("containers")
    assert (containers["postgres"], containers["server"]) == ("mem0_postgres_prd", "mem0_server_prd")
    assert "container" not in result.notes.replace("in the container alone", "")


# --- The application ---


@pytest.mark.parametrize(
    ("said", "application"),
    [
        ("APP_DB_NAME=mem0_app", "mem0_app"),
        ("APP_DB_NAME=users", "users"),
        ("APP_DB_NAME=postgres", None),
        ("PYTHONUNBUFFERED=1", "mem0_app"),
    ],
)
def test_the_applications_database_is_the_one_that_the_server_names(
    tmp_path: Path, said: str, application: str | None
) -> None:
    result = read_off(tmp_path, MEM0_2.replace("APP_DB_NAME=mem0_app", said), ENV_2)
    assert result.section("stores")["application"] == application
    assert ("no APP_DB_NAME is set; mem0_app is taken" in result.notes) == (said == "PYTHONUNBUFFERED=1")


SIGNS = [
    "- APP_DB_NAME=mem0_app",
    "- JWT_SECRET=${JWT_SECRET:?JWT_SECRET must be set}",
    "- ./init-db.sh:/docker-entrypoint-initdb.d/init-db.sh",
]


@pytest.mark.parametrize("sign", SIGNS)
def test_one_sign_of_todays_server_is_enough(tmp_path: Path, sign: str) -> None:
    lines = [line for line in MEM0_2.splitlines() if line.strip() not in {*SIGNS} - {sign}]
    result = read_off(tmp_path, "\n".join(lines), f"POSTGRES_PASSWORD={SECRET}\n")
    assert result.section("stores")["application"] == "mem0_app"


# --- The history ---


@pytest.mark.parametrize(
    ("volume", "path", "history"),
    [
        ("./history:/app/history", "", "history/history.db"),
        ("./history:/app/history:rw", "/app/history/history.db", "history/history.db"),
        ("{type: bind, source: ./data, target: /data}", "/data/mem0.db", "data/mem0.db"),
        ("./one.db:/app/history/history.db", "", "one.db"),
        ("'${DATA:-./kept}:/app/history'", "", "kept/history.db"),
        (".:/app", "", "history/history.db"),
        (".:/app", "own/mem0.db", "own/mem0.db"),
        ("/srv/mem0/history:/app/history", "", "/srv/mem0/history/history.db"),
    ],
)
def test_the_history_is_found_through_what_is_mounted(tmp_path: Path, volume: str, path: str, history: str) -> None:
    result = read_off(tmp_path, _server(volume, path))
    expected = tmp_path / "server" / history
    assert result.section("stores")["history"] == str(expected)
    assert f"{expected} is not there: backups are refused until mem0 has made it" in result.notes


@pytest.mark.parametrize(
    ("volume", "where"),
    [
        ("history:/app/history", "in a volume of Docker's"),
        ("{type: volume, source: history, target: /app/history}", "in a volume of Docker's"),
        ("/app/history", "in a volume of Docker's"),
        ("./history:/data", "in the container alone, and goes with it"),
    ],
)
def test_a_history_that_this_machine_cannot_see_is_told_with_what_to_do(
    tmp_path: Path, volume: str, where: str
) -> None:
    result = read_off(tmp_path, _server(volume))
    assert result.section("stores")["history"] is None
    assert f"of services.mem0 is {where}, and in no backup until this machine sees it" in result.notes
    assert "`docker compose cp mem0:/app/history ./history`" in result.notes


def _server(volume: str, path: str = "") -> str:
    environment = f"{{POSTGRES_COLLECTION_NAME: memories, HISTORY_DB_PATH: '{path}'}}"
    server = f"  mem0: {{image: mem0, environment: {environment}, volumes: [{volume}]}}\n"
    return with_postgres("ports: ['1:5432']") + server


# --- The files ---


def test_of_two_files_of_one_name_the_second_is_left_out_and_that_is_told(tmp_path: Path) -> None:
    compose = with_postgres("env_file: [db/.env]\nports: ['1:5432']")
    result = read_off(tmp_path, compose, "A=1", {"db/.env": f"POSTGRES_PASSWORD={SECRET}"})
    server = tmp_path / "server"
    assert result.section("stores")["files"] == [str(server / "docker-compose.yaml"), str(server / ".env")]
    assert f"{server / 'db' / '.env'} is not among stores.files" in result.notes


def test_each_of_two_deployments_has_its_own_env_file(tmp_path: Path) -> None:
    compose = """
services:
  postgres_prd: {image: postgres, env_file: prd.env, ports: ["5433:5432"]}
  postgres_test: {image: postgres, env_file: test.env, ports: ["5434:5432"]}
"""
    result = read_off(tmp_path, compose, more={"prd.env": "A=1", "test.env": "A=1"})
    names = [[Path(file).name for file in result.section("stores", name)["files"]] for name in ("prd", "test")]
    assert names == [["docker-compose.yaml", "prd.env"], ["docker-compose.yaml", "test.env"]]


# --- The containers ---


@pytest.mark.parametrize(
    ("name", "env", "folder", "project"),
    [
        ("name: mem0-dev", "", "mem0", "mem0-dev"),
        ("name: mem0-${STAGE}", "STAGE=prd", "mem0", "mem0-prd"),
        ("name: mem0-dev", "COMPOSE_PROJECT_NAME=other", "mem0", "other"),
        ("", "", "_My mem0.Server", "mymem0server"),
    ],
)
def test_docker_composes_own_names_begin_with_the_project(
    tmp_path: Path, name: str, env: str, folder: str, project: str
) -> None:
    compose = f"{name}\n" + with_postgres("ports: ['1:5432']")
    source = lay_out(tmp_path / folder, {"docker-compose.yaml": compose, ".env": env})
    assert read_off(tmp_path, "", source=source).section("containers")["postgres"] == f"{project}-postgres-1"


@pytest.mark.parametrize("lines", ["scale: 2", "deploy: {replicas: 3}", "container_name: '${STAGE:?}'"])
def test_a_container_without_one_fixed_name_is_left_out_and_told(tmp_path: Path, lines: str) -> None:
    result = read_off(tmp_path, with_postgres(f"{lines}\nports: ['1:5432']"))
    assert result.section("containers")["postgres"] is None
    assert "services.postgres has no container of one fixed name" in result.notes


# --- The server and the writers ---


def test_what_is_only_named_for_mem0_is_not_taken_for_its_server(tmp_path: Path) -> None:
    compose = with_postgres("ports: ['1:5432']") + (
        "  mem0_exporter: {image: python, environment: {POSTGRES_HOST: postgres}}\n"
        "  mem0-ui: {image: mem0-ui, ports: ['3000:3000']}\n"
        "  mem0_prd: {image: mem0, container_name: api, environment: {POSTGRES_COLLECTION_NAME: facts}}\n"
    )
    result = read_off(tmp_path, compose)
    assert result.section("containers")["server"] == "api"
    assert "writers" not in result.notes


def test_where_two_may_be_the_server_neither_is_taken_and_that_is_told(tmp_path: Path) -> None:
    compose = with_postgres("ports: ['1:5432']") + "  mem0-a: {image: mem0}\n  mem0-b: {image: mem0}\n"
    result = read_off(tmp_path, compose)
    assert (result.section("containers")["server"], result.server_url()) == (None, None)
    assert "which of services.mem0-a, services.mem0-b is mem0's server is not clear" in result.notes


def _with_bot(tmp_path: Path, environment: str, server: str = "mem0") -> Result:
    bot = f"  bot: {{image: bot, container_name: assistant, environment: {{{environment}}}}}\n"
    return read_off(tmp_path, with_postgres("ports: ['1:5432']") + f"  {server}: {{image: mem0}}\n{bot}")


@pytest.mark.parametrize(
    "environment",
    [
        "MEM0_URL: 'http://mem0:8000'",
        "MEM0_API_BASE: 'http://mem0:8000/v1', MEM0_API_KEY: s3cret",
        "CHAT_MEM0_ENDPOINT: 'http://mem0'",
        "POSTGRES_HOST: postgres, MEM0_HOST: 'http://mem0:8000'",
    ],
)
def test_a_service_that_has_mem0s_address_is_a_writer(tmp_path: Path, environment: str) -> None:
    result = _with_bot(tmp_path, environment)
    assert result.section("containers")["writers"] == ["assistant"]
    assert "assistant" not in result.notes
    assert result.load().deployment("prd").containers.writers == ("assistant",)


@pytest.mark.parametrize(
    ("environment", "note"),
    [
        ("MEM0_URL: 'https://api.example.org'", "services.bot looks for a mem0 that is no service of this file"),
        ("MEM0_URL: 'http://host.docker.internal:8888'", "services.bot looks for a mem0 that is no service of this"),
        ("POSTGRES_HOST: postgres", "prd: services.bot uses the database, too"),
    ],
)
def test_a_service_that_may_write_is_told(tmp_path: Path, environment: str, note: str) -> None:
    result = _with_bot(tmp_path, environment)
    assert result.section("containers")["writers"] == []
    assert note in result.notes


@pytest.mark.parametrize("environment", ["MEM0_API_KEY: s3cret", "MEM0_URL: '${UNSEEN:?}'", "MEM0_URL: 'http://['"])
def test_a_service_of_which_nothing_is_known_is_left_alone(tmp_path: Path, environment: str) -> None:
    result = _with_bot(tmp_path, environment)
    assert result.section("containers")["writers"] == []
    assert "services.bot" not in result.notes
