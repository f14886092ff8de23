"""What a restored database must be: exactly what the manifest says, with vectors that can be searched.

Each check reads the scratch server and gives a verdict; none tolerates a difference, because the manifest and the dump
are the same instant.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from psycopg import sql

from mem0_assets.backups.content_rules import judge_semantics
from mem0_assets.backups.manifest import Application
from mem0_assets.backups.stores import application_state
from mem0_assets.live.census import Census
from mem0_assets.live.indexes import Index, read_indexes
from mem0_assets.live.postgres import SCHEMA, Connection
from mem0_assets.live.semantics import EVERY_ROW, Semantics, read_semantics
from mem0_assets.live.tables import count_tables
from mem0_assets.verdicts import OK, Reason, ReasonCode, Verdict, refused

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


# What fails a drill where it was not so before: the restore, or the dump, has changed a row. Where the backup's own look
# saw it in the live database, it is told with the backup every night, and is no reason to doubt the backup: mem0 up to
# 0.1.26 kept the old hash of every memory that it updated, and a drill that is red for ever is looked at by nobody.
_DAMAGE: dict[str, ReasonCode] = {
    "hashes_match": "hash_mismatch",
    "vectors_present": "null_vectors",
    "vectors_not_zero": "zero_vectors",
}


def check_contents(
    connection: Connection, census: Census, claimed: Semantics | None = None
) -> tuple[Verdict, list[str]]:
    """`hash_mismatch`, `null_vectors`, `zero_vectors` beyond what the backup `claimed`; what else is odd, as sentences.

    Every row is looked at, unlike in a backup.
    """
    seen = read_semantics(connection, census, EVERY_ROW)
    reasons, odd = [], []
    for finding in judge_semantics(seen, None):
        code = _DAMAGE.get(finding.check)
        if code and not finding.ok and not _was_so(code, seen, claimed):
            reasons.append(Reason(code, finding.sentence.rstrip(".")))
        elif not finding.ok:
            odd.append(finding.sentence)
    return Verdict(tuple(reasons)), odd


def _was_so(rule: str, seen: Semantics, claimed: Semantics | None) -> bool:
    """Whether as many rows broke the rule when the backup was made, or (where it looked at a part) may have."""
    if claimed is None or rule not in claimed.found:
        return False
    if rule == "zero_vectors" and claimed.vectors + claimed.found["null_vectors"].rows < claimed.rows:
        return True
    if rule == "hash_mismatch" and claimed.texts < claimed.rows:
        return True
    return seen.found[rule].rows <= claimed.found[rule].rows


def check_indexes(connection: Connection, expected: Expected) -> Verdict:
    """`index_missing` and `index_invalid`: every index that was valid is there, of its kind, and valid.

    pg_dump leaves out those that were not.
    """
    found = read_indexes(connection, expected.collection)
    there = {(index.name, index.method) for index in found}
    missing = [one for one in expected.indexes or () if one.valid and (one.name, one.method) not in there]
    reasons = [Reason("index_missing", f"the {index.method} index {index.name} is missing") for index in missing]
    reasons += [Reason("index_invalid", f"the index {index.name} is not valid") for index in found if not index.valid]
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
