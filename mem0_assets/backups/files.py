"""Writing and moving files so that a kill at any instant leaves the old state or the new one."""

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from mem0_assets.errors import Mem0AssetsError, NoSpaceError

CHUNK = 1 << 20


class BackupsFolderError(Mem0AssetsError):
    """The backups' folder cannot be used: missing, read-only, not ours."""

    code = "backups_folder"
    exit_status = 3


@contextmanager
def plain_disk_errors(folder: Path) -> Iterator[None]:
    """The disk's errors as ours: full is `no_space`, anything else says what is wrong with the folder."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise NoSpaceError(
                f"the disk of {folder} is full", next_step="Free space there; no backup was lost"
            ) from None
        step = "Is the disk mounted, and may this user write there?"
        raise BackupsFolderError(f"cannot use {folder}: {error.strerror or error}", next_step=step) from None


def write_file(path: Path, content: str) -> None:
    """Write a small file whole, and make sure that it is on disk."""
    with open(path, "w", encoding="utf-8") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write one JSON object, indented for people, and make sure that it is on disk."""
    write_file(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def sync_folder(folder: Path) -> None:
    """Make sure that the folder's entries (new files, renames) are on disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def move(source: Path, target: Path) -> None:
    """Rename atomically within one disk, and make sure that the rename is on disk."""
    target.parent.mkdir(parents=True, exist_ok=True)
    source.rename(target)
    sync_folder(target.parent)
    sync_folder(source.parent)


def link_tree(source: Path, target: Path) -> None:
    """A second copy of a folder that shares its bytes: hard links, or real copies where the disk has no such links."""
    shutil.copytree(source, target, copy_function=_link_or_copy)
    for folder in [target, *(path for path in target.rglob("*") if path.is_dir())]:
        sync_folder(folder)


def remove_tree(folder: Path) -> None:
    """Remove a folder; what is already gone is as good."""
    with suppress(FileNotFoundError):
        shutil.rmtree(folder)


def sha256_of(path: Path) -> str:
    """The sha256 of a file, in hexadecimal, read in one stream."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EXDEV, errno.EMLINK, errno.ENOSYS):
            raise
        shutil.copy2(source, target)
        with open(target, "rb") as copy:
            os.fsync(copy.fileno())
