"""Whether a database is truly empty: looked at directly, for a restore that nobody will be asked about.

A count of zero is enough for an alarm. To put a backup in place without a person it is not: a memory may lie in another
collection, in a transaction that is still open, or under a server that is writing right now.
"""

from dataclasses import dataclass

from psycopg import sql

from mem0_assets.fleet import Postgres
from mem0_assets.live.census import collections
from mem0_assets.live.postgres import SCHEMA, Connection, connect

EMPTINESS_SECONDS = 5.0

# A session that this role may not see into has no state: it may write, for all we know. What idles does not write.
_BUSY = """
    SELECT (SELECT count(*) FROM pg_stat_activity
             WHERE datname = current_database() AND pid <> pg_backend_pid()
               AND coalesce(backend_type, 'client backend') = 'client backend'
               AND coalesce(application_name, '') <> 'mem0-assets'
               AND state IS DISTINCT FROM 'idle')
         + (SELECT count(*) FROM pg_prepared_xacts WHERE database = current_database()) AS busy
"""
# Which database this is, and how often a row has been written to the table: also one that was taken out again.
_STATE = """
    SELECT d.oid AS database, c.oid AS table, pg_stat_get_tuples_inserted(c.oid) AS written
      FROM pg_database d
      LEFT JOIN pg_class c ON c.relname = %s AND c.relnamespace = to_regnamespace(%s)
     WHERE d.datname = current_database()
"""


@dataclass(frozen=True)
class Emptiness:
    """What one look saw. `holds` names a table with memories in it; None where there is none at all.

    `busy` is how many other sessions are at work, or may be. `state` is the same as long as nothing has happened.
    """

    holds: str | None
    busy: int
    state: str


def look_for_memories(postgres: Postgres) -> Emptiness:
    """One look. Raises UnreachableError where the database, or one of its tables, cannot be read: then nothing is known."""
    with connect(postgres, seconds=EMPTINESS_SECONDS) as connection:
        busy = connection.execute(_BUSY).fetchone()
        state = connection.execute(_STATE, [postgres.collection, SCHEMA]).fetchone()
        assert busy is not None
        assert state is not None
        tables = dict.fromkeys([*([postgres.collection] if state["table"] else []), *collections(connection)])
        holds = next((table for table in tables if _has_rows(connection, table)), None)
    return Emptiness(holds, busy["busy"], f"{state['database']}/{state['table']}/{state['written']}")


def _has_rows(connection: Connection, table: str) -> bool:
    query = sql.SQL("SELECT EXISTS (SELECT FROM {}) AS found").format(sql.Identifier(SCHEMA, table))
    row = connection.execute(query).fetchone()
    return bool(row and row["found"])
