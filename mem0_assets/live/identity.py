"""Which database this is. A name, a port and a green health check do not tell; these numbers do.

In the incident the same container name answered on the same port with a new cluster behind it. Its system identifier
had changed, and nobody looked.
"""

from dataclasses import asdict, dataclass
from typing import Any

from psycopg import sql

from mem0_assets.live.postgres import SCHEMA, Connection

# A change of these means other data, or data that the embedder can no longer query. A new version does not.
LASTING = {
    "system_identifier": "the cluster",
    "database": "the database's name",
    "database_oid": "the database",
    "table_oid": "the table",
}

_MAY_ASK = "SELECT has_function_privilege('pg_control_system()', 'EXECUTE') AS granted"
_SYSTEM_IDENTIFIER = sql.SQL("(SELECT system_identifier::text FROM pg_control_system())")
_QUERY = sql.SQL(
    """
    SELECT {system_identifier} AS system_identifier,
           current_database() AS database,
           (SELECT oid::bigint FROM pg_database WHERE datname = current_database()) AS database_oid,
           c.oid::bigint AS table_oid,
           (SELECT nullif(a.atttypmod, -1) FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
             WHERE a.attrelid = c.oid AND a.attname = 'vector' AND t.typname IN ('vector', 'halfvec')) AS dimensions,
           current_setting('server_version') AS server_version,
           (SELECT extversion FROM pg_extension WHERE extname = 'vector') AS pgvector_version
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE n.nspname = {schema} AND c.relname = {collection}
    """
)


@dataclass(frozen=True)
class Identity:
    """What makes this database this database. None where it could not be learnt (a managed server, an old dump)."""

    system_identifier: str | None
    database: str | None
    database_oid: int | None
    table_oid: int | None
    dimensions: int | None
    server_version: str | None
    pgvector_version: str | None

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "Identity":
        return cls(**{name: content.get(name) for name in cls.__dataclass_fields__})

    def changes_from(self, other: "Identity") -> list[str]:
        """What differs from `other`, as phrases with the old and the new value; what is unknown differs from nothing."""
        return [
            f"{meaning} changed from {old} to {new}"
            for name, meaning in LASTING.items()
            if (old := getattr(other, name)) is not None and (new := getattr(self, name)) is not None and old != new
        ]


def read_identity(connection: Connection, collection: str) -> Identity:
    """The identity of the collection's database and table. The table must exist (hold it in a `snapshot`)."""
    # Asked first: naming the function at all is refused without the right, even where it would not be called.
    may_ask = connection.execute(_MAY_ASK).fetchone() == {"granted": True}
    query = _QUERY.format(
        system_identifier=_SYSTEM_IDENTIFIER if may_ask else sql.NULL,
        schema=sql.Literal(SCHEMA),
        collection=sql.Literal(collection),
    )
    row = connection.execute(query).fetchone()
    assert row is not None
    return Identity(**row)
