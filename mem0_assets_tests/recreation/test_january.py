"""10 January 2026 once more: `.env` is changed to other credentials and to Ollama, and then the containers are recreated.

Drift is told critical while everything still runs, preflight is a no-go with each of these reasons, and whoever goes on
all the same is refused by postflight, within a minute and not after 17 days.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from mem0_assets.alerts.watch import deliver, look_at_configuration, observe
from mem0_assets.backups.catalog import Catalog
from mem0_assets.fleet import Fleet, TelegramSettings
from mem0_assets.live.embedded import SUPERUSER, EmbeddedServer
from mem0_assets.recreation.postflight import postflight
from mem0_assets.recreation.preflight import preflight
from mem0_assets_tests.conftest import SMALL, MakeDeployment, make_database, open_connection, start_server
from mem0_assets_tests.docker_engine import DockerEngine, needs_docker
from mem0_assets_tests.recreation.house import SECRET, House
from mem0_assets_tests.service_stub import Mem0Stub
from mem0_assets_tests.telegram_emulator import free_port
from mem0_assets_tests.telegram_stub import TelegramStub

pytestmark = needs_docker

OPENAI = {"EMBEDDING_PROVIDER": "openai", "EMBEDDING_MODEL": "text-embedding-3-small"}
JANUARY = {
    "POSTGRES_DB": "mem0_prd",
    "POSTGRES_USER": "mem0_user_prd",
    "POSTGRES_PASSWORD": "another-hunter2",
    "EMBEDDING_PROVIDER": "ollama",
    "EMBEDDING_MODEL": "nomic-embed-text",
}
REASONS = {"database_differs", "user_differs", "password_differs", "dimensions_differ", "model_differs"}
CRITICAL = {"database", "user", "password", "embedder_dimensions"}


class Machine:
    """The host of the deployment: the volume that its PostgreSQL runs on, always at the same address."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.server = self.start("volume")

    def start(self, volume: str) -> EmbeddedServer:
        return start_server(self.folder / volume, port=self.port)

    def recreate(self, volume: str) -> EmbeddedServer:
        self.server.stop("immediate")
        self.server = self.start(volume)
        return self.server


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    running = Machine(tmp_path)
    yield running
    running.server.stop("immediate")


@pytest.fixture
def telegram(monkeypatch: pytest.MonkeyPatch) -> Iterator[TelegramStub]:
    with TelegramStub() as stub:
        monkeypatch.setenv("TELEGRAM_BOT_TOKEN", stub.token)
        monkeypatch.setenv("TELEGRAM_CHAT_ID", stub.chat_id)
        yield stub


@pytest.fixture
def prd(
    machine: Machine, engine: DockerEngine, mem0: Mem0Stub, make_deployment: MakeDeployment, tmp_path: Path
) -> House:
    """The deployment as it ran until 3 January: 1,536 dimensions, mem0's own role, embedded by OpenAI."""
    place = {"host": "127.0.0.1", "port": machine.port, "user": SUPERUSER}
    house = House(tmp_path, machine.server, engine, mem0, make_deployment, dimensions=1536, postgres=place)
    house.write(**OPENAI)
    house.up()
    return house


def told(house: House, telegram: TelegramStub) -> dict[str, str]:
    """What the sensor would find and tell now: the severity of each open finding, by its setting."""
    fleet = Fleet(
        path=house.folder / "fleet.yaml",
        backups_root=house.deployment.backups.parent,
        telegram=TelegramSettings(api_url=telegram.url),
        deployments={"prd": house.deployment},
    )
    _, found = look_at_configuration(house.deployment)
    observe(fleet, house.deployment, {"configuration": found})
    while deliver(fleet).left:
        pass
    return {finding.key: finding.severity for finding in found if not finding.implied}


def test_january_is_told_before_it_happens_and_refused_when_it_does(
    machine: Machine, prd: House, mem0: Mem0Stub, telegram: TelegramStub
) -> None:
    assert told(prd, telegram) == {}
    assert preflight(prd.deployment).go

    # 7 to 10 January: the files change under a deployment that runs, and nothing else does.
    prd.write(**JANUARY)
    found = told(prd, telegram)
    assert {key for key, severity in found.items() if severity == "critical"} == {
        f"next_start_differs {setting}" for setting in CRITICAL
    }
    assert any("the next start would use mem0_prd. Do not recreate any container." in text for text in telegram.texts)
    assert any("1536" in text and "768" in text for text in telegram.texts)
    result = preflight(prd.deployment)
    assert {reason.code for reason in result.reasons} == REASONS
    saved = Catalog(prd.deployment).find(str(result.backup))
    assert (saved.state, saved.namespaces) == ("verified", SMALL)

    # 10 January, 19:30: the containers are recreated all the same, on a new volume; mem0's server is green.
    server = machine.recreate("new_volume")
    make_database(server, "mem0_prd", {}, 768)
    mem0.memories = {}
    prd.up(data="mem0_prd_postgres_db:/var/lib/postgresql/data")
    refused = postflight(prd.deployment)
    assert {reason.code for reason in refused.reasons} == {"unreachable", "volume_changed", "configuration_changed"}
    assert any("it has no database" in reason.message for reason in refused.reasons)

    # Somebody corrects fleet.yaml, as if all were well: it is another database, and an empty one.
    postgres = prd.deployment.postgres.model_copy(update={"database": "mem0_prd"})
    refused = postflight(prd.deployment.model_copy(update={"postgres": postgres}))
    assert {reason.code for reason in refused.reasons} >= {"identity_changed", "namespace_vanished", "volume_changed"}
    assert any("from 1536 to 768" in reason.message for reason in refused.reasons)

    # The way back of docs/recreation.md: the old files, and the old volume, which nobody has deleted.
    prd.write(POSTGRES_DB=prd.database, POSTGRES_USER="mem0_user", POSTGRES_PASSWORD=SECRET, **OPENAI)
    machine.recreate("volume")
    prd.up()
    prd.serve()
    assert postflight(prd.deployment).reasons == ()
    assert told(prd, telegram) == {}
    with open_connection(machine.server, prd.database) as connection:
        assert connection.execute("SELECT count(*) AS n FROM memories").fetchone() == {"n": sum(SMALL.values())}
    journal = Catalog(prd.deployment).journal.path.read_text()
    assert SECRET not in journal
