"""A database with everything in it, dumped in binary and loaded: what pg_dump says of both is the same, to the letter."""

import difflib
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from psycopg import sql

from mem0_assets.backups.formats import binary_writer
from mem0_assets.backups.formats.dump_format import FORMATS
from mem0_assets.backups.formats.source import Source, Written
from mem0_assets.fleet import Postgres
from mem0_assets.live.embedded import SUPERUSER, EmbeddedServer
from mem0_assets.live.postgres import connect, connection_settings, snapshot
from mem0_assets.live.programs import find_program
from mem0_assets.live.tables import count_tables, layouts, plain_name, user_tables
from mem0_assets_tests.conftest import make_database, open_connection

EVERYTHING = r"""
    CREATE SCHEMA "a.b"; CREATE SCHEMA a; CREATE SCHEMA "Odd ""schema"" $1 | *";
    CREATE TYPE mood AS ENUM ('sad', 'it''s ok', 'glücklich');
    CREATE TYPE pair AS (a int, b mood);
    CREATE TYPE plain_pair AS (a int, b text);
    CREATE DOMAIN positive AS int CHECK (VALUE > 0);
    CREATE DOMAIN moods AS mood[];
    CREATE TYPE floats AS RANGE (subtype = float8);
    CREATE FUNCTION twice(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1 * 2';

    CREATE TABLE builtin (
        i2 smallint, i4 int, i8 bigint, f4 real, f8 float8, n numeric(40, 20), m money, b bool, t text, v varchar(20),
        c char(10), one "char", bin bytea, j json, jb jsonb, d date, ti time, tz timetz, ts timestamp, tstz timestamptz,
        iv interval, u uuid, ip inet, net cidr, mac macaddr, bits bit(5), vb varbit, pt point, poly polygon,
        vec tsvector, q tsquery, r int4range, mr int4multirange, arr int[], nested text[][], path jsonpath, o oid
    );
    INSERT INTO builtin VALUES (
        -32768, 2147483647, -9223372036854775808, '-0', 'NaN', 'NaN', 12.34, true,
        E'tab\t nl\n back\\ \\. NUL \\u0000 é漢😀', '',
        'pad', 'x', '\x00ff5c0a', ' { "b" : 1, "a":1.50 } ', '{"b": 1e2, "a": [1.50, null]}',
        'infinity', '24:00', '12:00+05:30',
        '-infinity', '2026-01-10 02:30:00.123456+01', '1 year -2 days 3.5 s', gen_random_uuid(), '10.0.0.1/8', '10.0.0.0/8',
        '08:00:2b:01:02:03', B'10101', B'1', '(1,2)', '((0,0),(1,1),(2,0))',
        'a:1A fat:2B', 'a & !b', '[1,5)', '{[1,2),[5,9)}',
        '[0:1]={1,NULL}', '{{a,"b c"},{NULL,"\\"}}', '$.a[*] ? (@ > 1)', 4294967295);
    INSERT INTO builtin (f4, f8) VALUES ('1e-45', '1.7976931348623157e308'), ('Infinity', '-Infinity');
    INSERT INTO builtin DEFAULT VALUES;

    CREATE TABLE ours (id serial, e mood, p positive, v2 vector(2), h halfvec(3), s sparsevec(5));
    INSERT INTO ours (e, p, v2, h, s) SELECT 'it''s ok', n, ARRAY[n, 0.1]::vector, '[1,2,3]', '{1:1,3:2}/5'
      FROM generate_series(1, 5) n;
    CREATE TABLE named (what regclass, how regprocedure, who regrole, f regtype);
    INSERT INTO named VALUES ('ours', 'twice(int)', 'postgres', 'mood');
    CREATE TABLE ranges (f floats, l pg_lsn); INSERT INTO ranges VALUES ('[1,2.5)', '16/B374D848');
    CREATE TABLE arrays (m mood[], d moods, v vector[], p pair, pp plain_pair, a aclitem);
    INSERT INTO arrays VALUES
        ('{sad}', '{sad,"it''s ok"}', ARRAY['[1,2]'::vector], '(1,sad)', '(1,x)', 'postgres=r/postgres');

    CREATE TABLE generated (
        id int GENERATED ALWAYS AS IDENTITY, a int, double int GENERATED ALWAYS AS (a * 2) STORED, dropped text, z text);
    ALTER TABLE generated DROP COLUMN dropped;
    INSERT INTO generated (a, z) VALUES (1, 'one'), (2, NULL);
    CREATE TABLE only_generated (g int GENERATED ALWAYS AS (1) STORED);
    INSERT INTO only_generated DEFAULT VALUES;
    CREATE TABLE no_columns (); INSERT INTO no_columns DEFAULT VALUES; INSERT INTO no_columns DEFAULT VALUES;
    CREATE TABLE no_rows (id int PRIMARY KEY);
    CREATE TABLE twins (id int, t text); INSERT INTO twins VALUES (1, 'x'), (1, 'x'), (NULL, NULL);
    CREATE UNLOGGED TABLE unlogged (id int); INSERT INTO unlogged VALUES (1);

    CREATE TABLE a."b.c" (x int); INSERT INTO a."b.c" VALUES (1);
    CREATE TABLE "a.b".c (x int); INSERT INTO "a.b".c VALUES (1), (2);
    CREATE TABLE "Odd ""schema"" $1 | *"."we""ird; COPY x FROM stdin; \. ' $$ 漢
    new line" ("se""lect" int, " " text, "user" text);
    INSERT INTO "Odd ""schema"" $1 | *"."we""ird; COPY x FROM stdin; \. ' $$ 漢
    new line" VALUES (1, 'a', 'b'), (2, 'c', 'd'), (3, 'e', NULL);
    CREATE TABLE "sixty_three_bytes_long_name_sixty_three_bytes_long_name_sixty_3" (id int);
    INSERT INTO "sixty_three_bytes_long_name_sixty_three_bytes_long_name_sixty_3" VALUES (63);

    CREATE TABLE parts (id int, kind text) PARTITION BY LIST (kind);
    CREATE TABLE parts_a PARTITION OF parts FOR VALUES IN ('a');
    CREATE TABLE parts_rest PARTITION OF parts DEFAULT PARTITION BY RANGE (id);
    CREATE TABLE parts_low PARTITION OF parts_rest FOR VALUES FROM (0) TO (10);
    INSERT INTO parts SELECT n, CASE WHEN n % 2 = 0 THEN 'a' ELSE 'b' END FROM generate_series(1, 9) n;
    CREATE TABLE parent (id int, t text); CREATE TABLE child (extra int) INHERITS (parent);
    INSERT INTO parent VALUES (1, 'p'); INSERT INTO child VALUES (2, 'c', 3);

    CREATE TABLE first (id int PRIMARY KEY, other int);
    CREATE TABLE second (id int PRIMARY KEY, other int REFERENCES first);
    ALTER TABLE first ADD FOREIGN KEY (other) REFERENCES second DEFERRABLE INITIALLY DEFERRED;
    BEGIN; INSERT INTO first VALUES (1, 1); INSERT INTO second VALUES (1, 1); COMMIT;
    CREATE FUNCTION forbid() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no'; END $$;
    CREATE TRIGGER refuses BEFORE INSERT ON twins FOR EACH ROW EXECUTE FUNCTION forbid();
    CREATE RULE vanish AS ON INSERT TO unlogged DO INSTEAD NOTHING;
    ALTER TABLE twins ENABLE ROW LEVEL SECURITY; CREATE POLICY none ON twins USING (false);
    CREATE INDEX ON memories USING hnsw (vector vector_cosine_ops);
    CREATE STATISTICS dependent (dependencies) ON id, t FROM twins;
    CREATE VIEW seen AS SELECT * FROM parent; CREATE MATERIALIZED VIEW kept AS SELECT * FROM parts WITH DATA;
    CREATE MATERIALIZED VIEW unfilled AS SELECT * FROM parts WITH NO DATA;
    CREATE SEQUENCE numbers INCREMENT 7; SELECT nextval('numbers'), nextval('numbers');
    SELECT lo_from_bytea(4711, '\x00010203'), lo_from_bytea(4712, '');
    COMMENT ON TABLE twins IS 'COPY public.memories (id) FROM stdin;';
"""
# No type of these is carried by number; or there is no column to name.
TEXT = ["arrays", "named", "no_columns", "only_generated", "ranges"]


@contextmanager
def _source(server: EmbeddedServer, database: str) -> Iterator[tuple[Source, dict[str, int]]]:
    """A database at this instant, and the rows of its tables."""
    postgres = Postgres(host=str(server.socket_folder), user=SUPERUSER, database=database)
    with connect(postgres, seconds=None) as connection, snapshot(connection, user_tables(connection)):
        row = connection.execute("SELECT pg_export_snapshot() AS name").fetchone()
        assert row is not None
        program = find_program("pg_dump", server.made_by or 0)
        settings, tables, version = connection_settings(postgres), layouts(connection), connection.info.server_version
        source = Source(postgres, settings, row["name"], program, tables, version, jobs=3)
        yield source, count_tables(connection)


def _load(written: Written, folder: Path, server: EmbeddedServer, database: str) -> None:
    with open_connection(server, "postgres") as connection:
        connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(database)))
    settings = {"host": str(server.socket_folder), "port": 5432, "user": SUPERUSER, "dbname": database}
    files = [(folder / file.path, file.statement) for file in written.files]
    FORMATS["binary"].load(find_program("psql", server.made_by or 0), settings, files, parameters={}, jobs=2)


def _as_text(server: EmbeddedServer, database: str) -> list[str]:
    """What pg_dump says of it; owners too. The order of the rows of tables that were cut into parts is not a promise."""
    command = [str(server.programs / "pg_dump"), "-h", str(server.socket_folder), "-U", SUPERUSER, database]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    text = re.sub(r"^\\(un)?restrict .*$", "", text, flags=re.MULTILINE)
    blocks = re.split(r"(^COPY .*? FROM stdin;\n.*?^\\\.$)", text, flags=re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in (sorted if block.startswith("COPY ") else list)(block.splitlines())]


@pytest.fixture(params=[16, 18])
def any_server(request: pytest.FixtureRequest, server: EmbeddedServer, server16: EmbeddedServer) -> EmbeddedServer:
    return server if request.param == 18 else server16


def test_everything_that_a_database_can_hold_comes_back_to_the_letter(
    any_server: EmbeddedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(binary_writer, "PART_BYTES", 1 << 13)
    database = f"everything_{os.getpid()}"
    make_database(any_server, database, {"alice": 200, "bob": 100}, dimensions=64)
    with open_connection(any_server, database) as connection:
        connection.execute(EVERYTHING)
    with _source(any_server, database) as (source, counted):
        kinds = {plain_name(one.table): one.binary for one in source.tables}
        written = FORMATS["binary"].write(source, tmp_path / "postgres", "mem0_20260103_133102")
    contents = FORMATS["binary"].read([tmp_path / file.path for file in written.files], collection="memories").contents
    assert contents.verdict.sentence() == "ok"
    assert contents.tables == {**counted, "parts": 0, "parts_rest": 0}
    assert (contents.total, contents.namespaces, contents.dimensions) == (300, {"alice": 200, "bob": 100}, 64)
    assert [name for name, binary in kinds.items() if not binary] == TEXT
    assert sum("memories" in (file.statement or "") for file in written.files) == 3
    _load(written, tmp_path, any_server, f"{database}_back")
    before, after = _as_text(any_server, database), _as_text(any_server, f"{database}_back")
    assert "\n".join(difflib.unified_diff(before, after, lineterm="")) == ""
