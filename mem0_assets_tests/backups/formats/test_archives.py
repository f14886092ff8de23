"""pg_dump's own archives as pg_restore reads them: whole, damaged, from the future, without end."""

import gzip
import os
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from mem0_assets.backups.formats.container import open_dump
from mem0_assets.backups.formats.damage import DumpDamage
from mem0_assets.live.embedded import SUPERUSER, EmbeddedServer
from mem0_assets_tests.conftest import make_database


@pytest.fixture(scope="module")
def archive(server: EmbeddedServer) -> bytes:
    """A real archive of two namespaces in custom format."""
    database = f"archived_{os.getpid()}"
    make_database(server, database, {"alice": 30, "bob": 20})
    command = [str(server.programs / "pg_dump"), "-h", str(server.socket_folder), "-U", SUPERUSER, "-Fc", database]
    return subprocess.run(command, capture_output=True, check=True).stdout


def _sql_of(path: Path, pg_restore: Path | None, patience: float = 60) -> bytes:
    with open_dump(path, pg_restore=pg_restore, patience=patience) as dump:
        return b"".join(dump.blocks)


@pytest.mark.parametrize("wrap", [bytes, gzip.compress, zstandard.compress], ids=["as it is", "in gzip", "in zstd"])
def test_an_archive_reads_as_pg_restore_writes_it(
    server: EmbeddedServer, archive: bytes, tmp_path: Path, wrap: Callable[[bytes], bytes]
) -> None:
    pg_restore = server.programs / "pg_restore"
    (tmp_path / "dump").write_bytes(wrap(archive))
    expected = subprocess.run([pg_restore, "-f", "-"], input=archive, capture_output=True, check=True).stdout
    lines = [line for line in expected.splitlines() if b"restrict" not in line]  # a word of chance each time
    assert [line for line in _sql_of(tmp_path / "dump", pg_restore).splitlines() if b"restrict" not in line] == lines


def test_an_archive_cut_at_any_byte_is_truncated(server: EmbeddedServer, archive: bytes, tmp_path: Path) -> None:
    for length in [6, 40, *range(100, len(archive), len(archive) // 50), *range(len(archive) - 3, len(archive))]:
        (tmp_path / "dump").write_bytes(archive[:length])
        with pytest.raises(DumpDamage) as refused:
            _sql_of(tmp_path / "dump", server.programs / "pg_restore")
        assert refused.value.code == "truncated"


def test_what_pg_restore_says_against_an_archive_is_told(
    server: EmbeddedServer, archive: bytes, tmp_path: Path
) -> None:
    middle = len(archive) - 40
    (tmp_path / "dump").write_bytes(archive[:middle] + b"xxxx" + archive[middle + 4 :])
    with pytest.raises(DumpDamage, match="pg_restore: error: ") as refused:
        _sql_of(tmp_path / "dump", server.programs / "pg_restore")
    assert refused.value.code == "corrupt"


def test_damage_of_the_wrapping_comes_before_what_pg_restore_makes_of_it(
    server: EmbeddedServer, archive: bytes, tmp_path: Path
) -> None:
    (tmp_path / "dump").write_bytes(gzip.compress(archive)[:-1])
    with pytest.raises(DumpDamage) as refused:
        _sql_of(tmp_path / "dump", server.programs / "pg_restore")
    assert refused.value.code == "truncated"


def test_an_archive_from_the_future_asks_for_newer_programs(
    server: EmbeddedServer, archive: bytes, tmp_path: Path
) -> None:
    (tmp_path / "dump").write_bytes(archive[:6] + b"\xff" + archive[7:])
    with pytest.raises(DumpDamage, match="newer pg_dump") as refused:
        _sql_of(tmp_path / "dump", server.programs / "pg_restore")
    assert refused.value.code == "client_too_old"


@pytest.mark.parametrize("pg_restore", [None, Path("/nowhere/pg_restore")])
def test_without_pg_restore_an_archive_cannot_be_judged(
    archive: bytes, tmp_path: Path, pg_restore: Path | None
) -> None:
    (tmp_path / "dump").write_bytes(archive)
    with pytest.raises(DumpDamage) as refused:
        _sql_of(tmp_path / "dump", pg_restore)
    assert refused.value.code == "client_missing"


def test_a_pg_restore_that_gets_lost_is_given_up(server: EmbeddedServer, archive: bytes, tmp_path: Path) -> None:
    """Bytes after the end of a compressed table: pg_restore 18 tries to decompress them for ever."""
    end = b"\0\0\0\0\0"
    assert archive.endswith(end)
    (tmp_path / "dump").write_bytes(archive.removesuffix(end) + b"\0\x02\0\0\0" + b"xx" + end)
    with pytest.raises(DumpDamage, match="got lost") as refused:
        _sql_of(tmp_path / "dump", server.programs / "pg_restore", patience=0.5)
    assert refused.value.code == "corrupt"


def test_who_stops_reading_leaves_no_process_and_no_thread(
    server: EmbeddedServer, archive: bytes, tmp_path: Path
) -> None:
    script = tmp_path / "pg_restore"
    script.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/pid\nwhile echo '-- more'; do :; done\n")
    script.chmod(0o755)
    (tmp_path / "dump").write_bytes(archive)
    threads = threading.active_count()
    with open_dump(tmp_path / "dump", pg_restore=script) as dump:
        assert next(dump.blocks)
    assert threading.active_count() == threads
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_a_slow_reader_is_no_reason_to_give_pg_restore_up(
    server: EmbeddedServer, archive: bytes, tmp_path: Path
) -> None:
    (tmp_path / "dump").write_bytes(archive)
    with open_dump(tmp_path / "dump", pg_restore=server.programs / "pg_restore", patience=0.5) as dump:
        first = next(dump.blocks)
        time.sleep(0.7)
        text = first + b"".join(dump.blocks)
    assert b"-- PostgreSQL database dump complete" in text
