"""The compose file and its .env, read as Docker Compose reads them; seen in the fleet.yaml that comes of it."""

from pathlib import Path

import pytest

from mem0_assets_tests.compose_files import (
    INCIDENT,
    INCIDENT_ENV,
    MEM0_1,
    MEM0_2,
    SECRET,
    forget_exported_secrets,
    lay_out,
    read_off,
    refusal,
    with_postgres,
)


@pytest.fixture(autouse=True)
def _no_variables_of_this_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    forget_exported_secrets(monkeypatch)


# --- The files ---


@pytest.mark.parametrize("named", ["docker-compose.yaml", ".env", "."])
def test_the_folder_or_either_of_its_files_may_be_named(tmp_path: Path, named: str) -> None:
    source = lay_out(tmp_path / "here", {"docker-compose.yaml": MEM0_2, ".env": f"POSTGRES_PASSWORD={SECRET}"})
    result = read_off(tmp_path, "", source=source / named)
    assert result.written.notes[0] == f"Read {source / 'docker-compose.yaml'} and {source / '.env'}"


@pytest.mark.parametrize(
    ("named", "compose", "env", "name"),
    [
        ("docker-compose.test.yml", "docker-compose.test.yml", ".env.test", "test"),
        (".env.test", "docker-compose.test.yml", ".env.test", "test"),
        ("docker-compose.prod.yml", "docker-compose.prod.yml", ".env", "prd"),
        (".env", "docker-compose.yml", ".env", "prd"),
        (".", "docker-compose.yml", ".env", "prd"),
    ],
)
def test_the_files_of_a_stage_belong_together(tmp_path: Path, named: str, compose: str, env: str, name: str) -> None:
    folder = tmp_path / "here"
    for file in ("docker-compose.yml", "docker-compose.test.yml", "docker-compose.prod.yml"):
        lay_out(folder, {file: with_postgres("ports: ['1:5432']"), ".env": "", ".env.test": ""})
    result = read_off(tmp_path, "", source=folder / named)
    assert result.written.notes[0] == f"Read {folder / compose} and {folder / env}"
    assert result.written.deployments == (name,)


def test_several_compose_files_and_none_that_docker_would_take_are_refused(tmp_path: Path) -> None:
    folder = lay_out(tmp_path / "here", {"docker-compose.prd.yml": INCIDENT, "docker-compose.test.yml": INCIDENT})
    error = refusal(tmp_path, "", source=folder)
    assert "docker-compose.prd.yml, docker-compose.test.yml" in str(error)


def test_docker_takes_compose_yaml_before_docker_compose_yml_and_an_override_is_told(tmp_path: Path) -> None:
    more = {"compose.yaml": INCIDENT, "compose.override.yaml": "services: {}", "docker-compose.yml": "services: {}"}
    result = read_off(tmp_path, MEM0_1, INCIDENT_ENV, more)
    assert result.postgres()["port"] == 5433
    assert "compose.override.yaml was not read" in result.notes


def test_a_source_that_cannot_even_be_looked_at_is_refused(tmp_path: Path) -> None:
    assert "cannot be read: File name too long" in str(refusal(tmp_path, MEM0_1, source=tmp_path / ("x" * 300)))


def test_a_source_that_is_missing_or_empty_is_refused(tmp_path: Path) -> None:
    assert "no such file or folder" in str(refusal(tmp_path, MEM0_1, source=tmp_path / "nowhere"))
    assert "there is no compose file" in str(refusal(tmp_path, MEM0_1, source=lay_out(tmp_path / "x", {"y/z": ""})))


@pytest.mark.parametrize(
    "value", ["*s3cret", "!s3cret x", '"s3cret', "@s3cret", "s3cret: x", "[s3cret", "\ts3cret\x07", "%s3cret"]
)
def test_a_compose_file_that_is_not_yaml_is_refused_by_its_line_and_without_its_words(
    tmp_path: Path, value: str
) -> None:
    compose = with_postgres(f"environment:\n  POSTGRES_PASSWORD: {value}")
    error = refusal(tmp_path, compose)
    assert str(tmp_path / "server" / "docker-compose.yaml") in str(error)
    assert "is not YAML that can be read" in str(error)


@pytest.mark.parametrize(
    ("compose", "key"),
    [
        ("- services", "holds no services"),
        ("", "holds no services"),
        ("version: 3", "services: must hold"),
        ("services: [postgres]", "services: must hold"),
        ("services: {postgres: }", "services: one is not"),
        ("services: {'a b': {image: postgres}}", "services: one is not"),
        ("services: {}", "none is a PostgreSQL"),
        ("services: {a: {image: redis, environment: s3cret}}", "services.a.environment: must be a list or a mapping"),
        ("services: {a: {image: postgres, ports: s3cret}}", "services.a.ports: must be a list"),
        ("services: {a: {image: postgres, environment: {PGPORT: s3cret}}}", "services.a.environment.PGPORT: holds"),
    ],
)
def test_a_compose_file_with_the_wrong_shape_is_refused_with_the_key(tmp_path: Path, compose: str, key: str) -> None:
    error = refusal(tmp_path, compose)
    assert str(error).startswith(f"{tmp_path / 'server' / 'docker-compose.yaml'}: ")
    assert key in str(error)


@pytest.mark.parametrize("file", ["docker-compose.yaml", ".env"])
def test_a_file_that_is_not_text_is_refused_and_not_quoted(tmp_path: Path, file: str) -> None:
    source = lay_out(tmp_path / "here", {"docker-compose.yaml": MEM0_2, ".env": ""})
    (source / file).write_bytes(b"POSTGRES_PASSWORD=s3cret\xff")
    error = refusal(tmp_path, MEM0_2, source=source)
    assert f"{source / file}: cannot be read: not text in UTF-8" in str(error)


# --- Variables ---


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("$DB", "facts"),
        ("${DB}", "facts"),
        ("${DB}_$STAGE", "facts_test"),
        ("${DB:-other}", "facts"),
        ("${DB-other}", "facts"),
        ("${DB:?must be set}", "facts"),
        ("${DB?must be set}", "facts"),
        ("${DB:+other}", "other"),
        ("${EMPTY+other}", "other"),
        ("${EMPTY:+other}", "mem0_user"),  # empty: PostgreSQL's image takes the user's name
        ("${UNSET:-other}", "other"),
        ("${UNSET-other}", "other"),
        ("${EMPTY:-other}", "other"),
        ("${EMPTY-other}", "mem0_user"),
        ("${EMPTY?must be set}", "mem0_user"),
        ("${UNSET:-}", "mem0_user"),
        ("${UNSET:-${DB}}", "facts"),
        ("${UNSET:-${EMPTY:-${DB}_deep}}_x", "facts_deep_x"),
        ("${UNSET:-a:b-c?d}", "a:b-c?d"),
        ("a$$b", "a$b"),
        ("$$DB", "$DB"),
        ("$${DB}", "${DB}"),
        ("5$", "5$"),
        ("0123", "0123"),  # to YAML 1.1 the number 83
        ("no", "no"),  # and this false
        ("1e3", "1e3"),
    ],
)
@pytest.mark.parametrize("form", ["POSTGRES_DB: {}", "- POSTGRES_DB={}"])
def test_variables_are_filled_in_as_docker_does(tmp_path: Path, written: str, meant: str, form: str) -> None:
    user = form.format("x").replace("DB", "USER").replace("x", "mem0_user")
    compose = with_postgres(f"ports: ['5432:5432']\nenvironment:\n  {form.format(written)}\n  {user}")
    result = read_off(tmp_path, compose, "DB=facts\nEMPTY=\nSTAGE=test\n")
    assert result.postgres()["database"] == meant
    result.load()


def test_a_variable_that_is_not_set_is_told(tmp_path: Path) -> None:
    compose = with_postgres("ports: ['5432:5432']\nenvironment: {POSTGRES_USER: '${WHO}'}")
    result = read_off(tmp_path, compose, "")
    assert result.postgres()["user"] == "postgres"
    env = tmp_path / "server" / ".env"
    note = f"services.postgres.environment.POSTGRES_USER: WHO is not set in {env}; it is taken as empty, as Docker does"
    assert note in result.written.notes


@pytest.mark.parametrize("expression", ["${WHO:?s3cret}", "${WHO?s3cret}"])
def test_a_variable_that_must_be_set_and_is_not_is_refused(tmp_path: Path, expression: str) -> None:
    error = refusal(tmp_path, with_postgres(f"environment: {{POSTGRES_USER: '{expression}'}}"))
    assert "services.postgres.environment.POSTGRES_USER: WHO is not set, as there is no .env" in str(error)
    assert "Write WHO=... into the .env" in error.next_step


@pytest.mark.parametrize("expression", ["${WHO", "${s3cret WHO}", "${WHO:-${X}", "${WHO/s3cret/x}", "${WHO:s3cret}"])
@pytest.mark.parametrize("key", ["POSTGRES_USER", "POSTGRES_PASSWORD"])
def test_an_expression_that_docker_does_not_know_is_refused_and_not_quoted(
    tmp_path: Path, expression: str, key: str
) -> None:
    error = refusal(tmp_path, with_postgres(f"ports: ['1:5432']\nenvironment: {{{key}: '{expression}'}}"), "")
    assert f"services.postgres.environment.{key}: holds a ${{...}}" in str(error)


def test_environment_wins_over_env_file_and_the_last_env_file_over_the_first(tmp_path: Path) -> None:
    compose = with_postgres(
        """
        ports: ["5432:5432"]
        env_file: [./one.env, {path: two.env}, {path: three.env, required: false}]
        environment: {POSTGRES_DB: of_environment}
        """.replace("        ", "")
    )
    files = {
        "one.env": f"POSTGRES_DB=of_one\nPOSTGRES_USER=of_one\nPOSTGRES_PASSWORD={SECRET}-one\n",
        "two.env": f"export POSTGRES_USER='of_two' # the last\nPOSTGRES_PASSWORD={SECRET}-two\n",
    }
    result = read_off(tmp_path, compose, more=files)
    assert result.postgres()["database"] == "of_environment"
    assert result.postgres()["user"] == "of_two"
    assert result.content["env_file"] == str(tmp_path / "server" / "two.env")
    assert result.load().deployment("prd").postgres.password() == f"{SECRET}-two"
    assert "three.env" not in result.notes


@pytest.mark.parametrize("environment", ["[POSTGRES_USER, POSTGRES_DB]", "{POSTGRES_USER: , POSTGRES_DB: null}"])
def test_a_variable_without_a_value_is_passed_on_from_env(tmp_path: Path, environment: str) -> None:
    compose = with_postgres(f"environment: {environment}\nports: ['1:5432']")
    found = read_off(tmp_path, compose, "POSTGRES_USER=mem0\n").postgres()
    assert (found["user"], found["database"]) == ("mem0", "mem0")


def test_an_env_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    result = read_off(tmp_path, MEM0_1)
    assert f"services.mem0: its env_file {tmp_path / 'server' / '.env'} is not there" in result.notes
    result.load()


def test_anchors_and_merge_keys_are_followed(tmp_path: Path) -> None:
    compose = """
x-database: &database
  image: postgres:16
  environment: &names {POSTGRES_USER: mem0, POSTGRES_PASSWORD: "${POSTGRES_PASSWORD}"}
services:
  postgres:
    <<: *database
    environment: {<<: *names, POSTGRES_DB: facts}
    ports: ["5440:5432"]
"""
    result = read_off(tmp_path, compose, f"POSTGRES_PASSWORD={SECRET}")
    found = result.postgres()
    assert (found["user"], found["database"], found["port"]) == ("mem0", "facts", 5440)


# --- Ports ---


@pytest.mark.parametrize(
    ("ports", "host", "port"),
    [
        ('["8432:5432"]', "127.0.0.1", 8432),
        ("[8432:5432]", "127.0.0.1", 8432),
        ('["127.0.0.1:8432:5432"]', "127.0.0.1", 8432),
        ('["0.0.0.0:8432:5432"]', "127.0.0.1", 8432),
        ('["192.168.1.20:8432:5432"]', "192.168.1.20", 8432),
        ('["[::1]:8432:5432"]', "::1", 8432),
        ('["[::]:8432:5432"]', "::1", 8432),
        ('["8432:5432/tcp"]', "127.0.0.1", 8432),
        ('["8430-8435:5430-5435"]', "127.0.0.1", 8432),
        ('["${BIND:-127.0.0.1}:${PORT}:5432"]', "127.0.0.1", 6432),
        ('["9000:9000", "5432", "8432:5432"]', "127.0.0.1", 8432),
        ('["9432:5432/udp", "8432:5432"]', "127.0.0.1", 8432),
        ('["192.168.1.20:9432:5432", "8432:5432"]', "127.0.0.1", 8432),
        ("[{target: 5432, published: 8432}]", "127.0.0.1", 8432),
        ('[{target: 5432, published: "${PORT}", host_ip: 10.0.0.7, protocol: tcp, mode: host}]', "10.0.0.7", 6432),
        ('[{target: 9187, published: 9187}, {target: 5432, published: "8432"}]', "127.0.0.1", 8432),
    ],
)
def test_the_published_port_is_found_in_every_form(tmp_path: Path, ports: str, host: str, port: int) -> None:
    result = read_off(tmp_path, with_postgres(f"ports: {ports}"), f"POSTGRES_PASSWORD={SECRET}\nPORT=6432\n")
    assert (result.postgres()["host"], result.postgres()["port"]) == (host, port)
    assert "fixed port" not in result.notes
    loaded = result.load().deployment("prd").postgres
    assert (loaded.host, loaded.port) == (host, port)


@pytest.mark.parametrize(
    "ports",
    ['["x:5432"]', '["99999:5432"]', '["0:5432"]', '["8432:"]', '["1-2:5432-5434"]', '["127.0.0.1:5432"]', "8432"],
)
def test_a_port_that_is_none_is_refused_with_its_key(tmp_path: Path, ports: str) -> None:
    assert "services.postgres.ports: " in str(refusal(tmp_path, with_postgres(f"ports: {ports}")))


# --- Which service is a PostgreSQL ---


@pytest.mark.parametrize(
    "image",
    [
        "postgres",
        "postgres:16-alpine",
        "pgvector/pgvector:pg17",
        "ankane/pgvector:v0.5.1",
        "ghcr.io:443/some/pgvector@sha256:0123",
        "timescale/timescaledb:latest-pg16",
        "supabase/postgres:15",
        "tensorchord/vchord-postgres:pg17",
        "${IMAGE:-postgres}:${TAG}",
    ],
)
def test_a_postgres_is_known_by_its_image(tmp_path: Path, image: str) -> None:
    assert read_off(tmp_path, with_postgres("ports: ['8432:5432']", image)).postgres()["port"] == 8432


@pytest.mark.parametrize("proof", ["ports: ['8432:5432']", "expose: [5432]", "volumes: [db:/var/lib/postgresql/data]"])
def test_a_postgres_that_is_built_is_known_by_its_variables_and_what_it_serves(tmp_path: Path, proof: str) -> None:
    compose = with_postgres(f"{proof}\nenvironment: {{POSTGRES_USER: mem0}}", "our/database")
    assert read_off(tmp_path, compose).postgres()["user"] == "mem0"


@pytest.mark.parametrize(
    "image",
    ["prometheuscommunity/postgres-exporter", "prodrigestivill/postgres-backup-local", "dpage/pgadmin4", "mem0"],
)
def test_what_only_talks_to_a_postgres_is_none(tmp_path: Path, image: str) -> None:
    compose = with_postgres("environment: {POSTGRES_HOST: db.example.com, POSTGRES_USER: mem0}\nexpose: [5432]", image)
    error = refusal(tmp_path, compose)
    assert "none is a PostgreSQL" in str(error)
    assert "they look for it at db.example.com" in str(error)
    assert "--from" in error.next_step
