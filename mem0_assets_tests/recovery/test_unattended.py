"""A restore that nobody has asked for: into what is empty, and into nothing else."""

from pathlib import Path

import pytest

from mem0_assets.alerts.watch import look, observe
from mem0_assets.backups.backup import make_backup
from mem0_assets.backups.catalog import Catalog
from mem0_assets.errors import RefusedError
from mem0_assets.fleet import Deployment, Fleet
from mem0_assets.live.census import take_census
from mem0_assets.recovery.auto_restore import Watch
from mem0_assets.recovery.unattended import restore_into_empty, watch_for_emptiness
from mem0_assets.restores import restore as restores
from mem0_assets.restores.undo import undo
from mem0_assets_tests.conftest import SMALL, MakeDeployment, run_sql
from mem0_assets_tests.restores.killed import killed_after

CALM = {"limits": {"warn_rows": 0, "warn_bytes": 0}, "health": {"min_free_bytes": 0}}
ONE = 'INSERT INTO memories (id, payload) VALUES (gen_random_uuid(), \'{"user_id": "dora"}\')'


@pytest.fixture
def prd(make_deployment: MakeDeployment) -> Deployment:
    """A deployment with one good backup, and nothing in it any more."""
    deployment = make_deployment(SMALL, auto_restore="always", **CALM)
    assert make_backup(deployment).verdict.ok
    run_sql(deployment, "DELETE FROM memories")
    return deployment


@pytest.fixture
def fleet(prd: Deployment, tmp_path: Path) -> Fleet:
    return Fleet(path=tmp_path / "fleet.yaml", backups_root=tmp_path / "backups", deployments={"prd": prd})


@pytest.mark.parametrize("how", ["DELETE FROM memories", "TRUNCATE memories", "DROP TABLE memories"])
def test_an_emptied_deployment_is_restored_and_people_are_told(prd: Deployment, fleet: Fleet, how: str) -> None:
    run_sql(prd, how)
    report = restore_into_empty(fleet, prd)
    assert report.ok
    assert report.by == "auto_restore"
    assert take_census(prd.postgres).namespaces == SMALL
    assert look(fleet, prd).findings["memories"] == []


def test_one_memory_is_enough_and_nothing_is_begun(prd: Deployment, fleet: Fleet) -> None:
    run_sql(prd, ONE)
    with pytest.raises(RefusedError, match="there are memories in memories: nothing is put over them"):
        restore_into_empty(fleet, prd)
    assert take_census(prd.postgres).total == 1
    assert not list(prd.backups.glob("restores/*/steps.jsonl"))


def test_a_memory_that_appears_while_the_backup_is_loaded_is_not_overwritten(
    prd: Deployment, fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = restores.Restore.load

    def load_and_be_written_to(work: restores.Restore) -> None:
        load(work)
        run_sql(prd, ONE)

    monkeypatch.setattr(restores.Restore, "load", load_and_be_written_to)
    with pytest.raises(RefusedError, match="nothing is put over them"):
        restore_into_empty(fleet, prd)
    assert take_census(prd.postgres).namespaces == {"dora": 1}


def test_what_is_empty_is_no_loss_before_it_was_told_as_one(prd: Deployment, fleet: Fleet) -> None:
    assert watch_for_emptiness(prd, Watch())[2] == ""
    observe(fleet, prd, look(fleet, prd).findings)
    _, decision, loss = watch_for_emptiness(prd, Watch())
    assert loss
    assert decision.why == "empty and still for 0 s of 60 s"


def test_without_a_backup_there_is_nothing_to_restore(prd: Deployment, fleet: Fleet) -> None:
    observe(fleet, prd, look(fleet, prd).findings)
    for backup in Catalog(prd).verified():
        for tier in backup.tiers:
            (prd.backups / tier / backup.backup).rename(prd.backups / f"moved_{tier}")
    assert watch_for_emptiness(prd, Watch())[2] == ""


def test_of_a_database_that_is_away_nothing_is_known(prd: Deployment) -> None:
    away = prd.model_copy(update={"postgres": prd.postgres.model_copy(update={"host": "127.0.0.1", "port": 9})})
    assert watch_for_emptiness(away, Watch())[1].why == "nothing is known of the database"


def test_what_a_person_has_undone_is_not_restored_again(prd: Deployment, fleet: Fleet) -> None:
    assert restore_into_empty(fleet, prd).ok
    assert undo(prd, by="anna", confirm="prd").state == "undone"
    observe(fleet, prd, look(fleet, prd).findings)
    assert take_census(prd.postgres).total == 0
    assert watch_for_emptiness(prd, Watch())[2] == ""


def test_a_restore_that_a_person_has_begun_is_left_to_that_person(prd: Deployment, fleet: Fleet) -> None:
    observe(fleet, prd, look(fleet, prd).findings)
    killed_after("loading", lambda: restores.restore(prd, by="anna", confirm="prd"))
    assert watch_for_emptiness(prd, Watch())[2] == ""
