"""A backup's files read back from disk, byte by byte, and compared with what its manifest claims; and any dump at all.

An exit code is taken for proof by every peer but one. Here nothing counts that was not read back: checksums, the whole
compressed stream to its trailer, every COPY block to its end mark, every table and namespace against the manifest.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mem0_assets.backups.files import plain_disk_errors, sha256_of
from mem0_assets.backups.formats.binary_reader import (
    files_of,
    is_binary_dump,
    is_part,
    read_binary,
    read_part,
    statement_of,
)
from mem0_assets.backups.formats.container import is_archive_folder, size_of
from mem0_assets.backups.formats.dump_format import FORMATS
from mem0_assets.backups.formats.sql_reader import NOTHING, DumpContents, Reading, read_sql_file
from mem0_assets.backups.inventory import legacy_dump
from mem0_assets.backups.manifest import (
    CHECKSUMS,
    MANIFEST,
    Application,
    BackupFile,
    Manifest,
    ManifestError,
    Store,
    read_manifest,
)
from mem0_assets.backups.roles import role_names
from mem0_assets.backups.roll import check_roll
from mem0_assets.errors import NotFoundError
from mem0_assets.live.history import HistoryDamagedError, HistoryMissingError, read_copy
from mem0_assets.verdicts import OK, Reason, Verdict, refused


@dataclass(frozen=True)
class Examination:
    """What a dump or a backup's folder turned out to hold, and whether it may be believed."""

    path: Path
    verdict: Verdict
    contents: DumpContents
    bytes: int

    def as_json(self) -> dict[str, Any]:
        contents = self.contents
        return {
            **self.verdict.as_json(),
            "path": str(self.path),
            "format": contents.format,
            "collection": contents.collection,
            "total": contents.total,
            "namespaces": contents.namespaces,
            "tables": contents.tables,
            "dimensions": contents.dimensions,
            "bytes": self.bytes,
        }


def verify(path: Path) -> Examination:
    """Judge a backup's folder, or any dump, ours or not, without a server. Raises NotFoundError, UnreachableError."""
    if path.is_dir() and not is_binary_dump(path) and not is_archive_folder(path):
        return verify_files(path)
    if not path.exists():
        raise NotFoundError(f"{path}: there is no such file or folder")
    return examine_dump(path)


def verify_files(folder: Path) -> Examination:
    """Read a backup's folder whole. With a manifest everything must equal it exactly; without one, only be a dump.

    Raises UnreachableError or BackupsFolderError where the disk does not give it: then nothing is known.
    """
    with plain_disk_errors(folder):
        return _read_back(folder)


def _read_back(folder: Path) -> Examination:
    if not (folder / MANIFEST).exists():
        dump = legacy_dump(folder)
        if dump is None:
            verdict = refused("not_a_dump", f"{folder} holds neither a {MANIFEST} nor a dump")
            return Examination(folder, verdict, NOTHING, 0)
        return replace(examine_dump(dump), path=folder)
    try:
        manifest = read_manifest(folder)
    except ManifestError as error:
        return Examination(folder, refused("corrupt", error.message), NOTHING, 0)
    lost = missing_bytes(folder, manifest)
    if not lost.ok:
        return Examination(folder, lost, NOTHING, manifest.bytes)
    memories = _read_store(folder, manifest, "postgres", collection=manifest.census.collection)
    verdict = judge_memories(memories.contents, manifest)
    seen = dict(memories.sha256)
    if manifest.application:
        application = _read_store(folder, manifest, "application", memories=False)
        verdict += compare_application(application.contents, manifest, manifest.application)
        seen |= application.sha256
    verdict += _read_history(folder, manifest) + _read_roles(folder, manifest) + _read_roll(folder, manifest)
    damage = _check_checksums(folder, manifest, seen) + _check_statements(folder, manifest)
    return Examination(folder, damage + verdict, memories.contents, manifest.bytes)


def _read_history(folder: Path, manifest: Manifest) -> Verdict:
    """`history_damaged`, or `count_mismatch` where the file does not hold what the manifest claims of it."""
    if manifest.history is None:
        return OK
    try:
        found = read_copy(folder / manifest.files_of("history")[0].path)
    except (HistoryMissingError, HistoryDamagedError) as error:
        return refused("history_damaged", error.message)
    if found != manifest.history.copy:
        claimed = manifest.history.copy
        text = f"the history holds {found.rows} events up to row {found.newest_row}"
        return refused("count_mismatch", f"{text}, not {claimed.rows} up to {claimed.newest_row}")
    return OK


def _read_roles(folder: Path, manifest: Manifest) -> Verdict:
    """`count_mismatch` where the file does not make exactly the roles that the manifest claims."""
    if manifest.roles is None:
        return OK
    text = (folder / manifest.files_of("roles")[0].path).read_text(encoding="utf-8", errors="surrogateescape")
    found = role_names(text)
    if found == manifest.roles:
        return OK
    return refused("count_mismatch", f"roles.sql makes {len(found)} roles, and not the {len(manifest.roles)} claimed")


def _read_roll(folder: Path, manifest: Manifest) -> Verdict:
    """`corrupt` or `truncated` where the file is not a roll of as many memories as the manifest claims."""
    if manifest.roll is None:
        return OK
    return check_roll(folder / manifest.files_of("roll")[0].path, manifest.census.total)


def _read_store(
    folder: Path, manifest: Manifest, store: Store, *, collection: str | None = None, memories: bool = True
) -> Reading:
    paths = [folder / file.path for file in manifest.files_of(store)]
    return FORMATS[manifest.format].read(paths, collection=collection, memories=memories)


def examine_dump(path: Path, *, collection: str | None = None) -> Examination:
    """Read one dump whole: a file, or the folder of a binary one or of pg_dump's directory format.

    Without a `collection` it is recognised by its columns id, vector and payload.
    Raises NotFoundError, and UnreachableError where the disk does not give it.
    """
    if is_binary_dump(path):
        files = files_of(path)
        contents = read_binary(files, collection=collection).contents
        return Examination(path, contents.verdict, contents, sum(map(size_of, files)))
    if is_part(path):
        contents = read_part(path, collection=collection)
    else:
        contents = read_sql_file(path, collection=collection).contents
    return Examination(path, contents.verdict, contents, size_of(path))


def judge_memories(contents: DumpContents, manifest: Manifest) -> Verdict:
    """Whether the dump of the memories' database is whole, and exactly what the manifest claims."""
    return _as_claimed(contents.verdict, manifest) + compare(contents, manifest)


def compare(contents: DumpContents, manifest: Manifest) -> Verdict:
    """`count_mismatch` and `wrong_content`: the dump must hold exactly what the manifest counted in its own snapshot."""
    census = manifest.census
    reasons = _differences("namespace", census.namespaces, contents.namespaces)
    reasons += _differences("table", manifest.tables, contents.tables)
    verdict = Verdict(tuple(reasons))
    if contents.total != census.total:
        text = f"the dump holds {contents.total} memories and the manifest counted {census.total}"
        verdict = refused("count_mismatch", text) + verdict
    if contents.dimensions != census.identity.dimensions:
        text = f"the dump's vectors have {contents.dimensions} dimensions, not {census.identity.dimensions}"
        verdict += refused("wrong_content", text)
    return verdict + _compare_bytes(contents, manifest.files_of("postgres"))


def compare_application(contents: DumpContents, manifest: Manifest, claimed: Application) -> Verdict:
    """The same for the application's database: every table, exactly."""
    reasons = Verdict(tuple(_differences("application's table", claimed.tables, contents.tables)))
    return contents.verdict + reasons + _compare_bytes(contents, manifest.files_of("application"))


def _compare_bytes(contents: DumpContents, files: Sequence[BackupFile]) -> Verdict:
    claimed = sum(file.plain_bytes for file in files)
    if contents.uncompressed_bytes == claimed:
        return OK
    return refused("corrupt", f"the dump unpacks to {contents.uncompressed_bytes} bytes, not {claimed}")


def missing_bytes(folder: Path, manifest: Manifest) -> Verdict:
    """`truncated` and its like from the files' sizes alone: what can be said before anything is read."""
    verdict = OK
    for file in manifest.files:
        verdict += _check_size(folder / file.path, file)
    return verdict


def _check_checksums(folder: Path, manifest: Manifest, seen: Mapping[Path, str]) -> Verdict:
    """`checksum_mismatch` for every file that is not the one that was written, as `sha256sum -c` would say it.

    `seen` are the checksums of files that were just read; the others are read now.
    """
    verdict = OK
    listed = {line.split("  ", 1)[1]: line.split("  ", 1)[0] for line in _lines(folder / CHECKSUMS) if "  " in line}
    for file in manifest.files:
        if listed.pop(file.path, None) != file.sha256:
            verdict += refused("checksum_mismatch", f"{CHECKSUMS} and the manifest disagree on {file.path}")
        verdict += check_sha256(folder, file.path, file.sha256, seen)
    for path, sha256 in listed.items():
        verdict += check_sha256(folder, path, sha256, seen)
    return verdict


def check_sha256(folder: Path, path: str, sha256: str, seen: Mapping[Path, str]) -> Verdict:
    """`checksum_mismatch` where a file is not the one that was written; it is read unless it is among the `seen`."""
    file = folder / path
    if file.is_file() and (seen.get(file) or sha256_of(file)) == sha256:
        return OK
    return refused("checksum_mismatch", f"{path} is not the file that was written: its sha256 differs")


def _check_statements(folder: Path, manifest: Manifest) -> Verdict:
    """`corrupt` where the manifest would load a file into another table than the one that its own label names, or as SQL.

    One flipped bit in the key makes a manifest forget a statement.
    """
    verdict = OK
    for file in manifest.files:
        own = statement_of(folder / file.path) if manifest.format == "binary" else None
        if own != file.statement:
            verdict += refused("corrupt", f"the manifest would load {file.path} by a statement that is not its own")
    return verdict


def _check_size(path: Path, file: BackupFile) -> Verdict:
    if not path.is_file() or path.is_symlink():
        return refused("truncated", f"{file.path} is missing, or is no regular file")
    size = path.stat().st_size
    if size < file.bytes:
        return refused("truncated", f"{file.path} has {size} bytes, not {file.bytes}")
    return OK if size == file.bytes else refused("corrupt", f"{file.path} has {size} bytes, not {file.bytes}")


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return []


def _as_claimed(verdict: Verdict, manifest: Manifest) -> Verdict:
    """Being empty is no damage where the manifest says so too: the fleet's limits judge that."""
    if manifest.census.total:
        return verdict
    return Verdict(tuple(reason for reason in verdict.reasons if reason.code != "empty"))


def _differences(what: str, claimed: Mapping[str, int], found: Mapping[str, int]) -> list[Reason]:
    names = [name for name in sorted(claimed.keys() | found.keys()) if claimed.get(name, 0) != found.get(name, 0)]
    return [
        Reason(
            "count_mismatch", f"the {what} {name} has {found.get(name, 0)} rows in the dump, not {claimed.get(name, 0)}"
        )
        for name in names
    ]
