"""history.db files as the versions of mem0 make them, without mem0."""

import sqlite3
import uuid
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

NOW = """CREATE TABLE history (id TEXT PRIMARY KEY, memory_id TEXT, old_memory TEXT, new_memory TEXT, event TEXT,
    created_at DATETIME, updated_at DATETIME, is_deleted INTEGER, actor_id TEXT, role TEXT)"""
OLD = """CREATE TABLE history (id TEXT PRIMARY KEY, memory_id TEXT, old_memory TEXT, new_value TEXT, event TEXT,
    created_at DATETIME, updated_at DATETIME, is_deleted INTEGER)"""

Row = tuple[str | None, str, str | None]  # memory_id, event, new text


def make_history(path: Path, rows: Iterable[Row] = (), *, layout: str = NOW) -> Path:
    """A history of these rows, in this order, from rowid 1."""
    with closing(sqlite3.connect(path)) as database:
        database.execute(layout)
        database.commit()
    add_rows(path, rows)
    return path


def add_rows(path: Path, rows: Iterable[Row], *, at: str | None = None) -> None:
    """Append these rows, created `at` this time."""
    with closing(sqlite3.connect(path)) as database, database:
        columns = [row[1] for row in database.execute("PRAGMA table_info(history)")]
        text = "new_memory" if "new_memory" in columns else "new_value"
        insert = f"INSERT INTO history (id, memory_id, event, {text}, is_deleted, created_at) VALUES (?, ?, ?, ?, ?, ?)"
        database.executemany(insert, ((str(uuid.uuid4()), *row, int(row[1] == "DELETE"), at) for row in rows))


def many(count: int) -> Iterable[Row]:
    """So many memories, each added once."""
    return ((str(uuid.UUID(int=number)), "ADD", f"The memory of number {number}, " * 3) for number in range(count))
