"""Rounds in which each contender runs in turn: what slows the machine for a while slows all of them, not one.

The order turns from round to round, so that nobody always follows the same neighbour. What the last one wrote is on disk
(sync) and removed before the next begins; the table itself is in memory for all of them, read once before the first round.
"""

import os
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import psycopg

from benchmarks.processes import ContenderFailed, watched_memory
from benchmarks.results import Measured, Run
from mem0_assets.errors import Mem0AssetsError

FAILURES = (ContenderFailed, Mem0AssetsError, psycopg.Error, OSError)
Tell = Callable[[str], None]


def _nothing(folder: Path) -> None:
    pass


@dataclass(frozen=True)
class Contender:
    """One way to do it. `prepare` is not timed; `run` is; both get the same empty folder, which is removed afterwards.

    `run` returns more figures: the `bytes` that it kept, or `seconds` of its own where not all of it counts.
    """

    key: str
    title: str
    run: Callable[[Path], Run]
    prepare: Callable[[Path], None] = _nothing


def measure(contenders: Sequence[Contender], rounds: int, folder: Path, tell: Tell) -> dict[str, Measured]:
    """Each contender's runs, by its key. One that fails is told, and does not run again."""
    measured = {one.key: Measured(one.title) for one in contenders}
    for number in range(rounds):
        first = number % max(len(contenders), 1)
        for contender in (*contenders[first:], *contenders[:first]):
            so_far = measured[contender.key]
            if so_far.error is None:
                measured[contender.key] = _with_one_more(so_far, contender, folder / contender.key)
                tell(f"  {number + 1}/{rounds}  {contender.title:<50} {_told(measured[contender.key])}")
    return measured


def _with_one_more(so_far: Measured, contender: Contender, folder: Path) -> Measured:
    folder.mkdir()
    try:
        contender.prepare(folder)
        os.sync()
        with watched_memory() as memory:
            started = time.perf_counter()
            figures = contender.run(folder)
            seconds = time.perf_counter() - started
    except FAILURES as error:
        said = " ".join(str(error).split()).replace(f"{folder.parent}/", "")  # where it was is nobody's business
        return replace(so_far, error=said)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    run = {"seconds": seconds, "memory": memory.shared_once, "memory_at_most": memory.at_most} | figures
    return replace(so_far, runs=(*so_far.runs, run))


def _told(measured: Measured) -> str:
    return f"failed: {measured.error}" if measured.error else f"{measured.runs[-1]['seconds']:9.2f} s"


def bytes_in(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())
