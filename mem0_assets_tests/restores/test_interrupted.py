"""A restore that is killed at any step: the next call says where it stood, and finishes it or rolls it back, whole."""

import os
import sqlite3
from contextlib import closing
from typing import get_args

import pytest

from mem0_assets.backups.backup import make_backup
from mem0_assets.backups.catalog import Catalog
from mem0_assets.errors import BusyError
from mem0_assets.fleet import Deployment
from mem0_assets.restores.record import SETTLED, Step, alone
from mem0_assets.restores.report import RestoreReport
from mem0_assets.restores.restore import holding, restore
from mem0_assets.restores.settling import settle
from mem0_assets.restores.status import restore_status
from mem0_assets.restores.swap import swap
from mem0_assets.restores.undo import forget, undo
from mem0_assets_tests.conftest import MakeDeployment, run_sql
from mem0_assets_tests.restores.conftest import MakeWhole
from mem0_assets_tests.restores.contents import databases_like, fingerprint
from mem0_assets_tests.restores.killed import killed_after

# In the order in which a restore takes them.
BEFORE: tuple[Step, ...] = (
    "begun",
    "keeping",
    "kept",
    "stopping_writers",
    "writers_stopped",
    "loading",
    "loaded",
    "verified",
    "swapping",
)
AFTER: tuple[Step, ...] = ("swapped", "history_placed", "identity_accepted", "writers_started", "asked")
UNDOING: tuple[Step, ...] = ("undoing", "forgetting")


def test_every_step_is_the_last_one_of_some_test_here() -> None:
    assert {*BEFORE, *AFTER, *UNDOING, *SETTLED} == set(get_args(Step))


def _everything(deployment: Deployment) -> tuple[dict[str, str], int]:
    history = deployment.stores.history
    assert history is not None
    with closing(sqlite3.connect(history)) as database:
        return fingerprint(deployment), int(database.execute("SELECT count(*) FROM history").fetchone()[0])


def _lose(deployment: Deployment) -> None:
    assert deployment.stores.history is not None
    with closing(sqlite3.connect(deployment.stores.history)) as database, database:
        database.execute("DELETE FROM history")
    run_sql(deployment, "TRUNCATE memories")


def _settle(deployment: Deployment) -> RestoreReport | None:
    with holding(deployment) as catalog:
        return settle(deployment, catalog)


def _restore(deployment: Deployment) -> RestoreReport:
    return restore(deployment, by="anna", confirm="prd")


def _beside(deployment: Deployment) -> list[str]:
    """What lies beside: databases, and files of the history."""
    assert deployment.stores.history is not None
    live = {deployment.postgres.database, deployment.stores.application}
    files = [path.name for path in deployment.stores.history.parent.iterdir() if path != deployment.stores.history]
    return [name for name in databases_like(deployment) if name not in live] + files


def test_before_the_swap_it_is_rolled_back_and_nothing_is_left_beside(make_whole: MakeWhole) -> None:
    deployment = make_whole()
    backup = make_backup(deployment).backup
    _lose(deployment)
    lost = _everything(deployment)
    for step in BEFORE:
        assert killed_after(step, lambda: _restore(deployment))
        status = restore_status(deployment)
        assert (status.busy, status.reports[0].state) == (False, step)
        assert "was interrupted" in (status.standing or "")
        assert _everything(deployment) == lost, f"killed after {step}"
        report = _settle(deployment)
        assert report is not None
        assert report.state == "rolled_back"
        assert (_everything(deployment), _beside(deployment)) == (lost, []), f"rolled back after {step}"
        assert Catalog(deployment).find("latest").backup == backup.backup
    assert _settle(deployment) is None


def test_after_the_swap_it_is_finished_and_the_way_back_is_open(make_whole: MakeWhole) -> None:
    deployment = make_whole()
    whole = _everything(deployment)
    make_backup(deployment)
    _lose(deployment)
    lost = _everything(deployment)
    for step in AFTER:
        assert killed_after(step, lambda: _restore(deployment))
        report = _restore(deployment)  # finishes that one, and begins no other
        assert (report.state, len(restore_status(deployment).reports)) == ("done", 1 + AFTER.index(step))
        assert _everything(deployment) == whole, f"finished after {step}"
        undo(deployment, by="anna", confirm="prd")
        assert _everything(deployment) == lost, f"undone after {step}"
        forget(deployment, by="anna", confirm="prd")
        assert _beside(deployment) == []


def test_a_swap_that_happened_and_was_not_written_down_is_seen_on_the_server(
    make_deployment: MakeDeployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployment = make_deployment()
    before = fingerprint(deployment)
    make_backup(deployment)
    run_sql(deployment, "TRUNCATE memories")

    def swap_and_die(*words: object, **more: bool) -> None:
        swap(*words, **more)  # type: ignore[arg-type]
        os.kill(os.getpid(), 9)

    monkeypatch.setattr("mem0_assets.restores.restore.swap", swap_and_die)
    assert killed_after("swapped", lambda: _restore(deployment))
    assert restore_status(deployment).reports[0].state == "swapping"
    report = _settle(deployment)
    assert report is not None
    assert (report.state, fingerprint(deployment)) == ("done", before)


def test_an_undoing_that_is_killed_is_finished_or_given_up(
    make_deployment: MakeDeployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployment = make_deployment()
    whole = fingerprint(deployment)
    make_backup(deployment)
    run_sql(deployment, "DELETE FROM memories WHERE payload->>'user_id' = 'alice'")
    lost = fingerprint(deployment)
    _restore(deployment)
    assert killed_after("undoing", lambda: undo(deployment, by="anna", confirm="prd"))
    report = _settle(deployment)
    assert report is not None
    assert (report.state, fingerprint(deployment)) == ("done", whole)

    def swap_and_die(*words: object, **more: bool) -> None:
        swap(*words, **more)  # type: ignore[arg-type]
        os.kill(os.getpid(), 9)

    monkeypatch.setattr("mem0_assets.restores.undo.swap", swap_and_die)
    assert killed_after("undone", lambda: undo(deployment, by="anna", confirm="prd"))
    report = _settle(deployment)
    assert report is not None
    assert (report.state, fingerprint(deployment)) == ("undone", lost)


def test_a_forgetting_that_is_killed_is_finished(make_deployment: MakeDeployment) -> None:
    deployment = make_deployment()
    make_backup(deployment)
    _restore(deployment)
    assert killed_after("forgetting", lambda: forget(deployment, by="anna", confirm="prd"))
    report = _settle(deployment)
    assert report is not None
    assert (report.state, databases_like(deployment)) == ("forgotten", [deployment.postgres.database])


def test_two_restores_at_once_are_one(make_deployment: MakeDeployment, monkeypatch: pytest.MonkeyPatch) -> None:
    deployment = make_deployment()
    make_backup(deployment)
    monkeypatch.setattr("mem0_assets.restores.record.BUSY_SECONDS", 0.1)
    with alone(deployment), pytest.raises(BusyError, match="another restore of prd has been at work"):
        _restore(deployment)
