"""mem0's history.db replaced by the backup's, in step with the databases, and back again.

SQLite finds the journal of a crashed writer by the file's name, and rolls it back into whatever lies under it. So a journal
goes away with the file that it belongs to, before another file takes the name. Every step may be repeated: a kill between
two of them is finished by whoever comes next.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from mem0_assets.backups.files import plain_disk_errors, sync_folder
from mem0_assets.errors import RefusedError

# What SQLite keeps beside a database: the journal of a transaction, or the log and its index.
BESIDE = ("-journal", "-wal", "-shm")
MODE = 0o644


def prepared(history: Path, restore: str) -> Path:
    """Where the backup's history waits for its place."""
    return history.with_name(f"{history.name}.restored_{restore}")


def kept(history: Path, restore: str) -> Path:
    """What the history that was replaced is called."""
    return history.with_name(f"{history.name}.replaced_{restore}")


def prepare(copy: Path, history: Path, restore: str) -> None:
    """Lay the backup's copy beside the live history, with its owner and mode.

    Raises NoSpaceError, BackupsFolderError, and RefusedError where it cannot be given to who writes to the live one.
    """
    target = prepared(history, restore)
    with plain_disk_errors(history.parent):
        state = (history if history.exists() else history.parent).stat()
        _require_giving(history, state.st_uid)
        shutil.copyfile(copy, target)
        os.chmod(target, state.st_mode & 0o777 if history.exists() else MODE)
        if os.geteuid() == 0:
            os.chown(target, state.st_uid, state.st_gid)
        with open(target, "rb") as file:
            os.fsync(file.fileno())
        sync_folder(history.parent)


def place(history: Path, restore: str) -> None:
    """Put the prepared history in its place, and keep the one that was there. Does nothing where that was done."""
    coming, going = prepared(history, restore), kept(history, restore)
    if coming.exists():
        if not history.exists() and not going.exists():
            _clear_journal(history, going)
        _exchange(history, coming=coming, going=going)


def put_back(history: Path, restore: str) -> None:
    """The same, the other way: the kept one back in its place; where there was none, none."""
    if kept(history, restore).exists():
        _exchange(history, coming=kept(history, restore), going=prepared(history, restore))
    elif history.exists() and not prepared(history, restore).exists():
        with plain_disk_errors(history.parent):
            _move_with_journal(history, prepared(history, restore))


def remove(history: Path, restore: str) -> None:
    """Remove what lies aside of a restore, and was never in its place or is wanted no more."""
    with plain_disk_errors(history.parent):
        for path in aside(history, restore):
            path.unlink(missing_ok=True)


def aside(history: Path, restore: str) -> Iterator[Path]:
    """The files of a restore that lie beside the live history."""
    for path in (prepared(history, restore), kept(history, restore)):
        for ending in ("", *BESIDE):
            if (found := path.with_name(path.name + ending)).exists():
                yield found


def _require_giving(history: Path, owner: int) -> None:
    """mem0 stores memories without any history where it may not write to the file; root may always."""
    if os.geteuid() not in (0, owner) and owner != 0:
        raise RefusedError(
            f"{history} belongs to the user {owner}, and only root can give it back to them",
            next_step="Run the restore as root, or as that user",
        )


def _exchange(history: Path, *, coming: Path, going: Path) -> None:
    with plain_disk_errors(history.parent):
        if history.exists() and not going.exists():
            _move_with_journal(history, going)
        _move_with_journal(coming, history)


def _clear_journal(history: Path, going: Path) -> None:
    """The journal of a history that is gone: SQLite would roll it back into the one that comes, which has none."""
    with plain_disk_errors(history.parent):
        for ending in BESIDE:
            with suppress(FileNotFoundError):
                history.with_name(history.name + ending).rename(going.with_name(going.name + ending))


def _move_with_journal(source: Path, target: Path) -> None:
    """The journal first: where only the file was moved, it would be read as if nothing had to be rolled back."""
    for ending in BESIDE:
        with suppress(FileNotFoundError):
            source.with_name(source.name + ending).rename(target.with_name(target.name + ending))
    source.rename(target)
    sync_folder(target.parent)
