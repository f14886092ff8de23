"""What was promised before anything was measured, held against what was measured. Pure: results in, verdicts out.

Every ratio is of medians within one run. Where a goal is missed, the figure that bounds it is said beside it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from benchmarks.data import Size
from benchmarks.results import Results

MAIN = Size(100_000, 1536)
INCIDENT = 1968
OURS = ("ours_binary", "ours_sql")
IN_PROCESS = ("ours_binary_in_process", "ours_sql_in_process")
PG_DUMP = ("custom", "custom_zstd", "zstd", "zstd_fast")
PEERS = ("seeds", *PG_DUMP, "basebackup", "pgbackrest", "barman")
MOST_MEMORY = 150_000_000
# How much more a further memory may cost in a table of another size, and the growth still be called linear.
LINEAR = 1.25


@dataclass(frozen=True)
class Goal:
    """One promise. `reached` is a figure, or says that there is none; `ok` is None where it was not measured."""

    what: str
    target: str
    reached: str = "not measured"
    ok: bool | None = None
    bound: str = ""


def main_size(results: Mapping[Size, Results]) -> Results | None:
    """The run on which the goals are judged: MAIN, or the largest below it until that is measured."""
    smaller = [size for size in results if size <= MAIN]
    return results[max(smaller)] if smaller else None


def judge(results: Mapping[Size, Results]) -> list[Goal]:
    """All goals, in the order of the promise."""
    main = main_size(results)
    of_main = [*_backup_goals(main), _verify_goal(main), _restore_goal(main)] if main else []
    return [*of_main, _linear_goal(results), _small_goal(results), _memory_goal(results)]


def _backup_goals(run: Results) -> list[Goal]:
    binary, sql, seeds, limit = (run.median("backup", key) for key in (*OURS, "seeds", "limit"))
    best = min(_medians(run, PG_DUMP), default=None)
    rest = run.median("backup", "pgbackrest")
    return [
        _faster("backup and proof, binary, against the seeds' way", 25, seeds, binary, _limit_says(seeds, limit)),
        _faster("the same, against the best `pg_dump` contender", 3, best, binary, _limit_says(best, limit)),
        _faster(
            "the same, against pgBackRest", 1, rest, binary, "pgBackRest copies pages and asks for no row what it holds"
        ),
        _limit_goal(binary, limit),
        _smallest_goal(run),
        _faster(
            "backup and proof, sql, against the seeds' way",
            8,
            seeds,
            sql,
            "`pg_dump` writes the text, and that bounds it",
        ),
    ]


def _limit_says(slow: float | None, limit: float | None) -> str:
    return f"the limit itself is {slow / limit:.1f} times faster" if slow and limit else ""


def _limit_goal(binary: float | None, limit: float | None) -> Goal:
    goal = ("backup and proof, binary, against the limit", "at most 3 times its time")
    if binary is None or limit is None:
        return Goal(*goal)
    bound = "the limit neither compresses nor hashes, and reads nothing back"
    return Goal(*goal, f"{binary / limit:.1f} times its time", binary <= 3 * limit, bound)


def _smallest_goal(run: Results) -> Goal:
    goal = ("size of a backup, binary", "smaller than all peers")
    ours, theirs = run.median("backup", "ours_binary", "bytes"), list(_medians(run, PEERS, "bytes"))
    if ours is None or not theirs:
        return Goal(*goal)
    bound = "the digits of unit vectors hardly compress; a stronger compression would cost more time than bytes"
    reached = f"{ours / 1e6:,.1f} MB, the smallest peer {min(theirs) / 1e6:,.1f} MB"
    return Goal(*goal, reached, ours < min(theirs), bound)


def _verify_goal(run: Results) -> Goal:
    what = "`verify` of a foreign .sql.gz, against `gunzip | grep`"
    bound = "`verify` reads and counts every row, `grep` the beginning of each line"
    return _faster(what, 3, run.median("verify", "grep"), run.median("verify", "ours"), bound)


def _restore_goal(run: Results) -> Goal:
    what = "restore until readable, binary, against `gunzip | psql`"
    theirs, ours = (run.median("restore", key, "readable") for key in ("psql", "ours_binary"))
    return _faster(what, 3, theirs, ours, "the server's own writing of the rows is the same for both")


def _faster(what: str, times: int, slow: float | None, fast: float | None, bound: str) -> Goal:
    target = f"at least {times} times faster" if times > 1 else "faster"
    if slow is None or fast is None:
        return Goal(what, target)
    return Goal(what, target, f"{slow / fast:.1f} times", slow >= times * fast and slow > fast, bound)


def _linear_goal(results: Mapping[Size, Results]) -> Goal:
    """The price of one further memory, from the smallest to the middle size and from there to the largest."""
    goal = (
        "cost of a further memory, binary, in the largest table against the middle one",
        f"at most {LINEAR:g} times (linear)",
    )
    found = [
        (size.rows, results[size].median("backup", "ours_binary"))
        for size in sorted(results)
        if size.dimensions == MAIN.dimensions
    ]
    points = [(rows, seconds) for rows, seconds in found if seconds is not None]
    if len(points) < 3:
        return Goal(*goal)
    (rows, least), (more_rows, more), (most_rows, most) = points[0], points[len(points) // 2], points[-1]
    early, late = (more - least) / (more_rows - rows), (most - more) / (most_rows - more_rows)
    reached = f"{late / early:.2f} times" if early > 0 else "no growth to compare"
    return Goal(*goal, reached, late <= LINEAR * early, "a table that does not fit into memory is read from disk")


def _small_goal(results: Mapping[Size, Results]) -> Goal:
    goal = (f"the incident's {INCIDENT:,} memories: the whole command, with proof", "under 1 s")
    run = results.get(Size(INCIDENT, MAIN.dimensions))
    whole = min(_medians(run, OURS), default=None) if run else None
    if run is None or whole is None:
        return Goal(*goal)
    alone = min(_medians(run, IN_PROCESS), default=None)
    reached = f"{whole:.2f} s" + (f" ({alone:.2f} s without the command's start)" if alone else "")
    return Goal(*goal, reached, whole < 1, "Python's start and the loading of the project's own code")


def _memory_goal(results: Mapping[Size, Results]) -> Goal:
    goal = ("memory of a backup, all its processes, whatever the table's size", f"under {MOST_MEMORY / 1e6:.0f} MB")
    found = [(largest(run, key, "memory_at_most"), size, run, key) for size, run in results.items() for key in OURS]
    taken = [(most, size, run, key) for most, size, run, key in found if most]
    if not taken:
        return Goal(*goal)
    most, size, run, key = max(taken, key=lambda one: one[0])
    fair = largest(run, key, "memory")
    reached = f"{fair / 1e6:.0f} to {most / 1e6:.0f} MB ({key.removeprefix('ours_')}, {size})"
    return Goal(
        *goal, reached, most < MOST_MEMORY, "several processes, whose shared pages the higher figure counts each time"
    )


def largest(run: Results, key: str, figure: str) -> float:
    """The highest figure of a backup contender in any round; 0 where it did not run."""
    measured = run.of("backup", key)
    return (measured.largest(figure) if measured else None) or 0


def _medians(run: Results, keys: Iterable[str], figure: str = "seconds") -> Iterable[float]:
    found = (run.median("backup", key, figure) for key in keys)
    return (value for value in found if value is not None)
