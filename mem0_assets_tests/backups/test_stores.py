"""What belongs to a deployment beside its memories is in the same backup, proven like them, and comes back with them."""

import os

import pytest

from mem0_assets.backups.backup import make_backup
from mem0_assets.backups.manifest import CHECKSUMS
from mem0_assets.demo.application import REVISION, create_application
from mem0_assets.fleet import Deployment
from mem0_assets.live.embedded import EmbeddedServer
from mem0_assets.restores.drill import drill
from mem0_assets_tests.conftest import MakeDeployment, make_database, open_connection

APPLICATION = {
    "alembic_version": 1,
    "users": 1,
    "api_keys": 1,
    "refresh_token_jtis": 0,
    "request_logs": 25,
    "settings": 1,
}


@pytest.fixture
def application(server: EmbeddedServer, request: pytest.FixtureRequest) -> str:
    """The name of an application's database in mem0's layout."""
    name = f"mem0_app_{os.getpid()}_{abs(hash(request.node.nodeid))}"
    make_database(server, name, None)
    with open_connection(server, name) as connection:
        create_application(connection)
    return name


@pytest.fixture(params=["sql", "binary"])
def whole(request: pytest.FixtureRequest, make_deployment: MakeDeployment, application: str) -> Deployment:
    return make_deployment(stores={"application": application}, dump={"format": request.param})


def test_the_applications_database_is_kept_proven_and_drilled(whole: Deployment, application: str) -> None:
    outcome = make_backup(whole)
    assert outcome.verdict.sentence() == "ok"
    manifest = outcome.backup.manifest
    assert manifest is not None
    assert manifest.application is not None
    assert manifest.application.database == application
    assert manifest.application.tables == APPLICATION
    assert manifest.application.revision == REVISION
    assert {file.path.split("/")[0] for file in manifest.files} == {"postgres", "application"}
    listed = (outcome.backup.path / CHECKSUMS).read_text()
    assert all(file.path in listed for file in manifest.files)
    result = drill(whole)
    assert result.verdict.sentence() == "ok"
