"""Whether a database is truly empty, on real servers with real writers."""

from contextlib import closing

import psycopg
import pytest

from mem0_assets.demo.memories import create_collection
from mem0_assets.errors import UnreachableError
from mem0_assets.fleet import Deployment
from mem0_assets.live.embedded import SUPERUSER, EmbeddedServer
from mem0_assets.live.emptiness import look_for_memories
from mem0_assets_tests.conftest import DIMENSIONS, SMALL, MakeDeployment, open_connection, run_sql
from mem0_assets_tests.waiting import wait_until

ONE = "INSERT INTO memories (id, payload) VALUES (gen_random_uuid(), '{}')"


@pytest.fixture
def empty(make_deployment: MakeDeployment) -> Deployment:
    deployment = make_deployment({"alice": 1})
    run_sql(deployment, "DELETE FROM memories")
    return deployment


def session(deployment: Deployment, *, autocommit: bool = False, user: str = SUPERUSER) -> psycopg.Connection:
    place = deployment.postgres
    return psycopg.connect(host=place.host, port=place.port, user=user, dbname=place.database, autocommit=autocommit)


def test_a_table_without_a_row_is_empty(empty: Deployment) -> None:
    seen = look_for_memories(empty.postgres)
    assert (seen.holds, seen.busy) == (None, 0)
    # A session that has just gone may still have to say what it wrote.
    wait_until(lambda: look_for_memories(empty.postgres) == look_for_memories(empty.postgres))


def test_a_database_without_the_table_is_empty_and_another_state(empty: Deployment) -> None:
    before = look_for_memories(empty.postgres)
    run_sql(empty, "DROP TABLE memories")
    after = look_for_memories(empty.postgres)
    assert (after.holds, after.busy) == (None, 0)
    assert after.state != before.state


def test_one_memory_is_enough_to_be_not_empty(make_deployment: MakeDeployment) -> None:
    assert look_for_memories(make_deployment({"alice": 1}).postgres).holds == "memories"


def test_memories_in_another_collection_are_memories(empty: Deployment, server: EmbeddedServer) -> None:
    with open_connection(server, empty.postgres.database) as connection:
        create_collection(connection, SMALL, dimensions=DIMENSIONS, collection="mem0_new")
    assert look_for_memories(empty.postgres).holds == "mem0_new"


def test_a_row_that_came_and_went_is_seen_afterwards(empty: Deployment) -> None:
    before = look_for_memories(empty.postgres)
    run_sql(empty, ONE)
    run_sql(empty, "DELETE FROM memories")
    wait_until(lambda: look_for_memories(empty.postgres).state != before.state)
    assert look_for_memories(empty.postgres).holds is None


def test_a_session_that_has_not_committed_is_at_work_and_one_that_idles_is_not(empty: Deployment) -> None:
    with closing(session(empty)) as writer:
        writer.execute(ONE)
        seen = look_for_memories(empty.postgres)
        assert (seen.holds, seen.busy) == (None, 1)
        writer.rollback()
        assert look_for_memories(empty.postgres).busy == 0


def test_a_session_that_this_role_may_not_see_into_may_be_at_work(empty: Deployment) -> None:
    run_sql(empty, "DO $$ BEGIN CREATE ROLE blind_reader LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$")
    run_sql(empty, "GRANT SELECT ON memories TO blind_reader")
    blind = empty.postgres.model_copy(update={"user": "blind_reader"})
    wait_until(lambda: look_for_memories(blind).busy == 0)
    with closing(session(empty, autocommit=True)):
        assert look_for_memories(blind).busy == 1
        assert look_for_memories(empty.postgres).busy == 0


def test_of_a_table_that_may_not_be_read_nothing_is_known(empty: Deployment) -> None:
    run_sql(empty, "DO $$ BEGIN CREATE ROLE no_reader LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$")
    with pytest.raises(UnreachableError):
        look_for_memories(empty.postgres.model_copy(update={"user": "no_reader"}))
