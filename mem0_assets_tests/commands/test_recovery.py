"""`mem0-assets gate` and `recover` as a person and a program call them."""

from pathlib import Path

import pytest

from mem0_assets_tests.conftest import SMALL, MakeDeployment, run_sql
from mem0_assets_tests.test_cli import Shell, write_fleet_file

TOTAL = sum(SMALL.values())


@pytest.fixture
def shell(make_deployment: MakeDeployment, tmp_path: Path) -> Shell:
    deployment = make_deployment(SMALL)
    return Shell(write_fleet_file(tmp_path, deployment), deployment)


def test_a_gate_is_shown_opened_and_taken_back(shell: Shell) -> None:
    made = shell.json("backup", "prd")
    shown = shell.json("gate", "prd", "a", status=1)
    assert (shown["gate"], shown["open"], shown["standing"]) == ("A", False, "never_approved")
    assert (shown["backup"], shown["lacking"]) == (made["backup"], [])
    assert {line["name"] for line in shown["evidence"]} >= {"backup", "drill", "stores", "space", "plan"}

    opened = shell.json("gate", "prd", "A", "--approve", "--reason", "the volume is gone", "--by", "ann")
    assert opened["open"]
    assert opened["approved"].items() >= {"by": "ann", "reason": "the volume is gone"}.items()
    assert shell.json("gate", "prd", "A", "--show")["open"]

    revoked = shell.json("gate", "prd", "A", "--revoke", "--reason", "wrong host")
    assert (revoked["open"], revoked["standing"]) == (False, "revoked")


def test_people_see_the_evidence_and_the_command_that_opens_the_gate(shell: Shell) -> None:
    shell("backup", "prd")
    said = shell("gate", "prd", "A")
    assert said.returncode == 1
    assert "Gate A, readiness" in said.stdout
    assert f"holds {TOTAL} memories" in said.stdout
    assert "closed: nobody has approved it" in said.stdout
    assert 'open it: mem0-assets gate prd A --approve --reason "..."' in said.stdout


def test_wrong_words_are_refused(shell: Shell) -> None:
    for words, why in (
        (("E",), "a gate is one of A, B, C, D, not 'E'"),
        (("A", "--approve"), "the reason is missing"),
        (("A", "--approve", "--revoke"), "say one"),
        (("B", "--backup", "latest"), "--backup is chosen at gate A"),
    ):
        answer = shell.json("gate", "prd", *words, status=2)
        assert why in answer["error"]["message"]


def test_a_recovery_goes_on_with_each_gate_and_says_which_command_opens_the_next(shell: Shell) -> None:
    shell("backup", "prd")
    run_sql(shell.deployment, "DELETE FROM memories")
    stages: list[str] = []
    for gate, stage in (("A", "readiness"), ("B", "restore"), ("C", "cold_start")):
        answer = shell.json("recover", "prd", "--confirm", "prd", status=1)
        assert [one["stage"] for one in answer["stages"]] == stages
        assert [reason["code"] for reason in answer["reasons"]] == ["gate_closed"]
        assert f"mem0-assets gate prd {gate} --approve" in answer["next_step"]
        shell.json("gate", "prd", gate, "--approve", "--reason", "because", "--by", "ann")
        stages.append(stage)
    answer = shell.json("recover", "prd", "--confirm", "prd", status=1)
    assert [one["stage"] for one in answer["stages"]] == stages
    assert "the message went to the log: no Telegram is named" in answer["reasons"][0]["message"]
    assert shell.json("counts", "prd")["namespaces"] == SMALL


def test_a_rehearsal_by_hand_needs_no_gate(shell: Shell) -> None:
    shell("backup", "prd")
    answer = shell.json("recover", "prd", "--drill")
    assert (answer["verdict"], set(answer["seconds"])) == ("ok", {"plan", "restore", "compare", "undo", "total"})


def test_a_gate_that_cannot_be_opened_says_what_is_lacking(shell: Shell) -> None:
    answer = shell.json("gate", "prd", "A", "--approve", "--reason", "because", status=1)
    assert answer["error"]["code"] == "refused"
    assert "backup: prd has no backup latest" in answer["error"]["message"]
