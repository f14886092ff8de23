"""What belongs to a deployment beside its memories is in the same backup, proven like them, and comes back with them."""

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from mem0_assets.backups.backup import accept_history, make_backup
from mem0_assets.backups.catalog import Catalog
from mem0_assets.backups.manifest import CHECKSUMS, RESTORE, Manifest
from mem0_assets.backups.retention import why_held
from mem0_assets.backups.validation import verify_files
from mem0_assets.demo.memories import create_collection
from mem0_assets.demo.stores import FILES, REVISION, create_application, create_history, write_files
from mem0_assets.errors import Mem0AssetsError, RefusedError
from mem0_assets.fleet import Deployment
from mem0_assets.live.embedded import SUPERUSER, EmbeddedServer
from mem0_assets.restores.drill import drill
from mem0_assets_tests.conftest import SMALL, MakeDeployment, make_database, open_connection, run_sql
from mem0_assets_tests.forged import claim

APPLICATION = {
    "alembic_version": 1,
    "users": 1,
    "api_keys": 1,
    "refresh_token_jtis": 0,
    "request_logs": 25,
    "settings": 1,
}
TOTAL = sum(SMALL.values())


def make_whole(server: EmbeddedServer, make_deployment: MakeDeployment, folder: Path, **settings: object) -> Deployment:
    """A deployment with all stores: a database of its own, and of its application, a history, files, roles."""
    application = f"app_{os.getpid()}_{folder.name}"[:60]
    make_database(server, application, None)
    with open_connection(server, application) as connection:
        create_application(connection)
    write_files(folder / "server")
    history, files = folder / "server" / "history" / "history.db", [folder / "server" / name for name in FILES]
    stores = {"application": application, "history": history, "files": files}
    deployment = make_deployment(stores=stores, **settings)
    with open_connection(server, deployment.postgres.database) as connection:
        create_history(history, connection, "memories")
    return deployment


@pytest.fixture(params=["sql", "binary"])
def whole(
    request: pytest.FixtureRequest, server: EmbeddedServer, make_deployment: MakeDeployment, tmp_path: Path
) -> Deployment:
    return make_whole(server, make_deployment, tmp_path, dump={"format": request.param})


@pytest.fixture
def plain(server: EmbeddedServer, make_deployment: MakeDeployment, tmp_path: Path) -> Deployment:
    return make_whole(server, make_deployment, tmp_path)


def _history(deployment: Deployment, statement: str) -> None:
    assert deployment.stores.history is not None
    with closing(sqlite3.connect(deployment.stores.history)) as database, database:
        database.execute(statement)


def _application(deployment: Deployment, statement: str) -> None:
    assert deployment.application is not None
    place = deployment.application
    with psycopg.connect(host=place.host, user=SUPERUSER, dbname=place.database, autocommit=True) as connection:
        connection.execute(statement)


def _manifest(deployment: Deployment) -> Manifest:
    manifest = Catalog(deployment).find("latest").manifest
    assert manifest is not None
    return manifest


def test_every_store_is_in_one_backup_with_one_manifest_proven_and_drilled(whole: Deployment) -> None:
    outcome = make_backup(whole)
    assert outcome.verdict.sentence() == "ok"
    manifest = _manifest(whole)
    assert {file.path.split("/")[0] for file in manifest.files} == {
        "postgres",
        "application",
        "roles",
        "history",
        "files",
        "roll",
    }
    assert manifest.application is not None
    assert (manifest.application.tables, manifest.application.revision) == (APPLICATION, REVISION)
    assert manifest.history is not None
    assert (manifest.history.settled, manifest.history.copy.rows) == (TOTAL, TOTAL)
    assert manifest.roles is not None
    assert SUPERUSER in manifest.roles
    assert manifest.left_out == ()
    listed = (outcome.backup.path / CHECKSUMS).read_text()
    assert all(f"  {file.path}\n" in listed for file in manifest.files)
    result = drill(whole)
    assert result.verdict.sentence() == "ok"
    assert result.history is not None
    assert (result.history.memories, result.history.coverage) == (TOTAL, 1.0)


def test_what_is_not_named_is_not_kept_and_said_everywhere(make_deployment: MakeDeployment) -> None:
    outcome = make_backup(make_deployment(stores={"roles": False}))
    assert outcome.backup.manifest is not None
    assert outcome.backup.manifest.left_out == ("application", "history", "files", "roles")
    assert "not kept, as fleet.yaml does not name it: application, history, files, roles" in outcome.cautions
    assert "**Not in this backup:** application, history, files, roles" in (outcome.backup.path / RESTORE).read_text()


def test_roles_that_the_manifest_does_not_claim_are_found(plain: Deployment) -> None:
    folder = make_backup(plain).backup.path
    claim(folder, _manifest(plain), roles=("somebody",))
    assert verify_files(folder).verdict.codes == ["count_mismatch"]


@pytest.mark.parametrize("store", ["postgres", "application", "roles", "history"])
def test_a_manifest_that_claims_a_store_and_names_no_file_of_it_is_damaged(plain: Deployment, store: str) -> None:
    folder, manifest = make_backup(plain).backup.path, _manifest(plain)
    claim(folder, manifest, files=tuple(file for file in manifest.files if not file.path.startswith(store)))
    examined = verify_files(folder)
    assert examined.verdict.codes == ["corrupt"]
    assert f"no file of its {store}" in examined.verdict.sentence()


def test_nobody_else_may_read_what_a_backup_holds(plain: Deployment) -> None:
    """The settings of mem0's application hold the keys of models, in clear."""
    folder = make_backup(plain).backup.path
    for file in _manifest(plain).files:
        assert (folder / file.path).stat().st_mode & 0o077 == 0, file.path


def test_no_secret_of_the_deployments_files_is_in_the_backup_and_a_person_is_told(plain: Deployment) -> None:
    outcome = make_backup(plain)
    kept = b"".join(path.read_bytes() for path in (outcome.backup.path / "files").iterdir())
    for secret in (b"demo-Qm4vP7xk2Lw9", b"demo-9f8a7b6c5d4e3f2a", b"sk-demo-0000"):
        assert secret not in kept
    assert b"MEM0_DEFAULT_EMBEDDER_MODEL=text-embedding-3-small" in kept
    assert any("kept without their secrets" in caution for caution in outcome.cautions)
    assert "fill in again: POSTGRES_PASSWORD, JWT_SECRET, OPENAI_API_KEY" in (outcome.backup.path / RESTORE).read_text()


BROKEN: dict[str, tuple[str, Callable[[Deployment, Path], object]]] = {
    "history.db is gone": ("history_missing", lambda deployment, path: path.unlink()),
    "history.db is no database": ("history_damaged", lambda deployment, path: path.write_bytes(b"nothing" * 1000)),
    "the application's database is another": (
        "table_missing",
        lambda deployment, path: _application(deployment, "DROP TABLE alembic_version"),
    ),
}


@pytest.mark.parametrize("how", BROKEN)
def test_one_store_that_cannot_be_kept_is_no_backup_at_all(plain: Deployment, how: str) -> None:
    code, break_it = BROKEN[how]
    assert make_backup(plain).verdict.ok
    assert plain.stores.history is not None
    break_it(plain, plain.stores.history)
    with pytest.raises(Mem0AssetsError) as refusal:
        make_backup(plain)
    assert refusal.value.code == code
    catalog = Catalog(plain)
    assert len(catalog.verified()) == 1
    assert list(catalog.candidates_folder.iterdir()) == []
    last = catalog.last_refusal()
    assert last is not None
    assert last[1].codes == [code]


def test_a_file_that_cannot_be_kept_costs_the_memories_no_backup_and_is_said(plain: Deployment) -> None:
    assert plain.stores.history is not None
    (plain.stores.history.parents[1] / ".env").unlink()
    outcome = make_backup(plain)
    assert outcome.verdict.ok
    assert any("not in this backup [file_missing]" in caution for caution in outcome.cautions)
    assert list((outcome.backup.path / "files").iterdir()) == []


def test_an_emptied_application_or_history_is_refused_and_may_be_meant(plain: Deployment) -> None:
    assert make_backup(plain).verdict.ok
    _application(plain, "DELETE FROM users")
    _history(plain, "DELETE FROM history WHERE rowid > 3")
    outcome = make_backup(plain)
    assert outcome.verdict.codes == ["application_emptied", "history_emptied"]
    assert "no row left in users and api_keys" in outcome.verdict.sentence()
    assert outcome.backup.state == "quarantined"


DAMAGE: dict[str, tuple[str, Callable[[Path], object]]] = {
    "a byte of the history": ("checksum_mismatch", lambda folder: _flip(folder / "history" / "history.db", -100)),
    "a byte of a kept file": ("checksum_mismatch", lambda folder: _flip(folder / "files" / ".env", 3)),
    "a byte of the roles": ("checksum_mismatch", lambda folder: _flip(folder / "roles" / "roles.sql", 5)),
    "the application's dump is the memories'": ("checksum_mismatch", lambda folder: _swap(folder)),
    "a kept file is gone": ("truncated", lambda folder: (folder / "files" / ".env").unlink()),
}


def _flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def _swap(folder: Path) -> None:
    [application], [memories] = (list((folder / store).iterdir()) for store in ("application", "postgres"))
    shutil.copy(application, memories.with_name("aside"))
    size = memories.stat().st_size
    application.write_bytes(
        memories.read_bytes()[: application.stat().st_size].ljust(application.stat().st_size, b"\0")
    )
    assert memories.stat().st_size == size


@pytest.mark.parametrize("what", DAMAGE)
def test_damage_to_any_store_is_found(plain: Deployment, what: str) -> None:
    code, damage = DAMAGE[what]
    folder = make_backup(plain).backup.path
    damage(folder)
    assert code in verify_files(folder).verdict.codes


def test_memories_that_the_history_knows_and_the_collection_lost_fail_the_drill_until_accepted(
    plain: Deployment,
) -> None:
    run_sql(plain, "DELETE FROM memories WHERE payload->>'user_id' = 'bob/work'")
    assert make_backup(plain).verdict.ok
    result = drill(plain)
    assert result.verdict.codes == ["history_lost_memories"]
    assert result.verdict.sentence().startswith("25 memories are in the history and not in the collection")
    assert accept_history(Catalog(plain), by="mark", reason="Bob left") == 25
    again = drill(plain)
    assert again.verdict.ok
    assert "not in the collection, as accepted" in again.cautions[0]
    run_sql(plain, "DELETE FROM memories WHERE payload->>'user_id' = 'alice' AND payload->>'data' LIKE '%(note 1%'")
    assert make_backup(plain).verdict.ok
    assert drill(plain).history.lost.count == 11  # type: ignore[union-attr]
    assert "11 memories" in drill(plain).cautions[0]


def test_a_drill_of_an_older_backup_does_not_lift_what_the_newest_one_showed(plain: Deployment) -> None:
    older = make_backup(plain).backup
    run_sql(
        plain,
        "DELETE FROM memories WHERE id IN"
        " (SELECT id FROM memories WHERE payload->>'user_id' = 'alice' ORDER BY id LIMIT 20)",
    )
    assert make_backup(plain).verdict.ok
    assert not drill(plain).verdict.ok
    assert drill(plain, older.backup).verdict.ok
    held = why_held(Catalog(plain))
    assert held is not None
    assert "history_lost_memories" in held
    assert accept_history(Catalog(plain), by="mark", reason="Alice asked for it") == 20


def test_memories_of_another_collection_with_the_same_history_are_not_lost(
    plain: Deployment, server: EmbeddedServer
) -> None:
    assert plain.stores.history is not None
    with open_connection(server, plain.postgres.database) as connection:
        create_collection(connection, {"zoe": 30}, collection="others", dimensions=8)
        plain.stores.history.unlink()
        create_history(plain.stores.history, connection, "memories")
        rows = connection.execute("SELECT id FROM others").fetchall()
    for row in rows:
        _history(plain, f"INSERT INTO history (id, memory_id, event) VALUES ('{row['id']}', '{row['id']}', 'ADD')")
    assert make_backup(plain).verdict.ok
    assert drill(plain).verdict.sentence() == "ok"


def test_there_is_nothing_to_accept_where_nothing_was_lost(plain: Deployment) -> None:
    make_backup(plain)
    with pytest.raises(RefusedError, match="nothing to accept"):
        accept_history(Catalog(plain), by="mark", reason="just so")
