"""The tables: as many memories as wanted, laid out as mem0 2.x does, made in the format in which COPY reads them.

Vectors are float32 of unit length with random digits, the hardest case for a compressor: what embedders return is no
softer. Texts and payload keys are like mem0's own. Some 10,000 rows a second are made and loaded: ten times as many as
where the server makes the vectors (demo/memories.py).
"""

import hashlib
import json
import random
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, LiteralString

import numpy as np
from psycopg import sql

from mem0_assets.demo.memories import INCIDENT
from mem0_assets.live.postgres import Connection

COLLECTION = "memories"
DATABASE = "mem0"
SEED = 2026
# Rows that are made at once: at 1,536 dimensions some 25 MB of numbers.
BATCH = 2000
# How the vectors lie in the server: pgvector's type, or for a server without pgvector the same bytes in an array.
Column = Literal["vector", "real[]"]

_HEADER = b"PGCOPY\n\xff\r\n\x00" + struct.pack("!ii", 0, 0)
_TRAILER = struct.pack("!h", -1)
_FLOAT4 = 700  # the type's oid
_WORDS = [
    *("the client", "prefers", "a weekly summary", "before", "the morning flight", "to London", "and asked for"),
    *("a quiet room", "near the office", "because", "the vendor", "moved the release of", "SAP transports", "into"),
    *("Thursday", "while", "the committee", "decided on", "the budget", "after", "Zoë’s review"),
]
_FIRST = datetime(2025, 10, 16, 9, 0, tzinfo=UTC)

_TEXT_INDEX: LiteralString = """
    CREATE INDEX memories_text_lemmatized_idx ON memories USING gin (to_tsvector('simple', payload->>'text_lemmatized'))
"""
HNSW = f"CREATE INDEX {COLLECTION}_hnsw_idx ON public.{COLLECTION} USING hnsw (vector public.vector_cosine_ops)"


@dataclass(frozen=True, order=True)
class Size:
    """How large a table is: rows, and dimensions of each vector."""

    rows: int
    dimensions: int

    def __str__(self) -> str:
        return f"{self.rows:,} x {self.dimensions:,}"

    @property
    def name(self) -> str:
        """As in a file's name: rows, then dimensions."""
        return f"{self.rows}x{self.dimensions}"


def create_table(connection: Connection, size: Size, column: Column) -> int:
    """The table with its memories, primary key and text index, vacuumed and checkpointed; its bytes on disk.

    Not with its HNSW index: no dump holds it, and a copy of the whole server would have to carry as much again.
    """
    kind = f"vector({size.dimensions})" if column == "vector" else "real[]"
    if column == "vector":
        connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
    with connection.transaction(), connection.cursor() as cursor:
        cursor.execute(sql.SQL("CREATE TABLE memories (id uuid, vector {}, payload jsonb)").format(sql.SQL(kind)))
        cursor.execute("ALTER TABLE memories ALTER vector SET STORAGE EXTERNAL")  # what pgvector's type has by itself
        with cursor.copy("COPY memories FROM STDIN (FORMAT binary, FREEZE)") as copy:
            for block in _copied(size, column):
                copy.write(block)
    connection.execute("ALTER TABLE memories ADD PRIMARY KEY (id)")
    connection.execute(_TEXT_INDEX)
    connection.execute("VACUUM ANALYZE memories")
    connection.execute("CHECKPOINT")
    return table_bytes(connection)


def table_bytes(connection: Connection) -> int:
    """Bytes of the table on disk, with its long values and without its indexes."""
    return _one(connection, "SELECT pg_table_size('memories') AS value")


def count_rows(connection: Connection) -> int:
    """Memories in the table."""
    return _one(connection, "SELECT count(*) AS value FROM memories")


def build_hnsw(connection: Connection, memory: int, workers: int) -> None:
    """Build the HNSW index with so many bytes of memory and so many parallel workers."""
    for name, value in (("maintenance_work_mem", f"{memory >> 10}kB"), ("max_parallel_maintenance_workers", workers)):
        connection.execute("SELECT set_config(%s, %s, false)", (name, str(value)))
    connection.execute(HNSW)


def _one(connection: Connection, query: LiteralString) -> int:
    row = connection.execute(query).fetchone()
    assert row is not None
    return int(row["value"])


def _copied(size: Size, column: Column) -> Iterator[bytes]:
    """The table as COPY BINARY reads it, in blocks. The same size gives the same rows every time."""
    numbers, words = np.random.default_rng(SEED), random.Random(SEED)
    yield _HEADER
    for first in range(0, size.rows, BATCH):
        count = min(BATCH, size.rows - first)
        vectors = _vectors(numbers, count, size.dimensions)
        values = _as_pgvector(vectors) if column == "vector" else _as_array(vectors)
        yield b"".join(_row(number, value, words) for number, value in enumerate(values, first))
    yield _TRAILER


def _vectors(numbers: np.random.Generator, count: int, dimensions: int) -> "np.ndarray[Any, np.dtype[np.float32]]":
    vectors = numbers.standard_normal((count, dimensions), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def _as_pgvector(vectors: "np.ndarray[Any, np.dtype[np.float32]]") -> Iterator[bytes]:
    head = struct.pack("!hh", vectors.shape[1], 0)
    for vector in vectors.astype(">f4"):
        yield head + vector.tobytes()


def _as_array(vectors: "np.ndarray[Any, np.dtype[np.float32]]") -> Iterator[bytes]:
    """real[]: one dimension without NULLs, beginning at 1; before each number its length."""
    dimensions = vectors.shape[1]
    head = struct.pack("!iiIii", 1, 0, _FLOAT4, dimensions, 1)
    numbers = np.full((dimensions, 2), 4, dtype=">i4")
    for vector in vectors.astype(">f4"):
        numbers[:, 1] = vector.view(">i4")
        yield head + numbers.tobytes()


def _row(number: int, vector: bytes, words: random.Random) -> bytes:
    payload = b"\x01" + json.dumps(_payload(number, words), ensure_ascii=False).encode()
    identifier = words.getrandbits(128).to_bytes(16, "big")
    return struct.pack("!hi16si", 3, 16, identifier, len(vector)) + vector + struct.pack("!i", len(payload)) + payload


def _payload(number: int, words: random.Random) -> dict[str, str]:
    text = " ".join(words.choices(_WORDS, k=9)) + f" (note {number})"
    written = (_FIRST + timedelta(seconds=37 * number)).isoformat()
    return {
        "data": text,
        "hash": hashlib.md5(text.encode(), usedforsecurity=False).hexdigest(),
        "user_id": words.choices(list(INCIDENT), list(INCIDENT.values()))[0],
        "created_at": written,
        "updated_at": written,
        "text_lemmatized": text,
        "source": "chat",
    }
