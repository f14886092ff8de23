"""The journal: append-only lines that survive kills, full disks, several writers and other versions."""

import json
import os
from pathlib import Path

import pytest

from mem0_assets.backups.journal import JOURNAL, Journal
from mem0_assets_tests.small_disk import fill, small_disk

FAILED = {"sequence": 1, "code": "unreachable", "message": "no answer"}


def test_events_are_read_back_in_order_and_by_kind(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "prd")
    journal.record("attempt_failed", **FAILED)
    journal.record("publishing", backup="a", sequence=2, tiers=["daily"])
    journal.record("published", backup="a", sequence=2, tiers=["daily"])
    assert [event["event"] for event in journal.events()] == ["attempt_failed", "publishing", "published"]
    assert [event["sequence"] for event in journal.events("attempt_failed", "published")] == [1, 2]
    last = journal.last("publishing", "published")
    assert last is not None
    assert last["event"] == "published"
    assert journal.last("drill") is None


def test_another_processes_event_is_seen_at_once(tmp_path: Path) -> None:
    ours, theirs = Journal(tmp_path), Journal(tmp_path)
    theirs.record("attempt_failed", **FAILED)
    assert len(list(ours.events())) == 1
    theirs.record("attempt_failed", **FAILED)
    assert len(list(ours.events())) == 2


def test_a_file_that_is_as_it_was_is_read_once_however_many_ask(tmp_path: Path) -> None:
    Journal(tmp_path).record("attempt_failed", **FAILED)
    (first,) = Journal(tmp_path).events()
    (second,) = Journal(tmp_path).events()
    assert first is second


def test_a_line_torn_by_a_kill_costs_that_line_only(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.record("attempt_failed", **FAILED)
    whole = (tmp_path / JOURNAL).read_bytes()
    journal.record("attempt_failed", **FAILED | {"sequence": 2})
    for length in range(len(whole) + 1, len(whole) * 2, 5):
        (tmp_path / JOURNAL).write_bytes((whole * 2)[:length])
        journal.record("attempt_failed", **FAILED | {"sequence": 3})
        sequences = [event["sequence"] for event in Journal(tmp_path).events()]
        assert sequences[0] == 1
        assert sequences[-1] == 3


def test_lines_that_are_no_events_of_ours_say_nothing(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.record("attempt_failed", **FAILED)
    strange = [b"", b"\xff\xfe", b"[]", b"7", b'{"event": "drill", "at": "2026-01-01"}', b'{"event": ["drill"]}']
    with open(tmp_path / JOURNAL, "ab") as file:
        file.write(b"\n".join([*strange, json.dumps({"event": "of another version", "at": "x"}).encode(), b""]))
    assert [event["event"] for event in Journal(tmp_path).events()] == ["attempt_failed"]


def test_a_persons_odd_characters_are_kept(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    reason = "Zoë said: “yes” 🤫 \u2028 and a broken byte: \udcff"
    journal.record("identity_accepted", identity={}, sequence=0, by="zoë", reason=reason)
    event = Journal(tmp_path).last("identity_accepted")
    assert event is not None
    assert event["reason"] == reason


def test_writers_of_several_processes_do_not_mix_their_lines(tmp_path: Path) -> None:
    children = []
    for writer in range(4):
        child = os.fork()
        if child == 0:
            for number in range(50):
                Journal(tmp_path).record("attempt_failed", sequence=number, code="x" * 300, message=str(writer))
            os._exit(0)
        children.append(child)
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0, 0, 0, 0]
    events = list(Journal(tmp_path).events())
    for writer in range(4):
        assert [e["sequence"] for e in events if e["message"] == str(writer)] == list(range(50))


def test_an_event_that_a_full_disk_took_only_in_part_is_an_error_and_no_event(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "64k") as disk:
        journal = Journal(disk)
        journal.record("attempt_failed", **FAILED)
        filler = fill(disk)
        with pytest.raises(OSError, match="No space left"):
            journal.record("attempt_failed", **FAILED | {"sequence": 2, "message": "m" * 20_000})
        assert [event["sequence"] for event in Journal(disk).events()] == [1]
        filler.unlink()
        journal.record("attempt_failed", **FAILED | {"sequence": 3})
        assert [event["sequence"] for event in Journal(disk).events()] == [1, 3]
