"""Secrets as fingerprints: the same one is seen to be the same, and nothing else is."""

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mem0_assets.live.fingerprints import KEY_FILE, comparable, fingerprint_in

SECRET = "hunter2"


def test_one_secret_has_one_fingerprint_in_a_folder_and_another_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    first, again, elsewhere = (fingerprint_in(folder)(SECRET) for folder in (tmp_path, tmp_path, tmp_path / "other"))
    assert first == again
    assert first != elsewhere
    assert fingerprint_in(tmp_path)("hunter3") != first
    assert SECRET not in first


def test_nobody_else_may_read_the_key(tmp_path: Path) -> None:
    fingerprint_in(tmp_path)
    key = tmp_path / KEY_FILE
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert len(key.read_bytes()) == 32
    assert [path.name for path in tmp_path.iterdir()] == [KEY_FILE]


def test_fingerprints_of_two_keys_say_nothing_of_one_another(tmp_path: Path) -> None:
    before = fingerprint_in(tmp_path)(SECRET)
    (tmp_path / KEY_FILE).unlink()
    after = fingerprint_in(tmp_path)(SECRET)
    assert not comparable(before, after)
    assert comparable(before, fingerprint_in(tmp_path)("x")) is False
    assert comparable(after, fingerprint_in(tmp_path)("x"))


def test_a_torn_key_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / KEY_FILE).write_bytes(b"half")
    fingerprint_in(tmp_path)
    assert len((tmp_path / KEY_FILE).read_bytes()) == 32


def test_all_who_begin_at_once_go_on_with_one_key(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: fingerprint_in(tmp_path)(SECRET), range(16)))
    assert len(set(made)) == 1


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        fingerprint_in(tmp_path / "unmounted")
