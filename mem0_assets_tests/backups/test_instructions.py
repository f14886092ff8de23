"""RESTORE.md: its commands are run as they stand, with stock programs, and bring everything back."""

import os
import re
import subprocess
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from psycopg import sql

from mem0_assets.backups.backup import make_backup
from mem0_assets.backups.instructions import restore_instructions
from mem0_assets.backups.inventory import Backup
from mem0_assets.backups.manifest import RESTORE, read_manifest
from mem0_assets.demo.memories import create_collection
from mem0_assets.live.census import take_census
from mem0_assets.live.embedded import SUPERUSER, EmbeddedServer
from mem0_assets.live.programs import embedded
from mem0_assets_tests.conftest import SMALL, MakeDeployment, needs_zstd, open_connection, run_sql
from mem0_assets_tests.forged import forge, forged_deployment


@pytest.fixture(params=["sql", pytest.param("binary", marks=needs_zstd)])
def make_in_each_format(request: pytest.FixtureRequest, make_deployment: MakeDeployment) -> MakeDeployment:
    """Its commands for a binary dump call zstd."""
    return partial(make_deployment, dump={"format": request.param})


def _blocks(text: str, language: str) -> list[str]:
    found = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [block for named, block in found if named == language]


def _run(script: str, backup: Backup, server: EmbeddedServer) -> str:
    """As a person would: in the backup's folder, in bash, with the programs of the server's own version on PATH."""
    environment = {
        "PATH": f"{embedded()[server.made_by or 0]}:{os.environ['PATH']}",
        "PGHOST": str(server.socket_folder),
        "PGPORT": "5432",
        "PGUSER": SUPERUSER,
        "LC_ALL": "C",
    }
    done = subprocess.run(
        ["bash", "-c", script], cwd=backup.path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _restore(backup: Backup, server: EmbeddedServer) -> str:
    text = (backup.path / RESTORE).read_text()
    outputs = [_run(block, backup, server) for block in _blocks(text, "bash")]
    assert len(outputs) == 3
    return outputs[-1]


def _put_in_place(backup: Backup, server: EmbeddedServer) -> None:
    _run(_blocks((backup.path / RESTORE).read_text(), "")[-1], backup, server)


def _counts(printed: str) -> dict[str, int]:
    rows = [line.split("|") for line in printed.splitlines() if "|" in line][1:]
    return {name.strip(): int(count) for name, count in rows}


@pytest.mark.parametrize("major", [16, 18])
def test_its_commands_bring_every_memory_back_beside_the_live_database(
    make_in_each_format: MakeDeployment, server: EmbeddedServer, server16: EmbeddedServer, major: int
) -> None:
    running = server if major == 18 else server16
    deployment = make_in_each_format(on=running)
    backup = make_backup(deployment).backup
    run_sql(deployment, "TRUNCATE memories")
    assert _counts(_restore(backup, running)) == SMALL
    assert take_census(deployment.postgres).total == 0  # nothing that exists was touched
    _put_in_place(backup, running)
    assert take_census(deployment.postgres).namespaces == SMALL
    kept = deployment.postgres.model_copy(
        update={"database": f"{deployment.postgres.database}_replaced_{backup.backup}"}
    )
    assert take_census(kept).total == 0


def test_a_server_that_has_no_such_database_gets_it(make_deployment: MakeDeployment, server: EmbeddedServer) -> None:
    deployment = make_deployment()
    backup = make_backup(deployment).backup
    with open_connection(server, "postgres") as connection:
        connection.execute(sql.SQL("DROP DATABASE {}").format(sql.Identifier(deployment.postgres.database)))
    assert _counts(_restore(backup, server)) == SMALL
    _put_in_place(backup, server)
    assert take_census(deployment.postgres).namespaces == SMALL


def test_what_came_back_belongs_to_mem0s_own_role_again(
    make_deployment: MakeDeployment, server: EmbeddedServer
) -> None:
    deployment = make_deployment()
    role = f"Role of {deployment.postgres.database}"
    run_sql(deployment, f'CREATE ROLE "{role}" LOGIN; ALTER TABLE memories OWNER TO "{role}"')
    run_sql(deployment, f'CREATE VIEW seen AS SELECT 1 AS a; ALTER VIEW seen OWNER TO "{role}"')
    backup = make_backup(deployment).backup
    _restore(backup, server)
    _put_in_place(backup, server)
    mem0 = deployment.postgres.model_copy(update={"user": role})
    assert take_census(mem0).namespaces == SMALL
    with open_connection(server, deployment.postgres.database) as connection:
        connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(role)))
        connection.execute("DELETE FROM memories")
        connection.execute("CREATE TABLE mem0migrations (id uuid)")


def test_the_database_of_mem0s_own_compose_file_can_be_replaced_too(
    own_server: EmbeddedServer, make_deployment: MakeDeployment
) -> None:
    """It is called `postgres`, which is where one would connect to rename another."""
    deployment = make_deployment(None, on=own_server, postgres={"database": "postgres"})
    with open_connection(own_server, "postgres") as connection:
        create_collection(connection, SMALL, dimensions=8)
    backup = make_backup(deployment).backup
    run_sql(deployment, "DROP TABLE memories")
    _restore(backup, own_server)
    _put_in_place(backup, own_server)
    assert take_census(deployment.postgres).namespaces == SMALL


def test_odd_names_are_no_commands(own_server: EmbeddedServer, make_in_each_format: MakeDeployment) -> None:
    names = {"database": "Mem0 \"$(id)\" 'prd'", "collection": 'Mark\'s `own` "$HOME"'}
    with open_connection(own_server, "postgres") as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(names["database"])))
    with open_connection(own_server, names["database"]) as connection:
        create_collection(connection, {"a|b": 2, "two\nlines": 1}, collection=names["collection"], dimensions=8)
    deployment = make_in_each_format(None, on=own_server, postgres=names)
    backup = make_backup(deployment).backup
    printed = _restore(backup, own_server)
    assert "(2 rows)" in printed
    _put_in_place(backup, own_server)
    assert take_census(deployment.postgres).total == 3


def test_a_damaged_dump_is_not_loaded(make_in_each_format: MakeDeployment, server: EmbeddedServer) -> None:
    backup = make_backup(make_in_each_format()).backup
    files = read_manifest(backup.path).files
    dump = backup.path / files[len(files) // 2].path
    os.truncate(dump, dump.stat().st_size // 2)
    check, load, _ = _blocks((backup.path / RESTORE).read_text(), "bash")
    for script in (check, load):
        with pytest.raises(AssertionError):
            _run(script, backup, server)


def test_it_says_what_a_person_must_know(tmp_path: Path) -> None:
    folder = forge(forged_deployment(tmp_path), "20260103_133102", 1)
    text = (folder / RESTORE).read_text()
    assert text == restore_instructions(read_manifest(folder))
    for words in (
        "**77 memories** of 3 dimensions",
        "PostgreSQL 18 or newer",
        "| bob/work | 25 |",
        "| **total** | **77** |",
    ):
        assert words in text
    assert "Stop what writes to mem0 first" in text
    assert max(len(line) for line in text.splitlines()) < 160


def test_names_that_postgres_would_cut_are_made_shorter(tmp_path: Path) -> None:
    manifest = read_manifest(forge(forged_deployment(tmp_path), "20260103_133102", 1))
    identity = replace(manifest.census.identity, database="é" * 31)
    text = restore_instructions(replace(manifest, census=replace(manifest.census, identity=identity)))
    assert f"createdb --template=template0 --encoding=UTF8 {'_' * 31}_20260103_133102" in text
    assert f'RENAME TO "{"_" * 31}_replaced_20260103_133102"' in text
    for name in re.findall(r'RENAME TO "(.*?)"', text):
        assert len(name.encode()) <= 63
