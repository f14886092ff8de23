"""Makes the corpus: small real dumps of odd memories, by many versions of PostgreSQL and in every form.

    python make.py SERVER:CLIENT...

Each argument is two folders of PostgreSQL's programs: `postgres` and `initdb` of the server that is dumped, and `pg_dump`
and `pg_dumpall` that dump it. Servers of 13 to 18 and clients of 14 to 18 made what stands here. A server without
pgvector gets a stand-in of the same name and look: a dump says no more of an extension than that.
"""

import gzip
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import zstandard

from mem0_assets.live.embedded import SUPERUSER, EmbeddedServer

HERE = Path(__file__).parent
DATABASE = "mem0_corpus"
MEMORIES = [
    ("alice", "COPY public.memories (id, vector, payload) FROM stdin;\n\\.\n"),
    ("alice", "'); DROP TABLE memories; -- /* $$ \\"),
    ("bob/work", "-- PostgreSQL database dump complete\n--\n\n\\restrict x\n"),
    ("Zoë 🧠", "tab\there, NUL \\u0000 \\x00 \\0, \r\n\x01\x1f\x7f\u2028 漢字"),
    (None, "pg_dump: error: in a text"),
    ("(none)", "\\N"),
    ("bob/work", ""),
]
TABLES = """
CREATE EXTENSION vector;
CREATE TABLE memories (id uuid PRIMARY KEY, vector vector(3), payload jsonb);
CREATE TABLE memories_entities (LIKE memories INCLUDING ALL);
CREATE TABLE mem0migrations (LIKE memories INCLUDING ALL);
CREATE TABLE notes (number int, "te;xt" text);
INSERT INTO notes VALUES (1, E'\\\\.\\nINSERT INTO memories VALUES (1);'), (2, NULL), (3, '');
SELECT lo_from_bytea(0, '\\x3b27225c0a5c2e0a');
"""
STAND_IN = """
CREATE TYPE vector;
CREATE FUNCTION vector_in(cstring) RETURNS vector AS 'textin' LANGUAGE internal IMMUTABLE STRICT;
CREATE FUNCTION vector_out(vector) RETURNS cstring AS 'textout' LANGUAGE internal IMMUTABLE STRICT;
CREATE FUNCTION vector_typmod_in(cstring[]) RETURNS int AS 'bittypmodin' LANGUAGE internal IMMUTABLE STRICT;
CREATE FUNCTION vector_typmod_out(int) RETURNS cstring AS 'bittypmodout' LANGUAGE internal IMMUTABLE STRICT;
CREATE TYPE vector (INPUT = vector_in, OUTPUT = vector_out, TYPMOD_IN = vector_typmod_in,
  TYPMOD_OUT = vector_typmod_out, INTERNALLENGTH = variable, STORAGE = extended);
"""


@dataclass(frozen=True)
class Server(EmbeddedServer):
    """A server of any programs."""

    binaries: Path = Path()

    @property
    def programs(self) -> Path:
        return self.binaries


def make(server_programs: Path, client_programs: Path, folder: Path) -> None:
    """All dumps of one version, in a folder named after it."""
    _put_stand_in(server_programs)
    server = Server(folder / "data", fsync=False, binaries=server_programs)
    sockets = str(server.start())
    try:
        place: dict[str, Any] = {"host": sockets, "user": SUPERUSER, "autocommit": True}
        with psycopg.connect(**place, dbname="postgres") as connection:
            connection.execute(f"CREATE DATABASE {DATABASE}")
        with psycopg.connect(**place, dbname=DATABASE) as connection:
            _fill(connection)
        _dump(client_programs, sockets, HERE / f"pg{server.made_by}")
    finally:
        server.stop("immediate")


def _put_stand_in(programs: Path) -> None:
    found = list(programs.parent.glob("share/**/extension/plpgsql.control"))
    extensions = found[0].parent
    if not (extensions / "vector.control").exists():
        (extensions / "vector.control").write_text("default_version = '0.8.0'\nrelocatable = true\n")
        (extensions / "vector--0.8.0.sql").write_text(STAND_IN)


def _fill(connection: psycopg.Connection[Any]) -> None:
    connection.execute(TABLES)
    for number, (namespace, text) in enumerate(MEMORIES):
        scope = {} if namespace is None else {"user_id": namespace}
        payload = json.dumps({"data": text, **scope}, ensure_ascii=False)
        row = [f"00000000-0000-4000-8000-{number:012}", None if number == 5 else f"[{number},-0.25,1e-07]", payload]
        connection.execute("INSERT INTO memories VALUES (%s, %s, %s)", row)
    connection.execute("INSERT INTO memories_entities SELECT * FROM memories LIMIT 2")


def _dump(programs: Path, sockets: str, target: Path) -> None:
    target.mkdir(exist_ok=True)

    def run(program: str, *options: str) -> bytes:
        command = [str(programs / program), "-h", sockets, "-U", SUPERUSER, *options]
        return subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout

    def put(name: str, content: bytes) -> None:
        (target / name).write_bytes(content)

    put("copy.sql", run("pg_dump", DATABASE))
    put("inserts.sql", run("pg_dump", "--inserts", DATABASE))
    put("column-inserts.sql.gz", gzip.compress(run("pg_dump", "--column-inserts", DATABASE), 9, mtime=0))
    half = run("pg_dump", "--rows-per-insert=3", DATABASE)
    put("two-members.sql.gz", b"".join(gzip.compress(part, 9, mtime=0) for part in (half[:999], half[999:])))
    zstd = zstandard.ZstdCompressor(level=9, write_checksum=True)
    put("create.sql.zst", zstd.compress(run("pg_dump", "--create", "--clean", "--if-exists", DATABASE)))
    put("cluster.sql.gz", gzip.compress(run("pg_dumpall"), 9, mtime=0))
    put("copy.dump", run("pg_dump", "-Fc", DATABASE))
    run("pg_dump", "-Fc", "-Z0", "--inserts", DATABASE, "-f", str(target / "inserts.dump"))
    run("pg_dump", "-Fd", DATABASE, "-f", str(target / "folder"))
    run("pg_dump", "-Fd", "-Z0", "--inserts", DATABASE, "-f", str(target / "inserts-folder"))
    major = int(run("pg_dump", "--version").split()[2].split(b".")[0])
    for compression in ("lz4", "zstd") if major >= 16 else ():
        try:
            run("pg_dump", "-Fd", f"--compress={compression}", DATABASE, "-f", str(target / f"{compression}-folder"))
            put(f"{compression}.dump", run("pg_dump", "-Fc", f"--compress={compression}", DATABASE))
        except subprocess.CalledProcessError:
            print(f"{target.name}: pg_dump cannot write {compression}")


if __name__ == "__main__":
    for pair in sys.argv[1:]:
        server_folder, client_folder = map(Path, pair.split(":"))
        with tempfile.TemporaryDirectory() as scratch:
            Path(scratch).chmod(0o755)
            make(server_folder, client_folder, Path(scratch))
