"""Loading a dump with psql: strict, bounded, and never anywhere but where it was told."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from psycopg import sql

from mem0_assets.backups.formats.damage import DumpDamage, damage
from mem0_assets.backups.formats.sql_loader import LoadFailedError, load_dump
from mem0_assets.live.embedded import SUPERUSER, EmbeddedServer
from mem0_assets.live.programs import Program, find_program
from mem0_assets_tests.conftest import MakeDeployment, open_connection
from mem0_assets_tests.forged import dump_text

Settings = dict[str, Any]
PSQL = find_program("psql", 18)


@pytest.fixture
def settings(server: EmbeddedServer, make_deployment: MakeDeployment) -> Settings:
    """An empty database's keywords."""
    database = make_deployment(None).postgres.database
    return {"host": str(server.socket_folder), "port": 5432, "user": SUPERUSER, "dbname": database}


def _blocks(text: bytes, size: int = 1 << 16) -> Iterator[bytes]:
    return (text[at : at + size] for at in range(0, len(text), size))


def _count(server: EmbeddedServer, settings: Settings, table: str = "memories") -> int:
    with open_connection(server, settings["dbname"]) as connection:
        row = connection.execute(sql.SQL("SELECT count(*) AS rows FROM {}").format(sql.Identifier(table))).fetchone()
    assert row is not None
    return int(row["rows"])


def test_a_dump_is_loaded_and_its_two_times_are_told(server: EmbeddedServer, settings: Settings) -> None:
    times = load_dump(PSQL, settings, _blocks(dump_text()))
    assert _count(server, settings) == 77
    assert times.readable > 0
    assert times.indexes > 0


def test_the_first_error_stops_it_though_megabytes_follow(server: EmbeddedServer, settings: Settings) -> None:
    """psql is gone while the dump is still being written to it: its own words must not be lost for a broken pipe."""
    text = (
        dump_text() + b"SELECT no_such_function();\n" + b"INSERT INTO memories VALUES (gen_random_uuid());\n" * 200_000
    )
    for size in (1 << 20, 4093):
        with pytest.raises(
            LoadFailedError, match=r"psql stopped: .*function no_such_function\(\) does not exist"
        ) as failed:
            load_dump(PSQL, settings, _blocks(text, size))
        assert failed.value.code == "restore_failed"
        assert failed.value.missing_role is None
        assert _count(server, settings) == 77
        with open_connection(server, settings["dbname"]) as connection:
            connection.execute("DROP TABLE memories")


def test_a_missing_role_is_named(settings: Settings) -> None:
    with pytest.raises(LoadFailedError) as failed:
        load_dump(PSQL, settings, _blocks(dump_text(owner='"Mem0 user""s role"')))
    assert failed.value.missing_role == 'Mem0 user"s role'


def test_rows_that_do_not_fit_are_an_error_without_their_1536_numbers(settings: Settings) -> None:
    text = dump_text({"alice": 1}, dimensions=1536).replace(b"vector(1536)", b"vector(8)")
    with pytest.raises(LoadFailedError, match="expected 8 dimensions, not 1536"):
        load_dump(PSQL, settings, _blocks(text))
    text = (
        dump_text({"alice": 1}, dimensions=1536)
        .replace(b"[1,2,3,", b"[1,2,x,")
        .replace(b"id uuid NOT NULL", b"id uuid")
    )
    with pytest.raises(LoadFailedError) as failed:
        load_dump(PSQL, settings, _blocks(b"DROP TABLE IF EXISTS memories;" + text))
    assert len(failed.value.message) < 600


def test_words_that_are_no_text_are_shown_as_far_as_they_are(settings: Settings) -> None:
    with pytest.raises(LoadFailedError, match="psql stopped"):
        load_dump(PSQL, settings, [b"SET client_encoding = 'LATIN1';\nSELECT \xe9\xff;\n"])


def test_damage_met_while_reading_ends_the_load_and_stays_what_it_is(settings: Settings) -> None:
    def damaged() -> Iterator[bytes]:
        yield dump_text()[:2000]
        raise damage("truncated", "the compressed file ends too early")

    before = set(threading.enumerate())
    with pytest.raises(DumpDamage) as failed:
        load_dump(PSQL, settings, damaged())
    assert failed.value.reason.code == "truncated"
    assert set(threading.enumerate()) <= before


def test_a_server_that_stands_still_does_not_hold_it_for_ever(settings: Settings) -> None:
    with pytest.raises(LoadFailedError, match="did not come to an end"):
        load_dump(PSQL, settings, [b"SELECT pg_sleep(600);\n"], seconds=0.5)


def test_a_program_that_fails_without_a_word_is_a_failure(tmp_path: Path, settings: Settings) -> None:
    script = tmp_path / "psql"
    script.write_text("#!/bin/sh\ncat > /dev/null\nexit 3\n")
    script.chmod(0o755)
    with pytest.raises(LoadFailedError, match="psql ended with exit status 3"):
        load_dump(Program("psql", script, 18, "18.99"), settings, [b"SELECT 1;\n"])


def test_what_a_person_exported_for_the_live_server_does_not_lead_the_load_there(
    server: EmbeddedServer, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    exported = {"PGHOSTADDR": "127.0.0.1", "PGPORT": "1", "PGSERVICE": "live", "PGOPTIONS": "-c role=nobody"}
    for name, value in {**exported, "PGDATABASE": "postgres", "PGSSLMODE": "verify-full"}.items():
        monkeypatch.setenv(name, value)
    load_dump(PSQL, settings, _blocks(dump_text()))
    monkeypatch.undo()
    assert _count(server, settings) == 77
