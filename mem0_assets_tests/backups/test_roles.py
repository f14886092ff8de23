"""The roles of a server as SQL: read without a superuser's rights, without passwords, and loadable anywhere."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from psycopg import sql

from mem0_assets.backups.formats.pg_dump import CLUSTER_END_MARK, DumpFailedError
from mem0_assets.backups.formats.sql_loader import load_dump
from mem0_assets.backups.roles import Roles, role_names, write_roles
from mem0_assets.live.embedded import EmbeddedServer
from mem0_assets.live.programs import Program, find_program
from mem0_assets_tests.conftest import open_connection, start_server

ODD = 'odd; $roles$ "name"\nCREATE ROLE nobody;\\'
PASSWORD = "marker-5a0c77"


@pytest.fixture(params=[16, 18])
def live(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[EmbeddedServer]:
    running = start_server(tmp_path / "live", request.param)
    with open_connection(running, "postgres") as connection:
        for statement in (
            f"CREATE ROLE reader LOGIN PASSWORD '{PASSWORD}'",
            "GRANT pg_read_all_data TO reader",
            f"CREATE ROLE mem0 LOGIN CREATEROLE PASSWORD '{PASSWORD}'",
            "ALTER ROLE mem0 SET search_path = public, more",
            f"ALTER ROLE mem0 SET app.jwt_secret = '{PASSWORD}''\\'",
            f"COMMENT ON ROLE mem0 IS 'its password is {PASSWORD}'",
            "ALTER ROLE postgres SET statement_timeout = '1h'",
            "SET ROLE mem0; CREATE ROLE team; GRANT team TO reader; RESET ROLE",
            "GRANT SET ON PARAMETER work_mem TO reader",
        ):
            connection.execute(statement)
        connection.execute(sql.SQL("CREATE ROLE {}").format(sql.Identifier(ODD)))
        connection.execute("CREATE DATABASE \"its = 'name'\"")
    yield running
    running.stop("immediate")


def _settings(server: EmbeddedServer, user: str, database: str = "postgres") -> dict[str, Any]:
    return {"host": str(server.socket_folder), "port": 5432, "user": user, "dbname": database}


def _write(server: EmbeddedServer, folder: Path, **place: str) -> Roles:
    folder.mkdir(exist_ok=True)
    return write_roles(find_program("pg_dumpall", server.major or 18), _settings(server, "reader", **place), folder)


def _seen(server: EmbeddedServer) -> dict[str, Any]:
    """Every role with its rights, settings and memberships, its own password aside."""
    with open_connection(server, "postgres") as connection:
        rows = connection.execute(
            """
            SELECT rolname, rolsuper, rolcreaterole, rolcanlogin, rolconfig,
                   ARRAY(SELECT roleid::regrole::text FROM pg_auth_members WHERE member = r.oid ORDER BY 1) AS member_of
              FROM pg_roles r WHERE rolname NOT LIKE 'pg\\_%' ORDER BY 1
            """
        ).fetchall()
    return {row.pop("rolname"): row for row in rows}


def test_roles_written_by_a_mere_reader_come_back_in_a_new_server_and_a_second_time(
    live: EmbeddedServer, tmp_path: Path
) -> None:
    roles = _write(live, tmp_path / "backup", database="its = 'name'")
    content = (tmp_path / "backup" / "roles.sql").read_bytes()
    assert roles.file.path == "backup/roles.sql"
    assert (roles.file.bytes, roles.file.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    assert sorted(roles.names) == sorted(["mem0", ODD, "postgres", "reader", "team"])
    assert role_names(content.decode()) == roles.names
    assert roles.logins == ("mem0", "postgres", "reader")
    assert roles.masked == ("mem0: app.jwt_secret",)
    assert roles.warnings == ()
    assert PASSWORD not in content.decode()

    scratch = start_server(tmp_path / "scratch", live.major)
    try:
        for _ in range(2):
            load_dump(find_program("psql", 16), _settings(scratch, "postgres"), [content])
        before, after = _seen(live), _seen(scratch)
    finally:
        scratch.stop("immediate")
    assert before.pop("postgres")["rolconfig"] == ["statement_timeout=1h"]
    assert after.pop("postgres")["rolconfig"] is None
    before["mem0"]["rolconfig"][1] = "app.jwt_secret=<masked by mem0-assets>"
    assert after.keys() == before.keys()
    assert after == before


def test_a_role_that_may_not_connect_is_a_failed_dump_and_no_file(live: EmbeddedServer, tmp_path: Path) -> None:
    with open_connection(live, "postgres") as connection:
        connection.execute("ALTER ROLE reader NOLOGIN")
    with pytest.raises(DumpFailedError, match="could not connect"):
        _write(live, tmp_path / "backup")
    assert [*(tmp_path / "backup").iterdir()] == []


def _lie(tmp_path: Path, text: str) -> Roles:
    (tmp_path / "said").write_text(text)
    script = tmp_path / "pg_dumpall"
    script.write_text(f"#!/bin/sh\ncat {tmp_path}/said\n")
    script.chmod(0o755)
    return write_roles(Program("pg_dumpall", script, 18, "18.99"), {"dbname": "postgres"}, tmp_path)


END = f"\n{CLUSTER_END_MARK.decode()}\n"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("CREATE ROLE mem0;\n", "without its end mark"),
        (f"CREATE ROLE mem0;\nALTER ROLE mem0 WITH LOGIN PASSWORD '{PASSWORD}';{END}", "wrote a password"),
        (f"CREATE ROLE mem0;\n\\! echo {PASSWORD}\n{END}", "not a statement about roles"),
        (f"CREATE ROLE mem0;\nCREATE ROLE other{END}", "not a statement about roles"),
        (f"CREATE ROLE mem0;\nCOMMENT ON ROLE mem0 IS 'half a {END}", "not a statement about roles"),
    ],
)
def test_what_no_whole_list_of_roles_without_passwords_is_gets_refused(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(DumpFailedError, match=why) as failed:
        _lie(tmp_path, text)
    assert PASSWORD not in str(failed.value)
    assert not os.path.exists(tmp_path / "roles.sql")


def test_names_in_strings_and_in_other_names_are_no_roles() -> None:
    text = """-- the server's: CREATE ROLE z;
CREATE ROLE mem0;
COMMENT ON ROLE mem0 IS 'CREATE ROLE a; it''s';
CREATE ROLE "x""y";
ALTER ROLE "CREATE ROLE b;" SET a TO E'\\\\CREATE ROLE c;';"""
    assert role_names(text) == ("mem0", 'x"y')


def test_the_commands_of_a_client_stay_out(tmp_path: Path) -> None:
    _lie(tmp_path, f"\\restrict abc\nCREATE ROLE mem0;\n\\unrestrict abc\n{END}")
    text = (tmp_path / "roles.sql").read_text()
    assert "restrict" not in text
    assert role_names(text) == ("mem0",)


def test_a_new_server_needs_no_grantor(server: EmbeddedServer, tmp_path: Path) -> None:
    _lie(tmp_path, f'CREATE ROLE grantee_9f;\nGRANT pg_monitor TO grantee_9f GRANTED BY "no ""one";{END}')
    text = (tmp_path / "roles.sql").read_text()
    assert "    GRANT pg_monitor TO grantee_9f;\n" in text
    assert "GRANTED BY" not in text.partition("CREATE TEMPORARY TABLE")[2]
    load_dump(find_program("psql", 18), _settings(server, "postgres"), [f"BEGIN; {text} ROLLBACK;".encode()])


def test_what_was_taken_from_a_role_since_is_not_given_back(server: EmbeddedServer, tmp_path: Path) -> None:
    with open_connection(server, "postgres") as connection:
        connection.execute(
            "CREATE ROLE bot_7c; GRANT pg_read_all_data TO bot_7c; ALTER ROLE bot_7c SET work_mem = '1MB'"
        )
        write_roles(find_program("pg_dumpall", 18), _settings(server, "postgres"), tmp_path)
        connection.execute("REVOKE pg_read_all_data FROM bot_7c; ALTER ROLE bot_7c RESET work_mem")
        text = (tmp_path / "roles.sql").read_text()
        load_dump(find_program("psql", 18), _settings(server, "postgres"), [text.encode()])
        row = connection.execute("SELECT pg_has_role('bot_7c', 'pg_read_all_data', 'member') AS member").fetchone()
        assert row == {"member": False}
        left = connection.execute("SELECT rolconfig FROM pg_roles WHERE rolname = 'bot_7c'").fetchone()
        assert left == {"rolconfig": None}
        connection.execute("DROP ROLE bot_7c")


def test_a_setting_that_another_machine_cannot_take_does_not_keep_the_memories_from_coming_back(
    server: EmbeddedServer, tmp_path: Path
) -> None:
    _lie(tmp_path, f"CREATE ROLE speaker_3a;\nALTER ROLE speaker_3a SET lc_messages TO 'xx_XX.UTF-8';{END}")
    text = (tmp_path / "roles.sql").read_text()
    load_dump(find_program("psql", 18), _settings(server, "postgres"), [text.encode()])
    with open_connection(server, "postgres") as connection:
        assert connection.execute("SELECT rolconfig FROM pg_roles WHERE rolname = 'speaker_3a'").fetchone() == {
            "rolconfig": None
        }
        connection.execute("DROP ROLE speaker_3a")
