"""`mem0-assets restore` as others call it: its JSON, its exit statuses, and nothing without a person's word."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from mem0_assets.restores.restore import restore
from mem0_assets_tests.conftest import SMALL, MakeDeployment, run_sql
from mem0_assets_tests.restores.contents import databases_like, fingerprint
from mem0_assets_tests.restores.killed import killed_after
from mem0_assets_tests.test_cli import Shell, write_fleet_file

TOTAL = sum(SMALL.values())


@pytest.fixture
def shell(make_deployment: MakeDeployment, tmp_path: Path) -> Shell:
    deployment = make_deployment(SMALL)
    backed_up = Shell(write_fleet_file(tmp_path, deployment), deployment)
    backed_up.json("backup", "prd")
    return backed_up


def test_there_and_back_in_scripts(shell: Shell) -> None:
    before = fingerprint(shell.deployment)
    run_sql(shell.deployment, "TRUNCATE memories")
    plan = shell.json("restore", "prd", "--plan")
    assert (plan["verdict"], plan["gained"], plan["lost"]) == ("ok", TOTAL, 0)

    done = shell.json("restore", "prd", "--confirm", "prd")
    assert (done["state"], done["verdict"], done["total"], done["namespaces"]) == ("done", "ok", TOTAL, SMALL)
    assert set(done["seconds"]) == {"restore", "index", "checks", "stopped", "total"}
    assert json.loads(Path(done["path"]).read_text()) == done
    assert fingerprint(shell.deployment) == before
    assert shell.json("restore", "prd", "--status")["restores"][0]["state"] == "done"

    undone = shell.json("restore", "prd", "--undo", "--confirm", "prd")
    assert undone["state"] == "undone"
    assert shell.json("counts", "prd")["total"] == 0
    forgotten = shell.json("restore", "prd", "--forget", "--confirm", "prd")
    assert forgotten["state"] == "forgotten"
    assert databases_like(shell.deployment) == [shell.deployment.postgres.database]


def test_without_the_right_word_it_exits_with_2_and_nothing_was_done(shell: Shell) -> None:
    before = databases_like(shell.deployment)
    for words in ([], ["--confirm", "test"], ["--undo", "--confirm", "yes"], ["--plan", "--undo"]):
        assert shell("restore", "prd", *words).returncode == 2
    assert databases_like(shell.deployment) == before
    assert shell.json("restore", "prd", "--status")["restores"] == []


@pytest.mark.parametrize(("typed", "status"), [("nonsense", 2), ("prd", 0)])
def test_a_person_sees_the_plan_and_types_the_name(shell: Shell, typed: str, status: int) -> None:
    run_sql(shell.deployment, "TRUNCATE memories")
    command = [sys.executable, "-m", "mem0_assets.cli", "--fleet", str(shell.fleet), "restore", "prd"]
    keyboard, terminal = pty.openpty()
    try:
        os.write(keyboard, f"{typed}\n".encode())
        done = subprocess.run(command, stdin=terminal, capture_output=True, text=True, check=False, timeout=120)
    finally:
        os.close(keyboard)
        os.close(terminal)
    assert done.returncode == status, done.stderr
    assert "what a restore of" in done.stdout
    assert shell.json("counts", "prd")["total"] == (0 if status else TOTAL)


def test_one_that_was_interrupted_is_shown_and_settled(shell: Shell) -> None:
    killed_after("loaded", lambda: restore(shell.deployment, by="anna", confirm="prd"))
    status = shell.json("restore", "prd", "--status", status=1)
    assert "was interrupted" in status["standing"]
    assert "mem0-assets restore prd --settle" in shell("restore", "prd", "--plan").stdout
    settled = shell.json("restore", "prd", "--settle", status=1)
    assert (settled["state"], settled["reasons"][0]["message"]) == ("rolled_back", "it was interrupted")
    assert shell.json("restore", "prd", "--settle")["settled"] is None


def test_a_word_against_the_history_is_not_passed_over(shell: Shell) -> None:
    answer = shell.json("restore", "prd", "--no-history", "--confirm", "prd", status=2)
    assert "--no-history is for some memories" in answer["error"]["message"]
    assert databases_like(shell.deployment) == [shell.deployment.postgres.database]
