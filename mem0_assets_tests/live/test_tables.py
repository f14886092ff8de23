"""Exactly those tables are counted whose rows pg_dump dumps, and exactly those rows."""

import re
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mem0_assets.live.postgres import SCHEMA, connect, snapshot
from mem0_assets.live.programs import find_program
from mem0_assets.live.tables import Table, count_tables, plain_name, user_tables
from mem0_assets_tests.conftest import SMALL, MakeDeployment, run_sql

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
    program = find_program("pg_dump", 18)
    command = [str(program.path), "-h", postgres.host, "-U", postgres.user, postgres.database]
    dumped = rows_in_dump(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    counted = {f"{SCHEMA}.{name}" if "." not in name else name: rows for name, rows in COUNTS.items()}
    counted['public."Odd name"'] = counted.pop("public.Odd name")
    assert dumped == counted


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
