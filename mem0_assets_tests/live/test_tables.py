"""Exactly those tables are counted whose rows pg_dump dumps, and exactly those rows."""

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg import sql

from mem0_assets.fleet import Deployment, Postgres
from mem0_assets.live.postgres import SCHEMA, connect, snapshot
from mem0_assets.live.programs import find_program
from mem0_assets.live.tables import Layout, Table, count_tables, layouts, plain_name, user_tables
from mem0_assets_tests.conftest import SMALL, MakeDeployment, run_sql
from mem0_assets_tests.extension import make_known

EVERY_KIND = """
    CREATE TABLE mem0migrations (id uuid);
    CREATE TABLE "Odd name" (id int); INSERT INTO "Odd name" VALUES (1);
    CREATE UNLOGGED TABLE unlogged (id int); INSERT INTO unlogged VALUES (1), (2);
    CREATE SCHEMA other;
    CREATE TABLE other.memories (id int); INSERT INTO other.memories SELECT generate_series(1, 5);
    CREATE TABLE parent (id int); INSERT INTO parent VALUES (1), (2), (3);
    CREATE TABLE child () INHERITS (parent); INSERT INTO child VALUES (4), (5);
    CREATE TABLE parts (id int) PARTITION BY RANGE (id);
    CREATE TABLE parts_low PARTITION OF parts FOR VALUES FROM (0) TO (10);
    CREATE TABLE parts_high PARTITION OF parts FOR VALUES FROM (10) TO (20);
    INSERT INTO parts SELECT generate_series(5, 15);
    CREATE VIEW seen AS SELECT * FROM parent;
    CREATE MATERIALIZED VIEW kept AS SELECT * FROM parent;
    CREATE SEQUENCE numbers;
    CREATE TYPE pair AS (a int, b int);
    CREATE TABLE of_an_extension (id int); INSERT INTO of_an_extension VALUES (1);
    ALTER EXTENSION vector ADD TABLE of_an_extension;
"""
COUNTS = {
    "memories": sum(SMALL.values()),
    "mem0migrations": 0,
    "Odd name": 1,
    "unlogged": 2,
    "other.memories": 5,
    "parent": 3,
    "child": 2,
    "parts_low": 5,
    "parts_high": 6,
}


def rows_in_dump(text: str) -> dict[str, int]:
    """The rows of each COPY block of a plain dump, by the name that pg_dump writes."""
    blocks = re.findall(r"^COPY (.+?) \(.*?\) FROM stdin;\n(.*?)\\\.$", text, re.MULTILINE | re.DOTALL)
    return {name: rows.count("\n") for name, rows in blocks}


def test_what_is_counted_is_what_pg_dump_dumps(make_deployment: MakeDeployment) -> None:
    deployment = make_deployment()
    run_sql(deployment, EVERY_KIND)
    postgres = deployment.postgres
    with connect(postgres, seconds=20) as connection:
        tables = user_tables(connection)
        with snapshot(connection, tables):
            assert count_tables(connection) == COUNTS
    dumped = rows_in_dump(_pg_dump(postgres))
    counted = {f"{SCHEMA}.{name}" if "." not in name else name: rows for name, rows in COUNTS.items()}
    counted['public."Odd name"'] = counted.pop("public.Odd name")
    assert dumped == counted


def _pg_dump(postgres: Postgres) -> str:
    program = find_program("pg_dump", 18)
    command = [str(program.path), "-h", postgres.host, "-U", postgres.user, postgres.database]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_of_an_extensions_configuration_a_users_rows_are_counted_as_pg_dump_dumps_them(
    make_deployment: MakeDeployment, tmp_path: Path
) -> None:
    deployment = make_deployment()
    make_known(deployment, tmp_path)
    run_sql(
        deployment, "CREATE EXTENSION calendar; INSERT INTO jobs VALUES (7, 'remember'), (8, 'forget'), (9, 'dream')"
    )
    with connect(deployment.postgres, seconds=20) as connection:
        assert count_tables(connection) == {"jobs": 3, "memories": 77}
        assert {table.table[1]: table.binary for table in layouts(connection)} == {"jobs": False, "memories": True}
    assert rows_in_dump(_pg_dump(deployment.postgres)) == {"public.jobs": 3, "public.memories": 77}


TYPES = """
    CREATE TYPE mood AS ENUM ('calm', 'glad');
    CREATE TYPE pair AS (a int, b int);
    CREATE TYPE span AS RANGE (subtype = float8);
    CREATE DOMAIN positive AS int CHECK (VALUE > 0);
    CREATE DOMAIN small AS positive CHECK (VALUE < 10);
    CREATE DOMAIN feeling AS mood;
    CREATE DOMAIN couple AS pair;
    CREATE DOMAIN moods AS mood[];
    CREATE DOMAIN place AS regclass;
"""
CARRIED = {
    "numbers": "smallint bigint real float8 numeric(9,3) money oid",
    "text": 'text varchar(9) char(3) "char" name bytea bit(3) varbit',
    "time": "date time timetz timestamp timestamptz interval",
    "JSON and search": "json jsonb jsonpath tsvector tsquery",
    "networks and keys": "uuid inet cidr macaddr",
    "geometry": "point box circle polygon",
    "arrays": "int[] text[] uuid[] jsonb[] numeric[] timestamptz[]",
    "ranges": "int4range tstzrange nummultirange int4range[]",
    "pgvector": "vector(3) halfvec(3) sparsevec(3) vector",
    "enums": "mood",
    "domains": "positive small feeling",
}
TEXT = {
    "names of objects": ["regclass", "regtype", "regproc", "regrole", "regclass[]"],
    "arrays of types that are no part of PostgreSQL": ["mood[]", "positive[]", "vector[]", "pair[]"],
    "composites": ["pair"],
    "ranges of its own": ["span", "span[]"],
    "domains over these": ["couple", "moods", "place"],
    "XML": ["xml", "xml[]"],
    "inner types": ["pg_lsn", "aclitem", "refcursor"],
}


@pytest.fixture
def typed(make_deployment: MakeDeployment) -> Deployment:
    deployment = make_deployment()
    run_sql(deployment, TYPES)
    return deployment


def _layouts(deployment: Deployment, tables: Mapping[str, str]) -> dict[str, Layout]:
    """The layouts of tables with these columns, by their names, which may be any."""
    for name, columns in tables.items():
        run_sql(deployment, sql.SQL("CREATE TABLE {} ").format(sql.Identifier(name)).as_string() + f"({columns})")
    with connect(deployment.postgres, seconds=20) as connection:
        return {table.table[1]: table for table in layouts(connection)}


def test_types_that_mean_the_same_everywhere_are_carried_as_they_are(typed: Deployment) -> None:
    tables = {
        group: ", ".join(f"c{number} {kind}" for number, kind in enumerate(types.split()))
        for group, types in CARRIED.items()
    }
    found = _layouts(typed, tables)
    assert {group for group in CARRIED if not found[group].binary} == set()
    assert [len(found[group].columns) for group in CARRIED] == [len(types.split()) for types in CARRIED.values()]
    assert dict(found["domains"].columns) == {"c0": "int4", "c1": "int4", "c2": "mood"}
    assert dict(found["memories"].columns) == {"id": "uuid", "vector": "vector", "payload": "jsonb"}


def test_a_column_of_a_type_that_means_something_else_elsewhere_makes_its_table_text(typed: Deployment) -> None:
    kinds = [kind for group in TEXT.values() for kind in group]
    found = _layouts(typed, {f"of {kind}": f"id int, it {kind}" for kind in kinds})
    assert {kind for kind in kinds if found[f"of {kind}"].binary} == set()
    assert found["memories"].binary


def test_a_table_of_an_extensions_own_type_or_of_one_called_like_pgvectors_is_text(
    make_deployment: MakeDeployment,
) -> None:
    deployment = make_deployment(None)
    run_sql(deployment, "CREATE SCHEMA mine; CREATE TYPE mine.vector AS (a float8, b float8)")
    assert not _layouts(deployment, {"memories": "id uuid, vector mine.vector, payload jsonb"})["memories"].binary


def test_columns_that_hold_no_data_of_their_own_are_no_part_of_a_layout(make_deployment: MakeDeployment) -> None:
    columns = (
        "a int, b int, c int GENERATED ALWAYS AS (a + 1) STORED, d int GENERATED ALWAYS AS (a + 2) VIRTUAL, e text"
    )
    deployment = make_deployment()
    _layouts(deployment, {"made": columns, "generated": "c int GENERATED ALWAYS AS (7) STORED", "bare": ""})
    run_sql(deployment, "ALTER TABLE made DROP COLUMN b; ALTER TABLE made ADD f regclass; ALTER TABLE made DROP f")
    found = _layouts(deployment, {})
    assert (found["made"].columns, found["made"].binary) == ((("a", "int4"), ("e", "text")), True)
    # Without a column there is no list of columns to name.
    assert [(found[name].columns, found[name].binary) for name in ("generated", "bare")] == [((), False), ((), False)]


def test_a_layout_tells_how_much_there_is_to_read_and_on_how_many_pages(make_deployment: MakeDeployment) -> None:
    deployment = make_deployment()
    run_sql(
        deployment,
        "CREATE TABLE empty (a int); CREATE TABLE wide (a text); ALTER TABLE wide ALTER a SET STORAGE EXTERNAL",
    )
    run_sql(deployment, "INSERT INTO wide VALUES (repeat('x', 1000000))")
    found = _layouts(deployment, {})
    assert (found["empty"].pages, found["empty"].bytes) == (0, 0)
    assert found["wide"].pages == 1
    assert found["wide"].bytes > 1_000_000  # stored out of line


def test_another_sessions_temporary_table_is_not_counted(make_deployment: MakeDeployment) -> None:
    deployment = make_deployment()
    with connect(deployment.postgres, seconds=20) as other, connect(deployment.postgres, seconds=20) as connection:
        other.execute("CREATE TEMPORARY TABLE passing (id int)")
        assert user_tables(connection) == [(SCHEMA, "memories")]


NAMES = st.text(st.sampled_from('a."'), min_size=1, max_size=4) | st.just("public")


@given(st.tuples(NAMES, NAMES), st.tuples(NAMES, NAMES))
def test_no_two_tables_share_a_name(one: Table, other: Table) -> None:
    assert (plain_name(one) == plain_name(other)) == (one == other)


@pytest.mark.parametrize(
    ("table", "name"),
    [
        (("public", "a.b"), '"a.b"'),
        (("a", "b.c"), 'a."b.c"'),
        (("a.b", "c"), '"a.b".c'),
        (("public", 'a".b'), '"a"".b"'),
        (("public", '"a'), '"""a"'),
        (("public", 'Odd "name"'), 'Odd "name"'),
    ],
)
def test_a_name_that_could_be_misread_stands_in_quotes(table: Table, name: str) -> None:
    assert plain_name(table) == name


def test_a_table_of_public_goes_by_its_name_alone() -> None:
    assert plain_name(("public", "memories")) == "memories"
    assert plain_name(("archive", "memories")) == "archive.memories"
