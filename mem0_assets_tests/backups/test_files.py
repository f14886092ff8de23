"""Files on disk: atomic, synced, linked, and honest about a disk that will not take them."""

import errno
import os
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from mem0_assets.backups.files import (
    BackupsFolderError,
    link_tree,
    make_folder,
    move,
    plain_disk_errors,
    remove_tree,
    wait_for_lock,
    write_file,
)
from mem0_assets.errors import BusyError, NoSpaceError


def test_a_full_disk_is_no_space_and_says_what_to_do() -> None:
    with pytest.raises(NoSpaceError) as refused, plain_disk_errors(Path("/backups/prd")):
        write_file(Path("/dev/full"), "one manifest")
    assert refused.value.code == "no_space"
    assert "no backup was lost" in refused.value.next_step


def test_a_folder_that_cannot_be_used_is_named_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BackupsFolderError) as refused, plain_disk_errors(tmp_path):
        (tmp_path / "file" / "daily").mkdir()
    assert refused.value.message == f"cannot use {tmp_path / 'file' / 'daily'}: Not a directory"
    assert refused.value.exit_status == 3


def test_other_errors_pass_as_they_are() -> None:
    with pytest.raises(ValueError, match="not of the disk"), plain_disk_errors(Path("/backups")):
        raise ValueError("not of the disk")


def test_a_rename_is_synced_in_both_folders_and_so_is_a_tiers_new_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "candidates" / "one").mkdir(parents=True)
    synced: list[Path] = []
    fsync = os.fsync

    def noted(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink())
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    move(tmp_path / "candidates" / "one", tmp_path / "monthly" / "one")
    assert synced == [tmp_path, tmp_path / "monthly", tmp_path / "candidates"]
    assert (tmp_path / "monthly" / "one").is_dir()


def test_folders_are_made_with_their_parents_and_again_without_harm(tmp_path: Path) -> None:
    for _ in range(2):
        make_folder(tmp_path / "a" / "b" / "c")
    assert (tmp_path / "a" / "b" / "c").is_dir()


def test_a_linked_copy_shares_every_byte(tmp_path: Path) -> None:
    (tmp_path / "one" / "postgres").mkdir(parents=True)
    (tmp_path / "one" / "postgres" / "dump").write_text("rows")
    (tmp_path / "one" / "manifest.json").write_text("{}")
    link_tree(tmp_path / "one", tmp_path / "two")
    for name in ("postgres/dump", "manifest.json"):
        assert (tmp_path / "two" / name).samefile(tmp_path / "one" / name)


def test_where_there_are_no_hard_links_a_copy_is_made(tmp_path: Path) -> None:
    other = Path("/dev/shm")
    if not other.is_dir() or other.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second disk to link across")
    (tmp_path / "one" / "postgres").mkdir(parents=True)
    (tmp_path / "one" / "postgres" / "dump").write_text("rows")
    target = other / f"mem0_assets_{os.getpid()}_{tmp_path.name}"
    try:
        link_tree(tmp_path / "one", target)
        assert (target / "postgres" / "dump").read_text() == "rows"
    finally:
        remove_tree(target)


def test_a_copy_that_cannot_be_made_says_so_with_the_disks_own_reason(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "dump").write_text("rows")
    (tmp_path / "two").mkdir()
    with pytest.raises(OSError, match="exists") as refused:
        link_tree(tmp_path / "one", tmp_path / "two")
    assert refused.value.errno == errno.EEXIST


def test_removing_what_is_not_there_is_as_good(tmp_path: Path) -> None:
    remove_tree(tmp_path / "nothing")


def test_a_tree_whose_files_vanish_meanwhile_is_removed_whole(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    files = [folder / str(number % 40) / str(number) for number in range(2000)]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()

    def unlink_all() -> None:
        for file in reversed(files):
            file.unlink(missing_ok=True)

    rival = threading.Thread(target=unlink_all)
    rival.start()
    remove_tree(folder)
    rival.join()
    assert not folder.exists()


def test_a_tree_into_which_somebody_still_writes_is_removed_when_he_ends(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()

    def write() -> None:
        with suppress(FileNotFoundError):
            for number in range(3000):
                (folder / str(number)).touch()

    rival = threading.Thread(target=write)
    rival.start()
    remove_tree(folder)
    rival.join()
    assert not folder.exists()


def test_a_lock_that_stays_held_is_busy_after_the_time_given(tmp_path: Path) -> None:
    with open(tmp_path / "lock", "w") as holder, open(tmp_path / "lock", "w") as waiter:
        wait_for_lock(holder, 0, "nobody")
        with pytest.raises(BusyError, match=r"another backup is at work for 0\.2 s") as busy:
            wait_for_lock(waiter, 0.2, "another backup is at work")
    assert busy.value.exit_status == 3
    assert busy.value.next_step
