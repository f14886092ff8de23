"""The application's database of the demo: mem0's own second database, with one user and one API key.

The layout is that of mem0's server of August 2026 (alembic revision 006), as far as what is kept in it matters here. The
hashes are of nothing: nobody can log in with them.
"""

from mem0_assets.live.postgres import Connection

DATABASE = "mem0_app"
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
"""
_ROWS = f"""
    INSERT INTO alembic_version VALUES ('{REVISION}');
    INSERT INTO users (email, name, password_hash) VALUES ('mark@example.org', 'Mark', '$2b$12$demo.of.no.use.at.all');
    INSERT INTO api_keys (user_id, name, key_prefix, key_hash)
        SELECT id, 'assistant', 'm0sk_demo', '$2b$12$demo.of.no.use.either' FROM users;
    INSERT INTO request_logs (method, path, status_code, latency_ms, auth_type)
        SELECT 'POST', '/search', 200, 40 + n, 'api_key' FROM generate_series(1, 25) n;
    INSERT INTO settings (key, value) VALUES ('config_overrides', '{{"embedder": {{"model": "text-embedding-3-small"}}}}');
"""


def create_application(connection: Connection) -> None:
    """Make the tables and their rows in the empty database of `connection`."""
    connection.execute(_TABLES)
    connection.execute(_ROWS)
