"""`python -m benchmarks` measures real contenders on real servers, writes the page, and leaves nothing behind."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from benchmarks.__main__ import main
from benchmarks.data import Size
from benchmarks.results import Results, load_all

SIZE = Size(60, 8)
CONTENDERS = ("ours_sql", "custom", "basebackup", "limit_read", "limit", "seeds", "ours", "grep", "psql")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where one tiny size was measured: `work` for the servers, `results`, and the page."""
    place = tmp_path_factory.mktemp("benchmark")
    (place / "work").mkdir()
    words = ["sizes", "--rows", "60", "--dimensions", "8", "--rounds", "1", "--only", ",".join(CONTENDERS)]
    words += ["--folder", str(place / "work"), "--results", str(place / "results"), "--page", str(place / "page.md")]
    main(words)
    return place


@pytest.fixture(scope="module")
def results(place: Path) -> Results:
    return load_all(place / "results")[SIZE]


def test_each_contender_ran_and_none_failed(results: Results) -> None:
    found = {(group, key): one for group, members in results.groups.items() for key, one in members.items()}
    assert {key: one.error for key, one in found.items() if one.error} == {}
    assert all(len(one.runs) == 1 for one in found.values())
    assert [sorted(members) for members in results.groups.values()] == [
        ["basebackup", "custom", "limit", "limit_read", "ours_sql", "seeds"],
        ["grep", "ours"],
        ["ours_sql", "psql"],
        ["ours_sql", "psql"],
    ]


def test_what_a_backup_keeps_and_the_memory_it_takes_are_among_the_figures(results: Results) -> None:
    assert (results.median("backup", "ours_sql", "bytes") or 0) > 1000
    assert (results.median("backup", "ours_sql", "memory_at_most") or 0) > 10_000_000  # a Python process


def test_restores_tell_when_the_memories_were_readable_and_when_their_indexes_were_built(results: Results) -> None:
    for key in ("psql", "ours_sql"):
        assert (results.median("restore", key, "readable") or 0) > 0
        assert (results.median("index", key, "index") or 0) > 0


def test_the_servers_are_as_initdb_leaves_them_with_fsync_on(results: Results) -> None:
    assert results.settings["fsync"] == "on"
    assert results.settings["shared_buffers"] == "128MB"
    assert results.versions["PostgreSQL"].startswith("18.")


def test_nothing_is_left_where_the_servers_were(place: Path) -> None:
    assert list((place / "work").iterdir()) == []


def test_the_page_tells_neither_where_it_was_measured_nor_on_whose_machine(place: Path) -> None:
    for text in ((place / "page.md").read_text(), (place / "results" / "60x8.json").read_text()):
        assert str(place) not in text
        assert "/root" not in text
        assert "/tmp" not in text


def test_the_page_is_written_anew_from_the_results_alone(place: Path) -> None:
    first = (place / "page.md").read_text()
    (place / "page.md").unlink()
    main(["page", "--results", str(place / "results"), "--page", str(place / "page.md")])
    assert (place / "page.md").read_text() == first


def test_the_page_holds_every_contender_of_the_size_and_a_picture_of_them(place: Path) -> None:
    page, picture = (place / "page.md").read_text(), (place / "pictures" / "benchmarks.svg").read_text()
    content: dict[str, Any] = json.loads((place / "results" / "60x8.json").read_text())
    titles = [one["title"] for one in content["groups"]["backup"].values()]
    assert len(titles) == 6
    for title in titles:
        assert title.replace("|", "\\|") in page
        assert title in picture
    assert re.search(r"^## What these figures do not say$", page, re.MULTILINE)
