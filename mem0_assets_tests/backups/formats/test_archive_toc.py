"""Archives in custom format whose table of contents and data disagree: what pg_restore itself passes over in silence."""

import os
import subprocess
from collections.abc import Callable

import pytest

from mem0_assets.backups.formats.archive_toc import read_contents, walk_archive
from mem0_assets.backups.formats.byte_source import ByteSource
from mem0_assets.backups.formats.damage import DumpDamage
from mem0_assets.live.embedded import SUPERUSER, EmbeddedServer
from mem0_assets_tests.conftest import make_database, open_connection

DATA = b"\x01"
NO_CHUNK = b"\0\0\0\0\0"


@pytest.fixture(scope="module")
def database(server: EmbeddedServer) -> str:
    name = f"contents_{os.getpid()}"
    make_database(server, name, {"alice": 30, "bob": 20})
    with open_connection(server, name) as connection:
        connection.execute("CREATE TABLE notes (a int); INSERT INTO notes VALUES (1), (2)")
        connection.execute("SELECT lo_from_bytea(0, '\\x00ff0a'), lo_from_bytea(0, '')")
    return name


Archive = Callable[..., bytes]


@pytest.fixture(scope="module")
def archive(server: EmbeddedServer, database: str, tmp_path_factory: pytest.TempPathFactory) -> Archive:
    """Makes an archive, by default uncompressed and written through a pipe: `archive("--inserts", seekable=True)`."""
    where = ["-h", str(server.socket_folder), "-U", SUPERUSER, "-Fc"]

    def make(*options: str, seekable: bool = False) -> bytes:
        command = [str(server.programs / "pg_dump"), *where, *(options or ["--compress=none"]), database]
        if not seekable:
            return subprocess.run(command, check=True, capture_output=True).stdout
        file = tmp_path_factory.mktemp("archive") / "dump"
        subprocess.run([*command, "-f", str(file)], check=True)
        return file.read_bytes()

    return make


def walk(data: bytes, block: int = 1000) -> bytes:
    blocks = (data[at : at + block] for at in range(0, len(data), block))
    return b"".join(walk_archive(ByteSource(blocks)))


def code(data: bytes) -> str:
    try:
        walk(data)
    except DumpDamage as damage:
        return damage.reason.code
    return "ok"


@pytest.mark.parametrize("seekable", [False, True])
@pytest.mark.parametrize(
    "options", [[], ["--compress=gzip"], ["--inserts"], ["--schema-only"], ["--data-only"], ["-b"]]
)
def test_a_whole_archive_is_passed_on_as_it_is(archive: Archive, options: list[str], seekable: bool) -> None:
    whole = archive(*options, seekable=seekable)
    for block in (7, 1000, len(whole)):
        assert walk(whole, block) == whole


def test_an_archive_of_an_older_pg_dump_is_read(server16: EmbeddedServer) -> None:
    name = f"contents16_{os.getpid()}"
    make_database(server16, name, {"alice": 3})
    command = [str(server16.programs / "pg_dump"), "-h", str(server16.socket_folder), "-U", SUPERUSER, "-Fc", name]
    whole = subprocess.run(command, check=True, capture_output=True).stdout
    assert whole[5:7] == b"\x01\x0f"
    assert walk(whole) == whole


@pytest.mark.parametrize("seekable", [False, True])
def test_an_archive_cut_at_any_byte_is_truncated(archive: Archive, seekable: bool) -> None:
    whole = archive(seekable=seekable)
    for length in {*range(0, len(whole), 37), *range(len(whole) - 9, len(whole))}:
        assert code(whole[:length]) == "truncated"


@pytest.mark.parametrize("tail", [b"\0", b"x" * 100, DATA + b"\0\x01\0\0\0" + NO_CHUNK, b"PGDMP"])
def test_anything_behind_the_last_data_is_refused(archive: Archive, tail: bytes) -> None:
    assert code(archive() + tail) in ("corrupt", "truncated")


def _data_of(whole: bytes, first: bytes) -> tuple[int, int]:
    """Where the data whose first chunk is this begin and end: before it stand a kind, a number and a length."""
    begin = whole.index(first) - 11
    assert whole[begin : begin + 1] == DATA
    return begin, whole.index(NO_CHUNK, begin + 11) + len(NO_CHUNK)


def test_data_that_are_not_there_and_data_that_are_there_twice_are_refused(archive: Archive) -> None:
    """In INSERT form pg_restore says nothing, and nothing in its text misses them."""
    whole = archive("--inserts", "--compress=none")
    begin, end = _data_of(whole, b"INSERT INTO public.notes")
    assert code(whole[:begin] + whole[end:]) == "truncated"
    assert code(whole[:end] + whole[begin:end] + whole[end:]) == "corrupt"
    nobody = whole[begin : begin + 1] + b"\0\xff\xff\xff\x00" + whole[begin + 6 : end]
    assert code(whole[:begin] + nobody + whole[begin:]) == "corrupt"
    assert code(whole[:begin] + nobody + whole[end:]) == "corrupt"


def test_data_that_moved_are_refused_where_the_contents_say_their_place(archive: Archive) -> None:
    whole = archive("--inserts", "--compress=none", seekable=True)
    begin, end = _data_of(whole, b"INSERT INTO public.notes")
    assert code(whole[:begin] + whole[end:] + whole[begin:end]) == "corrupt"


def test_a_part_of_another_archive_is_named(archive: Archive) -> None:
    whole = archive()
    as_directory = whole[:10] + b"\x03" + whole[11:]
    with pytest.raises(DumpDamage, match="part of another archive") as refused:
        walk(as_directory)
    assert refused.value.code == "not_a_dump"
    with pytest.raises(DumpDamage, match="part of another archive"):
        read_contents([whole])


@pytest.mark.parametrize(("version", "expected"), [(b"\x01\x11", "client_too_old"), (b"\x01\x0b", "wrong_content")])
def test_formats_that_are_not_known_are_named(archive: Archive, version: bytes, expected: str) -> None:
    whole = archive()
    assert code(whole[:5] + version + whole[7:]) == expected


def test_a_table_of_contents_that_says_it_is_endless_is_refused_before_it_fills_the_memory(archive: Archive) -> None:
    whole = archive()
    name = whole.index(b"ENCODING") - 5
    with pytest.raises(DumpDamage, match="contents of more than"):
        walk(whole[:name] + b"\0\xff\xff\xff\x7f" + whole[name + 5 :])
