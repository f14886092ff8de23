"""What a restored database must be: each difference from the claim has its code, and none is tolerated."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from mem0_assets.live.census import read_census
from mem0_assets.live.embedded import EmbeddedServer
from mem0_assets.live.indexes import Index
from mem0_assets.live.postgres import Connection
from mem0_assets.restores.checks import (
    Expected,
    check_contents,
    check_indexes,
    check_search,
    check_tables,
    compare_counts,
)
from mem0_assets.verdicts import OK
from mem0_assets_tests.conftest import SMALL, MakeDeployment, open_connection

INDEXES = (
    Index("memories_pkey", "btree"),
    Index("memories_hnsw_idx", "hnsw"),
    Index("memories_text_lemmatized_idx", "gin"),
)
WHOLE = Expected("memories", 77, SMALL, 8, {"memories": 77}, INDEXES)


@pytest.fixture
def restored(make_deployment: MakeDeployment, server: EmbeddedServer) -> Iterator[Connection]:
    with open_connection(server, make_deployment().postgres.database) as connection:
        yield connection


def test_a_database_that_is_exactly_what_was_claimed_passes_every_check(restored: Connection) -> None:
    assert compare_counts(WHOLE, read_census(restored, "memories")).ok
    assert check_tables(restored, WHOLE).ok
    assert check_contents(restored, read_census(restored, "memories")) == (OK, [])
    assert check_indexes(restored, WHOLE).ok
    assert check_search(restored, "memories").ok


@pytest.mark.parametrize(
    ("claims", "codes"),
    [
        ({"namespaces": {**SMALL, "alice": 41}}, ["count_mismatch"]),
        ({"namespaces": {**SMALL, "dave": 1}}, ["count_mismatch"]),
        ({"namespaces": {"alice": 40, "bob/work": 25}}, ["count_mismatch"]),
        ({"namespaces": {}}, ["count_mismatch"] * 3),
        ({"dimensions": 9}, ["dimensions_changed"]),
    ],
)
def test_one_memory_more_or_less_in_any_namespace_is_a_mismatch(
    restored: Connection, claims: dict[str, object], codes: list[str]
) -> None:
    expected = replace(WHOLE, **claims)  # type: ignore[arg-type]
    assert compare_counts(expected, read_census(restored, "memories")).codes == codes


def test_every_table_is_compared_and_an_empty_one_must_be_there_too(restored: Connection) -> None:
    restored.execute("CREATE TABLE messages (id int)")
    verdict = check_tables(restored, replace(WHOLE, tables={"memories": 76, "history": 0}))
    assert [reason.message for reason in verdict.reasons] == [
        "the table history holds no rows, not 0",
        "the table memories holds 77 rows, not 76",
        "the table messages holds 0 rows, not any",
    ]
    assert set(verdict.codes) == {"count_mismatch"}
    assert check_tables(restored, replace(WHOLE, tables=None)).ok


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ("payload = jsonb_set(payload, '{data}', '\"another text\"')", "hash_mismatch"),
        ("payload = jsonb_set(payload, '{hash}', '\"d41d8cd98f00b204e9800998ecf8427e\"')", "hash_mismatch"),
        ("vector = NULL", "null_vectors"),
        ("vector = '[0,0,0,0,0,0,0,0]'", "zero_vectors"),
    ],
)
def test_a_memory_that_no_search_finds_or_whose_text_is_another_is_seen(
    restored: Connection, change: str, code: str
) -> None:
    restored.execute(f"UPDATE memories SET {change} WHERE id = (SELECT max(id::text)::uuid FROM memories)")
    verdict, odd = check_contents(restored, read_census(restored, "memories"))
    [reason] = verdict.reasons
    assert reason.code == code
    assert reason.message.startswith("1 of 77 memories")
    assert odd == []


def test_what_is_odd_and_no_damage_is_told_and_fails_nothing(restored: Connection) -> None:
    restored.execute("UPDATE memories SET payload = payload - 'user_id' WHERE payload->>'user_id' = 'carol'")
    verdict, odd = check_contents(restored, read_census(restored, "memories"))
    assert verdict.ok
    assert odd == ["12 of 77 memories have no user_id, agent_id or run_id: mem0 lists them to nobody."]


def test_memories_without_a_hash_are_no_mismatch(restored: Connection) -> None:
    restored.execute("UPDATE memories SET payload = payload - 'hash'")
    assert check_contents(restored, read_census(restored, "memories")) == (OK, [])


def test_an_index_that_is_missing_of_another_kind_or_not_valid_is_seen(restored: Connection) -> None:
    restored.execute("DROP INDEX memories_hnsw_idx")
    assert check_indexes(restored, WHOLE).codes == ["index_missing"]
    restored.execute("CREATE INDEX memories_hnsw_idx ON memories (id)")
    [missing] = check_indexes(restored, WHOLE).reasons
    assert missing.message == "the hnsw index memories_hnsw_idx is missing"
    restored.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'memories_pkey'::regclass")
    assert check_indexes(restored, replace(WHOLE, indexes=None)).codes == ["index_invalid"]


def test_an_index_that_was_not_valid_is_in_no_dump_and_not_missed(restored: Connection) -> None:
    broken = Index("memories_created_idx", "btree", valid=False)
    assert check_indexes(restored, replace(WHOLE, indexes=(*INDEXES, broken))).ok


def test_a_search_that_does_not_find_a_stored_vector_is_seen(restored: Connection) -> None:
    restored.execute("UPDATE memories SET vector = '[0,0,0,0,0,0,0,0]'")
    assert check_search(restored, "memories").codes == ["search_failed"]
    restored.execute("UPDATE memories SET vector = NULL")
    assert check_search(restored, "memories").ok  # there is none to find: `null_vectors` says that
    restored.execute("TRUNCATE memories")
    assert check_search(restored, "memories").ok


def test_the_search_is_exact_whatever_the_index_would_say(restored: Connection) -> None:
    restored.execute("SET hnsw.ef_search = 1")
    restored.execute("SET enable_seqscan = off")
    assert check_search(restored, "memories").ok
