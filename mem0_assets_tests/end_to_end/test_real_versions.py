"""Each generation of mem0, in its own environment, writes while backups run: they are proven, and nothing is lost."""

import pytest

from mem0_assets.alerts.watch import look
from mem0_assets.backups.backup import make_backup
from mem0_assets.fleet import Deployment, Dump, Fleet
from mem0_assets.live.census import take_census
from mem0_assets.live.history import newest_row
from mem0_assets.restores.drill import drill
from mem0_assets_tests.end_to_end.conftest import Mem0Of
from mem0_assets_tests.mem0_environments import OWN
from mem0_assets_tests.waiting import wait_until

WRITERS = [f"writer/{number}" for number in range(4)]


@pytest.mark.parametrize("version", ["0.1.118", "1.0.11", OWN.version])
def test_backups_beside_four_writers_are_proven_and_lose_nothing(
    mem0_of: Mem0Of, real_deployment: Deployment, real_fleet: Fleet, version: str
) -> None:
    deployment, database, history = real_deployment, real_deployment.postgres.database, real_deployment.stores.history
    assert history is not None
    mem0 = mem0_of(version).configured(history=str(history))
    mem0.add(database, "The first of all", WRITERS[0])
    backups = []
    with mem0.changing(database, WRITERS):
        for format in ("sql", "binary"):
            begun = newest_row(history)
            wait_until(lambda begun=begun: newest_row(history) > begun + 8)  # type: ignore[misc]
            wait_until(
                lambda: look(real_fleet, deployment).findings["writes"] == []
            )  # a deletion's history may be late
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
    assert look(real_fleet, deployment).findings["writes"] == []
