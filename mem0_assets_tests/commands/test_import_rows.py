"""`import` by its words, its JSON, its exit status and what a person is told."""

from pathlib import Path

import pytest

from mem0_assets_tests.commands.test_rows import Here
from mem0_assets_tests.conftest import SMALL, MakeDeployment, run_sql
from mem0_assets_tests.test_cli import Shell, write_fleet_file

TOTAL = sum(SMALL.values())


@pytest.fixture
def shell(make_deployment: MakeDeployment, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Shell:
    """A deployment that may have backups, and has none yet."""
    deployment = make_deployment(SMALL)
    deployment.backups.mkdir(parents=True)
    return Here(write_fleet_file(tmp_path, deployment), deployment, capsys)


@pytest.fixture
def exported(shell: Shell, tmp_path: Path) -> Path:
    """A file of all that the deployment held, which has lost carol's since."""
    path = tmp_path / "all.jsonl"
    shell.json("export", "prd", "--vectors", "--output", path)
    run_sql(shell.deployment, "DELETE FROM memories WHERE payload->>'user_id' = 'carol'")
    return path


def test_an_import_is_planned_then_done_and_the_table_is_as_it_was(shell: Shell, exported: Path) -> None:
    planned = shell.json("import", "prd", exported, "--dry-run")
    assert (planned["dry_run"], planned["inserted"], planned["unchanged"]) == (True, SMALL["carol"], 65)
    assert planned["changes"]["carol"] == {"inserted": SMALL["carol"], "replaced": 0, "deleted": 0, "unchanged": 0}
    assert shell.json("counts", "prd")["total"] == TOTAL - SMALL["carol"]
    done = shell.json("import", "prd", exported, "--confirm", "prd")
    assert done == planned | {"dry_run": False}
    assert shell.json("counts", "prd")["total"] == TOTAL


@pytest.mark.parametrize("words", [[], ["--confirm", "test"]])
def test_nothing_is_imported_without_the_deployments_name(shell: Shell, exported: Path, words: list[str]) -> None:
    done = shell("import", "prd", exported, *words)
    assert done.returncode == 2
    assert "--confirm prd" in done.stderr
    assert shell.json("counts", "prd")["total"] == TOTAL - SMALL["carol"]


def test_a_person_is_told_the_way_back(shell: Shell, exported: Path) -> None:
    run_sql(shell.deployment, 'UPDATE memories SET payload = payload || \'{"mood": "good"}\'')
    done = shell("import", "prd", exported, "--mode", "exact", "--namespace", "alice", "--confirm", "prd")
    assert done.returncode == 0, done.stderr
    assert f"0 memories inserted, {SMALL['alice']} replaced, 0 deleted; 0 were as they should be" in done.stdout
    back = done.stdout.split("mem0-assets import prd ")[1].split()
    assert shell.json("import", "prd", *back, "--confirm", "prd")["replaced"] == SMALL["alice"]


def test_a_mode_that_is_none_and_a_file_that_is_none_are_wrong_usage_and_a_bad_line_is_a_refusal(
    shell: Shell, exported: Path
) -> None:
    assert shell.json("import", "prd", exported, "--mode", "all", status=2)["error"]["code"] == "configuration"
    assert shell.json("import", "prd", "none.jsonl", status=2)["error"]["code"] == "not_found"
    exported.write_text("{}\n")
    assert shell.json("import", "prd", exported, "--confirm", "prd", status=1)["error"]["code"] == "not_an_export"
