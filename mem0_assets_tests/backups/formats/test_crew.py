"""Threads on one dump: together where they may, and none of them left when one fails, or when all stand still."""

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from types import SimpleNamespace

import pytest

from mem0_assets.backups.formats import crew as crew_module
from mem0_assets.backups.formats.crew import Crew, StoppedError
from mem0_assets.errors import UnreachableError
from mem0_assets_tests.clock import Clock

PATIENCE = 60.0


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before


def _crew(
    jobs: int = 2, *, progress: Callable[[int], None] = lambda moved: None, stall_seconds: float = PATIENCE
) -> Crew:
    return Crew(jobs, stall_seconds, progress)


class Waiting:
    """A task that waits for something that never comes, until somebody breaks its wait."""

    def __init__(self, crew: Crew) -> None:
        self._crew = crew
        self._broken = threading.Event()
        self.began = threading.Event()
        self.ended_by: type[BaseException] | None = None

    def __call__(self) -> None:
        with self._crew.breakable(self._broken.set):
            self.began.set()
            assert self._broken.wait(PATIENCE)
            try:
                self._crew.moved(1)
            except StoppedError as error:
                self.ended_by = type(error)
                raise


def test_results_come_in_the_order_of_the_tasks() -> None:
    both = threading.Barrier(2, timeout=PATIENCE)
    later = threading.Event()

    def first() -> str:
        both.wait()
        assert later.wait(PATIENCE)
        return "first"

    def second() -> str:
        both.wait()
        later.set()
        return "second"

    assert _crew().run([first, second]) == ["first", "second"]
    assert _crew().run([]) == []


def test_one_job_does_one_thing_at_a_time() -> None:
    at_work = threading.Semaphore(1)

    def task() -> bool:
        alone = at_work.acquire(blocking=False)
        at_work.release()
        return alone

    assert _crew(1).run([task] * 50) == [True] * 50


def test_progress_is_told_of_all_that_was_moved_in_the_callers_thread() -> None:
    told: list[int] = []
    threads: set[int] = set()

    def progress(moved: int) -> None:
        told.append(moved)
        threads.add(threading.get_ident())

    crew = _crew(progress=progress)
    crew.run([lambda: crew.moved(2), lambda: crew.moved(3)])
    assert told[-1] == 5
    assert told == sorted(told)
    assert threads == {threading.get_ident()}


def test_the_first_error_ends_all_that_wait_and_what_has_not_begun_never_does() -> None:
    crew = _crew()
    waiting, late = Waiting(crew), [Waiting(crew) for _ in range(20)]

    def fail() -> None:
        assert waiting.began.wait(PATIENCE)
        raise LookupError("the first")

    tasks: list[Callable[[], None]] = [waiting, fail, *late]
    with pytest.raises(LookupError, match="the first"):
        crew.run(tasks)
    assert waiting.ended_by is StoppedError
    assert sum(task.began.is_set() for task in late) <= 1  # its thread was free before the caller's heard of it


def test_what_begins_to_wait_after_the_end_does_not_wait() -> None:
    crew = _crew()
    failed = threading.Event()
    entered: list[str] = []

    def fail() -> None:
        failed.set()
        raise LookupError

    def slow() -> None:
        assert failed.wait(PATIENCE)
        _move_until_stopped(crew)
        with crew.breakable(lambda: None):
            entered.append("in spite of the end")

    with pytest.raises(LookupError):
        crew.run([slow, fail])
    assert entered == []


def _move_until_stopped(crew: Crew) -> None:
    """The caller's thread is a moment behind."""
    with suppress(StoppedError):
        while True:
            crew.moved(0)


def test_an_interrupt_of_the_caller_ends_all() -> None:
    def interrupt(moved: int) -> None:
        if waiting.began.is_set():
            raise KeyboardInterrupt

    crew = _crew(progress=interrupt)
    waiting = Waiting(crew)
    with pytest.raises(KeyboardInterrupt):
        crew.run([waiting])
    assert waiting.ended_by is StoppedError


def test_a_standstill_of_all_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    crew = _crew(stall_seconds=900.0)
    tasks = [Waiting(crew), Waiting(crew)]
    Clock(lambda: all(task.began.is_set() for task in tasks)).put_into(crew_module, monkeypatch)
    with pytest.raises(UnreachableError, match=r"stood still for 900 s"):
        crew.run(tasks)
    assert [task.ended_by for task in tasks] == [StoppedError, StoppedError]


def test_as_long_as_anything_moves_it_is_no_standstill(monkeypatch: pytest.MonkeyPatch) -> None:
    """Five moves, a minute after each other by the crew's clock, which stands while nobody looks."""
    now, seen = 0.0, threading.Semaphore(0)
    monkeypatch.setattr(crew_module, "time", SimpleNamespace(monotonic=lambda: now))
    told: set[int] = set()

    def progress(moved: int) -> None:
        if moved not in told:
            told.add(moved)
            seen.release()

    crew = _crew(progress=progress, stall_seconds=100.0)

    def task() -> None:
        nonlocal now
        for _ in range(5):
            assert seen.acquire(timeout=PATIENCE)
            now += 60.0
            crew.moved(1)

    crew.run([task])
    assert now == 300.0


def test_what_is_over_is_not_broken_any_more() -> None:
    crew = _crew()
    broken: list[str] = []

    def task() -> None:
        with crew.breakable(lambda: broken.append("after its end")):
            pass
        raise LookupError

    with pytest.raises(LookupError):
        crew.run([task])
    assert broken == []
