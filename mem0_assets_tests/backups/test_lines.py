"""JSON Lines of memories: each comes back to the letter, and what is no memory is refused by the number of its line."""

import json
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mem0_assets.backups.lines import LineError, line_of, read_lines
from mem0_assets.live.memories import Memory
from mem0_assets.live.namespaces import namespace_of
from mem0_assets.live.vectors import vector_of

ID = "00000000-0000-4000-8000-000000000001"
SECRET = "the launch code is 0000"

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
NUMBERS = st.sampled_from(["1.50", "-0", "12345678901234567890.10", "1e400", "0.000"])
PAYLOADS = st.none() | st.one_of(
    NUMBERS,
    st.dictionaries(TEXTS, st.none() | st.booleans() | TEXTS | st.lists(TEXTS)).map(
        lambda content: json.dumps(content, ensure_ascii=False)
    ),
    st.dictionaries(st.sampled_from(["user_id", "data"]), TEXTS).map(json.dumps),
    st.sampled_from(["null", '"a string"', "[]", '{"n": 1.500, "user_id": "a\\u2028b"}']),
)
VECTORS = st.none() | st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1).map(vector_of)
MEMORIES = st.builds(
    lambda number, payload, vector: Memory(number, namespace_of(payload), payload, vector),
    st.uuids(),
    PAYLOADS,
    VECTORS,
)
WHOLE = line_of(
    Memory(UUID(ID), "alice", f'{{"data": "{SECRET}", "user_id": "alice"}}', vector_of([1, 0.5])), vectors=True
)


def _read(*lines: bytes) -> list[Memory]:
    return [memory for _, memory, _ in read_lines(lines)]


def _refusal(*lines: str | bytes) -> str:
    with pytest.raises(LineError) as raised:
        _read(*(line.encode() if isinstance(line, str) else line for line in lines))
    assert raised.value.code == "not_an_export"
    assert SECRET not in str(raised.value)
    return raised.value.message


@given(st.lists(MEMORIES, unique_by=lambda memory: memory.id))
def test_every_memory_comes_back_to_the_letter(memories: list[Memory]) -> None:
    written = b"".join(line_of(memory, vectors=True) for memory in memories)
    assert _read(*written.splitlines(keepends=True)) == memories
    assert written.count(b"\n") == len(memories)
    assert all(
        json.loads(line)["id"] == str(memory.id) for line, memory in zip(written.split(b"\n"), memories, strict=False)
    )


def test_a_line_is_one_object_with_the_payload_as_it_is_stored() -> None:
    assert WHOLE.decode() == (
        f'{{"id": "{ID}", "payload": {{"data": "{SECRET}", "user_id": "alice"}}, "vector": [1,0.5]}}\n'
    )


def test_a_null_is_told_from_what_is_not_there() -> None:
    nothing = Memory(UUID(ID), "(none)", None, None)
    assert line_of(nothing, vectors=False).decode() == f'{{"id": "{ID}"}}\n'
    assert line_of(nothing, vectors=True).decode() == f'{{"id": "{ID}", "vector": null}}\n'
    null = Memory(UUID(ID), "(none)", "null", None)
    assert line_of(null, vectors=False).decode() == f'{{"id": "{ID}", "payload": null}}\n'
    for memory in (nothing, null):
        for vectors in (False, True):
            assert list(read_lines([line_of(memory, vectors=vectors)])) == [(1, memory, vectors)]


def test_newlines_of_a_json_column_do_not_break_the_line() -> None:
    memory = Memory(UUID(ID), "(none)", '{\r\n "a": 1\n}', None)
    assert _read(*line_of(memory, vectors=True).splitlines(keepends=True))[0].payload == '{   "a": 1 }'


def test_what_other_tools_write_is_read() -> None:
    by_others = f'\n {{ "vector":[ 1.0 , 5e-1 ],"payload":{{"user_id":"alice"}} , "id" : "{ID.upper()}" }} \r\n   \n'
    expected = Memory(UUID(ID), "alice", '{"user_id":"alice"}', vector_of([1, 0.5]))
    assert list(read_lines(by_others.encode().splitlines(keepends=True))) == [(2, expected, True)]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "no JSON: Expecting a key"),
        ("[]", "no JSON: Expecting '{'"),
        (SECRET, "no JSON: Expecting '{'"),
        ("{}", "no JSON: Expecting a key"),
        ("{[1]: 2}", "no JSON: Expecting a key"),
        ('{"payload": {}}', "it has no id"),
        ('{"id": 7}', "its id is no uuid"),
        (f'{{"id": "{SECRET}"}}', "its id is no uuid"),
        (f'{{"id": "{ID}", "id": "{ID}"}}', "a key that is not id, payload or vector, or stands there twice"),
        (f'{{"id": "{ID}", "memory": "{SECRET}"}}', "a key that is not id, payload or vector, or stands there twice"),
        (f'{{"id": "{ID}"}} {{}}', "there is more on it than one memory"),
        (f'{{"id": "{ID}"', "no JSON: Expecting '}'"),
        (
            f'{{"id": "{ID}", "payload": {{"data": "{SECRET}}}',
            "no JSON: Unterminated string starting at",
        ),
        (f'{{"id": "{ID}", "payload": NaN}}', "no JSON: NaN"),
        (f'{{"id": "{ID}", "payload": {{"n": 1e999999}}}}', "JSON with a number out of range"),
        (f'{{"id": "{ID}", "payload": {{"data": "\\u0000"}}}}', "its payload holds a zero character"),
        (f'{{"id": "{ID}", "payload": {{"data": "\\ud800"}}}}', "its payload holds half of a surrogate pair"),
        (f'{{"id": "{ID}", "payload": {"[" * 50_000}', "it is nested too deeply"),
        (f'{{"id": "{ID}", "vector": []}}', "its vector is none"),
        (f'{{"id": "{ID}", "vector": [1, "{SECRET}"]}}', "its vector is none"),
        (f'{{"id": "{ID}", "vector": [1, NaN]}}', "its vector is none"),
        (f'{{"id": "{ID}", "vector": "{SECRET}"}}', "its vector is none"),
        (f'{{"id": "{ID}", "vector": [1', "no JSON: Expecting ',' delimiter"),
    ],
)
def test_a_line_that_is_no_memory_is_refused_by_its_number(line: str, said: str) -> None:
    assert _refusal(WHOLE.replace(b"0001", b"0002"), line).startswith(f"line 2: {said}")


def test_a_line_that_is_not_utf8_is_refused() -> None:
    assert _refusal(WHOLE.replace(b"launch", b"l\xe4unch")) == "line 1: it is not UTF-8"


def test_an_escaped_backslash_before_u0000_is_a_text_like_any_other() -> None:
    assert _read(f'{{"id": "{ID}", "payload": {{"data": "\\\\u0000"}}}}'.encode())


def test_an_id_that_was_there_is_refused_with_both_lines() -> None:
    assert _refusal(WHOLE, b"\n", WHOLE) == "line 3: its id is that of line 1"


def test_a_line_beyond_all_memories_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mem0_assets.backups.lines.MOST_BYTES", 100)
    assert _refusal(WHOLE) == "line 1: it has more than 100 bytes"


@given(st.data())
def test_any_damage_gives_a_memory_or_a_refusal(data: st.DataObject) -> None:
    places = st.integers(0, len(WHOLE) - 1)
    one, other = data.draw(places), data.draw(places)
    damaged = WHOLE[:one] + data.draw(st.binary(max_size=3)) + WHOLE[other:]
    try:
        assert all(line_of(memory, vectors=True) for memory in _read(*damaged.splitlines(keepends=True)))
    except LineError:
        return
