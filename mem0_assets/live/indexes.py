"""The indexes of a collection: what a restore must bring back, and what a search is answered by."""

from dataclasses import dataclass

from mem0_assets.live.postgres import SCHEMA, Connection

_INDEXES = """
    SELECT i.relname AS name, m.amname AS method, x.indisvalid AND x.indisready AS valid
      FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_am m ON m.oid = i.relam
      JOIN pg_class c ON c.oid = x.indrelid JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE n.nspname = %s AND c.relname = %s ORDER BY 1
"""


@dataclass(frozen=True)
class Index:
    """One index: its name, its access method (btree, hnsw, gin), and whether queries use it.

    One that is not valid is what a CREATE INDEX CONCURRENTLY leaves that failed: every write pays for it, no search uses
    it, and pg_dump leaves it out.
    """

    name: str
    method: str
    valid: bool = True


def read_indexes(connection: Connection, collection: str) -> tuple[Index, ...]:
    """Every index of the collection, by name."""
    return tuple(Index(**row) for row in connection.execute(_INDEXES, (SCHEMA, collection)).fetchall())
