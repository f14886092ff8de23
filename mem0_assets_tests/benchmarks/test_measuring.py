"""Contenders run in turn, one that fails does not stop the others, and its memory is that of its processes."""

import sys
import tempfile
from pathlib import Path

import pytest

from benchmarks.measuring import Contender, measure
from benchmarks.processes import ContenderFailed, Runner, watched_memory
from benchmarks.results import Run
from mem0_assets_tests.waiting import wait_until

told: list[str] = []


def test_each_contender_runs_once_a_round_and_the_order_turns(tmp_path: Path) -> None:
    order: list[str] = []

    def running(key: str) -> Contender:
        def run(folder: Path) -> Run:
            assert list(folder.iterdir()) == []
            (folder / "written").touch()
            order.append(key)
            return {"bytes": 7}

        return Contender(key, key, run)

    measured = measure([running("a"), running("b"), running("c")], 2, tmp_path, told.append)
    assert order == ["a", "b", "c", "b", "c", "a"]
    assert measured["a"].median("bytes") == 7
    assert len(measured["a"].values("seconds")) == 2
    assert list(tmp_path.iterdir()) == []


def test_one_that_fails_is_told_with_what_it_said_and_does_not_run_again(tmp_path: Path) -> None:
    attempts: list[Path] = []

    def fail(folder: Path) -> Run:
        attempts.append(folder)
        Runner({}).run("sh", "-c", f"echo no space in {folder} >&2; exit 3")
        return {}

    good = Contender("good", "good", lambda folder: {})
    measured = measure([Contender("bad", "bad", fail), good], 2, tmp_path, told.append)
    assert measured["bad"].error == "sh ended with status 3: no space in bad"
    assert measured["bad"].median() is None
    assert len(attempts) == 1
    assert len(measured["good"].runs) == 2


def test_a_pipe_fails_where_its_first_program_does(tmp_path: Path) -> None:
    with pytest.raises(ContenderFailed, match="sh ended with status 1"):
        Runner({}).pipeline([["sh", "-c", "exit 1"], ["gzip"]], tmp_path / "dump")


def test_the_memory_is_that_of_all_child_processes_together() -> None:
    hold = [sys.executable, "-c", "import time; held = b'x' * 40_000_000; time.sleep(600)"]
    with (
        watched_memory() as memory,
        tempfile.TemporaryFile() as complaints,
        Runner({}).started([hold, hold], complaints) as children,
    ):
        wait_until(lambda: memory.shared_once > 80_000_000)
        for child in children:
            child.kill()
    assert memory.at_most >= 80_000_000
