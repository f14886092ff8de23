"""Writing a binary dump: every row once, of one instant; and whatever ends it early leaves nothing at work."""

import hashlib
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import IO

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from mem0_assets.backups.formats import binary_writer, crew
from mem0_assets.backups.formats.binary_label import read_label
from mem0_assets.backups.formats.binary_reader import files_of, read_binary
from mem0_assets.backups.formats.binary_writer import PART_BYTES, Part, plan_parts, write_binary
from mem0_assets.backups.formats.pg_dump import DumpFailedError
from mem0_assets.backups.formats.source import Progress, Source, Written
from mem0_assets.errors import UnreachableError
from mem0_assets.fleet import Deployment
from mem0_assets.live.embedded import EmbeddedServer
from mem0_assets.live.postgres import connect, connection_settings
from mem0_assets.live.programs import Program, find_program
from mem0_assets.live.tables import Layout, layouts
from mem0_assets_tests.clock import Clock
from mem0_assets_tests.conftest import SMALL, MakeDeployment, needs_zstd, open_connection, run_sql
from mem0_assets_tests.freezing import freeze, thaw

NAME = "mem0_20260103_023000"
WHOLE = "printf -- '--\\n-- PostgreSQL database dump complete\\n--\\n\\n'"


@pytest.fixture(autouse=True)
def nothing_is_left_at_work() -> Iterator[None]:
    """No thread, and no pg_dump."""
    threads = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= threads
    for task in Path("/proc/self/task").iterdir():
        children = (task / "children").read_text().split()
        assert not [child for child in children if "pg_dump" in Path(f"/proc/{child}/cmdline").read_text()]


@contextmanager
def _source(
    deployment: Deployment,
    *,
    jobs: int = 2,
    program: Program | None = None,
    progress: Progress = lambda plain_bytes: None,
) -> Iterator[Source]:
    """The deployment's database at this instant. The connection is left as it is: a frozen server would not roll back."""
    postgres = deployment.postgres
    with connect(postgres, seconds=None) as connection, closing(connection):
        connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        row = connection.execute("SELECT pg_export_snapshot() AS name").fetchone()
        assert row is not None
        version = connection.info.server_version
        program = program or find_program("pg_dump", version // 10000)
        settings, tables = connection_settings(postgres), layouts(connection)
        yield Source(postgres, settings, row["name"], program, tables, version, jobs, progress)


def _write(deployment: Deployment, folder: Path, jobs: int = 2) -> Written:
    folder.mkdir(exist_ok=True)
    with _source(deployment, jobs=jobs) as source:
        return write_binary(source, folder, NAME)


def _plain(path: Path) -> bytes:
    return (
        zstandard.ZstdDecompressor().decompressobj().decompress(path.read_bytes()[len(read_label(path).as_frame()) :])
    )


def _copied(server: EmbeddedServer, deployment: Deployment) -> bytes:
    with (
        open_connection(server, deployment.postgres.database) as connection,
        connection.cursor() as cursor,
        cursor.copy("COPY memories TO STDOUT (FORMAT binary)") as copy,
    ):
        return b"".join(copy)


# What is read by whom


def _layout(parts: int = 0, pages: int = 1000, *, binary: bool = True, name: str = "memories") -> Layout:
    return Layout(("public", name), (("id", "uuid"),), pages, parts * PART_BYTES, binary)


def test_a_table_is_cut_only_where_each_part_is_worth_a_connection() -> None:
    assert plan_parts([_layout(1)], jobs=8) == [Part(_layout(1))]
    assert [(part.first, part.end) for part in plan_parts([_layout(2)], jobs=8)] == [(0, 500), (500, None)]
    assert len(plan_parts([_layout(100)], jobs=4)) == 4
    assert plan_parts([_layout(100)], jobs=1) == [Part(_layout(100))]
    assert plan_parts([_layout(100, pages=1)], jobs=4) == [Part(_layout(100, pages=1))]


def test_what_binary_cannot_carry_is_no_part() -> None:
    kept = _layout(name="kept")
    assert plan_parts([_layout(9, binary=False), kept], jobs=4) == [Part(kept)]


@given(st.integers(0, 500), st.integers(0, 10**6), st.integers(1, 16))
def test_every_page_is_in_just_one_part_and_the_last_has_no_end(parts: int, pages: int, jobs: int) -> None:
    cut = plan_parts([_layout(parts, pages)], jobs)
    assert 1 <= len(cut) <= jobs
    if len(cut) > 1:
        assert cut[0].first == 0
        assert [part.end for part in cut[:-1]] == [part.first for part in cut[1:]]
        edges = [part.first or 0 for part in cut]
        assert edges == sorted(set(edges))
        assert edges[-1] < pages
    assert cut[-1].end is None


# A whole one


def test_a_dump_is_labelled_hashed_measured_and_read_back(make_deployment: MakeDeployment, tmp_path: Path) -> None:
    deployment = make_deployment()
    written = _write(deployment, tmp_path / "postgres")
    assert [file.path for file in written.files] == [
        "postgres/pre-data.sql.zst",
        "postgres/data/0002_memories.copy.zst",
        "postgres/post-data.sql.zst",
    ]
    for number, file in enumerate(written.files, start=1):
        path = tmp_path / file.path
        assert (file.bytes, file.plain_bytes) == (path.stat().st_size, len(_plain(path)))
        assert file.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
        label = read_label(path)
        assert (label.dump, label.file, label.files, label.statement) == (NAME, number, 3, file.statement)
    contents = read_binary(files_of(tmp_path / "postgres"), collection="memories").contents
    assert contents.verdict.ok, contents.verdict.sentence()
    assert (contents.namespaces, contents.dimensions) == (SMALL, 8)


@needs_zstd
def test_stock_zstd_gives_just_what_the_server_copies(
    make_deployment: MakeDeployment, server: EmbeddedServer, tmp_path: Path
) -> None:
    deployment = make_deployment()
    file = _write(deployment, tmp_path / "postgres").files[1]
    plain = subprocess.run(["zstd", "-dcq", tmp_path / file.path], capture_output=True, check=True).stdout
    assert plain == _copied(server, deployment)


def test_a_large_table_is_read_in_ranges_that_are_together_the_table(
    make_deployment: MakeDeployment, server: EmbeddedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(binary_writer, "PART_BYTES", 8192)
    deployment = make_deployment()
    written = _write(deployment, tmp_path / "postgres", jobs=3)
    parts = [_plain(tmp_path / file.path) for file in written.files if file.statement]
    assert len(parts) == 3
    whole = _copied(server, deployment)
    header, end = whole[:19], whole[-2:]
    assert header + b"".join(part.removeprefix(header).removesuffix(end) for part in parts) + end == whole
    assert read_binary(files_of(tmp_path / "postgres"), collection="memories").contents.namespaces == SMALL


def test_servers_that_read_all_of_a_table_for_a_range_of_it_are_asked_for_all(
    make_deployment: MakeDeployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(binary_writer, "PART_BYTES", 8192)
    monkeypatch.setattr(binary_writer, "READS_RANGES", 990000)
    assert len(_write(make_deployment(), tmp_path / "postgres", jobs=3).files) == 3


def test_what_others_write_after_the_snapshot_is_not_in_it(
    make_deployment: MakeDeployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(binary_writer, "PART_BYTES", 8192)
    deployment = make_deployment()
    (tmp_path / "postgres").mkdir()
    with _source(deployment) as source:
        run_sql(deployment, "DELETE FROM memories WHERE payload->>'user_id' = 'alice'")
        run_sql(deployment, "INSERT INTO memories SELECT gen_random_uuid(), vector, payload FROM memories")
        write_binary(source, tmp_path / "postgres", NAME)
    assert read_binary(files_of(tmp_path / "postgres"), collection="memories").contents.namespaces == SMALL


def test_what_binary_cannot_carry_stands_as_text_beside_the_schema(
    make_deployment: MakeDeployment, tmp_path: Path
) -> None:
    deployment = make_deployment()
    run_sql(deployment, "CREATE TABLE names (a regclass, b int); INSERT INTO names VALUES ('memories', 7)")
    run_sql(deployment, "CREATE TABLE numbers AS SELECT 7 AS a; CREATE SEQUENCE counter; SELECT nextval('counter')")
    written = _write(deployment, tmp_path / "postgres")
    text = _plain(tmp_path / written.files[0].path).decode()
    assert "COPY public.names (a, b) FROM stdin;\npublic.memories\t7\n" in text
    assert "COPY public.memories" not in text
    assert "COPY public.numbers" not in text
    assert "setval('public.counter', 1, true)" in text
    contents = read_binary(files_of(tmp_path / "postgres"), collection="memories").contents
    assert contents.tables == {"memories": 77, "names": 1, "numbers": 1}


def test_progress_is_told_up_to_all_plain_bytes(make_deployment: MakeDeployment, tmp_path: Path) -> None:
    told: list[int] = []
    with _source(make_deployment(), progress=told.append) as source:
        written = write_binary(source, tmp_path, NAME)
    assert told[-1] == sum(file.plain_bytes for file in written.files)


# What ends it early. The rows go into a pipe: so a table is half read when the test acts, however fast the machine is.


class HalfRead:
    """A folder whose file of memories is a pipe: when the first megabyte has come through, `act` is done, once."""

    def __init__(self, folder: Path, act: Callable[[], object]) -> None:
        self.folder = folder
        self.acted = threading.Event()
        self._act = act
        self._path = folder / "data" / "0002_memories.copy.zst"

    def __enter__(self) -> "HalfRead":
        self._path.parent.mkdir(parents=True)
        os.mkfifo(self._path)
        self._open = os.open(self._path, os.O_RDWR)  # so that neither side waits for the other to open it
        self._reader = threading.Thread(target=self._read, args=[open(self._path, "rb")])
        self._reader.start()
        return self

    def _read(self, pipe: IO[bytes]) -> None:
        with pipe:
            try:
                if pipe.read(1 << 20):
                    self._act()
                    self.acted.set()
            finally:
                while pipe.read(1 << 20):
                    pass

    def __exit__(self, *error: object) -> None:
        os.close(self._open)
        self._reader.join()


def _fill(deployment: Deployment) -> Deployment:
    """Sixteen megabytes of memories that no compression makes smaller: more than all buffers on the way hold."""
    run_sql(
        deployment,
        "CREATE EXTENSION vector; CREATE TABLE memories (id uuid, vector vector, payload jsonb); INSERT INTO memories"
        " SELECT gen_random_uuid(), (SELECT array_agg(random()) FROM generate_series(1, 1000) WHERE n > 0)::vector, '{}'"
        " FROM generate_series(1, 4000) n",
    )
    return deployment


@pytest.fixture
def large(make_deployment: MakeDeployment) -> Deployment:
    return _fill(make_deployment(None))


def test_a_server_that_freezes_in_the_middle_of_a_table_is_given_up(
    own_server: EmbeddedServer, make_deployment: MakeDeployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployment = _fill(make_deployment(None, on=own_server))
    half = HalfRead(tmp_path / "postgres", partial(freeze, own_server))
    Clock(half.acted.is_set).put_into(crew, monkeypatch)
    try:
        with pytest.raises(UnreachableError, match="stood still"), _source(deployment) as source, half:
            write_binary(source, half.folder, NAME)
        assert half.acted.is_set()
    finally:
        thaw(own_server)


def _terminate(server: EmbeddedServer, deployment: Deployment) -> None:
    with open_connection(server, deployment.postgres.database) as connection:
        ended = connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND query LIKE 'COPY %' AND pid <> pg_backend_pid()"
        ).fetchall()
    assert ended


def test_a_connection_that_is_ended_in_the_middle_of_a_table_is_unreachable(
    large: Deployment, server: EmbeddedServer, tmp_path: Path
) -> None:
    half = HalfRead(tmp_path / "postgres", lambda: _terminate(server, large))
    with _source(large) as source, half, pytest.raises(UnreachableError):
        write_binary(source, half.folder, NAME)
    assert half.acted.is_set()


def _program(folder: Path, body: str) -> Program:
    script = folder / "pg_dump"
    script.write_text(f"#!/bin/sh\n{body}\n")
    script.chmod(0o755)
    return Program("pg_dump", script, 18, "18.99")


def test_a_pg_dump_that_fails_ends_a_table_that_is_half_read(large: Deployment, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "go")
    half = HalfRead(tmp_path / "postgres", lambda: (tmp_path / "go").write_text("now\n"))
    program = _program(
        tmp_path,
        f"case $* in *post-data*) read word < {tmp_path}/go; echo 'pg_dump: error: no' >&2; exit 1;; esac; {WHOLE}",
    )
    with _source(large, program=program) as source, half, pytest.raises(DumpFailedError, match="error: no"):
        write_binary(source, half.folder, NAME)


def test_a_table_that_fails_ends_a_pg_dump_that_says_nothing(
    large: Deployment, server: EmbeddedServer, tmp_path: Path
) -> None:
    half = HalfRead(tmp_path / "postgres", lambda: _terminate(server, large))
    program = _program(tmp_path, f"case $* in *post-data*) exec sleep 600;; esac; {WHOLE}")
    with _source(large, program=program) as source, half, pytest.raises(UnreachableError):
        write_binary(source, half.folder, NAME)


def test_an_interrupt_ends_a_table_that_is_half_read(large: Deployment, tmp_path: Path) -> None:
    def interrupt(plain_bytes: int) -> None:
        if half.acted.is_set():
            raise KeyboardInterrupt

    half = HalfRead(tmp_path / "postgres", lambda: None)
    program = _program(tmp_path, f"case $* in *post-data*) exec sleep 600;; esac; {WHOLE}")
    with _source(large, program=program, progress=interrupt) as source, half, pytest.raises(KeyboardInterrupt):
        write_binary(source, half.folder, NAME)


def test_a_full_disk_is_the_disks_own_error_and_ends_all(large: Deployment, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "0002_memories.copy.zst").symlink_to("/dev/full")
    program = _program(tmp_path, f"case $* in *post-data*) exec sleep 600;; esac; {WHOLE}")
    with _source(large, program=program) as source, pytest.raises(OSError, match="No space left"):
        write_binary(source, tmp_path, NAME)


def test_rows_that_the_server_cannot_read_fail_the_dump_and_say_whose(
    make_deployment: MakeDeployment, tmp_path: Path
) -> None:
    deployment = make_deployment()
    run_sql(deployment, "CREATE TYPE mood AS ENUM ('calm'); CREATE TABLE moods AS SELECT 'calm'::mood AS a")
    run_sql(deployment, "DELETE FROM pg_enum WHERE enumtypid = 'mood'::regtype")
    with _source(deployment) as source, pytest.raises(DumpFailedError) as failed:
        write_binary(source, tmp_path, NAME)
    assert failed.value.message.startswith("the rows of moods could not be read: ")
    assert "22P03" in failed.value.message


def test_rows_that_the_role_may_not_read_are_no_damage(
    make_deployment: MakeDeployment, tmp_path: Path, server: EmbeddedServer
) -> None:
    deployment = make_deployment()
    role = f"reader of {deployment.postgres.database}"
    run_sql(deployment, f'CREATE ROLE "{role}" LOGIN; CREATE TABLE secrets (a int)')
    reader = deployment.model_copy(update={"postgres": deployment.postgres.model_copy(update={"user": role})})
    program = _program(tmp_path, WHOLE)
    with (
        _source(reader, program=program) as source,
        pytest.raises(UnreachableError, match="permission denied") as denied,
    ):
        write_binary(source, tmp_path, NAME)
    assert "GRANT pg_read_all_data" in denied.value.next_step


def test_a_lock_that_another_holds_is_waited_for_and_not_for_long(
    make_deployment: MakeDeployment, server: EmbeddedServer, tmp_path: Path
) -> None:
    """With one job the rows are read when pg_dump has written the schema: between these somebody takes the table."""
    deployment = make_deployment()
    os.mkfifo(tmp_path / "go")
    program = _program(tmp_path, f"case $* in *pre-data*) echo begun; read word < {tmp_path}/go;; esac; {WHOLE}")
    taken: list[object] = []

    def take(plain_bytes: int) -> None:
        if plain_bytes and not taken:
            taken.append(rival.execute("LOCK TABLE memories IN ACCESS EXCLUSIVE MODE"))
            (tmp_path / "go").write_text("now\n")

    with (
        open_connection(server, deployment.postgres.database) as rival,
        rival.transaction(force_rollback=True),
        pytest.raises(UnreachableError, match="exclusive lock"),
        _source(deployment, jobs=1, program=program, progress=take) as source,
    ):
        write_binary(source, tmp_path, NAME)
    assert taken
