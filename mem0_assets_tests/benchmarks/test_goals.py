"""Goals are judged by ratios of medians: reached, missed with the bound that explains it, or not measured at all."""

from benchmarks.data import Size
from benchmarks.goals import MAIN, Goal, judge, main_size
from benchmarks.results import Groups, Measured, Results

FAST = {
    "ours_binary": 3.0,
    "ours_sql": 10.0,
    "seeds": 100.0,
    "zstd_fast": 9.0,
    "custom": 90.0,
    "pgbackrest": 5.0,
    "limit": 1.5,
}


def results(size: Size = MAIN, backup: dict[str, float] | None = None, **groups: dict[str, Measured]) -> Results:
    seconds = FAST if backup is None else backup
    sizes = {"ours_binary": 580, "limit": 560}
    members = {
        key: Measured(key, ({"seconds": value, "bytes": sizes.get(key, 700), "memory": 5e7, "memory_at_most": 9e7},))
        for key, value in seconds.items()
    }
    made: Groups = {"backup": members, **groups}
    return Results(size, "2026-01-27T02:30+00:00", {}, {}, {}, 800, made)


def goal(found: list[Goal], what: str) -> Goal:
    return next(one for one in found if what in one.what)


def judged(run: Results, what: str) -> Goal:
    return goal(judge({run.size: run}), what)


def test_goals_that_are_reached_say_by_how_much() -> None:
    run = results()
    assert judged(run, "binary, against the seeds' way") == Goal(
        "backup and proof, binary, against the seeds' way",
        "at least 25 times faster",
        "33.3 times",
        True,
        "the limit itself is 66.7 times faster",
    )
    assert judged(run, "best `pg_dump`").reached == "3.0 times"
    assert judged(run, "against the limit").reached == "2.0 times its time"
    assert all(one.ok for one in judge({MAIN: run}) if one.reached != "not measured")


def test_a_goal_that_is_missed_says_so_and_what_bounds_it() -> None:
    run = results(backup={**FAST, "ours_binary": 6.0})
    missed = [one for one in judge({MAIN: run}) if one.ok is False]
    assert [one.reached for one in missed] == ["16.7 times", "1.5 times", "0.8 times", "4.0 times its time"]
    assert all(one.bound for one in missed)


def test_what_was_not_measured_is_neither_reached_nor_missed() -> None:
    assert {one.ok for one in judge({})} == {None}
    run = results(backup={"seeds": 100.0})
    assert {one.ok for one in judge({MAIN: run})} == {None}


def test_the_limits_bytes_are_no_peers_for_the_size_of_a_backup() -> None:
    assert judged(results(), "size of a backup").ok is True


def test_the_goals_are_judged_at_the_main_size_or_below_never_above() -> None:
    small, large = results(Size(2000, 1536)), results(Size(1_000_000, 1536))
    assert main_size({small.size: small, large.size: large}) is small
    main = results()
    assert main_size({small.size: small, main.size: main, large.size: large}) is main
    assert main_size({large.size: large}) is None


def test_growth_is_linear_where_a_further_memory_costs_as_much_in_the_largest_table() -> None:
    def grown(*seconds: float) -> Goal:
        rows = (2000, 100_000, 1_000_000)
        runs = [results(Size(n, 1536), {"ours_binary": s}) for n, s in zip(rows, seconds, strict=True)]
        return goal(judge({run.size: run for run in runs}), "further memory")

    assert grown(1.0, 3.0, 21.4).ok is True
    assert grown(1.0, 3.0, 40.0).ok is False


def test_memory_is_judged_by_the_higher_figure_of_the_hungriest_run() -> None:
    hungry = Measured("", ({"seconds": 1, "memory": 1e8, "memory_at_most": 1.6e8},))
    run = results(Size(1_000_000, 768), backup={})
    run.groups["backup"]["ours_binary"] = hungry
    found = goal(judge({MAIN: results(), run.size: run}), "memory of a backup")
    assert (found.ok, found.reached) == (False, "100 to 160 MB (binary, 1,000,000 x 768)")
