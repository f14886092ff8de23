"""Memories as mem0 2.x stores them, in the namespaces and numbers of the incident: the demo's data, and the tests'.

The texts are made up and the vectors are random unit vectors, made by the server (the same ones every time); everything
else (table layout, payload keys, hash, indexes) is what mem0 2.2.1 writes.
"""

import hashlib
import json
import random
import uuid
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta

from psycopg import sql

from mem0_assets.live.postgres import SCHEMA, Connection

DIMENSIONS = 1536
INCIDENT: dict[str, int] = {
    "mark_carey/synovia": 1243,
    "mark_carey/sap": 678,
    "mark_carey/booking": 33,
    "mark_carey/personal": 9,
    "mark_carey/health": 5,
}

_SUBJECTS = ["The client", "The user", "Mark", "The project team", "The vendor", "The steering committee"]
_VERBS = ["prefers", "asked for", "decided on", "is waiting for", "no longer wants", "always confirms"]
_OBJECTS = ["a weekly summary", "the morning flight", "SAP transports on Thursdays", "Zoë’s review", "a quiet room 🤫"]
_PLACES = ["in London", "for the Q3 budget", "before the release", "since the migration", "on the invoice"]


def create_collection(
    connection: Connection,
    namespaces: Mapping[str, int],
    *,
    collection: str = "memories",
    dimensions: int = DIMENSIONS,
) -> None:
    """A collection with its indexes, as mem0 2.x creates them, holding so many memories per namespace.

    The indexes come last: filling an HNSW index row by row takes ten times as long as building it.
    """
    connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
    table = sql.Identifier(SCHEMA, collection)
    columns = sql.SQL("CREATE TABLE {} (id UUID PRIMARY KEY, vector vector({}), payload JSONB)")
    connection.execute(columns.format(table, sql.Literal(dimensions)))
    add_memories(connection, namespaces, collection=collection, dimensions=dimensions)
    vectors = sql.SQL("CREATE INDEX {} ON {} USING hnsw (vector vector_cosine_ops)")
    connection.execute(vectors.format(sql.Identifier(f"{collection}_hnsw_idx"), table))
    words = sql.SQL("CREATE INDEX {} ON {} USING gin (to_tsvector('simple', payload->>'text_lemmatized'))")
    connection.execute(words.format(sql.Identifier(f"{collection}_text_lemmatized_idx"), table))


def add_memories(
    connection: Connection,
    namespaces: Mapping[str, int],
    *,
    collection: str = "memories",
    dimensions: int = DIMENSIONS,
    seed: int = 2026,
) -> None:
    """Insert so many memories per namespace. The same seed gives the same ids, texts and vectors.

    The last one was written a minute ago: a deployment that nobody has written to for long is an incident.
    """
    drafts = list(_payloads(namespaces, seed))
    written = datetime.now(UTC) - timedelta(minutes=1) - sum((pause for pause, _ in drafts), timedelta())
    with connection.transaction(), connection.cursor() as cursor:
        cursor.execute("CREATE TEMPORARY TABLE incoming (number bigint, id uuid, payload jsonb) ON COMMIT DROP")
        with cursor.copy("COPY incoming FROM STDIN") as copy:
            for number, (pause, payload) in enumerate(drafts):
                written += pause
                payload |= {"created_at": written.isoformat(), "updated_at": written.isoformat()}
                identifier = uuid.uuid5(uuid.NAMESPACE_URL, f"{seed}/{number}")
                copy.write_row((number, identifier, json.dumps(payload, ensure_ascii=False)))
        cursor.execute("SELECT setseed(%s)", (seed % 997 / 997,))
        # `number >= 0` ties the subquery to the row: without it one vector would be drawn for all.
        unit_vector = (
            "l2_normalize((SELECT array_agg(random_normal()) FROM generate_series(1, {}) WHERE number >= 0)::vector)"
        )
        insert = "INSERT INTO {} SELECT id, " + unit_vector + ", payload FROM incoming ORDER BY number"
        cursor.execute(sql.SQL(insert).format(sql.Identifier(SCHEMA, collection), sql.Literal(dimensions)))


def _payloads(namespaces: Mapping[str, int], seed: int) -> Iterator[tuple[timedelta, dict[str, str]]]:
    """Each memory without its times, and how long after the one before it was written."""
    chance = random.Random(seed)
    for namespace, memories in namespaces.items():
        for number in range(memories):
            # 17 days in all for the incident's: too few for a usual pace (alerts/write_rules.py), so that the silence of
            # a demo that is left running is no alarm.
            pause = timedelta(seconds=chance.randrange(30, 1500))
            words = [chance.choice(part) for part in (_SUBJECTS, _VERBS, _OBJECTS, _PLACES)]
            text = f"{' '.join(words)} (note {number + 1})"
            payload = {
                "data": text,
                "hash": hashlib.md5(text.encode(), usedforsecurity=False).hexdigest(),
                "user_id": namespace,
                "text_lemmatized": text,
                "source": chance.choice(["chat", "e-mail", "meeting"]),
            }
            yield pause, payload
