"""Puts rows of a backup's history.db back into the live one: those of some memories, which the live one has not.

mem0 waits 5 s for its history and then stores a memory without one. So what is missing is looked up page by page, and
written by the row's own id in short transactions: each holds the file for some milliseconds, and a kill between two of
them leaves rows that the next attempt need not write again.
"""

import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import UUID

from mem0_assets.errors import Mem0AssetsError
from mem0_assets.live.history import TABLE, TEXT_COLUMNS, newest_row

# Between two writes of its own mem0 lets go of the file for a few milliseconds: what waits so long gets its turn.
BUSY_SECONDS = 20.0
ROWS_AT_ONCE = 2000  # some 20 ms


class HistoryNotWrittenError(Mem0AssetsError):
    """The live history.db could not be written to. What was written before stays: every row of it is whole."""

    code = "history_not_written"


def restore_history(live: Path, copy: Path, wanted: Callable[[UUID], bool]) -> int:
    """Insert the rows of the copied history `copy` whose memories are `wanted` and whose ids `live` has not; how many.

    Rows that are there stay as they are. A copy of an older mem0 fits a newer history, and the other way round, as far as
    both have the columns. Raises HistoryMissingError, HistoryDamagedError, UnreachableError where the live one cannot be
    read, HistoryNotWrittenError.
    """
    newest_row(live)
    with _plain_errors(live), closing(_open(copy, "immutable=1")) as source, closing(_open(live, "mode=rw")) as target:
        from_columns, to_columns = _shared_columns(source, target)
        # In the order in which mem0 wrote them: its last word on a memory is its newest row.
        rows = source.execute(
            f"SELECT {', '.join(from_columns)}, memory_id FROM {TABLE} WHERE id IS NOT NULL ORDER BY rowid"
        )
        chosen = (row[:-1] for row in rows if _is_wanted(row[-1], wanted))
        return sum(_insert(target, to_columns, chunk) for chunk in _chunks(chosen))


def _insert(target: sqlite3.Connection, columns: Sequence[str], rows: list[Any]) -> int:
    """Those of the rows that are not there, in one transaction where there are any; how many. The first column is the id."""
    marks = ", ".join("?" * len(rows))
    there = target.execute(f"SELECT id FROM {TABLE} WHERE id IN ({marks})", [row[0] for row in rows])
    known = {row[0] for row in there.fetchall()}
    missing = [row for row in rows if row[0] not in known]
    if not missing:
        return 0
    insert = f"INSERT OR IGNORE INTO {TABLE} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"
    target.execute("BEGIN IMMEDIATE")
    with target:
        return target.executemany(insert, missing).rowcount


def _shared_columns(source: sqlite3.Connection, target: sqlite3.Connection) -> tuple[list[str], list[str]]:
    """The columns to read and those to write them to, in one order, the id first; mem0 renamed that of the new text."""
    here, there = _columns(source), _columns(target)
    pairs = {name: name for name in here if name in there and name not in TEXT_COLUMNS}
    old_text, new_text = (next(name for name in TEXT_COLUMNS if name in columns) for columns in (here, there))
    pairs = {"id": "id", **pairs, old_text: new_text}
    return list(pairs), list(pairs.values())


def _columns(database: sqlite3.Connection) -> list[str]:
    return [row[1] for row in database.execute(f"PRAGMA table_info({TABLE})")]


def _is_wanted(memory: object, wanted: Callable[[UUID], bool]) -> bool:
    try:
        return wanted(UUID(str(memory)))
    except ValueError:  # what is no id belongs to no memory
        return False


def _chunks(rows: Iterator[Any]) -> Iterator[list[Any]]:
    while chunk := list(islice(rows, ROWS_AT_ONCE)):
        yield chunk


def _open(path: Path, how: str) -> sqlite3.Connection:
    """A connection in autocommit to a file that is there: mode=rw makes none."""
    uri = f"file://{quote(os.fsencode(path.absolute()))}?{how}"
    return sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS, isolation_level=None)


@contextmanager
def _plain_errors(live: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        step = "Run the same command again once that is mended: what is there already is not written twice"
        raise HistoryNotWrittenError(f"{live} cannot be written to: {error}", next_step=step) from None
