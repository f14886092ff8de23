"""The tables of a database whose rows pg_dump dumps, how many rows each holds, and how they can be carried."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from psycopg import sql

from mem0_assets.live.postgres import SCHEMA, Connection

Table = tuple[str, str]

# Ordinary tables, not a system's, not an extension's own; but of an extension's configuration tables pg_dump dumps the
# rows that the extension says are a user's (pg_cron's jobs), and so are they counted.
_TABLES = """
    SELECT n.nspname, c.relname, c.oid, coalesce(configuration.condition, '') AS condition,
           configuration.condition IS NOT NULL AS of_extension
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
      LEFT JOIN (SELECT unnest(extconfig) AS oid, unnest(extcondition) AS condition FROM pg_extension) configuration
             ON configuration.oid = c.oid
     WHERE c.relkind = 'r' AND c.relpersistence <> 't'
       AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname NOT LIKE 'pg_toast%'
       AND (configuration.condition IS NOT NULL
            OR NOT EXISTS (SELECT 1 FROM pg_depend d
                            WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'))
     ORDER BY 1, 2
"""


def user_tables(connection: Connection) -> list[Table]:
    """Every (schema, name) that pg_dump dumps rows of."""
    return [(row["nspname"], row["relname"]) for row in connection.execute(_TABLES).fetchall()]


def count_tables(connection: Connection) -> dict[str, int]:
    """The rows of every user table, by `plain_name`. Exact only inside a `snapshot`."""
    rows = connection.execute(_TABLES).fetchall()
    return {plain_name((row["nspname"], row["relname"])): _count(connection, row) for row in rows}


def plain_name(table: Table) -> str:
    """`memories` for a table of `public`, `schema.table` for another; what could be misread for two stands in quotes.

    Without them "a"."b.c" and "a.b"."c" would share one name, and one count.
    """
    schema, name = (_quoted_where_misleading(part) for part in table)
    return name if schema == SCHEMA else f"{schema}.{name}"


def _quoted_where_misleading(name: str) -> str:
    return '"' + name.replace('"', '""') + '"' if "." in name or name.startswith('"') else name


def _count(connection: Connection, table: dict[str, Any]) -> int:
    # ONLY: the rows of a table that inherits from this one are dumped, and counted, with that one.
    query = sql.SQL("SELECT count(*) AS rows FROM ONLY {} {}")
    condition = sql.SQL(table["condition"])  # the extension's own SQL, which pg_dump appends too
    row = connection.execute(query.format(sql.Identifier(table["nspname"], table["relname"]), condition)).fetchone()
    assert row is not None
    return int(row["rows"])


@dataclass(frozen=True)
class Layout:
    """A table as a binary COPY carries it: its columns that hold data, in order, as (name, type).

    `pages` are those of the rows themselves, by which they are addressed; `bytes` counts also what is stored out of line
    (TOAST). `binary` says whether all of its types mean the same, byte for byte, in another database.
    """

    table: Table
    columns: tuple[tuple[str, str], ...]
    pages: int
    bytes: int
    binary: bool


# What COPY's binary form carries by number, and the number is another one where it is loaded: names of objects (regclass
# and its kind), and arrays, composites and ranges of types that are not PostgreSQL's own. `xml` says its encoding, and
# some types have no binary form at all. Types of extensions are their makers' business; of these pgvector's are known.
# A row's hash may be another one in another database (an enum's is its number's): partitions by hash are pg_dump's matter.
_LAYOUTS = """
    WITH RECURSIVE known (oid) AS (
        SELECT t.oid FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
         WHERE n.nspname = 'pg_catalog' AND t.oid < 16384 AND t.typtype IN ('b', 'r', 'm')
           AND t.typsend <> 0 AND t.typreceive <> 0 AND t.typname !~ '^_?(reg|xml|pg_|aclitem|cstring|refcursor)'
        UNION ALL
        SELECT t.oid FROM pg_type t JOIN pg_depend d ON d.classid = 'pg_type'::regclass AND d.objid = t.oid
          JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND e.oid = d.refobjid AND d.deptype = 'e'
         WHERE e.extname = 'vector' AND t.typname IN ('vector', 'halfvec', 'sparsevec')
        UNION ALL
        SELECT t.oid FROM pg_type t WHERE t.typtype = 'e'
    ), base (oid, is_now) AS (
        SELECT t.oid, t.oid FROM pg_type t WHERE t.typtype <> 'd'
        UNION ALL
        SELECT t.oid, b.is_now FROM pg_type t JOIN base b ON t.typbasetype = b.oid WHERE t.typtype = 'd'
    )
    SELECT c.oid, pg_relation_size(c.oid) / current_setting('block_size')::int AS pages, pg_table_size(c.oid) AS bytes,
           coalesce(bool_and(known.oid IS NOT NULL), true) AND NOT EXISTS (
               SELECT FROM pg_partition_ancestors(c.oid) AS above (oid)
                 JOIN pg_partitioned_table p ON p.partrelid = above.oid AND p.partstrat = 'h'
           ) AS known,
           coalesce(array_agg(a.attname::text ORDER BY a.attnum) FILTER (WHERE a.attname IS NOT NULL), '{}') AS names,
           coalesce(array_agg(t.typname::text ORDER BY a.attnum) FILTER (WHERE a.attname IS NOT NULL), '{}') AS types
      FROM pg_class c
      LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
      LEFT JOIN base ON base.oid = a.atttypid
      LEFT JOIN pg_type t ON t.oid = base.is_now
      LEFT JOIN known ON known.oid = base.is_now
     WHERE c.oid = ANY (%s) GROUP BY c.oid
"""


def layouts(connection: Connection) -> list[Layout]:
    """How each user table can be carried, in the order of `user_tables`. Generated columns hold no data of their own."""
    tables = connection.execute(_TABLES).fetchall()
    found = {row["oid"]: row for row in connection.execute(_LAYOUTS, ([row["oid"] for row in tables],)).fetchall()}
    return [_layout(row, found[row["oid"]]) for row in tables]


def _layout(table: dict[str, Any], found: dict[str, Any]) -> Layout:
    columns: Iterable[tuple[str, str]] = zip(found["names"], found["types"], strict=True)
    # A table without columns has no list of columns to name; one of an extension has rows that are not a user's.
    binary = found["known"] and bool(found["names"]) and not table["of_extension"]
    return Layout((table["nspname"], table["relname"]), tuple(columns), found["pages"], found["bytes"], binary)
