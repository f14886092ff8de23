"""Reading dumps: real ones of every form and every nastiness against SQL, and damage of every kind."""

import gzip
import json
import os
import random
import re
import subprocess
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql

from mem0_assets.backups.formats import sql_lexer
from mem0_assets.backups.formats.container import open_dump
from mem0_assets.backups.formats.damage import damage
from mem0_assets.backups.formats.sql_reader import DumpContents, read_sql
from mem0_assets.live.embedded import SUPERUSER, EmbeddedServer
from mem0_assets.live.namespaces import NAMESPACE_SQL
from mem0_assets_tests.conftest import make_database, open_connection
from mem0_assets_tests.forged import dump_text

END = b"--\n-- PostgreSQL database dump complete\n--\n\n"


def judge(text: bytes, collection: str | None = None) -> DumpContents:
    return read_sql([text], collection=collection)


def judge_file(path: Path) -> DumpContents:
    def blocks() -> Iterator[bytes]:
        with open_dump(path) as dump:
            yield from dump.blocks

    return read_sql(blocks(), collection=None)


def blocks_of(text: bytes, size: int) -> list[bytes]:
    return [text[at : at + size] for at in range(0, len(text), size)]


# --- real dumps ---

NASTY = r"""
CREATE EXTENSION vector;
CREATE TABLE memories (id uuid PRIMARY KEY, vector vector(4), payload jsonb);
CREATE INDEX ON memories USING hnsw (vector vector_cosine_ops);
CREATE TABLE memories_entities (LIKE memories); CREATE TABLE mem0migrations (LIKE memories);
CREATE SCHEMA app; CREATE SCHEMA "O""dd; Sch";
CREATE TABLE app.memories (id int, t text);
INSERT INTO app.memories VALUES (1, E'a\tb\nCOPY public.memories (id, vector, payload) FROM stdin;\n\\.\n'),
  (2, E'\\.'), (3, NULL), (4, ''), (5, '\N');
CREATE TABLE "we""ird; COPY x" ("co,l ""1" text DEFAULT E'x;\nCOPY public.memories (id) FROM stdin;\n\\.\n', b bytea,
  n numeric(8, 2) DEFAULT 1.5, f float8, bo bool, bi bit(3), a int[] DEFAULT ARRAY[1, 2], x text DEFAULT 'a)b,c',
  g int GENERATED ALWAYS AS (1) STORED, CONSTRAINT "ck;" CHECK ("co,l ""1" <> ';'));
INSERT INTO "we""ird; COPY x" ("co,l ""1", b, n, f, bo, bi, a) VALUES
  (E'''quoted'' \\ back', '\xdeadbeef', 1.50, 'NaN', true, B'101', '{1,2}'),
  (E'--\n/*', NULL, 'NaN', -1.5e-300, false, NULL, NULL), ('$$ $x$', NULL, NULL, NULL, NULL, NULL, NULL);
CREATE TABLE "O""dd; Sch"."Ta.ble" (x text);
INSERT INTO "O""dd; Sch"."Ta.ble" SELECT 'v' || i FROM generate_series(1, 5) i;
CREATE TABLE zero (); INSERT INTO zero DEFAULT VALUES; INSERT INTO zero DEFAULT VALUES;
CREATE TABLE part (id int, t text) PARTITION BY RANGE (id);
CREATE TABLE part1 PARTITION OF part FOR VALUES FROM (0) TO (10);
CREATE TABLE part2 PARTITION OF part FOR VALUES FROM (10) TO (20);
INSERT INTO part SELECT i, 'p' FROM generate_series(1, 19) i;
CREATE TABLE child (extra text) INHERITS (app.memories); INSERT INTO child VALUES (1, 'x', 'y');
CREATE TABLE ident (id int GENERATED ALWAYS AS IDENTITY, t text); INSERT INTO ident (t) VALUES ('a'), ('b');
COMMENT ON TABLE memories IS
  E'it''s\n\\.\nCOPY public.memories (id) FROM stdin;\n-- PostgreSQL database dump complete\n--\n';
COMMENT ON COLUMN memories.payload IS $$a "quoted" 'thing' \ $$;
CREATE FUNCTION f1() RETURNS text LANGUAGE plpgsql AS $body$ BEGIN
-- PostgreSQL database dump complete
--
 RETURN $q$; COPY public.memories (id) FROM stdin;
\.
$q$ || 'it''s /* '; END $body$;
CREATE FUNCTION f2(a int) RETURNS int LANGUAGE sql
  BEGIN ATOMIC SELECT 1; SELECT CASE WHEN a > 1 THEN 2 ELSE 3 END; END;
CREATE PROCEDURE p1() LANGUAGE sql
  BEGIN ATOMIC INSERT INTO ident (t) VALUES ('x;'); INSERT INTO ident (t) VALUES ('(('); END;
CREATE RULE r1 AS ON DELETE TO app.memories
  DO ALSO (INSERT INTO ident (t) VALUES ('a'); INSERT INTO ident (t) VALUES ('b'));
CREATE VIEW v1 AS SELECT payload->>'user_id' AS u, 'x;''y' AS z FROM memories;
CREATE MATERIALIZED VIEW mv1 AS SELECT count(*) FROM memories;
SELECT lo_from_bytea(0, '\x3b27225c0a5c2e0a');
CREATE TYPE mood AS ENUM ('it''s', 'ok;'); CREATE DOMAIN d1 AS text CHECK (VALUE <> '/*');
GRANT SELECT ON memories TO PUBLIC;
"""
TEXTS = ["plain", "it's", "back\\slash \\. \\N \\n", "\\.", "COPY public.memories (id, vector, payload) FROM stdin;"]
TEXTS += ["new\nline\n\\.\nCOPY x FROM stdin;\n", "tab\there", "\r\n\x01\x1f\x7f\u0085\u2028", "🧠 漢字 \U0010ffff"]
TEXTS += ["'); DROP TABLE memories; --", "$$ $body$ $1", "E'\\'' \"q\"", "-- PostgreSQL database dump complete\n--\n"]
TEXTS += [
    "pg_dump: error: in a text",
    "/* /* nested",
    "",
    "NUL \\u0000 \\x00 \\0",
    "\\",
    "\\\\",
    "'",
    "''",
    ")",
    "),('",
]
SCOPES: list[Any] = ["mark_carey/sap", 5, 1.50, True, None, {"b": 1, "a": [1, 2.50, 'x"y']}, "", "(none)", *TEXTS]


def fill(connection: psycopg.Connection[Any], count: int = 250) -> None:
    """Nasty memories: every text as a text, and every scope under every key."""
    with connection.transaction():
        for number in range(count):
            payload: dict[str, Any] = {"data": TEXTS[number % len(TEXTS)], "created_at": "2026-01-01T00:00:00+00:00"}
            if number % 10:
                payload[("user_id", "agent_id", "run_id")[number % 3]] = SCOPES[number % len(SCOPES)]
            text = None if number == 7 else json.dumps(payload, ensure_ascii=False)
            vector = None if number == 5 else str([number, 0.5, -1e-30, 2])
            connection.execute("INSERT INTO memories VALUES (%s, %s, %s)", [uuid.uuid4(), vector, text])
        connection.execute("INSERT INTO memories_entities SELECT * FROM memories LIMIT 7")


def make_nasty(server: EmbeddedServer, database: str, options: str = "") -> None:
    with open_connection(server, "postgres") as connection:
        name = sql.Identifier(database)
        connection.execute(sql.SQL("CREATE DATABASE {} " + options).format(name))
    with open_connection(server, database) as connection:
        connection.execute(NASTY)
        fill(connection)


def run(server: EmbeddedServer, program: str, *arguments: str, user: str = SUPERUSER) -> bytes:
    """What a client program writes, its complaints among it as `2>&1` has it; its exit status is not asked."""
    command = [str(server.programs / program), "-h", str(server.socket_folder), "-U", user, *arguments]
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False).stdout


class Nasty:
    """A nasty database of one server version, and what SQL says is in it."""

    def __init__(self, server: EmbeddedServer, database: str) -> None:
        self.server = server
        self.database = database
        with open_connection(server, database) as connection:
            rows = connection.execute(
                f"SELECT {NAMESPACE_SQL} AS namespace, count(*) AS n FROM memories GROUP BY 1"
            ).fetchall()
        self.namespaces = {row["namespace"]: row["n"] for row in rows}
        self.tables = {"memories": 250, "memories_entities": 7, "mem0migrations": 0, "app.memories": 5, "child": 1}
        self.tables |= {'we"ird; COPY x': 3, 'O"dd; Sch."Ta.ble"': 5, "zero": 2, "ident": 2}
        self.tables |= {"part": 0, "part1": 9, "part2": 10}

    def check(self, contents: DumpContents, tables: dict[str, int] | None = None) -> None:
        assert contents.verdict.sentence() == "ok"
        assert contents.complete
        assert contents.collection == "memories"
        assert contents.namespaces == self.namespaces
        assert contents.total == 250
        assert contents.tables == (self.tables if tables is None else tables)
        assert contents.row_dimensions == (4,)
        assert contents.server_version is not None
        assert contents.server_version.startswith(f"{self.server.made_by}.")


@pytest.fixture(scope="module")
def nasty16(server16: EmbeddedServer) -> Nasty:
    make_nasty(server16, f"nasty_{os.getpid()}")
    return Nasty(server16, f"nasty_{os.getpid()}")


@pytest.fixture(scope="module")
def nasty18(server: EmbeddedServer) -> Nasty:
    make_nasty(server, f"nasty_{os.getpid()}")
    return Nasty(server, f"nasty_{os.getpid()}")


FORMS = {
    "COPY": [],
    "--inserts": ["--inserts"],
    "--column-inserts": ["--column-inserts"],
    "--rows-per-insert": ["--rows-per-insert=7"],
    "--on-conflict-do-nothing": ["--inserts", "--on-conflict-do-nothing"],
    "--create --clean": ["-C", "-c", "--if-exists"],
    "--quote-all-identifiers": ["--quote-all-identifiers", "-x", "-O"],
    "--disable-dollar-quoting": ["--disable-dollar-quoting"],
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("version", ["16 by 16", "16 by 18", "18 by 18"])
def test_every_form_of_a_real_dump_is_counted_exactly(nasty16: Nasty, nasty18: Nasty, version: str, form: str) -> None:
    nasty = nasty18 if version.startswith("18") else nasty16
    programs = nasty18.server.programs if version.endswith("18") else nasty16.server.programs
    command = [str(programs / "pg_dump"), "-h", str(nasty.server.socket_folder), "-U", SUPERUSER, *FORMS[form]]
    text = subprocess.run([*command, nasty.database], capture_output=True, check=True).stdout
    contents = judge(text)
    nasty.check(contents)
    assert contents.dimensions == 4
    assert contents.pg_dump_version is not None
    assert contents.pg_dump_version.startswith(version[-2:])
    assert contents.database == (nasty.database if "-C" in FORMS[form] else None)
    assert contents.uncompressed_bytes == len(text)


@pytest.mark.parametrize("options", [[], ["--inserts"], ["--rows-per-insert=50"], ["--column-inserts"]])
def test_data_without_a_schema_are_recognised_by_their_shape(nasty18: Nasty, options: list[str]) -> None:
    contents = judge(run(nasty18.server, "pg_dump", "--data-only", *options, nasty18.database))
    nasty18.check(contents, contents.tables)
    assert {name: rows for name, rows in nasty18.tables.items() if rows} == {
        name: rows for name, rows in contents.tables.items() if rows
    }
    assert contents.dimensions is None


def test_rows_loaded_via_the_partition_root_are_counted_there(nasty18: Nasty) -> None:
    text = run(nasty18.server, "pg_dump", "--load-via-partition-root", nasty18.database)
    nasty18.check(judge(text), {**nasty18.tables, "part": 19, "part1": 0, "part2": 0})


def test_an_archive_holds_what_the_plain_dump_holds(nasty18: Nasty, tmp_path: Path) -> None:
    (tmp_path / "dump").write_bytes(run(nasty18.server, "pg_dump", "-Fc", nasty18.database))
    with open_dump(tmp_path / "dump", pg_restore=nasty18.server.programs / "pg_restore") as dump:
        nasty18.check(read_sql(dump.blocks, collection="memories"))


def test_a_dump_of_a_whole_server_is_one_of_several_databases(own_server: EmbeddedServer) -> None:
    odd = "we\"ird'; \\db"
    make_nasty(own_server, odd)
    nasty = Nasty(own_server, odd)
    contents = judge(run(own_server, "pg_dumpall"))
    nasty.check(contents)
    assert contents.database == odd
    make_database(own_server, "second", {"alice": 3})
    contents = judge(run(own_server, "pg_dumpall"))
    assert contents.verdict.codes == ["wrong_content"]
    assert f"memories is in the file 2 times (database: second and {odd})" in contents.verdict.sentence()
    assert contents.complete
    assert contents.tables["memories"] == 253


def test_strings_are_read_by_the_rules_that_the_dump_sets(server: EmbeddedServer) -> None:
    """standard_conforming_strings off: then plain strings have backslash escapes too."""
    database = f"escaped_{os.getpid()}"
    make_nasty(server, database)
    with open_connection(server, "postgres") as connection:
        connection.execute(f"ALTER DATABASE {database} SET standard_conforming_strings = off")
    for options in ([], ["--inserts"]):
        text = run(server, "pg_dump", *options, database)
        assert b"SET standard_conforming_strings = off;" in text
        Nasty(server, database).check(judge(text))


def test_other_encodings_are_read_as_the_dump_says(server: EmbeddedServer) -> None:
    database = f"latin_{os.getpid()}"
    with open_connection(server, "postgres") as connection:
        connection.execute(f"CREATE DATABASE {database} ENCODING 'LATIN1' TEMPLATE template0 LOCALE 'C'")
    with open_connection(server, database) as connection:
        connection.execute("CREATE EXTENSION vector")
        connection.execute("CREATE TABLE memories (id uuid, vector vector(3), payload jsonb)")
        connection.execute("""INSERT INTO memories VALUES (gen_random_uuid(), '[1,2,3]', '{"user_id": "Zoë"}')""")
    for options in ([], ["--inserts"], ["-E", "UTF8"]):
        assert judge(run(server, "pg_dump", *options, database)).namespaces == {"Zoë": 1}


@pytest.mark.parametrize("options", [[], ["--inserts"]])
def test_a_dump_that_went_through_windows_reads_the_same(nasty18: Nasty, options: list[str]) -> None:
    """`docker exec -t` and Windows programs end lines with CR LF, and put a byte order mark before all."""
    text = run(nasty18.server, "pg_dump", *options, nasty18.database)
    nasty18.check(judge(b"\xef\xbb\xbf" + text.replace(b"\n", b"\r\n")))


@pytest.mark.parametrize("options", [[], ["--inserts"], ["--rows-per-insert=7"], ["-C"]])
@pytest.mark.parametrize("size", [1, 7, 4096])
def test_how_the_text_is_cut_into_blocks_makes_no_difference(nasty18: Nasty, options: list[str], size: int) -> None:
    text = run(nasty18.server, "pg_dump", *options, nasty18.database)
    nasty18.check(read_sql(blocks_of(text, size), collection=None))


PAYLOADS = st.dictionaries(
    st.sampled_from(["user_id", "agent_id", "run_id", "data"]),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)
    | st.sampled_from(TEXTS)
    | st.integers()
    | st.none(),
)


@given(payloads=st.lists(st.none() | PAYLOADS, max_size=8))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_memories_are_counted_by_namespace_as_sql_counts_them(
    nasty18: Nasty, payloads: Sequence[dict[str, Any] | None]
) -> None:
    with open_connection(nasty18.server, nasty18.database) as connection:
        connection.execute("CREATE TEMPORARY TABLE sample (id uuid, vector vector(2), payload jsonb)")
        for payload in payloads:
            text = None if payload is None else json.dumps(payload)
            connection.execute("INSERT INTO sample VALUES (gen_random_uuid(), '[1,2]', %s)", [text])
        query = f"SELECT {NAMESPACE_SQL} AS namespace, count(*) AS n FROM sample GROUP BY 1"
        rows = connection.execute(query).fetchall()
        with connection.cursor().copy("COPY sample TO STDOUT") as copy:
            lines = b"".join(bytes(block) for block in copy)
        literals = connection.execute("SELECT format('(%L, %L, %L)', id, vector, payload) AS t FROM sample").fetchall()
    expected = {row["namespace"]: row["n"] for row in rows}
    as_copy = b"COPY public.memories (id, vector, payload) FROM stdin;\n" + lines + b"\\.\n\n"
    values = ",\n\t".join(str(row["t"]) for row in literals).encode()
    as_insert = b"INSERT INTO public.memories VALUES\n\t" + values + b";\n\n" if literals else b""
    for rows_of in (as_copy, as_insert):
        contents = judge(HEAD + rows_of + END)
        assert contents.namespaces == expected
        assert contents.total == len(payloads)
        assert contents.verdict.codes == ([] if payloads else ["empty"])


# --- what client programs leave behind when they fail ---


def test_a_dump_of_a_newer_server_is_a_failed_dump(server: EmbeddedServer, server16: EmbeddedServer) -> None:
    command = [str(server16.programs / "pg_dump"), "-h", str(server.socket_folder), "-U", SUPERUSER, "postgres"]
    text = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False).stdout
    verdict = judge(text).verdict
    assert verdict.codes == ["dump_failed", "not_a_dump"]
    assert "server version mismatch" in verdict.sentence()


def test_a_missing_database_or_right_is_a_failed_dump(nasty18: Nasty) -> None:
    with open_connection(nasty18.server, "postgres") as connection:
        connection.execute(f"CREATE ROLE poor_{os.getpid()} LOGIN")
    assert "dump_failed" in judge(run(nasty18.server, "pg_dump", "no_such_database")).verdict.codes
    denied = judge(run(nasty18.server, "pg_dump", nasty18.database, user=f"poor_{os.getpid()}")).verdict
    assert "dump_failed" in denied.codes
    assert "permission denied" in denied.sentence()


def test_a_dump_whose_connection_died_half_way_is_a_failed_dump(server: EmbeddedServer) -> None:
    database = f"dies_{os.getpid()}"
    make_database(server, database, {"alice": 400}, dimensions=1500)
    command = [str(server.programs / "pg_dump"), "-h", str(server.socket_folder), "-U", SUPERUSER, database]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as program:
        assert program.stdout is not None
        text = program.stdout.read(1 << 20)
        with open_connection(server, "postgres") as connection:
            condition = "application_name = 'pg_dump' AND datname = %s"
            connection.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {condition}", [database])
        text += program.stdout.read()
    contents = judge(text)
    assert contents.verdict.codes[:2] == ["dump_failed", "truncated"]
    assert not contents.complete
    assert 0 < contents.total < 400


@pytest.mark.parametrize(
    "words",
    [
        b"sh: 1: pg_dump: not found\n",
        b"bash: line 1: pg_dump: command not found\n",
        b"Error response from daemon: No such container: mem0_postgres\n",
        b"the input device is not a TTY\n",
        b'psql: error: connection to server at "127.0.0.1", port 5432 failed: Connection refused\n',
        b"pg_dump: error: it's over\npg_dump: detail: \"quoted; text\n",
    ],
)
def test_words_of_a_program_instead_of_a_dump_are_a_failed_dump(words: bytes) -> None:
    assert judge(words).verdict.codes == ["dump_failed", "not_a_dump"]


@pytest.mark.parametrize(
    "warning", [b"pg_dump: warning: there are circular constraints\n", b"pg_dump: error: it's bad\n"]
)
def test_a_complaint_inside_a_dump_that_came_to_its_end_is_told(warning: bytes) -> None:
    text = dump_text({"alice": 3})
    for before in (
        b"--\n-- PostgreSQL database dump\n",
        b"CREATE EXTENSION",
        b"CREATE TABLE",
        b" (id uuid",
        b"COPY public",
    ):
        place = text.index(before)
        contents = judge(text[:place] + warning + text[place:])
        assert contents.verdict.codes == ["dump_failed"]
        assert contents.total == 3
    assert "dump_failed" in judge(text + warning).verdict.codes


def test_a_complaint_among_the_rows_is_told(nasty18: Nasty) -> None:
    text = dump_text({"alice": 3})
    for place in (text.index(b"\t["), text.index(b'{"data"') + 9, text.index(b"\\.\n")):
        verdict = judge(text[:place] + b"pg_dump: error: the disk is full\n" + text[place:]).verdict
        assert "dump_failed" in verdict.codes
        assert "the disk is full" in verdict.sentence()


# --- damage ---


@pytest.fixture(scope="module")
def small(server: EmbeddedServer) -> bytes:
    """A real dump of three memories."""
    database = f"small_{os.getpid()}"
    make_database(server, database, {"alice": 2, "bob/work": 1}, dimensions=2)
    return run(server, "pg_dump", "-t", "memories", database)


@pytest.fixture(scope="module")
def small_inserts(server: EmbeddedServer, small: bytes) -> bytes:
    return run(server, "pg_dump", "-t", "memories", "--inserts", f"small_{os.getpid()}")


@pytest.mark.parametrize(("form", "step"), [("small", 1), ("small_inserts", 3)])
def test_a_text_cut_at_any_byte_is_truncated(form: str, step: int, request: pytest.FixtureRequest) -> None:
    text: bytes = request.getfixturevalue(form)
    whole = text.rstrip()
    assert judge(whole).verdict.ok
    header = text.index(b"SET ")
    for length in range(header, len(whole), step):
        contents = judge(whole[:length])
        assert contents.verdict.codes == ["truncated"], whole[:length][-80:]
        assert not contents.complete
    for length in range(0, header, step):
        assert judge(whole[:length]).verdict.codes in (["truncated"], ["not_a_dump"])


def test_one_flipped_bit_in_gzip_never_passes(small: bytes, tmp_path: Path) -> None:
    whole, expected = gzip.compress(small), judge(small)
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << random.Random(place).randrange(8)
        (tmp_path / "dump").write_bytes(damaged)
        found = judge_file(tmp_path / "dump")
        assert found == expected or not found.verdict.ok


@pytest.mark.parametrize("form", ["small", "small_inserts"])
def test_no_flipped_bit_of_a_plain_text_loses_a_memory_unseen(form: str, request: pytest.FixtureRequest) -> None:
    """Without a checksum a letter of a text can change; but no row and no namespace may get lost for that."""
    text: bytes = request.getfixturevalue(form)
    for place in range(0, len(text), 2):
        damaged = bytearray(text)
        damaged[place] ^= 1 << random.Random(place).randrange(8)
        contents = judge(bytes(damaged), "memories")
        if contents.verdict.ok:
            assert contents.total == 3, damaged[place - 60 : place + 30]
            assert sum(contents.namespaces.values()) == 3


@pytest.mark.parametrize("rest", [b"", b"\nCOMMENT ON TABLE x IS 'a", b"\n/* a", b"\nSET", b"\n-- a", b"\nno sql"])
def test_damage_that_the_container_finds_is_in_the_verdict_with_what_was_counted(rest: bytes) -> None:
    def blocks() -> Iterator[bytes]:
        text = dump_text({"alice": 3})
        yield (text[: text.index(b"\\.\n") + 3] if rest else text[: text.index(b"\\.\n")]) + rest
        raise damage("corrupt", "the gzip checksum does not fit the content")

    contents = read_sql(blocks(), collection=None)
    assert contents.verdict.sentence() == "the gzip checksum does not fit the content [corrupt]"
    assert contents.total == 3


def test_a_line_without_end_is_refused_before_it_fills_the_memory() -> None:
    taken = 0

    def endless(begin: bytes) -> Iterator[bytes]:
        nonlocal taken
        yield begin
        while True:
            taken += 1
            yield b"1" * 1000

    copy = HEAD + b"COPY public.memories (id, vector, payload) FROM stdin;\n"
    for begin in (
        copy,
        HEAD + b"COMMENT ON TABLE x IS '",
        HEAD + b'COMMENT ON TABLE "',
        HEAD + b"DO $x$",
        HEAD + b"/*",
    ):
        taken = 0
        contents = read_sql(endless(begin), collection=None, max_line_bytes=50_000)
        assert contents.verdict.codes == ["corrupt"]
        assert "more than 50000 bytes" in contents.verdict.sentence()
        assert taken < 100


def test_a_tail_of_zero_bytes_as_after_a_loss_of_power_is_corrupt() -> None:
    text = dump_text({"alice": 30})
    assert judge(text + bytes(100)).verdict.codes == ["corrupt"]
    half = text[: len(text) // 2]
    contents = judge(half + bytes(len(half)))
    assert contents.verdict.codes == ["corrupt"]
    assert f"byte {len(half)} of the text is zero" in contents.verdict.sentence()


@pytest.mark.parametrize(
    "tail", [b"SELECT 1;\n", b"x", b"\\.\n", b"\\connect other\n", b"COPY public.x (a) FROM stdin;\n1\n\\.\n"]
)
def test_anything_after_the_end_marker_is_corrupt(small: bytes, tail: bytes) -> None:
    assert judge(small + tail + b"\n--\n").verdict.codes == ["corrupt"]
    assert not judge(small + tail + b"\n--\n").complete


def test_blanks_and_comments_after_the_end_marker_are_nothing(small: bytes) -> None:
    assert judge(small + b"\n \t\n-- saved by cron\n/* and /* by */ hand */\n\n").verdict.ok


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (b"\t[1,2,3]", b"", "it has 2 columns instead of 3"),
        (b"[1,2,3]", b"[1,2,3]\t", "it has 4 columns instead of 3"),
        (b'"user_id": "alice"}', b'"user_id": "alice"', "its payload is damaged: no JSON"),
        (b'"user_id": "alice"}', b'"user_id": "al\xffce"}', "its payload is not in the encoding of the dump"),
        (b"[1,2,3]", b"1,2,3]", "its vector is none"),
    ],
)
def test_a_row_that_could_not_be_loaded_is_corrupt(old: bytes, new: bytes, reason: str) -> None:
    text = dump_text({"alice": 3})
    verdict = judge(text.replace(old, new, 1)).verdict
    assert verdict.codes == ["corrupt"]
    assert f"1 of 3 rows of memories are damaged; the first is row 1: {reason}" in verdict.sentence()
    assert "memory 0" not in verdict.sentence()  # a memory's text is nobody's business


def test_rows_of_other_dimensions_than_the_column_are_corrupt() -> None:
    text = dump_text({"alice": 3})
    assert judge(text.replace(b"[1,2,3]", b"[1,2,3,4]")).verdict.codes == ["corrupt"]
    assert judge(text.replace(b"vector(3)", b"vector(4)")).verdict.codes == ["corrupt"]


def test_mixed_dimensions_in_a_column_that_allows_them_are_changed_dimensions() -> None:
    text = dump_text({"alice": 3}).replace(b"public.vector(3)", b"public.vector")
    assert judge(text).verdict.ok
    contents = judge(text.replace(b"[1,2,3]", b"[1,2,3,4]"))
    assert contents.verdict.codes == ["dimensions_changed"]
    assert contents.dimensions is None
    assert contents.row_dimensions == (3, 4)


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        (b"FROM stdin;", b"FROM stdin WITH (FORMAT binary);", "wrong_content"),
        (b"FROM stdin;", b"FROM stdin CSV;", "wrong_content"),
        (b"FROM stdin;", b"FROM '/tmp/memories.dat';", "wrong_content"),
        (b"FROM stdin;", b"FROM stdin; 1", "corrupt"),
        (b"(id, vector, payload) FROM", b"(id, vector, text) FROM", "corrupt"),
        (b"CREATE TABLE public.memories", b"CREATE TABLE public.others", "corrupt"),
        (b"CREATE TABLE", b"CREATF TABLE", "corrupt"),
        (b"CREATE TABLE", b"KREATE TABLE", "corrupt"),
        (b"SET client_encoding", b"\\.\nSET client_encoding", "corrupt"),
        (b"SET client_encoding = 'UTF8'", b"SET client_encoding = 'SJIS'", "wrong_content"),
    ],
)
def test_what_no_pg_dump_writes_is_refused(old: bytes, new: bytes, code: str) -> None:
    text = dump_text({"alice": 3})
    assert old in text
    assert code in judge(text.replace(old, new, 1)).verdict.codes


def test_rows_from_a_query_are_not_in_the_file() -> None:
    contents = judge(HEAD + b"INSERT INTO public.memories SELECT * FROM public.others;\n" + END)
    assert contents.verdict.codes == ["wrong_content"]


def _rows_as_inserts(text: bytes) -> bytes:
    """The same dump with INSERTs in place of COPY."""
    before, _, rest = text.partition(b"COPY public.memories (id, vector, payload) FROM stdin;\n")
    rows, _, after = rest.partition(b"\\.\n")
    inserts = [
        b"INSERT INTO public.memories VALUES ('%s');\n" % row.replace(b"\t", b"', '") for row in rows.splitlines()
    ]
    return before + b"".join(inserts) + after


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b";\nINSERT INTO public.memories", b";\n--NSERT INTO public.memories"),
        (b";\nINSERT INTO public.memories", b";\nINSERT INTO public.meiories"),
        (b"CREATE TABLE public.memories (id uuid NOT NULL, vector public.vector(3), payload jsonb);\n", b""),
        (b"\n\n--\n-- PostgreSQL database dump complete", b"\nCREATE TABLE public.memories (id uuid);\n--\n-- Postgre"),
    ],
    ids=["a row in a comment", "a row of a table that is not created", "a table lost", "a table created twice"],
)
def test_rows_that_would_not_be_loaded_are_not_passed_over(old: bytes, new: bytes) -> None:
    """All found by damaging real dumps at random (benchmarks/fuzz.py): each was called ok with a memory less, or more."""
    text = _rows_as_inserts(dump_text({"alice": 3}))
    assert judge(text).verdict.ok
    assert old in text or b"PostgreSQL" in old
    assert not judge(text.replace(old, new, 1)).verdict.ok


@pytest.mark.parametrize("form", [bytes, _rows_as_inserts], ids=["COPY", "INSERT"])
@pytest.mark.parametrize("number", [b"1", b"", b"00000000-0000-4000-80000000000", b"x" * 36])
def test_an_id_that_is_none_is_corrupt(form: Callable[[bytes], bytes], number: bytes) -> None:
    text = form(dump_text({"alice": 3}))
    first = re.search(rb"[0-9a-f]{32}", text)
    assert first is not None
    verdict = judge(text.replace(first.group(), number, 1)).verdict
    assert verdict.codes == ["corrupt"]
    assert "its id is none" in verdict.sentence()


@pytest.mark.parametrize("form", [bytes, _rows_as_inserts], ids=["COPY", "INSERT"])
def test_a_row_that_is_twice_in_succession_is_corrupt(form: Callable[[bytes], bytes]) -> None:
    text = form(dump_text({"alice": 3}))
    row = next(line for line in text.splitlines(keepends=True) if b"memory 1" in line)
    verdict = judge(text.replace(row, row * 2)).verdict
    assert verdict.codes == ["corrupt"]
    assert "its id is that of the row before it" in verdict.sentence()


@pytest.mark.parametrize("letter", [b"a", b"\t", b"''", b"\\\\"])
@pytest.mark.parametrize("form", [bytes, _rows_as_inserts], ids=["COPY", "INSERT"])
def test_what_is_longer_than_any_memory_is_passed_over_with_little_memory(
    form: Callable[[bytes], bytes], letter: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sql_lexer, "_LONGEST_KEPT_BYTES", 1 << 14)
    monkeypatch.setattr(sql_lexer, "_KEPT_EDGE_BYTES", 1 << 10)
    text = form(dump_text({"alice": 3}))
    long = text.replace(b"memory 1 of", letter * 100_001 + b"memory 1 of", 1)
    for size in (7000, 8192):
        contents = read_sql(blocks_of(long, size), collection=None)
        assert contents.verdict.codes == ["corrupt"]
        assert "1 of 3 rows of memories are damaged; the first is row 2: it " in contents.verdict.sentence()
        assert contents.total == 3
        assert contents.uncompressed_bytes == len(long)


@pytest.mark.parametrize("number", [10, 10_001])
def test_a_long_row_of_another_table_is_counted_though_it_is_not_kept(
    number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sql_lexer, "_LONGEST_KEPT_BYTES", 1 << 14)
    monkeypatch.setattr(sql_lexer, "_KEPT_EDGE_BYTES", 1 << 10)
    files = b"CREATE TABLE public.files (a text, b bytea, c text, d text);\n"
    values = [b"x" * number * 10, b"\\\\x" + b"00" * number * 10, b"\\\\" * number * 3, b"y" + b"\\\\" * number * 3]
    copy = b"COPY public.files (a, b, c, d) FROM stdin;\n" + b"\t".join(values) + b"\n\\.\n"
    insert = b"INSERT INTO public.files VALUES (E'" + b"', E'".join(values) + b"');\n"
    text = dump_text({"alice": 3})
    for rows in (copy, insert):
        contents = read_sql(
            blocks_of(text.replace(b"CREATE TABLE", files + rows + b"CREATE TABLE"), 4096), collection=None
        )
        assert contents.verdict.sentence() == "ok"
        assert contents.tables == {"files": 1, "memories": 3}


# --- whole dumps of the wrong thing ---

HEAD = b"""--
-- PostgreSQL database dump
--

-- Dumped from database version 18.4
-- Dumped by pg_dump version 18.4

SET client_encoding = 'UTF8';
CREATE TABLE public.memories (id uuid NOT NULL, vector public.vector(2), payload jsonb);
"""


def test_a_schema_without_rows_is_empty(nasty18: Nasty) -> None:
    contents = judge(run(nasty18.server, "pg_dump", "--schema-only", nasty18.database))
    assert contents.verdict.codes == ["empty"]
    assert contents.complete
    assert contents.collection == "memories"
    assert contents.tables == dict.fromkeys(nasty18.tables, 0)


def test_a_collection_without_rows_is_empty_though_other_tables_have_some() -> None:
    others = b"CREATE TABLE public.users (name text);\nCOPY public.users (name) FROM stdin;\nada\n\\.\n"
    contents = judge(HEAD + others + END)
    assert contents.verdict.codes == ["empty"]
    assert "not one row of memories" in contents.verdict.sentence()


def test_an_empty_database_is_empty_and_has_no_collection(server: EmbeddedServer) -> None:
    make_database(server, f"bare_{os.getpid()}", None)
    contents = judge(run(server, "pg_dump", f"bare_{os.getpid()}"))
    assert contents.verdict.codes == ["empty", "wrong_content"]
    assert contents.complete
    assert contents.collection is None


def test_a_dump_without_the_named_collection_is_the_wrong_one(nasty18: Nasty, small: bytes) -> None:
    assert judge(small, "memories").verdict.ok
    for name in ("recollections", "app.memories", "Memories"):
        contents = judge(small, name)
        assert contents.verdict.codes == ["wrong_content"]
        assert name in contents.verdict.sentence()
        assert contents.total == 0
    whole = run(nasty18.server, "pg_dump", nasty18.database)
    assert judge(whole, "app.memories").verdict.codes == ["wrong_content"]  # there, but of another shape
    assert judge(whole, "memories_entities").total == 7


def test_without_a_name_the_largest_table_of_the_shape_is_the_collection() -> None:
    parts = {"memories": 2, "old": 5, "old_entities": 9, "mem0migrations": 12, "users": 20}
    text = b"--\n-- PostgreSQL database dump\n--\n"
    for name, rows in parts.items():
        columns = b"(a text, b text, c text)" if name == "users" else b"(id uuid, vector vector(2), payload jsonb)"
        text += b"CREATE TABLE public.%s %s;\nCOPY public.%s FROM stdin;\n" % (name.encode(), columns, name.encode())
        text += b"".join(b"%032d\t[1,2]\t{}\n" % row for row in range(rows)) + b"\\.\n"
    contents = judge(text + END)
    assert contents.verdict.ok
    assert contents.collection == "old"
    assert contents.total == 5
    assert contents.tables == parts


@pytest.mark.parametrize("form", [[], ["--data-only"], ["--data-only", "--inserts"]])
def test_a_collection_that_is_twice_in_the_file_cannot_be_counted(
    server: EmbeddedServer, small: bytes, form: list[str]
) -> None:
    text = run(server, "pg_dump", *form, f"small_{os.getpid()}")
    contents = judge(text + text, "memories")
    assert contents.verdict.codes == ["wrong_content"]
    assert "memories is in the file 2 times" in contents.verdict.sentence()
    assert contents.tables["memories"] == 6


def test_rows_that_were_pasted_in_twice_are_told(small: bytes) -> None:
    rows = re.search(rb"COPY public\.memories .*?\n\\\.\n", small, re.DOTALL)
    assert rows is not None
    assert judge(small.replace(rows.group(), rows.group() * 2)).verdict.codes == ["wrong_content"]


def test_a_cluster_dump_needs_its_own_end_marker(own_server: EmbeddedServer) -> None:
    make_database(own_server, "one", {"alice": 3})
    text = run(own_server, "pg_dumpall")
    assert judge(text).verdict.ok
    cut = text[: text.rindex(b"--\n-- PostgreSQL database cluster dump complete")]
    assert cut.rstrip().splitlines()[-1].startswith((b"--", b"\\unrestrict"))
    assert judge(cut).verdict.codes == ["truncated"]


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\n\n",
        b"hello, world\n",
        b"# Notes\nWe select the best; then we drop it.\n",
        b"-- a comment alone\n",
        b"id,vector,payload\n1,2,3\n",
        b'{"user_id": "alice"}\n',
    ],
)
def test_a_text_that_is_no_dump_is_said_to_be_none(text: bytes) -> None:
    contents = judge(text)
    assert contents.verdict.codes == ["not_a_dump"]
    assert contents.tables == {}


def test_a_dump_of_another_program_lacks_the_end_marker() -> None:
    mysql = b"-- MySQL dump 10.13\nCREATE TABLE `memories` (`id` int);\nINSERT INTO `memories` VALUES (1);\n"
    assert not judge(mysql).verdict.ok
    by_hand = b"CREATE TABLE memories (id uuid, vector vector(2), payload jsonb);\nCOPY memories FROM stdin;\n\\.\n"
    assert judge(by_hand).verdict.codes == ["truncated"]


@pytest.mark.parametrize(
    "command",
    [
        b"\\connect mem0 postgres otherhost 5432",
        b"\\connect postgresql://otherhost/mem0",
        b'\\connect "host=otherhost dbname=mem0"',
        b"\\connect -reuse-previous=on \"dbname='mem0' host='otherhost'\"",
        b"\\set id `id`",
    ],
)
def test_a_dump_that_would_lead_psql_elsewhere_is_refused(command: bytes) -> None:
    text = (
        b"--\n-- PostgreSQL database dump\n--\n\n" + command + b"\n\n--\n-- PostgreSQL database dump complete\n--\n\n"
    )
    verdict = read_sql([text], collection=None).verdict
    assert "corrupt" in verdict.codes
    assert "leave this server" in verdict.sentence()
