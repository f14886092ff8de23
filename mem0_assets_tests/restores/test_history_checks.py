"""The history replayed against the restored memories: each difference has its name, and only a loss refuses."""

import json
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from mem0_assets.live.embedded import EmbeddedServer
from mem0_assets.live.postgres import Connection
from mem0_assets.restores.history_checks import (
    MOST_IN_FLIGHT,
    MOST_SAMPLES,
    Finding,
    HistoryReport,
    compare_history,
    judge_history,
)
from mem0_assets.verdicts import OK
from mem0_assets_tests.conftest import MakeDeployment, open_connection
from mem0_assets_tests.histories import NOW, OLD, Row, make_history

A, B, C = (str(uuid.UUID(int=number)) for number in (0xA, 0xB, 0xC))
ALL = 1_000_000


@pytest.fixture
def restored(make_deployment: MakeDeployment, server: EmbeddedServer) -> Iterator[Connection]:
    """A restored database whose collection is empty."""
    with open_connection(server, make_deployment({}).postgres.database) as connection:
        yield connection


def hold(connection: Connection, memories: dict[str, str | None]) -> None:
    """Put these memories (id, text) into the collection."""
    with connection.cursor() as cursor:
        insert = "INSERT INTO memories (id, payload) VALUES (%s, jsonb_build_object('data', %s::text))"
        cursor.executemany(insert, memories.items())


def replay(
    connection: Connection,
    tmp_path: Path,
    rows: list[Row],
    memories: dict[str, str | None],
    *,
    settled: int = ALL,
    layout: str = NOW,
) -> HistoryReport:
    hold(connection, memories)
    return compare_history(connection, "memories", make_history(tmp_path / "copy.db", rows, layout=layout), settled)


def found(report: HistoryReport) -> dict[str, tuple[str, ...]]:
    """The ids of each kind of difference that there is."""
    kinds = {
        "lost": report.lost,
        "unlogged": report.unlogged,
        "changed": report.changed,
        "in_flight": report.in_flight,
    }
    return {name: finding.ids for name, finding in kinds.items() if finding.count}


STORY: list[Row] = [
    (A, "ADD", "one"),
    (B, "ADD", "two"),
    (A, "UPDATE", "one, and more"),
    (C, "ADD", "three"),
    (B, "DELETE", None),
]


@pytest.mark.parametrize("layout", [NOW, OLD])
def test_a_collection_that_is_what_its_history_tells_has_no_finding(
    restored: Connection, tmp_path: Path, layout: str
) -> None:
    report = replay(restored, tmp_path, STORY, {A: "one, and more", C: "three"}, layout=layout)
    assert found(report) == {}
    assert (report.memories, report.known, report.coverage) == (2, 2, 1.0)
    assert judge_history(report) == (OK, [])


def test_the_older_scratch_server_compares_as_well(
    make_deployment: MakeDeployment, server16: EmbeddedServer, tmp_path: Path
) -> None:
    database = make_deployment({}, on=server16).postgres.database
    with open_connection(server16, database) as connection:
        report = replay(connection, tmp_path, [*STORY, ("odd", "ADD", "x")], {A: "one, and more", B: "two"})
    assert found(report) == {"lost": (C, "odd"), "unlogged": (B,)}


@pytest.mark.parametrize(
    ("rows", "memories", "expected"),
    [
        ([(A, "ADD", "x")], {}, {"lost": (A,)}),
        ([(A, "ADD", "x"), (A, "DELETE", None), (A, "ADD", "x")], {}, {"lost": (A,)}),
        ([(A, "ADD", "x"), (A, "UPDATE", "y")], {}, {"lost": (A,)}),
        ([(A, "ADD", "x"), (A, "DELETE", None)], {}, {}),
        ([], {A: "x"}, {}),
        ([(A, "ADD", "x"), (A, "DELETE", None)], {A: "x"}, {"unlogged": (A,)}),
        ([(A, "ADD", "x"), (A, "UPDATE", "y")], {A: "x"}, {"changed": (A,)}),
        ([(A, "ADD", "x")], {A: None}, {"changed": (A,)}),
        ([(None, "ADD", "x")], {}, {}),
    ],
)
def test_each_difference_has_its_name(
    restored: Connection, tmp_path: Path, rows: list[Row], memories: dict[str, str | None], expected: dict[str, object]
) -> None:
    assert found(replay(restored, tmp_path, rows, memories)) == expected


@pytest.mark.parametrize(
    ("late", "memories"),
    [
        ([(A, "DELETE", None)], {}),
        ([(A, "DELETE", None)], {A: "x"}),
        ([(A, "UPDATE", "y"), (A, "DELETE", None)], {}),
        ([(A, "UPDATE", "y")], {A: "x"}),
        ([(A, "UPDATE", "y")], {A: "y"}),
        ([(B, "ADD", "z")], {A: "x"}),
        ([(B, "ADD", "z")], {A: "x", B: "z"}),
        ([(B, "ADD", "z"), (B, "DELETE", None)], {A: "x"}),
        ([(B, "ADD", "z"), (B, "DELETE", None)], {A: "x", B: "z"}),
    ],
)
def test_what_the_history_wrote_after_the_snapshot_may_show_in_it_or_not(
    restored: Connection, tmp_path: Path, late: list[Row], memories: dict[str, str | None]
) -> None:
    report = replay(restored, tmp_path, [(A, "ADD", "x"), *late], memories, settled=1)
    assert set(found(report)) == {"in_flight"}
    assert judge_history(report)[0] == OK


def test_an_update_after_the_snapshot_does_not_excuse_that_the_memory_is_missing_from_it(
    restored: Connection, tmp_path: Path
) -> None:
    report = replay(restored, tmp_path, [(A, "ADD", "x"), (A, "UPDATE", "y")], {}, settled=1)
    assert found(report) == {"lost": (A,)}


def test_an_id_is_the_same_however_a_caller_of_mem0_wrote_it(restored: Connection, tmp_path: Path) -> None:
    one, two = str(uuid.uuid4()), str(uuid.uuid4())
    rows: list[Row] = [
        (one, "ADD", "x"),
        (two, "ADD", "x"),
        (one.upper(), "UPDATE", "y"),
        (f"{{{two}}}", "UPDATE", "z"),
        (two.replace("-", ""), "DELETE", None),
    ]
    assert found(replay(restored, tmp_path, rows, {one: "y"})) == {}


@pytest.mark.parametrize("odd", ["", "not a uuid", "Zoë 🤫", "a\tb\\N\nc", "\\N", "zero\0character"])
def test_an_id_that_no_uuid_column_can_hold_is_lost_like_any_other(
    restored: Connection, tmp_path: Path, odd: str
) -> None:
    assert replay(restored, tmp_path, [(odd, "ADD", "x")], {}).lost.count == 1


@pytest.mark.parametrize("text", ["", "Zoë/日本 🤫", "tab\tand\nline", 'o\'brien \\ "quoted" %s {}', "x" * 100_000])
def test_texts_are_compared_to_the_letter(restored: Connection, tmp_path: Path, text: str) -> None:
    assert found(replay(restored, tmp_path, [(A, "ADD", text), (B, "ADD", text)], {A: text, B: text + " "})) == {
        "changed": (B,)
    }


def test_coverage_is_the_share_that_the_history_knows_and_is_told(restored: Connection, tmp_path: Path) -> None:
    report = replay(restored, tmp_path, [(A, "ADD", "x")], {A: "x", B: "y", C: "z"})
    assert (report.memories, report.known) == (3, 1)
    verdict, notes = judge_history(report)
    assert verdict == OK
    assert notes == [
        "the history knows 33.3% of the memories and says nothing of 2",
    ]


def test_an_empty_collection_and_an_empty_history_agree(restored: Connection, tmp_path: Path) -> None:
    report = replay(restored, tmp_path, [], {})
    assert (report.coverage, judge_history(report)) == (1.0, (OK, []))


def test_a_wiped_collection_is_refused_though_its_count_might_have_been_accepted(
    restored: Connection, tmp_path: Path
) -> None:
    ids = [str(uuid.UUID(int=number)) for number in range(500)]
    report = replay(restored, tmp_path, [(one, "ADD", "x") for one in ids], {})
    assert report.lost == Finding(500, tuple(ids))
    assert report.lost.as_json() == {"count": 500, "ids": ids[:MOST_SAMPLES]}
    verdict, _ = judge_history(report)
    assert verdict.codes == ["history_lost_memories"]
    assert verdict.reasons[0].message == (
        f"500 memories are in the history and not in the collection ({', '.join(ids[:3])}, ...)"
    )


def test_a_hundred_thousand_memories_are_compared_and_nothing_is_left_behind(
    restored: Connection, tmp_path: Path
) -> None:
    restored.execute(
        "INSERT INTO memories (id, payload)"
        " SELECT lpad(to_hex(n), 32, '0')::uuid, jsonb_build_object('data', 'text ' || n) FROM generate_series(1, 100000) n"
    )
    rows: list[Row] = [(str(uuid.UUID(int=number)), "ADD", f"text {number}") for number in range(1, 100_002)]
    report = compare_history(restored, "memories", make_history(tmp_path / "copy.db", rows), ALL)
    assert found(report) == {"lost": (str(uuid.UUID(int=100_001)),)}
    assert (report.memories, report.coverage) == (100_000, 1.0)
    left = restored.execute("SELECT count(*) AS tables FROM pg_class WHERE relname = 'history_events'").fetchone()
    assert left == {"tables": 0}


def test_a_report_holds_no_text_of_a_memory(restored: Connection, tmp_path: Path) -> None:
    report = replay(restored, tmp_path, [(A, "ADD", "secret one"), (B, "ADD", "secret two")], {B: "secret three"})
    assert "secret" not in json.dumps(report.as_json()) + str(judge_history(report))
    assert report.as_json() == {
        "memories": 1,
        "known": 1,
        "coverage": 1.0,
        "lost": {"count": 1, "ids": [A]},
        "accepted": {"count": 0, "ids": []},
        "unlogged": {"count": 0, "ids": []},
        "changed": {"count": 1, "ids": [B]},
        "in_flight": {"count": 0, "ids": []},
    }


NONE = Finding()
CLEAN = HistoryReport(memories=100, known=100, lost=NONE, unlogged=NONE, changed=NONE, in_flight=NONE)


def lost(count: int) -> HistoryReport:
    ids = tuple(str(uuid.UUID(int=number)) for number in range(min(count, MOST_SAMPLES)))
    return replace(CLEAN, lost=Finding(count, ids))


def test_a_few_lost_ones_may_be_in_flight_and_are_told_and_more_are_refused() -> None:
    verdict, [note] = judge_history(lost(MOST_IN_FLIGHT))
    assert verdict == OK
    assert "16 memories are in the history and not in the collection: perhaps deletions in flight" in note
    verdict, notes = judge_history(lost(MOST_IN_FLIGHT + 1))
    assert (verdict.codes, notes) == (["history_lost_memories"], [])


def test_one_that_was_lost_the_last_time_too_was_not_in_flight() -> None:
    assert judge_history(lost(1), lost_before=lost(1).lost.ids)[0].codes == ["history_lost_memories"]
    assert judge_history(lost(1), lost_before=["of another time"])[0] == OK


def test_losses_that_a_person_accepted_refuse_nothing_and_others_do() -> None:
    known = replace(CLEAN, accepted=Finding(500, (A, B)))
    verdict, [note] = judge_history(known)
    assert verdict == OK
    assert note == f"500 memories are in the history and not in the collection, as accepted ({A}, {B}, ...)"
    both = replace(known, lost=lost(17).lost)
    assert judge_history(both)[0].codes == ["history_lost_memories"]


def test_what_mem0_itself_leaves_unlogged_or_changed_is_told_and_never_refused() -> None:
    report = replace(CLEAN, unlogged=Finding(90, (A,)), changed=Finding(1, (B,)))
    verdict, notes = judge_history(report)
    assert verdict == OK
    assert notes == [
        f"90 memories are in the collection, and deleted by the history's last word ({A}, ...)",
        f"1 memory is in the collection with another text than the history's last ({B})",
    ]
