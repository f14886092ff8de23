"""fleet.yaml: what is read from it, and that every mistake in it is refused before anything runs."""

import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from pydantic import ValidationError

from mem0_assets.errors import ConfigurationError
from mem0_assets.fleet import Fleet, load_fleet

CONTRACT = """\
backups_root: ./backups
telegram:                       # optional; without it alerts go to the log, and `doctor` says so
  bot_token_env: TELEGRAM_BOT_TOKEN
  chat_id_env: TELEGRAM_CHAT_ID
  api_url: https://api.telegram.org
deployments:
  prd:
    postgres:
      host: 127.0.0.1
      port: 5432
      user: mem0_user_prd
      password_env: POSTGRES_PASSWORD   # optional
      database: mem0_prd
      collection: memories
    dump: {format: sql}
    schedule: {timezone: Europe/London, hourly: "0 * * * *", daily: "30 2 * * *", weekly: "30 2 * * 0", monthly: "30 2 1 * *", drill: "30 4 * * 1", report: "0 8 * * *"}
    retention: {hourly: 24, daily: 7, weekly: 4, monthly: 12}
    limits: {min_rows: 1, min_bytes: 0, max_drop: 0.5, min_namespace: 10, warn_rows: 100, warn_bytes: 1048576, baseline: null}
"""  # noqa: E501 - as it stands in the contract
SMALLEST = """\
backups_root: backups
deployments:
  prd:
    postgres: {host: 127.0.0.1, user: mem0, database: mem0}
"""
SECRETS = {
    "TELEGRAM_BOT_TOKEN": "123456:AAbb-token",
    "TELEGRAM_CHAT_ID": "-100777",
    "POSTGRES_PASSWORD": "correct horse",
}

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes fleet.yaml into a folder of its own; none of the secrets is set."""
    for name in (*SECRETS, "MEM0_FLEET"):
        monkeypatch.delenv(name, raising=False)

    def write_fleet(text: str) -> Path:
        path = tmp_path / "fleet.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write_fleet


def refusal(path: Path) -> str:
    """The text of the refusal, which has exit status 2 and the file."""
    with pytest.raises(ConfigurationError) as caught:
        load_fleet(path)
    assert caught.value.exit_status == 2
    assert str(caught.value).startswith(f"{path}: ")
    return str(caught.value)


def contract_fleet(write: Write, monkeypatch: pytest.MonkeyPatch) -> Fleet:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    return load_fleet(write(CONTRACT))


def test_the_contracts_whole_example_is_read(write: Write, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fleet = contract_fleet(write, monkeypatch)
    prd = fleet.deployment("prd")
    assert fleet.backups_root == tmp_path / "backups"
    assert (prd.name, prd.backups) == ("prd", tmp_path / "backups" / "prd")
    assert prd.postgres.address == "mem0_prd at 127.0.0.1:5432"
    assert prd.postgres.password() == "correct horse"
    assert prd.schedule.zone == ZoneInfo("Europe/London")
    assert prd.schedule.tiers == {
        "hourly": "0 * * * *",
        "daily": "30 2 * * *",
        "weekly": "30 2 * * 0",
        "monthly": "30 2 1 * *",
    }
    assert [prd.retention.of(tier) for tier in prd.schedule.tiers] == [24, 7, 4, 12]
    assert (prd.limits.max_drop, prd.limits.min_namespace, prd.limits.baseline) == (0.5, 10, None)
    assert fleet.telegram is not None
    assert (fleet.telegram.bot_token(), fleet.telegram.chat_id()) == ("123456:AAbb-token", "-100777")


def test_what_is_left_out_has_the_contracts_values(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = contract_fleet(write, monkeypatch).deployment("prd")
    smallest = load_fleet(write(SMALLEST))
    prd = smallest.deployment("prd")
    assert smallest.telegram is None
    assert (prd.postgres.port, prd.postgres.collection, prd.postgres.password()) == (5432, "memories", None)
    assert (prd.dump, prd.retention, prd.limits) == (whole.dump, whole.retention, whole.limits)
    assert prd.schedule.timezone == "UTC"
    assert prd.schedule.model_copy(update={"timezone": "Europe/London"}) == whole.schedule


def test_null_turns_a_tier_off(write: Write) -> None:
    fleet = load_fleet(write(SMALLEST + "    schedule: {hourly: null, weekly: null, drill: null}\n"))
    schedule = fleet.deployment("prd").schedule
    assert list(schedule.tiers) == ["daily", "monthly"]
    assert schedule.drill is None


MISTAKES = {
    "an unknown key at the top": ("backup_root: x\n" + SMALLEST, "backup_root: unknown key"),
    "an unknown key in a deployment": (SMALLEST + "    limit: {}\n", "deployments.prd.limit: unknown key"),
    "a key that the file may not set": (SMALLEST + "    backups: /x\n", "deployments.prd.backups: unknown key"),
    "one database for two": (
        SMALLEST + "    stores: {application: mem0}\n",
        "stores.application is mem0's second database",
    ),
    "a misspelt limit": (SMALLEST + "    limits: {max_dorp: 0.1}\n", "deployments.prd.limits.max_dorp: unknown key"),
    "a number as text": (
        SMALLEST.replace("user:", "port: '5432', user:"),
        "deployments.prd.postgres.port: Input should be a valid integer",
    ),
    "yes for a number": (
        SMALLEST + "    limits: {min_rows: true}\n",
        "deployments.prd.limits.min_rows: Input should be",
    ),
    "not a number": (SMALLEST + "    limits: {max_drop: .nan}\n", "deployments.prd.limits.max_drop: Input should be"),
    "a number for a name": (SMALLEST.replace("user: mem0", "user: 7"), "deployments.prd.postgres.user: Input should"),
    "a drop of 200 %": (
        SMALLEST + "    limits: {max_drop: 2}\n",
        "deployments.prd.limits.max_drop: Input should be less",
    ),
    "nothing kept": (
        SMALLEST + "    retention: {daily: 0}\n",
        "deployments.prd.retention.daily: Input should be greater",
    ),
    "a port too high": (
        SMALLEST.replace("user:", "port: 70000, user:"),
        "deployments.prd.postgres.port: Input should be",
    ),
    "no backups_root": (SMALLEST.removeprefix("backups_root: backups\n"), "backups_root: is required"),
    "no deployments": ("backups_root: x\n", "deployments: is required"),
    "an empty fleet": ("backups_root: x\ndeployments: {}\n", "deployments: Dictionary should have at least 1 item"),
    "a deployment of nothing": (
        "backups_root: x\ndeployments: {prd: }\n",
        "deployments.prd: Input should be a valid dict",
    ),
    "no postgres": ("backups_root: x\ndeployments: {prd: {}}\n", "deployments.prd.postgres: is required"),
    "no database": (SMALLEST.replace(", database: mem0", ""), "deployments.prd.postgres: missing database"),
    "an empty host": (
        SMALLEST.replace("127.0.0.1", "''"),
        "deployments.prd.postgres.host: String should have at least",
    ),
    "embedded with a host": (
        SMALLEST.replace("host:", "embedded: ./postgres, host:"),
        "deployments.prd.postgres: `embedded` stands alone: remove host, user",
    ),
    "an admin's password without an admin": (
        SMALLEST.replace("host:", "admin_password_env: ADMIN_PASSWORD, host:"),
        "deployments.prd.postgres: admin_password_env is for admin_user, which is missing",
    ),
    "an unknown format": (SMALLEST + "    dump: {format: tar}\n", "deployments.prd.dump.format: Input should be"),
    "a cron line of words": (
        SMALLEST + "    schedule: {daily: every night}\n",
        "deployments.prd.schedule.daily: 'every night' is not a cron line",
    ),
    "a cron line of six fields": (
        SMALLEST + "    schedule: {daily: 0 30 2 * * *}\n",
        "deployments.prd.schedule.daily: '0 30 2 * * *' is not a cron line",
    ),
    "the 25th hour": (
        SMALLEST + "    schedule: {drill: 0 25 * * *}\n",
        "deployments.prd.schedule.drill: '0 25 * * *' is",
    ),
    "the 31st of February": (
        SMALLEST + "    schedule: {monthly: 30 2 31 2 *}\n",
        "deployments.prd.schedule.monthly: '30 2 31 2 *' never fires",
    ),
    "an unknown time zone": (
        SMALLEST + "    schedule: {timezone: Europe/Londn}\n",
        "deployments.prd.schedule.timezone: unknown time zone 'Europe/Londn'",
    ),
    "a deployment that is a path": (
        SMALLEST.replace("prd:", "../prd:"),
        "deployments: '../prd' is not a deployment name",
    ),
    "a deployment that begins with a dot": (
        SMALLEST.replace("prd:", ".alerts:"),
        "deployments: '.alerts' is not a depl",
    ),
    "a deployment that is a number": (
        SMALLEST.replace("prd:", "7:"),
        "deployments.7.[key]: Input should be a valid string",
    ),
    "a server that is no web address": (
        SMALLEST + "telegram: {api_url: telegram}\n",
        "telegram.api_url: must begin with",
    ),
    "a health that is no web address": (
        SMALLEST + "    health: {server_url: 127.0.0.1:8888}\n",
        "deployments.prd.health.server_url: must be a plain address like http://127.0.0.1:8888",
    ),
    "a port that is none": (
        SMALLEST + "    health: {grafana_url: 'http://127.0.0.1:a/'}\n",
        "deployments.prd.health.grafana_url: must be a plain address",
    ),
    "a key for no server": (
        SMALLEST + "    health: {admin_key_env: MEM0_ADMIN_KEY}\n",
        "deployments.prd.health: admin_key_env is for server_url, which is missing",
    ),
    "a password for no graph": (
        SMALLEST + "    health: {neo4j_password_env: NEO4J_PASSWORD}\n",
        "deployments.prd.health: neo4j_password_env is for neo4j_url, which is missing",
    ),
    "a token for no approval service": (
        SMALLEST + "    disaster_recovery: {approval_token_env: TOKEN}\n",
        "deployments.prd.disaster_recovery: approval_token_env is for approval_url, which is missing",
    ),
    "an embedder without a model": (
        SMALLEST + "    embedder: {url: 'http://127.0.0.1:11434'}\n",
        "deployments.prd.embedder: model is missing: an embedder has both",
    ),
    "a Docker that is no address": (
        SMALLEST + "    containers: {docker_url: /var/run/docker.sock}\n",
        "deployments.prd.containers.docker_url: String should match pattern",
    ),
    "a word on restores that is none": (
        SMALLEST + "    auto_restore: maybe\n",
        "deployments.prd.auto_restore: Input should be 'never', 'confirm' or 'always'",
    ),
    "a list": ("- backups_root\n", "must hold keys and values"),
    "an empty file": ("", "must hold keys and values"),
    "no YAML": ("backups_root: [x\n", "is not YAML: line 2: expected ',' or ']'"),
    "a deployment that stands twice": (
        SMALLEST + SMALLEST.split("deployments:\n")[1],
        "is not YAML: line 5: the key `prd` stands twice",
    ),
    "a list for a key": (SMALLEST + "? [a, b]\n: c\n", "is not YAML: line 5: a key must be a word"),
    "an unknown anchor": (SMALLEST + "alerts: *other\n", "is not YAML: line 5: found undefined alias"),
    "a 13th month": (SMALLEST + "since: 2026-13-01\n", "is not YAML: it holds something that cannot be read"),
    "brackets without end": ("[" * 500, "is not YAML: it holds something that cannot be read"),
    "a control character": (SMALLEST + "a: \a\n", "is not YAML: it holds something that cannot be read"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_refused_with_the_file_the_key_and_the_reason(write: Write, mistake: str) -> None:
    text, expected = MISTAKES[mistake]
    assert expected in refusal(write(text))


def test_a_missing_file_says_what_to_do(tmp_path: Path) -> None:
    text = refusal(tmp_path / "nowhere" / "fleet.yaml")
    assert "there is no such file" in text
    assert "--fleet or $MEM0_FLEET" in text


def test_a_folder_or_another_encoding_is_refused(tmp_path: Path) -> None:
    (tmp_path / "fleet.yaml").mkdir()
    assert "cannot be read: Is a directory" in refusal(tmp_path / "fleet.yaml")
    (tmp_path / "latin.yaml").write_bytes("# für\n".encode("latin-1"))
    assert "is not UTF-8, at byte 3" in refusal(tmp_path / "latin.yaml")


def test_settings_that_deployments_share_are_written_once(write: Write) -> None:
    text = """\
        backups_root: backups
        deployments:
          prd: &common
            postgres: {host: db, user: mem0, database: mem0}
            limits: &limits {max_drop: 0.1}
          test:
            <<: *common
            limits: {<<: *limits, max_drop: 0.9, min_rows: 0}
    """
    fleet = load_fleet(write(text))
    assert fleet.deployment("test").postgres == fleet.deployment("prd").postgres
    assert (fleet.deployment("prd").limits.max_drop, fleet.deployment("test").limits.max_drop) == (0.1, 0.9)


@pytest.mark.parametrize("key", ["bot_token_env", "chat_id_env", "password_env"])
def test_a_secret_that_is_not_set_is_refused_with_its_key_and_name(
    write: Write, key: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    names = {
        "bot_token_env": "TELEGRAM_BOT_TOKEN",
        "chat_id_env": "TELEGRAM_CHAT_ID",
        "password_env": "POSTGRES_PASSWORD",
    }
    for name in SECRETS.keys() - {names[key]}:
        monkeypatch.setenv(name, SECRETS[name])
    text = refusal(write(CONTRACT))
    assert f"{key}: the environment variable {names[key]} is set neither in the environment nor in" in text
    assert str(tmp_path / ".env") in text
    assert not any(secret in text for secret in SECRETS.values())


@pytest.mark.parametrize(("key", "place"), [("admin_key_env", "server_url"), ("neo4j_password_env", "neo4j_url")])
def test_the_secrets_of_a_deployments_services_are_read_at_each_use(
    write: Write, key: str, place: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = write(SMALLEST + f"    health: {{{place}: 'http://127.0.0.1:8888/', {key}: THE_SERVICES_KEY}}\n")
    assert f"deployments.prd.health.{key}: the environment variable THE_SERVICES_KEY is set neither" in refusal(path)
    (tmp_path / ".env").write_text("THE_SERVICES_KEY=hunter2\n")
    health = load_fleet(path).deployment("prd").health
    assert getattr(health, place) == "http://127.0.0.1:8888"
    monkeypatch.setenv("THE_SERVICES_KEY", "rotated")
    assert {health.admin_key(), health.neo4j_password()} == {None, "rotated"}


def test_an_empty_secret_is_not_set(write: Write, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in SECRETS:
        monkeypatch.setenv(name, "")
    (tmp_path / ".env").write_text("".join(f"{name}=\n" for name in SECRETS))
    assert "TELEGRAM_BOT_TOKEN is set neither" in refusal(write(CONTRACT))


PASSWORDS_IN_WRONG_PLACES = {
    "for the variable's name": SMALLEST.replace("database:", "password_env: hunter2, database:"),
    "for the variable's name, with signs": SMALLEST.replace("database:", "password_env: 'hunter2!', database:"),
    "for the token's name": SMALLEST + "telegram: {bot_token_env: '123:hunter2'}\n",
    "as a number": SMALLEST.replace("database:", "password_env: 6502002, database:").replace("6502002", "0xhunter2"),
    "under a key of its own": SMALLEST.replace("database:", "password: hunter2, database:"),
    "in a URL instead of keys": "backups_root: x\ndeployments: {prd: {postgres: 'postgresql://mem0:hunter2@db/mem0'}}\n",
    "in a URL as host": SMALLEST.replace("127.0.0.1", "postgresql://mem0:hunter2@db/mem0"),
    "in a URL as database": SMALLEST.replace("database: mem0", "database: 'postgresql://mem0:hunter2@db/mem0'"),
    "in the URL of a server": SMALLEST + "    health: {server_url: 'http://mem0:hunter2@127.0.0.1:8888'}\n",
    "in the query of a URL": SMALLEST + "    health: {grafana_url: 'http://127.0.0.1/?token=hunter2'}\n",
    "where a port should be": SMALLEST + "    health: {neo4j_url: 'http://127.0.0.1:hunter2'}\n",
    "where a host should be": SMALLEST + "    health: {neo4j_url: 'http://[hunter2'}\n",
    "as the whole telegram section": SMALLEST + "telegram: 123:hunter2\n",
    "in quotes that do not close": SMALLEST + 'password: "hunter2: x\n',
    "with a wrong escape": SMALLEST + 'password: "hunter2\\q"\n',
    "where it reads as an anchor": SMALLEST + "password: *hunter2\n",
    "where it reads as a tag": SMALLEST + "password: !hunter2 x\n",
    "where it reads as no number": SMALLEST + "password: !!int hunter2\n",
    "after another colon": SMALLEST + "password: it is: hunter2\n",
}


@pytest.mark.parametrize("place", PASSWORDS_IN_WRONG_PLACES)
def test_a_password_written_in_the_wrong_place_is_never_repeated(write: Write, place: str) -> None:
    path = write(PASSWORDS_IN_WRONG_PLACES[place])
    assert "hunter2" not in refusal(path)
    program = (
        "import sys; from pathlib import Path; from mem0_assets.fleet import load_fleet; load_fleet(Path(sys.argv[1]))"
    )
    if place == "for the variable's name":  # the traceback as a whole, with what it was raised from
        done = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True, check=False)
        assert "ConfigurationError" in done.stderr
        assert "hunter2" not in done.stderr


def test_relative_paths_are_relative_to_the_file(write: Write, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    write("backups_root: ../store\ndeployments: {demo: {postgres: {embedded: ./postgres, database: mem0}}}\n")
    monkeypatch.chdir(elsewhere)
    demo = load_fleet(Path("../fleet.yaml")).deployment("demo")
    assert demo.backups == tmp_path.parent / "store" / "demo"
    assert demo.postgres.embedded == tmp_path / "postgres"
    assert demo.postgres.address == f"mem0 in {tmp_path}/postgres"


def test_a_sockets_folder_may_be_relative_and_home_may_be_a_tilde(
    write: Write, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    text = SMALLEST.replace("127.0.0.1", "./run").replace("backups_root: backups", "backups_root: ~/backups")
    fleet = load_fleet(write(text))
    assert fleet.deployment("prd").postgres.host == str(tmp_path / "run")
    assert fleet.deployment("prd").postgres.address == f"mem0 at {tmp_path}/run"
    assert fleet.backups_root == Path("/home/somebody/backups")
    assert load_fleet(write("backups_root: ~nobody_here/x\n" + SMALLEST.split("\n", 1)[1])).backups_root.is_absolute()


def test_the_fleet_is_found_by_argument_then_by_variable_then_in_the_working_directory(
    write: Write, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = write(SMALLEST)
    other = tmp_path / "other.yaml"
    other.write_text(SMALLEST)
    monkeypatch.chdir(tmp_path)
    assert load_fleet().path == path
    monkeypatch.setenv("MEM0_FLEET", "other.yaml")
    assert load_fleet().path == other
    assert load_fleet(path).path == path


def test_the_env_file_beside_the_fleet_is_read_and_the_environment_wins(
    write: Write, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text(
        "TELEGRAM_BOT_TOKEN=from-file\nTELEGRAM_CHAT_ID=\"-100\"\nPOSTGRES_PASSWORD='from file'\n"
    )
    monkeypatch.setenv("TELEGRAM_BOT_TOKEN", "from-environment")
    monkeypatch.chdir("/")
    fleet = load_fleet(write(CONTRACT))
    assert fleet.telegram is not None
    assert fleet.telegram.bot_token() == "from-environment"
    assert fleet.telegram.chat_id() == "-100"
    assert fleet.deployment("prd").postgres.password() == "from file"


def test_a_secret_is_read_anew_at_each_use(write: Write, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fleet = contract_fleet(write, monkeypatch)
    postgres = fleet.deployment("prd").postgres
    monkeypatch.setenv("POSTGRES_PASSWORD", "rotated")
    assert postgres.password() == "rotated"
    monkeypatch.delenv("POSTGRES_PASSWORD")
    (tmp_path / ".env").write_text("POSTGRES_PASSWORD=again\n")
    assert postgres.password() == "again"
    (tmp_path / ".env").unlink()
    with pytest.raises(ConfigurationError, match="POSTGRES_PASSWORD is set neither"):
        postgres.password()


def test_an_env_file_in_another_encoding_is_refused_without_its_content(write: Write, tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes("POSTGRES_PASSWORD=hunter2\n# für\n".encode("latin-1"))
    text = refusal(write(SMALLEST.replace("database:", "password_env: POSTGRES_PASSWORD, database:")))
    assert f"{tmp_path}/.env: is not UTF-8" in text
    assert "hunter2" not in text


def test_an_env_file_that_is_a_folder_is_as_good_as_none(write: Write, tmp_path: Path) -> None:
    (tmp_path / ".env").mkdir()
    assert "POSTGRES_PASSWORD is set neither" in refusal(
        write(SMALLEST.replace("database:", "password_env: POSTGRES_PASSWORD, database:"))
    )


def test_a_deployment_is_frozen(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    prd = contract_fleet(write, monkeypatch).deployment("prd")
    with pytest.raises(ValidationError, match="frozen"):
        prd.name = "other"  # type: ignore[misc]
    with pytest.raises(ValidationError, match="frozen"):
        prd.postgres.host = "other"  # type: ignore[misc]
    with pytest.raises(ValidationError, match="frozen"):
        prd.limits.max_drop = 1.0  # type: ignore[misc]


def test_no_secret_is_in_what_a_fleet_prints(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    fleet = contract_fleet(write, monkeypatch)
    fleet.deployment("prd").postgres.password()
    printed = (
        f"{fleet!r} {fleet} {fleet.model_dump()} {fleet.model_dump_json()} {vars(fleet.deployment('prd').postgres)}"
    )
    assert not any(secret in printed for secret in SECRETS.values())


def test_an_unknown_deployment_is_answered_with_those_there_are(write: Write) -> None:
    fleet = load_fleet(write(SMALLEST))
    with pytest.raises(ConfigurationError, match="there is no deployment 'prod'; there are: prd") as caught:
        fleet.deployment("prod")
    assert caught.value.exit_status == 2


def test_reading_a_fleet_writes_nothing(write: Write, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = write(SMALLEST)
    before = {entry.name: stat.S_IMODE(entry.stat().st_mode) for entry in tmp_path.iterdir()}
    load_fleet(path)
    assert {entry.name: stat.S_IMODE(entry.stat().st_mode) for entry in tmp_path.iterdir()} == before
