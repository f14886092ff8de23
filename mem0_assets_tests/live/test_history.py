"""A history is read beside its writers: what is found is exact, what cannot be is told apart, and nothing is changed."""

import hashlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from mem0_assets.errors import Mem0AssetsError, NoSpaceError, UnreachableError
from mem0_assets.live import history
from mem0_assets.live.history import (
    HistoryCopy,
    HistoryDamagedError,
    HistoryMissingError,
    copy_history,
    newest_row,
    read_copy,
    read_events,
    read_tail,
)
from mem0_assets_tests.histories import NOW, OLD, add_rows, make_history, many
from mem0_assets_tests.small_disk import small_disk
from mem0_assets_tests.waiting import wait_until


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def live(tmp_path: Path) -> Path:
    folder = tmp_path / "live"
    folder.mkdir()
    return folder / "history.db"


def test_the_newest_row_and_the_copy_say_what_was_written(live: Path, tmp_path: Path) -> None:
    make_history(live, [("a", "ADD", "x"), ("a", "UPDATE", "y"), ("b", "ADD", "z"), ("a", "DELETE", None)])
    before = files_of(live.parent)
    copied = HistoryCopy(rows=4, newest_row=4, events={"ADD": 2, "DELETE": 1, "UPDATE": 1})
    assert newest_row(live) == 4
    assert copy_history(live, tmp_path / "copy.db") == read_copy(tmp_path / "copy.db") == copied
    assert files_of(live.parent) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy.db", "live"]
    assert json.loads(json.dumps(copied.as_json())) == copied.as_json()


def test_rows_are_numbered_as_mem0_wrote_them_also_where_old_ones_are_gone(live: Path, tmp_path: Path) -> None:
    make_history(live, [("a", "ADD", "x"), ("b", "ADD", "y")])
    with closing(sqlite3.connect(live)) as database, database:
        database.execute("DELETE FROM history WHERE memory_id = 'a'")
    assert newest_row(live) == 2
    copied = copy_history(live, tmp_path / "copy.db")
    assert (copied.rows, copied.newest_row) == (1, 2)
    assert [event.row for event in read_events(tmp_path / "copy.db")] == [2]


def test_an_empty_history_is_row_zero_and_no_error(live: Path, tmp_path: Path) -> None:
    make_history(live)
    assert newest_row(live) == 0
    assert copy_history(live, tmp_path / "copy.db") == HistoryCopy(0, 0, {})


@pytest.mark.parametrize("layout", [NOW, OLD])
def test_the_layouts_of_all_versions_are_read_and_not_migrated(live: Path, tmp_path: Path, layout: str) -> None:
    make_history(live, [("a", "ADD", "Zoë 🤫"), (None, "ADD", "of nobody"), ("a", "DELETE", None)], layout=layout)
    before = files_of(live.parent)
    copy_history(live, tmp_path / "copy.db")
    first, last = read_events(tmp_path / "copy.db")
    assert (first.row, first.memory_id, first.event) == (1, "a", "ADD")
    assert first.text_md5 == hashlib.md5("Zoë 🤫".encode()).hexdigest()
    assert (last.row, last.event, last.text_md5) == (3, "DELETE", None)
    assert files_of(live.parent) == before


def test_messages_and_whatever_else_stands_in_the_file_come_along(live: Path, tmp_path: Path) -> None:
    make_history(live, many(3))
    with closing(sqlite3.connect(live)) as database, database:
        database.execute("CREATE TABLE messages (id TEXT PRIMARY KEY, content TEXT)")
        database.execute("INSERT INTO messages VALUES ('1', 'hello')")
    copy_history(live, tmp_path / "copy.db")
    with closing(sqlite3.connect(tmp_path / "copy.db")) as database:
        assert database.execute("SELECT content FROM messages").fetchall() == [("hello",)]


@pytest.mark.parametrize("name", ["a?mode=rwc#b", "per%20cent", "Zoë 🤫 'x'"])
def test_the_folder_may_have_any_name(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    make_history(folder / "history.db", many(2))
    assert newest_row(folder / "history.db") == 2
    assert copy_history(folder / "history.db", folder / "copy.db").rows == 2


def test_a_hundred_thousand_rows_are_copied_whole(live: Path, tmp_path: Path) -> None:
    make_history(live, many(100_000))
    assert copy_history(live, tmp_path / "copy.db") == HistoryCopy(100_000, 100_000, {"ADD": 100_000})


def test_an_existing_file_is_never_overwritten(live: Path, tmp_path: Path) -> None:
    make_history(live, many(1))
    (tmp_path / "copy.db").write_text("precious")
    with pytest.raises(FileExistsError):
        copy_history(live, tmp_path / "copy.db")
    assert (tmp_path / "copy.db").read_text() == "precious"


# What is wrong with a file


def nothing(path: Path) -> None:
    """The folder is there, and empty: as after a volume was not mounted on it."""


def folder_gone(path: Path) -> None:
    path.parent.rmdir()


def a_folder(path: Path) -> None:
    path.mkdir()


def a_pipe(path: Path) -> None:
    os.mkfifo(path)


def a_text(path: Path) -> None:
    path.write_text("no database, but long enough to be one. " * 500)


def zeros(path: Path) -> None:
    path.write_bytes(bytes(8192))


def no_bytes(path: Path) -> None:
    path.touch()


def another_database(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE urls (id INTEGER PRIMARY KEY)")


def another_table(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE history (id INTEGER PRIMARY KEY, command TEXT)")


def cut_in_half(path: Path) -> None:
    make_history(path, many(2000))
    os.truncate(path, path.stat().st_size // 2)


@pytest.mark.parametrize(
    ("make", "kind", "code", "says"),
    [
        (nothing, HistoryMissingError, "history_missing", "there is no"),
        (a_folder, HistoryMissingError, "history_missing", "is a folder"),
        (a_pipe, HistoryMissingError, "history_missing", "is no regular file"),
        (folder_gone, UnreachableError, "unreachable", "Is it mounted?"),
        (a_text, HistoryDamagedError, "history_damaged", "no SQLite database"),
        (zeros, HistoryDamagedError, "history_damaged", "no SQLite database"),
        (no_bytes, HistoryDamagedError, "history_damaged", "has no table history"),
        (another_database, HistoryDamagedError, "history_damaged", "has no table history"),
        (another_table, HistoryDamagedError, "history_damaged", "no column event, memory_id, new_memory"),
        (cut_in_half, HistoryDamagedError, "history_damaged", "is damaged"),
    ],
)
def test_a_file_that_is_no_history_is_refused_by_its_code_and_left_as_it_is(
    live: Path, make: Callable[[Path], None], kind: type[Mem0AssetsError], code: str, says: str
) -> None:
    make(live)
    for read in (read_copy, lambda path: copy_history(path, path.parent.parent / "copy.db")):
        (live.parent.parent / "copy.db").unlink(missing_ok=True)
        with pytest.raises(kind, match=says) as caught:
            read(live)
        assert caught.value.code == code
        assert str(live) in str(caught.value)
    assert not live.parent.exists() or {path.name for path in live.parent.iterdir()} <= {"history.db"}


def test_a_flipped_page_is_found_though_the_newest_row_can_be_read(live: Path, tmp_path: Path) -> None:
    make_history(live, many(2000))
    with open(live, "r+b") as file:
        file.seek(5 * 4096)
        file.write(b"\xff" * 4096)
    assert newest_row(live) == 2000
    with pytest.raises(HistoryDamagedError) as caught:
        copy_history(live, tmp_path / "copy.db")
    assert str(caught.value).startswith(f"{live} is damaged")


def test_an_index_that_disagrees_with_its_table_is_found_by_the_integrity_check(live: Path, tmp_path: Path) -> None:
    make_history(live, many(20))
    with closing(sqlite3.connect(live)) as database, database:
        database.execute("CREATE INDEX by_event ON history (event)")
        database.execute("PRAGMA writable_schema = ON")
        database.execute(
            "UPDATE sqlite_master SET sql = 'CREATE INDEX by_event ON history (memory_id)' WHERE name = 'by_event'"
        )
    with pytest.raises(HistoryDamagedError, match=r"SQLite finds .*by_event"):
        copy_history(live, tmp_path / "copy.db")


def test_a_full_disk_is_no_fault_of_the_history(live: Path, tmp_path: Path) -> None:
    make_history(live, many(5000))
    with small_disk(tmp_path / "disk", "256k") as disk, pytest.raises(NoSpaceError):
        copy_history(live, disk / "copy.db")
    assert newest_row(live) == 5000


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_this_user_may_not_read_leaves_nothing_known(live: Path) -> None:
    make_history(live, many(1)).chmod(0)
    with pytest.raises(UnreachableError, match="May this user read it"):
        newest_row(live)


# Beside a writer


@contextmanager
def held(path: Path, statement: str) -> Iterator[None]:
    """Another process's lock: `statement` in an open transaction."""
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute(statement)
        yield


def test_a_writer_that_holds_the_lock_too_long_leaves_nothing_known(live: Path, tmp_path: Path) -> None:
    make_history(live, many(3))
    with held(live, "BEGIN EXCLUSIVE"), pytest.raises(UnreachableError, match="another process has locked") as caught:
        newest_row(live, seconds=0.1)
    assert (caught.value.code, caught.value.exit_status) == ("unreachable", 3)
    assert newest_row(live) == 3


def test_a_writer_that_lets_go_in_time_is_waited_for(live: Path) -> None:
    make_history(live, many(3))
    writer = sqlite3.connect(live, isolation_level=None, check_same_thread=False)
    writer.execute("BEGIN EXCLUSIVE")
    letting_go = threading.Timer(0.2, writer.execute, ("ROLLBACK",))
    letting_go.start()
    assert newest_row(live, seconds=60) == 3
    letting_go.join()
    writer.close()


def test_a_transaction_that_is_not_committed_yet_is_not_read(live: Path, tmp_path: Path) -> None:
    make_history(live, many(3))
    with held(live, "BEGIN IMMEDIATE"):
        assert newest_row(live) == 3
        assert copy_history(live, tmp_path / "copy.db").rows == 3


def test_a_copy_that_mem0_writes_into_begins_again_with_larger_steps_and_ends(
    live: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_history(live, many(5000))
    sizes: list[int] = []
    told = history._Steps.__call__

    def written_between_steps(steps: history._Steps, status: int, remaining: int, total: int) -> None:
        sizes.append(total - remaining)
        if remaining:
            add_rows(live, [("late", "ADD", "x")])
        told(steps, status, remaining, total)

    monkeypatch.setattr(history._Steps, "__call__", written_between_steps)
    monkeypatch.setattr(history, "FIRST_PAGES", 4)
    copied = copy_history(live, tmp_path / "copy.db")
    assert copied.rows == newest_row(live) > 5000
    assert sizes[0] == 4
    assert sizes[-1] > 64


def test_a_copy_that_never_comes_to_its_end_gives_up(
    live: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_history(live, many(2000))
    told = history._Steps.__call__

    def written_between_steps(steps: history._Steps, status: int, remaining: int, total: int) -> None:
        add_rows(live, [("late", "ADD", "x")])
        told(steps, status, remaining, total)

    monkeypatch.setattr(history._Steps, "__call__", written_between_steps)
    monkeypatch.setattr(history, "FIRST_PAGES", 1)
    monkeypatch.setattr(history, "GROWTH", 1)
    with pytest.raises(UnreachableError, match="written to, or locked"):
        copy_history(live, tmp_path / "copy.db", seconds=0.3)


def test_a_lock_that_comes_in_mid_copy_and_stays_leaves_nothing_known(
    live: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_history(live, many(2000))
    told = history._Steps.__call__
    with closing(sqlite3.connect(live, isolation_level=None)) as other:

        def locked_between_steps(steps: history._Steps, status: int, remaining: int, total: int) -> None:
            if not other.in_transaction:
                other.execute("BEGIN EXCLUSIVE")
            told(steps, status, remaining, total)

        monkeypatch.setattr(history._Steps, "__call__", locked_between_steps)
        monkeypatch.setattr(history, "FIRST_PAGES", 8)
        with pytest.raises(UnreachableError, match="written to, or locked"):
            copy_history(live, tmp_path / "copy.db", seconds=0.2)
    assert newest_row(live) == 2000


def test_steps_grow_only_as_far_as_they_hold_the_file_briefly() -> None:
    assert history._next_size(256, 0.0) == 1024
    assert history._next_size(256, 0.01) == 1024
    assert history._next_size(256, 0.5) == 512
    assert history._next_size(256, 4.0) == 64
    assert history._next_size(1, 100.0) == 1


def test_a_file_that_is_replaced_while_it_is_copied_is_not_taken_for_the_live_one(
    live: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_history(live, many(10))
    other = make_history(tmp_path / "other.db", many(3))
    told = history._Steps.__call__

    def replaced_between_steps(steps: history._Steps, status: int, remaining: int, total: int) -> None:
        if other.exists():
            other.rename(live)
        told(steps, status, remaining, total)

    monkeypatch.setattr(history._Steps, "__call__", replaced_between_steps)
    with pytest.raises(UnreachableError, match="was replaced by another file while it was copied"):
        copy_history(live, tmp_path / "copy.db")


def test_a_journal_left_by_a_crash_is_neither_rolled_back_nor_lost_and_mem0_can_still_do_it(live: Path) -> None:
    make_history(live, many(2000))
    _crash_in_a_write(live)
    before = files_of(live.parent)
    assert sorted(before) == ["history.db", "history.db-journal"]
    target = live.parent.parent / "copy.db"
    for read in (lambda: newest_row(live, seconds=0.1), lambda: copy_history(live, target, seconds=0.1)):
        with pytest.raises(UnreachableError, match="left in the middle of a write") as caught:
            read()
        assert "start mem0" in caught.value.next_step
    assert files_of(live.parent) == before
    with closing(sqlite3.connect(live)) as mem0:
        assert mem0.execute("SELECT count(*) FROM history WHERE event = 'ADD'").fetchone() == (2000,)
    assert newest_row(live) == 2000


def _crash_in_a_write(path: Path) -> None:
    """A process that is killed when a part of its transaction has reached the file."""
    child = os.fork()
    if child == 0:
        database = sqlite3.connect(path, isolation_level=None)
        database.execute("PRAGMA cache_size = 5")
        database.execute("BEGIN")
        database.execute("UPDATE history SET event = 'LOST'")
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)


def test_a_journal_beside_an_empty_file_stays(live: Path) -> None:
    live.touch()
    (live.parent / "history.db-journal").write_bytes(b"all that is left")
    with pytest.raises(HistoryDamagedError):
        newest_row(live)
    assert files_of(live.parent) == {"history.db": b"", "history.db-journal": b"all that is left"}


def test_a_history_in_wal_mode_is_copied_with_what_stands_in_the_log_alone(live: Path, tmp_path: Path) -> None:
    make_history(live, many(10))
    with held(live, "PRAGMA journal_mode = WAL"):
        add_rows(live, [("late", "ADD", "x")])
        assert newest_row(live) == 11
        assert copy_history(live, tmp_path / "copy.db").rows == 11
    assert read_copy(tmp_path / "copy.db").rows == 11


_COPIER = """
import sys
from pathlib import Path
from mem0_assets.live import history

def stands_still(*step):
    print("copying", flush=True)
    sys.stdin.read()

history.FIRST_PAGES = 8
history._Steps.__call__ = stands_still
history.copy_history(Path(sys.argv[1]), Path(sys.argv[2]))
"""


def test_a_copier_that_is_killed_in_mid_copy_leaves_the_live_file_as_it_was_and_unlocked(
    live: Path, tmp_path: Path
) -> None:
    make_history(live, many(2000))
    before = files_of(live.parent)
    command = [sys.executable, "-c", _COPIER, str(live), str(tmp_path / "copy.db")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as copier:
        assert copier.stdout
        assert copier.stdout.readline() == b"copying\n"
        with closing(sqlite3.connect(live, timeout=0)) as mem0, mem0:  # between two steps the file is free
            mem0.execute("BEGIN EXCLUSIVE")
        copier.kill()
    assert files_of(live.parent) == before
    add_rows(live, [("late", "ADD", "x")])
    assert copy_history(live, tmp_path / "again.db").rows == 2001


class Writer(threading.Thread):
    """What mem0 does: one connection with Python's own timeout (5 s, then an error), one row a transaction."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.stop = threading.Event()
        self.written = 0
        self.error: sqlite3.Error | None = None

    def run(self) -> None:
        with closing(sqlite3.connect(self.path, isolation_level=None)) as database:
            while not self.stop.wait(0.002):
                try:
                    database.execute(
                        "INSERT INTO history (id, memory_id, event) VALUES (hex(randomblob(16)), 'w', 'ADD')"
                    )
                except sqlite3.Error as error:
                    self.error = error
                    return
                self.written += 1


def test_a_writer_beside_twenty_copies_never_meets_a_locked_database(live: Path, tmp_path: Path) -> None:
    make_history(live, many(20_000))
    writer = Writer(live)
    writer.start()
    try:
        for number in range(20):
            seen = writer.written
            copied = copy_history(live, tmp_path / f"copy_{number}.db")
            assert copied.rows == copied.newest_row >= 20_000 + seen
            wait_until(lambda seen=seen: writer.written > seen or writer.error)  # type: ignore[misc]
    finally:
        writer.stop.set()
        writer.join()
    assert writer.error is None, "mem0 would have stored a memory without its history"


def test_the_tail_is_the_newest_thousand_rows_and_changes_nothing(live: Path) -> None:
    make_history(live, many(1200))
    add_rows(live, [("a", "DELETE", None)], at="2026-01-03T13:31:02+00:00")
    before = files_of(live.parent)
    tail = read_tail(live)
    assert [event.row for event in tail] == list(range(202, 1202))
    assert (tail[-1].memory_id, tail[-1].event, tail[-1].times) == ("a", "DELETE", ("2026-01-03T13:31:02+00:00",))
    assert tail[0].times == ()
    assert files_of(live.parent) == before


def test_a_tail_in_strides_reaches_further_back(live: Path) -> None:
    make_history(live, many(2500))
    assert [event.row for event in read_tail(live, stride=1000)] == [500, 1500, 2500]


def test_a_tail_passes_over_rows_that_are_gone_and_those_without_a_memory(live: Path) -> None:
    make_history(live, many(5))
    with closing(sqlite3.connect(live)) as database, database:
        database.execute("DELETE FROM history WHERE rowid = 2")
        database.execute("UPDATE history SET memory_id = NULL WHERE rowid = 4")
    assert [event.row for event in read_tail(live)] == [1, 3, 5]


def test_an_empty_history_has_no_tail(live: Path) -> None:
    assert read_tail(make_history(live)) == []


def test_the_tail_of_a_history_that_is_not_there_is_no_empty_one(live: Path) -> None:
    with pytest.raises(HistoryMissingError):
        read_tail(live)
