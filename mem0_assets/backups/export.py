"""Memories into a file of JSON Lines that is there whole, or not at all."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mem0_assets.backups.files import HashedFile, plain_disk_errors, sync_folder
from mem0_assets.backups.formats.source import Progress
from mem0_assets.backups.lines import line_of
from mem0_assets.errors import ConfigurationError
from mem0_assets.live.memories import Memory


@dataclass(frozen=True)
class Exported:
    """A file that was written: how many memories are in it, its bytes and their sha256."""

    path: Path
    memories: int
    bytes: int
    sha256: str

    def as_json(self) -> dict[str, Any]:
        return {**vars(self), "path": str(self.path)}


def write_export(
    memories: Iterable[Memory], path: Path, *, vectors: bool, progress: Progress = lambda plain_bytes: None
) -> Exported:
    """Write a file that only its owner may read; one that is there already is replaced at the end, by a rename.

    Raises ConfigurationError where `path` is no place for a file, NoSpaceError, BackupsFolderError, and what reading the
    memories raises; then the file is as it was before.
    """
    target = path.resolve()
    if target.exists() and not target.is_file():
        raise ConfigurationError(f"{path} is no regular file", next_step="Name a file, or `-` for standard output")
    candidate = target.with_name(f".{target.name}.partial")
    number = 0
    with plain_disk_errors(target.parent):
        try:
            with HashedFile(candidate) as file:
                for number, memory in enumerate(memories, start=1):  # noqa: B007 - counted
                    file.put(line_of(memory, vectors=vectors))
                    progress(file.bytes)
            candidate.replace(target)
        finally:
            candidate.unlink(missing_ok=True)
        sync_folder(target.parent)
    return Exported(target, number, file.bytes, file.sha256)
