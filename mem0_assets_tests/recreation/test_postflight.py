"""Postflight: all that preflight saw is still there, and mem0's server finds it."""

import json

import pytest

from mem0_assets.backups.catalog import Catalog
from mem0_assets.errors import NotFoundError
from mem0_assets.recreation.postflight import Postflight, postflight
from mem0_assets.recreation.preflight import preflight
from mem0_assets_tests.conftest import SMALL, run_sql
from mem0_assets_tests.docker_engine import needs_docker
from mem0_assets_tests.recreation.house import DATA, SECRET, House

pytestmark = needs_docker


@pytest.fixture
def ready(house: House) -> House:
    """A deployment whose preflight was a go."""
    assert preflight(house.deployment).go
    return house


def codes(result: Postflight) -> set[str]:
    assert SECRET not in json.dumps(result.as_json())
    return {reason.code for reason in result.reasons}


def test_after_a_safe_recreation_all_is_there_and_found(ready: House) -> None:
    ready.up()
    result = postflight(ready.deployment)
    assert codes(result) == set()
    assert (result.total, result.backup) == (sum(SMALL.values()), Catalog(ready.deployment).find("latest").backup)
    assert result.notes == ()


def test_memories_that_were_added_meanwhile_are_fine(ready: House) -> None:
    run_sql(ready.deployment, "INSERT INTO memories SELECT gen_random_uuid(), vector, payload FROM memories LIMIT 3")
    ready.serve()
    assert codes(postflight(ready.deployment)) == set()


def test_one_memory_less_is_refused(ready: House) -> None:
    run_sql(ready.deployment, "DELETE FROM memories WHERE id = (SELECT max(id::text) FROM memories)::uuid")
    assert codes(postflight(ready.deployment)) == {"shrunk"}


def test_a_new_empty_table_of_the_same_name_is_refused(ready: House) -> None:
    run_sql(ready.deployment, "ALTER TABLE memories RENAME TO old; CREATE TABLE memories (LIKE old INCLUDING ALL)")
    assert codes(postflight(ready.deployment)) == {"identity_changed", "namespace_vanished"}


def test_another_volume_is_refused(ready: House) -> None:
    ready.up(data=DATA.replace("mem0_", "other_"))
    assert codes(postflight(ready.deployment)) == {"volume_changed", "configuration_changed"}


def test_a_container_that_is_gone_or_stands_still_is_refused(ready: House) -> None:
    ready.engine.client.containers.get("mem0_postgres_prd").stop(timeout=1)
    assert codes(postflight(ready.deployment)) == {"container_stopped"}
    ready.engine.client.containers.get("mem0_postgres_prd").remove(force=True)
    assert codes(postflight(ready.deployment)) == {"container_missing"}


def test_other_settings_than_preflight_said_are_refused(ready: House) -> None:
    ready.up(environment={**ready.env, "POSTGRES_DB": "mem0_prd"})
    result = postflight(ready.deployment)
    assert codes(result) == {"configuration_changed"}
    assert "mem0_prd" in result.reasons[0].message


def test_a_server_that_looks_into_another_database_is_refused(ready: House) -> None:
    ready.mem0.memories = {}
    result = postflight(ready.deployment)
    assert codes(result) == {"memory_not_found"}
    assert "alice" in result.reasons[0].message


def test_a_server_that_does_not_answer_is_refused(ready: House) -> None:
    ready.mem0.database_up = False
    assert codes(postflight(ready.deployment)) == {"mem0_server_endpoint"}


def test_a_history_that_is_gone_is_refused(ready: House) -> None:
    ready.lose_history()
    assert codes(postflight(ready.deployment)) == {"history_missing"}


def test_without_a_preflight_there_is_nothing_to_compare_with(house: House) -> None:
    with pytest.raises(NotFoundError, match="no preflight of prd was ever made"):
        postflight(house.deployment)


def test_the_verdict_is_kept(ready: House) -> None:
    ready.mem0.memories = {}
    postflight(ready.deployment)
    event = Catalog(ready.deployment).journal.last("postflight")
    assert event is not None
    assert (event["verdict"], [reason["code"] for reason in event["reasons"]]) == ("refused", ["memory_not_found"])
