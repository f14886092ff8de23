"""Drift: what differs is told with both values, what is meant or not known is not."""

from collections.abc import Mapping
from typing import Any

import pytest

from mem0_assets.live.configuration import Configuration
from mem0_assets.live.drift import differences

RUNS: dict[str, str] = {
    "database": "mem0",
    "user": "mem0_user",
    "password": "#aaaa-000000000000",
    "host": "postgres",
    "port": "5432",
    "collection": "memories",
    "embedder_model": "text-embedding-3-small",
    "embedder_dimensions": "1536",
    "llm_model": "gpt-5-mini",
    "history_place": "the folder /srv/history",
}
DATA = {
    "data_place": "the volume mem0_postgres_db",
    "postgres_port": "8432",
    "postgres_image": "pgvector/pgvector:pg17",
}
JANUARY = {
    "database": "mem0_prd",
    "user": "mem0_user_prd",
    "embedder_model": "nomic-embed-text",
    "embedder_dimensions": "768",
}


def calm(**changes: Mapping[str, str | None]) -> Configuration:
    """A deployment in which all sources agree, but for `source={setting: value or None}`."""
    said: dict[str, dict[str, str]] = {
        "settings": {},
        "server_container": dict(RUNS),
        "postgres_container": dict(DATA),
        "database": {"dimensions": "1536", "server_version": "17.2"},
        "fleet": {"database": "mem0", "collection": "memories", "user": "reader", "password": "#aaaa-999999999999"},
        "files": {**RUNS, **DATA},
    }
    for source, values in changes.items():
        merged: dict[str, Any] = {**said.get(source, {}), **values}
        said[source] = {name: value for name, value in merged.items() if value is not None}
    return Configuration(said, {})  # type: ignore[arg-type]


def without(configuration: Configuration, *sources: str) -> Configuration:
    said = {source: values for source, values in configuration.said.items() if source not in sources}
    return Configuration(said, dict.fromkeys(sources, "not asked"))  # type: ignore[arg-type]


def kinds(
    now: Configuration,
    known: Configuration | None = None,
    word: Configuration | None = None,
    silent: tuple[str, ...] = (),
) -> set[str]:
    found = differences(now, known or calm(), word, silent)  # type: ignore[arg-type]
    return {f"{one.kind} {one.setting}" for one in found}


def silenced(known: Configuration, *sources: str) -> set[str]:
    """What is told of a known configuration while these sources do not answer."""
    return kinds(without(known, *sources), known, silent=sources)


def test_where_all_agree_nothing_is_told() -> None:
    assert kinds(calm()) == set()


def test_files_that_would_start_another_database_are_told_before_anything_is_recreated() -> None:
    now = calm(files=JANUARY)
    assert kinds(now) == {f"next_start_differs {setting}" for setting in JANUARY}
    grave = {one.setting for one in differences(now, calm(), None) if one.grave}
    assert grave == {"database", "user", "embedder_dimensions"}


def test_once_they_have_been_started_what_runs_has_changed_and_is_not_guarded() -> None:
    now = calm(files=JANUARY, server_container=JANUARY, database={"dimensions": "768"})
    assert kinds(now) == {f"configuration_changed {setting}" for setting in JANUARY} | {"not_guarded database"}


@pytest.mark.parametrize("setting", sorted({*RUNS, *DATA} - {"llm_model"}))  # which loses nothing: told once it runs
def test_every_setting_that_the_files_change_is_told_with_both_values(setting: str) -> None:
    found = differences(calm(files={setting: "other"}), calm(), None)
    assert [(one.kind, one.setting, one.after) for one in found] == [("next_start_differs", setting, "other")]
    assert "other" in found[0].sentence()


@pytest.mark.parametrize("setting", ["database", "collection", "password", "host"])
def test_a_variable_that_is_gone_from_the_files_is_told(setting: str) -> None:
    now = calm(files={setting: None}, server_container={setting: "mine"})
    assert f"next_start_differs {setting}" in kinds(now)


def test_what_is_mem0s_own_default_may_be_left_out() -> None:
    assert kinds(calm(files={"host": None, "port": None, "collection": None})) == set()


def test_an_env_file_alone_is_silent_of_what_it_does_not_set() -> None:
    now = without(calm(), "files")
    said = {**now.said, "files": {"database": "mem0", "user": "mem0_user"}}
    assert kinds(Configuration(said, {})) == set()  # type: ignore[arg-type]


def test_without_docker_the_files_are_held_against_fleet_yaml_and_against_themselves() -> None:
    blind = without(calm(), "server_container", "postgres_container")
    now = without(calm(files=JANUARY), "server_container", "postgres_container")
    assert kinds(now, blind) == {
        "next_start_differs database",
        "configuration_changed database",
        "configuration_changed user",
        "configuration_changed embedder_model",
        "configuration_changed embedder_dimensions",
        "embedder_mismatch embedder_dimensions",
    }


def test_a_role_that_only_reads_is_no_drift_but_mem0s_own_with_another_password_is() -> None:
    blind = without(calm(), "server_container", "postgres_container")
    assert kinds(blind, blind) == set()
    same_role = without(calm(fleet={"user": "mem0_user"}), "server_container", "postgres_container")
    assert kinds(same_role, same_role) == {"next_start_differs password"}


def test_fingerprints_of_a_lost_key_are_no_change() -> None:
    now = calm(server_container={"password": "#bbbb-111111111111"}, files={"password": "#bbbb-111111111111"})
    assert kinds(now) == set()


def test_the_settings_in_the_database_override_the_files() -> None:
    override = {"collection": "notes"}
    assert kinds(calm(settings=override, server=override)) == {
        "configuration_changed collection",
        "not_guarded collection",
    }
    assert "next_start_differs collection" in kinds(calm(settings=override, server={"collection": "memories"}))


def test_an_embedder_that_does_not_fit_the_vectors_is_told_from_the_first_sight() -> None:
    switched = {"embedder_model": "nomic-embed-text", "embedder_dimensions": "768"}
    now = calm(settings=switched, server=switched)
    assert kinds(now, now) == {"embedder_mismatch embedder_dimensions"}


def test_another_model_of_the_same_dimensions_is_a_change_that_is_not_grave() -> None:
    other = {"embedder_model": "text-embedding-ada-002"}
    (found,) = differences(calm(files=other, server_container=other), calm(), None)
    assert (found.kind, found.setting, found.grave) == ("configuration_changed", "embedder_model", False)


def test_a_source_that_falls_silent_is_no_change() -> None:
    everything = calm(server={"collection": "memories", "database": "mem0"})
    for source in everything.said:
        assert kinds(without(everything, source), everything) == set(), source


def test_while_the_server_restarts_its_container_does_not_speak_for_it() -> None:
    dashboard = {"collection": "notes", "embedder_model": "nomic-embed-text", "embedder_dimensions": "768"}
    well = calm(server=dashboard, database={"dimensions": "768"}, fleet={"collection": "notes"})
    assert kinds(well, well) == silenced(well, "server") == silenced(well, "server", "server_container") == set()


def test_while_docker_is_away_the_files_are_not_held_against_another_way_to_the_database() -> None:
    tunnel = calm(fleet={"postgres_port": "15432"})
    assert kinds(tunnel, tunnel) == silenced(tunnel, "server_container", "postgres_container") == set()


def test_while_a_source_is_silent_what_is_new_is_told_all_the_same() -> None:
    known = calm(server={"collection": "memories", "database": "mem0", "embedder_dimensions": "1536"})
    containers = ("server_container", "postgres_container")
    found = kinds(without(calm(files=JANUARY), *containers), calm(), silent=containers)
    assert found >= {"next_start_differs database", "configuration_changed embedder_model"}
    found = kinds(calm(server_container=JANUARY, files=JANUARY), known, silent=("server",))
    assert found >= {"not_guarded database", "embedder_mismatch embedder_dimensions"}


def test_a_source_that_speaks_for_the_first_time_contradicts_nobody() -> None:
    assert kinds(calm(server={"collection": "memories"}), without(calm(), "settings")) == set()


def test_the_census_tells_of_another_identity() -> None:
    assert kinds(calm(database={"cluster": "2", "table_oid": "2"}), calm(database={"cluster": "1"})) == set()


def test_what_a_person_accepted_is_meant_for_as_long_as_it_stays_so() -> None:
    pending = calm(files=JANUARY)
    assert kinds(pending, pending, word=pending) == set()
    assert kinds(calm(files={**JANUARY, "database": "third"}), pending, word=pending) == {"next_start_differs database"}


def test_what_a_person_accepted_is_meant_whoever_says_it_later() -> None:
    other = {"embedder_dimensions": "768"}
    word = without(calm(server_container=other, files=other), "server")
    now = calm(server_container=other, files=other, server=other)
    assert kinds(word, word) == {"embedder_mismatch embedder_dimensions"}
    assert kinds(now, now, word=word) == set()


def test_a_newer_server_that_says_more_has_changed_nothing() -> None:
    known = calm(server={"embedder_model": "x"})
    assert kinds(calm(server={"embedder_model": "x", "embedder_dimensions": "1536"}), known) == set()
    found = kinds(calm(server={"embedder_model": "x", "embedder_dimensions": "768"}), known)
    assert "configuration_changed embedder_dimensions" in found


def test_what_was_only_seen_first_is_not_meant() -> None:
    pending = calm(files=JANUARY)
    assert kinds(pending, pending) == {f"next_start_differs {setting}" for setting in JANUARY}


def test_a_version_that_changed_is_told_and_is_not_grave() -> None:
    (found,) = differences(calm(database={"server_version": "18.0"}), calm(), None)
    assert found.sentence() == "PostgreSQL's version changed from 17.2 to 18.0, by the database"
    assert not found.grave
