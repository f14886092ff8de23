"""The fleet's census: what it shows and when, whom it alarms, and that no deployment silences another."""

import json
import shutil
import socket
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import dagster as dg
import pytest

from mem0_assets.alerts.watch import Look, look
from mem0_assets.assets import census_sensor
from mem0_assets.assets.census_sensor import GROWTH_SECONDS, HEARTBEAT_SECONDS, Shown, look_at_all, show
from mem0_assets.backups.backup import make_backup
from mem0_assets.demo.memories import add_memories
from mem0_assets.fleet import Deployment
from mem0_assets.live.embedded import EmbeddedServer
from mem0_assets_tests.assets.conftest import CALM, OpenProject, Project
from mem0_assets_tests.conftest import DIMENSIONS, SMALL, MakeDeployment, open_connection, run_sql
from mem0_assets_tests.telegram_stub import TelegramStub, forbidden

COUNT_CHECKS = {"reachable", "has_memories", "not_dropped", "same_identity", "writes_arrive"}
TOTAL = sum(SMALL.values())
LOSE_ALL = "DELETE FROM memories"
LOSE_ONE = "DELETE FROM memories WHERE ctid = (SELECT ctid FROM memories LIMIT 1)"


@pytest.fixture
def prd(make_deployment: MakeDeployment) -> Deployment:
    """A small deployment with one good backup, made without Dagster."""
    deployment = make_deployment(limits=CALM)
    assert make_backup(deployment).verdict.ok
    return deployment


@pytest.fixture
def mute() -> Iterator[dict[str, Any]]:
    """The address of something that takes connections and never says a word, as a frozen server does."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield {"host": "127.0.0.1", "port": listener.getsockname()[1]}


def grow(server: EmbeddedServer, deployment: Deployment, memories: int) -> None:
    with open_connection(server, deployment.postgres.database) as connection:
        add_memories(connection, {"alice": memories}, dimensions=DIMENSIONS, seed=7)


def counts(data: Any) -> dict[str, Any]:
    """The counts that a tick showed, by deployment."""
    return {
        event.asset_key.path[0]: event.metadata["dagster/row_count"].value
        for event in data.asset_events
        if isinstance(event, dg.AssetMaterialization) and event.asset_key.path[1] == "memory_counts"
    }


def reported_backups(data: Any) -> list[Any]:
    """The backups that a tick reported."""
    return [
        event.metadata["backup"].value
        for event in data.asset_events
        if isinstance(event, dg.AssetMaterialization) and event.asset_key.path[1] == "validated_dump"
    ]


def failing(data: Any, name: str = "prd") -> set[str]:
    """The checks that a tick turned red."""
    evaluations = [event for event in data.asset_events if isinstance(event, dg.AssetCheckEvaluation)]
    return {one.check_name for one in evaluations if one.asset_key.path[0] == name and not one.passed}


def settled(project: Project) -> str:
    """The cursor once everything was shown."""
    cursor: str = project.tick("fleet_census").cursor
    cursor = project.tick("fleet_census", cursor).cursor
    assert project.tick("fleet_census", cursor).asset_events == []
    return cursor


def later(cursor: str, seconds: float) -> str:
    """The cursor as it would be if that much time had passed since."""
    states = json.loads(cursor)
    return json.dumps({name: {**state, "at": state["at"] - seconds} for name, state in states.items()})


# What is shown, and when


def test_the_first_tick_shows_every_deployment(
    prd: Deployment, make_deployment: MakeDeployment, open_project: OpenProject
) -> None:
    project = open_project(prd, make_deployment({"dora": 5}, name="test", limits=CALM))
    data = project.tick("fleet_census")
    assert counts(data) == {"prd": TOTAL, "test": 5}
    seen = [event for event in data.asset_events if isinstance(event, dg.AssetObservation)]
    assert {event.asset_key.to_user_string() for event in seen} == {"prd/memories", "test/memories"}
    checked = [event for event in data.asset_events if isinstance(event, dg.AssetCheckEvaluation)]
    assert {(one.asset_key.path[0], one.check_name) for one in checked} == {
        (name, check) for name in ("prd", "test") for check in COUNT_CHECKS
    }
    assert all(one.passed for one in checked)


def test_no_run_is_needed(prd: Deployment, open_project: OpenProject) -> None:
    project = open_project(prd)
    project.tick("fleet_census")
    event = project.instance.get_latest_materialization_event(dg.AssetKey(["prd", "memory_counts"]))
    assert event is not None
    assert event.run_id == ""
    assert project.instance.get_runs() == []


def test_what_has_not_changed_is_not_shown_again(prd: Deployment, open_project: OpenProject) -> None:
    project = open_project(prd)
    data = project.tick("fleet_census", settled(project))
    assert data.asset_events == []
    assert data.skip_message == "Counted all; nothing new to show."


def test_a_single_lost_memory_is_shown_at_once(prd: Deployment, open_project: OpenProject) -> None:
    project = open_project(prd)
    cursor = settled(project)
    run_sql(prd, LOSE_ONE)
    data = project.tick("fleet_census", cursor)
    assert counts(data) == {"prd": TOTAL - 1}
    assert failing(data) == set()


def test_growth_is_shown_every_quarter_of_an_hour_at_most(
    prd: Deployment, server: EmbeddedServer, open_project: OpenProject
) -> None:
    project = open_project(prd)
    cursor = settled(project)
    grow(server, prd, 3)
    assert project.tick("fleet_census", later(cursor, GROWTH_SECONDS - 60)).asset_events == []
    assert counts(project.tick("fleet_census", later(cursor, GROWTH_SECONDS))) == {"prd": TOTAL + 3}


def test_once_an_hour_it_is_shown_that_somebody_still_counts(prd: Deployment, open_project: OpenProject) -> None:
    project = open_project(prd)
    cursor = settled(project)
    assert counts(project.tick("fleet_census", later(cursor, HEARTBEAT_SECONDS))) == {"prd": TOTAL}


def test_a_clock_that_was_set_back_stops_nothing(prd: Deployment, open_project: OpenProject) -> None:
    project = open_project(prd)
    assert counts(project.tick("fleet_census", later(settled(project), -86400))) == {"prd": TOTAL}


def test_a_loss_turns_the_checks_red_and_its_end_turns_them_green(
    prd: Deployment, server: EmbeddedServer, open_project: OpenProject
) -> None:
    project = open_project(prd)
    cursor = settled(project)
    run_sql(prd, LOSE_ALL)
    data = project.tick("fleet_census", cursor)
    assert counts(data) == {"prd": 0}
    assert failing(data) == {"has_memories", "not_dropped"}
    assert project.tick("fleet_census", data.cursor).asset_events == []
    with open_connection(server, prd.postgres.database) as connection:
        add_memories(connection, SMALL, dimensions=DIMENSIONS)
    data = project.tick("fleet_census", data.cursor)
    assert counts(data) == {"prd": TOTAL}
    assert failing(data) == set()


def test_the_cursor_of_an_older_version_is_understood(prd: Deployment, open_project: OpenProject) -> None:
    project = open_project(prd)
    states = json.loads(settled(project))
    for state in states.values():
        del state["unreported"]
    assert project.tick("fleet_census", json.dumps(states)).asset_events == []


# What is not known


def test_a_database_that_does_not_answer_gets_no_count(
    make_deployment: MakeDeployment, open_project: OpenProject
) -> None:
    project = open_project(make_deployment(postgres={"host": "127.0.0.1", "port": 9}))
    data = project.tick("fleet_census")
    assert counts(data) == {}
    assert [(type(event), event.check_name, event.passed) for event in data.asset_events] == [
        (dg.AssetCheckEvaluation, "reachable", False)
    ]
    assert project.tick("fleet_census", data.cursor).asset_events == []


def test_a_database_that_comes_back_is_counted_at_once(
    own_server: EmbeddedServer, make_deployment: MakeDeployment, open_project: OpenProject
) -> None:
    project = open_project(make_deployment(on=own_server, limits=CALM))
    data = project.tick("fleet_census")
    own_server.stop("immediate")
    data = project.tick("fleet_census", data.cursor)
    assert (counts(data), failing(data)) == ({}, {"reachable"})
    own_server.start()
    data = project.tick("fleet_census", data.cursor)
    assert (counts(data), failing(data)) == ({"prd": TOTAL}, set())


def test_a_table_that_is_gone_is_a_loss_and_not_an_outage(prd: Deployment, open_project: OpenProject) -> None:
    project = open_project(prd)
    cursor = settled(project)
    run_sql(prd, "DROP TABLE memories")
    data = project.tick("fleet_census", cursor)
    assert counts(data) == {}
    assert "has_memories" in failing(data)
    assert "reachable" not in failing(data)


# No deployment silences another


def test_one_that_hangs_does_not_hold_the_others_up(
    prd: Deployment, mute: dict[str, Any], make_deployment: MakeDeployment, open_project: OpenProject
) -> None:
    frozen = make_deployment(name="frozen", postgres=mute)
    seen = look_at_all(open_project(frozen, prd).fleet)
    first = next(seen)
    assert (first.deployment.name, first.census and first.census.total) == ("prd", TOTAL)
    (second,) = seen
    assert (second.deployment.name, second.census) == ("frozen", None)


def test_a_loss_is_heard_while_another_deployment_is_down_and_the_third_has_lost_its_backups(
    prd: Deployment, make_deployment: MakeDeployment, open_project: OpenProject, telegram: TelegramStub
) -> None:
    down = make_deployment(name="down", postgres={"host": "127.0.0.1", "port": 9})
    homeless = make_deployment(name="homeless", limits=CALM)
    homeless.backups.parent.mkdir(exist_ok=True)
    homeless.backups.write_text("where the folder was, a file is")
    project = open_project(down, homeless, prd, telegram=telegram)
    run_sql(prd, LOSE_ALL)
    data = project.tick("fleet_census")
    assert counts(data) == {"homeless": TOTAL, "prd": 0}
    assert any("prd: memory count is ZERO" in text for text in telegram.texts)
    assert any("homeless: " in text for text in telegram.texts)


# Backups that nobody told Dagster of


def test_a_backup_made_outside_of_dagster_is_reported_once(prd: Deployment, open_project: OpenProject) -> None:
    project = open_project(prd)
    first = project.tick("fleet_census")
    second = project.tick("fleet_census", first.cursor)
    third = project.tick("fleet_census", second.cursor)
    backup = project.catalog().find("latest").backup
    assert [reported_backups(data) for data in (first, second, third)] == [[], [backup], []]
    event = project.instance.get_latest_materialization_event(dg.AssetKey(["prd", "validated_dump"]))
    assert event is not None
    assert event.asset_materialization is not None
    assert event.asset_materialization.metadata["dagster/row_count"].value == TOTAL
    (check,) = [event for event in second.asset_events if isinstance(event, dg.AssetCheckEvaluation)]
    assert (check.check_name, check.passed) == ("read_back", True)


def test_a_backup_made_by_a_run_is_not_reported_again(
    make_deployment: MakeDeployment, open_project: OpenProject
) -> None:
    project = open_project(make_deployment(limits=CALM))
    cursor = settled(project)
    project.run("prd_backup")
    for _ in range(3):
        data = project.tick("fleet_census", cursor)
        assert reported_backups(data) == []
        cursor = data.cursor


def test_each_backup_by_hand_is_reported_however_quickly_they_follow(
    prd: Deployment, open_project: OpenProject
) -> None:
    project = open_project(prd)
    cursor = settled(project)
    second = make_backup(prd).backup.backup
    cursor = project.tick("fleet_census", cursor).cursor
    assert reported_backups(project.tick("fleet_census", cursor)) == [second]


def test_a_materialization_reported_by_hand_in_the_ui_does_not_end_the_census(
    prd: Deployment, open_project: OpenProject
) -> None:
    project = open_project(prd)
    project.instance.report_runless_asset_event(dg.AssetMaterialization(dg.AssetKey(["prd", "validated_dump"])))
    cursor = project.tick("fleet_census").cursor
    assert reported_backups(project.tick("fleet_census", cursor)) == [project.catalog().find("latest").backup]


def test_a_newest_backup_that_is_gone_is_no_news(prd: Deployment, open_project: OpenProject) -> None:
    project = open_project(prd)
    cursor = settled(project)
    shutil.rmtree(prd.backups)
    assert reported_backups(project.tick("fleet_census", cursor)) == []


# Alerts


def test_a_loss_reaches_telegram_from_the_first_tick_that_sees_it(
    prd: Deployment, open_project: OpenProject, telegram: TelegramStub
) -> None:
    project = open_project(prd, telegram=telegram)
    cursor = settled(project)
    assert telegram.texts == []
    run_sql(prd, LOSE_ALL)
    cursor = project.tick("fleet_census", cursor).cursor
    (alert,) = telegram.texts
    assert alert.startswith("🔴 prd: memory count is ZERO\n")
    assert f"holds {TOTAL}" in alert
    assert "restore prd --plan" in alert
    project.tick("fleet_census", cursor)
    assert len(telegram.texts) == 1


def test_an_alert_that_telegram_does_not_take_waits_and_the_census_goes_on(
    prd: Deployment, open_project: OpenProject, telegram: TelegramStub
) -> None:
    project = open_project(prd, telegram=telegram)
    telegram.always = forbidden()
    run_sql(prd, LOSE_ALL)
    assert counts(project.tick("fleet_census")) == {"prd": 0}
    assert telegram.texts == []
    assert [text.splitlines()[0] for text in project.waiting()] == ["🔴 prd: memory count is ZERO"]


def test_without_telegram_alerts_go_to_the_log(
    prd: Deployment, open_project: OpenProject, caplog: pytest.LogCaptureFixture
) -> None:
    project = open_project(prd)
    run_sql(prd, LOSE_ALL)
    project.tick("fleet_census")
    assert "prd: memory count is ZERO" in caplog.text


# The decision itself, without a tick


def test_how_long_ago_something_was_shown_decides_what_is_shown_now(prd: Deployment, open_project: OpenProject) -> None:
    project = open_project(prd)
    seen = look(project.fleet, prd)
    _, shown = show(seen, Shown(), project.instance)
    assert [shows(project, seen, shown, minutes) for minutes in (0, 14, 59, 60)] == [False, False, False, True]


def shows(project: Project, seen: Look, shown: Shown, minutes: int) -> bool:
    again = Look(seen.deployment, seen.at + timedelta(minutes=minutes), seen.census, seen.problem, seen.findings)
    events, _ = show(again, shown, project.instance)
    return any(event.asset_key.path[-1] == "memory_counts" for event in events)


def test_the_daemon_is_asked_for_a_tick_every_ten_seconds(prd: Deployment, open_project: OpenProject) -> None:
    sensor = open_project(prd).definitions.resolve_sensor_def("fleet_census")
    assert sensor.minimum_interval_seconds == census_sensor.INTERVAL == 9
    assert sensor.default_status == dg.DefaultSensorStatus.RUNNING
