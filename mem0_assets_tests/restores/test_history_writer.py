"""Rows of a backup's history put back into the live one: those of the memories that are meant, once, beside mem0."""

import os
import signal
import sqlite3
import threading
import uuid
from contextlib import closing
from pathlib import Path
from uuid import UUID

import pytest

from mem0_assets.live.history import HistoryMissingError, read_copy
from mem0_assets.restores import history_writer
from mem0_assets.restores.history_writer import HistoryNotWrittenError, restore_history
from mem0_assets_tests.histories import OLD, Row, add_rows, make_history, many

ALICE, BOB, CAROL = (str(uuid.UUID(int=number)) for number in (1, 2, 3))
STORY: list[Row] = [(ALICE, "ADD", "x"), (BOB, "ADD", "y"), (ALICE, "UPDATE", "Zoë 🤫"), (CAROL, "ADD", "z")]


def everybody(memory: UUID) -> bool:
    return True


def rows_of(path: Path, columns: str = "*") -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as database:
        return database.execute(f"SELECT {columns} FROM history ORDER BY rowid").fetchall()


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    path = make_history(tmp_path / "copy.db", STORY)
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE history SET created_at = '2026-01-03T13:31:02+00:00', actor_id = 'bot', role = 'user'")
    return path


def test_a_lost_story_is_told_again_as_it_was(copy: Path, tmp_path: Path) -> None:
    live = make_history(tmp_path / "live.db")
    assert restore_history(live, copy, everybody) == 4
    assert rows_of(live) == rows_of(copy)
    assert restore_history(live, copy, everybody) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy.db", "live.db"]


def test_only_the_memories_that_are_meant_come_back(copy: Path, tmp_path: Path) -> None:
    live = make_history(tmp_path / "live.db", [(BOB, "DELETE", None)])
    before = rows_of(live)
    assert restore_history(live, copy, {UUID(ALICE)}.__contains__) == 2
    assert rows_of(live) == before + [row for row in rows_of(copy) if row[1] == ALICE]


def test_what_mem0_has_written_since_stays(copy: Path, tmp_path: Path) -> None:
    live = make_history(tmp_path / "live.db")
    restore_history(live, copy, everybody)
    with closing(sqlite3.connect(live)) as database, database:
        database.execute("UPDATE history SET role = 'mem0 knows better'")
        database.execute("DELETE FROM history WHERE memory_id = ?", (BOB,))
    assert restore_history(live, copy, everybody) == 1
    assert {row[0] for row in rows_of(live, "role")} == {"mem0 knows better", "user"}


def test_histories_of_different_versions_fit_as_far_as_they_have_the_same_columns(copy: Path, tmp_path: Path) -> None:
    old, new = make_history(tmp_path / "old.db", layout=OLD), make_history(tmp_path / "new.db")
    assert restore_history(old, copy, everybody) == 4
    assert restore_history(new, old, everybody) == 4
    wanted = "id, memory_id, new_memory, event, created_at"
    assert rows_of(new, wanted) == rows_of(copy, wanted)


def test_rows_that_are_of_no_memory_are_left(tmp_path: Path) -> None:
    copy = make_history(tmp_path / "copy.db", [(None, "ADD", "x"), ("no id", "ADD", "y"), (ALICE, "ADD", "z")])
    with closing(sqlite3.connect(copy)) as database, database:
        database.execute("INSERT INTO history (id, memory_id, event) VALUES (NULL, ?, 'ADD')", (ALICE,))
    live = make_history(tmp_path / "live.db")
    assert restore_history(live, copy, everybody) == 1


def test_a_history_that_is_not_there_is_not_made(copy: Path, tmp_path: Path) -> None:
    with pytest.raises(HistoryMissingError):
        restore_history(tmp_path / "live.db", copy, everybody)
    assert not (tmp_path / "live.db").exists()


def test_a_history_that_somebody_holds_is_given_up_in_the_end(
    copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history_writer, "BUSY_SECONDS", 0.1)
    live = make_history(tmp_path / "live.db")
    with closing(sqlite3.connect(live, isolation_level=None)) as mem0:
        mem0.execute("BEGIN IMMEDIATE")
        with pytest.raises(HistoryNotWrittenError, match="locked"):
            restore_history(live, copy, everybody)
    assert restore_history(live, copy, everybody) == 4


def test_mem0_writes_on_meanwhile(tmp_path: Path) -> None:
    copy, live = make_history(tmp_path / "copy.db", many(4_000)), make_history(tmp_path / "live.db")
    stop, written = threading.Event(), []

    def write() -> None:
        while not stop.wait(0.002):
            add_rows(live, [(str(uuid.uuid4()), "ADD", "x")])  # raises where it waits 5 s, as mem0 does
            written.append(1)

    mem0 = threading.Thread(target=write)
    mem0.start()
    try:
        assert restore_history(live, copy, everybody) == 4_000
        assert mem0.is_alive()
    finally:
        stop.set()
        mem0.join()
    assert written
    assert read_copy(live).rows == 4_000 + len(written)


def test_a_kill_in_the_middle_costs_nothing_but_the_rest(tmp_path: Path) -> None:
    copy, live = make_history(tmp_path / "copy.db", many(5_000)), make_history(tmp_path / "live.db")

    def until_killed(memory: UUID) -> bool:
        if memory.int == 4_500:
            os.kill(os.getpid(), signal.SIGKILL)
        return True

    child = os.fork()
    if child == 0:
        restore_history(live, copy, until_killed)
        os._exit(1)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    assert read_copy(live).rows == 4_000
    assert restore_history(live, copy, everybody) == 1_000
    assert rows_of(live) == rows_of(copy)
