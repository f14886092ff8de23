"""Results of one size are kept group by group, as long as the machine and the versions stay the same."""

from pathlib import Path

from benchmarks.data import Size
from benchmarks.results import Measured, Results, load_all

SIZE = Size(2000, 8)


def results(group: str, title: str, version: str = "18.4") -> Results:
    measured = Measured(title, ({"seconds": 3.0}, {"seconds": 1.0}, {"seconds": 2.0}))
    return Results(SIZE, "2026-01-27T02:30+00:00", {}, {"PostgreSQL": version}, {}, 1, {group: {"one": measured}})


def test_what_is_saved_is_read_again_with_its_medians(tmp_path: Path) -> None:
    saved = results("backup", "first")
    saved.save(tmp_path)
    assert load_all(tmp_path) == {SIZE: saved}
    assert saved.median("backup", "one") == 2.0
    assert saved.median("backup", "another") is None


def test_a_group_replaces_its_older_runs_and_leaves_the_other_groups(tmp_path: Path) -> None:
    for group, title in (("backup", "first"), ("verify", "first"), ("backup", "second")):
        results(group, title).save(tmp_path)
    groups = load_all(tmp_path)[SIZE].groups
    assert {group: members["one"].title for group, members in groups.items()} == {"backup": "second", "verify": "first"}


def test_figures_of_other_versions_do_not_stay_beside_new_ones(tmp_path: Path) -> None:
    results("backup", "old", version="17.0").save(tmp_path)
    results("verify", "new").save(tmp_path)
    assert set(load_all(tmp_path)[SIZE].groups) == {"verify"}
