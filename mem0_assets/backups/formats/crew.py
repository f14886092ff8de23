"""Threads that work on one dump, or on one load: the first trouble of any of them ends them all.

A dump reads several tables at once. A server that is frozen in the middle says nothing to anybody, and a thread that waits
for it cannot be ended from outside: so whoever may wait says how to break its wait, and this thread watches the clock.
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import TypeVar

from mem0_assets.backups.formats.pg_dump import silent
from mem0_assets.backups.formats.quick_switches import quick_switches

T = TypeVar("T")

LOOK_SECONDS = 0.1


class StoppedError(Exception):
    """Another task of this crew failed, or the whole was cancelled: this one ends too."""


class Crew:
    """Runs tasks in `jobs` threads. `progress` is told, in the caller's thread, how many bytes all have moved so far."""

    def __init__(self, jobs: int, stall_seconds: float, progress: Callable[[int], None]) -> None:
        self._jobs = jobs
        self._stall_seconds = stall_seconds
        self._progress = progress
        self._lock = threading.Lock()
        self._moved = 0
        self._stopped = False
        self._breaks: list[Callable[[], None]] = []

    def moved(self, size: int) -> None:
        """A task's word that it goes on. Raises StoppedError where it must not."""
        with self._lock:
            self._moved += size
            if self._stopped:
                raise StoppedError

    @contextmanager
    def breakable(self, break_wait: Callable[[], None]) -> Iterator[None]:
        """While this holds, `break_wait` may be called from another thread, to end whatever the task waits for."""
        with self._lock:
            if self._stopped:
                raise StoppedError
            self._breaks.append(break_wait)
        try:
            yield
        finally:
            with self._lock:
                self._breaks.remove(break_wait)

    def run(self, tasks: Sequence[Callable[[], T]]) -> list[T]:
        """The results of all tasks, in their order. Raises the first error of any, and UnreachableError at a standstill.

        No thread is left when it returns or raises.
        """
        with quick_switches(), ThreadPoolExecutor(self._jobs) as pool:
            futures = [pool.submit(task) for task in tasks]
            try:
                self._watch(futures)
            except BaseException:
                self._stop()
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        return [future.result() for future in futures]

    def _watch(self, futures: Sequence[Future[T]]) -> None:
        seen, since = 0, time.monotonic()
        pending = set(futures)
        while pending:
            done, pending = wait(pending, timeout=LOOK_SECONDS, return_when=FIRST_EXCEPTION)
            for future in done:
                future.result()
            self._progress(self._moved)
            if self._moved != seen or done:
                seen, since = self._moved, time.monotonic()
            elif time.monotonic() - since > self._stall_seconds:
                raise silent(self._stall_seconds)

    def _stop(self) -> None:
        with self._lock:
            self._stopped = True
            for break_wait in self._breaks:
                break_wait()
