"""The commands on single memories, by their words, their JSON, their exit status and their table."""

import hashlib
import json
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from mem0_assets.cli import main
from mem0_assets.fleet import Deployment
from mem0_assets_tests.conftest import DIMENSIONS, SMALL, MakeDeployment, run_sql
from mem0_assets_tests.test_cli import Shell, write_fleet_file

TOTAL = sum(SMALL.values())
FIRST = "(SELECT id FROM memories WHERE payload->>'user_id' = 'alice' ORDER BY id LIMIT 1)"
NONE = {"text": 0, "metadata": 0, "times": 0, "vector": 0}


class Here(Shell):
    """Runs the command in this process: a start of Python for each would be most of the time of these tests."""

    def __init__(self, fleet: Path, deployment: Deployment, captured: pytest.CaptureFixture[str]) -> None:
        super().__init__(fleet, deployment)
        self._captured = captured

    def __call__(self, *words: str | Path) -> subprocess.CompletedProcess[str]:
        self._captured.readouterr()
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(sys, "argv", ["mem0-assets", "--fleet", *map(str, [self.fleet, *words])])
            patched.setattr(signal, "signal", lambda *_: None)  # a command's own way to end is not pytest's
            with pytest.raises(SystemExit) as ended:
                main()
        told = self._captured.readouterr()
        return subprocess.CompletedProcess(words, int(ended.value.code or 0), told.out, told.err)


@pytest.fixture
def shell(make_deployment: MakeDeployment, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Shell:
    deployment = make_deployment(SMALL)
    return Here(write_fleet_file(tmp_path, deployment), deployment, capsys)


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


# export


def _lines(text: str) -> dict[str, dict[str, Any]]:
    return {line["id"]: line for line in map(json.loads, text.splitlines())}


def test_the_live_table_is_written_as_json_lines(shell: Shell) -> None:
    done = shell("export", "prd")
    assert done.returncode == 0, done.stderr
    found = _lines(done.stdout)
    assert len(found) == TOTAL
    assert Counter(line["payload"]["user_id"] for line in found.values()) == SMALL
    assert all(set(line) == {"id", "payload"} for line in found.values())
    assert f"{TOTAL} memories" in done.stderr


def test_a_namespace_of_a_backup_is_written_with_its_vectors(shell: Shell, tmp_path: Path) -> None:
    backup = shell.json("backup", "prd")["backup"]
    run_sql(shell.deployment, "DELETE FROM memories")
    path = tmp_path / "bob.jsonl"
    words = ("export", "prd", "--backup", "latest", "--namespace", "bob/work", "--vectors", "--output", path)
    answer = shell.json(*words)
    assert answer == {
        "deployment": "prd",
        "source": backup,
        "path": str(path),
        "memories": SMALL["bob/work"],
        "bytes": path.stat().st_size,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }
    found = _lines(path.read_text())
    assert {line["payload"]["user_id"] for line in found.values()} == {"bob/work"}
    assert {len(line["vector"]) for line in found.values()} == {DIMENSIONS}


def test_a_file_is_not_begun_for_a_namespace_that_is_not_there(shell: Shell, tmp_path: Path) -> None:
    done = shell("export", "prd", "--namespace", "alicia", "--output", tmp_path / "alicia.jsonl")
    assert done.returncode == 2
    assert "alicia" in done.stderr
    assert not (tmp_path / "alicia.jsonl").exists()


def test_json_and_the_memories_do_not_share_standard_output(shell: Shell) -> None:
    assert shell.json("export", "prd", status=2)["error"]["code"] == "configuration"


def test_a_damaged_backup_is_no_export(shell: Shell, tmp_path: Path) -> None:
    made = shell.json("backup", "prd")
    dump = next(Path(made["path"]).glob("postgres/*.sql.gz"))
    dump.write_bytes(dump.read_bytes()[:-9] + b"\0" * 9)
    assert shell.json("export", "prd", "--backup", "latest", "--output", tmp_path / "all.jsonl", status=1)["reasons"]
    assert not (tmp_path / "all.jsonl").exists()
    assert shell("export", "prd", "--backup", "latest").returncode == 1


def test_a_reader_that_has_enough_gets_no_traceback(make_deployment: MakeDeployment, tmp_path: Path) -> None:
    fleet = write_fleet_file(tmp_path, make_deployment({"alice": 3_000}))
    command = f"'{sys.executable}' -m mem0_assets.cli --fleet '{fleet}' export prd | head -n 1"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.count("\n") == 1
    assert done.stderr == ""
