"""What a file of a binary dump says of itself: read back as it was written, or known for damaged."""

import json
import os
import struct
import subprocess
import zlib
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mem0_assets.backups.formats.binary_label import Label, read_label
from mem0_assets.backups.formats.damage import DumpDamage
from mem0_assets.errors import NotFoundError
from mem0_assets.live.embedded import EmbeddedServer
from mem0_assets_tests.binary_dump import label_of, packed
from mem0_assets_tests.conftest import needs_zstd, open_connection

ROWS = label_of(2)
# PostgreSQL's own limits: 63 bytes of UTF-8, and no zero byte.
NAMES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=15)
COLUMNS = st.lists(st.tuples(NAMES, NAMES), max_size=5).map(tuple)


def _code(path: Path) -> str:
    with pytest.raises(DumpDamage) as damaged:
        read_label(path)
    assert path.name in damaged.value.reason.message
    return damaged.value.reason.code


def _frame(content: bytes, *, mark: int = 0x184D2A5E) -> bytes:
    return struct.pack("<III", mark, len(content) + 4, zlib.crc32(content)) + content


@given(st.tuples(NAMES, NAMES), COLUMNS, st.integers(1, 10**6))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_label_is_read_back_as_it_was_written(
    tmp_path: Path, table: tuple[str, str], columns: tuple[tuple[str, str], ...], file: int
) -> None:
    label = Label("mem0_20260103_023000", file, 10**6, "rows", table, columns)
    path = tmp_path / "file"
    path.write_bytes(packed(label, b"rows"))
    assert read_label(path) == label
    assert label.what.startswith("rows of ")


@given(st.tuples(NAMES, NAMES), st.integers(1, 9999))
def test_a_file_has_a_name_that_any_shell_takes(table: tuple[str, str], file: int) -> None:
    path = PurePosixPath(Label("dump", file, 9999, "rows", table).path)
    assert path.parent == PurePosixPath("data")
    assert path.name.isascii()
    assert path.name.replace(".", "").replace("_", "").replace("-", "").isalnum()
    assert path.name[0].isdigit()
    assert len(path.name) < 64


def test_the_schema_stands_before_and_after_the_data_in_the_order_of_loading() -> None:
    paths = [label_of(number).path for number in (1, 2, 3)]
    assert paths == ["pre-data.sql.zst", "data/0002_memories.copy.zst", "post-data.sql.zst"]
    assert [label_of(number).what for number in (1, 2, 3)] == ["pre-data", "rows of memories", "post-data"]
    assert [label_of(number).statement for number in (1, 3)] == [None, None]


@pytest.mark.parametrize("name", ["memories", 'Weird "name"; DROP TABLE x', "two\nlines", "tablé", "%s {} $1 :a"])
def test_its_statement_loads_the_rows_of_just_this_table(server: EmbeddedServer, name: str) -> None:
    label = replace(ROWS, table=("public", name), columns=((name, "integer"), ("b", "integer")))
    statement = label.statement
    assert statement is not None
    with open_connection(server, "postgres") as connection, connection.transaction(force_rollback=True):
        quoted = '"' + name.replace('"', '""') + '"'
        connection.execute(f"CREATE TABLE {quoted} (b integer, {quoted} integer)".encode())
        with connection.cursor() as cursor, cursor.copy(statement.encode()) as copy:
            copy.write(b"PGCOPY\n\xff\r\n\0" + bytes(8))
            copy.write(struct.pack(">hiiii", 2, 4, 1, 4, 2) + b"\xff\xff")
        row = connection.execute(f"SELECT {quoted} AS a, b FROM {quoted}".encode()).fetchone()
    assert row == {"a": 1, "b": 2}


@needs_zstd
def test_zstd_passes_over_it_and_gives_the_data_alone(tmp_path: Path) -> None:
    path = tmp_path / "file.zst"
    path.write_bytes(packed(ROWS, b"the data"))
    subprocess.run(["zstd", "-tq", path], check=True)
    assert subprocess.run(["zstd", "-dcq", path], capture_output=True, check=True).stdout == b"the data"


def test_the_widest_table_has_room(tmp_path: Path) -> None:
    columns = tuple((f"{number:04}" + '"' * 59, "€" * 21) for number in range(1600))
    label = replace(ROWS, columns=columns)
    (tmp_path / "file").write_bytes(label.as_frame())
    assert read_label(tmp_path / "file") == label


def test_every_cut_inside_it_is_truncated(tmp_path: Path) -> None:
    frame, path = ROWS.as_frame(), tmp_path / "file"
    for size in range(len(frame)):
        path.write_bytes(frame[:size])
        assert _code(path) == "truncated", f"{size} bytes"


def test_every_flipped_bit_of_it_is_seen(tmp_path: Path) -> None:
    whole, path = bytearray(packed(ROWS, b"the data")), tmp_path / "file"
    for bit in range(8 * len(ROWS.as_frame())):
        whole[bit // 8] ^= 1 << bit % 8
        path.write_bytes(whole)
        assert _code(path) in ("corrupt", "truncated"), f"bit {bit}"
        whole[bit // 8] ^= 1 << bit % 8


LABEL: dict[str, Any] = {"dump": "d", "file": 1, "files": 3, "content": "pre-data", "table": None, "columns": []}
NO_LABELS = {
    "plain text": b"-- a dump made by hand, and long enough\n",
    "another frame to skip": _frame(json.dumps(LABEL).encode(), mark=0x184D2A50),
    "no JSON": _frame(b"no JSON"),
    "no object": _frame(b"[1, 2, 3]"),
    "a number as a word": _frame(json.dumps({**LABEL, "file": "1"}).encode()),
    "a content that nobody knows": _frame(json.dumps({**LABEL, "content": "statistics"}).encode()),
    "no dump's name": _frame(json.dumps({name: LABEL[name] for name in LABEL if name != "dump"}).encode()),
    "no UTF-8": _frame(b'{"dump": "\xff"}'),
    "a length beyond all labels": struct.pack("<III", 0x184D2A5E, 1 << 31, 0) + bytes(100),
    "a length of nothing": struct.pack("<III", 0x184D2A5E, 4, 0) + bytes(100),
}


@pytest.mark.parametrize("what", NO_LABELS)
def test_what_is_no_label_is_corrupt(tmp_path: Path, what: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(NO_LABELS[what])
    assert _code(path) == "corrupt"


def test_a_file_that_is_missing_is_not_found_and_what_is_no_file_is_no_dump(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        read_label(tmp_path / "nothing")
    os.mkfifo(tmp_path / "pipe")
    assert _code(tmp_path / "pipe") == "not_a_dump"
