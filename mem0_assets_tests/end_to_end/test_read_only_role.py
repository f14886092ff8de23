"""The role that the README tells users to create may read and nothing else, and that is enough for everything here."""

import itertools
import re
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from mem0_assets.alerts.watch import look
from mem0_assets.backups.backup import accept_history, accept_identity, make_backup
from mem0_assets.backups.catalog import Catalog
from mem0_assets.demo.stores import FILES, create_application, create_history, write_files
from mem0_assets.doctor import examine
from mem0_assets.fleet import Deployment, Fleet
from mem0_assets.live.census import take_census
from mem0_assets.live.embedded import EmbeddedServer
from mem0_assets.live.health import look_at_health
from mem0_assets.live.postgres import DeniedError, connect
from mem0_assets.restores.drill import drill
from mem0_assets_tests.conftest import SMALL, make_database, open_connection, start_server
from mem0_assets_tests.histories import add_rows
from mem0_assets_tests.telegram_emulator import free_port

PASSWORD = "correct horse battery"
PHANTOM = "0aaaaaaa-0000-4000-8000-000000000001"
README = Path(__file__).parents[2] / "README.md"

_numbers = itertools.count(1)


# Each version with one of the two formats.
FORMATS = {16: "binary", 18: "sql"}


@pytest.fixture(scope="module", params=sorted(FORMATS))
def walled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    """A server that asks everybody on TCP for a password, and knows the README's role beside mem0's own."""
    server = start_server(tmp_path_factory.mktemp("pg") / "data", request.param, port=free_port())
    try:
        (create_role,) = re.findall(r"CREATE ROLE mem0_assets [^;]*;", README.read_text())
        with open_connection(server, "postgres") as connection:
            connection.execute(create_role.replace("'...'", f"'{PASSWORD}'"))
            connection.execute("CREATE ROLE mem0 LOGIN PASSWORD 'its own'")
            rules = server.folder / "pg_hba.conf"
            rules.write_text(f"host all all 127.0.0.1/32 scram-sha-256\n{rules.read_text()}")
            connection.execute("SELECT pg_reload_conf()")
        yield server
    finally:
        server.stop("immediate")


@pytest.fixture
def deployment(walled: EmbeddedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Deployment:
    """Memories and application of the role mem0, with all other stores, as the README's role sees them."""
    monkeypatch.setenv("MEM0_ASSETS_PASSWORD", PASSWORD)
    number = next(_numbers)
    database, application = f"mem0_{number}", f"app_{number}"
    make_database(walled, database, SMALL)
    make_database(walled, application, None)
    write_files(tmp_path / "server")
    history = tmp_path / "server" / "history" / "history.db"
    with open_connection(walled, database) as connection:
        connection.execute("ALTER TABLE memories OWNER TO mem0")
        create_history(history, connection, "memories")
    with open_connection(walled, application) as connection:
        connection.execute("GRANT ALL ON SCHEMA public TO mem0")
        connection.execute("SET ROLE mem0")
        create_application(connection)
    place = {"host": "127.0.0.1", "port": walled.port, "user": "mem0_assets", "database": database}
    raw = {
        "name": "prd",
        "backups": tmp_path / "backups" / "prd",
        "postgres": {**place, "password_env": "MEM0_ASSETS_PASSWORD"},
        "stores": {
            "application": application,
            "history": history,
            "files": [tmp_path / "server" / name for name in FILES],
        },
        "dump": {"format": FORMATS[walled.made_by or 0]},
        "limits": {"warn_rows": 0, "warn_bytes": 0},
        "health": {"min_free_bytes": 0},
    }
    return Deployment.model_validate(raw)


def test_a_role_that_may_only_read_is_enough(walled: EmbeddedServer, deployment: Deployment, tmp_path: Path) -> None:
    fleet = Fleet(path=tmp_path / "fleet.yaml", backups_root=tmp_path / "backups", deployments={"prd": deployment})
    census = take_census(deployment.postgres)
    assert census.namespaces == SMALL
    assert None not in census.identity.as_json().values()
    assert all(one.ok for one in look_at_health(deployment))

    outcome = make_backup(deployment)
    assert outcome.verdict.sentence() == "ok"
    assert [caution for caution in outcome.cautions if not caution.startswith("kept without their secrets")] == []
    manifest = outcome.backup.manifest
    assert manifest is not None
    assert manifest.semantics is not None
    assert (manifest.left_out, manifest.semantics.unknown, manifest.owner) == ((), {}, "mem0")
    assert set(manifest.roles or ()) >= {"mem0", "mem0_assets"}
    result = drill(deployment)
    assert (result.verdict.sentence(), result.cautions) == ("ok", ())
    assert [check for check in examine(fleet) if not check.ok] == []

    seen = look(fleet, deployment)
    assert (seen.problem, {finding.kind for found in seen.findings.values() for finding in found}) == (None, set())
    _lose_something(walled, deployment)
    seen = look(fleet, deployment)
    kinds = {finding.kind for found in seen.findings.values() for finding in found}
    assert kinds == {"namespace_gone", "identity_changed", "writes_dropped"}
    accept_identity(Catalog(deployment), by="mark", reason="a test")
    assert accept_history(Catalog(deployment), by="mark", reason="a test") == 1 + SMALL["carol"]


def _lose_something(server: EmbeddedServer, deployment: Deployment) -> None:
    with open_connection(server, deployment.postgres.database) as connection:
        connection.execute("DELETE FROM memories WHERE payload->>'user_id' = 'carol'")
        connection.execute("CREATE TABLE other (LIKE memories INCLUDING ALL)")
        connection.execute("INSERT INTO other TABLE memories")
        connection.execute("DROP TABLE memories")
        connection.execute("ALTER TABLE other RENAME TO memories")
    assert deployment.stores.history
    add_rows(deployment.stores.history, [(PHANTOM, "ADD", "dropped")])


def test_the_role_can_change_nothing_and_is_let_in_by_its_password_alone(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    with connect(deployment.postgres, seconds=5) as connection:
        for statement in ("DELETE FROM memories", "CREATE TABLE own (a int)", "DROP TABLE memories"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement)
    monkeypatch.setenv("MEM0_ASSETS_PASSWORD", "wrong")
    with pytest.raises(DeniedError, match="refused the password of mem0_assets"):
        take_census(deployment.postgres)
