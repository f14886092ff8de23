"""Vectors that were asked for already, kept until they are in the database: they cost money, and hours.

An SQLite file, in which a batch is on disk before the next one is asked for. A kill loses one batch; the next attempt
asks for the rest. A vector depends on the embedder and on the text alone: so these are the key, the text by its sha256
(no memory can be read here), and a text that stands in many memories is asked for once.
"""

import hashlib
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

from mem0_assets.backups.files import plain_disk_errors
from mem0_assets.errors import Mem0AssetsError, NoSpaceError

FILE = "vectors.db"
_TABLE = """
    CREATE TABLE IF NOT EXISTS vectors
        (embedder TEXT, text_sha256 BLOB, vector BLOB NOT NULL, PRIMARY KEY (embedder, text_sha256)) WITHOUT ROWID
"""
_GET = "SELECT vector FROM vectors WHERE embedder = ? AND text_sha256 = ?"
_PUT = "INSERT OR REPLACE INTO vectors VALUES (?, ?, ?)"


class VectorFileError(Mem0AssetsError):
    """The file of vectors cannot be used."""

    code = "vector_file"


class VectorFile:
    """The vectors of one embedder in one file."""

    def __init__(self, path: Path, database: sqlite3.Connection, embedder: str) -> None:
        self._path, self._database, self._embedder = path, database, embedder

    def get(self, text: str) -> bytes | None:
        """The vector of a text; None where it was not asked for yet. Raises VectorFileError."""
        with _plain_errors(self._path):
            row = self._database.execute(_GET, (self._embedder, _key(text))).fetchone()
        return row[0] if row else None

    def put(self, vectors: Mapping[str, bytes]) -> None:
        """Keep the vectors of these texts, on disk when this returns. Raises VectorFileError, NoSpaceError."""
        with _plain_errors(self._path), self._database:
            self._database.execute("BEGIN")
            rows: Iterable[tuple[str, bytes, bytes]] = (
                (self._embedder, _key(text), vector) for text, vector in vectors.items()
            )
            self._database.executemany(_PUT, rows)


@contextmanager
def vector_file(folder: Path, embedder: str) -> Iterator[VectorFile]:
    """The file in `folder`, made where there is none; only its owner may read it. Raises VectorFileError, NoSpaceError."""
    path = folder / FILE
    with plain_disk_errors(folder):
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    with _plain_errors(path):
        database = sqlite3.connect(path, isolation_level=None)
    with closing(database):
        with _plain_errors(path):
            database.execute("PRAGMA synchronous = FULL")
            database.execute(_TABLE)
        yield VectorFile(path, database, embedder)


def remove_vector_file(folder: Path) -> None:
    """What it held is in the database now. Raises OSError."""
    (folder / FILE).unlink(missing_ok=True)


def _key(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


@contextmanager
def _plain_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_FULL:
            raise NoSpaceError(f"the disk of {path} is full", next_step="Free space there") from None
        step = f"If it is damaged, remove {path}: the vectors are then asked for, and paid, once more"
        raise VectorFileError(f"{path} cannot be used: {error}", next_step=step) from None
