"""Which database this is: every change that means other data shows, and no change that does not."""

from collections.abc import Callable

import pytest
from psycopg import sql

from mem0_assets.demo.memories import create_collection
from mem0_assets.fleet import Deployment
from mem0_assets.live.census import take_census
from mem0_assets.live.embedded import EmbeddedServer
from mem0_assets.live.identity import Identity
from mem0_assets_tests.conftest import SMALL, MakeDeployment, make_database, open_connection, run_sql

KNOWN = Identity("7000000000000000001", "mem0", 16384, 16400, 1536, "16.4", "0.8.0")


def identity_of(deployment: Deployment) -> Identity:
    return take_census(deployment.postgres).identity


def change(**values: object) -> Identity:
    return Identity.from_json(KNOWN.as_json() | values)


def test_the_identity_is_complete(make_deployment: MakeDeployment, server: EmbeddedServer) -> None:
    deployment = make_deployment()
    identity = identity_of(deployment)
    with open_connection(server, deployment.postgres.database) as connection:
        told = connection.execute(
            """
            SELECT (SELECT system_identifier::text FROM pg_control_system()) AS system_identifier,
                   current_database() AS database, 'memories'::regclass::oid::bigint AS table_oid,
                   (SELECT oid::bigint FROM pg_database WHERE datname = current_database()) AS database_oid
            """
        ).fetchone()
    assert told is not None
    assert identity.as_json().items() >= told.items()
    assert identity.dimensions == 8
    assert (identity.server_version or "").startswith("18.")
    assert (identity.pgvector_version or "").startswith("0.")


@pytest.mark.parametrize(
    "upkeep",
    [
        "VACUUM FULL memories",
        "REINDEX TABLE memories",
        "CLUSTER memories USING memories_pkey",
        "TRUNCATE memories",
        "ALTER TABLE memories ADD COLUMN note text DEFAULT ''",
        "ALTER TABLE memories ALTER COLUMN payload SET STORAGE external",
    ],
)
def test_upkeep_does_not_change_the_identity(make_deployment: MakeDeployment, upkeep: str) -> None:
    deployment = make_deployment()
    before = identity_of(deployment)
    run_sql(deployment, upkeep)
    assert identity_of(deployment) == before


def recreate_table(server: EmbeddedServer, deployment: Deployment) -> None:
    with open_connection(server, deployment.postgres.database) as connection:
        connection.execute("DROP TABLE memories")
        create_collection(connection, SMALL, dimensions=8)


def recreate_database(server: EmbeddedServer, deployment: Deployment) -> None:
    database = sql.Identifier(deployment.postgres.database)
    with open_connection(server, "postgres") as connection:
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(database))
    make_database(server, deployment.postgres.database, SMALL)


@pytest.mark.parametrize(
    ("harm", "phrases"),
    [(recreate_table, ["the table changed from"]), (recreate_database, ["the database changed from"])],
)
def test_a_table_or_database_made_anew_shows_even_with_the_same_rows(
    server: EmbeddedServer,
    make_deployment: MakeDeployment,
    harm: Callable[[EmbeddedServer, Deployment], None],
    phrases: list[str],
) -> None:
    deployment = make_deployment()
    before = identity_of(deployment)
    harm(server, deployment)
    changes = identity_of(deployment).changes_from(before)
    assert [phrase for phrase in phrases if not any(phrase in change for change in changes)] == []


def test_another_cluster_shows_whatever_else_is_the_same(
    server: EmbeddedServer, server16: EmbeddedServer, make_deployment: MakeDeployment
) -> None:
    """The incident: the same name and port, and a new volume behind it."""
    before, after = identity_of(make_deployment()), identity_of(make_deployment(on=server16))
    changes = after.changes_from(before)
    assert f"the cluster changed from {before.system_identifier} to {after.system_identifier}" in changes


@pytest.mark.parametrize(
    ("column", "dimensions"),
    [("vector(12)", 12), ("halfvec(12)", 12), ("vector", None), ("real[]", None)],
)
def test_the_dimensions_are_those_of_the_column(
    make_deployment: MakeDeployment, column: str, dimensions: int | None
) -> None:
    deployment = make_deployment()
    run_sql(deployment, f"DROP TABLE memories; CREATE TABLE memories (id uuid, vector {column}, payload jsonb)")
    assert identity_of(deployment).dimensions == dimensions


def test_a_server_that_hides_its_system_identifier_gives_all_the_rest(
    server: EmbeddedServer, make_deployment: MakeDeployment
) -> None:
    deployment = make_deployment()
    role = f"managed_{deployment.postgres.database}"
    run_sql(deployment, "REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC")
    run_sql(deployment, f"CREATE ROLE {role} LOGIN IN ROLE pg_read_all_data")
    identity = take_census(deployment.postgres.model_copy(update={"user": role})).identity
    assert identity.system_identifier is None
    assert None not in (identity.database_oid, identity.table_oid, identity.dimensions, identity.server_version)


def test_each_lasting_change_is_told_with_the_old_and_the_new_value() -> None:
    assert KNOWN.changes_from(KNOWN) == []
    assert change(system_identifier="7000000000000000002").changes_from(KNOWN) == [
        "the cluster changed from 7000000000000000001 to 7000000000000000002"
    ]
    assert change(database="mem0_new", database_oid=16385, table_oid=16401).changes_from(KNOWN) == [
        "the database's name changed from mem0 to mem0_new",
        "the database changed from 16384 to 16385",
        "the table changed from 16400 to 16401",
    ]


def test_a_new_version_is_no_other_database() -> None:
    assert change(server_version="16.9", pgvector_version="0.8.1").changes_from(KNOWN) == []


def test_what_is_not_known_differs_from_nothing() -> None:
    unknown = Identity(None, None, None, None, None, None, None)
    assert unknown.changes_from(KNOWN) == []
    assert KNOWN.changes_from(unknown) == []
    assert Identity.from_json({}) == unknown


def test_an_identity_survives_its_way_through_json() -> None:
    assert Identity.from_json(KNOWN.as_json()) == KNOWN
    assert Identity.from_json(KNOWN.as_json() | {"of_a_later_version": 1}) == KNOWN
