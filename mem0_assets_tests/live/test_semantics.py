"""What is wrong inside the rows: each rule on rows as mem0 writes them, and on rows that were damaged on purpose."""

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import replace

import psycopg
import pytest
from psycopg import sql

from mem0_assets.demo.memories import create_collection
from mem0_assets.live.census import read_census
from mem0_assets.live.embedded import EmbeddedServer
from mem0_assets.live.postgres import Connection, snapshot
from mem0_assets.live.semantics import (
    EVERY_ROW,
    EXAMPLES,
    NIGHTLY,
    Found,
    Semantics,
    _time_state_13,
    _time_state_16,
    read_semantics,
)
from mem0_assets_tests.conftest import SMALL, make_database, open_connection

TOTAL = sum(SMALL.values())
KEYS = {"created_at", "data", "hash", "source", "text_lemmatized", "updated_at", "user_id"}
RULES = {
    "hash_mismatch",
    "empty_texts",
    "no_scope",
    "unreadable_times",
    "future_times",
    "null_vectors",
    "zero_vectors",
    "non_unit_vectors",
    "other_dimensions",
    "duplicates",
    "short_searches",
}
ONE = "id = (SELECT id FROM memories ORDER BY id LIMIT 1)"


@pytest.fixture(scope="module", params=[16, 18])
def database(request: pytest.FixtureRequest, server: EmbeddedServer, server16: EmbeddedServer) -> Iterator[Connection]:
    """A database on each server that we carry."""
    running = server16 if request.param == 16 else server
    name = f"semantics_{os.getpid()}"
    make_database(running, name, None)
    with open_connection(running, name) as connection:
        yield connection


@pytest.fixture
def live(database: Connection) -> Connection:
    """A small collection as mem0 writes it."""
    database.execute("DROP SCHEMA IF EXISTS extensions CASCADE; DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    create_collection(database, SMALL, dimensions=8)
    return database


def see(connection: Connection, **bounds: object) -> Semantics:
    with snapshot(connection, [("public", "memories")]):
        census = read_census(connection, "memories")
        return read_semantics(connection, census, replace(NIGHTLY, **bounds))  # type: ignore[arg-type]


def broken(seen: Semantics) -> dict[str, int]:
    return {rule: found.rows for rule, found in seen.found.items() if found.rows}


def settings(connection: Connection) -> object:
    names = ["jit", "statement_timeout", "work_mem", "transaction_isolation", "transaction_read_only"]
    return connection.execute("SELECT name, setting FROM pg_settings WHERE name = ANY (%s)", (names,)).fetchall()


def add_entities(connection: Connection, *payloads: object) -> None:
    connection.execute("CREATE TABLE memories_entities (id uuid PRIMARY KEY, vector vector(8), payload jsonb)")
    for payload in payloads:
        connection.execute(
            "INSERT INTO memories_entities VALUES (gen_random_uuid(), NULL, %s::jsonb)", (json.dumps(payload),)
        )


def test_memories_as_mem0_writes_them_break_no_rule(live: Connection) -> None:
    seen = see(live)
    assert seen.found == dict.fromkeys(RULES, Found(0))
    assert seen.keys == dict.fromkeys(KEYS, TOTAL)
    assert (seen.rows, seen.texts, seen.vectors, seen.links) == (TOTAL, TOTAL, TOTAL, 0)
    assert seen.unknown == {}


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ('payload = payload || \'{"data": "other"}\'', "hash_mismatch"),
        ('payload = payload || \'{"hash": "other"}\'', "hash_mismatch"),
        ("payload = payload || '{\"data\": null}'", "empty_texts"),
        ("payload = payload - 'data'", "empty_texts"),
        ("payload = payload - 'user_id'", "no_scope"),
        ('payload = payload || \'{"user_id": ""}\'', "no_scope"),
        ('payload = payload || \'{"created_at": "yesterday evening"}\'', "unreadable_times"),
        ('payload = payload || \'{"updated_at": "1760605200"}\'', "unreadable_times"),
        ('payload = payload || \'{"created_at": "2999-01-01T00:00:00+00:00"}\'', "future_times"),
        ('payload = payload || \'{"updated_at": "2999-01-01"}\'', "future_times"),
        ("vector = NULL", "null_vectors"),
        ("vector = '[0,0,0,0,0,0,0,0]'", "zero_vectors"),
        ("vector = '[3,0,0,0,0,0,0,4]'", "non_unit_vectors"),
    ],
)
def test_one_damaged_row_is_found_with_its_id(live: Connection, change: str, rule: str) -> None:
    live.execute(f"UPDATE memories SET {change} WHERE {ONE}")
    seen = see(live)
    damaged = live.execute("SELECT min(id::text) AS id FROM memories").fetchone()
    assert damaged is not None
    assert broken(seen) == {rule: 1}
    assert seen.found[rule].examples == (damaged["id"],)


def test_a_text_of_blanks_only_is_empty(live: Connection) -> None:
    live.execute(rf"""UPDATE memories SET payload = payload || '{{"data": " \n\t "}}' WHERE {ONE}""")
    assert "empty_texts" in broken(see(live))


def test_no_more_examples_are_kept_than_a_person_reads(live: Connection) -> None:
    live.execute("UPDATE memories SET vector = NULL")
    found = see(live).found["null_vectors"]
    assert (found.rows, len(found.examples)) == (TOTAL, EXAMPLES)


def test_what_versions_of_mem0_write_differently_is_no_damage(live: Connection) -> None:
    """0.1.118: no updated_at, times of Los Angeles. 1.x: no text_lemmatized. Dates that the caller gave. No hash."""
    for change in (
        """payload - 'updated_at' || '{"created_at": "2025-07-01T23:30:00.123456-07:00"}'""",
        "payload - 'text_lemmatized'",
        """payload || '{"created_at": "2023-05-08", "updated_at": "2024-02-29 10:00:00"}'""",
        "payload - 'hash' - 'created_at' - 'updated_at'",
        """payload - 'user_id' || '{"agent_id": "a"}'""",
        """payload - 'user_id' || '{"run_id": "r"}'""",
    ):
        live.execute(f"UPDATE memories SET payload = {change}")
        assert broken(see(live)) == {}
        live.execute("""UPDATE memories SET payload = payload || '{"user_id": "alice"}'""")


def test_the_hash_is_of_the_utf_8_text_whatever_the_database_is_encoded_in(
    server: EmbeddedServer,
) -> None:
    with open_connection(server, "postgres") as admin:
        admin.execute("DROP DATABASE IF EXISTS in_latin1")
        admin.execute("CREATE DATABASE in_latin1 TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'")
    with open_connection(server, "in_latin1") as connection:
        connection.execute("CREATE EXTENSION vector")
        connection.execute("CREATE TABLE memories (id uuid PRIMARY KEY, vector vector(2), payload jsonb)")
        payload = {"data": "Zoë", "hash": hashlib.md5("Zoë".encode()).hexdigest(), "user_id": "zoë"}
        connection.execute(
            "INSERT INTO memories VALUES (gen_random_uuid(), '[1,0]', %s::jsonb)", (json.dumps(payload),)
        )
        assert broken(see(connection)) == {}


def test_texts_that_stand_twice_in_a_namespace_are_counted_once_each(live: Connection) -> None:
    live.execute(
        "INSERT INTO memories SELECT gen_random_uuid(), vector, payload FROM memories WHERE payload->>'user_id' = 'carol'"
    )
    live.execute(
        'INSERT INTO memories SELECT gen_random_uuid(), vector, payload || \'{"user_id": "dave"}\' FROM memories LIMIT 5'
    )
    found = see(live).found["duplicates"]
    assert found.rows == 12
    assert len(found.examples) == EXAMPLES


def test_links_of_entities_are_followed(live: Connection) -> None:
    row = live.execute("SELECT min(id::text) AS id FROM memories").fetchone()
    assert row is not None
    gone = "00000000-0000-0000-0000-000000000000"
    add_entities(live, {"linked_memory_ids": [row["id"], gone]}, {"linked_memory_ids": [gone]}, {"data": "Zoë"})
    seen = see(live)
    assert seen.links == 3
    assert seen.found["orphaned_links"].rows == 2
    assert len(seen.found["orphaned_links"].examples) == 2


@pytest.mark.parametrize(
    "payload", [None, 1, [], {"linked_memory_ids": "all of them"}, {"linked_memory_ids": [None, {}]}]
)
def test_entities_of_another_shape_break_nothing(live: Connection, payload: object) -> None:
    add_entities(live, payload)
    assert see(live).unknown == {}


@pytest.mark.parametrize("payload", ["null", "1", '"text"', "[]", "{}", '{"data": {"a": 1}, "user_id": [1]}'])
def test_payloads_of_another_shape_break_nothing(live: Connection, payload: str) -> None:
    live.execute(sql.SQL("UPDATE memories SET payload = {}").format(payload))
    seen = see(live)
    assert seen.unknown == {}
    assert ("empty_texts" in broken(seen)) == ("data" not in payload)
    live.execute("UPDATE memories SET payload = NULL")
    assert broken(see(live)) == {"empty_texts": TOTAL, "no_scope": TOTAL}


@pytest.mark.parametrize(
    ("alter", "unknown"),
    [
        ("ALTER TABLE memories ALTER payload TYPE json", set()),
        ("ALTER TABLE memories ALTER vector TYPE halfvec(8)", set()),
        ("ALTER TABLE memories ALTER vector TYPE vector", set()),
        ("ALTER TABLE memories ALTER vector TYPE real[] USING vector::real[]", {"vectors"}),
        ("ALTER TABLE memories ALTER id TYPE text", set()),
    ],
)
def test_columns_of_other_types_are_looked_at_as_far_as_they_can_be(
    live: Connection, alter: str, unknown: set[str]
) -> None:
    live.execute("DROP INDEX memories_hnsw_idx")
    live.execute(alter)
    seen = see(live)
    assert set(seen.unknown) == unknown
    assert broken(seen) == {}


def test_vectors_of_other_dimensions_are_found_where_the_column_takes_any(live: Connection) -> None:
    live.execute("DROP INDEX memories_hnsw_idx")
    live.execute("ALTER TABLE memories ALTER vector TYPE vector")
    live.execute(f"UPDATE memories SET vector = '[1,0,0]' WHERE {ONE}")
    assert broken(see(live)) == {"other_dimensions": 1}


def test_an_extension_in_a_schema_of_its_own_is_found(live: Connection) -> None:
    live.execute("CREATE SCHEMA extensions")
    live.execute("ALTER EXTENSION vector SET SCHEMA extensions")
    seen = see(live)
    assert (seen.unknown, broken(seen), seen.vectors) == ({}, {}, TOTAL)


def test_an_empty_collection_breaks_no_rule(live: Connection) -> None:
    live.execute("TRUNCATE memories")
    seen = see(live)
    assert (seen.rows, seen.texts, seen.vectors, broken(seen), seen.unknown) == (0, 0, 0, {}, {})


def test_of_a_large_collection_some_rows_are_looked_at_and_the_same_ones_again(live: Connection) -> None:
    live.execute("DROP INDEX memories_hnsw_idx")
    live.execute(
        "INSERT INTO memories SELECT gen_random_uuid(), vector, payload FROM memories, generate_series(1, 100)"
    )
    first, second = see(live, texts=2000, vectors=500), see(live, texts=2000, vectors=500)
    assert first.rows == 101 * TOTAL
    assert 0 < first.vectors < first.texts < first.rows
    assert (first.texts, first.vectors, first.keys) == (second.texts, second.vectors, second.keys)
    assert see(live, texts=None, vectors=None).vectors == first.rows


def test_what_takes_too_long_is_given_up_and_named_and_the_snapshot_lives_on(live: Connection) -> None:
    with snapshot(live, [("public", "memories")]):
        census = read_census(live, "memories")
        seen = read_semantics(live, census, replace(NIGHTLY, seconds=0.0))
        assert set(seen.unknown.values()) == {"it took longer than 0 s"}
        assert seen.found == {}
        assert live.execute("SELECT count(*) AS n FROM memories").fetchone() == {"n": TOTAL}


def test_a_statement_that_is_cancelled_costs_only_its_part(live: Connection) -> None:
    live.execute("CREATE VIEW memories_entities AS SELECT id, payload FROM memories, LATERAL pg_sleep(60)")
    with snapshot(live, [("public", "memories")]):
        seen = read_semantics(live, read_census(live, "memories"), replace(NIGHTLY, seconds=0.5))
        assert seen.unknown["entity links"] == "it took longer than 0.5 s"
        assert live.execute("SELECT count(*) AS n FROM memories").fetchone() == {"n": TOTAL}


def test_nothing_that_it_sets_outlives_it(live: Connection) -> None:
    with snapshot(live, [("public", "memories")]):
        census = read_census(live, "memories")
        before = settings(live)
        read_semantics(live, census, EVERY_ROW)
        assert settings(live) == before


def test_a_lost_connection_is_an_error_like_any_other(live: Connection) -> None:
    census = read_census(live, "memories")
    with psycopg.connect(live.info.dsn, autocommit=True, row_factory=psycopg.rows.dict_row) as lost:
        lost.close()
        with pytest.raises(psycopg.OperationalError):
            read_semantics(lost, census)


@pytest.mark.parametrize(
    ("value", "state"),
    [
        ("2025-10-16T09:00:00+00:00", None),
        ("2025-10-16T09:00:00.123456-08:00", None),
        ("2025-10-16T09:00:00Z", None),
        ("2025-10-16 09:00:00", None),
        ("2025-10-16 09:00+0530", None),
        ("2025-10-16", None),
        (None, None),
        ("2999-10-16T09:00:00+00:00", "future"),
        ("", "unreadable"),
        ("1760605200", "unreadable"),
        ("2025-13-16T09:00:00+00:00", "unreadable"),
        ("2025-10-32", "unreadable"),
        ("2025-10-16T25:00:00", "unreadable"),
        ("one evening in October", "unreadable"),
    ],
)
def test_servers_before_16_judge_the_times_that_mem0_writes_alike(
    server16: EmbeddedServer, value: str | None, state: str | None
) -> None:
    with open_connection(server16, "postgres") as connection:
        rules = _time_state_13("written"), _time_state_16("written")
        query = sql.SQL("SELECT {} AS before_16, {} AS since_16 FROM (SELECT {}::text AS written) AS one")
        row = connection.execute(query.format(*map(sql.SQL, rules), sql.Literal(value))).fetchone()
    assert row == {"before_16": state, "since_16": state}
