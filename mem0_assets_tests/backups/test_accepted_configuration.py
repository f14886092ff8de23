"""What is accepted of a configuration: the first sight by itself, and everything after it by a person, with a reason."""

from pathlib import Path
from typing import Any

import pytest

from mem0_assets.backups.accepted_configuration import (
    accept_configuration,
    accepted_configuration,
    configuration_now,
    drift,
)
from mem0_assets.backups.catalog import Catalog
from mem0_assets.backups.files import BackupsFolderError
from mem0_assets.errors import BusyError
from mem0_assets.fleet import Deployment
from mem0_assets_tests.compose_files import lay_out
from mem0_assets_tests.conftest import MakeDeployment

SECRET = "hunter2"


def env(database: str, password: str = SECRET) -> str:
    return f"POSTGRES_DB={database}\nPOSTGRES_USER=mem0\nPOSTGRES_PASSWORD={password}\n"


@pytest.fixture
def deployment(make_deployment: MakeDeployment, tmp_path: Path) -> Deployment:
    path = lay_out(tmp_path / "server", {".env": env("x")}) / ".env"
    made = make_deployment(stores={"files": [path]})
    path.write_text(env(made.postgres.database))
    return made


def write(deployment: Deployment, *values: str) -> None:
    deployment.stores.files[0].write_text(env(*values))


def kinds(deployment: Deployment) -> set[str]:
    catalog = Catalog(deployment)
    return {f"{one.kind} {one.setting}" for one in drift(catalog, configuration_now(catalog))}


def accepted(deployment: Deployment) -> list[dict[str, Any]]:
    return list(Catalog(deployment).journal.events("configuration_accepted"))


def test_the_first_sight_is_accepted_by_itself_and_noted_once(deployment: Deployment) -> None:
    assert kinds(deployment) == kinds(deployment) == set()
    (event,) = accepted(deployment)
    assert (event["by"], event["reason"]) == ("mem0-assets", "first seen")


def test_a_change_lasts_until_a_person_accepts_it(deployment: Deployment) -> None:
    kinds(deployment)
    write(deployment, "mem0_prd", "new")
    changed = {
        "configuration_changed database",
        "configuration_changed password",
        "next_start_differs database",
    }
    assert kinds(deployment) == kinds(deployment) == changed
    meant = accept_configuration(Catalog(deployment), by="mark", reason="moved")
    assert {f"{one.kind} {one.setting}" for one in meant} == changed
    assert kinds(deployment) == set()
    assert (accepted(deployment)[-1]["by"], accepted(deployment)[-1]["reason"]) == ("mark", "moved")


def test_a_change_that_is_taken_back_is_over(deployment: Deployment) -> None:
    kinds(deployment)
    write(deployment, "mem0_prd")
    assert kinds(deployment)
    write(deployment, deployment.postgres.database)
    assert kinds(deployment) == set()


def test_what_contradicts_itself_at_first_sight_is_told_all_the_same(deployment: Deployment) -> None:
    write(deployment, "mem0_prd")
    assert kinds(deployment) == kinds(deployment) == {"next_start_differs database"}


def test_a_source_that_was_silent_is_first_seen_later_and_changes_nothing(deployment: Deployment) -> None:
    content = deployment.stores.files[0].read_text()
    deployment.stores.files[0].unlink()
    assert kinds(deployment) == set()
    deployment.stores.files[0].write_text(content)
    assert kinds(deployment) == set()
    assert [event["reason"] for event in accepted(deployment)] == ["first seen", "first seen"]


def test_what_is_silent_while_a_person_accepts_keeps_what_was_known(deployment: Deployment) -> None:
    kinds(deployment)
    content = deployment.stores.files[0].read_text()
    deployment.stores.files[0].unlink()
    accept_configuration(Catalog(deployment), by="mark", reason="so be it")
    deployment.stores.files[0].write_text(content.replace(SECRET, "other"))
    assert kinds(deployment) == {"configuration_changed password"}


def test_no_secret_is_in_the_journal(deployment: Deployment) -> None:
    kinds(deployment)
    write(deployment, "mem0_prd", "another-secret")
    accept_configuration(Catalog(deployment), by="mark", reason="moved")
    text = Catalog(deployment).journal.path.read_text()
    assert SECRET not in text
    assert "another-secret" not in text


def test_a_backup_that_runs_is_not_waited_for(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mem0_assets.backups.accepted_configuration.LOCK_SECONDS", 0.0)
    with Catalog(deployment).locked(), pytest.raises(BusyError):
        kinds(deployment)
    assert accepted_configuration(Catalog(deployment)) is None
    assert kinds(deployment) == set()


def test_a_disk_that_is_not_there_gets_no_folder(deployment: Deployment, tmp_path: Path) -> None:
    elsewhere = deployment.model_copy(update={"backups": tmp_path / "unmounted" / "disk" / "prd"})
    with pytest.raises(BackupsFolderError):
        configuration_now(Catalog(elsewhere))
    assert not (tmp_path / "unmounted").exists()
