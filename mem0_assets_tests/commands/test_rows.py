"""The commands on single memories, by their words, their JSON, their exit status and their table."""

from pathlib import Path

import pytest

from mem0_assets_tests.conftest import SMALL, MakeDeployment, run_sql
from mem0_assets_tests.test_cli import Shell, write_fleet_file

TOTAL = sum(SMALL.values())
FIRST = "(SELECT id FROM memories WHERE payload->>'user_id' = 'alice' ORDER BY id LIMIT 1)"
NONE = {"text": 0, "metadata": 0, "times": 0, "vector": 0}


@pytest.fixture
def shell(make_deployment: MakeDeployment, tmp_path: Path) -> Shell:
    deployment = make_deployment(SMALL)
    return Shell(write_fleet_file(tmp_path, deployment), deployment)


# diff


def test_a_backup_and_the_table_that_it_was_made_of_are_the_same(shell: Shell) -> None:
    backup = shell.json("backup", "prd")["backup"]
    answer = shell.json("diff", "prd", "latest")
    assert (answer["deployment"], answer["a"], answer["b"]) == ("prd", backup, "live")
    assert (answer["gained"], answer["lost"], answer["changed"], answer["unchanged"]) == (0, 0, 0, TOTAL)
    assert answer["namespaces"]["alice"] == {
        "gained": 0,
        "lost": 0,
        "changed": 0,
        "unchanged": SMALL["alice"],
        "changed_parts": NONE,
    }


def test_what_changed_since_the_backup_is_told_by_namespace_and_by_id(shell: Shell) -> None:
    first = shell.json("backup", "prd")["backup"]
    run_sql(shell.deployment, "DELETE FROM memories WHERE payload->>'user_id' = 'carol'")
    change = 'UPDATE memories SET payload = payload || \'{"source": "changed", "user_id": "alice"}\' WHERE id = '
    run_sql(shell.deployment, change + FIRST)
    add = "INSERT INTO memories VALUES ('00000000-0000-0000-0000-000000000001', NULL, '{\"user_id\": \"dave\"}')"
    run_sql(shell.deployment, add)
    answer = shell.json("diff", "prd", first, "live", "--ids")
    found = answer["namespaces"]
    assert list(found) == ["carol", "alice", "dave", "bob/work"]
    assert (found["carol"]["lost"], len(found["carol"]["lost_ids"])) == (SMALL["carol"], SMALL["carol"])
    assert found["alice"]["changed_parts"] == NONE | {"metadata": 1}
    assert list(found["alice"]["changed_ids"].values()) == [["metadata"]]
    assert found["dave"]["gained_ids"] == ["00000000-0000-0000-0000-000000000001"]
    assert "source" not in shell("diff", "prd", first, "--ids", "--json").stdout

    second = shell.json("backup", "prd", status=1)["backup"]  # refused, for carol is gone; and readable all the same
    of_backups = shell.json("diff", "prd", first, second, "--ids")
    assert of_backups["namespaces"] == found
    back = shell.json("diff", "prd", "live", first, "--namespace", "carol", "--namespace", "dave")
    assert {name: (one["gained"], one["lost"]) for name, one in back["namespaces"].items()} == {
        "carol": (SMALL["carol"], 0),
        "dave": (0, 1),
    }


def test_a_person_sees_a_table_and_the_totals(shell: Shell) -> None:
    shell("backup", "prd")
    run_sql(shell.deployment, f"DELETE FROM memories WHERE id = {FIRST}")
    done = shell("diff", "prd", "latest", "--ids")
    assert done.returncode == 0
    assert "alice" in done.stdout
    assert "bob/work" not in done.stdout
    assert "\n- " in done.stdout
    assert f"0 gained, 1 lost, 0 changed, {TOTAL - 1} unchanged" in done.stdout


def test_a_backup_or_a_namespace_that_is_not_there_is_no_empty_one(shell: Shell) -> None:
    assert shell("diff", "prd", "latest").returncode == 2
    shell("backup", "prd")
    done = shell("diff", "prd", "latest", "--namespace", "alicia")
    assert (done.returncode, done.stdout) == (2, "")
    assert "alicia" in done.stderr


def test_a_table_that_is_gone_is_a_loss_and_a_server_that_is_away_is_unknown(shell: Shell) -> None:
    shell("backup", "prd")
    run_sql(shell.deployment, "DROP TABLE memories")
    assert shell.json("diff", "prd", "latest", status=1)["error"]["code"] == "table_missing"
    run_sql(shell.deployment, "CREATE TABLE memories (id uuid PRIMARY KEY, payload jsonb)")
    assert shell.json("diff", "prd", "latest", status=1)["error"]["code"] == "wrong_content"
    shell.fleet.write_text(shell.fleet.read_text().replace("host: /", "host: /nowhere/"))
    assert shell.json("diff", "prd", "latest", status=3)["error"]["code"] == "unreachable"
