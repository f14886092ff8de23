"""The fleet's configuration: when it is read, what is shown of it, and who hears of drift before anything is recreated."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from mem0_assets.alerts.incidents import IncidentBook
from mem0_assets.alerts.watch import look_at_configuration, observe
from mem0_assets.assets.configuration_checks import configuration_asset, configuration_checks
from mem0_assets.assets.configuration_sensor import HEARTBEAT_SECONDS, READ_SECONDS
from mem0_assets.backups.accepted_configuration import accept_configuration
from mem0_assets.commands.configuration import accept_drift
from mem0_assets.fleet import Deployment
from mem0_assets_tests.assets.conftest import CALM, OpenProject, Project, red
from mem0_assets_tests.compose_files import lay_out
from mem0_assets_tests.conftest import MakeDeployment
from mem0_assets_tests.service_stub import Mem0Stub, hang_up
from mem0_assets_tests.telegram_stub import TelegramStub

SENSOR = "fleet_configuration"
SECRET = "hunter2"
MODEL = {"embedder": {"provider": "openai", "config": {"model": "text-embedding-3-small", "embedding_dims": 8}}}


@pytest.fixture
def mem0(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mem0Stub]:
    with Mem0Stub() as stub:
        monkeypatch.setenv("MEM0_ADMIN_KEY", stub.key or "")
        stub.configuration = {**MODEL, "vector_store": {"config": {"collection_name": "memories"}}}
        yield stub


@pytest.fixture
def prd(make_deployment: MakeDeployment, mem0: Mem0Stub, tmp_path: Path) -> Deployment:
    path = lay_out(tmp_path / "server", {".env": ""}) / ".env"
    health = {"server_url": mem0.url, "admin_key_env": "MEM0_ADMIN_KEY", "min_free_bytes": 0}
    made = make_deployment(limits=CALM, health=health, stores={"files": [path]})
    path.write_text(env(made.postgres.database))
    return made


def env(database: str) -> str:
    return f"POSTGRES_DB={database}\nPOSTGRES_USER=mem0\nPOSTGRES_PASSWORD={SECRET}\n"


def results(data: Any) -> dict[str, bool]:
    return {one.check_name: one.passed for one in data.asset_events if isinstance(one, dg.AssetCheckEvaluation)}


def observations(data: Any) -> list[dg.AssetObservation]:
    return [one for one in data.asset_events if isinstance(one, dg.AssetObservation)]


def table(seen: dg.AssetObservation, name: str) -> list[dict[str, Any]]:
    value = seen.metadata[name]
    assert isinstance(value, dg.TableMetadataValue)
    return [dict(record.data) for record in value.records]


def asked(mem0: Mem0Stub) -> int:
    return sum(one.path == "/configure" for one in mem0.asked)


def incidents(project: Project) -> dict[str, str]:
    open_now = IncidentBook(project.fleet.deployment("prd").backups).open()
    return {one.key: one.severity for one in open_now if one.scope == "configuration"}


def later(cursor: str, seconds: float) -> str:
    """The cursor as it would be if that much time had passed since."""
    state = json.loads(cursor)
    shown = {name: {**one, "at": one["at"] - seconds} for name, one in state["shown"].items()}
    return json.dumps({**state, "read_at": state["read_at"] - seconds, "shown": shown})


# When it reads, and what it shows


def test_the_first_tick_shows_every_value_with_its_source_and_no_secret(
    prd: Deployment, open_project: OpenProject
) -> None:
    project = open_project(prd)
    data = project.tick(SENSOR)
    assert results(data) == dict.fromkeys(("unchanged", "next_start_same", "guarded", "embedder_fits"), True)
    (seen,) = observations(data)
    rows = table(seen, "configuration")
    assert {"setting": "collection", "value": "memories", "source": "mem0's server (/configure)"} in rows
    assert {"setting": "dimensions", "value": "8", "source": "the database"} in rows
    assert [row["source"] for row in table(seen, "not_known")] == [
        "the server's container",
        "PostgreSQL's container",
        "mem0's settings in its application database",
    ]
    assert SECRET not in repr(data.asset_events)
    assert project.instance.get_runs() == []


def test_what_nobody_can_say_has_neither_passed_nor_failed(
    make_deployment: MakeDeployment, open_project: OpenProject
) -> None:
    assert results(open_project(make_deployment(limits=CALM)).tick(SENSOR)) == {"unchanged": True}


def test_it_reads_every_five_minutes_and_shows_what_is_new(
    prd: Deployment, mem0: Mem0Stub, open_project: OpenProject
) -> None:
    project = open_project(prd)
    cursor = project.tick(SENSOR).cursor
    assert project.tick(SENSOR, later(cursor, READ_SECONDS - 60)).asset_events == []
    assert asked(mem0) == 1
    assert project.tick(SENSOR, later(cursor, READ_SECONDS)).asset_events == []
    assert asked(mem0) == 2
    assert len(observations(project.tick(SENSOR, later(cursor, HEARTBEAT_SECONDS)))) == 1


def test_it_reads_at_once_when_a_file_was_written_to(
    prd: Deployment, mem0: Mem0Stub, open_project: OpenProject
) -> None:
    project = open_project(prd)
    cursor = project.tick(SENSOR).cursor
    prd.stores.files[0].write_text(env("mem0_prd"))
    data = project.tick(SENSOR, cursor)
    assert asked(mem0) == 2
    assert results(data)["next_start_same"] is False
    assert project.tick(SENSOR, data.cursor).asset_events == []
    assert asked(mem0) == 2


def test_a_folder_that_is_not_there_ends_no_incident(
    prd: Deployment, open_project: OpenProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = open_project(prd)
    project.tick(SENSOR)
    prd.stores.files[0].write_text(env("mem0_prd"))
    project.tick(SENSOR)
    before = incidents(project)
    assert before
    key = prd.backups / ".fingerprint_key"
    key.unlink()
    key.mkdir()
    assert project.tick(SENSOR).asset_events == []
    assert incidents(project) == before


def test_a_server_that_restarts_ends_no_incident_that_it_told_of_and_a_person_may(
    prd: Deployment, mem0: Mem0Stub, open_project: OpenProject
) -> None:
    project = open_project(prd)
    cursor = project.tick(SENSOR).cursor
    store = {"vector_store": {"config": {"collection_name": "notes"}}}
    mem0.configuration = {**MODEL, **store}
    cursor = project.tick(SENSOR, later(cursor, READ_SECONDS)).cursor
    before = incidents(project)
    assert before == {"not_guarded collection": "critical", "configuration_changed collection": "critical"}
    mem0.faults["/configure"] = hang_up
    assert results(project.tick(SENSOR, later(cursor, READ_SECONDS)))["unchanged"] is False
    assert incidents(project) == before
    accept_drift(project.fleet, prd, by="mark", reason="that server is gone for good")
    assert incidents(project) == {}


# Who hears of it


def test_another_database_in_env_is_told_before_anything_is_recreated_and_over_when_it_is_accepted(
    prd: Deployment, open_project: OpenProject, telegram: TelegramStub
) -> None:
    project = open_project(prd, telegram=telegram)
    cursor = project.tick(SENSOR).cursor
    prd.stores.files[0].write_text(env("mem0_prd"))
    project.tick(SENSOR, cursor)
    project.tick("fleet_census")
    told = [text for text in telegram.texts if "next start" in text]
    assert told[0].splitlines()[0] == "🔴 prd: the next start would use another configuration"
    assert "the next start would use mem0_prd. Do not recreate any container." in told[0]
    assert "Next: mem0-assets preflight prd" in told[0]
    assert incidents(project) == {
        "next_start_differs database": "critical",
        "configuration_changed database": "critical",
    }
    accept_configuration(project.catalog(), by="mark", reason="it moves tonight")
    observe(project.fleet, prd, {"configuration": look_at_configuration(prd)[1]})
    assert incidents(project) == {}
    project.tick("fleet_census")
    assert telegram.texts[-1].startswith("✅ prd: over: ")


def test_another_collection_and_an_embedder_of_other_dimensions_are_critical(
    prd: Deployment, mem0: Mem0Stub, open_project: OpenProject
) -> None:
    project = open_project(prd)
    cursor = project.tick(SENSOR).cursor
    mem0.configuration = {
        "vector_store": {"config": {"collection_name": "notes"}},
        "embedder": {"provider": "ollama", "config": {"model": "nomic-embed-text"}},
    }
    data = project.tick(SENSOR, later(cursor, READ_SECONDS))
    assert results(data) == {"unchanged": False, "next_start_same": True, "guarded": False, "embedder_fits": False}
    found = incidents(project)
    assert found["not_guarded collection"] == found["embedder_mismatch embedder_dimensions"] == "critical"
    assert found["configuration_changed embedder_model"] == "warning"


def test_the_checks_can_be_run_by_hand_and_say_the_same(prd: Deployment, open_project: OpenProject) -> None:
    project = open_project(prd)
    project.tick(SENSOR)
    prd.stores.files[0].write_text(env("mem0_prd"))
    selection = dg.AssetSelection.checks(dg.AssetCheckKey(dg.AssetKey(["prd", "configuration"]), "next_start_same"))
    check = dg.Definitions(asset_checks=[configuration_checks(prd)])
    job = dg.define_asset_job("by_hand", selection=selection)
    definitions = dg.Definitions.merge(check, dg.Definitions(assets=[configuration_asset(prd)], jobs=[job]))
    result = definitions.resolve_job_def("by_hand").execute_in_process(instance=project.instance, raise_on_error=False)
    assert "would use mem0_prd" in red(result)["next_start_same"]
