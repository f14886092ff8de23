"""What is wrong inside the rows, and no count of rows shows: one look at a collection, by SQL, in the caller's snapshot.

mem0 has stored memories without their metadata (update() before 2.0.7), with vectors of another embedder, without
a hash's text; every count stayed green. Only ids leave the database, never a memory's text.

It must not harm, nor cost a backup: at 100,000 rows of 1,536 dimensions it takes some 0.3 s, because the vectors (6 kB a
row) are read of 5,000 rows only. A part that takes too long or meets a table of another shape is given up and named in
`unknown`. Nothing is written: no function, no temporary table.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

import psycopg
from psycopg import sql

from mem0_assets.live.census import Census
from mem0_assets.live.namespaces import NAMESPACE_SQL, SCOPE_KEYS
from mem0_assets.live.postgres import SCHEMA, Connection
from mem0_assets.live.searches import short_searches

EXAMPLES = 10
MOST_KEYS = 200
# The length of a vector of OpenAI's is 1; in half precision it is that to three digits.
UNIT = 0.01


@dataclass(frozen=True)
class Found:
    """How many rows break a rule, and examples of them: at most EXAMPLES ids, the smallest."""

    rows: int
    examples: tuple[str, ...] = ()


@dataclass(frozen=True)
class Semantics:
    """What one look saw. `found` has every rule that was looked at, also where no row breaks it.

    `rows` in all, `texts` whose payloads and `vectors` whose vectors were read. `keys` maps a payload's key to the rows
    that have it. `links` are those of mem0's entities to memories; `orphaned_links` counts links and names entities, and
    `short_searches` counts and names namespaces. `unknown` maps a part that could not be looked at to why.
    """

    rows: int
    texts: int
    vectors: int
    found: Mapping[str, Found]
    keys: Mapping[str, int]
    links: int
    unknown: Mapping[str, str]
    seconds: float


@dataclass(frozen=True)
class Bounds:
    """How many rows may be read (None: all), how many namespaces searched, and how many seconds it may take in all."""

    texts: int | None
    vectors: int | None
    searches: int
    seconds: float


# Where one vector in a thousand is damaged, 5,000 show it with a chance of 99 in 100.
NIGHTLY = Bounds(texts=1_000_000, vectors=5_000, searches=20, seconds=15.0)
EVERY_ROW = Bounds(texts=None, vectors=None, searches=0, seconds=3000.0)


class Kind(NamedTuple):
    """A column's type, and the schema that it (and, for pgvector's, its functions and operators) is in."""

    schema: str
    name: str


@dataclass
class _Look:
    """A look on its way: what is looked at, and what has been seen so far."""

    connection: Connection
    census: Census
    bounds: Bounds
    texts: int = 0
    vectors: int = 0
    found: dict[str, Found] = field(default_factory=dict)
    keys: dict[str, int] = field(default_factory=dict)
    links: int = 0

    @property
    def table(self) -> sql.Identifier:
        return sql.Identifier(SCHEMA, self.census.collection)

    def sample(self, most: int | None) -> sql.Composable:
        """The table, or about `most` of its rows: whole pages, the same ones every night, and a share of the new ones."""
        if most is None or self.census.total <= most:
            return self.table
        percent = sql.Literal(round(100 * most / self.census.total, 4))
        return sql.SQL("{} TABLESAMPLE SYSTEM ({}) REPEATABLE (2026)").format(self.table, percent)


# Reads one part into the look, or says why it cannot be read.
Read = Callable[[_Look], str | None]


def read_semantics(connection: Connection, census: Census, bounds: Bounds = NIGHTLY) -> Semantics:
    """One look inside the caller's `snapshot`, whose census this is. Raises only what a lost connection raises."""
    started = time.monotonic()
    look = _Look(connection, census, bounds)
    unknown = {}
    for part, read in _PARTS.items():
        left = bounds.seconds - (time.monotonic() - started)
        why = _try(look, read, left) if left > 0 else _too_long(bounds)
        if why:
            unknown[part] = why
    return Semantics(
        rows=census.total,
        texts=look.texts,
        vectors=look.vectors,
        found=look.found,
        keys=look.keys,
        links=look.links,
        unknown=unknown,
        seconds=round(time.monotonic() - started, 3),
    )


def unseen(census: Census, why: str) -> Semantics:
    """What is known of the rows where nobody could look at them."""
    nothing = dict.fromkeys(_PARTS, why)
    return Semantics(rows=census.total, texts=0, vectors=0, found={}, keys={}, links=0, unknown=nothing, seconds=0.0)


def _try(look: _Look, read: Read, seconds: float) -> str | None:
    """Read one part; why it was given up, or None."""
    try:
        with bounded(look.connection, seconds, look.bounds):
            return read(look)
    except GivenUpError as error:
        return str(error)


class GivenUpError(Exception):
    """A look that took too long, or met a table of another shape: why, in words that hold no memory's text."""


@contextmanager
def bounded(connection: Connection, seconds: float, bounds: Bounds) -> Iterator[None]:
    """A savepoint that is always rolled back, with all that was set in it; its statements have so many seconds left of
    `bounds`. Raises GivenUpError, and what a lost connection raises.

    The database's own words may hold a memory's, so only the error's name is kept.
    """
    settings = {"statement_timeout": f"{max(1, int(1000 * seconds))}ms", "jit": "off", "work_mem": "64MB"}
    try:
        with connection.transaction(force_rollback=True):
            for name, value in settings.items():
                connection.execute("SELECT set_config(%s, %s, true)", (name, value))
            yield
    except psycopg.errors.QueryCanceled:
        raise GivenUpError(_too_long(bounds)) from None
    except psycopg.Error as error:
        if error.sqlstate is None or connection.broken:  # nothing more will be seen over this connection
            raise
        raise GivenUpError(f"PostgreSQL could not read it ({type(error).__name__})") from None


def _too_long(bounds: Bounds) -> str:
    return f"it took longer than {bounds.seconds:g} s"


# The payloads


def _texts(look: _Look) -> None:
    # OFFSET 0 keeps the subquery: else each rule on times would parse them again.
    source = sql.SQL("(SELECT id, payload, {} AS written FROM {} OFFSET 0) AS texts").format(
        sql.SQL(_written(look.connection)), look.sample(look.bounds.texts)
    )
    look.texts, found = _count(look, source, _text_rules(look.connection))
    look.found |= found


def _text_rules(connection: Connection) -> dict[str, str]:
    scopes = ", ".join(f"nullif(payload->>'{key}', '')" for key in SCOPE_KEYS)
    # mem0 hashes UTF-8. A database in SQL_ASCII holds the very bytes that came.
    as_is = connection.info.parameter_status("server_encoding") in ("UTF8", "SQL_ASCII")
    text = "payload->>'data'" if as_is else "convert_to(payload->>'data', 'UTF8')"
    return {
        "hash_mismatch": f"payload->>'hash' <> md5({text})",
        "empty_texts": r"coalesce(payload->>'data', '') !~ '\S'",
        "no_scope": f"coalesce({scopes}) IS NULL",
        "unreadable_times": "written = 'unreadable'",
        "future_times": "written = 'future'",
    }


# What mem0 writes, and dates without a time or an offset. 31 February passes.
_ISO = (
    r"'^\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])"
    r"([T ]([01]\d|2[0-4]):[0-5]\d(:[0-5]\d(\.\d+)?)? ?(Z|[+-]\d\d(:?\d\d)?)?)?$'"
)


def _written(connection: Connection) -> str:
    """SQL for what is wrong with when a memory says it was written: `unreadable`, `future` or NULL.

    Of memories that were never updated both times are the same text, and one is looked at.
    """
    state = _time_state_16 if connection.info.server_version >= 160000 else _time_state_13
    created, updated = "payload->>'created_at'", "payload->>'updated_at'"
    return f"coalesce({state(created)}, CASE WHEN {updated} IS DISTINCT FROM {created} THEN {state(updated)} END)"


def _time_state_16(value: str) -> str:
    """A day ahead is the future: a time without its offset is off by half a day."""
    castable = f"pg_input_is_valid({value}, 'timestamptz')"
    future = f"({value})::timestamptz > (SELECT now() + interval '1 day')"
    return f"CASE {castable} WHEN true THEN CASE WHEN {future} THEN 'future' END WHEN false THEN 'unreadable' END"


def _time_state_13(value: str) -> str:
    """Before PostgreSQL 16 nothing says whether a text can be cast, and a cast that fails ends the transaction.

    So a time must look like ISO 8601, and it is in the future where its date is: mem0's offsets (-08:00 to +00:00) move
    it by a day at the most.
    """
    future = f"""left({value}, 10) > (SELECT to_char(now() + interval '1 day', 'YYYY-MM-DD')) COLLATE "C\""""
    return f"CASE {value} ~ {_ISO} WHEN true THEN CASE WHEN {future} THEN 'future' END WHEN false THEN 'unreadable' END"


_SAME_TEXT = "hashtextextended(payload->>'data', hashtextextended({}, 0))"


def _duplicates(look: _Look) -> None:
    """Memories whose namespace holds the very same text once more. Texts are compared by a hash of 64 bits."""
    same = sql.SQL(_SAME_TEXT).format(sql.SQL(NAMESPACE_SQL))
    source = look.sample(look.bounds.texts)
    counted = sql.SQL(
        "SELECT coalesce(sum(n - 1), 0)::bigint AS rows FROM (SELECT count(*) AS n FROM {} "
        "WHERE payload->>'data' IS NOT NULL GROUP BY {}) AS texts"
    )
    row = look.connection.execute(counted.format(source, same)).fetchone()
    assert row is not None
    examples: tuple[str, ...] = ()
    if row["rows"]:
        first = sql.SQL(
            "SELECT min(id::text) AS id FROM {} WHERE payload->>'data' IS NOT NULL GROUP BY {} HAVING count(*) > 1 "
            "ORDER BY count(*) DESC, 1 LIMIT {}"
        ).format(source, same, sql.Literal(EXAMPLES))
        examples = tuple(found["id"] for found in look.connection.execute(first).fetchall())
    look.found["duplicates"] = Found(row["rows"], examples)


def _keys(look: _Look) -> None:
    """The MOST_KEYS most frequent ones: metadata may have keys without number."""
    kind = _columns(look.connection, look.census.collection)["payload"].name
    query = sql.SQL(
        """
        SELECT key, count(*) AS rows
          FROM (SELECT {keys}(CASE WHEN {typeof}(payload) = 'object' THEN payload ELSE '{{}}' END) AS key
                  FROM {source}) AS keys
         GROUP BY key ORDER BY 2 DESC, 1 LIMIT {most}
        """
    ).format(
        keys=sql.Identifier(f"{kind}_object_keys"),
        typeof=sql.Identifier(f"{kind}_typeof"),
        source=look.sample(look.bounds.texts),
        most=sql.Literal(MOST_KEYS),
    )
    look.keys |= {row["key"]: row["rows"] for row in look.connection.execute(query).fetchall()}


# The vectors

_NORMS = {"vector": "vector_norm", "halfvec": "l2_norm"}


def _missing_vectors(look: _Look) -> None:
    """All rows: whether a column is NULL is known without reading what is in it."""
    look.found |= _count(look, look.table, {"null_vectors": "vector IS NULL"})[1]


def _vectors(look: _Look) -> str | None:
    kind = _columns(look.connection, look.census.collection)["vector"]
    if kind.name not in _NORMS:
        return f"their type is {kind.name}, and of that no length is known"
    # OFFSET 0 keeps the subquery: else each rule would fetch the vector again.
    read = sql.SQL(
        "(SELECT id, {dimensions}(vector) AS dimensions, {norm}(vector) AS norm FROM {source} "
        "WHERE vector IS NOT NULL OFFSET 0) AS read"
    ).format(
        dimensions=sql.Identifier(kind.schema, "vector_dims"),
        norm=sql.Identifier(kind.schema, _NORMS[kind.name]),
        source=look.sample(look.bounds.vectors),
    )
    usual = look.census.identity.dimensions or _usual_dimensions(look.connection, read)
    rules = {
        "zero_vectors": "norm = 0",
        "non_unit_vectors": f"norm <> 0 AND abs(norm - 1) > {UNIT}",
        "other_dimensions": f"dimensions <> {usual}",
    }
    look.vectors, found = _count(look, read, rules)
    look.found |= found
    return None


def _usual_dimensions(connection: Connection, read: sql.Composable) -> int:
    """Of a column that takes vectors of any length."""
    query = sql.SQL("SELECT mode() WITHIN GROUP (ORDER BY dimensions) AS usual FROM {}").format(read)
    row = connection.execute(query).fetchone()
    return row["usual"] if row and row["usual"] is not None else 0


def _searches(look: _Look) -> None:
    if not look.bounds.searches:
        return
    schema = _columns(look.connection, look.census.collection)["vector"].schema
    short = short_searches(look.connection, look.census.collection, schema, look.bounds.searches)
    examples = tuple(f"{one.namespace}: {one.found} of {one.expected}" for one in short[:EXAMPLES])
    look.found["short_searches"] = Found(len(short), examples)


# mem0's entities


def _entity_links(look: _Look) -> None:
    """Links from `<collection>_entities` to memories. mem0 makes that table late, or (without spaCy) never."""
    entities = f"{look.census.collection}_entities"
    if _columns(look.connection, entities).get("payload", Kind("", "")).name != "jsonb":
        return
    links = sql.SQL(
        """
        (SELECT links.id, memories.id IS NULL AS orphaned
           FROM (SELECT id, jsonb_array_elements_text(CASE jsonb_typeof(payload->'linked_memory_ids') WHEN 'array'
                            THEN payload->'linked_memory_ids' ELSE '[]' END) AS memory FROM {entities}) AS links
           LEFT JOIN {memories} AS memories ON memories.id::text = links.memory) AS links
        """
    ).format(entities=sql.Identifier(SCHEMA, entities), memories=look.table)
    look.links, found = _count(look, links, {"orphaned_links": "orphaned"})
    look.found |= found


# Counting


def _count(look: _Look, source: sql.Composable, rules: Mapping[str, str]) -> tuple[int, dict[str, Found]]:
    """The rows of `source`, and which break each rule (SQL conditions). One pass, and one more for each broken rule."""
    counts = sql.SQL(", ").join(
        sql.SQL("count(*) FILTER (WHERE {}) AS {}").format(sql.SQL(rule), sql.Identifier(name))
        for name, rule in rules.items()
    )
    row = look.connection.execute(sql.SQL("SELECT count(*) AS rows, {} FROM {}").format(counts, source)).fetchone()
    assert row is not None
    return row["rows"], {
        name: Found(row[name], _examples(look.connection, source, rule) if row[name] else ())
        for name, rule in rules.items()
    }


def _examples(connection: Connection, source: sql.Composable, rule: str) -> tuple[str, ...]:
    query = sql.SQL("SELECT DISTINCT id::text AS id FROM {} WHERE {} ORDER BY 1 LIMIT {}")
    rows = connection.execute(query.format(source, sql.SQL(rule), sql.Literal(EXAMPLES))).fetchall()
    return tuple(row["id"] for row in rows)


def _columns(connection: Connection, table: str) -> dict[str, Kind]:
    """The columns of a table of mem0's schema and their types; none where there is no such table."""
    rows = connection.execute(
        """
        SELECT a.attname AS name, n.nspname AS schema, t.typname AS type
          FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid JOIN pg_namespace n ON n.oid = t.typnamespace
         WHERE a.attrelid = to_regclass(%s) AND a.attnum > 0 AND NOT a.attisdropped
        """,
        (sql.Identifier(SCHEMA, table).as_string(connection),),
    ).fetchall()
    return {row["name"]: Kind(row["schema"], row["type"]) for row in rows}


_PARTS: dict[str, Read] = {
    "texts": _texts,
    "missing vectors": _missing_vectors,
    "vectors": _vectors,
    "metadata keys": _keys,
    "duplicates": _duplicates,
    "entity links": _entity_links,
    "searches": _searches,
}
