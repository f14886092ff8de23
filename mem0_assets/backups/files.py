"""Writing and moving files so that a kill at any instant leaves the old state or the new one."""

import errno
import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Self

from mem0_assets.errors import BusyError, Mem0AssetsError, NoSpaceError

CHUNK = 1 << 20
STILL_WRITING_SECONDS = 10.0


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
        place = error.filename or folder
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise NoSpaceError(
                f"the disk of {place} is full", next_step="Free space there; no backup was lost"
            ) from None
        step = "Is the disk mounted, and may this user write there?"
        raise BackupsFolderError(f"cannot use {place}: {error.strerror or error}", next_step=step) from None


class HashedFile:
    """A file being written: what went into it is counted and hashed, and at the end it is on disk.

    Nobody else may read it: a dump holds memories, and the application's holds keys, some of them in clear.
    """

    def __init__(self, path: Path) -> None:
        self._file = open(path, "wb", opener=_private)  # noqa: SIM115 - closed in __exit__
        self._digest = hashlib.sha256()
        self.bytes = 0

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    def put(self, data: bytes) -> None:
        self._file.write(data)
        self._digest.update(data)
        self.bytes += len(data)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        with self._file:
            if error is None:
                self._file.flush()
                os.fsync(self._file.fileno())
                _forget(self._file)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _forget(file: IO[bytes]) -> None:
    """Drop the written bytes from the page cache: reading them back must ask the disk, not the memory."""
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


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


def make_folder(folder: Path) -> None:
    """Make a folder where there is none, its parents too, and make sure that they are on disk."""
    if not folder.is_dir():
        make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        sync_folder(folder.parent)


def move(source: Path, target: Path) -> None:
    """Rename atomically within one disk, and make sure that the rename is on disk."""
    make_folder(target.parent)
    source.rename(target)
    sync_folder(target.parent)
    sync_folder(source.parent)


def link_tree(source: Path, target: Path) -> None:
    """A second copy of a folder that shares its bytes: hard links, or real copies where the disk has no such links."""
    target.mkdir()
    for entry in sorted(source.iterdir()):
        if entry.is_dir():
            link_tree(entry, target / entry.name)
        else:
            _link_or_copy(entry, target / entry.name)
    sync_folder(target)


def remove_tree(folder: Path) -> None:
    """Remove a folder; what is already gone is as good. A server that is just ending may still take and add files."""
    until = time.monotonic() + STILL_WRITING_SECONDS
    while folder.exists():
        try:
            shutil.rmtree(folder)
        except FileNotFoundError:
            continue
        except OSError as error:
            if error.errno != errno.ENOTEMPTY or time.monotonic() > until:
                raise


def wait_for_lock(lock: IO[str], seconds: float, busy: str) -> None:
    """Hold an open file's lock alone. Raises BusyError, which says `busy`, when another has held it for `seconds`."""
    until = time.monotonic() + seconds
    while True:
        try:
            return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > until:
                step = "Wait for it, or look for a process that hangs"
                raise BusyError(f"{busy} for {seconds:g} s", next_step=step) from None
            time.sleep(0.1)


def sha256_of(path: Path) -> str:
    """The sha256 of a file, in hexadecimal, read in one stream."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        target.hardlink_to(source)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EXDEV, errno.EMLINK, errno.ENOSYS):
            raise
        shutil.copy2(source, target)
        with open(target, "rb") as copy:
            os.fsync(copy.fileno())
