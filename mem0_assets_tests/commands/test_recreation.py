"""`configuration`, `accept --configuration`, `preflight`, `postflight`: by their words, their JSON, their exit status."""

from pathlib import Path

import pytest
import yaml

from mem0_assets.alerts.watch import look_at_configuration, observe
from mem0_assets.fleet import load_fleet
from mem0_assets_tests.conftest import SMALL, MakeDeployment, run_sql
from mem0_assets_tests.test_cli import Shell, write_fleet_file


@pytest.fixture
def shell(make_deployment: MakeDeployment, tmp_path: Path) -> Shell:
    """A deployment whose next start is what its .env says; fleet.yaml's own variables are in another file."""
    deployment = make_deployment(SMALL)
    path = write_fleet_file(tmp_path, deployment, env_file="./fleet.env")
    content = yaml.safe_load(path.read_text())
    content["deployments"]["prd"]["stores"] = {"files": [".env"]}
    path.write_text(yaml.safe_dump(content))
    plan(path, deployment.postgres.database)
    return Shell(path, deployment)


def plan(fleet: Path, database: str) -> None:
    fleet.with_name(".env").write_text(f"POSTGRES_DB={database}\n")


def test_a_safe_recreation_from_preflight_to_postflight(shell: Shell) -> None:
    before = shell.json("preflight", "prd")
    assert (before["go"], before["reasons"], before["volumes"]) == (True, [], [])
    (compared,) = before["compared"]
    assert compared["setting"] == "database"
    assert compared["same"]
    after = shell.json("postflight", "prd")
    assert (after["verdict"], after["backup"], after["total"]) == ("ok", before["backup"], sum(SMALL.values()))


def test_a_no_go_says_in_words_what_differs_and_what_to_do(shell: Shell) -> None:
    plan(shell.fleet, "mem0_prd")
    said = shell("preflight", "prd")
    assert said.returncode == 1
    assert "database_differs: the database is" in said.stdout
    assert "NO-GO: recreate nothing" in said.stdout
    run_sql(shell.deployment, "TRUNCATE memories")
    refused = shell.json("postflight", "prd", status=1)
    assert {reason["code"] for reason in refused["reasons"]} == {"namespace_vanished"}
    assert "the preflight before this was a no-go" in refused["notes"]


def test_drift_is_shown_until_it_is_accepted(shell: Shell) -> None:
    assert shell.json("configuration", "prd")["differences"] == []
    plan(shell.fleet, "mem0_prd")
    shown = shell.json("configuration", "prd", status=1)
    assert {one["kind"] for one in shown["differences"]} == {"next_start_differs", "configuration_changed"}
    assert shown["said"]["files"] == {"database": "mem0_prd"}
    fleet = load_fleet(shell.fleet)
    observe(fleet, fleet.deployment("prd"), {"configuration": look_at_configuration(fleet.deployment("prd"))[1]})
    assert "next_start_differs" in kinds(shell)
    accepted = shell.json("accept", "prd", "--configuration", "--reason", "it moves tonight")
    assert len(accepted["accepted"]["differences"]) == 2
    assert shell.json("configuration", "prd")["differences"] == []
    assert "next_start_differs" not in kinds(shell)


def kinds(shell: Shell) -> set[str]:
    """The kinds of the incidents that `status` shows."""
    return {one["kind"] for one in shell.json("status")["deployments"]["prd"]["incidents"]}


def test_postflight_without_a_preflight_is_wrong_usage(shell: Shell) -> None:
    assert shell.json("postflight", "prd", status=2)["error"]["code"] == "not_found"
