"""Dumps in pg_dump's directory format: every way in which a folder can be less, more or other than it says."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from mem0_assets.backups.validation import verify
from mem0_assets.live.embedded import SUPERUSER, EmbeddedServer
from mem0_assets_tests.conftest import make_database, open_connection


@pytest.fixture(scope="module")
def database(server: EmbeddedServer) -> str:
    """A database with memories, a table of another shape, an empty one, and two large objects."""
    name = f"folder_{os.getpid()}"
    make_database(server, name, {"alice": 30, "bob/work": 20})
    with open_connection(server, name) as connection:
        connection.execute(
            "CREATE TABLE notes (a int, b text); INSERT INTO notes SELECT 1, '\\.' FROM generate_series(1, 7)"
        )
        connection.execute("CREATE TABLE nothing (a int); SELECT lo_from_bytea(0, '\\x00ff0a'), lo_from_bytea(0, '')")
    return name


Dumped = Callable[..., Path]


@pytest.fixture
def dumped(server: EmbeddedServer, database: str, tmp_path: Path) -> Dumped:
    """Makes a folder with pg_dump's directory format: `dumped("--compress=none", by=programs)`."""

    def dump(*options: str, by: EmbeddedServer = server, of: str = database, name: str = "folder") -> Path:
        where = ["-h", str(by.socket_folder), "-U", SUPERUSER, "-Fd", "-f", str(tmp_path / name)]
        subprocess.run([str(by.programs / "pg_dump"), *where, *options, of], check=True)
        return tmp_path / name

    return dump


def code(folder: Path) -> str:
    examined = verify(folder)
    assert not examined.verdict.ok or examined.contents.namespaces == {"alice": 30, "bob/work": 20}
    return ",".join(examined.verdict.codes) or "ok"


COMPRESSIONS = ["none", "gzip", "gzip:9"]


@pytest.mark.parametrize("form", [[], ["--inserts"], ["--rows-per-insert=7"], ["-j", "2"]])
@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_a_whole_folder_is_counted_exactly(dumped: Dumped, compression: str, form: list[str]) -> None:
    examined = verify(dumped(f"--compress={compression}", *form))
    assert examined.verdict.sentence() == "ok"
    assert examined.contents.tables == {"memories": 50, "notes": 7, "nothing": 0}
    assert examined.contents.format == "directory"
    assert examined.contents.database is None
    assert examined.bytes > 1000


def test_a_folder_of_an_older_server_is_counted_exactly(server16: EmbeddedServer, dumped: Dumped) -> None:
    name = f"folder16_{os.getpid()}"
    make_database(server16, name, {"alice": 30, "bob/work": 20})
    assert code(dumped(by=server16, of=name)) == "ok"


def test_a_folder_without_its_table_of_contents_is_no_dump(dumped: Dumped) -> None:
    folder = dumped()
    (folder / "toc.dat").unlink()
    assert code(folder) == "not_a_dump"


def _largest(folder: Path) -> Path:
    return max(folder.glob("[0-9]*.dat*"), key=lambda file: file.stat().st_size)


def _swap(one: Path, other: Path) -> None:
    between = one.with_name("between")
    one.rename(between)
    other.rename(one)
    between.rename(other)


def _replace_by_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _replace_by_link(path: Path) -> None:
    target = path.parent.parent / path.name
    path.rename(target)
    path.symlink_to(target)


def _smallest(folder: Path) -> Path:
    return min(folder.glob("[0-9]*.dat*"), key=lambda file: file.stat().st_size)


DAMAGES: dict[str, tuple[str, Callable[[Path], object]]] = {
    "data are missing": ("truncated", lambda folder: _largest(folder).unlink()),
    "data are empty": ("truncated", lambda folder: os.truncate(_largest(folder), 0)),
    "data were swapped": ("corrupt", lambda folder: _swap(_largest(folder), _smallest(folder))),
    "data are a pipe": ("corrupt", lambda folder: _replace_by_pipe(_largest(folder))),
    "data are a link": ("corrupt", lambda folder: _replace_by_link(_largest(folder))),
    "the contents are a link": ("corrupt", lambda folder: _replace_by_link(folder / "toc.dat")),
    "the contents are empty": ("truncated", lambda folder: os.truncate(folder / "toc.dat", 0)),
    "the contents have a tail": ("corrupt", lambda folder: (folder / "toc.dat").open("ab").write(b"\0")),
    "a folder in it": ("corrupt", lambda folder: (folder / "more").mkdir()),
    "a file more": ("corrupt", lambda folder: (folder / "9999.dat").write_bytes(b"\\.\n\n\n")),
    "data in two forms": ("corrupt", lambda folder: (folder / f"{_largest(folder).name}.gz").write_bytes(b"")),
    "a large object is missing": ("truncated", lambda folder: next(folder.glob("blob_*")).unlink()),
    "the list of large objects is noise": (
        "corrupt",
        lambda folder: next(folder.glob("blobs*.toc")).write_bytes(b"5 ../toc.dat\n"),
    ),
}


@pytest.mark.parametrize("what", DAMAGES)
def test_every_damage_of_a_folder_is_refused_with_its_code(dumped: Dumped, what: str) -> None:
    expected, damage = DAMAGES[what]
    folder = dumped("--compress=none")
    damage(folder)
    assert code(folder) == expected


@pytest.mark.parametrize("form", [[], ["--inserts"]])
@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_data_cut_at_any_byte_are_refused(dumped: Dumped, compression: str, form: list[str]) -> None:
    folder = dumped(f"--compress={compression}", *form)
    file = _largest(folder)
    whole = file.read_bytes()
    places = {*range(0, len(whole), len(whole) // 15 + 1), *range(len(whole) - 4, len(whole))}
    for length in sorted(places):
        file.write_bytes(whole[:length])
        assert code(folder) in ("truncated", "corrupt"), length


def test_inserts_cut_behind_a_statement_are_truncated(dumped: Dumped) -> None:
    """pg_restore takes what is left for the whole."""
    folder = dumped("--compress=none", "--inserts")
    file = _largest(folder)
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join(lines[:20]))
    assert code(folder) == "truncated"


@pytest.mark.parametrize("tail", [b"\0", b"\n", b"x"])
def test_bytes_behind_the_end_of_compressed_data_are_refused(dumped: Dumped, tail: bytes) -> None:
    """gzip programs, pg_restore among them, pass over them."""
    folder = dumped("--compress=gzip")
    with _largest(folder).open("ab") as file:
        file.write(tail)
    assert code(folder) == "corrupt"


def test_the_contents_cut_at_any_byte_are_refused(dumped: Dumped) -> None:
    folder = dumped()
    toc = folder / "toc.dat"
    whole = toc.read_bytes()
    for length in [*range(0, len(whole), len(whole) // 40), len(whole) - 1]:
        toc.write_bytes(whole[:length])
        assert code(folder) == ("not_a_dump" if 0 < length < 5 else "truncated"), length


def test_no_flipped_bit_of_the_contents_loses_a_memory_unseen(dumped: Dumped) -> None:
    folder = dumped("--inserts")
    toc = folder / "toc.dat"
    whole = toc.read_bytes()
    for place in range(0, len(whole), len(whole) // 40):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << place % 8
        toc.write_bytes(damaged)
        code(folder)  # ok only with the true counts


def test_the_data_of_another_dump_are_refused(dumped: Dumped, server: EmbeddedServer) -> None:
    other = f"other_{os.getpid()}"
    make_database(server, other, {"zoe": 3}, dimensions=3)
    folder, another = dumped("--compress=none"), dumped("--compress=none", of=other, name="another")
    shutil.copy(_largest(another), _largest(folder))
    assert code(folder) == "corrupt"
