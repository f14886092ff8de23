"""A small extension with a configuration table, as pg_cron has its jobs: some rows are its own, the others a user's."""

from pathlib import Path

from psycopg import sql

from mem0_assets.fleet import Deployment
from mem0_assets_tests.conftest import run_sql

_CONTROL = "default_version = '1'\nrelocatable = false\nschema = public\n"
_SCRIPT = """
CREATE TABLE jobs (id int PRIMARY KEY, command text, built_in bool NOT NULL DEFAULT false);
CREATE TABLE internals (id int);
INSERT INTO jobs VALUES (1, 'clean up', true), (2, 'report', true);
INSERT INTO internals VALUES (1);
SELECT pg_catalog.pg_extension_config_dump('jobs', 'WHERE NOT built_in');
"""


def make_known(deployment: Deployment, folder: Path) -> None:
    """From now on `CREATE EXTENSION calendar` works in the deployment's database; on servers from PostgreSQL 18 on."""
    files = folder / "extension"
    files.mkdir(exist_ok=True)
    (files / "calendar.control").write_text(_CONTROL)
    (files / "calendar--1.sql").write_text(_SCRIPT)
    path = sql.SQL("ALTER DATABASE {} SET extension_control_path = {}").format(
        sql.Identifier(deployment.postgres.database), sql.Literal(f"{folder}:$system")
    )
    run_sql(deployment, path.as_string())
