"""docs/benchmarks.md and its picture, from all results: for a person who decides whether to trust the figures."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from benchmarks.data import Size
from benchmarks.goals import MAIN, OURS, Goal, judge, largest, main_size
from benchmarks.guarding import Cost
from benchmarks.plot import Bar, bar_chart
from benchmarks.results import GUARDING, Measured, Results, load_all

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"
PICTURE = "pictures/benchmarks.svg"
_ERROR_LENGTH = 200

_HEAD = """\
# Benchmarks

What a backup with proof costs, beside what other tools take for a backup without. `make benchmark` wrote this page;
every figure lies in `benchmarks/results`. Only ratios matter: they are made of medians of contenders that ran in turn,
in one run on one machine.
"""

_OTHER_SERVER = "A number in brackets is the major version of another server, Debian's, with the same table."

_NOT_SAID = """\
## What these figures do not say

* The peers prove nothing while they are timed, except for the seeds' way, whose proof is that one line begins with
  `COPY`. Ours is timed whole: census, dump, read back from disk, verdict, publish, all fsynced. `pg_dump` and the
  pipes do not wait for the disk.
* The table is in memory (read once before the first round), so reading it is as cheap as it gets. A table larger than
  the memory is read from disk, by all contenders alike. What a contender wrote is in memory when it is read again,
  except by our backup, which drops it from the page cache first; verify and restore read a dump that is in memory.
* The vectors are random and of unit length, so their digits hardly compress. Real embeddings are about as hard;
  payloads are short, as mem0's are.
* The tables have their primary key and text index and no HNSW index while backups are timed. No dump holds an index,
  but `pg_basebackup`, pgBackRest and Barman copy it: with one they would carry about twice as much.
* pgBackRest, Barman and `pg_basebackup` copy a whole server and can go back to any second, given its log. A dump
  cannot. They restore into the same major version only, and all databases or none.
* Nothing crosses a network. pgBackRest and Barman have no pgvector in Debian: there the same numbers lie in a
  `real[]` column, the same bytes on disk; `pg_basebackup` ran on both servers, so that these can be compared.
* Restores go into an empty scratch server, the same for all contenders and with fsync off, as a drill does it. A real
  restore waits for the disk as well.
* Memory is that of all of a contender's processes together, the server's not. The lower figure is the proportional
  set size, looked at every 50 ms: a short peak may be missed. The higher one sums each process's own high-water mark:
  it misses nothing, and counts what processes share once for each.
"""

_REPEAT = """\
## To repeat it

```
apt-get install zstd pgbackrest barman postgresql     # what is missing is left out, and said
make benchmark                                        # all of it: hours; `python -m benchmarks --help` for parts
python -m benchmarks sizes --rows 100000 --dimensions 1536
python -m benchmarks page                             # this page anew, from the figures that are there
```
"""


def write_page(results_folder: Path, page: Path) -> None:
    """The page and its picture, from whatever has been measured."""
    results = load_all(results_folder)
    main = main_size(results)
    parts = [_HEAD, _goals(judge(results), main)]
    if main:
        picture = page.parent / PICTURE
        picture.parent.mkdir(parents=True, exist_ok=True)
        picture.write_text(_picture(main))
        parts += [_backups(main), _verify(main), _restores(main)]
    parts += [_growth(results), _guarding(results_folder / GUARDING), _measured_on(results), _left_out(results)]
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text("\n".join(part for part in [*parts, _NOT_SAID, _REPEAT] if part))


def _goals(goals: Sequence[Goal], main: Results | None) -> str:
    rows = [
        (goal.what, goal.target, goal.reached, {True: "yes", False: "**no**", None: "-"}[goal.ok], _why(goal))
        for goal in goals
    ]
    not_yet = "" if main and main.size == MAIN else f" ({MAIN} is not measured yet)"
    at = f"At {main.size}{not_yet} unless another size is named. " if main else ""
    text = f"{at}The goals were set before anything was measured; none was changed after."
    return f"## What was promised\n\n{text}\n\n" + _table(["goal", "target", "reached", "", "why not"], rows)


def _why(goal: Goal) -> str:
    return goal.bound if goal.ok is False else ""


def _backups(run: Results) -> str:
    members, ours = (
        run.groups.get("backup", {}),
        run.median("backup", "ours_binary") or run.median("backup", "ours_sql"),
    )
    rows = [
        (
            _named(key, one),
            _seconds(one.median()),
            _spread(one),
            _times(one.median(), ours),
            _megabytes(one.median("bytes")),
            _memory(one),
        )
        for key, one in _quickest_first(members)
    ]
    columns = ["backup", "median s", "least to most", "times ours", "MB on disk", "MB of memory"]
    alt = f"Seconds for one backup at {run.size}, by contender: the table below has the figures"
    heading = f"## Backup: {run.size.rows:,} memories of {run.size.dimensions:,} dimensions\n\n![{alt}]({PICTURE})\n\n"
    text = f"The table takes {run.table_bytes / 1e6:,.0f} MB in the server. {_rounds(members)} {_OTHER_SERVER}\n\n"
    return heading + text + _table(columns, rows)


def _picture(run: Results) -> str:
    bars = [
        Bar(one.title, _kind(key), one.median() or 0, min(one.values("seconds")), max(one.values("seconds")))
        for key, one in run.groups.get("backup", {}).items()
        if one.runs
    ]
    title = f"Seconds for one backup: {run.size.rows:,} memories of {run.size.dimensions:,} dimensions"
    return bar_chart(title, "median of all rounds, the line from the least to the most; ours with its proof", bars)


def _kind(key: str) -> str:
    return "ours" if key.startswith("ours") else "limit" if key.startswith("limit") else "peer"


def _verify(run: Results) -> str:
    members = run.groups.get("verify", {})
    rows = [(_named(key, one), _seconds(one.median()), _spread(one)) for key, one in _quickest_first(members)]
    text = f"A dump that `pg_dump | gzip` made, proven row by row; and its lines counted. {_rounds(members)}"
    return f"## Verify\n\n{text}\n\n" + _table(["verify", "median s", "least to most"], rows) if rows else ""


def _restores(run: Results) -> str:
    plain, indexed = run.groups.get("restore", {}), run.groups.get("index", {})
    keys = [*plain, *(key for key in indexed if key not in plain)]
    rows = [
        (
            _named(key, (plain.get(key) or indexed[key])),
            _seconds(run.median("restore", key, "readable")),
            _spread(plain[key], "readable") if key in plain else "",
            _seconds(run.median("index", key, "index")),
            _spread(indexed[key], "index") if key in indexed else "",
        )
        for key in keys
    ]
    if not rows:
        return ""
    text = (
        "Until the last memory was in and readable; and, with an HNSW index in the dump, from then until all indexes "
        "were built. "
        f"{_rounds(plain)} With the HNSW index: {_rounds(indexed)}"
    )
    columns = ["restore", "readable, median s", "least to most", "indexes, median s", "least to most"]
    return f"## Restore\n\n{text}\n\n" + _table(columns, rows)


def _growth(results: Mapping[Size, Results]) -> str:
    columns = [
        "size",
        *(f"{key.removeprefix('ours_')} s" for key in OURS),
        "limit s",
        "ms per 1,000 memories",
        "MB of memory",
        "rounds",
    ]
    by_dimensions = sorted(results.values(), key=lambda run: (run.size.dimensions, run.size.rows))
    rows = [(str(run.size), *_grown(run)) for run in by_dimensions]
    text = "Memories and dimensions; ours with proof, as whole commands. Sizes were measured in runs of their own."
    return f"## From two thousand to a million\n\n{text}\n\n" + _table(columns, rows) if rows else ""


def _grown(run: Results) -> Iterable[str]:
    figures = {key: run.median("backup", key) for key in (*OURS, "limit")}
    ours = next((key for key in OURS if figures[key]), OURS[0])
    each = figures[ours]
    yield from (_seconds(seconds) for seconds in figures.values())
    yield f"{1e6 * each / run.size.rows:,.1f} ({ours.removeprefix('ours_')})" if each else "-"
    highest = [(largest(run, key, "memory"), largest(run, key, "memory_at_most")) for key in OURS]
    yield ", ".join(f"{fair / 1e6:.0f} to {most / 1e6:.0f}" for fair, most in highest if most) or "-"
    yield str(_most_rounds(run.groups.get("backup", {})))


def _guarding(path: Path) -> str:
    if not path.exists():
        return ""
    costs = [Cost(**one) for one in json.loads(path.read_text())]
    rows = [
        (cost.title, _seconds(cost.median), f"{min(cost.seconds):.3f} to {max(cost.seconds):.3f}", cost.goal)
        for cost in costs
    ]
    text = "The demo's 1,968 memories, by the same code that Dagster runs."
    return f"## What guarding costs\n\n{text}\n\n" + _table(["what", "median s", "least to most", "goal"], rows)


def _measured_on(results: Mapping[Size, Results]) -> str:
    if not results:
        return ""
    runs = list(results.values())
    rows = [
        (name, "; ".join(dict.fromkeys(value for run in runs if (value := of(run).get(name)))))
        for of in (_facts, lambda run: run.versions, lambda run: run.settings)
        for name in dict.fromkeys(name for run in runs for name in of(run))
    ]
    text = "The servers are as `initdb` leaves them: nothing is set, but archiving where pgBackRest and Barman need it."
    return f"## Measured on\n\n{text}\n\n" + _table(["what", "value"], rows)


def _facts(run: Results) -> dict[str, str]:
    return {"date": run.taken_at[:10], **run.machine}


def _left_out(results: Mapping[Size, Results]) -> str:
    """What did not take part, or failed; each reason once, with the sizes that it concerns."""
    found: dict[str, list[Size]] = {}
    for size, run in results.items():
        reasons = list(run.missing.values())
        for group, members in run.groups.items():
            reasons += [f"{group}, {one.title}: {one.error[:_ERROR_LENGTH]}" for one in members.values() if one.error]
        for reason in reasons:
            found.setdefault(reason, []).append(size)
    lines = [f"* {reason} ({', '.join(map(str, sizes))})" for reason, sizes in found.items()]
    seldom = [str(run.size) for run in results.values() if run.median("backup", "seeds") is None and run.size > MAIN]
    if seldom:
        lines.append(
            f"* {', '.join(seldom)}: only the quick ones ran; `gzip` alone takes a quarter of an hour for a million."
        )
    return "## Not measured, or failed\n\n" + "\n".join(lines) + "\n" if lines else ""


def _quickest_first(members: Mapping[str, Measured]) -> list[tuple[str, Measured]]:
    return sorted(((key, one) for key, one in members.items() if one.runs), key=lambda item: item[1].median() or 0)


def _named(key: str, measured: Measured) -> str:
    return f"**{measured.title}**" if key.startswith("ours") else measured.title


def _rounds(members: Mapping[str, Measured]) -> str:
    most = _most_rounds(members)
    return f"{most} round{'s' if most != 1 else ''}."


def _most_rounds(members: Mapping[str, Measured]) -> int:
    return max((len(one.runs) for one in members.values()), default=0)


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:,.2f}"


def _spread(measured: Measured, figure: str = "seconds") -> str:
    values = measured.values(figure)
    return f"{min(values):,.2f} to {max(values):,.2f}" if values else "-"


def _times(value: float | None, ours: float | None) -> str:
    return f"{value / ours:.1f}" if value and ours else "-"


def _megabytes(value: float | None) -> str:
    return "-" if value is None else f"{value / 1e6:,.1f}"


def _memory(measured: Measured) -> str:
    most, fair = measured.largest("memory_at_most"), measured.largest("memory")
    return f"{(fair or 0) / 1e6:.0f} to {most / 1e6:.0f}" if most else "-"


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)
