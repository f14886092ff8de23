"""No secret reaches what Dagster writes or what a backup holds, however a run fails."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import psycopg
import pytest

from mem0_assets.fleet import Deployment
from mem0_assets.live.embedded import SUPERUSER, EmbeddedServer
from mem0_assets_tests.assets.conftest import OpenProject
from mem0_assets_tests.conftest import SMALL, make_database
from mem0_assets_tests.telegram_emulator import free_port
from mem0_assets_tests.telegram_stub import TelegramStub, page

ROOT = Path(__file__).parents[2]
PASSWORD = "marker-right-3f9c61"
WRONG_PASSWORD = "marker-wrong-84be20"
TOKEN = "424242:marker-token-a7d310"


@pytest.fixture
def guarded_server(tmp_path: Path) -> Iterator[EmbeddedServer]:
    """A server on a TCP port that demands PASSWORD."""
    running = EmbeddedServer(tmp_path / "postgres", port=free_port(), fsync=False)
    running.start()
    try:
        make_database(running, "mem0", SMALL)
        host = str(running.socket_folder)
        with psycopg.connect(host=host, port=running.port, user=SUPERUSER, autocommit=True) as connection:
            connection.execute(f"ALTER ROLE {SUPERUSER} PASSWORD '{PASSWORD}'")
            (running.folder / "pg_hba.conf").write_text("host all all 127.0.0.1/32 scram-sha-256\n")
            connection.execute("SELECT pg_reload_conf()")
        yield running
    finally:
        running.stop("immediate")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "dagster"
    folder.mkdir()
    shutil.copy(ROOT / "dagster.yaml", folder)
    return folder


def deployment_on(server: EmbeddedServer, tmp_path: Path) -> Deployment:
    place = {
        "host": "127.0.0.1",
        "port": server.port,
        "user": SUPERUSER,
        "password_env": "MARKER_PASSWORD",
        "database": "mem0",
    }
    return Deployment.model_validate({"name": "prd", "backups": tmp_path / "backups" / "prd", "postgres": place})


def holding(folder: Path, secret: str) -> list[Path]:
    """The files below a folder that hold a secret."""
    return [path for path in folder.rglob("*") if path.is_file() and secret.encode() in path.read_bytes()]


def test_passwords_and_tokens_are_in_no_file_whatever_fails(
    guarded_server: EmbeddedServer,
    home: Path,
    tmp_path: Path,
    open_project: OpenProject,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    with TelegramStub(token=TOKEN) as telegram, dg.DagsterInstance.from_config(str(home)) as instance:
        telegram.always = page(502)  # it repeats the URL, and the token in it
        monkeypatch.setenv("TELEGRAM_BOT_TOKEN", TOKEN)
        monkeypatch.setenv("TELEGRAM_CHAT_ID", telegram.chat_id)
        project = open_project(
            deployment_on(guarded_server, tmp_path), telegram=telegram, instance=instance, unreachable_seconds=0
        )
        monkeypatch.setenv("MARKER_PASSWORD", PASSWORD)
        assert project.run("prd_backup").success
        monkeypatch.setenv("MARKER_PASSWORD", WRONG_PASSWORD)
        assert not project.run("prd_census").success
        assert not project.run("prd_backup").success
        for sensor in ("fleet_census", "fleet_health", "fleet_configuration", "run_alerts", "check_alerts"):
            project.tick(sensor)
        assert any("refused the password" in text for text in project.waiting())
        guarded_server.stop("immediate")
        assert not project.run("prd_backup").success
    written = capfd.readouterr()
    for secret in (PASSWORD, WRONG_PASSWORD, TOKEN):
        assert holding(home, secret) == []
        assert holding(tmp_path / "backups", secret) == []
        assert secret not in written.out + written.err
    assert holding(home, "refused the password") != []


def test_the_definitions_show_names_of_variables_and_no_values(
    guarded_server: EmbeddedServer, tmp_path: Path, open_project: OpenProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MARKER_PASSWORD", PASSWORD)
    project = open_project(deployment_on(guarded_server, tmp_path))
    assert PASSWORD not in repr(project.fleet)
    graph = project.definitions.resolve_asset_graph()
    for key in graph.get_all_asset_keys():
        node = graph.get(key)
        assert PASSWORD not in f"{node.metadata} {node.description} {node.tags}"
