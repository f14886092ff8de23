"""The whole house under a real `dagster dev`: guarding from the first minute, and driven over GraphQL as the UI does."""

from datetime import datetime
from functools import partial
from typing import Any

from mem0_assets.backups.catalog import Catalog
from mem0_assets.demo.memories import INCIDENT
from mem0_assets.recovery.approvals import view
from mem0_assets_tests.end_to_end.conftest import REPOSITORY, DagsterDev, Loss, until

TOTAL = sum(INCIDENT.values())
INSTIGATORS = """{ repositoriesOrError { ... on RepositoryConnection { nodes {
    sensors { name sensorState { status } }
    schedules { name scheduleState { status } }
} } } }"""
FUTURE = """query($schedule: ScheduleSelector!, $from: Float!, $until: Float!) {
    scheduleOrError(scheduleSelector: $schedule) { ... on Schedule {
        futureTicks(cursor: $from, until: $until) { results { timestamp } } } } }"""
CHECKS = """query($key: AssetKeyInput!) { assetNodeOrError(assetKey: $key) { ... on AssetNode { assetChecksOrError {
    ... on AssetChecks { checks { name blocking executionForLatestMaterialization {
        status evaluation { severity success description } } } } } } } }"""


def instigators(dev: DagsterDev, kind: str) -> list[dict[str, Any]]:
    (repository,) = dev.ask(INSTIGATORS)["repositoriesOrError"]["nodes"]
    return list(repository[kind])


def checks(dev: DagsterDev, deployment: str, thing: str) -> dict[str, dict[str, Any]]:
    data = dev.ask(CHECKS, key={"path": [deployment, thing]})
    found = data["assetNodeOrError"]["assetChecksOrError"]["checks"]
    return {one["name"]: one["executionForLatestMaterialization"] for one in found}


def test_sensors_and_schedules_are_on_without_a_click(dagster_dev: DagsterDev) -> None:
    sensors = {one["name"]: one["sensorState"]["status"] for one in instigators(dagster_dev, "sensors")}
    names = ("fleet_census", "fleet_health", "fleet_configuration", "run_alerts", "check_alerts")
    assert sensors == dict.fromkeys(names, "RUNNING")
    schedules = {one["name"]: one["scheduleState"]["status"] for one in instigators(dagster_dev, "schedules")}
    expected = [
        f"{name}_{what}" for name in ("prd", "test") for what in ("backup", "drill", "recovery_drill", "report")
    ]
    assert schedules == dict.fromkeys([*expected, "housekeeping_schedule"], "RUNNING")


def test_where_tiers_fall_on_the_same_minute_there_is_one_tick(dagster_dev: DagsterDev) -> None:
    """1 February 2032 is a Sunday and the first of a month: hourly, daily, weekly and monthly lines all meet at 02:30."""
    zone = dagster_dev.fleet.deployment("prd").schedule.zone
    start = datetime(2032, 2, 1, 1, 59, tzinfo=zone).timestamp()
    schedule = {**REPOSITORY, "scheduleName": "prd_backup"}
    data = dagster_dev.ask(FUTURE, schedule=schedule, **{"from": start, "until": start + 2 * 3600})
    fires = [
        datetime.fromtimestamp(one["timestamp"], zone) for one in data["scheduleOrError"]["futureTicks"]["results"]
    ]
    assert [f"{fire:%H:%M}" for fire in fires] == ["02:00", "02:30", "03:00"]


def test_counts_and_backups_that_no_run_made_are_shown(dagster_dev: DagsterDev, loss: Loss) -> None:
    for name in ("prd", "test"):
        counted = dagster_dev.materializations(name, "memory_counts")[-1]
        assert (counted["run"], counted["dagster/row_count"]) == ("", TOTAL)
        first_backup = dagster_dev.materializations(name, "validated_dump")[-1]
        assert (first_backup["run"], first_backup["dagster/row_count"]) == ("", TOTAL)


def test_a_loss_is_told_by_the_sensor_alone(loss: Loss) -> None:
    assert loss.runs_before_alert == 0
    assert loss.alert.startswith("🔴 prd: memory count is ZERO\n")
    assert f"holds {TOTAL}" in loss.alert


def test_the_emptied_deployments_backup_is_refused_and_the_good_one_stays(dagster_dev: DagsterDev, loss: Loss) -> None:
    assert loss.prd_status == "FAILURE"
    results = checks(dagster_dev, "prd", "postgres_backup")
    failed = {name for name, one in results.items() if one["status"] == "FAILED"}
    assert failed == {"has_memories", "not_shrunk"}
    assert "holds no memories at all" in results["has_memories"]["evaluation"]["description"]
    backups = Catalog(dagster_dev.fleet.deployment("prd")).backups()
    assert [(backup.state, backup.total) for backup in backups] == [("quarantined", 0), ("verified", TOTAL)]


def test_the_other_deployments_backup_succeeds(dagster_dev: DagsterDev, loss: Loss) -> None:
    assert loss.test_status == "SUCCESS"
    published = {one["run"]: one["dagster/row_count"] for one in dagster_dev.materializations("test", "validated_dump")}
    assert published[loss.test_run] == TOTAL
    assert all(one["status"] == "SUCCEEDED" for one in checks(dagster_dev, "test", "postgres_backup").values())


def test_the_refusal_is_told_once_with_its_reasons(dagster_dev: DagsterDev, loss: Loss) -> None:
    titles = [text.splitlines()[0] for text in dagster_dev.told()]
    assert titles == ["🔴 prd: memory count is ZERO", "🔴 prd: backup refused"]
    assert "[empty]" in dagster_dev.told()[1]


def test_live_counts_are_red_for_one_and_green_for_the_other(dagster_dev: DagsterDev, loss: Loss) -> None:
    red = {name for name, one in checks(dagster_dev, "prd", "memory_counts").items() if one["status"] == "FAILED"}
    assert red == {"has_memories", "not_dropped"}
    assert all(one["status"] == "SUCCEEDED" for one in checks(dagster_dev, "test", "memory_counts").values())
    assert dagster_dev.materializations("prd", "memory_counts")[0]["dagster/row_count"] == 0


def health(dev: DagsterDev, name: str) -> dict[str, str] | None:
    """How each check on the memories ended, once all have."""
    shown = checks(dev, name, "memories")
    return {check: one["status"] for check, one in shown.items()} if all(shown.values()) else None


def test_the_health_of_both_is_shown_without_a_run(dagster_dev: DagsterDev, loss: Loss) -> None:
    for name in ("prd", "test"):
        shown = until(f"{name}'s health is shown", partial(health, dagster_dev, name))
        assert shown == {"postgres_healthy": "SUCCEEDED", "disk_space": "SUCCEEDED"}


def test_a_gate_is_opened_in_the_launchpad_with_a_name_and_a_reason(dagster_dev: DagsterDev, loss: Loss) -> None:
    test = dagster_dev.fleet.deployment("test")
    assert dagster_dev.status(dagster_dev.press("test", "gate_a", {})) == "FAILURE"
    assert not view(test, "A", whole=False).state.open
    run = dagster_dev.press("test", "gate_a", {"by": "ann", "reason": "an exercise"})
    assert dagster_dev.status(run) == "SUCCESS"
    approval = view(test, "A", whole=False).state.approval
    assert approval is not None
    assert (approval.by, approval.reason) == ("ann", "an exercise")


def test_no_tick_of_any_sensor_fails(dagster_dev: DagsterDev, loss: Loss) -> None:
    for ticks in dagster_dev.ticks().values():
        assert ticks
        assert [tick["error"] for tick in ticks if tick["status"] == "FAILURE"] == []


def test_the_bots_token_is_in_no_file_and_no_command_line(dagster_dev: DagsterDev, loss: Loss) -> None:
    token = dagster_dev.telegram.token.encode()
    folder = dagster_dev.home.parent
    assert [path for path in folder.rglob("*") if path.is_file() and token in path.read_bytes()] == []
    for pid in dagster_dev.processes():
        with open(f"/proc/{pid}/cmdline", "rb") as command:
            assert token not in command.read()
