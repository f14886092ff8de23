"""What every test may ask for: real PostgreSQL servers of both embedded versions, and deployments on them."""

import itertools
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, settings
from psycopg import sql

from mem0_assets.demo.memories import create_collection
from mem0_assets.fleet import Deployment
from mem0_assets.live.embedded import SUPERUSER, EmbeddedServer
from mem0_assets.live.postgres import Connection

SMALL = {"alice": 40, "bob/work": 25, "carol": 12}
DIMENSIONS = 8

needs_zstd = pytest.mark.skipif(shutil.which("zstd") is None, reason="the program zstd is not installed")

# What hypothesis measures is this machine's load, not the code.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

_numbers = itertools.count(1)


def start_server(folder: Path, major: int | None = None, port: int | None = None) -> EmbeddedServer:
    server = EmbeddedServer(folder, major=major, port=port, fsync=False)
    server.start()
    return server


def open_connection(server: EmbeddedServer, database: str) -> Connection:
    return psycopg.connect(
        host=str(server.socket_folder),
        port=server.port or 5432,
        user=SUPERUSER,
        dbname=database,
        autocommit=True,
        row_factory=psycopg.rows.dict_row,
    )


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    """A PostgreSQL 18 for the whole session. Tests make their own databases in it and never stop it."""
    running = start_server(tmp_path_factory.mktemp("pg18") / "data")
    yield running
    running.stop("immediate")


@pytest.fixture(scope="session")
def server16(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    """A PostgreSQL 16 for the whole session."""
    running = start_server(tmp_path_factory.mktemp("pg16") / "data", 16)
    yield running
    running.stop("immediate")


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[EmbeddedServer]:
    """A server for one test, which may freeze, kill or replace it."""
    running = start_server(tmp_path / "own_postgres")
    yield running
    running.stop("immediate")


MakeDeployment = Callable[..., Deployment]


@pytest.fixture
def make_deployment(server: EmbeddedServer, tmp_path: Path) -> MakeDeployment:
    """Makes a deployment in a database of its own: `make_deployment(namespaces, name="prd", limits={...})`."""

    def make(
        namespaces: Mapping[str, int] | None = SMALL,
        *,
        name: str = "prd",
        on: EmbeddedServer | None = None,
        dimensions: int = DIMENSIONS,
        **settings: Any,
    ) -> Deployment:
        where = on or server
        database = f"{name}_{os.getpid()}_{next(_numbers)}"
        make_database(where, database, namespaces, dimensions)
        place = {"host": str(where.socket_folder), "port": where.port or 5432, "user": SUPERUSER, "database": database}
        place |= settings.pop("postgres", {})
        raw = {"name": name, "backups": tmp_path / "backups" / name, "postgres": place, **settings}
        return Deployment.model_validate(raw, context={"base": tmp_path})

    return make


@pytest.fixture(params=["sql", "binary"])
def make_in_each_format(request: pytest.FixtureRequest, make_deployment: MakeDeployment) -> MakeDeployment:
    """`make_deployment` for a promise that every backup keeps, whatever the format of its dump."""
    return partial(make_deployment, dump={"format": request.param})


def make_database(
    server: EmbeddedServer, database: str, namespaces: Mapping[str, int] | None, dimensions: int = DIMENSIONS
) -> None:
    """A database with a collection of these memories; without the table where `namespaces` is None."""
    with open_connection(server, "postgres") as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(database)))
    if namespaces is not None:
        with open_connection(server, database) as connection:
            create_collection(connection, namespaces, dimensions=dimensions)


def run_sql(deployment: Deployment, statement: str) -> None:
    """Run one statement as the superuser in the deployment's database."""
    postgres = deployment.postgres
    with psycopg.connect(
        host=postgres.host, port=postgres.port, user=SUPERUSER, dbname=postgres.database, autocommit=True
    ) as connection:
        connection.execute(statement)
