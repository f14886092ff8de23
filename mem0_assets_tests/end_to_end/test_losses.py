"""Every way to lose something, each done to a demo deployment of its own, and what the command line says of each.

All is run as a person runs it, each command in a process of its own. A demo takes a quarter of a minute to make, so one
is made and copied; and the stories are lived through two at a time before the first test looks at them.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mem0_assets.demo.deployment import HOWS, Demo, How
from mem0_assets.demo.memories import INCIDENT

TOTAL = 1968

# The codes of the next backup's refusal, and the incidents that are told.
EXPECTED: dict[How, tuple[set[str], set[str]]] = {
    "delete": ({"empty", "shrunk", "namespace_vanished"}, {"count_zero", "backup_refused"}),
    "truncate": ({"empty", "shrunk", "namespace_vanished"}, {"count_zero", "backup_refused"}),
    "namespace": ({"namespace_vanished"}, {"namespace_gone", "backup_refused"}),
    "recreate": (
        {"empty", "shrunk", "namespace_vanished", "identity_changed", "application_emptied"},
        {"count_zero", "identity_changed", "backup_refused"},
    ),
    "dimensions": ({"identity_changed", "dimensions_changed"}, {"identity_changed", "backup_refused"}),
    "application": ({"application_emptied"}, {"backup_refused"}),
}
MEANT: tuple[How, ...] = ("namespace", "dimensions")  # a person may have done these on purpose
DELETED_BY_SQL: tuple[How, ...] = ("namespace",)  # mem0's history does not know it, and asks for a word of its own
MADE_AGAIN: How = "recreate"
LOST_MEMORIES = [how for how in EXPECTED if how != "application"]


@dataclass(frozen=True)
class Answer:
    """What a command came to: its exit status, and the JSON object that it wrote."""

    status: int
    said: dict[str, Any]


Story = dict[str, Answer]


def ask(*words: str, fleet: Path | None = None) -> Answer:
    """Run one `mem0-assets ... --json`. Its stdout must be one JSON object and nothing else."""
    options = ["--fleet", str(fleet)] if fleet else []
    command = [sys.executable, "-m", "mem0_assets.cli", *options, *words, "--json"]
    environment = {name: value for name, value in os.environ.items() if name not in ("MEM0_FLEET", "DAGSTER_HOME")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout, done.stderr
    assert "Traceback" not in done.stderr
    return Answer(done.returncode, json.loads(done.stdout))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Answer]]:
    """A demo whose server is stopped, so that its folder can be copied; and what `demo` said."""
    folder = tmp_path_factory.mktemp("losses") / "demo"
    try:
        yield folder, ask("demo", "--no-ui", "--dir", str(folder))
    finally:
        Demo(folder).server.stop("immediate")


@pytest.fixture(scope="module")
def stories(made: tuple[Path, Answer]) -> dict[How, Story]:
    """What each command said in each of the five stories."""
    folder, _ = made
    Demo(folder).server.stop()
    with ThreadPoolExecutor(2) as pool:
        lived = {how: pool.submit(live_through, how, folder) for how in sorted(HOWS, key=lambda how: how != MADE_AGAIN)}
        return {how: story.result() for how, story in lived.items()}


def live_through(how: How, made: Path) -> Story:
    folder = made.with_name(how)
    subprocess.run(["cp", "-a", made, folder], check=True)  # a copy that keeps the owner, whom PostgreSQL insists on
    fleet = folder / "fleet.yaml"
    try:
        story = {"lost": ask("demo", "lose", "--how", how, "--dir", str(folder))}
        if how == "settings":
            return story | {"configuration": ask("configuration", "demo", fleet=fleet)}
        story["backup"] = ask("backup", "demo", fleet=fleet)
        if how in (*LOST_MEMORIES, "dropped"):
            story["drill"] = ask("drill", "demo", fleet=fleet)
        story["status"] = ask("status", fleet=fleet)
        if how in EXPECTED:
            story["backups"] = ask("backups", "demo", fleet=fleet)
        if how in MEANT:
            refused = str(story["backup"].said["backup"])
            story["accept"] = ask("accept", "demo", "--backup", refused, "--reason", "it is meant", fleet=fleet)
            if how in DELETED_BY_SQL:
                story["accept history"] = ask("accept", "demo", "--history", "--reason", "it is meant", fleet=fleet)
            story["next backup"] = ask("backup", "demo", fleet=fleet)
            story["next status"] = ask("status", fleet=fleet)
        if how == MADE_AGAIN:
            story["demo again"] = ask("demo", "--no-ui", "--dir", str(folder))
            story["next status"] = ask("status", fleet=fleet)
        return story
    finally:
        Demo(folder).server.stop("immediate")


def test_the_demo_is_guarded_and_proven(made: tuple[Path, Answer]) -> None:
    folder, answer = made
    assert answer.status == 0
    said = {name: value for name, value in answer.said.items() if name != "backup"}
    assert said == {"deployment": "demo", "total": TOTAL, "drill": "ok", "fleet": str(folder / "fleet.yaml")}


@pytest.mark.parametrize("how", HOWS)
def test_the_loss_says_what_it_did(how: How, stories: dict[How, Story]) -> None:
    answer = stories[how]["lost"]
    assert (answer.status, answer.said["how"]) == (0, how)
    assert answer.said["what"]


@pytest.mark.parametrize("how", EXPECTED)
def test_the_next_backup_is_refused_with_its_reasons(how: How, stories: dict[How, Story]) -> None:
    answer = stories[how]["backup"]
    assert (answer.status, answer.said["state"]) == (1, "quarantined")
    assert {reason["code"] for reason in answer.said["reasons"]} == EXPECTED[how][0]


@pytest.mark.parametrize("how", EXPECTED)
def test_the_status_names_what_is_wrong_and_what_to_do(how: How, stories: dict[How, Story]) -> None:
    answer = stories[how]["status"]
    assert answer.status == 0
    demo = answer.said["deployments"]["demo"]
    assert {incident["kind"] for incident in demo["incidents"]} == EXPECTED[how][1]
    assert all(incident["command"] and incident["since"] for incident in demo["incidents"])
    assert demo["newest_verified"]["total"] == TOTAL


@pytest.mark.parametrize("how", EXPECTED)
def test_the_refused_backup_stands_beside_the_good_one(how: How, stories: dict[How, Story]) -> None:
    answer = stories[how]["backups"]
    assert answer.status == 0
    refused, good = answer.said["backups"]
    assert (refused["backup"], refused["state"]) == (stories[how]["backup"].said["backup"], "quarantined")
    assert {reason["code"] for reason in refused["reasons"]} == EXPECTED[how][0]
    assert (good["state"], good["total"]) == ("verified", TOTAL)


@pytest.mark.parametrize("how", LOST_MEMORIES)
def test_a_drill_brings_every_memory_back(how: How, stories: dict[How, Story], made: tuple[Path, Answer]) -> None:
    answer = stories[how]["drill"]
    assert (answer.status, answer.said["verdict"]) == (0, "ok")
    assert answer.said["backup"] == made[1].said["backup"]
    assert answer.said["namespaces"] == INCIDENT


def test_a_history_that_is_gone_is_no_backup_at_all(stories: dict[How, Story]) -> None:
    story = stories["history"]
    assert (story["backup"].status, story["backup"].said["reasons"][0]["code"]) == (1, "history_missing")
    (incident,) = story["status"].said["deployments"]["demo"]["incidents"]
    assert (incident["kind"], incident["severity"]) == ("backup_refused", "critical")
    assert "history.db [history_missing]" in incident["what"]


def test_an_embedder_that_was_changed_in_the_settings_is_named_before_anything_is_lost(
    stories: dict[How, Story],
) -> None:
    answer = stories["settings"]["configuration"]
    assert answer.status == 1
    whats = [one["what"] for one in answer.said["differences"]]
    assert any("text-embedding-3-small to text-embedding-3-large" in what for what in whats)
    assert any("3072" in what and "1536" in what for what in whats)


def test_writes_that_were_dropped_are_in_a_good_backup_and_its_drill_names_them(stories: dict[How, Story]) -> None:
    story = stories["dropped"]
    assert (story["backup"].status, story["backup"].said["total"]) == (0, TOTAL)
    assert (story["drill"].status, story["drill"].said["backup"]) == (1, story["backup"].said["backup"])
    (reason,) = story["drill"].said["reasons"]
    assert reason["code"] == "history_lost_memories"
    assert reason["message"].startswith("40 memories are in the history and not in the collection")
    kinds = {incident["kind"] for incident in story["status"].said["deployments"]["demo"]["incidents"]}
    assert "drill_failed" in kinds
    assert kinds <= {"drill_failed", "writes_dropped"}  # the live history tells, too, once it was looked at twice


@pytest.mark.parametrize("how", MEANT)
def test_what_was_meant_is_accepted_and_the_next_backup_is_good(how: How, stories: dict[How, Story]) -> None:
    story = stories[how]
    assert (story["accept"].status, story["accept"].said["reason"]) == (0, "it is meant")
    assert (story["next backup"].status, story["next backup"].said["state"]) == (0, "verified")
    assert story["next status"].said["deployments"]["demo"]["incidents"] == []


def test_the_demo_is_made_whole_again_by_another_demo(stories: dict[How, Story]) -> None:
    story = stories[MADE_AGAIN]
    assert (story["demo again"].status, story["demo again"].said["drill"]) == (0, "ok")
    demo = story["next status"].said["deployments"]["demo"]
    assert (demo["total"], demo["incidents"]) == (TOTAL, [])


def test_a_folder_that_is_no_demo_is_neither_replaced_nor_broken(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("two years of work")
    for words in (["demo", "--no-ui"], ["demo", "lose", "--how", "truncate"]):
        answer = ask(*words, "--dir", str(tmp_path))
        assert (answer.status, answer.said["reasons"][0]["code"]) == (2, "configuration")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
