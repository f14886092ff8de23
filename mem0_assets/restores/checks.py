"""What a restored database must be: exactly what the manifest says, with vectors that can be searched.

Each check reads the scratch server and gives a verdict; none tolerates a difference, because the manifest and the dump
are the same instant.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from psycopg import sql

from mem0_assets.backups.manifest import Application, Index
from mem0_assets.backups.stores import application_state
from mem0_assets.live.census import Census
from mem0_assets.live.postgres import SCHEMA, Connection
from mem0_assets.live.tables import count_tables
from mem0_assets.verdicts import OK, Reason, Verdict, refused

# The distance of a vector to itself, in single precision, is not quite 0.
SAME = 1e-5
SEARCHES = 3


@dataclass(frozen=True)
class Expected:
    """What a backup claims. None where nothing vouches for it (a folder made before this project)."""

    collection: str
    total: int
    namespaces: Mapping[str, int]
    dimensions: int | None
    tables: Mapping[str, int] | None
    indexes: tuple[Index, ...] | None


def compare_counts(expected: Expected, found: Census) -> Verdict:
    """`count_mismatch` for every namespace whose number is not exactly the claimed one, `dimensions_changed` likewise."""
    reasons = [
        Reason("count_mismatch", f"the namespace {name} holds {found.namespaces.get(name, 0)} memories, not {count}")
        for name, count in expected.namespaces.items()
        if found.namespaces.get(name, 0) != count
    ]
    reasons += [
        Reason(
            "count_mismatch", f"the namespace {name} holds {found.namespaces[name]} memories and was not in the backup"
        )
        for name in found.namespaces.keys() - expected.namespaces.keys()
    ]
    if expected.dimensions != found.identity.dimensions:
        text = f"the vectors have {found.identity.dimensions} dimensions, not {expected.dimensions}"
        reasons.append(Reason("dimensions_changed", text))
    return Verdict(tuple(reasons))


def check_tables(connection: Connection, expected: Expected) -> Verdict:
    """`count_mismatch` for every table of the database whose rows are not exactly the claimed ones."""
    if expected.tables is None:
        return OK
    return _compare_tables("the table", expected.tables, count_tables(connection))


def check_application(connection: Connection, claimed: Application) -> Verdict:
    """The same for the application's database; `wrong_content` where it is of another revision than the backup claims."""
    found = application_state(claimed.database, connection)
    verdict = _compare_tables("the application's table", claimed.tables, found.tables)
    if claimed.revision != found.revision:
        text = f"the application's database is of revision {found.revision}, not {claimed.revision}"
        verdict += refused("wrong_content", text)
    return verdict


def _compare_tables(what: str, claimed: Mapping[str, int], found: Mapping[str, int]) -> Verdict:
    return Verdict(
        tuple(
            Reason(
                "count_mismatch", f"{what} {name} holds {found.get(name, 'no')} rows, not {claimed.get(name, 'any')}"
            )
            for name in sorted(claimed.keys() | found.keys())
            if claimed.get(name) != found.get(name)
        )
    )


def check_contents(connection: Connection, collection: str) -> Verdict:
    """`hash_mismatch`, `null_vectors`, `zero_vectors`: mem0's hash is the md5 of the text, and every text has a vector."""
    query = sql.SQL(
        """
        SELECT count(*) FILTER (WHERE payload->>'hash' <> md5(payload->>'data')) AS hash_mismatch,
               count(*) FILTER (WHERE vector IS NULL) AS null_vectors,
               count(*) FILTER (WHERE vector_norm(vector) = 0) AS zero_vectors
          FROM {}
        """
    )
    row = connection.execute(query.format(sql.Identifier(SCHEMA, collection))).fetchone()
    assert row is not None
    meaning = {
        "hash_mismatch": "memories whose text is not the one that was hashed",
        "null_vectors": "memories without a vector: no search finds them",
        "zero_vectors": "memories whose vector is all zeros: no search finds them",
    }
    return Verdict(tuple(Reason(code, f"{row[code]} {meaning[code]}") for code in meaning if row[code]))  # type: ignore[arg-type]


def check_indexes(connection: Connection, expected: Expected) -> Verdict:
    """`index_missing` and `index_invalid`: every index of the live collection is there, of its kind, valid and ready."""
    rows = connection.execute(
        """
        SELECT i.relname AS name, m.amname AS method, x.indisvalid AND x.indisready AS good
          FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_am m ON m.oid = i.relam
          JOIN pg_class c ON c.oid = x.indrelid JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE n.nspname = %s AND c.relname = %s
        """,
        (SCHEMA, expected.collection),
    ).fetchall()
    found = {(row["name"], row["method"]) for row in rows}
    missing = [index for index in expected.indexes or () if (index.name, index.method) not in found]
    reasons = [Reason("index_missing", f"the {index.method} index {index.name} is missing") for index in missing]
    reasons += [Reason("index_invalid", f"the index {row['name']} is not valid") for row in rows if not row["good"]]
    return Verdict(tuple(reasons))


def check_search(connection: Connection, collection: str) -> Verdict:
    """`search_failed` where an exact nearest-neighbour search for a stored vector does not find that very vector.

    Exact on purpose: HNSW is approximate, and a healthy index misses some.
    """
    table = sql.Identifier(SCHEMA, collection)
    picked = sql.SQL("SELECT id FROM {} WHERE vector IS NOT NULL ORDER BY id LIMIT {}")
    search = sql.SQL(
        "SELECT vector <=> (SELECT vector FROM {0} WHERE id = {1}) AS distance FROM {0} ORDER BY 1 NULLS LAST LIMIT 1"
    )
    with connection.transaction():
        connection.execute("SET LOCAL enable_indexscan = off")
        for row in connection.execute(picked.format(table, sql.Literal(SEARCHES))).fetchall():
            nearest = connection.execute(search.format(table, sql.Literal(row["id"]))).fetchone()
            if nearest is None or nearest["distance"] is None or not nearest["distance"] <= SAME:
                return refused("search_failed", f"a search for the vector of {row['id']} does not find it")
    return OK
