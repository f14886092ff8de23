"""mem0's history.db put in its place and taken out of it, with what SQLite keeps beside it."""

import os
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

import pytest

from mem0_assets.errors import RefusedError
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


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be two users")
@pytest.mark.parametrize(("owner", "refused"), [(4242, True), (4243, False), (0, False)])
def test_a_history_that_mem0_could_not_write_to_is_refused(owner: int, refused: bool) -> None:
    """Laid there by the user 4243, in a folder of that user, for the owner of the live one."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        history, copy = folder / "history.db", folder / "copy.db"
        _history(history, "live")
        _history(copy, "of the backup")
        os.chown(folder, 4243, 4243)
        os.chown(history, owner, owner)
        os.seteuid(4243)
        try:
            if refused:
                with pytest.raises(RefusedError, match="belongs to the user 4242"):
                    history_swap.prepare(copy, history, RESTORE)
            else:
                history_swap.prepare(copy, history, RESTORE)
        finally:
            os.seteuid(0)
        assert history_swap.prepared(history, RESTORE).exists() is not refused
