"""Whole deployments: memories, the application's database, history.db."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mem0_assets.demo.stores import create_application, create_history
from mem0_assets.fleet import Deployment
from mem0_assets.live.embedded import EmbeddedServer
from mem0_assets_tests.conftest import MakeDeployment, make_database, open_connection

MakeWhole = Callable[..., Deployment]


@pytest.fixture
def make_whole(make_deployment: MakeDeployment, server: EmbeddedServer, tmp_path: Path) -> MakeWhole:
    """`make_whole(**settings)`: a deployment with all of its stores."""

    def make(on: EmbeddedServer = server, **settings: Any) -> Deployment:
        deployment = make_deployment(on=on, **settings)
        name = f"{deployment.postgres.database}_app"
        make_database(on, name, None)
        with open_connection(on, name) as connection:
            create_application(connection)
        history = tmp_path / "server" / "history.db"
        with open_connection(on, deployment.postgres.database) as connection:
            create_history(history, connection, "memories")
        stores = deployment.stores.model_copy(update={"application": name, "history": history})
        return deployment.model_copy(update={"stores": stores})

    return make
