"""The scratch server: gone afterwards, however its maker went; and nothing else goes with it."""

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mem0_assets.live.embedded import EmbeddedServer
from mem0_assets.restores.scratch import (
    OWNER,
    PREFIX,
    NoScratchServerError,
    _reaper,
    connect_scratch,
    scratch_major,
    scratch_server,
    sweep,
)
from mem0_assets_tests.waiting import wait_until


def _left(parent: Path) -> list[Path]:
    return list(parent.glob(f"{PREFIX}*"))


def _working_in(parent: Path) -> list[int]:
    """The processes that work in folders below `parent`, removed ones too."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            place = os.readlink(process / "cwd")
        except OSError:
            continue
        if place.startswith(f"{parent}/"):
            found.append(int(process.name))
    return found


@pytest.mark.parametrize(
    ("version", "major"),
    [("16.14", 16), ("17.5 (Debian 17.5-1)", 18), ("18.4", 18), ("18beta1", 18), ("9.6.24", 16), (None, 18), ("", 18)],
)
def test_a_drill_runs_on_the_backups_own_version_or_the_next_higher(version: str | None, major: int) -> None:
    assert scratch_major(version) == major


def test_a_backup_of_a_version_newer_than_all_is_not_drilled_on_an_older_one() -> None:
    with pytest.raises(NoScratchServerError, match="PostgreSQL 99 and the newest embedded server is 18") as missing:
        scratch_major("99.1")
    assert missing.value.code == "client_missing"
    assert missing.value.next_step


def test_a_scratch_server_is_empty_its_own_and_gone_afterwards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where a person has exported where the live server is."""
    for name, value in {"PGHOSTADDR": "127.0.0.1", "PGPORT": "1", "PGHOST": "live", "PGDATABASE": "mem0_prd"}.items():
        monkeypatch.setenv(name, value)
    with scratch_server(tmp_path, 16) as server:
        with connect_scratch(server) as connection:
            row = connection.execute("SELECT current_database() AS name, count(*) AS tables FROM pg_tables").fetchone()
            assert row is not None
            assert row["name"] == "drill"
            assert connection.info.server_version // 10000 == 16
        assert sweep(tmp_path) == []  # another drill that starts now leaves this one alone
        assert len(_left(tmp_path)) == 1
        assert _working_in(tmp_path)
    assert _left(tmp_path) == []
    assert _working_in(tmp_path) == []


def test_its_end_does_not_wait_for_a_process_that_was_forked_meanwhile(tmp_path: Path) -> None:
    """It holds the reaper's pipe open, as it holds everything."""
    with scratch_server(tmp_path, 18):
        child = os.fork()
        if child == 0:
            signal.pause()
    assert _left(tmp_path) == []
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def test_a_failure_in_the_middle_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), scratch_server(tmp_path, 18):
        raise KeyboardInterrupt
    assert _left(tmp_path) == []
    assert _working_in(tmp_path) == []


# Killed makers


@contextmanager
def _maker(parent: Path) -> Iterator[int]:
    """A process that makes a scratch server and holds it until it is killed."""
    child = os.fork()
    if child == 0:
        try:
            with scratch_server(parent, 18):
                signal.pause()
        finally:
            os._exit(1)
    try:
        yield child
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def _serves(parent: Path) -> bool:
    return any(EmbeddedServer(folder / "data").socket_folder for folder in _left(parent))


MOMENTS: dict[str, Callable[[Path], object]] = {
    "its folder is made": _left,
    "its data are being made": lambda parent: list(parent.glob(f"{PREFIX}*/*/PG_VERSION")),
    "it is starting": lambda parent: list(parent.glob(f"{PREFIX}*/data/postmaster.pid")),
    "it serves": _serves,
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_killed_makers_server_and_folder_are_gone_within_seconds(tmp_path: Path, moment: str) -> None:
    with _maker(tmp_path):
        wait_until(lambda: MOMENTS[moment](tmp_path))
    if moment == "its folder is made":  # its reaper may not have been born
        sweep(tmp_path)
    wait_until(lambda: not _left(tmp_path))
    if moment in ("it is starting", "it serves"):
        assert _working_in(tmp_path) == []  # first the server, then its folder
    wait_until(lambda: not _working_in(tmp_path))


def test_what_a_killed_reaper_left_is_swept_by_the_next_drill(tmp_path: Path) -> None:
    with _maker(tmp_path) as maker:
        wait_until(lambda: _serves(tmp_path))
        for number in map(int, Path(f"/proc/{maker}/task/{maker}/children").read_text().split()):
            if b"mem0-assets-reaper" in Path(f"/proc/{number}/cmdline").read_bytes():
                os.kill(number, signal.SIGKILL)
    assert _serves(tmp_path)
    with scratch_server(tmp_path, 18):
        assert len(_left(tmp_path)) == 1
    assert _left(tmp_path) == []
    wait_until(lambda: not _working_in(tmp_path))


# Numbers in files are no proof


@pytest.fixture
def stranger(tmp_path: Path) -> Iterator[int]:
    """A process that is nobody's server, and that SIGQUIT would end."""
    before = signal.signal(signal.SIGQUIT, signal.SIG_DFL)
    with subprocess.Popen(["sleep", "600"], cwd="/") as process:
        signal.signal(signal.SIGQUIT, before)
        try:
            yield process.pid
        finally:
            process.kill()


def _stale_folder(parent: Path, number: int) -> Path:
    data = parent / f"{PREFIX}stale" / "data"
    data.mkdir(parents=True)
    (data / "PG_VERSION").write_text("18\n")
    (data / "postmaster.pid").write_text(f"{number}\n{data}\n0\n5432\n{data}\n\n  1 2\nready\n")
    return data.parent


def _lives(number: int) -> bool:
    return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


def test_sweeping_after_a_reboot_ends_no_process_that_has_the_servers_number_now(tmp_path: Path, stranger: int) -> None:
    folder = _stale_folder(tmp_path, stranger)
    assert sweep(tmp_path) == [folder]
    assert not folder.exists()
    assert _lives(stranger)


def test_a_reaper_ends_no_process_that_has_the_servers_number_now(tmp_path: Path, stranger: int) -> None:
    folder = _stale_folder(tmp_path, stranger)
    with _reaper(folder, folder / "data"):
        pass
    assert not folder.exists()
    assert _lives(stranger)


def test_a_folder_that_vanishes_while_it_is_swept_is_as_good(tmp_path: Path) -> None:
    (tmp_path / f"{PREFIX}dangling").symlink_to(tmp_path / "gone")
    (tmp_path / f"{PREFIX}dead").mkdir()
    (tmp_path / f"{PREFIX}dead" / OWNER).touch()
    assert sweep(tmp_path) == [tmp_path / f"{PREFIX}dead"]
