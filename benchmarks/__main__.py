"""`make benchmark`: speed and memory against peers, what guarding costs, and docs/benchmarks.md from all results.

    python -m benchmarks                       everything, with the defaults below
    python -m benchmarks guarding              what guarding costs, alone
    python -m benchmarks sizes --rows 100000   contenders at some sizes; a group's results replace its older ones
    python -m benchmarks page                  docs/benchmarks.md anew from all results, measuring nothing

Whatever ends it, Ctrl-C included: its servers and folders are gone afterwards.
"""

import argparse
import json
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path
from types import FrameType

from benchmarks.data import Size
from benchmarks.guarding import measure_all
from benchmarks.page import PAGE, write_page
from benchmarks.results import FOLDER, GUARDING
from benchmarks.sizes import GROUPS, Plan, measure_size, needed_bytes

# From so many rows on the slow ones stay at home: gzip alone takes a quarter of an hour for a million memories.
LARGE = 500_000
LARGE_PLAN = Plan(3, 0, ("backup",), frozenset({"ours_binary", "ours_sql", "zstd_fast", "limit_read", "limit"}))
PLAN = Plan(5, 1)


def main(words: Sequence[str]) -> None:
    """Measure what was asked for, write the page, clean up."""
    options = _options(words)
    if options.what == "all":
        _tell("everything takes two to three hours on 2 cores; each part is kept when it is done")
    if options.what in ("all", "guarding"):
        _measure_guarding(options)
    if options.what in ("all", "sizes"):
        for size in sorted(Size(rows, dimensions) for rows in options.rows for dimensions in options.dimensions):
            _measure(size, options)
    write_page(options.results, options.page)
    _tell(f"written: {options.page}")


def _options(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("benchmarks", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("what", nargs="?", default="all", choices=["all", "guarding", "sizes", "page"])
    parser.add_argument("--rows", type=_numbers, default=[1968, 100_000, 1_000_000], help="like 1968,100000")
    parser.add_argument("--dimensions", type=_numbers, default=[768, 1536], help="like 768,1536")
    parser.add_argument("--rounds", type=int, help=f"{PLAN.rounds}; from {LARGE:,} rows on {LARGE_PLAN.rounds}")
    parser.add_argument("--index-rounds", type=int, help="restores with HNSW index: 1; from 500,000 rows on none")
    parser.add_argument("--groups", type=_names, help=f"of {','.join(GROUPS)}; from {LARGE:,} rows on backup")
    parser.add_argument(
        "--only", type=_names, help="contenders by key, like ours_binary,seeds; all where there is none"
    )
    parser.add_argument("--folder", type=Path, default=Path("/var/tmp"), help="on the disk to be measured (/var/tmp)")
    parser.add_argument("--results", type=Path, default=FOLDER, help="where the figures lie")
    parser.add_argument("--page", type=Path, default=PAGE, help="docs/benchmarks.md; its picture lies beside it")
    return parser.parse_args(words)


def _numbers(text: str) -> list[int]:
    return [int(word) for word in text.split(",")]


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split(","))


def _plan(size: Size, options: argparse.Namespace) -> Plan:
    usual = LARGE_PLAN if size.rows >= LARGE else PLAN
    return Plan(
        rounds=usual.rounds if options.rounds is None else options.rounds,
        index_rounds=usual.index_rounds if options.index_rounds is None else options.index_rounds,
        groups=options.groups or usual.groups,
        only=frozenset(options.only) if options.only else usual.only,
    )


def _measure(size: Size, options: argparse.Namespace) -> None:
    free, needed = shutil.disk_usage(options.folder).free, needed_bytes(size)
    if free < needed:
        _tell(f"{size}: left out, it needs {needed / 1e9:.0f} GB in {options.folder} and {free / 1e9:.0f} GB are free")
        return
    with _folder(options.folder) as folder, closing(measure_size(size, _plan(size, options), folder, _tell)) as sofar:
        for results in sofar:
            _tell(f"written: {results.save(options.results)}")
    for why in results.missing.values():
        _tell(f"not measured: {why}")


def _measure_guarding(options: argparse.Namespace) -> None:
    costs = []
    with _folder(options.folder) as folder:
        for cost in measure_all(folder):
            _tell(str(cost))
            costs.append(asdict(cost))
    options.results.mkdir(parents=True, exist_ok=True)
    (options.results / GUARDING).write_text(json.dumps(costs, indent=1) + "\n")


@contextmanager
def _folder(parent: Path) -> Iterator[Path]:
    """A folder for one measurement, open to the servers' user; gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="mem0-assets-benchmark-", dir=parent))
    try:
        folder.chmod(0o755)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _tell(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')}  {text}", flush=True)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        main(sys.argv[1:])
    except KeyboardInterrupt:
        sys.exit("interrupted: the servers are stopped and the folders removed")
