"""`auto_restore: always` tick by tick: an emptied database is restored once, and never over a memory."""

import json
from typing import Any

import pytest

from mem0_assets.backups.backup import make_backup
from mem0_assets.fleet import Deployment
from mem0_assets.live.census import take_census
from mem0_assets.recovery.auto_restore import STILL_SECONDS
from mem0_assets_tests.assets.conftest import CALM, OpenProject, Project, failure_of
from mem0_assets_tests.conftest import SMALL, MakeDeployment, run_sql

SENSOR = "prd_auto_restore"
ONE = 'INSERT INTO memories (id, payload) VALUES (gen_random_uuid(), \'{"user_id": "dora"}\')'


@pytest.fixture
def prd(make_deployment: MakeDeployment) -> Deployment:
    deployment = make_deployment(limits=CALM, health={"min_free_bytes": 0}, auto_restore="always")
    assert make_backup(deployment).verdict.ok
    return deployment


def later(cursor: str, seconds: float) -> str:
    """The cursor as it would be if that much time had passed since, with a look every few seconds."""
    state = json.loads(cursor)
    since = None if state["since"] is None else state["since"] - seconds
    return json.dumps({**state, "since": since})


def watched(project: Project) -> Any:
    """What the sensor comes to after a minute of looks at a loss that the census has told."""
    project.tick("fleet_census")
    tick = project.tick(SENSOR)
    for _ in range(100):  # what sessions that have just gone wrote is known a moment after them, and is a change
        if tick.run_requests:
            break
        tick = project.tick(SENSOR, later(tick.cursor, STILL_SECONDS))
    return tick


def test_an_emptied_database_is_restored_by_the_run_that_the_sensor_asks_for(
    prd: Deployment, open_project: OpenProject
) -> None:
    project = open_project(prd)
    run_sql(prd, "DELETE FROM memories")
    tick = watched(project)
    (request,) = tick.run_requests
    assert request.run_key.startswith("the loss of ")
    assert project.run("prd_auto_restore").success
    assert take_census(prd.postgres).namespaces == SMALL
    again = project.tick(SENSOR, tick.cursor)
    assert again.run_requests == []
    assert again.skip_message == "Not restored: there are memories in memories."
    assert any("restored, as it was empty (auto_restore: always)" in text for text in project.waiting())


def test_while_it_is_empty_it_is_asked_for_once(prd: Deployment, open_project: OpenProject) -> None:
    project = open_project(prd)
    run_sql(prd, "DELETE FROM memories")
    cursor = watched(project).cursor
    tick = project.tick(SENSOR, later(cursor, 3600))
    assert tick.run_requests == []
    assert "begun already" in tick.skip_message


def test_one_memory_within_the_minute_is_enough_and_the_run_would_refuse_too(
    prd: Deployment, open_project: OpenProject
) -> None:
    project = open_project(prd)
    run_sql(prd, "DELETE FROM memories")
    project.tick("fleet_census")
    cursor = later(project.tick(SENSOR).cursor, STILL_SECONDS)
    run_sql(prd, ONE)
    tick = project.tick(SENSOR, cursor)
    assert tick.run_requests == []
    assert tick.skip_message == "Not restored: there are memories in memories."
    refused = project.run("prd_auto_restore")
    assert "nothing is put over them" in (failure_of(refused).description or "")
    assert take_census(prd.postgres).namespaces == {"dora": 1}


def test_with_confirm_it_is_one_press_without_any_config(
    make_deployment: MakeDeployment, open_project: OpenProject
) -> None:
    prd = make_deployment(limits=CALM, health={"min_free_bytes": 0})
    assert make_backup(prd).verdict.ok
    run_sql(prd, "DELETE FROM memories")
    assert open_project(prd).run("prd_auto_restore").success
    assert take_census(prd.postgres).namespaces == SMALL


@pytest.mark.parametrize(("auto_restore", "sensor", "job"), [("confirm", False, True), ("never", False, False)])
def test_only_always_starts_it_and_with_never_there_is_nothing_to_press(
    make_deployment: MakeDeployment, open_project: OpenProject, auto_restore: str, sensor: bool, job: bool
) -> None:
    project = open_project(make_deployment(auto_restore=auto_restore))
    assert (SENSOR in {one.name for one in project.definitions.sensors or ()}) == sensor
    assert (SENSOR in {one.name for one in project.definitions.jobs or ()}) == job
