"""The tables of a database whose rows pg_dump dumps, and how many rows each holds."""

from psycopg import sql

from mem0_assets.live.postgres import SCHEMA, Connection

Table = tuple[str, str]


def user_tables(connection: Connection) -> list[Table]:
    """Every (schema, name) that pg_dump dumps the rows of: ordinary tables, not a system's, not an extension's own."""
    rows = connection.execute(
        """
        SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE c.relkind = 'r' AND c.relpersistence <> 't'
           AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname NOT LIKE 'pg_toast%'
           AND NOT EXISTS (SELECT 1 FROM pg_depend d
                            WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
         ORDER BY 1, 2
        """
    ).fetchall()
    return [(row["nspname"], row["relname"]) for row in rows]


def count_tables(connection: Connection) -> dict[str, int]:
    """The rows of every user table, by `plain_name`. Exact only inside a `snapshot`."""
    return {plain_name(table): _count(connection, table) for table in user_tables(connection)}


def plain_name(table: Table) -> str:
    """`memories` for a table of `public`, `schema.table` for another."""
    schema, name = table
    return name if schema == SCHEMA else f"{schema}.{name}"


def _count(connection: Connection, table: Table) -> int:
    # ONLY: the rows of a table that inherits from this one are dumped, and counted, with that one.
    query = sql.SQL("SELECT count(*) AS rows FROM ONLY {}").format(sql.Identifier(*table))
    row = connection.execute(query).fetchone()
    assert row is not None
    return int(row["rows"])
