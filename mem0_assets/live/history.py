"""Reading mem0's history.db beside a mem0 that writes to it: without writing, and without getting in its way.

history.db (SQLite, a rollback journal) holds every memory's story; a dump of PostgreSQL alone is half a backup. While
anyone reads it, nobody can commit to it. mem0 waits 5 s for that, then raises "database is locked", and the memory is
stored without history. So a look takes a moment, and a copy is made in steps that hold the file for HOLD_SECONDS at most.

It is opened with mode=ro: after a crash SQLite would otherwise roll the file back by its journal, which is mem0's to do.
mode=ro refuses to read such a file, and leaves it and the journal as they are. (In WAL mode, which mem0 never sets,
SQLite keeps its two files beside it, and a reader may have to make them.)
"""

import hashlib
import math
import os
import sqlite3
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from mem0_assets.errors import Mem0AssetsError, NoSpaceError, UnreachableError

# What a look at the live file may wait for a writer. A writer never waits for us meanwhile.
BUSY_SECONDS = 5.0
# Between two writes in a row a writer lets go for a few milliseconds only.
LOOK_SECONDS = 0.002
# mem0 waits 5 s. A step that copies everything took 0.21 s for 139 MB.
HOLD_SECONDS = 1.0
COPY_SECONDS = 60.0
FIRST_PAGES = 256
GROWTH = 4
# 0.1.50 to 0.1.90 called the new text otherwise; newer versions rename it when they first open the file.
TEXT_COLUMNS = ("new_memory", "new_value")
TABLE = "history"
MOST_FINDINGS = 3
TAIL_ROWS = 1000

Seen = TypeVar("Seen")


class HistoryMissingError(Mem0AssetsError):
    """Where history.db should be there is none: lost, never mounted, or fleet.yaml names another place."""

    code = "history_missing"


class HistoryDamagedError(Mem0AssetsError):
    """There is a file, and it is no history of mem0's that can be read."""

    code = "history_damaged"


@dataclass(frozen=True)
class HistoryCopy:
    """What a copied history holds: its `rows`, the largest rowid (0 where it is empty), and the rows by event."""

    rows: int
    newest_row: int
    events: dict[str, int]

    def as_json(self) -> dict[str, Any]:
        return dict(vars(self))


@dataclass(frozen=True)
class Event:
    """One row of the history. Of the text that it gave the memory, only the md5 is known here (None: it gave none)."""

    row: int
    memory_id: str
    event: str
    text_md5: str | None


@dataclass(frozen=True)
class LiveEvent:
    """One row of a live history. `times`: its created_at and updated_at as they stand there, where it has them."""

    row: int
    memory_id: str
    event: str
    times: tuple[str, ...]


def newest_row(path: Path, *, seconds: float = BUSY_SECONDS) -> int:
    """The largest rowid of a live history, 0 where it is empty. Read before a snapshot of PostgreSQL is taken, it says
    which rows that snapshot must reflect: mem0 commits to PostgreSQL first and writes the history after it.

    Raises HistoryMissingError, HistoryDamagedError, and UnreachableError where nothing could be learnt.
    """
    return _look(path, seconds, lambda live: _number(live, f"SELECT coalesce(max(rowid), 0) FROM {TABLE}"))


def read_tail(path: Path, *, stride: int = 1, seconds: float = BUSY_SECONDS) -> list[LiveEvent]:
    """Of the newest rows of a live history every `stride`-th, TAIL_ROWS at most, oldest first.

    Each row is found by its number, so that it takes 10 ms of however long a history, and only for those mem0 cannot
    write. Rows that name no memory are left out. Raises what `newest_row` raises.
    """
    query = f"""
        WITH RECURSIVE spots (row) AS (
            SELECT max(rowid) FROM {TABLE} UNION ALL SELECT row - :stride FROM spots WHERE row > :stride LIMIT {TAIL_ROWS}
        )
        SELECT row, CAST(memory_id AS TEXT), CAST(event AS TEXT), CAST(created_at AS TEXT), CAST(updated_at AS TEXT)
          FROM spots JOIN {TABLE} ON rowid = row WHERE memory_id IS NOT NULL ORDER BY row
    """
    rows = _look(path, seconds, lambda live: live.execute(query, {"stride": stride}).fetchall())
    return [LiveEvent(row, memory, event or "", tuple(at for at in times if at)) for row, memory, event, *times in rows]


def _look(path: Path, seconds: float, read: Callable[[sqlite3.Connection], Seen]) -> Seen:
    """What `read` finds in a live history, as soon as no writer holds it."""
    until = time.monotonic() + seconds
    _require_file(path)
    while True:
        try:
            with _plain_errors(path, seconds), closing(_open(path, "mode=ro")) as live:
                _text_column(live, path)
                return read(live)
        except _StandsStillError:
            if time.monotonic() > until:
                raise
            time.sleep(LOOK_SECONDS)


def copy_history(path: Path, target: Path, *, seconds: float = COPY_SECONDS) -> HistoryCopy:
    """Copy a live history into a new file, make sure that it is on disk, and read the copy back, whole.

    Raises what `newest_row` raises, UnreachableError also where mem0 wrote into every attempt of `seconds`, and
    NoSpaceError or OSError where the target cannot be written. An error leaves the target as far as it came.
    """
    newest_row(path, seconds=min(seconds, BUSY_SECONDS))
    before = _which_file(path)
    os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    with _plain_errors(path, seconds), closing(_open(path, "mode=ro")) as live:
        _copy_pages(live, path, target, time.monotonic() + seconds)
    if _which_file(path) != before:
        raise UnreachableError(f"{path} was replaced by another file while it was copied", next_step="Back up again")
    _put_on_disk(target)
    return _examine(target, path)


def read_copy(path: Path) -> HistoryCopy:
    """Read a copied history whole: nobody writes to it, so SQLite needs no lock, and no right to write beside it.

    Raises HistoryMissingError, HistoryDamagedError, UnreachableError.
    """
    return _examine(path, path)


def read_events(path: Path, *, after: int = 0) -> Iterator[Event]:
    """The rows of a copied history `after` this one, oldest first, one at a time; those that name no memory are left out."""
    with _plain_errors(path, 0), closing(_open(path, "immutable=1")) as copy:
        text = _text_column(copy, path)
        rows = copy.execute(
            f"SELECT rowid, CAST(memory_id AS TEXT), CAST(event AS TEXT), CAST({text} AS BLOB) FROM {TABLE}"
            " WHERE memory_id IS NOT NULL AND rowid > ? ORDER BY rowid",
            (after,),
        )
        for row, memory_id, event, content in rows:
            yield Event(row, memory_id, event or "", None if content is None else hashlib.md5(content).hexdigest())


class _StandsStillError(UnreachableError):
    """A writer holds the file, or died in the middle of a write. May be over in a moment."""


class _RestartedError(Exception):
    """mem0 wrote between two steps, and SQLite began from the first page again."""


class _Steps:
    """What SQLite tells after each step: raises when it had to begin again, and when it takes too long."""

    def __init__(self, until: float) -> None:
        self.until = until
        self.since = time.monotonic()
        self.remaining = math.inf
        self.slowest = 0.0

    def __call__(self, status: int, remaining: int, total: int) -> None:
        now = time.monotonic()
        if now > self.until:
            raise TimeoutError
        if status not in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            if remaining >= self.remaining:
                raise _RestartedError
            self.remaining = remaining
            self.slowest = max(self.slowest, now - self.since)
        self.since = time.monotonic()


def _copy_pages(live: sqlite3.Connection, path: Path, target: Path, until: float) -> None:
    """Small steps while mem0 is quiet; where it writes between them, ever larger ones, within HOLD_SECONDS each."""
    live.execute("PRAGMA busy_timeout = 0")  # SQLite's own waiting would count as a slow step
    pages = FIRST_PAGES
    while True:
        steps = _Steps(until)
        try:
            with closing(_new_copy(target)) as copy:
                return live.backup(copy, pages=pages, progress=steps, sleep=LOOK_SECONDS)
        except _RestartedError:
            pages = _next_size(pages, steps.slowest)
        except TimeoutError:
            raise UnreachableError(
                f"{path} was written to, or locked, for as long as it was being copied",
                next_step="Back up when mem0 is less busy, and look for a process that holds the file",
            ) from None


def _new_copy(target: Path) -> sqlite3.Connection:
    os.truncate(target, 0)  # half a copy of an earlier attempt is no database
    copy = _open(target, "mode=rw")
    # With its own fsync SQLite would keep the live file locked for as long as our disk needs.
    copy.execute("PRAGMA journal_mode = OFF")
    copy.execute("PRAGMA synchronous = OFF")
    return copy


def _next_size(pages: int, seconds: float) -> int:
    """`pages` took at most so many `seconds`: several times as many, where they can be expected to hold the file briefly."""
    most = int(pages * HOLD_SECONDS / seconds) if seconds else pages * GROWTH
    return max(1, min(pages * GROWTH, most))


def _put_on_disk(target: Path) -> None:
    with open(target, "rb") as file:
        os.fsync(file.fileno())
        if hasattr(os, "posix_fadvise"):  # reading back must ask the disk, not the memory
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    folder = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _examine(copy: Path, named: Path) -> HistoryCopy:
    """Read a copy whole; its faults are told as those of `named`."""
    _require_file(copy)
    with _plain_errors(named, 0), closing(_open(copy, "immutable=1")) as connection:
        findings = [row[0] for row in connection.execute(f"PRAGMA integrity_check({MOST_FINDINGS})")]
        if findings != ["ok"]:
            raise HistoryDamagedError(f"{named} is damaged: SQLite finds {'; '.join(findings)}")
        _text_column(connection, named)
        rows = _number(connection, f"SELECT count(*) FROM {TABLE}")
        newest = _number(connection, f"SELECT coalesce(max(rowid), 0) FROM {TABLE}")
        query = f"SELECT coalesce(CAST(event AS TEXT), ''), count(*) FROM {TABLE} GROUP BY 1 ORDER BY 1"
        return HistoryCopy(rows, newest, dict(connection.execute(query).fetchall()))


def _text_column(connection: sqlite3.Connection, path: Path) -> str:
    """The column of the new text. Raises HistoryDamagedError where this is no history of mem0's."""
    columns = {row[1] for row in connection.execute(f"PRAGMA table_info({TABLE})")}
    if not columns:
        raise HistoryDamagedError(f"{path} has no table {TABLE}", next_step="Is it mem0's history.db, or a new one?")
    text = [column for column in TEXT_COLUMNS if column in columns]
    missing = sorted({"memory_id", "event"} - columns) + ([] if text else [TEXT_COLUMNS[0]])
    if missing:
        raise HistoryDamagedError(f"the table {TABLE} of {path} is not mem0's: it has no column {', '.join(missing)}")
    return text[0]


def _number(connection: sqlite3.Connection, query: str) -> int:
    return int(connection.execute(query).fetchone()[0])


def _open(path: Path, how: str) -> sqlite3.Connection:
    """A connection in autocommit: a lock lasts as long as a statement, and no longer."""
    uri = f"file://{quote(os.fsencode(path.absolute()))}?{how}"
    connection = sqlite3.connect(uri, uri=True, timeout=LOOK_SECONDS, isolation_level=None)
    connection.text_factory = lambda text: text.decode("utf-8", "replace")
    return connection


def _require_file(path: Path) -> None:
    """Told apart before SQLite is asked, which has one message for all of these: what is lost, and what is not known."""
    try:
        found = path.stat()
    except FileNotFoundError:
        if path.parent.is_dir():
            step = "Is its folder mounted, and does fleet.yaml name the file that mem0 writes to?"
            raise HistoryMissingError(f"there is no {path}", next_step=step) from None
        raise UnreachableError(f"the folder of {path} does not exist", next_step="Is it mounted?") from None
    except OSError as error:
        raise UnreachableError(f"{path} cannot be looked at: {error.strerror}") from None
    if stat.S_ISDIR(found.st_mode):
        step = "Docker makes one where a file that it is to mount is missing"
        raise HistoryMissingError(f"{path} is a folder, not a file", next_step=step)
    if not stat.S_ISREG(found.st_mode):
        raise HistoryMissingError(f"{path} is no regular file")


def _which_file(path: Path) -> tuple[int, int]:
    _require_file(path)
    found = path.stat()
    return found.st_dev, found.st_ino


@contextmanager
def _plain_errors(path: Path, seconds: float) -> Iterator[None]:
    """SQLite's errors as ours. `seconds`: how long a lock was waited for."""
    try:
        yield
    except sqlite3.Error as error:
        raise _translated(path, error, seconds) from None


def _translated(path: Path, error: sqlite3.Error, seconds: float) -> Mem0AssetsError:
    match error.sqlite_errorcode & 0xFF:
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            step = "Look for a process that hangs with it open"
            return _StandsStillError(f"another process has locked {path} for {seconds:g} s", next_step=step)
        case sqlite3.SQLITE_READONLY:
            return _StandsStillError(
                f"{path} was left in the middle of a write; its journal, {path.name}-journal, is part of it",
                next_step="Keep both files and start mem0: it takes the unfinished write back by itself",
            )
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return HistoryDamagedError(f"{path} is damaged, or no SQLite database: {error}")
        case sqlite3.SQLITE_FULL:
            return NoSpaceError(
                f"the disk is full: {path} cannot be copied", next_step="Free space; no backup was lost"
            )
        case _:
            return UnreachableError(
                f"{path} cannot be read: {error}", next_step="May this user read it, and its folder?"
            )
