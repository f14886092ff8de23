"""Each generation of mem0, in its own environment, writes while backups run: they are proven, and nothing is lost."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from mem0_assets.alerts.watch import look
from mem0_assets.backups.backup import make_backup
from mem0_assets.fleet import Deployment, Dump, Fleet
from mem0_assets.live.census import take_census
from mem0_assets.live.embedded import SUPERUSER, EmbeddedServer
from mem0_assets.live.history import newest_row
from mem0_assets.restores.drill import drill
from mem0_assets_tests.conftest import make_database, start_server
from mem0_assets_tests.mem0_environments import OWN, environment
from mem0_assets_tests.openai_stub import OpenAIStub
from mem0_assets_tests.real_mem0 import RealMem0, real_mem0
from mem0_assets_tests.telegram_emulator import free_port
from mem0_assets_tests.waiting import wait_until

VERSIONS = ["0.1.118", "1.0.11", OWN.version]
WRITERS = [f"writer/{number}" for number in range(4)]

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def tcp_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    server = start_server(tmp_path_factory.mktemp("pg") / "data", port=free_port())
    yield server
    server.stop("immediate")


@pytest.fixture
def deployment(tcp_server: EmbeddedServer, tmp_path: Path) -> Deployment:
    """A deployment on an empty database, with a history that is not there yet."""
    database = f"mem0_{next(_numbers)}"
    make_database(tcp_server, database, None)
    raw = {
        "name": "prd",
        "backups": tmp_path / "backups" / "prd",
        "postgres": {"host": "127.0.0.1", "port": tcp_server.port, "user": SUPERUSER, "database": database},
        "stores": {"history": tmp_path / "history.db"},
    }
    return Deployment.model_validate(raw)


@pytest.fixture(params=VERSIONS)
def mem0(
    request: pytest.FixtureRequest, tcp_server: EmbeddedServer, deployment: Deployment, tmp_path: Path
) -> Iterator[RealMem0]:
    """The real mem0 of each version, with the deployment's history."""
    (tmp_path / "mem0").mkdir()
    chosen = environment(request.param)
    with OpenAIStub() as openai, real_mem0(tcp_server, openai, tmp_path / "mem0", chosen) as process:
        yield process.configured(history=str(deployment.stores.history))


def test_backups_beside_four_writers_are_proven_and_lose_nothing(
    mem0: RealMem0, deployment: Deployment, tmp_path: Path
) -> None:
    database, history = deployment.postgres.database, tmp_path / "history.db"
    fleet = Fleet(path=tmp_path / "fleet.yaml", backups_root=tmp_path / "backups", deployments={"prd": deployment})
    mem0.add(database, "The first of all", WRITERS[0])
    backups = []
    with mem0.changing(database, WRITERS):
        for format in ("sql", "binary"):
            begun = newest_row(history)
            wait_until(lambda begun=begun: newest_row(history) > begun + 8)  # type: ignore[misc]
            assert look(fleet, deployment).findings["writes"] == []
            made = make_backup(deployment.model_copy(update={"dump": Dump(format=format)}))
            assert made.verdict.sentence() == "ok"
            backups.append(made.backup)
    for backup in backups:
        result = drill(deployment, backup.backup)
        assert result.verdict.sentence() == "ok"
        assert result.namespaces == backup.namespaces
        assert result.history is not None
        assert result.history.lost.count <= len(WRITERS)  # each may have been about to note a deletion
    assert take_census(deployment.postgres).namespaces == {name: len(mem0.texts(database, name)) for name in WRITERS}
    assert look(fleet, deployment).findings["writes"] == []
