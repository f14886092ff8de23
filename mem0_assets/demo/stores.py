"""What else the demo's deployment consists of: the application's database, history.db, `.env` and a compose file.

The layouts are those of mem0's server of August 2026 (alembic revision 006), as far as what is kept in them matters here.
The hashes and keys are of nothing: nobody can log in with them.
"""

import sqlite3
import uuid
from contextlib import closing
from pathlib import Path

from psycopg import sql

from mem0_assets.live.postgres import SCHEMA, Connection

APPLICATION = "mem0_app"
REVISION = "006"

_TABLES = """
    CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY);
    CREATE TABLE users (
        id uuid PRIMARY KEY DEFAULT gen_random_uuid(), email varchar(320) UNIQUE NOT NULL, name varchar(255),
        password_hash varchar(255) NOT NULL, role varchar(32) NOT NULL DEFAULT 'admin',
        created_at timestamptz NOT NULL DEFAULT now());
    CREATE TABLE api_keys (
        id uuid PRIMARY KEY DEFAULT gen_random_uuid(), user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
        name varchar(255) NOT NULL, key_prefix varchar(16) NOT NULL, key_hash varchar(255) NOT NULL,
        last_used_at timestamptz, created_at timestamptz NOT NULL DEFAULT now());
    CREATE TABLE refresh_token_jtis (
        jti uuid PRIMARY KEY, user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE, expires_at timestamptz NOT NULL);
    CREATE TABLE request_logs (
        id bigserial PRIMARY KEY, method varchar(8) NOT NULL, path text NOT NULL, status_code int NOT NULL,
        latency_ms float8 NOT NULL, auth_type varchar(32), created_at timestamptz NOT NULL DEFAULT now());
    CREATE INDEX ON request_logs USING brin (created_at);
    CREATE TABLE settings (
        key varchar(255) PRIMARY KEY, value jsonb NOT NULL, updated_at timestamptz NOT NULL DEFAULT now());
    INSERT INTO alembic_version VALUES ('006');
"""
_ROWS = """
    INSERT INTO users (email, name, password_hash) VALUES ('mark@example.org', 'Mark', '$2b$12$demo.of.no.use.at.all');
    INSERT INTO api_keys (user_id, name, key_prefix, key_hash)
        SELECT id, 'assistant', 'm0sk_demo', '$2b$12$demo.of.no.use.either' FROM users;
    INSERT INTO request_logs (method, path, status_code, latency_ms, auth_type)
        SELECT 'POST', '/search', 200, 40 + n, 'api_key' FROM generate_series(1, 25) n;
    INSERT INTO settings (key, value) VALUES ('config_overrides',
        '{"embedder": {"provider": "openai", "config": {"model": "text-embedding-3-small"}}}');
"""
_HISTORY = """CREATE TABLE history (id TEXT PRIMARY KEY, memory_id TEXT, old_memory TEXT, new_memory TEXT, event TEXT,
    created_at DATETIME, updated_at DATETIME, is_deleted INTEGER, actor_id TEXT, role TEXT)"""
FILES = {
    ".env": """\
POSTGRES_DB=mem0
POSTGRES_USER=postgres
POSTGRES_PASSWORD=demo-Qm4vP7xk2Lw9
JWT_SECRET=demo-9f8a7b6c5d4e3f2a
OPENAI_API_KEY=sk-demo-000000000000000000000000000000000000000000000000
MEM0_DEFAULT_EMBEDDER_MODEL=text-embedding-3-small
""",
    "docker-compose.yaml": """\
services:
  mem0:
    environment:
      POSTGRES_HOST: postgres
      POSTGRES_PASSWORD: ${POSTGRES_PASSWORD}
    volumes: [./history:/app/history]
  postgres:
    image: pgvector/pgvector:pg17
    environment: [POSTGRES_DB=mem0, "POSTGRES_PASSWORD=${POSTGRES_PASSWORD}"]
""",
}


def create_application(connection: Connection, *, used: bool = True) -> None:
    """The tables of an application's database, as mem0 makes them in an empty one; and, once `used`, their rows."""
    connection.execute(_TABLES)
    if used:
        connection.execute(_ROWS)


def choose_embedder(connection: Connection, model: str) -> None:
    """What mem0's dashboard does when somebody chooses another model: it overrides `.env` from then on."""
    change = "UPDATE settings SET value = jsonb_set(value, '{embedder,config,model}', to_jsonb(%s::text))"
    connection.execute(change, [model])


def create_history(path: Path, connection: Connection, collection: str) -> None:
    """A history.db in which each memory of the collection was added once, as it is."""
    query = sql.SQL("SELECT id, payload->>'data' AS data, payload->>'created_at' AS at FROM {} ORDER BY 3, 1")
    memories = connection.execute(query.format(sql.Identifier(SCHEMA, collection))).fetchall()
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(_HISTORY)
        database.executemany(
            "INSERT INTO history VALUES (?, ?, NULL, ?, 'ADD', ?, ?, 0, NULL, NULL)",
            ((_id(row["id"]), str(row["id"]), row["data"], row["at"], row["at"]) for row in memories),
        )


def drop_writes(path: Path, number: int) -> None:
    """So many memories added to the history that PostgreSQL never stored."""
    with closing(sqlite3.connect(path)) as database, database:
        database.executemany(
            "INSERT INTO history SELECT ?, ?, NULL, 'a memory that was never stored', 'ADD', at, at, 0, NULL, NULL"
            " FROM (SELECT max(created_at) AS at FROM history)",
            ((str(uuid.uuid4()), str(uuid.uuid4())) for _ in range(number)),
        )


def write_files(folder: Path) -> None:
    """The files from which such a deployment is started."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in FILES.items():
        (folder / name).write_text(content)


def _id(memory: uuid.UUID) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_OID, str(memory)))
