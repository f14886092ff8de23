"""Searches that return less than there is: seen where the planner takes the index, and exact where it does not."""

from collections.abc import Iterator

import pytest

from mem0_assets.live.embedded import EmbeddedServer
from mem0_assets.live.postgres import Connection
from mem0_assets.live.searches import ASKED, ShortSearch, short_searches
from mem0_assets_tests.conftest import MakeDeployment, open_connection


@pytest.fixture(params=[16, 18])
def live(
    request: pytest.FixtureRequest, make_deployment: MakeDeployment, server: EmbeddedServer, server16: EmbeddedServer
) -> Iterator[Connection]:
    running = server16 if request.param == 16 else server
    with open_connection(running, make_deployment(on=running).postgres.database) as connection:
        yield connection


def take_the_index(connection: Connection, ef_search: int) -> None:
    """What a planner does on its own in a table of a hundred thousand short vectors; how many neighbours HNSW keeps."""
    connection.execute("SET enable_seqscan = off")
    connection.execute("SET enable_sort = off")
    connection.execute(f"SET hnsw.ef_search = {ef_search}")


def search(connection: Connection, most: int = 20) -> list[ShortSearch]:
    return short_searches(connection, "memories", "public", most)


def test_where_the_planner_reads_the_table_every_search_is_exact(live: Connection) -> None:
    live.execute("SET enable_indexscan = off")
    live.execute("SET hnsw.ef_search = 1")
    assert search(live) == []


def test_an_index_that_finds_all_there_is_is_fine(live: Connection) -> None:
    take_the_index(live, 1000)
    assert search(live) == []


def test_namespaces_that_the_index_filters_away_are_named_the_smallest_first(live: Connection) -> None:
    live.execute(
        "UPDATE memories SET payload = payload - 'user_id' || '{\"run_id\": \"r\"}' WHERE payload->>'user_id' = 'carol'"
    )
    take_the_index(live, 1)
    short = search(live)
    assert [(one.namespace, one.expected) for one in short] == [("r", ASKED), ("bob/work", ASKED), ("alice", ASKED)]
    assert all(one.found < one.expected for one in short)
    assert [one.namespace for one in search(live, most=1)] == ["r"]


def test_memories_without_a_vector_or_a_scope_are_not_expected(live: Connection) -> None:
    live.execute("UPDATE memories SET vector = NULL WHERE payload->>'user_id' = 'carol'")
    live.execute("UPDATE memories SET payload = payload - 'user_id' WHERE payload->>'user_id' = 'bob/work'")
    take_the_index(live, 1)
    assert [one.namespace for one in search(live)] == ["alice"]


def test_without_such_an_index_nothing_is_searched(live: Connection) -> None:
    live.execute("DROP INDEX memories_hnsw_idx")
    take_the_index(live, 1)
    assert search(live) == []
