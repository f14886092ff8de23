"""Dumps of the binary format made without a server: whole, and as small or damaged as a test needs them."""

import hashlib
import json
import struct
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import zstandard

from mem0_assets.backups.formats.binary_label import Label
from mem0_assets.backups.inventory import ID_FORMAT
from mem0_assets.backups.manifest import BackupFile, Manifest
from mem0_assets.fleet import Deployment
from mem0_assets.live.census import Census
from mem0_assets.live.indexes import Index
from mem0_assets_tests.conftest import SMALL
from mem0_assets_tests.forged import IDENTITY, seal

NAME = "mem0_20260103_023000"
COLUMNS = (("id", "uuid"), ("vector", "vector"), ("payload", "jsonb"))
HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
END = b"\xff\xff"
DIMENSIONS = 3

_SQL = """--
-- PostgreSQL database dump
--

-- Dumped from database version 18.4
-- Dumped by pg_dump version 18.4

SET client_encoding = 'UTF8';

{}

--
-- PostgreSQL database dump complete
--

"""
PRE_DATA = _SQL.format(
    "CREATE EXTENSION IF NOT EXISTS vector WITH SCHEMA public;\n\n"
    "CREATE TABLE public.memories (id uuid NOT NULL, vector public.vector(3), payload jsonb);"
).encode()
POST_DATA = _SQL.format("ALTER TABLE ONLY public.memories ADD CONSTRAINT memories_pkey PRIMARY KEY (id);").encode()

Row = Sequence[bytes | None]


def vector(*elements: float) -> bytes:
    """A vector as pgvector sends it."""
    return struct.pack(f">HH{len(elements)}f", len(elements), 0, *elements)


def memory(namespace: str, number: int) -> Row:
    """A memory as COPY sends it: id, vector, payload."""
    text = f"memory {number} of {namespace}"
    payload = {"data": text, "hash": hashlib.md5(text.encode()).hexdigest(), "user_id": namespace}
    elements = (number + part + 1 for part in range(DIMENSIONS))
    return (uuid.uuid5(uuid.NAMESPACE_URL, text).bytes, vector(*elements), b"\x01" + json.dumps(payload).encode())


def memories(namespaces: Mapping[str, int]) -> Iterator[Row]:
    return (memory(name, number) for name, count in namespaces.items() for number in range(count))


def row(fields: Row) -> bytes:
    """One row of COPY's binary form; None is NULL."""
    parts = [b"\xff\xff\xff\xff" if field is None else struct.pack(">i", len(field)) + field for field in fields]
    return struct.pack(">h", len(fields)) + b"".join(parts)


def rows(of: Iterable[Row]) -> bytes:
    """All that COPY sends of a table."""
    return HEADER + b"".join(map(row, of)) + END


def packed(label: Label, plain: bytes) -> bytes:
    """A file of a dump: its label, and these bytes in zstd."""
    return label.as_frame() + zstandard.ZstdCompressor(level=1, write_checksum=True).compress(plain)


def label_of(number: int, files: int = 3, *, dump: str = NAME) -> Label:
    """The label of the n-th file of a dump of the table memories alone."""
    if number == 1:
        return Label(dump, number, files, "pre-data")
    if number == files:
        return Label(dump, number, files, "post-data")
    return Label(dump, number, files, "rows", ("public", "memories"), COLUMNS)


def put(folder: Path, label: Label, plain: bytes) -> Path:
    """Write one file of a dump where it belongs."""
    path = folder / label.path
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(packed(label, plain))
    return path


def put_dump(folder: Path, *parts: bytes) -> list[Path]:
    """Write a whole dump whose table memories stands in these files of rows (else in one, of SMALL); in their order."""
    plain = [PRE_DATA, *(parts or [rows(memories(SMALL))]), POST_DATA]
    return [put(folder, label_of(number, len(plain)), one) for number, one in enumerate(plain, start=1)]


def forge_binary(deployment: Deployment, backup: str, sequence: int) -> Path:
    """Write a whole backup of SMALL, in two files of rows, verified by every rule; its folder."""
    folder = deployment.backups / "daily" / backup
    whole = list(memories(SMALL))
    plain = [PRE_DATA, rows(whole[:50]), rows(whole[50:]), POST_DATA]
    labels = [label_of(number, len(plain), dump=f"mem0_{backup}") for number in range(1, len(plain) + 1)]
    paths = [put(folder / "postgres", label, one) for label, one in zip(labels, plain, strict=True)]
    files = [
        BackupFile(str(path.relative_to(folder)), path.stat().st_size, _sha256(path), len(one), label.statement)
        for path, label, one in zip(paths, labels, plain, strict=True)
    ]
    moment = datetime.strptime(backup, ID_FORMAT).replace(tzinfo=UTC)
    total = sum(SMALL.values())
    manifest = Manifest(
        backup=backup,
        deployment=deployment.name,
        sequence=sequence,
        tiers=("daily",),
        created_at=moment,
        census=Census("memories", total, dict(SMALL), IDENTITY, moment),
        tables={"memories": total},
        indexes=(Index("memories_pkey", "btree"),),
        format="binary",
        program="pg_dump 18.4",
        seconds=0.1,
        files=tuple(files),
    )
    seal(folder, manifest)
    return folder


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
