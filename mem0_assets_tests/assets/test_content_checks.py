"""What rows hold, as asset checks of a real run: a warning lets the backup through, a loss does not; both are told once."""

import dagster as dg
import pytest

from mem0_assets.alerts.incidents import IncidentBook
from mem0_assets.alerts.watch import look, observe
from mem0_assets.backups import capture as capture_module
from mem0_assets.backups.backup import accept_backup, make_backup
from mem0_assets.backups.content_rules import CONTENT_CHECKS
from mem0_assets.live.census import Census
from mem0_assets.live.postgres import Connection
from mem0_assets.live.semantics import Bounds, Semantics, read_semantics
from mem0_assets_tests.assets.conftest import CALM, OpenProject, Project, materialized, red, yellow
from mem0_assets_tests.conftest import MakeDeployment, run_sql

ALL = ["postgres_backup", "validated_dump", "retention"]
ONE = "id = (SELECT id FROM memories ORDER BY id LIMIT 1)"
DAMAGED = (
    f'UPDATE memories SET payload = payload || \'{{"data": "", "created_at": "once"}}\' WHERE {ONE}',
    f"UPDATE memories SET vector = NULL WHERE {ONE.replace('ORDER BY id', 'ORDER BY id DESC')}",
)


@pytest.fixture
def project(make_deployment: MakeDeployment, open_project: OpenProject) -> Project:
    """A small prd that was never backed up."""
    return open_project(make_deployment(limits=CALM))


def change(project: Project, *statements: str) -> None:
    for statement in statements:
        run_sql(project.fleet.deployment("prd"), statement)


def told(project: Project) -> list[str]:
    return [text.splitlines()[0] for text in project.waiting()]


def test_damaged_rows_are_yellow_with_their_ids_published_and_told_once(project: Project) -> None:
    project.run("prd_backup")
    change(project, *DAMAGED)
    result = project.run("prd_backup")
    assert result.success
    assert materialized(result) == ALL
    assert red(result) == {}
    warned = yellow(result)
    assert warned.pop("changes_by_mem0").endswith(
        "holds too, 1 changed although mem0 does not say that it touched them since."
    )
    assert warned == {
        "hashes_match": "1 of 77 memories have a text that is not the one that mem0 hashed.",
        "texts_not_empty": "1 of 77 memories have no text.",
        "vectors_present": "1 of 77 memories have no vector: no search finds them.",
        "times_readable": "1 of 77 memories have a created_at or updated_at that is no time.",
    }
    [found] = [one for one in result.get_asset_check_evaluations() if one.check_name == "vectors_present"]
    examples = found.metadata["examples"]
    assert isinstance(examples, dg.TableMetadataValue)
    assert len(examples.records) == 1
    assert found.metadata["memories"].value == 77
    cursor = project.tick("check_alerts").cursor
    project.tick("check_alerts", cursor)
    assert told(project) == ["🟠 prd: check failed"] * 5


def test_metadata_that_vanished_refuses_the_backup_is_told_as_that_and_can_be_accepted(project: Project) -> None:
    prd = project.fleet.deployment("prd")
    project.run("prd_backup")
    change(project, "UPDATE memories SET payload = payload - 'source'")
    result = project.run("prd_backup")
    assert set(red(result)) == {"metadata_kept"}
    assert set(yellow(result)) == {"changes_by_mem0"}
    assert "source (77 to 0)" in red(result)["metadata_kept"]
    assert materialized(result) == ["postgres_backup"]
    project.tick("check_alerts")
    observe(project.fleet, prd, look(project.fleet, prd).findings)
    assert [one.kind for one in IncidentBook(prd.backups).open()] == ["backup_refused", "check_failed"]

    [refused] = (prd.backups / "quarantine").iterdir()
    accept_backup(project.catalog(), refused.name, by="Mark", reason="the source is not needed any more")
    assert yellow(project.run("prd_backup")) == {}


def test_vectors_that_are_all_gone_refuse_the_backup(project: Project) -> None:
    change(project, "UPDATE memories SET vector = NULL")
    result = project.run("prd_backup")
    assert red(result) == {"vectors_present": "77 of 77 memories have no vector: no search finds them."}
    assert project.catalog().verified() == []


def test_a_look_that_took_too_long_is_one_warning_and_the_backup_is_published(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def late(connection: Connection, census: Census) -> Semantics:
        return read_semantics(connection, census, Bounds(None, None, 0, seconds=0.0))

    monkeypatch.setattr(capture_module, "read_semantics", late)
    result = project.run("prd_backup")
    assert result.success
    assert materialized(result) == ALL
    assert set(yellow(result)) == {"contents_seen"}
    assert "it took longer than 0 s" in yellow(result)["contents_seen"]
    evaluated = {one.check_name for one in result.get_asset_check_evaluations()}
    assert evaluated & CONTENT_CHECKS.keys() == {
        "contents_seen",
        "indexes_whole",
        "metadata_kept",
        "changes_by_mem0",
    }


def test_what_is_odd_is_a_caution_on_the_command_line_too(project: Project) -> None:
    change(project, *DAMAGED)
    outcome = make_backup(project.fleet.deployment("prd"))
    assert outcome.verdict.ok
    assert "1 of 77 memories have no text." in outcome.cautions
