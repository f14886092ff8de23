"""Single memories: what one is, wherever it is read from, and those of a live deployment in one snapshot."""

from collections.abc import Generator
from dataclasses import dataclass
from uuid import UUID

import psycopg
from psycopg import sql

from mem0_assets.fleet import Postgres
from mem0_assets.live.census import require_shape
from mem0_assets.live.namespaces import NAMESPACE_SQL
from mem0_assets.live.postgres import SCHEMA, Connection, answers_within, connect, snapshot

# A fetch is a few MB: with 1,536 dimensions a memory has 6 KB.
ROWS_AT_ONCE = 500
FETCH_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Memory:
    """One row of a collection. `payload` is the JSON as PostgreSQL writes it, to the letter; None is NULL.

    `vector` is in pgvector's binary form (see vectors.py); None is NULL, or that vectors were not asked for.
    """

    id: UUID
    namespace: str
    payload: str | None
    vector: bytes | None


@dataclass(frozen=True)
class Selection:
    """Which memories to read: all where `namespaces` and `ids` are None; where both are given, those that fit both.

    Without `vectors` none is read. With 1,536 dimensions that takes a seventh of the time of a live table, and a 25th of
    a text dump's.
    """

    namespaces: frozenset[str] | None = None
    ids: frozenset[UUID] | None = None
    vectors: bool = True

    def takes(self, memory: UUID, namespace: str) -> bool:
        return (self.ids is None or memory in self.ids) and (self.namespaces is None or namespace in self.namespaces)


ALL = Selection()


def read_deployment(postgres: Postgres, selection: Selection = ALL) -> Generator[Memory, None, None]:
    """The memories of a live deployment, of one instant. Raises what `take_census` raises."""
    with connect(postgres, seconds=None) as connection, snapshot(connection, [(SCHEMA, postgres.collection)]):
        with answers_within(connection, FETCH_SECONDS):
            require_shape(connection, postgres.collection)
        yield from read_live(connection, postgres.collection, selection)


def read_live(connection: Connection, collection: str, selection: Selection = ALL) -> Generator[Memory, None, None]:
    """The memories of a live table, in no order and with flat memory; inside the caller's `snapshot`.

    Each exchange with the server is bounded by FETCH_SECONDS. Raises what psycopg raises (`connect` translates it).
    """
    columns = sql.SQL("id, {namespace} AS namespace, payload::text AS payload, {vector} AS vector").format(
        namespace=sql.SQL(NAMESPACE_SQL), vector=sql.SQL("vector" if selection.vectors else "NULL::bytea")
    )
    query = sql.SQL("SELECT {columns} FROM {table} WHERE {condition}").format(
        columns=columns, table=sql.Identifier(SCHEMA, collection), condition=_condition(selection)
    )
    chosen = [None if wanted is None else list(wanted) for wanted in (selection.namespaces, selection.ids)]
    cursor = psycopg.ServerCursor(connection, "mem0_assets_memories")
    try:
        with answers_within(connection, FETCH_SECONDS):
            cursor.execute(query, [wanted for wanted in chosen if wanted is not None], binary=True)
        while True:
            with answers_within(connection, FETCH_SECONDS):
                rows = cursor.fetchmany(ROWS_AT_ONCE)
            if not rows:
                return
            for row in rows:
                yield Memory(row["id"], row["namespace"], row["payload"], row["vector"])
    finally:
        with answers_within(connection, FETCH_SECONDS):
            cursor.close()


def _condition(selection: Selection) -> sql.Composable:
    conditions: list[sql.Composable] = [sql.SQL("true")]
    if selection.namespaces is not None:
        conditions.append(sql.SQL("{} = ANY (%s::text[])").format(sql.SQL(NAMESPACE_SQL)))
    if selection.ids is not None:
        conditions.append(sql.SQL("id = ANY (%s::uuid[])"))
    return sql.SQL(" AND ").join(conditions)
