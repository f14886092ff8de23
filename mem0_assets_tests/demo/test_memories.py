"""The made-up memories are what mem0 2.x would have written, and the same ones every time."""

from datetime import UTC, datetime, timedelta
from typing import Any

from mem0_assets.demo.memories import INCIDENT, add_memories, create_collection
from mem0_assets.live.embedded import EmbeddedServer
from mem0_assets.live.postgres import Connection
from mem0_assets_tests.conftest import SMALL, MakeDeployment, make_database, open_connection

TOTAL = sum(SMALL.values())


def rows(connection: Connection, collection: str = "memories") -> list[dict[str, Any]]:
    return connection.execute(f"SELECT id, vector::text, payload FROM {collection} ORDER BY id").fetchall()


def one(connection: Connection, query: str) -> dict[str, Any]:
    row = connection.execute(query).fetchone()
    assert row is not None
    return dict(row)


def test_the_incident_had_1968_memories() -> None:
    assert sum(INCIDENT.values()) == 1968
    assert INCIDENT["mark_carey/booking"] == 33


def test_a_collection_has_the_layout_that_mem0_gives_it(
    make_deployment: MakeDeployment, server: EmbeddedServer
) -> None:
    with open_connection(server, make_deployment().postgres.database) as connection:
        columns = connection.execute(
            """
            SELECT attname AS name, format_type(atttypid, atttypmod) AS type FROM pg_attribute
             WHERE attrelid = 'memories'::regclass AND attnum > 0 ORDER BY attnum
            """
        ).fetchall()
        indexes = connection.execute(
            "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = 'memories'"
        ).fetchall()
    assert [(row["name"], row["type"]) for row in columns] == [
        ("id", "uuid"),
        ("vector", "vector(8)"),
        ("payload", "jsonb"),
    ]
    told = {row["indexname"]: row["indexdef"] for row in indexes}
    assert "UNIQUE INDEX memories_pkey" in told.pop("memories_pkey")
    assert "USING hnsw (vector vector_cosine_ops)" in told.pop("memories_hnsw_idx")
    assert "USING gin (to_tsvector('simple'" in told.pop("memories_text_lemmatized_idx")
    assert told == {}


def test_every_memory_has_mem0s_keys_its_own_vector_and_the_hash_of_its_text(
    make_deployment: MakeDeployment, server: EmbeddedServer
) -> None:
    with open_connection(server, make_deployment().postgres.database) as connection:
        wrong = "SELECT count(*) AS n FROM memories WHERE payload->>'hash' <> md5(payload->>'data')"
        assert one(connection, wrong) == {"n": 0}
        unit = "abs(vector_norm(vector) - 1) < 1e-5"
        units = f"SELECT count(*) AS n, count(DISTINCT vector::text) AS own FROM memories WHERE {unit}"
        assert one(connection, units) == {"n": TOTAL, "own": TOTAL}
        payloads = [row["payload"] for row in rows(connection)]
    keys = {"data", "hash", "user_id", "created_at", "updated_at", "text_lemmatized", "source"}
    assert {frozenset(payload) for payload in payloads} == {frozenset(keys)}
    assert {payload["user_id"] for payload in payloads} == set(SMALL)
    assert any("🤫" in payload["data"] for payload in payloads)


def test_the_same_seed_gives_the_same_memories_on_every_server(
    server: EmbeddedServer, server16: EmbeddedServer
) -> None:
    found = []
    for where, database in ((server, "twin_one"), (server, "twin_two"), (server16, "twin_one")):
        make_database(where, database, SMALL)
        with open_connection(where, database) as connection:
            found.append([{**row, "payload": without_times(row["payload"])} for row in rows(connection)])
    assert len(found[0]) == TOTAL
    assert found[0] == found[1] == found[2]


def without_times(payload: dict[str, str]) -> dict[str, str]:
    return {key: value for key, value in payload.items() if key not in {"created_at", "updated_at"}}


def test_the_last_memory_was_written_just_now(make_deployment: MakeDeployment, server: EmbeddedServer) -> None:
    """Else the demo would begin with an alert: nobody has written to it for long."""
    with open_connection(server, make_deployment().postgres.database) as connection:
        times = sorted(datetime.fromisoformat(row["payload"]["created_at"]) for row in rows(connection))
    assert timedelta(minutes=1) <= datetime.now(UTC) - times[-1] < timedelta(hours=1)
    assert times[-1] - times[0] > timedelta(hours=12)


def test_another_seed_adds_other_memories_to_the_same_collection(
    make_deployment: MakeDeployment, server: EmbeddedServer
) -> None:
    with open_connection(server, make_deployment().postgres.database) as connection:
        first = rows(connection)
        add_memories(connection, {"alice": 5}, dimensions=8, seed=7)
        both = rows(connection)
    added = [row for row in both if row["id"] not in {old["id"] for old in first}]
    assert len(both) == TOTAL + 5
    assert not {row["vector"] for row in added} & {row["vector"] for row in first}


def test_a_second_collection_of_other_dimensions_fits_beside_the_first(
    make_deployment: MakeDeployment, server: EmbeddedServer
) -> None:
    with open_connection(server, make_deployment().postgres.database) as connection:
        create_collection(connection, {"alice": 3}, collection="other", dimensions=12)
        assert one(connection, "SELECT min(vector_dims(vector)) AS d, count(*) AS n FROM other") == {"d": 12, "n": 3}
        assert len(rows(connection)) == TOTAL
