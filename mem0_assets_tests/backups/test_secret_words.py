"""Which names and which shapes are those of secrets, and which only look like it."""

import pytest

from mem0_assets.backups.secret_words import MASK, is_secret_name, secret_part, secret_shapes


@pytest.mark.parametrize(
    "name",
    [
        "OPENAI_API_KEY",
        "apiKey",
        "openaiApiKey",
        "POSTGRES_PASSWORD",
        "PGPASSWORD",
        "requirepass",
        "JWT_SECRET",
        "NEO4J_AUTH",
        "SENTRY_DSN",
        "DB_PASS",
        "TELEGRAM_BOT_TOKEN",
        "X-API-Key",
        "PASSWORD_2",
        "DB_PASSWORD_PROD",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "SMTP_PWD",
        "PRIVATE",
        "SESSION_COOKIE",
        "HASH_SALT",
        "SLACK_WEBHOOK_URL",
        "CREDENTIALS",
        "app.jwt_secret",
        "basicauth.users",
        "API_KEYS",
    ],
)
def test_these_names_hold_secrets(name: str) -> None:
    assert is_secret_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "AUTH_DISABLED",
        "SSL_KEY_PATH",
        "POSTGRES_PASSWORD_FILE",
        "JWT_ALGORITHM",
        "ACCESS_TOKEN_EXPIRE_MINUTES",
        "POSTGRES_HOST_AUTH_METHOD",
        "NEXTAUTH_URL",
        "POSTGRES_USER",
        "POSTGRES_DB",
        "image",
        "MEM0_DEFAULT_LLM_MODEL",
        "DASHBOARD_URL",
        "HISTORY_DB_PATH",
        "pinned",
        "_",
        "1",
    ],
)
def test_these_names_hold_none(name: str) -> None:
    assert not is_secret_name(name)


@pytest.mark.parametrize(
    ("name", "value", "secret"),
    [
        ("A_KEY", "hunter2", "hunter2"),
        ("A_KEY", "$ecret", "$ecret"),
        ("A_KEY", "pre${FIX}", "pre${FIX}"),
        ("A_KEY", "${A_KEY:-hunter2}", "hunter2"),
        ("A_KEY", "${A_KEY-${B_KEY:-hunter2}}", "hunter2"),
        ("A_KEY", "12345", "12345"),
        ("A_KEY", "${A_KEY}", None),
        ("A_KEY", "${A_KEY:?must be set}", None),
        ("A_KEY", "${A_KEY:-}", None),
        ("A_KEY", "$$POSTGRES_PASSWORD", None),
        ("A_KEY", "", None),
        ("A_KEY", "False", None),
        ("A_KEY", MASK, None),
        ("MAX_TOKENS", "128000", None),
    ],
)
def test_of_a_value_only_what_is_secret_is_taken(name: str, value: str, secret: str | None) -> None:
    part = secret_part(name, value)
    assert (part and value[slice(*part)]) == secret


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("x sk-proj-a1b2c3d4e5f6g7h8 y", "sk-proj-a1b2c3d4e5f6g7h8"),
        ("x m0sk_Ab-cd_efgh1 y", "m0sk_Ab-cd_efgh1"),
        ("x ghp_abcdefghij0123456789 y", "ghp_abcdefghij0123456789"),
        ("x xoxb-123-456-abcdef y", "xoxb-123-456-abcdef"),
        ("x 123456:ABCdefGhIJKlmNoPQRsTUVwxyZ y", "123456:ABCdefGhIJKlmNoPQRsTUVwxyZ"),
        ("x AKIAIOSFODNN7EXAMPLE y", "AKIAIOSFODNN7EXAMPLE"),
        ("x eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc-_1 y", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc-_1"),
        ("x $2b$12$abcdefgh/ij y", "$2b$12$abcdefgh/ij"),
        ("postgres://mem0:p@ss/w:rd@db:5432/x", "p@ss/w:rd"),
        ("postgres://${U:-me}:hunter2@db/x", "hunter2"),
        ("redis://:hunter2@cache", "hunter2"),
        ("postgres://u:${PW:-hunter2}@db/x", "hunter2"),
        ("psql ${DB_PASSWORD:-hunter2} y", "hunter2"),
        ("Authorization: Basic dXNlcjpwYXNz", "dXNlcjpwYXNz"),
        ("CREATE USER a WITH PASSWORD 'hunter two'", "hunter two"),
        ("cypher-shell -u neo4j -p hunter2 x", "hunter2"),
        ("curl -u neo4j:hunter2 http://x", "hunter2"),
        ("x 4f9a0c3be17d42a86655c01d9e3b77aa y", "4f9a0c3be17d42a86655c01d9e3b77aa"),
        ("-----BEGIN PRIVATE KEY-----\nab\ncd\n-----END PRIVATE KEY-----", None),
        ("-----BEGIN RSA PRIVATE KEY-----\nab\n", None),
    ],
)
def test_secrets_are_known_by_their_shape(text: str, secret: str | None) -> None:
    assert (secret or text) in {text[start:end] for start, end in secret_shapes(text)}


@pytest.mark.parametrize(
    "text",
    [
        "text-embedding-3-small nomic-embed-text-v1.5 gpt-5-mini docker-entrypoint-initdb.d",
        "pgvector/pgvector:pg17@sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "127.0.0.1:8432:5432 http://localhost:8888/docs postgres://mem0@db/x mailto:someone@example.com",
        "postgres://${U}:${PW}@db/x --user 1000:1000 mem0_postgres_exporter backup_20260103_133102",
        "https://github.com/mem0ai/mem0/blob/main/server/docker-compose.yaml",
    ],
)
def test_ordinary_words_are_not_secrets(text: str) -> None:
    assert [text[start:end] for start, end in secret_shapes(text)] == []
