"""A restore, or its undoing, brought to an end among databases that are not as anybody left them."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from mem0_assets.backups.backup import make_backup
from mem0_assets.errors import RefusedError
from mem0_assets.live.embedded import EmbeddedServer
from mem0_assets.restores.restore import holding, restore
from mem0_assets.restores.settling import settle
from mem0_assets.restores.undo import forget, leftovers, undo, written_since
from mem0_assets_tests.conftest import MakeDeployment, open_connection, run_sql
from mem0_assets_tests.restores.conftest import MakeWhole
from mem0_assets_tests.restores.contents import databases_like, fingerprint
from mem0_assets_tests.restores.killed import killed_after


def _events(history: Path) -> int:
    with closing(sqlite3.connect(history)) as database:
        return int(database.execute("SELECT count(*) FROM history").fetchone()[0])


def test_what_a_swap_put_aside_is_not_removed_because_the_live_database_is_a_third_one(
    make_whole: MakeWhole, server: EmbeddedServer
) -> None:
    deployment = make_whole()
    application, history = deployment.stores.application, deployment.stores.history
    assert history is not None
    make_backup(deployment)
    with closing(sqlite3.connect(history)) as database, database:
        database.execute("DELETE FROM history WHERE rowid > 5")
    assert killed_after("history_placed", lambda: restore(deployment, by="anna", confirm="prd"))
    with open_connection(server, "postgres") as connection:  # somebody makes mem0's users anew meanwhile
        connection.execute(f"DROP DATABASE {application}")
        connection.execute(f"CREATE DATABASE {application}")
    aside = databases_like(deployment)
    with pytest.raises(RefusedError, match=f"{application} became another"), holding(deployment) as catalog:
        settle(deployment, catalog)
    (kept,) = history.parent.glob("history.db.replaced_*")
    assert (_events(kept), databases_like(deployment)) == (5, aside)


def test_an_undoing_ends_at_a_table_that_is_no_collection_any_more(make_deployment: MakeDeployment) -> None:
    deployment = make_deployment()
    before = fingerprint(deployment)
    make_backup(deployment)
    run_sql(deployment, "ALTER TABLE memories RENAME COLUMN payload TO was_payload")
    restore(deployment, by="anna", confirm="prd")
    assert fingerprint(deployment) == before
    assert undo(deployment, by="anna", confirm="prd").state == "undone"
    with holding(deployment) as catalog:
        assert settle(deployment, catalog) is None
    # and there again, to let the damaged one go
    report = restore(deployment, by="anna", confirm="prd")
    assert (report.state, fingerprint(deployment)) == ("done", before)
    kept = report.kept[deployment.postgres.database]
    assert leftovers(deployment).totals == {kept: None}
    forget(deployment, by="anna", confirm="prd")
    assert kept not in databases_like(deployment)


def test_a_restore_can_be_undone_when_what_it_brought_is_no_collection_any_more(
    make_deployment: MakeDeployment,
) -> None:
    deployment = make_deployment()
    before = fingerprint(deployment)
    make_backup(deployment)
    restore(deployment, by="anna", confirm="prd")
    run_sql(deployment, "ALTER TABLE memories RENAME COLUMN payload TO was_payload")
    assert (written_since(deployment).then, written_since(deployment).now) == (77, 0)
    undo(deployment, by="anna", confirm="prd")
    assert fingerprint(deployment) == before


def test_the_finish_of_another_backups_restore_is_no_answer(make_deployment: MakeDeployment) -> None:
    deployment = make_deployment()
    older = make_backup(deployment).backup.backup
    before = fingerprint(deployment)
    run_sql(deployment, "INSERT INTO memories SELECT gen_random_uuid(), vector, payload FROM memories LIMIT 3")
    newer = make_backup(deployment).backup.backup
    assert killed_after("swapped", lambda: restore(deployment, newer, by="anna", confirm="prd"))
    report = restore(deployment, older, by="anna", confirm="prd")
    assert (report.backup, fingerprint(deployment)) == (older, before)
