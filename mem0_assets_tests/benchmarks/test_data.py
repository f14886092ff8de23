"""The benchmark's tables are mem0's: unit vectors, the hash of each text; and hold the same in every kind of column."""

from collections.abc import Iterator
from typing import Any

import pytest

from benchmarks.data import Column, Size, count_rows, create_table
from mem0_assets.live.census import read_census
from mem0_assets.live.embedded import EmbeddedServer
from mem0_assets.live.postgres import Connection
from mem0_assets_tests.conftest import open_connection

SIZE = Size(2100, 8)  # more than one batch


def made(server: EmbeddedServer, database: str, column: Column) -> Connection:
    with open_connection(server, "postgres") as connection:
        connection.execute(f"CREATE DATABASE {database}")
    connection = open_connection(server, database)
    assert create_table(connection, SIZE, column) > 0
    return connection


def one(connection: Connection, query: str) -> dict[str, Any]:
    row = connection.execute(query).fetchone()
    assert row is not None
    return dict(row)


@pytest.fixture(scope="module")
def table(server: EmbeddedServer) -> Iterator[Connection]:
    with made(server, "benchmark_vector", "vector") as connection:
        yield connection


def test_a_table_holds_as_many_memories_as_asked_for_and_the_census_knows_them(table: Connection) -> None:
    census = read_census(table, "memories")
    assert census.total == count_rows(table) == SIZE.rows
    assert census.identity.dimensions == SIZE.dimensions
    assert len(census.namespaces) == 5


def test_every_memory_has_a_unit_vector_of_its_own_and_the_hash_of_its_text(table: Connection) -> None:
    units = "SELECT count(DISTINCT vector::text) AS n FROM memories WHERE abs(vector_norm(vector) - 1) < 1e-5"
    assert one(table, units) == {"n": SIZE.rows}
    assert one(table, "SELECT count(*) AS n FROM memories WHERE payload->>'hash' <> md5(payload->>'data')") == {"n": 0}


def test_a_server_without_pgvector_holds_the_same_numbers_in_an_array(
    table: Connection, server16: EmbeddedServer
) -> None:
    every = "SELECT id, vector::real[] AS vector, payload FROM memories ORDER BY id"
    with made(server16, "benchmark_array", "real[]") as arrays:
        assert arrays.execute(every).fetchall() == table.execute(every).fetchall()
