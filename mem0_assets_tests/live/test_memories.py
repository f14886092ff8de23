"""Reading the memories of a live table: all of them, or those that are wanted, in one snapshot."""

from uuid import UUID

import pytest

from mem0_assets.errors import UnreachableError
from mem0_assets.fleet import Deployment
from mem0_assets.live import memories as live_memories
from mem0_assets.live.embedded import EmbeddedServer
from mem0_assets.live.memories import ALL, Memory, Selection, read_deployment, read_live
from mem0_assets.live.postgres import connect, snapshot
from mem0_assets.live.vectors import numbers_of
from mem0_assets_tests.conftest import SMALL, MakeDeployment, run_sql
from mem0_assets_tests.freezing import frozen

FIRST = UUID(int=1)


def _read(deployment: Deployment, selection: Selection = ALL) -> list[Memory]:
    table = ("public", deployment.postgres.collection)
    with connect(deployment.postgres, seconds=None) as connection, snapshot(connection, [table]):
        return list(read_live(connection, deployment.postgres.collection, selection))


def test_every_memory_is_read_with_its_payload_to_the_letter(make_deployment: MakeDeployment) -> None:
    deployment = make_deployment({"alice": 3})
    payload = '{"n": 1.50, "b": [true, null], "data": "a\\t\\\\ \\u0007 \\"é🧠", "user_id": "mark_carey/sap"}'
    run_sql(deployment, f"INSERT INTO memories VALUES ('{FIRST}', '[0,1,-0.5,1e-05,0,0,0,0.1]', $p${payload}$p$)")
    run_sql(deployment, f"INSERT INTO memories VALUES ('{UUID(int=2)}', NULL, NULL)")
    read = {memory.id: memory for memory in _read(deployment)}
    assert len(read) == 5
    odd = read[FIRST]
    assert odd.namespace == "mark_carey/sap"
    assert (
        odd.payload == '{"b": [true, null], "n": 1.50, "data": "a\\t\\\\ \\u0007 \\"é🧠", "user_id": "mark_carey/sap"}'
    )
    assert odd.vector is not None
    assert numbers_of(odd.vector) == pytest.approx((0, 1, -0.5, 1e-05, 0, 0, 0, 0.1))
    assert read[UUID(int=2)] == Memory(UUID(int=2), "(none)", None, None)


def test_only_the_wanted_are_read(make_deployment: MakeDeployment) -> None:
    deployment = make_deployment(SMALL)
    of_alice = _read(deployment, Selection(namespaces=frozenset({"alice"})))
    assert {memory.namespace for memory in of_alice} == {"alice"}
    assert len(of_alice) == SMALL["alice"]
    some = frozenset(memory.id for memory in of_alice[:2])
    assert {memory.id for memory in _read(deployment, Selection(ids=some))} == some
    assert not _read(deployment, Selection(frozenset({"carol"}), some))
    assert not _read(deployment, Selection(namespaces=frozenset()))


def test_without_vectors_none_is_read(make_deployment: MakeDeployment) -> None:
    read = _read(make_deployment({"alice": 2}), Selection(vectors=False))
    assert [memory.vector for memory in read] == [None, None]


def test_more_than_one_fetch_holds(make_deployment: MakeDeployment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_memories, "ROWS_AT_ONCE", 7)
    deployment = make_deployment(SMALL)
    assert len({memory.id for memory in _read(deployment)}) == sum(SMALL.values())


def test_whoever_stops_in_the_middle_leaves_the_connection_good(make_deployment: MakeDeployment) -> None:
    deployment = make_deployment(SMALL)
    with connect(deployment.postgres, seconds=None) as connection, snapshot(connection, [("public", "memories")]):
        reading = read_live(connection, "memories")
        next(reading)
        reading.close()
        assert len(list(read_live(connection, "memories"))) == sum(SMALL.values())


def test_a_server_that_goes_away_is_unreachable_not_the_end(
    make_deployment: MakeDeployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_memories, "ROWS_AT_ONCE", 7)
    deployment = make_deployment(SMALL)
    with pytest.raises(UnreachableError):
        _read_and_lose_the_server(deployment)


def test_a_server_that_freezes_in_the_middle_is_unreachable(
    own_server: EmbeddedServer, make_deployment: MakeDeployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_memories, "ROWS_AT_ONCE", 7)
    monkeypatch.setattr(live_memories, "FETCH_SECONDS", 0.5)
    reading = read_deployment(make_deployment(SMALL, on=own_server).postgres)
    next(reading)
    with frozen(own_server), pytest.raises(UnreachableError):
        list(reading)


def _read_and_lose_the_server(deployment: Deployment) -> None:
    with connect(deployment.postgres, seconds=None) as connection, snapshot(connection, [("public", "memories")]):
        reading = read_live(connection, "memories")
        next(reading)
        run_sql(deployment, f"SELECT pg_terminate_backend({connection.info.backend_pid})")
        list(reading)
