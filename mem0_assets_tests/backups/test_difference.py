"""What two sets of memories have not in common: against a plain comparison, and part by part."""

import json
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mem0_assets.backups.difference import Change, NamespaceDifference, Part, difference
from mem0_assets.live.memories import Memory
from mem0_assets.live.namespaces import namespace_of
from mem0_assets.live.vectors import vector_of

PAYLOAD: dict[str, Any] = {
    "data": "likes tea",
    "hash": "5f0d",
    "text_lemmatized": "like tea",
    "user_id": "alice",
    "created_at": "2026-01-01T00:00:00+00:00",
    "source": "chat",
}


def _memory(number: int = 1, vector: tuple[float, ...] | None = (1, 2), **changed: Any) -> Memory:
    payload = json.dumps({key: value for key, value in {**PAYLOAD, **changed}.items() if value is not ...})
    return Memory(UUID(int=number), namespace_of(payload), payload, None if vector is None else vector_of(vector))


def _raw(payload: str | None) -> Memory:
    return Memory(UUID(int=1), "alice", payload, None)


def _parts(before: Memory, after: Memory) -> tuple[Part, ...]:
    one = difference([before], [after], keep_ids=True).namespaces[before.namespace]
    assert (one.gained, one.lost) == (0, 0)
    return one.changes[0].parts if one.changed else ()


SETS = st.dictionaries(st.integers(1, 8), st.tuples(st.sampled_from("abc"), st.sampled_from("xy")), max_size=8)


@given(SETS, SETS)
def test_every_memory_is_counted_once_on_each_side(
    before: dict[int, tuple[str, str]], after: dict[int, tuple[str, str]]
) -> None:
    def memories(made: dict[int, tuple[str, str]]) -> list[Memory]:
        return [_memory(number, user_id=name, data=text) for number, (name, text) in made.items()]

    found = difference(memories(before), memories(after), keep_ids=True).namespaces
    assert set(found) == {name for name, _ in [*before.values(), *after.values()]}
    for name, one in found.items():
        here = {number for number, made in before.items() if made[0] == name}
        there = {number for number, made in after.items() if made[0] == name}
        changed = {number for number in here & there if before[number] != after[number]}
        assert {number.int for number in one.gained_ids} == there - here
        assert {number.int for number in one.lost_ids} == here - there
        assert {change.id.int for change in one.changes} == changed
        assert (one.gained, one.lost, one.changed) == (len(there - here), len(here - there), len(changed))
        assert one.unchanged == len(here & there) - len(changed)
        assert one.same == (here == there and not changed)


@pytest.mark.parametrize(
    ("changed", "parts"),
    [
        ({}, ()),
        ({"data": "likes coffee"}, ("text",)),
        ({"data": "likes coffee", "hash": "77aa", "text_lemmatized": "like coffee"}, ("text",)),
        ({"source": "e-mail"}, ("metadata",)),
        ({"source": ...}, ("metadata",)),
        ({"more": None}, ("metadata",)),
        ({"updated_at": "2026-01-02T00:00:00+00:00"}, ("times",)),
        ({"vector": (1, 3)}, ("vector",)),
        ({"vector": None}, ("vector",)),
        ({"data": "x", "source": 1, "created_at": "", "vector": (0, 0)}, ("text", "metadata", "times", "vector")),
    ],
)
def test_the_parts_of_a_change_are_told_apart(changed: dict[str, Any], parts: tuple[Part, ...]) -> None:
    assert _parts(_memory(), _memory(**changed)) == parts


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('{"n": 1.50}', '{"n": 1.5}'),
        ('{"n": 1}', '{"n": "1"}'),
        ('{"n": {"m": [1]}}', '{"n": {"m": ["1"]}}'),
        ("null", None),
        (None, "{}"),
        ('"data"', '["data"]'),
        ("[" * 90_000 + "]" * 90_000, "[" * 90_000 + "1" + "]" * 90_000),
    ],
)
def test_a_payload_that_is_another_by_one_letter_is_changed(before: str | None, after: str | None) -> None:
    assert _parts(_raw(before), _raw(after)) == ("metadata",)
    assert _parts(_raw(before), _raw(before)) == ()


def test_a_memory_that_went_to_another_namespace_is_lost_here_and_gained_there() -> None:
    found = difference([_memory(user_id="alice")], [_memory(user_id="bob")], keep_ids=True).namespaces
    assert found["alice"] == NamespaceDifference(lost=1, lost_ids=[UUID(int=1)])
    assert found["bob"] == NamespaceDifference(gained=1, gained_ids=[UUID(int=1)])


def test_the_namespace_with_the_most_losses_comes_first() -> None:
    before = [_memory(1, user_id="same"), _memory(2, user_id="lost"), _memory(3, user_id="changed")]
    after = [_memory(1, user_id="same"), _memory(3, user_id="changed", data="x"), _memory(4, user_id="gained")]
    found = difference(before, after)
    assert list(found.namespaces) == ["lost", "changed", "gained", "same"]
    assert (found.gained, found.lost, found.changed, found.unchanged, found.same) == (1, 1, 1, 1, False)
    assert found.namespaces["changed"].parts == Counter({"text": 1})


def test_ids_are_kept_only_where_they_are_asked_for() -> None:
    one = difference([_memory(1), _memory(2)], [_memory(2, data="x"), _memory(3)]).namespaces["alice"]
    assert (one.gained_ids, one.lost_ids, one.changes) == ([], [], [])
    one = difference([_memory(1)], [_memory(1, data="x")], keep_ids=True).namespaces["alice"]
    assert one.changes == [Change(UUID(int=1), ("text",))]
    assert one.ids_as_json() == {"gained_ids": [], "lost_ids": [], "changed_ids": {str(UUID(int=1)): ["text"]}}


def test_a_memory_costs_its_digests_however_long_its_text_is() -> None:
    def long(count: int) -> Iterator[Memory]:
        return (_memory(number, (0.5,) * 500, data="x" * 5_000) for number in range(count))

    tracemalloc.start()
    try:
        assert difference(long(2_000), long(2_000)).same
        assert tracemalloc.get_traced_memory()[1] < 2_000 * 500
    finally:
        tracemalloc.stop()
