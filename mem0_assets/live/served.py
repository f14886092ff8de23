"""Whether mem0's server gives back single memories by their ids: what no count, and no page that answers, can prove."""

import os
from collections.abc import Mapping

from psycopg import sql

from mem0_assets.errors import UnreachableError
from mem0_assets.fleet import HealthSettings, Postgres
from mem0_assets.live.endpoints import ask
from mem0_assets.live.namespaces import NAMESPACE_SQL
from mem0_assets.live.postgres import SCHEMA, connect, snapshot

SECONDS = 10.0
MOST = 50


def one_of_each(postgres: Postgres) -> dict[str, str]:
    """The id of one memory of each namespace, of the 50 largest. Raises UnreachableError, TableMissingError."""
    query = sql.SQL(
        "SELECT {namespace} AS namespace, min(id::text) AS id FROM {table} GROUP BY 1 ORDER BY count(*) DESC"
    )
    table = sql.Identifier(SCHEMA, postgres.collection)
    with connect(postgres, seconds=SECONDS) as connection, snapshot(connection, [(SCHEMA, postgres.collection)]):
        rows = connection.execute(query.format(namespace=sql.SQL(NAMESPACE_SQL), table=table)).fetchmany(MOST)
    return {row["namespace"]: row["id"] for row in rows}


def not_served(settings: HealthSettings, ids: Mapping[str, str]) -> list[str]:
    """The namespaces whose memory the server does not give back. An unknown id is answered with 200 and nothing.

    Raises UnreachableError where it does not answer, or lets nobody in.
    """
    key = settings.admin_key()
    headers = {"X-API-Key": os.fsencode(key)} if key else None
    missing = []
    for namespace, memory in ids.items():
        answer = ask(f"{settings.server_url}/memories/{memory}", headers=headers)
        if answer.status in (401, 403):
            step = "Check health.admin_key_env" if key else "Name its key: health.admin_key_env"
            raise UnreachableError("mem0's server asks for a key before it gives back a memory", next_step=step)
        if answer.status != 200 or answer.get("id") != memory:
            missing.append(namespace)
    return missing
