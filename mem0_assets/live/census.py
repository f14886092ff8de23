"""How many memories each namespace holds, and in which database: one query set in one MVCC snapshot.

By SQL, never through the REST API, which caps at 1,000 and counts short without a word. The vector column is never
read: at 100,000 rows the two counts cost 4.5 and 22 ms, and touching the vectors ten times as much.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import psycopg
from psycopg import sql

from mem0_assets.errors import NotACollectionError, TableMissingError
from mem0_assets.fleet import Postgres
from mem0_assets.live.identity import Identity, read_identity
from mem0_assets.live.namespaces import NAMESPACE_SQL
from mem0_assets.live.postgres import CHECK_COLLECTION, SCHEMA, Connection, connect, snapshot

CENSUS_SECONDS = 10.0


COLUMNS = {"id", "vector", "payload"}


@dataclass(frozen=True)
class Census:
    """`namespaces` maps a namespace to its number of memories; `taken_at` is the snapshot's instant (with offset)."""

    collection: str
    total: int
    namespaces: dict[str, int]
    identity: Identity
    taken_at: datetime

    def as_json(self) -> dict[str, Any]:
        return {
            "collection": self.collection,
            "total": self.total,
            "namespaces": self.namespaces,
            "identity": self.identity.as_json(),
            "taken_at": self.taken_at.isoformat(),
        }


def take_census(postgres: Postgres, *, seconds: float = CENSUS_SECONDS) -> Census:
    """Count a live deployment, read only, within `seconds`.

    Raises TableMissingError where the database answers and the table is not in it (a loss), NotACollectionError where
    it is no table of mem0's, UnreachableError where nothing could be learnt.
    """
    with connect(postgres, seconds=seconds) as connection:
        try:
            with snapshot(connection, [(SCHEMA, postgres.collection)]):
                return read_census(connection, postgres.collection)
        except TableMissingError as error:
            raise TableMissingError(error.message, next_step=_other_collections(connection)) from None


def read_census(connection: Connection, collection: str) -> Census:
    """Count inside the caller's `snapshot`. Raises NotACollectionError where the table is not mem0's."""
    query = sql.SQL("SELECT {namespace} AS namespace, count(*) AS memories FROM {table} GROUP BY 1 ORDER BY 2 DESC, 1")
    table = sql.Identifier(SCHEMA, collection)
    taken_at = datetime.now(UTC)
    require_shape(connection, collection)
    identity = read_identity(connection, collection)
    try:
        rows = connection.execute(query.format(namespace=sql.SQL(NAMESPACE_SQL), table=table)).fetchall()
    except psycopg.errors.UndefinedFunction as error:
        raise NotACollectionError(
            f"the table {collection} is no mem0 collection: {error.diag.message_primary}", next_step=CHECK_COLLECTION
        ) from None
    namespaces = {row["namespace"]: row["memories"] for row in rows}
    return Census(collection, sum(namespaces.values()), namespaces, identity, taken_at)


def require_shape(connection: Connection, collection: str) -> None:
    """A table that lost its vectors still counts well: so all three columns must be there. Raises NotACollectionError."""
    rows = connection.execute(
        "SELECT attname FROM pg_attribute WHERE attrelid = %s::text::regclass AND NOT attisdropped",
        (sql.Identifier(SCHEMA, collection).as_string(connection),),
    ).fetchall()
    missing = COLUMNS - {row["attname"] for row in rows}
    if missing:
        columns = " and no ".join(sorted(missing))
        raise NotACollectionError(
            f"the table {collection} is no mem0 collection: it has no {columns} column", next_step=CHECK_COLLECTION
        )


def collections(connection: Connection) -> list[str]:
    """The tables of this database that look like mem0's."""
    rows = connection.execute(
        """
        SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE n.nspname = %s AND c.relkind = 'r' AND %s::text[] <@ ARRAY(
               SELECT a.attname::text FROM pg_attribute a WHERE a.attrelid = c.oid AND NOT a.attisdropped)
         ORDER BY 1
        """,
        (SCHEMA, sorted(COLUMNS)),
    ).fetchall()
    return [row["relname"] for row in rows]


def _other_collections(connection: Connection) -> str:
    """What else in this database looks like mem0's: a collection renamed by a setting is found here."""
    found = collections(connection)
    if found:
        return f"Tables here that look like mem0's: {', '.join(found)}"
    extension = connection.execute("SELECT 1 FROM pg_extension WHERE extname = 'vector'").fetchone()
    without = "" if extension else " and not even the vector extension"
    return f"This database holds no mem0 collection at all{without}: it may be a new one. Do not restart anything"
