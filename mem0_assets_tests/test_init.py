"""The first fleet.yaml: what a person gets to fill in, and what is read off mem0's own compose file and .env."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from mem0_assets.errors import ConfigurationError
from mem0_assets.fleet import TelegramSettings, load_fleet
from mem0_assets.init import write_fleet
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

EXAMPLE = Path(__file__).parent.parent / "fleet.example.yaml"


NO_ADMIN = {"admin_user": None, "admin_password_env": None}


@pytest.fixture(autouse=True)
def _no_variables_of_this_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    forget_exported_secrets(monkeypatch)


# --- Without a source ---


def test_the_blank_fleet_loads_once_the_named_secrets_are_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = write_fleet(tmp_path / "fleet.yaml")
    with pytest.raises(ConfigurationError, match="TELEGRAM_BOT_TOKEN"):
        load_fleet(written.path)
    for variable in ("TELEGRAM_BOT_TOKEN", "TELEGRAM_CHAT_ID", "POSTGRES_PASSWORD"):
        assert any(f"{variable}=..." in note for note in written.notes)
        monkeypatch.setenv(variable, SECRET)
    fleet = load_fleet(written.path)
    assert fleet.deployment("prd").postgres.password() == SECRET
    assert fleet.backups_root == tmp_path / "backups"


def test_the_blank_fleet_takes_the_name_that_is_given(tmp_path: Path) -> None:
    written = write_fleet(tmp_path / "fleet.yaml", name="staging")
    assert written.deployments == ("staging",)
    assert [*yaml.safe_load(written.path.read_text())["deployments"]] == ["staging"]


@pytest.mark.parametrize("name", ["", "with space", "1st", "../prd", "a-b"])
def test_a_name_that_no_deployment_can_have_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigurationError, match="not a deployment name"):
        write_fleet(tmp_path / "fleet.yaml", name=name)
    assert [*tmp_path.iterdir()] == []


# --- The target ---


def test_a_file_that_exists_is_left_as_it_is_unless_forced(tmp_path: Path) -> None:
    target = tmp_path / "fleet.yaml"
    target.write_text("mine")
    with pytest.raises(ConfigurationError, match="exists already") as caught:
        write_fleet(target)
    assert caught.value.exit_status == 2
    assert "--force" in caught.value.next_step
    assert target.read_text() == "mine"
    write_fleet(target, force=True)
    assert target.read_text() == EXAMPLE.read_text()
    assert [*tmp_path.iterdir()] == [target]


def test_a_source_that_cannot_be_used_leaves_the_old_file_even_with_force(tmp_path: Path) -> None:
    target = tmp_path / "fleet.yaml"
    target.write_text("mine")
    with pytest.raises(ConfigurationError):
        write_fleet(target, source=tmp_path / "nowhere", force=True)
    assert target.read_text() == "mine"


def test_a_target_that_cannot_be_written_is_refused_and_nothing_is_left_behind(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be written"):
        write_fleet(tmp_path / "nowhere" / "fleet.yaml")
    (tmp_path / "fleet.yaml").mkdir()
    with pytest.raises(ConfigurationError, match="cannot be written"):
        write_fleet(tmp_path / "fleet.yaml", force=True)
    assert [*tmp_path.iterdir()] == [tmp_path / "fleet.yaml"]


def test_the_command_writes_the_fleet_that_the_other_commands_will_read(tmp_path: Path) -> None:
    exported, named = tmp_path / "exported.yaml", tmp_path / "named.yaml"
    environment = {**os.environ, "PYTHONPATH": str(EXAMPLE.parent), "MEM0_FLEET": str(exported)}
    for words, written in (([], exported), (["--fleet", str(named)], named)):
        command = [sys.executable, "-m", "mem0_assets.cli", *words, "init", "--json"]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, timeout=60, check=True)
        assert json.loads(done.stdout)["path"] == str(written)
        assert written.exists()
    assert sorted(tmp_path.iterdir()) == [exported, named]


# --- Known deployments ---


def test_the_compose_file_of_mem0s_server_of_1_x(tmp_path: Path) -> None:
    result = read_off(tmp_path, MEM0_1, "OPENAI_API_KEY=sk-s3cret\nPOSTGRES_COLLECTION_NAME=facts\n")
    place = {"host": "127.0.0.1", "port": 8432, "user": "postgres", "database": "postgres", "collection": "facts"}
    assert result.postgres() == {**place, **NO_ADMIN, "password_env": "POSTGRES_PASSWORD"}
    assert result.written.deployments == ("prd",)
    assert "must be moved" in result.notes
    assert result.load().deployment("prd").postgres.password() == f"{SECRET}-written-as-the-note-says"


def test_a_password_in_the_compose_file_that_env_holds_too_needs_no_move(tmp_path: Path) -> None:
    result = read_off(tmp_path, MEM0_1, "POSTGRES_PASSWORD=postgres\n")
    assert result.postgres()["password_env"] == "POSTGRES_PASSWORD"
    assert "moved" not in result.notes
    assert result.load().deployment("prd").postgres.password() == "postgres"


def test_the_compose_file_of_mem0s_server_of_2_x(tmp_path: Path) -> None:
    result = read_off(tmp_path, MEM0_2, f"POSTGRES_PASSWORD={SECRET}-database\nJWT_SECRET={SECRET}-jwt\n")
    place = {"host": "127.0.0.1", "port": 8432, "user": "postgres", "database": "postgres", "collection": "memories"}
    assert result.postgres() == {**place, **NO_ADMIN, "password_env": "POSTGRES_PASSWORD"}
    assert "write it into" not in result.notes
    assert result.load().deployment("prd").postgres.password() == f"{SECRET}-database"


@pytest.mark.parametrize(
    ("ports", "url"),
    [
        ("8888:8000", "http://127.0.0.1:8888"),
        ("0.0.0.0:8889:8888", "http://127.0.0.1:8889"),
        ("100.64.0.7:8888:8000", "http://100.64.0.7:8888"),
        ("[::1]:8888:8000", "http://[::1]:8888"),
        ("8888-8890:8000", None),
        ("8000", None),
        ("3000:3000", None),
        ("mem0.internal:8888:8000", None),
    ],
)
def test_the_mem0_servers_address_is_read_where_it_is_published(tmp_path: Path, ports: str, url: str | None) -> None:
    compose = MEM0_2.replace("8888:8000", ports)
    result = read_off(tmp_path, compose, f"POSTGRES_PASSWORD={SECRET}-database\n")
    assert result.server_url() == url
    assert result.load().deployment("prd").health.server_url == url


@pytest.mark.parametrize(
    ("environment", "env", "name"),
    [
        ("PYTHONUNBUFFERED=1", f"ADMIN_API_KEY={SECRET}-key", "ADMIN_API_KEY"),
        ("ADMIN_API_KEY=${ADMIN_API_KEY:-}", f"ADMIN_API_KEY={SECRET}-key", "ADMIN_API_KEY"),
        ("ADMIN_API_KEY=${ADMIN_API_KEY:-}", "ADMIN_API_KEY=", None),
        ("ADMIN_API_KEY=s3cret-key", "", None),
        ("ADMIN_API_KEY=s3cret-key", f"ADMIN_API_KEY={SECRET}-other", None),
        ("ADMIN_API_KEY=${UNSEEN:?}", f"ADMIN_API_KEY={SECRET}-other", None),
    ],
)
def test_the_servers_own_key_is_named_where_the_env_file_holds_it(
    tmp_path: Path, environment: str, env: str, name: str | None
) -> None:
    compose = MEM0_1.replace("PYTHONUNBUFFERED=1", f"'{environment}'")
    result = read_off(tmp_path, compose, f"POSTGRES_PASSWORD=postgres\n{env}\n")
    assert result.section("health")["admin_key_env"] == name
    assert (result.load().deployment("prd").health.admin_key() or "").startswith(SECRET) == (name is not None)


def test_an_address_that_cannot_be_read_is_no_error(tmp_path: Path) -> None:
    compose = INCIDENT.replace("${MEM0_PORT:-8889}", "${MEM0_PORT:?must be set}")
    assert read_off(tmp_path, compose, INCIDENT_ENV).server_url() is None


def test_what_other_services_demand_does_not_matter(tmp_path: Path) -> None:
    assert read_off(tmp_path, MEM0_2, f"POSTGRES_PASSWORD={SECRET}").written.deployments == ("prd",)


def test_the_deployment_of_the_incident(tmp_path: Path) -> None:
    source = lay_out(tmp_path / "mem0-system", {"docker-compose.prd.yml": INCIDENT, ".env": INCIDENT_ENV})
    result = read_off(tmp_path, "", source=source)
    place = {"host": "127.0.0.1", "port": 5433, "user": "mem0_user_prd", "database": "mem0_prd"}
    assert result.postgres() == {
        **place,
        **NO_ADMIN,
        "collection": "memories_768",
        "password_env": "POSTGRES_PASSWORD",
    }
    assert result.server_url() == "http://127.0.0.1:8889"
    assert result.content["telegram"] == TelegramSettings().model_dump()
    read, history = result.written.notes
    assert read == f"Read {source / 'docker-compose.prd.yml'} and {source / '.env'}"
    assert "prd: /app/history/history.db (HISTORY_DB_PATH is not set) of services.mem0_server is in the con" in history
    fleet = result.load()
    assert fleet.deployment("prd").postgres.password() == f"{SECRET}-database"
    assert fleet.telegram is not None
    assert fleet.telegram.bot_token() == f"123456:{SECRET}-token"


def test_scripts_with_an_idea_of_their_own_are_told(tmp_path: Path) -> None:
    """January 2026: the container had new credentials, the scripts the old ones, and nothing said so."""
    drifted = INCIDENT.replace("POSTGRES_DB=${POSTGRES_DB}", "POSTGRES_DB=mem0", 1)
    drifted = drifted.replace("POSTGRES_USER=${POSTGRES_USER}", "POSTGRES_USER=mem0_user", 1)
    result = read_off(tmp_path, drifted, INCIDENT_ENV)
    assert result.postgres()["database"] == "mem0"
    assert result.postgres()["user"] == "mem0_user_prd"
    assert "services.mem0_server connects as mem0_user, services.postgres says mem0_user_prd" in result.notes
    assert "POSTGRES_DB is mem0 in services.mem0_server, mem0_prd in services.mem0_postgres_exporter" in result.notes
    assert "uses the database mem0, services.postgres was made with mem0_prd" in result.notes


TWO = """
services:
  postgres_prd:
    image: postgres:16
    environment: {POSTGRES_USER: mem0, POSTGRES_DB: mem0_prd}
    env_file: prd.env
    ports: ["5433:5432"]
  postgres_test:
    image: timescale/timescaledb-ha:pg16
    environment: {POSTGRES_USER: mem0, POSTGRES_DB: mem0_test}
    env_file: [{path: test.env, format: raw}]
    ports: ["5434:5432"]
  mem0_prd: {image: mem0, environment: {POSTGRES_HOST: postgres_prd, POSTGRES_DB: mem0_prd}}
  mem0_test:
    image: mem0
    environment: {POSTGRES_HOST: postgres_test, POSTGRES_DB: mem0_test, POSTGRES_COLLECTION_NAME: trial}
"""
TWO_FILES = {
    "prd.env": f"POSTGRES_PASSWORD={SECRET}-prd\nTELEGRAM_BOT_TOKEN=1:{SECRET}\nTELEGRAM_CHAT_ID=2\n",
    "test.env": f"POSTGRES_PASSWORD={SECRET}-test\n",
}


def test_two_deployments_in_one_file_are_told_apart_and_so_are_their_passwords(tmp_path: Path) -> None:
    result = read_off(tmp_path, TWO, more=TWO_FILES)
    assert result.written.deployments == ("prd", "test")
    assert [result.postgres(name)["port"] for name in ("prd", "test")] == [5433, 5434]
    assert [result.postgres(name)["collection"] for name in ("prd", "test")] == ["memories", "trial"]
    assert result.postgres("prd")["password_env"] == "POSTGRES_PASSWORD"
    assert result.postgres("test")["password_env"] == "POSTGRES_PASSWORD_TEST"
    assert (
        f"called POSTGRES_PASSWORD in {tmp_path / 'server' / 'test.env'}, as another one is elsewhere" in result.notes
    )
    fleet = result.load()
    assert fleet.deployment("prd").postgres.password() == f"{SECRET}-prd"
    assert fleet.deployment("test").postgres.password() == f"{SECRET}-written-as-the-note-says"


def test_the_notes_are_content_once_they_were_followed(tmp_path: Path) -> None:
    read_off(tmp_path, TWO, more=TWO_FILES).load()
    again = read_off(tmp_path, TWO, source=tmp_path / "server", force=True)
    assert "write it into" not in again.notes
    assert again.postgres("test")["password_env"] == "POSTGRES_PASSWORD_TEST"


# --- Which services belong together ---


@pytest.mark.parametrize(
    ("service", "container", "name"),
    [
        ("postgres_prd", "", "prd"),
        ("postgres-prod", "", "prd"),
        ("postgres.test", "", "test"),
        ("postgres", "mem0_postgres_test", "test"),
        ("postgres", "mem0_postgres_${STAGE}", "staging"),
        ("postgres", "mem0_postgres", "prd"),
        ("latest", "", "prd"),
    ],
)
def test_a_deployment_is_named_by_the_suffix_of_its_service_or_container(
    tmp_path: Path, service: str, container: str, name: str
) -> None:
    compose = with_postgres(f"container_name: '{container}'\nports: ['1:5432']").replace("postgres:", f"{service}:", 1)
    assert read_off(tmp_path, compose, "STAGE=staging").written.deployments == (name,)


def test_a_name_that_is_given_wins_over_the_suffix_of_a_single_deployment(tmp_path: Path) -> None:
    compose = with_postgres("container_name: mem0_postgres_test\nports: ['1:5432']")
    assert read_off(tmp_path, compose, name="laptop").written.deployments == ("laptop",)


def test_two_deployments_of_one_suffix_get_two_names(tmp_path: Path) -> None:
    compose = "services: {a_prd: {image: postgres}, b_prd: {image: postgres}, c_prd: {image: postgres}}"
    assert read_off(tmp_path, compose).written.deployments == ("prd", "prd_2", "prd_3")


def test_a_postgres_that_mem0_does_not_use_is_written_and_told(tmp_path: Path) -> None:
    compose = """
services:
  2nd-db: {image: "postgres:16", ports: ["5441:5432"], networks: {back: {aliases: [elsewhere]}, front: }}
  database: {image: "pgvector/pgvector:pg17", ports: ["5442:5432"], networks: {back: {aliases: [memories-db]}}}
  api: {image: mem0, environment: {POSTGRES_HOST: memories-db, POSTGRES_DB: facts}}
  bot: {image: mem0-bot, environment: {POSTGRES_HOST: 10.0.0.9}}
"""
    result = read_off(tmp_path, compose)
    assert result.written.deployments == ("mem0_2nd_db", "prd")
    assert result.postgres("prd")["port"] == 5442
    assert result.postgres("prd")["database"] == "facts"
    assert "services.2nd-db: no mem0 server of this file uses it" in result.notes
    assert "services.bot: its POSTGRES_HOST is no PostgreSQL service of this file" in result.notes
    result.load()


def test_a_database_that_no_server_names_is_told(tmp_path: Path) -> None:
    compose = with_postgres("environment: {POSTGRES_DB: facts}\nports: ['1:5432']") + "  mem0: {image: mem0}\n"
    result = read_off(tmp_path, compose)
    assert result.postgres()["database"] == "facts"
    assert "no mem0 server names it" in result.notes


@pytest.mark.parametrize("key", ["POSTGRES_DB", "POSTGRES_USER"])
def test_a_url_where_a_name_belongs_is_refused_and_not_repeated(tmp_path: Path, key: str) -> None:
    compose = with_postgres(f"environment: {{{key}: 'postgresql://mem0:s3cret@db/facts'}}\nports: ['1:5432']")
    assert "must be a plain name, not a URL" in str(refusal(tmp_path, compose))


# --- Where the database is reached ---


def test_a_port_that_docker_picks_from_a_range_is_told(tmp_path: Path) -> None:
    result = read_off(tmp_path, with_postgres('ports: ["8432-8440:5432"]'))
    assert result.postgres()["port"] == 8432
    assert "picks the port of services.postgres from 8432 to 8440" in result.notes


@pytest.mark.parametrize(
    "ports",
    ["[]", '["5432"]', '["127.0.0.1::5432"]', "[5432]", "[{target: 5432}]", '["8432:5432/udp"]', '["9187:9187"]'],
)
def test_without_a_fixed_port_the_host_is_the_service_and_that_is_said_in_file_and_notes(
    tmp_path: Path, ports: str
) -> None:
    result = read_off(tmp_path, with_postgres(f"ports: {ports}"), f"POSTGRES_PASSWORD={SECRET}")
    assert (result.postgres()["host"], result.postgres()["port"]) == ("postgres", 5432)
    assert 'publish the port on 127.0.0.1 (`ports: ["127.0.0.1:8432:5432"]`' in result.notes
    assert "run mem0-assets in the same Docker network" in result.notes
    comment = " ".join(line.strip(" #") for line in result.text.splitlines() if line.startswith("      # "))
    assert "No fixed port is published" in comment
    assert result.load().deployment("prd").postgres.host == "postgres"


def test_another_port_inside_the_container_is_followed(tmp_path: Path) -> None:
    own = "environment: {PGPORT: 5555}\nports: ['8432:5555', '9432:5432']"
    assert read_off(tmp_path, with_postgres(own)).postgres()["port"] == 8432
    client = with_postgres("container_name: db") + "  app: {environment: {POSTGRES_HOST: db, POSTGRES_PORT: 5555}}\n"
    assert read_off(tmp_path, client, force=True).postgres()["port"] == 5555


def test_a_postgres_on_the_hosts_own_network_needs_no_published_port(tmp_path: Path) -> None:
    result = read_off(tmp_path, with_postgres("network_mode: host\nenvironment: [PGPORT=5499]"))
    assert (result.postgres()["host"], result.postgres()["port"]) == ("127.0.0.1", 5499)


# --- Passwords ---


@pytest.mark.parametrize(
    ("environment", "env", "variable"),
    [
        ("{POSTGRES_PASSWORD: '${DB_PASS}'}", f"DB_PASS={SECRET}", "DB_PASS"),
        ("{POSTGRES_PASSWORD: $DB_PASS}", f"DB_PASS={SECRET}", "DB_PASS"),
        ("{POSTGRES_PASSWORD: '${DB_PASS:-s3cret-default}'}", f"DB_PASS={SECRET}", "DB_PASS"),
        ("{POSTGRES_PASSWORD: '${NEW:-${OLD}}'}", f"OLD={SECRET}", "OLD"),
        ("{POSTGRES_PASSWORD: '${NEW-${OLD:?}}'}", f"OLD={SECRET}", "OLD"),
        ("[POSTGRES_PASSWORD]", f"POSTGRES_PASSWORD={SECRET}", "POSTGRES_PASSWORD"),
        ("{POSTGRES_PASSWORD: }", f"POSTGRES_PASSWORD={SECRET}", "POSTGRES_PASSWORD"),
        ("['POSTGRES_PASSWORD=${DB_PASS?}']", f"DB_PASS='{SECRET} with # and = in it'", "DB_PASS"),
    ],
)
def test_a_password_that_a_variable_holds_is_named_by_that_variable(
    tmp_path: Path, environment: str, env: str, variable: str
) -> None:
    result = read_off(tmp_path, with_postgres(f"environment: {environment}\nports: ['5432:5432']"), env)
    assert result.postgres()["password_env"] == variable
    assert "the password" not in result.notes
    assert str(result.load().deployment("prd").postgres.password()).startswith(SECRET)


@pytest.mark.parametrize(
    ("environment", "env", "variable", "why"),
    [
        ("{POSTGRES_PASSWORD: s3cret}", "", "POSTGRES_PASSWORD", "is written in docker-compose.yaml itself"),
        ("[POSTGRES_PASSWORD=s3cret=3]", "", "POSTGRES_PASSWORD", "is written in docker-compose.yaml itself"),
        ("{POSTGRES_PASSWORD: 's3cret$$x'}", "", "POSTGRES_PASSWORD", "is written in docker-compose.yaml itself"),
        ("{POSTGRES_PASSWORD: 's3cret-${A}'}", "A=s3cret", "POSTGRES_PASSWORD", "is written in docker-compose.yaml"),
        ("{POSTGRES_PASSWORD: '${A:+s3cret}'}", "A=1", "POSTGRES_PASSWORD", "is written in docker-compose.yaml itself"),
        ("{POSTGRES_PASSWORD: s3cret}", "POSTGRES_PASSWORD=s3cret-other", "POSTGRES_PASSWORD_PRD", "is written in"),
        ("{POSTGRES_PASSWORD: '${A:-s3cret}'}", "A=", "A", "is not set in"),
        ("{POSTGRES_PASSWORD: '${A:?s3cret}'}", "", "A", "is not set in"),
        ("[POSTGRES_PASSWORD]", "", "POSTGRES_PASSWORD", "is not set in"),
        (
            "{POSTGRES_PASSWORD_FILE: /run/secrets/db}",
            "",
            "POSTGRES_PASSWORD",
            "is in the file that POSTGRES_PASSWORD_FILE",
        ),
        ("{POSTGRES_USER: mem0}", "", "POSTGRES_PASSWORD", "is not in docker-compose.yaml"),
        ("{POSTGRES_PASSWORD: ''}", "", "POSTGRES_PASSWORD", "is not in docker-compose.yaml"),
    ],
)
def test_a_password_that_no_variable_holds_gets_a_name_and_a_note_that_is_enough_to_follow(
    tmp_path: Path, environment: str, env: str, variable: str, why: str
) -> None:
    result = read_off(tmp_path, with_postgres(f"environment: {environment}\nports: ['5432:5432']"), env)
    assert result.postgres()["password_env"] == variable
    assert f"prd: the password {why}" in result.notes
    assert f"write it into {tmp_path / 'server' / '.env'} as {variable}=..." in result.notes
    assert result.load().deployment("prd").postgres.password() == f"{SECRET}-written-as-the-note-says"


def test_a_server_that_trusts_everyone_needs_no_password(tmp_path: Path) -> None:
    result = read_off(tmp_path, with_postgres("environment: [POSTGRES_HOST_AUTH_METHOD=trust]\nports: ['5432:5432']"))
    assert "password_env" not in result.postgres()
    assert "# password_env: POSTGRES_PASSWORD" in result.text
    assert result.load().deployment("prd").postgres.password() is None


def test_credentials_that_only_the_mem0_server_has_are_taken_from_it(tmp_path: Path) -> None:
    compose = with_postgres("ports: ['5432:5432']") + "  mem0: {image: mem0, env_file: [.env]}\n"
    result = read_off(tmp_path, compose, f"POSTGRES_USER=reader\nPOSTGRES_PASSWORD={SECRET}\nPOSTGRES_DB=facts")
    assert result.postgres()["user"] == "reader"
    assert result.postgres()["database"] == "facts"
    assert result.load().deployment("prd").postgres.password() == SECRET


def test_two_passwords_in_the_compose_file_get_two_names(tmp_path: Path) -> None:
    compose = """
services:
  postgres_prd: {image: postgres, environment: {POSTGRES_PASSWORD: s3cret-1}, ports: ["5433:5432"]}
  postgres_test: {image: postgres, environment: {POSTGRES_PASSWORD: s3cret-2}, ports: ["5434:5432"]}
"""
    result = read_off(tmp_path, compose)
    names = [result.postgres(name)["password_env"] for name in ("prd", "test")]
    assert names == ["POSTGRES_PASSWORD_PRD", "POSTGRES_PASSWORD_TEST"]
    result.load()


@settings(max_examples=60, deadline=None)
@given(
    secret=st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"], exclude_characters="'"), min_size=9),
    form=st.sampled_from(["map", "list", "env_file", "unquoted", "broken"]),
)
def test_no_password_gets_into_the_file_a_note_or_an_error(
    tmp_path_factory: pytest.TempPathFactory, secret: str, form: str
) -> None:
    secret = f"»{secret}«"  # so that it is no word of ours
    lines = {
        "map": f"environment: {{POSTGRES_PASSWORD: '{secret}'}}",
        "list": f"environment: ['POSTGRES_PASSWORD={secret}']",
        "env_file": "env_file: .env",
        "unquoted": f"environment:\n  - POSTGRES_PASSWORD={secret}",
        "broken": f"environment: ['POSTGRES_USER=${{{secret}', 'POSTGRES_PASSWORD={secret}']",
    }
    folder = lay_out(
        tmp_path_factory.mktemp("any"),
        {"compose.yaml": with_postgres(lines[form]), ".env": f"POSTGRES_PASSWORD='{secret}'\n"},
    )
    try:
        written = write_fleet(folder / "fleet.yaml", source=folder)
        said = f"{written} {written.path.read_text(encoding='utf-8')}"
    except ConfigurationError as error:
        said = f"{error} {error!r}"
    assert secret not in said


# --- The env file ---


def test_env_is_named_where_it_is_not_beside_fleet_yaml(tmp_path: Path) -> None:
    result = read_off(tmp_path, MEM0_2, f"POSTGRES_PASSWORD={SECRET}")
    assert result.content["env_file"] == str(tmp_path / "server" / ".env")
    for target, named in ((tmp_path / "server", ".env"), (tmp_path, "./server/.env")):
        written = write_fleet(target / "fleet.yaml", source=tmp_path / "server")
        assert yaml.safe_load(written.path.read_text())["env_file"] == named
        assert load_fleet(written.path).deployment("prd").postgres.password() == SECRET


def test_without_any_env_the_one_beside_fleet_yaml_is_meant(tmp_path: Path) -> None:
    compose = with_postgres("environment: {POSTGRES_PASSWORD: s3cret}\nports: ['1:5432']")
    result = read_off(tmp_path, compose)
    assert result.content["env_file"] == ".env"
    assert f"write it into {tmp_path / 'guard' / '.env'} as POSTGRES_PASSWORD=..." in result.notes
    assert "there is no .env beside it" in result.written.notes[0]
    result.load()


def test_without_telegrams_secrets_alerts_stay_off_and_that_is_told(tmp_path: Path) -> None:
    result = read_off(tmp_path, MEM0_2, f"POSTGRES_PASSWORD={SECRET}\nTELEGRAM_BOT_TOKEN={SECRET}\n")
    assert "telegram" not in result.content
    assert "# telegram:" in result.text
    assert "Alerts go to the log only: write TELEGRAM_BOT_TOKEN=... and TELEGRAM_CHAT_ID=... into" in result.notes
    assert result.load().telegram is None
