"""Reading a backup back: every lie between what is on disk and what is claimed has its code."""

import gzip
import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from mem0_assets.backups.files import sha256_of
from mem0_assets.backups.manifest import CHECKSUMS, MANIFEST, RESTORE, BackupFile, Manifest, read_manifest
from mem0_assets.backups.validation import examine_dump, verify, verify_files
from mem0_assets.errors import NotFoundError
from mem0_assets_tests.binary_dump import forge_binary
from mem0_assets_tests.forged import IDENTITY, claim, dump_text, forge, forge_legacy, forged_deployment, seal


@pytest.fixture
def backup(tmp_path: Path) -> Path:
    return forge(forged_deployment(tmp_path), "20260103_023000", 1)


Damage = Callable[[Path, Path, Manifest], object]


def _redump(folder: Path, manifest: Manifest, text: bytes) -> None:
    """Replace the dump by another, and vouch for it in all ways but the counts."""
    path = folder / manifest.files[0].path
    path.write_bytes(gzip.compress(text, 1, mtime=0))
    file = BackupFile(manifest.files[0].path, path.stat().st_size, sha256_of(path), len(text))
    seal(folder, replace(manifest, files=(file,)))


def _replace_by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _replace_by_link(path: Path, target: Path) -> None:
    path.rename(target)
    path.symlink_to(target)


def _flip(path: Path, at: int) -> None:
    with open(path, "r+b") as file:
        file.seek(at)
        byte = file.read(1)[0] ^ 0x10
        file.seek(at)
        file.write(bytes([byte]))


DAMAGES: dict[str, tuple[str, Damage]] = {
    "the dump is gone": ("truncated", lambda folder, dump, manifest: dump.unlink()),
    "the dump is empty": ("truncated", lambda folder, dump, manifest: os.truncate(dump, 0)),
    "the dump was cut": ("truncated", lambda folder, dump, manifest: os.truncate(dump, manifest.files[0].bytes - 1)),
    "the dump is a folder": ("truncated", lambda folder, dump, manifest: _replace_by_folder(dump)),
    "the dump is a link": (
        "truncated",
        lambda folder, dump, manifest: _replace_by_link(dump, folder / "elsewhere"),
    ),
    "something was appended": ("corrupt", lambda folder, dump, manifest: dump.open("ab").write(b"\0")),
    "one bit flipped": ("checksum_mismatch", lambda folder, dump, manifest: _flip(dump, manifest.files[0].bytes // 2)),
    "the checksums are gone": ("checksum_mismatch", lambda folder, dump, manifest: (folder / CHECKSUMS).unlink()),
    "the checksums are others": (
        "checksum_mismatch",
        lambda folder, dump, manifest: (folder / CHECKSUMS).write_text(f"{'0' * 64}  {manifest.files[0].path}\n"),
    ),
    "the instructions were edited": (
        "checksum_mismatch",
        lambda folder, dump, manifest: (folder / RESTORE).write_text("dropdb mem0_prd"),
    ),
    "the instructions are gone": ("checksum_mismatch", lambda folder, dump, manifest: (folder / RESTORE).unlink()),
    "the manifest was cut": ("corrupt", lambda folder, dump, manifest: os.truncate(folder / MANIFEST, 100)),
    "one memory more is claimed": ("count_mismatch", lambda folder, dump, manifest: claim(folder, manifest, total=78)),
    "another namespace is claimed": (
        "count_mismatch",
        lambda folder, dump, manifest: claim(folder, manifest, namespaces={"alice": 77}),
    ),
    "a table is claimed that is not there": (
        "count_mismatch",
        lambda folder, dump, manifest: claim(folder, manifest, tables={"memories": 77, "messages": 3}),
    ),
    "a table is not claimed": ("count_mismatch", lambda folder, dump, manifest: claim(folder, manifest, tables={})),
    "other dimensions are claimed": (
        "wrong_content",
        lambda folder, dump, manifest: claim(folder, manifest, identity=replace(IDENTITY, dimensions=4)),
    ),
    "other bytes of SQL are claimed": (
        "corrupt",
        lambda folder, dump, manifest: claim(folder, manifest, files=(replace(manifest.files[0], plain_bytes=7),)),
    ),
    "the dump is another one, one memory short": (
        "count_mismatch",
        lambda folder, dump, manifest: _redump(folder, manifest, dump_text({"alice": 40, "bob/work": 25, "carol": 11})),
    ),
    "the dump is a whole one of nothing": (
        "count_mismatch",
        lambda folder, dump, manifest: _redump(folder, manifest, dump_text({})),
    ),
    "the dump ends in the middle": (
        "truncated",
        lambda folder, dump, manifest: _redump(folder, manifest, dump_text()[:-60]),
    ),
    "the dump is an error message": (
        "not_a_dump",
        lambda folder, dump, manifest: _redump(folder, manifest, b"the input device is not a terminal\n"),
    ),
    "the dump's collection has another name": (
        "wrong_content",
        lambda folder, dump, manifest: _redump(
            folder, manifest, dump_text().replace(b"public.memories", b"public.mem0")
        ),
    ),
}


def test_a_whole_backup_is_verified_and_says_what_it_holds(backup: Path) -> None:
    examined = verify(backup)
    assert examined.verdict.ok
    content = examined.as_json()
    assert content["verdict"] == "ok"
    assert content["total"] == 77
    assert content["tables"] == {"memories": 77}
    assert content["collection"] == "memories"
    assert content["bytes"] == read_manifest(backup).bytes


@pytest.mark.parametrize("what", DAMAGES)
def test_every_damage_is_refused_with_its_code(backup: Path, what: str) -> None:
    code, damage = DAMAGES[what]
    manifest = read_manifest(backup)
    damage(backup, backup / manifest.files[0].path, manifest)
    examined = verify_files(backup)
    assert code in examined.verdict.codes
    assert examined.as_json()["verdict"] == "refused"


def test_every_flipped_bit_of_the_dump_is_seen(backup: Path) -> None:
    manifest = read_manifest(backup)
    dump = backup / manifest.files[0].path
    for at in range(0, manifest.files[0].bytes, 97):
        _flip(dump, at)
        assert not verify_files(backup).verdict.ok, f"byte {at}"
        _flip(dump, at)
    assert verify_files(backup).verdict.ok


BINARY_DAMAGES: dict[str, tuple[str, Damage]] = {
    "a file of rows is gone": ("truncated", lambda folder, dump, manifest: dump.unlink()),
    "a file of rows was cut": ("truncated", lambda folder, dump, manifest: os.truncate(dump, dump.stat().st_size - 1)),
    "something was appended": ("corrupt", lambda folder, dump, manifest: dump.open("ab").write(b"\0")),
    "one bit of the label flipped": ("checksum_mismatch", lambda folder, dump, manifest: _flip(dump, 50)),
    "one bit of the rows flipped": (
        "checksum_mismatch",
        lambda folder, dump, manifest: _flip(dump, dump.stat().st_size - 99),
    ),
    "two files changed places": (
        "truncated",
        lambda folder, dump, manifest: (
            dump.rename(folder / "aside"),
            (folder / manifest.files[2].path).rename(dump),
            (folder / "aside").rename(folder / manifest.files[2].path),
        ),
    ),
    "the manifest names one file less": (
        "truncated",
        lambda folder, dump, manifest: claim(folder, manifest, files=(*manifest.files[:1], *manifest.files[2:])),
    ),
    "the manifest would load rows into another table": (
        "corrupt",
        lambda folder, dump, manifest: _load_by(folder, manifest, "COPY other FROM STDIN (FORMAT binary)"),
    ),
    "the manifest would load rows as SQL": ("corrupt", lambda folder, dump, manifest: _load_by(folder, manifest, None)),
    "the manifest calls it SQL": ("corrupt", lambda folder, dump, manifest: claim(folder, manifest, format="sql")),
    "one memory more is claimed": ("count_mismatch", lambda folder, dump, manifest: claim(folder, manifest, total=78)),
}


def _load_by(folder: Path, manifest: Manifest, statement: str | None) -> None:
    schema, rows, *others = manifest.files
    claim(folder, manifest, files=(schema, replace(rows, statement=statement), *others))


@pytest.mark.parametrize("what", BINARY_DAMAGES)
def test_every_damage_of_a_binary_backup_is_refused_with_its_code(tmp_path: Path, what: str) -> None:
    code, damage = BINARY_DAMAGES[what]
    folder = forge_binary(forged_deployment(tmp_path), "20260103_023000", 1)
    manifest = read_manifest(folder)
    assert verify(folder).verdict.ok
    damage(folder, folder / manifest.files[1].path, manifest)
    assert code in verify(folder).verdict.codes


def test_a_flipped_bit_that_makes_a_manifest_forget_a_statement_is_seen(tmp_path: Path) -> None:
    folder = forge_binary(forged_deployment(tmp_path), "20260103_023000", 1)
    text = (folder / MANIFEST).read_text()
    (folder / MANIFEST).write_text(text.replace('"statement": "COPY', '"statemenu": "COPY', 1))
    assert verify(folder).verdict.codes == ["corrupt"]


def test_a_binary_dump_is_verified_as_a_backup_as_a_folder_and_file_by_file(tmp_path: Path) -> None:
    folder = forge_binary(forged_deployment(tmp_path), "20260103_023000", 1)
    whole, dump = verify(folder), verify(folder / "postgres")
    assert (whole.verdict.ok, dump.verdict.ok) == (True, True)
    assert (whole.contents, whole.bytes) == (dump.contents, dump.bytes)
    parts = [verify(path) for path in sorted((folder / "postgres" / "data").iterdir())]
    assert [(part.verdict.ok, part.contents.total) for part in parts] == [(True, 50), (True, 27)]
    schema = verify(folder / "postgres" / "pre-data.sql.zst")
    assert (schema.verdict.codes, schema.contents.tables) == (["empty"], {"memories": 0})


def test_what_verify_says_is_what_sha256sum_says(backup: Path) -> None:
    def sha256sum() -> int:
        return subprocess.run(["sha256sum", "-c", CHECKSUMS], cwd=backup, capture_output=True, check=False).returncode

    assert sha256sum() == 0
    with open(backup / RESTORE, "a") as file:
        file.write("and then drop the live database\n")
    assert sha256sum() != 0
    assert verify(backup).verdict.codes == ["checksum_mismatch"]


def test_an_empty_backup_whose_manifest_says_so_is_whole(tmp_path: Path) -> None:
    """Whether it may be empty is for the fleet's limits to say."""
    folder = forge(forged_deployment(tmp_path), "20260103_023000", 1, namespaces={})
    examined = verify(folder)
    assert examined.verdict.ok
    assert examined.contents.total == 0


def test_a_folder_of_before_this_project_is_read_like_its_dump(tmp_path: Path) -> None:
    deployment = forged_deployment(tmp_path)
    folder = forge_legacy(deployment, "20260103_023000", gzip.compress(dump_text()))
    assert verify(folder).contents.namespaces == {"alice": 40, "bob/work": 25, "carol": 12}
    assert verify(folder).path == folder
    shutil.rmtree(folder / "postgres")
    assert verify(folder).verdict.codes == ["not_a_dump"]


def test_any_dump_file_can_be_verified_and_a_missing_one_is_not_found(tmp_path: Path) -> None:
    (tmp_path / "memories.sql").write_bytes(dump_text())
    assert verify(tmp_path / "memories.sql").verdict.ok
    (tmp_path / "empty.sql.gz").write_bytes(gzip.compress(b""))
    assert verify(tmp_path / "empty.sql.gz").verdict.codes == ["not_a_dump"]
    for missing in (verify, examine_dump):
        with pytest.raises(NotFoundError):
            missing(tmp_path / "nothing.sql.gz")
