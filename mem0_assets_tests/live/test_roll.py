"""The roll of a collection: what changes a digest and what does not, and which times are understood."""

import json
import os
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime

import psycopg
import pytest

from mem0_assets.demo.memories import create_collection
from mem0_assets.live.embedded import EmbeddedServer
from mem0_assets.live.postgres import Connection
from mem0_assets.live.roll import NEVER, RECORD, Record, milliseconds, read_roll
from mem0_assets_tests.conftest import SMALL, make_database, open_connection

ONE = "id = (SELECT id FROM memories ORDER BY id OFFSET 5 LIMIT 1)"
NOON = int(datetime(2026, 1, 3, 12, 0, 0, 123000, UTC).timestamp() * 1000)


@pytest.fixture(scope="module", params=[16, 18])
def database(request: pytest.FixtureRequest, server: EmbeddedServer, server16: EmbeddedServer) -> Iterator[Connection]:
    """A database on each server that we carry."""
    running = server16 if request.param == 16 else server
    name = f"roll_{os.getpid()}"
    make_database(running, name, None)
    with open_connection(running, name) as connection:
        yield connection


@pytest.fixture
def live(database: Connection) -> Connection:
    """A small collection as mem0 writes it."""
    database.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public; DROP EXTENSION IF EXISTS vector CASCADE")
    create_collection(database, SMALL, dimensions=8)
    return database


def roll(connection: Connection) -> list[Record]:
    return list(RECORD.iter_unpack(b"".join(read_roll(connection, "memories"))))


def digests(connection: Connection) -> dict[str, bytes]:
    return {str(uuid.UUID(bytes=memory)): digest for memory, digest, _ in roll(connection)}


def changed_by(connection: Connection, statement: str) -> list[str]:
    """The ids whose digest is another one after the statement."""
    before = digests(connection)
    connection.execute(statement)
    after = digests(connection)
    return [memory for memory in before if after.get(memory) != before[memory]]


def test_it_names_every_memory_once_in_the_order_of_the_ids(live: Connection) -> None:
    records = roll(live)
    ids = [row["id"].bytes for row in live.execute("SELECT id FROM memories").fetchall()]
    assert [memory for memory, _, _ in records] == sorted(ids)
    assert len({digest for _, digest, _ in records}) == len(ids)


def test_it_reads_more_memories_than_the_server_sends_at_once(live: Connection) -> None:
    live.execute("INSERT INTO memories SELECT gen_random_uuid(), NULL, '{}' FROM generate_series(1, 3000)")
    assert len(roll(live)) == 3000 + sum(SMALL.values())
    live.execute("TRUNCATE memories")
    assert roll(live) == []


@pytest.mark.parametrize(
    "change",
    [
        '{"data": "another text"}',
        '{"source": "another source"}',
        '{"user_id": "mallory"}',
        '{"a new key": null}',
        '{"created_at": "2020-01-01T00:00:00+00:00"}',
    ],
)
def test_a_change_of_the_payload_is_a_change_of_the_digest(live: Connection, change: str) -> None:
    [changed] = changed_by(live, f"UPDATE memories SET payload = payload || '{change}' WHERE {ONE}")
    assert live.execute(f"SELECT id FROM memories WHERE {ONE}").fetchone() == {"id": uuid.UUID(changed)}


@pytest.mark.parametrize(
    "harmless",
    [
        'UPDATE memories SET payload = payload || \'{"updated_at": "2026-01-03T12:00:00+00:00"}\'',
        "UPDATE memories SET payload = payload - 'text_lemmatized'",
        "UPDATE memories SET vector = NULL",
        "ALTER TABLE memories ALTER payload TYPE json",
        "VACUUM FULL memories",
    ],
)
def test_what_is_not_the_payloads_own_changes_no_digest(live: Connection, harmless: str) -> None:
    assert changed_by(live, harmless) == []


@pytest.mark.parametrize(
    ("times", "said"),
    [
        ({"created_at": "2026-01-03T12:00:00.123456+00:00"}, NOON),
        ({"created_at": "2026-01-03T04:00:00.123456-08:00", "updated_at": None}, NOON),
        ({"created_at": "2020-01-01T00:00:00+00:00", "updated_at": "2026-01-03T12:00:00.123Z"}, NOON),
        ({"created_at": "2026-01-03T12:00:00.123"}, NOON),
        ({}, 0),
        ({"created_at": "once upon a time"}, 0),
        ({"created_at": "🤫" * 100}, 0),
        ({"created_at": {"year": 2026}}, 0),
        ({"created_at": "0001-01-01T00:00:00+14:00"}, 0),
        ({"created_at": "1969-12-31"}, 0),
    ],
)
def test_the_last_touch_is_what_mem0_says(live: Connection, times: dict[str, object], said: int) -> None:
    live.execute("DELETE FROM memories")
    live.execute("INSERT INTO memories VALUES (gen_random_uuid(), NULL, %s)", (json.dumps({"data": "x", **times}),))
    [(_, _, touch)] = roll(live)
    assert milliseconds(touch) == said


def test_rows_that_mem0_does_not_make_are_on_it_all_the_same(live: Connection) -> None:
    live.execute("DELETE FROM memories; ALTER TABLE memories DROP CONSTRAINT memories_pkey")
    live.execute("ALTER TABLE memories ALTER id DROP NOT NULL")
    live.execute(
        "INSERT INTO memories VALUES (NULL, NULL, NULL), (NULL, NULL, '7'), (gen_random_uuid(), NULL, '[\"x\"]')"
    )
    records = roll(live)
    assert [memory for memory, _, _ in records[:2]] == [bytes(16)] * 2
    assert [touch for _, _, touch in records] == [NEVER] * 3
    assert len({digest for _, digest, _ in records}) == 3


def test_ids_that_are_no_uuids_are_an_error_of_the_databases(live: Connection) -> None:
    live.execute("ALTER TABLE memories ALTER id TYPE text")
    with pytest.raises(psycopg.errors.UndefinedFunction):
        roll(live)
