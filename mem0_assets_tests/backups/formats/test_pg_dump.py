"""Writing a dump: exit status, stderr, the end mark and the clock all count as evidence, and any one refuses it."""

import gzip
import hashlib
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from mem0_assets.backups.formats.pg_dump import DumpFailedError, PgDump, client_environment
from mem0_assets.backups.formats.source import Written
from mem0_assets.backups.formats.sql_writer import write_sql
from mem0_assets.errors import UnreachableError
from mem0_assets.live.embedded import EmbeddedServer
from mem0_assets.live.programs import Program, find_program
from mem0_assets_tests.conftest import MakeDeployment, open_connection

SECRET = "hunter2 & co"
SETTINGS = {"host": "/nowhere", "port": 5432, "user": "mem0", "dbname": "mem0_prd", "password": SECRET}
WHOLE = "printf -- '--\\n-- PostgreSQL database dump complete\\n--\\n\\n'"


def _program(folder: Path, body: str) -> Program:
    script = folder / "pg_dump"
    script.write_text(f"#!/bin/sh\n{body}\n")
    script.chmod(0o755)
    return Program("pg_dump", script, 18, "18.99")


def _write(folder: Path, body: str, *, stall_seconds: float = 20.0, **options: Any) -> Written:
    dump = PgDump(_program(folder, body), SETTINGS, "snapshot", stall_seconds=stall_seconds)
    return write_sql(dump, folder, "dump", **options)


def test_a_whole_dump_is_compressed_hashed_and_measured(
    make_deployment: MakeDeployment, server: EmbeddedServer, tmp_path: Path
) -> None:
    postgres = make_deployment().postgres
    settings = {"host": postgres.host, "port": postgres.port, "user": postgres.user, "dbname": postgres.database}
    seen: list[int] = []
    target = tmp_path / "dump.sql.gz"
    with open_connection(server, postgres.database) as connection, connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        row = connection.execute("SELECT pg_export_snapshot() AS name").fetchone()
        assert row is not None
        dump = PgDump(find_program("pg_dump", 18), settings, row["name"])
        [file] = write_sql(dump, tmp_path, "dump", progress=seen.append).files
    text = subprocess.run(["gunzip", "-c", target], capture_output=True, check=True).stdout
    assert b"COPY public.memories (id, vector, payload) FROM stdin;" in text
    assert file.path == f"{tmp_path.name}/dump.sql.gz"
    assert file.bytes == target.stat().st_size
    assert file.sha256 == hashlib.sha256(target.read_bytes()).hexdigest()
    assert file.plain_bytes == len(text) == seen[-1]
    assert file.statement is None
    assert dump.warnings == ()


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("echo 'pg_dump: error: no such table' >&2; exit 1", "exit status 1: pg_dump: error: no such table"),
        (f"{WHOLE}; exit 1", "exit status 1: no message"),
        (f"{WHOLE}; kill -9 $$", "exit status -9"),
        (f"{WHOLE}; echo 'pg_dump: error: query failed: ERROR: page is damaged' >&2", "page is damaged"),
        (f"{WHOLE}; echo 'FATAL: terminating connection' >&2", "terminating connection"),
        (f"{WHOLE}; printf 'error: \\377\\376 is no text\\n' >&2", "is no text"),
        ("exit 0", "after 0 bytes without its end mark"),
        (
            "printf -- '--\\n-- PostgreSQL database dump\\n--\\nCOPY public.memories (id) FROM stdin;\\n1\\n'",
            "a part is missing",
        ),
        (f"{WHOLE}; head -c 600 /dev/zero", "a part is missing"),
    ],
)
def test_whatever_says_that_the_dump_is_not_whole_fails_it(tmp_path: Path, body: str, why: str) -> None:
    with pytest.raises(DumpFailedError, match=why) as failed:
        _write(tmp_path, body)
    assert failed.value.code == "dump_failed"


def test_a_programs_warnings_are_kept_also_when_a_table_is_called_error_log(tmp_path: Path) -> None:
    warning = "pg_dump: warning: there are circular foreign-key constraints on this table:"
    detail = "pg_dump: detail: error_log"
    written = _write(tmp_path, f"{WHOLE}; echo '{warning}' >&2; echo '{detail}' >&2")
    assert written.warnings == (warning, detail)


def test_a_password_is_in_no_message_and_on_no_command_line(tmp_path: Path) -> None:
    with pytest.raises(DumpFailedError) as failed:
        _write(tmp_path, 'echo "error: password was $PGPASSWORD, arguments were $*" >&2; exit 1')
    assert SECRET not in str(failed.value)
    assert "password was ***, arguments were --format=plain" in str(failed.value)


@pytest.mark.parametrize(
    "body",
    ["exec sleep 600", "echo half; exec sleep 600", f"{WHOLE}; exec sleep 600", f"{WHOLE}; exec >&-; exec sleep 600"],
)
def test_a_dump_that_stands_still_is_given_up_and_its_program_ended(tmp_path: Path, body: str) -> None:
    with pytest.raises(UnreachableError, match=r"stood still for 0\.3 s") as silent:
        _write(tmp_path, f"echo $$ > {tmp_path}/number; {body}", stall_seconds=0.3)
    assert silent.value.next_step
    _require_ended(tmp_path)


def test_a_program_does_not_outlive_an_interrupted_run(tmp_path: Path) -> None:
    def interrupt(plain_bytes: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _write(tmp_path, f"echo $$ > {tmp_path}/number; echo half; exec sleep 600", progress=interrupt)
    _require_ended(tmp_path)


def _require_ended(folder: Path) -> None:
    number = int((folder / "number").read_text())
    with pytest.raises(ProcessLookupError):
        os.kill(number, 0)


def test_a_program_that_cannot_be_run_is_a_failed_dump(tmp_path: Path) -> None:
    program = _program(tmp_path, "")
    program.path.write_bytes(b"\x7fELF, but not of this machine")
    with pytest.raises(DumpFailedError, match="cannot be run: Exec format error"):
        list(PgDump(program, SETTINGS, "snapshot"))


def test_a_full_disk_is_the_disks_own_error(tmp_path: Path) -> None:
    (tmp_path / "dump.sql.gz").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left"):
        _write(tmp_path, f"{WHOLE}; head -c 3000000 /dev/urandom")


def test_what_is_read_back_comes_from_the_disk_and_not_from_memory(tmp_path: Path) -> None:
    written = _write(tmp_path, f"head -c 3000000 /dev/urandom; {WHOLE}")
    command = ["fincore", "--bytes", "--noheadings", "--output", "RES", str(tmp_path / "dump.sql.gz")]
    try:
        cached = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (FileNotFoundError, subprocess.CalledProcessError):
        pytest.skip("fincore (util-linux) cannot say what is in memory here")
    assert int(cached) < written.files[0].bytes / 10


def test_a_persons_own_environment_leads_the_program_nowhere_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PGHOST", "PGPORT", "PGUSER", "PGDATABASE", "PGHOSTADDR", "PGSERVICE"):
        monkeypatch.setenv(name, "elsewhere")
    monkeypatch.setenv("PGSSLROOTCERT", "/etc/ssl/ours.pem")
    _write(tmp_path, f"env > {tmp_path}/environment; {WHOLE}")
    seen = dict(line.split("=", 1) for line in (tmp_path / "environment").read_text().splitlines() if "=" in line)
    assert "elsewhere" not in seen.values()
    assert (seen["PGHOST"], seen["PGDATABASE"], seen["LC_ALL"]) == ("/nowhere", "mem0_prd", "C")
    assert seen["PGSSLROOTCERT"] == "/etc/ssl/ours.pem"


def test_what_is_not_known_is_not_said() -> None:
    assert "PGPASSWORD" not in client_environment({"host": "/nowhere", "password": None})


def test_a_stock_gunzip_reads_what_was_written(tmp_path: Path) -> None:
    _write(tmp_path, f'for i in $(seq 3000); do echo "-- line $i of a dump"; done; {WHOLE}')
    text = gzip.decompress((tmp_path / "dump.sql.gz").read_bytes()).decode()
    assert text.startswith("-- line 1 of a dump\n")
    assert text.count("\n") == 3004


def test_a_program_that_was_killed_before_it_began_does_not_go_on(tmp_path: Path) -> None:
    """Another table of the same dump failed just before: nobody may wait for this one's first word."""
    dump = PgDump(_program(tmp_path, "exec sleep 600"), SETTINGS, "snapshot")
    dump.kill()
    with pytest.raises(DumpFailedError, match="exit status -9"):
        list(dump)
