"""Preflight: a go only where a fresh backup is proven and the next start would find the same data."""

import json
from pathlib import Path

import pytest

from mem0_assets.backups.accepted_configuration import accept_configuration
from mem0_assets.backups.catalog import Catalog
from mem0_assets.recreation.preflight import NO_GO, NO_PLACE, Preflight, preflight
from mem0_assets.recreation.sight import Sight
from mem0_assets_tests.conftest import SMALL, MakeDeployment, run_sql
from mem0_assets_tests.docker_engine import needs_docker
from mem0_assets_tests.recreation.house import SECRET, House

pytestmark = needs_docker


def codes(result: Preflight) -> set[str]:
    assert SECRET not in json.dumps(result.as_json())
    assert result.go == (not result.reasons)
    return {reason.code for reason in result.reasons}


def test_where_the_files_would_start_what_runs_it_is_a_go_with_a_fresh_backup(house: House) -> None:
    result = preflight(house.deployment)
    assert codes(result) == set()
    backup = Catalog(house.deployment).find("latest")
    assert (result.backup, backup.state, backup.namespaces) == (backup.backup, "verified", SMALL)
    assert {(one.container, one.place, one.holds) for one in result.sight.volumes} == {
        ("mem0_postgres_prd", "the volume mem0_postgres_db", "data"),
        ("mem0_server_prd", f"the folder {house.folder / 'history'}", "history"),
    }
    assert {one["setting"] for one in result.compared} >= {"database", "user", "password", "data_place"}
    assert all(one["same"] for one in result.compared)


def test_what_it_saw_is_kept_in_the_journal(house: House) -> None:
    result = preflight(house.deployment)
    event = Catalog(house.deployment).journal.last("preflight")
    assert event is not None
    assert (event["go"], event["backup"]) == (True, result.backup)
    assert Sight.from_json(event["saw"]) == result.sight
    assert SECRET not in json.dumps(event)


def test_each_setting_that_loses_data_is_a_reason_of_its_own(house: House) -> None:
    changes = {
        "POSTGRES_DB": "database_differs",
        "POSTGRES_USER": "user_differs",
        "POSTGRES_PASSWORD": "password_differs",
        "POSTGRES_HOST": "host_differs",
        "POSTGRES_PORT": "port_differs",
        "POSTGRES_COLLECTION_NAME": "collection_differs",
        "HISTORY_DB_PATH": "history_place_differs",
        "EMBEDDING_MODEL": "model_differs",
        "EMBEDDING_DIMS": "dimensions_differ",
    }
    house.write(**dict.fromkeys(changes, "/other"))
    result = preflight(house.deployment)
    assert codes(result) == set(changes.values())
    assert all(reason.do for reason in result.reasons)


def test_what_a_person_accepted_is_a_go(house: House) -> None:
    house.write(POSTGRES_PASSWORD="rotated")
    assert codes(preflight(house.deployment)) == {"password_differs"}
    accept_configuration(Catalog(house.deployment), by="mark", reason="rotated, and ALTER ROLE was run")
    assert codes(preflight(house.deployment)) == set()


def test_data_that_a_new_container_would_not_find_are_a_no_go(house: House) -> None:
    for data, code in ((None, "data_unmounted"), ("/var/lib/postgresql/data", "data_anonymous")):
        house.up(data=data)
        told = {reason.code: reason.message for reason in preflight(house.deployment).reasons}
        assert "a new container has none of it" in told[code]


def test_a_history_outside_of_every_mount_is_a_no_go(house: House) -> None:
    house.up(history=False)
    assert codes(preflight(house.deployment)) == {"history_unmounted", "history_place_differs"}


def test_another_major_version_of_postgresql_is_a_no_go(house: House) -> None:
    path = house.folder / "docker-compose.yml"
    path.write_text(path.read_text().replace("pgvector:pg18", "pgvector:pg17"))
    assert codes(preflight(house.deployment)) == {"postgres_major_differs"}


@pytest.mark.parametrize("image", ["registry.lan:16/pgvector:pg18", "pgvector/pgvector@sha256:17ab34cd"])
def test_a_port_and_a_digest_are_no_major_version(house: House, image: str) -> None:
    path = house.folder / "docker-compose.yml"
    path.write_text(path.read_text().replace("pgvector/pgvector:pg18", image))
    assert codes(preflight(house.deployment)) == set()


def test_a_backup_that_is_refused_is_a_no_go(house: House) -> None:
    preflight(house.deployment)
    run_sql(house.deployment, "DELETE FROM memories")
    result = preflight(house.deployment)
    assert codes(result) == {"backup_refused"}
    assert "[empty]" in result.reasons[0].message
    assert result.reached


def test_a_database_that_is_away_is_a_no_go_of_which_nothing_is_known(
    house: House, make_deployment: MakeDeployment
) -> None:
    postgres = house.deployment.postgres.model_copy(update={"port": 1})
    away = house.deployment.model_copy(update={"postgres": postgres})
    result = preflight(away)
    assert codes(result) == {"unreachable"}
    assert not result.reached
    house.write(POSTGRES_DB="mem0_prd")
    assert preflight(away).reached


def test_files_that_cannot_be_read_are_a_no_go(house: House) -> None:
    (house.folder / ".env").unlink()
    assert codes(preflight(house.deployment)) == {"files_unreadable"}


def test_without_docker_it_judges_what_it_saw_and_says_what_it_did_not(house: House) -> None:
    containers = house.deployment.containers.model_copy(update={"docker_url": f"unix://{house.folder}/no.sock"})
    blind = house.deployment.model_copy(update={"containers": containers})
    result = preflight(blind)
    assert codes(result) == set()
    assert any(note.startswith("not seen: containers: Docker cannot be reached") for note in result.notes)
    house.write(POSTGRES_DB="mem0_prd")
    assert codes(preflight(blind)) == {"database_differs"}


def test_where_nothing_that_matters_can_be_seen_it_is_a_no_go(make_deployment: MakeDeployment) -> None:
    assert codes(preflight(make_deployment())) == {"nothing_seen"}


def test_every_no_go_is_explained_in_the_documents() -> None:
    text = (Path(__file__).parents[2] / "docs" / "recreation.md").read_text()
    places = {f"{holds}_{how}" for holds in ("data", "history") for how in NO_PLACE.values()}
    more = {"not_guarded", "files_unreadable", "nothing_seen", "backup_refused", "postgres_major_differs"}
    assert [code for code in sorted({*NO_GO.values(), *places, *more}) if f"`{code}`" not in text] == []
