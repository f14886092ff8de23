"""Searches as mem0 asks them, for namespaces where the vectors' index does not find what is there.

An HNSW index is asked for the nearest of the whole table and the namespace is filtered afterwards: of 100,000 memories
(64 dimensions, 20 of them in one namespace) such a search returned 0 of 20. The user's memories are all there, every
count says so, and mem0 answers that it knows nothing. Which way a search goes is the planner's choice, so it is asked.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from psycopg import sql

from mem0_assets.live.indexes import read_indexes
from mem0_assets.live.namespaces import NAMESPACE_SQL, SCOPE_KEYS
from mem0_assets.live.postgres import SCHEMA, Connection

# What mem0 2.2.1 asks for before it adds a memory (five in 1.x), to see what it knows already. A search of a user's asks
# for 60 or more, and for so many the planner sooner reads the table: of 60,000 vectors of 32 dimensions, 20 of them in
# one namespace, it found 1 of 10 for the one, and all for the other.
ASKED = 10
EXACT = {"btree", "hash", "gin", "gist", "spgist", "brin"}

_SCOPE = (
    "CASE " + " ".join(f"WHEN nullif(payload->>'{key}', '') IS NOT NULL THEN '{key}'" for key in SCOPE_KEYS) + " END"
)
_NAMESPACES = sql.SQL(
    "SELECT {scope} AS scope, {namespace} AS namespace, count(*) AS memories, min(id::text) AS id FROM {table} "
    "WHERE vector IS NOT NULL AND {scope} IS NOT NULL GROUP BY 1, 2 ORDER BY 3, 2 LIMIT {most}"
)
_SEARCH = sql.SQL(
    "SELECT id FROM {table} WHERE payload->>{scope} = {namespace} "
    "ORDER BY vector OPERATOR({schema}.<=>) ({vector}) LIMIT {asked}"
)
_ANY_VECTOR = sql.SQL("SELECT vector FROM {table} WHERE vector IS NOT NULL LIMIT 1")
_VECTOR_OF = sql.SQL("SELECT vector FROM {table} WHERE id = {id}")


@dataclass(frozen=True)
class ShortSearch:
    """A namespace whose search returned `found` memories, where `expected` (at most ASKED) are there to be found."""

    namespace: str
    found: int
    expected: int


def short_searches(connection: Connection, collection: str, vector_schema: str, most: int) -> list[ShortSearch]:
    """Search the `most` smallest namespaces, for a vector of their own, each as the planner wishes.

    Where the planner reads the table (as it does for vectors of more than about 500 dimensions, which lie out of line),
    a search is exact and nothing needs to be searched: then this costs a few milliseconds.
    """
    approximate = {index.name for index in read_indexes(connection, collection) if index.method not in EXACT}
    table = sql.Identifier(SCHEMA, collection)

    def search(scope: str, namespace: str, vector: sql.Composable) -> sql.Composed:
        return _SEARCH.format(
            table=table,
            scope=sql.Literal(scope),
            namespace=sql.Literal(namespace),
            schema=sql.Identifier(vector_schema),
            vector=vector,
            asked=sql.Literal(ASKED),
        )

    if not approximate:
        return []
    if not approximate & _plan(connection, search(SCOPE_KEYS[0], "any", _ANY_VECTOR.format(table=table))):
        return []
    namespaces = _NAMESPACES.format(
        scope=sql.SQL(_SCOPE), namespace=sql.SQL(NAMESPACE_SQL), table=table, most=sql.Literal(most)
    )
    short = []
    for row in connection.execute(namespaces).fetchall():
        own = _VECTOR_OF.format(table=table, id=sql.Literal(row["id"]))
        found = len(connection.execute(search(row["scope"], row["namespace"], own)).fetchall())
        expected = min(ASKED, row["memories"])
        if found < expected:
            short.append(ShortSearch(row["namespace"], found, expected))
    return short


def _plan(connection: Connection, query: sql.Composed) -> set[str]:
    """The names of the indexes by which this query would be answered."""
    row = connection.execute(sql.SQL("EXPLAIN (FORMAT JSON) ") + query).fetchone()
    assert row is not None
    return set(_index_names(row["QUERY PLAN"][0]["Plan"]))


def _index_names(node: dict[str, Any]) -> Iterator[str]:
    if "Index Name" in node:
        yield node["Index Name"]
    for inner in node.get("Plans", []):
        yield from _index_names(inner)
