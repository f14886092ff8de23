"""Loading a binary dump: rows over several connections, strictly, and nothing left at work when one fails."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mem0_assets.backups.formats import crew
from mem0_assets.backups.formats.binary_label import Label, read_label
from mem0_assets.backups.formats.binary_loader import load_binary
from mem0_assets.backups.formats.damage import DumpDamage
from mem0_assets.backups.formats.sql_loader import LoadFailedError, LoadTimes
from mem0_assets.errors import UnreachableError
from mem0_assets.live.embedded import SUPERUSER, EmbeddedServer
from mem0_assets.live.programs import find_program
from mem0_assets_tests import binary_dump
from mem0_assets_tests.binary_dump import label_of, memories, memory, put, put_dump
from mem0_assets_tests.clock import Clock
from mem0_assets_tests.conftest import SMALL, MakeDeployment, open_connection

Settings = dict[str, Any]
PSQL = find_program("psql", 18)
COUNT = "SELECT count(*)::int AS rows FROM memories"


@pytest.fixture
def settings(server: EmbeddedServer, make_deployment: MakeDeployment) -> Settings:
    """An empty database's keywords."""
    database = make_deployment(None).postgres.database
    return {"host": str(server.socket_folder), "port": 5432, "user": SUPERUSER, "dbname": database}


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before


def _load(settings: Settings, paths: list[Path], **parameters: str) -> LoadTimes:
    files = [(path, read_label(path).statement) for path in paths]
    return load_binary(PSQL, settings, files, parameters=parameters, jobs=2)


def _rows(server: EmbeddedServer, settings: Settings, query: str = COUNT) -> Any:
    with open_connection(server, settings["dbname"]) as connection:
        row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return row["rows"]


def test_all_rows_come_back_and_the_two_times_are_told(
    server: EmbeddedServer, settings: Settings, tmp_path: Path
) -> None:
    whole = list(memories(SMALL))
    times = _load(settings, put_dump(tmp_path, *(binary_dump.rows(whole[at : at + 20]) for at in range(0, 77, 20))))
    assert _rows(server, settings) == 77
    assert _rows(server, settings, "SELECT count(DISTINCT id)::int AS rows FROM memories") == 77
    one = "SELECT vector::text AS rows FROM memories WHERE payload->>'data' = 'memory 3 of carol'"
    assert _rows(server, settings, one) == "[4,5,6]"
    assert times.readable > 0
    assert times.indexes > 0


def test_rows_are_there_before_any_index_is_built_with_the_parameters_for_it(
    server: EmbeddedServer, settings: Settings, tmp_path: Path
) -> None:
    paths = put_dump(tmp_path)
    seen = b"CREATE TABLE seen AS SELECT count(*), current_setting('maintenance_work_mem') AS memory FROM memories;"
    put(tmp_path, label_of(3), binary_dump.POST_DATA.replace(b"ALTER TABLE ONLY", seen + b"\n\nALTER TABLE ONLY"))
    _load(settings, paths, maintenance_work_mem="77MB")
    assert _rows(server, settings, "SELECT count || ' ' || memory AS rows FROM seen") == "77 77MB"


@pytest.mark.parametrize(
    ("plain", "said"),
    [
        (binary_dump.rows(memories({"alice": 9}))[:-3], "unexpected EOF in COPY data"),
        (binary_dump.rows([memory("alice", 1)[:2]]), "row field count is 2, expected 3"),
        (binary_dump.rows([(b"short", *memory("alice", 1)[1:])]), "insufficient data left in message"),
        (binary_dump.rows([(None, *memory("alice", 1)[1:])]), 'null value in column "id"'),
    ],
)
def test_what_the_server_refuses_is_told_with_its_file_and_the_servers_words(
    settings: Settings, tmp_path: Path, plain: bytes, said: str
) -> None:
    with pytest.raises(LoadFailedError) as failed:
        _load(settings, put_dump(tmp_path, binary_dump.rows(memories({"bob": 3})), plain))
    assert failed.value.message.startswith("the rows of 0003_memories.copy.zst were refused: ")
    assert said in failed.value.message
    assert failed.value.code == "restore_failed"


def test_what_psql_refuses_before_the_rows_or_after_them_is_told(settings: Settings, tmp_path: Path) -> None:
    paths = put_dump(tmp_path, binary_dump.rows([memory("alice", 1), memory("alice", 1)]))
    with pytest.raises(LoadFailedError, match=r"psql stopped: .*could not create unique index"):
        _load(settings, paths)
    with pytest.raises(LoadFailedError, match=r'psql stopped: .*relation "memories" already exists'):
        _load(settings, paths)


def test_damage_met_while_loading_stays_what_it_is(settings: Settings, tmp_path: Path) -> None:
    paths = put_dump(tmp_path)
    os.truncate(paths[1], paths[1].stat().st_size - 1)
    files = [(path, label_of(number).statement) for number, path in enumerate(paths, start=1)]
    with pytest.raises(DumpDamage) as damaged:
        load_binary(PSQL, settings, files, parameters={}, jobs=1)
    assert damaged.value.reason.code == "truncated"


WAITS = (
    "SELECT count(*)::int AS rows FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
)


@pytest.fixture
def held(server: EmbeddedServer, settings: Settings, tmp_path: Path) -> Iterator[list[Path]]:
    """The files of a dump whose table `held` is locked, so that its rows wait, and whose memories are damaged."""
    held = Label(binary_dump.NAME, 3, 4, "rows", ("public", "held"), (("a", "int4"),))
    paths = [
        put(tmp_path, label_of(1, 4), binary_dump.PRE_DATA),
        put(tmp_path, label_of(2, 4), binary_dump.rows([memory("alice", 1)[:2]])),
        put(tmp_path, held, binary_dump.rows([(b"\0\0\0\x01",)])),
        put(tmp_path, label_of(4, 4), binary_dump.POST_DATA),
    ]
    with open_connection(server, settings["dbname"]) as rival:
        rival.execute("CREATE TABLE held (a int)")
        with rival.transaction(force_rollback=True):
            rival.execute("LOCK TABLE held IN ACCESS EXCLUSIVE MODE")
            yield paths


def test_one_file_that_is_refused_ends_those_that_wait(settings: Settings, held: list[Path]) -> None:
    with pytest.raises(LoadFailedError, match="0002_memories"):
        _load(settings, held)


def test_a_server_that_takes_no_more_rows_is_given_up(
    server: EmbeddedServer, settings: Settings, held: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    put(held[0].parent, label_of(2, 4), binary_dump.rows(memories(SMALL)))
    with open_connection(server, settings["dbname"]) as looking:

        def waits() -> bool:
            row = looking.execute(WAITS.encode()).fetchone()
            return bool(row and row["rows"])

        Clock(waits).put_into(crew, monkeypatch)
        with pytest.raises(UnreachableError, match="stood still for 900 s"):
            _load(settings, held)


def test_what_a_person_exported_for_the_live_server_does_not_lead_the_load_there(
    server: EmbeddedServer, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exported = {"PGHOST": "/nowhere", "PGHOSTADDR": "127.0.0.1", "PGPORT": "1", "PGOPTIONS": "-c role=nobody"}
    for name, value in {**exported, "PGDATABASE": "postgres", "PGCLIENTENCODING": "LATIN1"}.items():
        monkeypatch.setenv(name, value)
    _load(settings, put_dump(tmp_path))
    monkeypatch.undo()
    assert _rows(server, settings) == 77


def test_a_server_that_is_away_is_told_with_the_file(tmp_path: Path, settings: Settings) -> None:
    nowhere = {**settings, "host": str(tmp_path)}
    with pytest.raises(LoadFailedError, match=r"psql stopped: .*No such file or directory"):
        _load(nowhere, put_dump(tmp_path))
