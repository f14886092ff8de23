"""Schedules: as fleet.yaml says, in the deployment's own time zone, on by default, and off where it says null."""

from datetime import UTC, datetime
from typing import Any

import dagster as dg
import pytest

from mem0_assets.assets.schedules import RUNNING
from mem0_assets.backups.backup import make_backup
from mem0_assets_tests.assets.conftest import CALM, OpenProject, Project
from mem0_assets_tests.conftest import SMALL, MakeDeployment
from mem0_assets_tests.telegram_stub import TelegramStub, close_connection

LONDON = {
    "timezone": "Europe/London",
    "hourly": "0 * * * *",
    "daily": "30 2 * * *",
    "weekly": "30 2 * * 0",
    "monthly": "30 2 1 * *",
    "drill": "30 4 * * 1",
    "recovery_drill": "30 5 1 * *",
    "report": "0 8 * * *",
}
BACKUP_LINES = ["0 * * * *", "30 2 * * *", "30 2 * * 0", "30 2 1 * *"]


def schedules(project: Project) -> dict[str, dg.ScheduleDefinition]:
    """The schedules of a project's deployments."""
    found = project.definitions.get_repository_def().schedule_defs
    return {one.name: one for one in found if one.name != "housekeeping_schedule"}


def tick(project: Project, name: str, at: datetime) -> Any:
    """Evaluate a schedule as the daemon does at this time."""
    schedule = project.definitions.resolve_schedule_def(name)
    with dg.build_schedule_context(
        instance=project.instance, scheduled_execution_time=at, repository_def=project.definitions.get_repository_def()
    ) as context:
        return schedule.evaluate_tick(context)


def test_every_deployment_has_a_schedule_for_its_backups_its_drills_and_its_report(
    make_deployment: MakeDeployment, open_project: OpenProject
) -> None:
    project = open_project(make_deployment(name="prd", schedule=LONDON), make_deployment(name="test"))
    lines = {name: one.cron_schedule for name, one in schedules(project).items()}
    assert lines == {
        f"{name}_{what}": line
        for name in ("prd", "test")
        for what, line in (
            ("backup", BACKUP_LINES),
            ("drill", "30 4 * * 1"),
            ("recovery_drill", "30 5 1 * *"),
            ("report", "0 8 * * *"),
        )
    }


def test_they_run_in_the_deployments_own_time_zone_and_are_on(
    make_deployment: MakeDeployment, open_project: OpenProject
) -> None:
    project = open_project(make_deployment(name="prd", schedule=LONDON), make_deployment(name="test"))
    for name, schedule in schedules(project).items():
        assert schedule.execution_timezone == ("Europe/London" if name.startswith("prd") else "UTC")
        assert schedule.default_status == RUNNING
        assert schedule.description


def test_a_tick_launches_the_deployments_own_job(make_deployment: MakeDeployment, open_project: OpenProject) -> None:
    project = open_project(make_deployment())
    for what in ("backup", "drill", "recovery_drill"):
        assert schedules(project)[f"prd_{what}"].job_name == f"prd_{what}"
        (request,) = tick(project, f"prd_{what}", datetime(2026, 1, 5, 4, 30, tzinfo=UTC)).run_requests
        assert request.tags["deployment"] == "prd"


@pytest.mark.parametrize(
    ("off", "left"),
    [
        (["drill"], {"prd_backup", "prd_recovery_drill", "prd_report"}),
        (["recovery_drill"], {"prd_backup", "prd_drill", "prd_report"}),
        (["report"], {"prd_backup", "prd_drill", "prd_recovery_drill"}),
        (["hourly", "daily", "weekly", "monthly"], {"prd_drill", "prd_recovery_drill", "prd_report"}),
    ],
)
def test_null_turns_one_off(
    make_deployment: MakeDeployment, open_project: OpenProject, off: list[str], left: set[str]
) -> None:
    project = open_project(make_deployment(schedule=dict.fromkeys(off)))
    assert set(schedules(project)) == left


def test_null_turns_one_tier_off(make_deployment: MakeDeployment, open_project: OpenProject) -> None:
    project = open_project(make_deployment(schedule={"hourly": None}))
    assert schedules(project)["prd_backup"].cron_schedule == BACKUP_LINES[1:]


def test_a_line_that_two_tiers_share_is_one_line(make_deployment: MakeDeployment, open_project: OpenProject) -> None:
    project = open_project(make_deployment(schedule={"hourly": None, "weekly": "30 2 * * *"}))
    assert schedules(project)["prd_backup"].cron_schedule == ["30 2 * * *", "30 2 1 * *"]


def test_the_report_is_sent_by_its_tick_and_launches_nothing(
    make_deployment: MakeDeployment, open_project: OpenProject, telegram: TelegramStub
) -> None:
    deployment = make_deployment(limits=CALM)
    make_backup(deployment)
    project = open_project(deployment, telegram=telegram)
    data = tick(project, "prd_report", datetime(2026, 1, 10, 8, 0, tzinfo=UTC))
    assert data.run_requests == []
    assert data.skip_message == "The report is sent by this tick, not by a run. Waiting for delivery: 0."
    (text,) = telegram.texts
    assert "prd: 77 memories" in text
    for namespace, memories in SMALL.items():
        assert f"{namespace}: {memories}" in text
    assert "Newest verified backup" in text


def test_a_report_that_telegram_does_not_take_waits_and_is_not_doubled(
    make_deployment: MakeDeployment, open_project: OpenProject, telegram: TelegramStub
) -> None:
    telegram.always = close_connection()
    project = open_project(make_deployment(limits=CALM), telegram=telegram)
    for _ in range(2):
        data = tick(project, "prd_report", datetime(2026, 1, 10, 8, 0, tzinfo=UTC))
    assert data.skip_message.endswith("Waiting for delivery: 1.")
    assert len(project.waiting()) == 1


def test_a_report_says_what_is_not_known(
    make_deployment: MakeDeployment, open_project: OpenProject, telegram: TelegramStub
) -> None:
    project = open_project(make_deployment(postgres={"host": "127.0.0.1", "port": 9}), telegram=telegram)
    tick(project, "prd_report", datetime(2026, 1, 10, 8, 0, tzinfo=UTC))
    (text,) = telegram.texts
    assert "prd: count unknown" in text
    assert "No verified backup." in text
