"""The way back from a restore, in step for all stores, and letting go of what is kept."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from mem0_assets.backups.backup import make_backup
from mem0_assets.backups.catalog import Catalog
from mem0_assets.errors import ConfigurationError, NotFoundError, RefusedError
from mem0_assets.live.embedded import EmbeddedServer
from mem0_assets.restores.restore import restore
from mem0_assets.restores.undo import forget, leftovers, undo, written_since
from mem0_assets_tests.conftest import MakeDeployment, open_connection, run_sql
from mem0_assets_tests.restores.conftest import MakeWhole
from mem0_assets_tests.restores.contents import databases_like, fingerprint, query


def _lose_everything(history: Path) -> None:
    with closing(sqlite3.connect(history)) as database, database:
        database.execute("DELETE FROM history")


def test_all_stores_go_there_and_back_in_step(make_whole: MakeWhole) -> None:
    deployment = make_whole()
    history = deployment.stores.history
    assert history is not None
    application = deployment.application
    assert application is not None
    before, events = fingerprint(deployment), _rows(history)
    make_backup(deployment)
    history.chmod(0o640)
    _lose_everything(history)
    query(deployment, "DELETE FROM users RETURNING 1", on=application)
    run_sql(deployment, "TRUNCATE memories")
    lost = fingerprint(deployment)

    report = restore(deployment, by="anna", confirm="prd")
    assert "restart mem0: it may hold the old history.db open" in report.cautions
    assert set(report.kept) == {deployment.postgres.database, application.database}
    assert (fingerprint(deployment), _rows(history)) == (before, events)
    assert history.stat().st_mode & 0o777 == 0o640
    run_sql(deployment, "INSERT INTO memories SELECT gen_random_uuid(), vector, payload FROM memories LIMIT 3")

    written = written_since(deployment)
    assert (written.then, written.now, sum(written.changed.values())) == (77, 80, 3)
    undone = undo(deployment, by="anna", confirm="prd")
    assert undone.state == "undone"
    assert (fingerprint(deployment), _rows(history)) == (lost, 0)
    (restored,) = [name for live, name in undone.kept.items() if live == deployment.postgres.database]
    assert query(deployment, "SELECT count(*) AS n FROM memories", database=restored) == [{"n": 80}]
    with pytest.raises(NotFoundError):
        undo(deployment, by="anna", confirm="prd")

    found = leftovers(deployment)
    assert (found.totals[restored], found.safety_backup) == (80, report.safety_backup)
    assert [Path(path).name for path in found.history] == [f"history.db.restored_{report.restore}"]
    assert forget(deployment, by="anna", confirm="prd").state == "forgotten"
    assert databases_like(deployment) == [deployment.postgres.database, application.database]
    assert [path.name for path in history.parent.iterdir()] == ["history.db"]
    assert [one for one in Catalog(deployment).backups() if one.state == "safety"] == []
    assert fingerprint(deployment) == lost


def _rows(history: Path) -> int:
    with closing(sqlite3.connect(history)) as database:
        return int(database.execute("SELECT count(*) FROM history").fetchone()[0])


def test_forgetting_and_undoing_need_the_name(make_deployment: MakeDeployment) -> None:
    deployment = make_deployment()
    make_backup(deployment)
    restore(deployment, by="anna", confirm="prd")
    before = databases_like(deployment)
    for action in (undo, forget):
        with pytest.raises(ConfigurationError, match="not confirmed"):
            action(deployment, by="anna", confirm="yes")
    assert databases_like(deployment) == before


def test_a_database_of_the_same_name_that_is_another_one_is_not_ours(
    make_deployment: MakeDeployment, server: EmbeddedServer
) -> None:
    deployment = make_deployment()
    make_backup(deployment)
    kept = restore(deployment, by="anna", confirm="prd").kept[deployment.postgres.database]
    with open_connection(server, "postgres") as connection:
        connection.execute(f"DROP DATABASE {kept}")
        connection.execute(f"CREATE DATABASE {kept}")
    with pytest.raises(RefusedError, match="is gone"):
        undo(deployment, by="anna", confirm="prd")
    assert leftovers(deployment).databases == {}
    forget(deployment, by="anna", confirm="prd")
    assert kept in databases_like(deployment)


def test_where_there_was_no_database_no_way_leads_back(make_deployment: MakeDeployment, server: EmbeddedServer) -> None:
    deployment = make_deployment()
    before = fingerprint(deployment)
    make_backup(deployment)
    with open_connection(server, "postgres") as connection:
        connection.execute(f"DROP DATABASE {deployment.postgres.database}")
    report = restore(deployment, by="anna", confirm="prd")
    assert (report.state, report.safety_backup, report.kept) == ("done", None, {})
    assert fingerprint(deployment) == before
    with pytest.raises(RefusedError, match="no way leads back"):
        undo(deployment, by="anna", confirm="prd")
