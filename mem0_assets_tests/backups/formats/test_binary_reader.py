"""Reading a binary dump: every row is counted, and no damage of a file, or of the set of files, passes for less of it."""

import hashlib
import json
import os
import shutil
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mem0_assets.backups.formats import binary_reader
from mem0_assets.backups.formats.binary_label import POST_DATA, PRE_DATA
from mem0_assets.backups.formats.binary_reader import (
    BinaryRows,
    files_of,
    is_binary_dump,
    is_part,
    read_binary,
    read_part,
    statement_of,
)
from mem0_assets.backups.formats.dump_tables import Column, DumpTable
from mem0_assets.backups.formats.sql_reader import DumpContents
from mem0_assets.errors import NotFoundError
from mem0_assets_tests import binary_dump
from mem0_assets_tests.binary_dump import COLUMNS, END, HEADER, Row, label_of, memories, memory, packed, put, put_dump
from mem0_assets_tests.conftest import SMALL

FEW = {"alice": 2, "bob/work": 1}
ID, VECTOR, PAYLOAD = bytes(16), binary_dump.vector(1, 2, 3), b'\x01{"user_id": "alice"}'
END_OF_SQL = b"--\n-- PostgreSQL database dump complete"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A whole dump of SMALL, its rows in two files."""
    whole = list(memories(SMALL))
    put_dump(tmp_path, binary_dump.rows(whole[:50]), binary_dump.rows(whole[50:]))
    return tmp_path


def _read(folder: Path, collection: str | None = None) -> DumpContents:
    return read_binary(files_of(folder), collection=collection).contents


def _read_alone(folder: Path, plain: bytes) -> DumpContents:
    return read_part(put(folder, label_of(2), plain), collection=None)


def _part(folder: Path, number: int = 2) -> Path:
    return folder / label_of(number, 4).path


# A whole one


def test_a_whole_dump_is_counted_row_by_row(folder: Path) -> None:
    contents = _read(folder)
    assert contents.verdict.ok
    assert (contents.total, contents.namespaces, contents.tables) == (77, SMALL, {"memories": 77})
    assert (contents.format, contents.collection, contents.complete) == ("binary", "memories", True)
    assert (contents.dimensions, contents.row_dimensions) == (3, (3,))
    assert (contents.server_version, contents.pg_dump_version) == ("18.4", "18.4")


def test_each_file_is_hashed_as_it_is_read(folder: Path) -> None:
    paths = files_of(folder)
    reading = read_binary(paths, collection="memories")
    assert dict(reading.sha256) == {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}
    os.truncate(_part(folder), 100)
    assert _part(folder) not in read_binary(paths, collection="memories").sha256


def test_its_plain_bytes_are_those_of_all_files(tmp_path: Path) -> None:
    rows = binary_dump.rows(memories(FEW))
    put_dump(tmp_path, rows)
    assert _read(tmp_path).uncompressed_bytes == len(binary_dump.PRE_DATA) + len(rows) + len(binary_dump.POST_DATA)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans(), st.integers(0, 400)), max_size=8), st.data())
def test_rows_count_the_same_however_they_come_in_blocks(
    made: list[tuple[str, bool, int]], data: st.DataObject
) -> None:
    plain = binary_dump.rows(
        (ID, VECTOR if with_vector else None, b"\x01" + json.dumps({"user_id": name, "x": "x" * size}).encode())
        for name, with_vector, size in made
    )
    edges = sorted(data.draw(st.lists(st.integers(0, len(plain)), max_size=20)))
    table = DumpTable("memories", None, tuple(Column(name) for name, _ in COLUMNS))
    reader = BinaryRows(table, COLUMNS)
    for first, end in zip([0, *edges], [*edges, len(plain)], strict=True):
        reader.feed(plain[first:end])
    reader.end()
    assert (table.rows, table.faulty) == (len(made), 0)
    names = [name for name, _, _ in made]
    assert table.memories.namespaces == {name: names.count(name) for name in names}
    assert table.memories.dimensions.total() == sum(with_vector for _, with_vector, _ in made)


def test_nothing_in_a_field_is_counted_as_such(tmp_path: Path) -> None:
    contents = _read_alone(tmp_path, binary_dump.rows([(ID, None, None), (ID, VECTOR, b"\x01{}")]))
    assert contents.verdict.ok
    assert (contents.total, contents.namespaces, contents.row_dimensions) == (2, {"(none)": 2}, (3,))


@pytest.mark.parametrize(
    ("kind", "value", "dimensions"),
    [
        ("vector", struct.pack(">HH5f", 5, 0, *range(5)), (5,)),
        ("halfvec", struct.pack(">HH5e", 5, 0, *range(5)), (5,)),
        ("sparsevec", struct.pack(">iii", 100_000, 0, 0), ()),
        ("bytea", b"any bytes at all", ()),
        ("text", b"", ()),
    ],
)
def test_the_dimensions_are_those_of_pgvectors_own_types(
    tmp_path: Path, kind: str, value: bytes, dimensions: tuple[int, ...]
) -> None:
    label = replace(label_of(2), columns=(("id", "uuid"), ("vector", kind), ("payload", "json")))
    path = put(tmp_path, label, binary_dump.rows([(ID, value, b'{"user_id": "alice"}')]))
    contents = read_part(path, collection=None)
    assert contents.verdict.ok, contents.verdict.sentence()
    assert (contents.namespaces, contents.row_dimensions) == ({"alice": 1}, dimensions)


def test_an_empty_table_is_a_whole_dump_of_nothing(tmp_path: Path) -> None:
    put_dump(tmp_path, binary_dump.rows([]))
    assert _read(tmp_path).verdict.codes == ["empty"]


def test_a_collection_of_another_name_is_not_there(folder: Path) -> None:
    assert _read(folder, "messages").verdict.codes == ["wrong_content"]


# One file


def test_one_file_of_rows_says_what_it_holds_by_itself(folder: Path) -> None:
    assert is_part(_part(folder))
    contents = read_part(_part(folder), collection=None)
    assert contents.verdict.ok
    assert (contents.total, contents.namespaces) == (50, {"alice": 40, "bob/work": 10})
    assert (
        statement_of(_part(folder)) == 'COPY "public"."memories" ("id", "vector", "payload") FROM STDIN (FORMAT binary)'
    )


def test_the_schema_and_what_is_damaged_are_no_files_of_rows(folder: Path) -> None:
    assert not is_part(folder / PRE_DATA)
    assert statement_of(folder / PRE_DATA) is None
    os.truncate(_part(folder), 20)
    assert not is_part(_part(folder))
    assert statement_of(_part(folder)) is None


def test_every_cut_is_seen(tmp_path: Path) -> None:
    path = put(tmp_path, label_of(2), binary_dump.rows(memories(FEW)))
    whole, label = path.read_bytes(), len(label_of(2).as_frame())
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        contents = read_part(path, collection=None)
        assert contents.verdict.codes == ["not_a_dump" if size == label else "truncated"], f"{size} bytes"
        assert not contents.complete


def test_every_flipped_bit_is_seen_or_changes_nothing(tmp_path: Path) -> None:
    """zstd's own header has bits that mean nothing to a reader; of a backup, the manifest's sha256 sees those too."""
    path = put(tmp_path, label_of(2), binary_dump.rows([(ID, VECTOR, PAYLOAD)]))
    whole = bytearray(path.read_bytes())
    good, unseen = read_part(path, collection=None), 0
    for bit in range(8 * len(whole)):
        whole[bit // 8] ^= 1 << bit % 8
        path.write_bytes(whole)
        contents = read_part(path, collection=None)
        unseen += contents.verdict.ok
        assert contents == good or not contents.verdict.ok, f"bit {bit}"
        assert set(contents.verdict.codes) <= {"corrupt", "truncated", "not_a_dump"}, f"bit {bit}"
        whole[bit // 8] ^= 1 << bit % 8
    assert unseen < 10


def _with(place: int, value: bytes | None) -> Row:
    fields: list[bytes | None] = [ID, VECTOR, PAYLOAD]
    fields[place] = value
    return fields


def _body(*rows: bytes) -> bytes:
    return HEADER + binary_dump.row(memory("alice", 1)) + b"".join(rows)


DAMAGED = {
    "no end mark": ("truncated", _body()),
    "half an end mark": ("truncated", _body(b"\xff")),
    "a row that was cut": ("truncated", _body(binary_dump.row(memory("alice", 2))[:-1])),
    "a field longer than all that follows": ("truncated", _body(b"\0\x03" + struct.pack(">i", 1 << 30) + END)),
    "nothing but a header": ("truncated", HEADER),
    "half a header": ("truncated", HEADER[:15]),
    "flags in the header": ("corrupt", HEADER[:14] + b"\x01" + HEADER[15:] + END),
    "an extension of the header": ("corrupt", HEADER[:18] + b"\x04" + bytes(4) + END),
    "a row after the end mark": ("corrupt", _body(END, binary_dump.row(memory("alice", 2)))),
    "two end marks": ("corrupt", _body(END, END)),
    "a column too few": ("corrupt", _body(binary_dump.row((ID, VECTOR)), END)),
    "a column too many": ("corrupt", _body(binary_dump.row((ID, VECTOR, PAYLOAD, ID)), END)),
    "a row without columns": ("corrupt", _body(binary_dump.row(()), END)),
    "a negative number of columns": ("corrupt", _body(b"\x80\0", END)),
    "a negative length": ("corrupt", _body(b"\0\x03" + struct.pack(">i", -2), END)),
    "the most negative length": ("corrupt", _body(b"\0\x03" + struct.pack(">i", -(1 << 31)), END)),
    "a vector that says more than it has": ("corrupt", binary_dump.rows([_with(1, b"\0\x04" + VECTOR[2:])])),
    "a vector that says less than it has": ("corrupt", binary_dump.rows([_with(1, b"\0\x02" + VECTOR[2:])])),
    "a vector without dimensions": ("corrupt", binary_dump.rows([_with(1, b"\0")])),
    "a vector of nothing": ("corrupt", binary_dump.rows([_with(1, b"")])),
    "a payload of another version": ("corrupt", binary_dump.rows([_with(2, b"\x02{}")])),
    "a payload of nothing": ("corrupt", binary_dump.rows([_with(2, b"")])),
    "a payload that is no JSON": ("corrupt", binary_dump.rows([_with(2, b'\x01{"user_id": ')])),
    "a payload with a zero character": ("corrupt", binary_dump.rows([_with(2, b'\x01{"user_id": "a\\u0000b"}')])),
    "a payload with a zero byte": ("corrupt", binary_dump.rows([_with(2, b'\x01{"user_id": "a\0b"}')])),
    "a payload that is no UTF-8": ("corrupt", binary_dump.rows([_with(2, b'\x01{"user_id": "\xff"}')])),
    "text": ("corrupt", b"SELECT 1;\n"),
    "SQL": ("corrupt", binary_dump.PRE_DATA),
    "nothing": ("not_a_dump", b""),
}


@pytest.mark.parametrize("what", DAMAGED)
def test_damage_inside_a_whole_frame_is_refused_with_its_code_and_file(tmp_path: Path, what: str) -> None:
    code, plain = DAMAGED[what]
    put_dump(tmp_path, binary_dump.rows(memories(FEW)), plain)
    contents = _read(tmp_path)
    assert contents.verdict.codes == [code]
    assert not contents.complete
    assert read_part(_part(tmp_path, 3), collection=None).verdict.codes == [code]


def test_a_damaged_row_is_named_by_its_number_and_never_shown(tmp_path: Path) -> None:
    rows = binary_dump.rows([memory("alice", 1), _with(2, b"\x01a secret")])
    sentence = _read_alone(tmp_path, rows).verdict.sentence()
    assert "1 of 2 rows of memories are damaged; the first is row 2: its payload is damaged" in sentence
    assert "secret" not in sentence


def test_vectors_of_another_length_than_the_tables_are_corrupt(tmp_path: Path) -> None:
    put_dump(tmp_path, binary_dump.rows([_with(1, binary_dump.vector(1, 2))]))
    verdict = _read(tmp_path).verdict
    assert verdict.codes == ["corrupt"]
    assert "vectors of 2 dimensions; the column's type says 3" in verdict.sentence()


def test_a_row_without_an_end_takes_no_more_memory_than_the_longest_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(binary_reader, "MAX_LINE_BYTES", 10_000)
    endless = HEADER + b"\0\x03" + struct.pack(">i", 1 << 30) + bytes(20_000)
    assert "a row of more than 10000 bytes" in _read_alone(tmp_path, endless).verdict.sentence()


def test_bytes_after_the_compressed_data_are_corrupt(folder: Path) -> None:
    for path in files_of(folder):
        whole = path.read_bytes()
        path.write_bytes(whole + b"x")
        assert _read(folder).verdict.codes[0] in ("corrupt", "truncated"), path.name
        path.write_bytes(whole)
    assert _read(folder).verdict.ok


# The set of files


def _another(folder: Path, number: int, **changes: object) -> Path:
    """A file as the n-th of this dump, but for its label."""
    label = replace(label_of(number, 4), **changes)  # type: ignore[arg-type]
    path = _part(folder, number)
    path.write_bytes(packed(label, binary_dump.rows(list(memories(SMALL))[:50])))
    return path


SETS: dict[str, tuple[str, str, Callable[[Path], object]]] = {
    "rows are missing": ("truncated", "the file 2 of 4 is missing", lambda folder: _part(folder).unlink()),
    "the schema is missing": ("truncated", "the file 1 of 4", lambda folder: (folder / PRE_DATA).unlink()),
    "the indexes are missing": ("truncated", "the file 4 of 4", lambda folder: (folder / POST_DATA).unlink()),
    "a file is there twice": (
        "corrupt",
        "the file 2 is there 2 times",
        lambda folder: shutil.copy(_part(folder), folder / "data" / "copy of it.zst"),
    ),
    "a file replaced another": (
        "truncated",
        "the file 3 of 4",
        lambda folder: shutil.copy(_part(folder), _part(folder, 3)),
    ),
    "a file is of another dump": (
        "corrupt",
        "several dumps: mem0_20260103_023000 and mem0_20260104_023000",
        lambda folder: _another(folder, 2, dump="mem0_20260104_023000"),
    ),
    "a file is of a dump of another size": ("corrupt", "several dumps", lambda folder: _another(folder, 2, files=5)),
    "a file is counted beyond the last": ("truncated", "the file 2 of 4", lambda folder: _another(folder, 2, file=7)),
    "a file is something else": (
        "corrupt",
        "notes.zst does not begin with the label",
        lambda folder: (folder / "data" / "notes.zst").write_bytes(b"a note of somebody who looked"),
    ),
    "rows of a table that is not created": (
        "corrupt",
        "rows of other.memories, which the schema does not create",
        lambda folder: _another(folder, 2, table=("other", "memories")),
    ),
    "columns that the table has not": (
        "corrupt",
        "columns that the schema gives memories not",
        lambda folder: _another(folder, 2, columns=(("id", "uuid"), ("vector", "vector"), ("metadata", "jsonb"))),
    ),
    "rows whose label says schema": (
        "corrupt",
        "it holds rows, and its label says post-data",
        lambda folder: (folder / POST_DATA).write_bytes(packed(label_of(4, 4), binary_dump.rows(memories(FEW)))),
    ),
    "a schema whose label says rows": (
        "corrupt",
        "it holds SQL, and its label says rows of memories",
        lambda folder: _part(folder).write_bytes(packed(label_of(2, 4), binary_dump.PRE_DATA)),
    ),
    "a schema without its end": (
        "truncated",
        "pre-data.sql.zst: the end marker",
        lambda folder: put(folder, label_of(1, 4), binary_dump.PRE_DATA.partition(END_OF_SQL)[0]),
    ),
    "a schema that holds an error": (
        "dump_failed",
        "post-data.sql.zst: in the dump stands what a program said",
        lambda folder: put(
            folder, label_of(4, 4), binary_dump.POST_DATA.replace(b"ALTER", b"pg_dump: error: no\nALTER")
        ),
    ),
}


@pytest.mark.parametrize("what", SETS)
def test_a_set_that_is_no_dump_is_refused_with_its_code(folder: Path, what: str) -> None:
    code, said, change = SETS[what]
    change(folder)
    verdict = _read(folder).verdict
    assert code in verdict.codes
    assert said in verdict.sentence()


def test_files_are_known_for_what_they_are_and_not_by_their_names(folder: Path) -> None:
    _part(folder).rename(folder / "data" / "a.tmp")
    _part(folder, 3).rename(_part(folder))
    (folder / "data" / "a.tmp").rename(_part(folder, 3))
    contents = _read(folder)
    assert contents.verdict.ok
    assert contents.namespaces == SMALL


def test_a_folder_is_a_dump_of_this_format_where_its_schema_is(folder: Path) -> None:
    assert is_binary_dump(folder)
    (folder / PRE_DATA).unlink()
    assert is_binary_dump(folder)
    (folder / POST_DATA).unlink()
    assert not is_binary_dump(folder)


def test_no_files_at_all_are_no_dump_and_a_missing_one_is_not_found(tmp_path: Path) -> None:
    assert _read(tmp_path).verdict.codes == ["truncated"]
    with pytest.raises(NotFoundError):
        read_binary([tmp_path / "nothing.zst"], collection=None)
