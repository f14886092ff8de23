"""mem0's history.db put in its place and taken out of it, with what SQLite keeps beside it."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from mem0_assets.restores import history_swap

RESTORE = "20260103_133102"
ROWS = 2000


def _history(path: Path, text: str) -> None:
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("CREATE TABLE history (id INTEGER PRIMARY KEY, text TEXT)")
        database.executemany("INSERT INTO history (text) VALUES (?)", [(text,)] * ROWS)


def _killed_in_a_write(history: Path) -> None:
    """A writer that dies with its journal on disk, and pages of its transaction in the file."""
    child = os.fork()
    if child == 0:
        database = sqlite3.connect(history, isolation_level=None)
        database.execute("PRAGMA cache_size = 1")
        database.execute("BEGIN")
        database.execute("UPDATE history SET text = 'half'")
        os._exit(0)
    os.waitpid(child, 0)


def _texts(history: Path) -> list[tuple[str, int]]:
    with closing(sqlite3.connect(history)) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return database.execute("SELECT text, count(*) FROM history GROUP BY 1").fetchall()


def test_the_journal_of_a_history_that_is_gone_is_not_rolled_back_into_the_one_that_comes(tmp_path: Path) -> None:
    history, copy = tmp_path / "history.db", tmp_path / "copy.db"
    _history(history, "live")
    _killed_in_a_write(history)
    journal = history.with_name("history.db-journal")
    assert journal.exists()
    history.unlink()
    _history(copy, "of the backup")
    history_swap.prepare(copy, history, RESTORE)
    history_swap.place(history, RESTORE)
    assert _texts(history) == [("of the backup", ROWS)]
    assert [path.name for path in history_swap.aside(history, RESTORE)] == [f"history.db.replaced_{RESTORE}-journal"]
    history_swap.put_back(history, RESTORE)
    assert not history.exists()


def test_a_half_written_history_goes_and_comes_back_with_its_journal(tmp_path: Path) -> None:
    history, copy = tmp_path / "history.db", tmp_path / "copy.db"
    _history(history, "live")
    _killed_in_a_write(history)
    _history(copy, "of the backup")
    history_swap.prepare(copy, history, RESTORE)
    history_swap.place(history, RESTORE)
    assert _texts(history) == [("of the backup", ROWS)]
    history_swap.put_back(history, RESTORE)
    assert _texts(history) == [("live", ROWS)]
