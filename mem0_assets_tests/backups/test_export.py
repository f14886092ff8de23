"""A file of memories is there whole, readable by its owner alone, or it is not there."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest

from mem0_assets.backups.export import write_export
from mem0_assets.backups.formats.damage import DumpDamage, damage
from mem0_assets.backups.lines import line_of, read_lines
from mem0_assets.errors import ConfigurationError, NoSpaceError
from mem0_assets.live.memories import Memory
from mem0_assets_tests.small_disk import small_disk


def _memories(count: int, size: int = 10) -> Iterator[Memory]:
    return (Memory(UUID(int=number), "alice", f'{{"data": "{"x" * size}"}}', None) for number in range(count))


def _damaged() -> Iterator[Memory]:
    yield from _memories(3)
    raise damage("truncated", "the dump ends here")


def test_the_file_holds_every_memory_and_is_the_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "alice.jsonl"
    written = write_export(_memories(3), path, vectors=False)
    content = path.read_bytes()
    assert content == b"".join(line_of(memory, vectors=False) for memory in _memories(3))
    assert (written.memories, written.bytes, written.path) == (3, len(content), path)
    assert written.sha256 == hashlib.sha256(content).hexdigest()
    assert path.stat().st_mode & 0o777 == 0o600
    assert os.listdir(tmp_path) == ["alice.jsonl"]


def test_no_memory_is_an_empty_file(tmp_path: Path) -> None:
    assert write_export(_memories(0), tmp_path / "none.jsonl", vectors=True).memories == 0
    assert (tmp_path / "none.jsonl").read_bytes() == b""


def test_damage_in_the_middle_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "alice.jsonl"
    with pytest.raises(DumpDamage):
        write_export(_damaged(), path, vectors=False)
    assert not os.listdir(tmp_path)
    write_export(_memories(2), path, vectors=False)
    with pytest.raises(DumpDamage):
        write_export(_damaged(), path, vectors=False)
    assert os.listdir(tmp_path) == ["alice.jsonl"]
    assert len(list(read_lines(path.read_bytes().splitlines()))) == 2


def test_what_a_killed_export_left_is_no_hindrance(tmp_path: Path) -> None:
    (tmp_path / ".alice.jsonl.partial").write_bytes(b"half a li")
    write_export(_memories(2), tmp_path / "alice.jsonl", vectors=False)
    assert os.listdir(tmp_path) == ["alice.jsonl"]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "alice.jsonl").symlink_to(tmp_path / "elsewhere" / "real.jsonl")
    write_export(_memories(2), tmp_path / "alice.jsonl", vectors=False)
    assert (tmp_path / "alice.jsonl").is_symlink()
    assert (tmp_path / "elsewhere" / "real.jsonl").read_bytes().count(b"\n") == 2


@pytest.mark.parametrize("path", ["/dev/null", "/"])
def test_what_is_no_file_is_never_replaced(path: str) -> None:
    with pytest.raises(ConfigurationError, match="no regular file"):
        write_export(_memories(1), Path(path), vectors=False)
    assert Path(path).exists()


def test_a_full_disk_is_said_and_leaves_nothing(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "1m") as disk:
        with pytest.raises(NoSpaceError):
            write_export(_memories(1_000, 10_000), disk / "alice.jsonl", vectors=False)
        assert not os.listdir(disk)
