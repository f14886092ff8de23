"""Whether mem0's server gives back single memories: an answer alone proves nothing."""

from collections.abc import Iterator

import pytest

from mem0_assets.errors import TableMissingError, UnreachableError
from mem0_assets.fleet import Deployment, HealthSettings
from mem0_assets.live.served import not_served, one_of_each
from mem0_assets_tests.conftest import SMALL, MakeDeployment
from mem0_assets_tests.service_stub import Mem0Stub, page


@pytest.fixture
def mem0(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mem0Stub]:
    with Mem0Stub() as stub:
        monkeypatch.setenv("MEM0_ADMIN_KEY", stub.key or "")
        yield stub


@pytest.fixture
def prd(make_deployment: MakeDeployment, mem0: Mem0Stub) -> Deployment:
    made = make_deployment(health={"server_url": mem0.url, "admin_key_env": "MEM0_ADMIN_KEY"})
    mem0.memories = {memory: {"id": memory} for memory in one_of_each(made.postgres).values()}
    return made


def test_one_memory_of_each_namespace_is_asked_for(prd: Deployment) -> None:
    ids = one_of_each(prd.postgres)
    assert ids.keys() == SMALL.keys()
    assert not_served(prd.health, ids) == []


def test_a_memory_that_is_not_given_back_is_told_by_its_namespace(prd: Deployment, mem0: Mem0Stub) -> None:
    ids = one_of_each(prd.postgres)
    mem0.memories.pop(ids["carol"])
    assert not_served(prd.health, ids) == ["carol"]
    mem0.memories[ids["carol"]] = {"id": "another"}
    assert not_served(prd.health, ids) == ["carol"]
    mem0.faults[f"/memories/{ids['alice']}"] = page(200)
    assert not_served(prd.health, ids) == ["alice", "carol"]


def test_a_server_that_lets_nobody_in_has_proven_nothing(prd: Deployment, mem0: Mem0Stub) -> None:
    ids = one_of_each(prd.postgres)
    with pytest.raises(UnreachableError, match="asks for a key"):
        not_served(HealthSettings(server_url=mem0.url), ids)
    mem0.key = "another"
    with pytest.raises(UnreachableError) as caught:
        not_served(prd.health, ids)
    assert caught.value.next_step == "Check health.admin_key_env"


def test_a_table_that_is_gone_is_no_empty_answer(make_deployment: MakeDeployment) -> None:
    with pytest.raises(TableMissingError):
        one_of_each(make_deployment(None).postgres)
