"""The fleet's health: how often it is looked at, what is shown of it, and who hears of what, once."""

import json
from collections.abc import Iterator
from typing import Any

import dagster as dg
import pytest

from mem0_assets.alerts.incidents import IncidentBook
from mem0_assets.alerts.watch import look, observe
from mem0_assets.assets import health_sensor
from mem0_assets.assets.health_sensor import HEARTBEAT_SECONDS, LOOK_SECONDS
from mem0_assets.fleet import Deployment
from mem0_assets.live.embedded import EmbeddedServer
from mem0_assets_tests.assets.conftest import CALM, OpenProject, Project, red
from mem0_assets_tests.conftest import SMALL, MakeDeployment
from mem0_assets_tests.service_stub import GrafanaStub, Mem0Stub
from mem0_assets_tests.telegram_stub import TelegramStub

AT_ONCE = {"unreachable_seconds": 0.0}
CHECKS = {"server_healthy", "postgres_healthy", "disk_space", "grafana_healthy"}


@pytest.fixture
def mem0() -> Iterator[Mem0Stub]:
    with Mem0Stub() as stub:
        yield stub


@pytest.fixture
def grafana() -> Iterator[GrafanaStub]:
    with GrafanaStub() as stub:
        yield stub


def watched(mem0: Mem0Stub, **more: Any) -> dict[str, Any]:
    """Settings of a deployment whose server is looked at, on however full a disk."""
    return {"limits": CALM, "health": {"server_url": mem0.url, "min_free_bytes": 0, **more}}


@pytest.fixture
def prd(make_deployment: MakeDeployment, mem0: Mem0Stub, grafana: GrafanaStub) -> Deployment:
    return make_deployment(**watched(mem0, grafana_url=grafana.url))


def results(data: Any, name: str = "prd") -> dict[str, bool]:
    """The checks that a tick evaluated, and whether they passed."""
    return {event.check_name: event.passed for event in data.asset_events if event.asset_key.path[0] == name}


def incidents(project: Project) -> list[str]:
    return [one.kind for one in IncidentBook(project.fleet.deployment("prd").backups).open() if one.scope == "health"]


def titles(project: Project) -> list[str]:
    return [text.splitlines()[0] for text in project.waiting()]


def later(cursor: str, seconds: float) -> str:
    """The cursor as it would be if that much time had passed since."""
    state = json.loads(cursor)
    shown = {name: {**one, "at": one["at"] - seconds} for name, one in state["shown"].items()}
    return json.dumps({"looked_at": state["looked_at"] - seconds, "shown": shown})


# When it looks, and what it shows


def test_the_first_tick_shows_every_check_of_every_deployment_without_a_run(
    prd: Deployment, mem0: Mem0Stub, make_deployment: MakeDeployment, open_project: OpenProject
) -> None:
    project = open_project(prd, make_deployment({"dora": 5}, name="test", limits=CALM, health={"min_free_bytes": 0}))
    data = project.tick("fleet_health")
    assert results(data) == dict.fromkeys(CHECKS, True)
    assert results(data, "test") == {"postgres_healthy": True, "disk_space": True}
    assert project.instance.get_runs() == []


def test_what_was_seen_stands_beside_the_check(prd: Deployment, open_project: OpenProject) -> None:
    data = open_project(prd).tick("fleet_health")
    seen = {event.check_name: event.metadata for event in data.asset_events}
    assert seen["postgres_healthy"]["memories"].value == sum(SMALL.values())
    assert seen["server_healthy"]["proven"].value == "users"
    assert seen["disk_space"]["backups_free_bytes"].value > 0
    assert {metadata["code"].value for metadata in seen.values()} == {"ok"}


def test_it_looks_every_five_minutes_while_all_is_well(
    prd: Deployment, mem0: Mem0Stub, open_project: OpenProject
) -> None:
    project = open_project(prd)
    cursor = project.tick("fleet_health").cursor
    asked = len(mem0.asked)
    data = project.tick("fleet_health", later(cursor, LOOK_SECONDS - 60))
    assert (len(mem0.asked), data.skip_message) == (asked, "All was well less than five minutes ago.")
    data = project.tick("fleet_health", later(cursor, LOOK_SECONDS))
    assert len(mem0.asked) > asked
    assert (data.asset_events, data.skip_message) == ([], "Looked at all; nothing new to show.")


def test_a_tick_that_does_not_look_leaves_the_cursor_as_it_was(prd: Deployment, open_project: OpenProject) -> None:
    project = open_project(prd)
    cursor = project.tick("fleet_health").cursor
    assert project.tick("fleet_health", cursor).cursor == cursor


def test_while_something_is_wrong_it_looks_at_every_tick(
    prd: Deployment, grafana: GrafanaStub, open_project: OpenProject
) -> None:
    project = open_project(prd)
    grafana.database_up = False
    data = project.tick("fleet_health")
    assert results(data)["grafana_healthy"] is False
    assert project.tick("fleet_health", data.cursor).asset_events == []
    grafana.database_up = True
    assert results(project.tick("fleet_health", data.cursor)) == dict.fromkeys(CHECKS, True)


def test_a_clock_that_was_set_back_stops_nothing(prd: Deployment, mem0: Mem0Stub, open_project: OpenProject) -> None:
    project = open_project(prd)
    cursor = project.tick("fleet_health").cursor
    asked = len(mem0.asked)
    project.tick("fleet_health", later(cursor, -86400))
    assert len(mem0.asked) > asked


def test_once_an_hour_it_is_shown_that_somebody_still_looks(prd: Deployment, open_project: OpenProject) -> None:
    project = open_project(prd)
    cursor = project.tick("fleet_health").cursor
    assert results(project.tick("fleet_health", later(cursor, HEARTBEAT_SECONDS))) == dict.fromkeys(CHECKS, True)


def test_the_daemon_is_asked_for_a_tick_every_half_minute(prd: Deployment, open_project: OpenProject) -> None:
    sensor = open_project(prd).definitions.resolve_sensor_def("fleet_health")
    assert sensor.minimum_interval_seconds == health_sensor.INTERVAL == 29


# Who hears of it


def test_a_server_that_lost_its_database_is_told_by_the_census_once_and_over_when_it_is(
    prd: Deployment, mem0: Mem0Stub, open_project: OpenProject, telegram: TelegramStub
) -> None:
    project = open_project(prd, telegram=telegram, **AT_ONCE)
    mem0.database_up = False
    cursor = project.tick("fleet_health").cursor
    cursor = project.tick("fleet_health", cursor).cursor
    project.tick("fleet_census")
    mem0.database_up = True
    project.tick("fleet_health", cursor)
    project.tick("fleet_census")
    told = [text for text in telegram.texts if "mem0 server" in text]
    assert [text.splitlines()[0] for text in told] == [
        "🔴 prd: the mem0 server answers wrongly",
        "✅ prd: over: the mem0 server answers wrongly",
    ]
    assert told[0].splitlines()[-1] == "Next: mem0-assets doctor"
    assert incidents(project) == []


def test_a_restart_is_no_alert(prd: Deployment, mem0: Mem0Stub, open_project: OpenProject) -> None:
    project = open_project(prd)
    mem0.database_up = False
    cursor = project.tick("fleet_health").cursor
    mem0.database_up = True
    project.tick("fleet_health", cursor)
    assert titles(project) == []


def test_a_postgres_that_is_down_is_one_incident_though_everything_behind_it_fails(
    own_server: EmbeddedServer, mem0: Mem0Stub, make_deployment: MakeDeployment, open_project: OpenProject
) -> None:
    deployment = make_deployment(on=own_server, **watched(mem0))
    project = open_project(deployment, **AT_ONCE)
    own_server.stop("immediate")
    mem0.database_up = False
    data = project.tick("fleet_health")
    assert results(data) == {"server_healthy": False, "postgres_healthy": False, "disk_space": True}
    observe(project.fleet, deployment, {"reach": look(project.fleet, deployment).findings["reach"]})
    project.tick("check_alerts")
    assert titles(project) == ["🔴 prd: database unreachable"]


def test_a_full_disk_is_told_at_once(make_deployment: MakeDeployment, open_project: OpenProject) -> None:
    project = open_project(make_deployment(limits=CALM, health={"min_free_bytes": 1 << 62}))
    project.tick("fleet_health")
    assert titles(project) == ["🟠 prd: disk space is low"]


def test_what_an_incident_tells_no_failing_check_tells_again(
    prd: Deployment, grafana: GrafanaStub, open_project: OpenProject
) -> None:
    project = open_project(prd, **AT_ONCE)
    grafana.database_up = False
    project.tick("fleet_health")
    project.tick("check_alerts")
    assert titles(project) == ["🟠 prd: Grafana answers wrongly"]


def test_one_that_is_no_longer_configured_is_over(
    prd: Deployment, grafana: GrafanaStub, open_project: OpenProject
) -> None:
    project = open_project(prd, **AT_ONCE)
    grafana.database_up = False
    cursor = project.tick("fleet_health").cursor
    assert incidents(project) == ["grafana_endpoint"]
    without = prd.model_copy(update={"health": prd.health.model_copy(update={"grafana_url": None})})
    open_project(without, instance=project.instance, **AT_ONCE).tick("fleet_health", cursor)
    assert incidents(project) == []


# By hand, in the UI


def test_each_check_can_be_executed_alone_and_says_what_the_sensor_says(
    prd: Deployment, grafana: GrafanaStub, open_project: OpenProject
) -> None:
    project = open_project(prd)
    grafana.database_up = False
    for name in CHECKS:
        result = execute(project, dg.AssetSelection.checks(dg.AssetCheckKey(dg.AssetKey(["prd", "memories"]), name)))
        assert [one.check_name for one in result.get_asset_check_evaluations()] == [name]
        assert set(red(result)) == ({name} if name == "grafana_healthy" else set())


def execute(project: Project, selection: dg.AssetSelection) -> dg.ExecuteInProcessResult:
    """Execute checks without their assets, as the UI's button does."""
    checks = dg.define_asset_job("checks", selection=selection)
    job = dg.Definitions.merge(project.definitions, dg.Definitions(jobs=[checks])).resolve_job_def("checks")
    return job.execute_in_process(instance=project.instance, raise_on_error=False)
