"""Every byte of a deployment's memories, to be compared before a loss and after a restore."""

from typing import Any

import psycopg

from mem0_assets.fleet import Deployment, Postgres
from mem0_assets.live.postgres import connection_settings


def fingerprint(deployment: Deployment, *, database: str | None = None) -> dict[str, str]:
    """An md5 over id, payload and vector of each namespace; of the application's users too, where there is one."""
    rows = query(
        deployment,
        """
        SELECT coalesce(payload->>'user_id', '-') AS name,
               md5(string_agg(id::text || payload::text || vector::text, '|' ORDER BY id)) AS content
          FROM memories GROUP BY 1 ORDER BY 1
        """,
        database=database,
    )
    found = {row["name"]: row["content"] for row in rows}
    if deployment.application and database is None:
        users = query(deployment, "SELECT md5(string_agg(u::text, '|')) AS c FROM users u", on=deployment.application)
        found["(users)"] = users[0]["c"]
    return found


def query(
    deployment: Deployment, text: str, *, database: str | None = None, on: Postgres | None = None
) -> list[dict[str, Any]]:
    """The rows of a query in the deployment's database, or in another one of its server."""
    settings = connection_settings(on or deployment.postgres) | ({"dbname": database} if database else {})
    with psycopg.connect(**settings, autocommit=True, row_factory=psycopg.rows.dict_row) as connection:
        return connection.execute(text).fetchall()


def databases_like(deployment: Deployment) -> list[str]:
    """The deployment's databases on its server, those that lie beside included."""
    stem = deployment.postgres.database
    rows = query(deployment, "SELECT datname::text AS name FROM pg_database ORDER BY 1", database="postgres")
    return [row["name"] for row in rows if row["name"].startswith(stem)]
