"""The count of every namespace is exact, and what cannot be counted is told as what it is: a loss, or nothing known."""

import json

import psycopg
import pytest
from psycopg import sql

from mem0_assets.errors import Mem0AssetsError, TableMissingError, UnreachableError
from mem0_assets.fleet import Deployment
from mem0_assets.live.census import take_census
from mem0_assets.live.embedded import SUPERUSER, EmbeddedServer
from mem0_assets.live.postgres import Connection
from mem0_assets_tests.conftest import SMALL, MakeDeployment, open_connection, run_sql
from mem0_assets_tests.waiting import wait_until


def connection_to(deployment: Deployment) -> Connection:
    postgres = deployment.postgres
    return psycopg.connect(
        host=postgres.host,
        port=postgres.port,
        user=SUPERUSER,
        dbname=postgres.database,
        autocommit=True,
        row_factory=psycopg.rows.dict_row,
    )


def test_every_namespace_is_counted_exactly(make_deployment: MakeDeployment) -> None:
    deployment = make_deployment()
    census = take_census(deployment.postgres)
    assert census.namespaces == SMALL
    assert census.total == sum(SMALL.values())
    assert census.collection == "memories"
    assert census.taken_at.utcoffset() is not None


def test_the_largest_namespace_comes_first(make_deployment: MakeDeployment) -> None:
    census = take_census(make_deployment({"b": 2, "a": 2, "few": 1, "many": 9}).postgres)
    assert list(census.namespaces) == ["many", "a", "b", "few"]


ODD_PAYLOADS: list[tuple[str | None, str]] = [
    ('{"user_id": "alice", "agent_id": "bot"}', "alice"),
    ('{"user_id": "", "agent_id": "bot"}', "bot"),
    ('{"user_id": null, "agent_id": "", "run_id": "run 7"}', "run 7"),
    ('{"user_id": 42}', "42"),
    ('{"user_id": 1e3}', "1000"),
    ('{"user_id": true}', "true"),
    ('{"user_id": {"b": 1, "a": [1, 2]}}', '{"a": [1, 2], "b": 1}'),
    ('{"user_id": " alice"}', " alice"),
    ('{"user_id": "Alice"}', "Alice"),
    ('{"user_id": "o\'brien; DROP TABLE memories"}', "o'brien; DROP TABLE memories"),
    ('{"user_id": "Zoë/日本 🤫"}', "Zoë/日本 🤫"),
    ('{"user_id": "Zoe\u0308/日本 🤫"}', "Zoe\u0308/日本 🤫"),
    ('{"user_id": "tab\\tand\\nline"}', "tab\tand\nline"),
    ('{"user_id": "%s {} %%"}', "%s {} %%"),
    ('{"data": "of nobody"}', "(none)"),
    ("{}", "(none)"),
    ("[]", "(none)"),
    ('"user_id"', "(none)"),
    ("null", "(none)"),
    (None, "(none)"),
]


def test_odd_scopes_are_counted_apart_and_those_without_any_together(make_deployment: MakeDeployment) -> None:
    deployment = make_deployment({})
    with connection_to(deployment) as connection, connection.cursor() as cursor:
        insert = "INSERT INTO memories SELECT gen_random_uuid(), NULL, %s::jsonb"
        cursor.executemany(insert, [(payload,) for payload, _ in ODD_PAYLOADS])
    expected: dict[str, int] = {}
    for _, namespace in ODD_PAYLOADS:
        expected[namespace] = expected.get(namespace, 0) + 1
    census = take_census(deployment.postgres)
    assert census.namespaces == expected
    assert census.total == len(ODD_PAYLOADS)


def test_a_table_that_answers_and_holds_nothing_is_known_to_be_empty(make_deployment: MakeDeployment) -> None:
    census = take_census(make_deployment({}).postgres)
    assert (census.total, census.namespaces) == (0, {})


def test_a_census_survives_its_way_through_json(make_deployment: MakeDeployment) -> None:
    census = take_census(make_deployment({"Zoë/🤫": 3}).postgres)
    content = json.loads(json.dumps(census.as_json()))
    assert set(content) == {"collection", "total", "namespaces", "identity", "taken_at"}


@pytest.mark.parametrize("collection", ["Memories of Mark", 'quo"ted', "semi;colon", "pro%cent {}"])
def test_a_collection_may_have_any_name(make_deployment: MakeDeployment, collection: str) -> None:
    deployment = make_deployment(postgres={"collection": collection})
    with connection_to(deployment) as connection:
        connection.execute(sql.SQL("ALTER TABLE memories RENAME TO {}").format(sql.Identifier(collection)))
    census = take_census(deployment.postgres)
    assert (census.collection, census.namespaces) == (collection, SMALL)


def loss(deployment: Deployment) -> str:
    with pytest.raises(TableMissingError) as caught:
        take_census(deployment.postgres)
    assert caught.value.code == "table_missing"
    assert caught.value.exit_status == 1
    assert not isinstance(caught.value, UnreachableError)
    return str(caught.value)


def test_a_renamed_table_is_a_loss_and_those_that_look_like_it_are_named(make_deployment: MakeDeployment) -> None:
    deployment = make_deployment()
    with connection_to(deployment) as connection:
        connection.execute("ALTER TABLE memories RENAME TO memories_old")
        connection.execute("CREATE TABLE mem0 (id uuid PRIMARY KEY, vector vector(4), payload jsonb)")
        connection.execute("CREATE TABLE users (id uuid PRIMARY KEY, payload jsonb)")
        connection.execute("CREATE TABLE dropped (id uuid, vector vector(4), payload jsonb)")
        connection.execute("ALTER TABLE dropped DROP COLUMN payload")
    text = loss(deployment)
    assert 'the database answers, and relation "public.memories" does not exist' in text
    assert text.endswith("Tables here that look like mem0's: mem0, memories_old")


def test_a_new_database_is_a_loss_and_says_how_new_it_is(make_deployment: MakeDeployment) -> None:
    deployment = make_deployment(None)
    assert "holds no mem0 collection at all and not even the vector extension: it may be a new one" in loss(deployment)
    run_sql(deployment, "CREATE EXTENSION vector")
    assert "holds no mem0 collection at all: it may be a new one. Do not restart anything" in loss(deployment)


def test_a_dropped_schema_is_a_loss_and_not_an_outage(make_deployment: MakeDeployment) -> None:
    """DROP SCHEMA public CASCADE is how whole databases are wiped."""
    deployment = make_deployment()
    run_sql(deployment, "DROP SCHEMA public CASCADE")
    assert 'schema "public" does not exist' in loss(deployment)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("ALTER TABLE memories DROP COLUMN payload CASCADE", "it has no payload column"),
        ("ALTER TABLE memories DROP COLUMN vector CASCADE", "it has no vector column"),
        ("ALTER TABLE memories RENAME COLUMN id TO uuid", "it has no id column"),
        ("DROP TABLE memories; CREATE TABLE memories (name text)", "it has no id and no payload and no vector column"),
        (
            "DROP TABLE memories; CREATE TABLE memories (id uuid, vector vector(4), payload text)",
            "operator does not exist: text ->> unknown",
        ),
    ],
)
def test_a_table_that_is_no_mem0_collection_is_not_counted(
    make_deployment: MakeDeployment, change: str, reason: str
) -> None:
    deployment = make_deployment()
    run_sql(deployment, change)
    with pytest.raises(Mem0AssetsError) as caught:
        take_census(deployment.postgres)
    assert caught.value.code == "wrong_content"
    assert f"the table memories is no mem0 collection: {reason}" in str(caught.value)
    assert "Check postgres.collection in fleet.yaml" in str(caught.value)


def test_a_name_that_is_no_table_is_no_mem0_collection(make_deployment: MakeDeployment) -> None:
    deployment = make_deployment(postgres={"collection": "memories_pkey"})
    with pytest.raises(Mem0AssetsError, match='cannot lock relation "memories_pkey"') as caught:
        take_census(deployment.postgres)
    assert caught.value.code == "wrong_content"


def test_a_database_without_an_encoding_is_counted_by_the_same_names(server: EmbeddedServer) -> None:
    """A cluster made in the C locale has SQL_ASCII databases: their text would come as bytes."""
    with open_connection(server, "postgres") as connection:
        connection.execute("CREATE DATABASE ascii ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0")
    with open_connection(server, "ascii") as connection:
        connection.execute("SET client_encoding = 'UTF8'")
        connection.execute("CREATE EXTENSION vector")
        connection.execute("CREATE TABLE memories (id uuid PRIMARY KEY, vector vector(4), payload jsonb)")
        connection.execute('INSERT INTO memories VALUES (gen_random_uuid(), NULL, \'{"user_id": "Zoë"}\')')
    place = {"host": str(server.socket_folder), "user": SUPERUSER, "database": "ascii"}
    deployment = Deployment.model_validate({"name": "ascii", "backups": server.folder, "postgres": place})
    assert take_census(deployment.postgres).namespaces == {"Zoë": 1}


def test_a_census_of_version_16_is_the_same(server16: EmbeddedServer, make_deployment: MakeDeployment) -> None:
    census = take_census(make_deployment(on=server16).postgres)
    assert census.namespaces == SMALL
    assert (census.identity.server_version or "").startswith("16.")


BLOCKS = """
    SELECT coalesce(sum(heap_blks_read + heap_blks_hit), 0)::bigint AS rows,
           coalesce(sum(toast_blks_read + toast_blks_hit), 0)::bigint AS vectors
      FROM pg_statio_user_tables WHERE relname = 'memories'
"""


def blocks(connection: Connection) -> dict[str, int]:
    row = connection.execute(BLOCKS).fetchone()
    assert row is not None
    return row


def test_a_census_never_reads_a_vector(make_deployment: MakeDeployment) -> None:
    """Vectors of 1,536 dimensions lie in the TOAST table: a census that touched them would read blocks there."""
    deployment = make_deployment({"alice": 30}, dimensions=1536)
    with connection_to(deployment) as connection:
        before = blocks(connection)
        assert take_census(deployment.postgres).total == 30
        wait_until(lambda: blocks(connection)["rows"] > before["rows"])
        assert blocks(connection)["vectors"] == before["vectors"]
        connection.execute("SELECT sum(vector_norm(vector)) FROM memories")
        connection.execute("SELECT pg_stat_force_next_flush()")
        wait_until(lambda: blocks(connection)["vectors"] > before["vectors"])


def test_a_census_writes_nothing_and_leaves_no_session(make_deployment: MakeDeployment) -> None:
    deployment = make_deployment()
    sessions = (
        "SELECT pid FROM pg_stat_activity WHERE application_name = 'mem0-assets' AND datname = current_database()"
    )
    with connection_to(deployment) as connection:
        run_sql(
            deployment, "ALTER DATABASE " + deployment.postgres.database + " SET default_transaction_read_only = on"
        )
        take_census(deployment.postgres)
        wait_until(lambda: connection.execute(sessions).fetchone() is None)
