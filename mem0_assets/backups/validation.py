"""A backup's files read back from disk, byte by byte, and compared with what its manifest claims; and any dump at all.

An exit code is taken for proof by every peer but one. Here nothing counts that was not read back: checksums, the whole
compressed stream to its trailer, every COPY block to its end mark, every table and namespace against the manifest.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mem0_assets.backups.files import plain_disk_errors, sha256_of
from mem0_assets.backups.formats.container import DumpDamage, open_dump
from mem0_assets.backups.formats.sql_reader import DumpContents, read_sql
from mem0_assets.backups.inventory import legacy_dump
from mem0_assets.backups.manifest import CHECKSUMS, MANIFEST, BackupFile, Manifest, ManifestError, read_manifest
from mem0_assets.errors import NotFoundError
from mem0_assets.live.programs import ClientMissingError, newest_program
from mem0_assets.verdicts import OK, Reason, Verdict, refused

# What is known of a file that could not even be opened as a dump.
NOTHING = DumpContents(
    format="sql",
    tables={},
    collection=None,
    total=0,
    namespaces={},
    dimensions=None,
    row_dimensions=(),
    complete=False,
    server_version=None,
    pg_dump_version=None,
    database=None,
    uncompressed_bytes=0,
    verdict=OK,
)


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
    """Judge a backup's folder, or any dump file, ours or not, without a server. Raises NotFoundError."""
    if path.is_dir():
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
    damage = _check_checksums(folder, manifest)
    examined = examine_dump(folder / manifest.dump.path, collection=manifest.census.collection)
    verdict = damage + _as_claimed(examined.verdict, manifest) + compare(examined.contents, manifest)
    return Examination(folder, verdict, examined.contents, manifest.bytes)


def examine_dump(path: Path, *, collection: str | None = None) -> Examination:
    """Read one dump file whole. Without a `collection` it is recognised by its columns id, vector and payload.

    Raises NotFoundError, and UnreachableError where the disk does not give it.
    """
    try:
        with open_dump(path, pg_restore=_pg_restore()) as dump:
            contents = read_sql(dump.blocks, collection=collection)
        if "archive" in dump.wrapping:
            contents = replace(contents, format="custom")
    except DumpDamage as damage:
        return Examination(path, Verdict((damage.reason,)), NOTHING, _size(path))
    return Examination(path, contents.verdict, contents, _size(path))


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
    if contents.uncompressed_bytes != manifest.dump.plain_bytes:
        text = f"the dump holds {contents.uncompressed_bytes} bytes of SQL, not {manifest.dump.plain_bytes}"
        verdict += refused("corrupt", text)
    return verdict


def dump_of(folder: Path) -> Path:
    """The dump of the memories' database in a backup's folder. Raises NotFoundError."""
    if (folder / MANIFEST).exists():
        return folder / read_manifest(folder).dump.path
    dump = legacy_dump(folder)
    if dump is None:
        raise NotFoundError(f"{folder} holds no dump")
    return dump


def plain_blocks(dump: Path) -> Iterator[bytes]:
    """The SQL text of a dump, whatever it is wrapped in. Raises DumpDamage."""
    with open_dump(dump, pg_restore=_pg_restore()) as opened:
        yield from opened.blocks


def missing_bytes(folder: Path, manifest: Manifest) -> Verdict:
    """`truncated` and its like from the files' sizes alone: what can be said before anything is read."""
    verdict = OK
    for file in manifest.files:
        verdict += _check_size(folder / file.path, file)
    return verdict


def _check_checksums(folder: Path, manifest: Manifest) -> Verdict:
    """`checksum_mismatch` for every file that is not the one that was written, as `sha256sum -c` would say it."""
    verdict = OK
    listed = {line.split("  ", 1)[1]: line.split("  ", 1)[0] for line in _lines(folder / CHECKSUMS) if "  " in line}
    for file in manifest.files:
        if listed.pop(file.path, None) != file.sha256:
            verdict += refused("checksum_mismatch", f"{CHECKSUMS} and the manifest disagree on {file.path}")
        verdict += _check_sha256(folder, file.path, file.sha256)
    for path, sha256 in listed.items():
        verdict += _check_sha256(folder, path, sha256)
    return verdict


def _check_sha256(folder: Path, path: str, sha256: str) -> Verdict:
    if (folder / path).is_file() and sha256_of(folder / path) == sha256:
        return OK
    return refused("checksum_mismatch", f"{path} is not the file that was written: its sha256 differs")


def _check_size(path: Path, file: BackupFile) -> Verdict:
    if not path.is_file() or path.is_symlink():
        return refused("truncated", f"{file.path} is missing, or is no regular file")
    size = path.stat().st_size
    if size < file.bytes:
        return refused("truncated", f"{file.path} has {size} bytes, not {file.bytes}")
    return OK if size == file.bytes else refused("corrupt", f"{file.path} has {size} bytes, not {file.bytes}")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


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


def _pg_restore() -> Path | None:
    try:
        return newest_program("pg_restore").path
    except ClientMissingError:
        return None
