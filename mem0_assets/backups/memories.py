"""The single memories of a backup, or of any dump, read from its files without a server and with flat memory.

Each is given as it is met; whether all of them may be believed is known at the end of the last file. So whoever writes
them anywhere does it in one transaction, or into a file that is renamed at the end: damage is raised before that.
"""

from collections.abc import Generator, Iterator
from pathlib import Path

from mem0_assets.backups.formats.binary_reader import files_of, is_binary_dump
from mem0_assets.backups.formats.damage import DumpDamage, damage
from mem0_assets.backups.formats.dump_format import FORMATS
from mem0_assets.backups.formats.sql_reader import Reading
from mem0_assets.backups.inventory import Backup, legacy_dump
from mem0_assets.backups.manifest import Manifest
from mem0_assets.backups.validation import check_sha256, examine_dump, judge_memories, missing_bytes
from mem0_assets.live.memories import ALL, Memory, Selection
from mem0_assets.verdicts import Verdict


def read_memories(backup: Backup, selection: Selection = ALL) -> Iterator[Memory]:
    """The memories of a backup that the `selection` takes, in the order of its files.

    Every file of the memories is read whole whatever is selected, and must be what the manifest says: its checksum, its
    rows, each namespace. Raises DumpDamage, at the end at the latest; UnreachableError, NotFoundError, OSError.
    """
    if backup.manifest is None:
        dump = legacy_dump(backup.path)
        if dump is None:
            raise damage("not_a_dump", f"{backup.path} holds neither a manifest nor a dump")
        yield from read_dump(dump, selection)
    else:
        yield from _read_claimed(backup.path, backup.manifest, selection)


def read_dump(path: Path, selection: Selection = ALL, *, collection: str | None = None) -> Iterator[Memory]:
    """The memories of any dump, ours or not, which is read twice: first whole, to see which table holds them.

    Without a `collection` it is recognised by its columns id, vector and payload. A damaged dump gives none. Raises
    DumpDamage, UnreachableError, NotFoundError.
    """
    contents = examine_dump(path, collection=collection).contents
    _raise_unless_whole(contents.verdict)
    assert contents.collection is not None
    binary = is_binary_dump(path)
    walk = FORMATS["binary" if binary else "sql"].walk(
        files_of(path) if binary else [path], collection=contents.collection, selection=selection
    )
    reading = yield from walk
    _raise_unless_whole(reading.contents.verdict)


def _read_claimed(folder: Path, manifest: Manifest, selection: Selection) -> Generator[Memory, None, None]:
    _raise_first(missing_bytes(folder, manifest))
    files = manifest.files_of("postgres")
    paths = [folder / file.path for file in files]
    collection = manifest.census.collection
    reading: Reading = yield from FORMATS[manifest.format].walk(paths, collection=collection, selection=selection)
    verdict = judge_memories(reading.contents, manifest)
    _raise_first(verdict)
    for file in files:
        _raise_first(check_sha256(folder, file.path, file.sha256, reading.sha256))


def _raise_unless_whole(verdict: Verdict) -> None:
    """A dump that is whole and holds no memory is no damage here: it gives none."""
    _raise_first(Verdict(tuple(reason for reason in verdict.reasons if reason.code != "empty")))


def _raise_first(verdict: Verdict) -> None:
    for reason in verdict.reasons:
        raise DumpDamage(reason)
