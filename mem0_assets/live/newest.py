"""When the newest memory was made: what a person asks first of two copies of the same memories."""

from datetime import datetime

import psycopg
from psycopg import sql

from mem0_assets.live.postgres import SCHEMA, Connection

# mem0's own times, of every version. Before PostgreSQL 16 nothing says beforehand whether a text can be cast.
_LOOKS_LIKE_A_TIME = r"~ '^\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])[T ]([01]\d|2[0-3]):[0-5]\d:[0-5]\d'"
_NEWEST = """
    SELECT max(made_at) AS newest FROM (
        SELECT CASE WHEN {readable} THEN (payload->>'created_at')::timestamptz END AS made_at FROM {table}
    ) AS times WHERE made_at BETWEEN '0001-01-02' AND now() + interval '1 day'
"""


def newest_memory(connection: Connection, collection: str) -> datetime | None:
    """The latest `created_at` of a collection, in the caller's snapshot; None where no memory has one that is a time.

    Those that cannot be read are passed over, and those of the future too: a wrong clock made them.
    """
    valid = "pg_input_is_valid(payload->>'created_at', 'timestamptz')"
    readable = valid if connection.info.server_version >= 160000 else f"payload->>'created_at' {_LOOKS_LIKE_A_TIME}"
    query = sql.SQL(_NEWEST).format(readable=sql.SQL(readable), table=sql.Identifier(SCHEMA, collection))
    try:
        with connection.transaction():
            row = connection.execute(query).fetchone()
    except psycopg.DataError:  # the 31st of February, before PostgreSQL 16
        return None
    return row["newest"] if row else None
