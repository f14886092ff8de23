"""The manifest: read back as it was written, or refused; never half believed."""

import json
from pathlib import Path
from typing import Any

import pytest

from mem0_assets.backups.manifest import MANIFEST, ManifestError, checksums, read_manifest
from mem0_assets_tests.forged import forge, forged_deployment

# As version 0.1.0 wrote it. A backup must be readable for as long as it is kept: this text is never changed.
OF_2026 = """{
  "format_version": 1, "backup": "20260103_133102", "deployment": "prd", "sequence": 3, "tiers": ["monthly", "daily"],
  "created_at": "2026-01-03T13:31:02.769196+00:00",
  "census": {"collection": "memories", "total": 65, "namespaces": {"alice": 40, "bob/work": 25},
    "identity": {"system_identifier": "7710484200214181540", "database": "mem0_prd", "database_oid": 16384,
      "table_oid": 16713, "dimensions": 1536, "server_version": "17.5", "pgvector_version": "0.8.0"},
    "taken_at": "2026-01-03T13:31:02.769196+00:00"},
  "tables": {"memories": 65}, "indexes": [{"name": "memories_pkey", "method": "btree"}],
  "format": "sql", "program": "pg_dump 17.5", "seconds": 1,
  "files": [{"path": "postgres/mem0_20260103_133102.sql.gz", "bytes": 11, "sha256": "f97d", "plain_bytes": 38}],
  "warnings": [], "made_by": "mem0-assets 0.1.0"
}"""


def _write(folder: Path, **changes: Any) -> Path:
    content = json.loads(OF_2026)
    for key, value in changes.items():
        place = content
        *parents, last = key.split("__")
        for parent in parents:
            place = place[parent]
        place[last] = value
    (folder / MANIFEST).write_text(json.dumps(content))
    return folder


def test_a_manifest_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    folder = forge(forged_deployment(tmp_path), "20260103_133102", 7, ["daily", "weekly"])
    manifest = read_manifest(folder)
    assert manifest.sequence == 7
    assert manifest.tiers == ("daily", "weekly")
    assert manifest.files[0].bytes == manifest.bytes
    (folder / MANIFEST).write_text(json.dumps(manifest.as_json()))
    assert read_manifest(folder) == manifest


def test_a_manifest_of_version_0_1_0_is_read_for_ever(tmp_path: Path) -> None:
    manifest = read_manifest(_write(tmp_path))
    assert manifest.census.total == 65
    assert manifest.census.identity.dimensions == 1536
    assert manifest.owner is None
    assert manifest.created_at.utcoffset() is not None


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"format_version": 2}, "format_version 2, not 1"),
        ({"sequence": "3"}, "sequence"),
        ({"sequence": None}, "sequence"),
        ({"tiers": []}, "no tier"),
        ({"tiers": ["yearly"]}, "tiers.0"),
        ({"created_at": "yesterday"}, "created_at"),
        ({"created_at": "2026-01-03T13:31:02"}, "without its offset"),
        ({"census__total": "many"}, "census.total"),
        ({"census__namespaces": {"alice": 1.5}}, "census.namespaces.alice"),
        ({"census__taken_at": "2026-01-03T13:31:02"}, "without its offset"),
        ({"census__identity": None}, "census.identity"),
        ({"census": []}, "census"),
        ({"tables": {"memories": None}}, "tables.memories"),
        ({"files": []}, "no file"),
        ({"files": [{"path": "dump.sql.gz"}]}, "files.0"),
        ({"files": [{"path": "/etc/passwd", "bytes": 1, "sha256": "", "plain_bytes": 1}]}, "outside of its folder"),
        ({"files": [{"path": "../x", "bytes": 1, "sha256": "", "plain_bytes": 1}]}, "outside of its folder"),
    ],
)
def test_a_manifest_that_makes_no_sense_is_damaged(tmp_path: Path, changes: dict[str, Any], why: str) -> None:
    with pytest.raises(ManifestError, match=why) as damaged:
        read_manifest(_write(tmp_path, **changes))
    assert damaged.value.code == "corrupt"


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe{}", b"[]", b"null", b"[" * 100_000, b'{"a": NaN'])
def test_a_file_that_is_no_manifest_is_damaged(tmp_path: Path, content: bytes) -> None:
    (tmp_path / MANIFEST).write_bytes(content)
    with pytest.raises(ManifestError, match=MANIFEST):
        read_manifest(tmp_path)


def test_every_cut_of_a_manifest_is_damaged(tmp_path: Path) -> None:
    for length in range(0, len(OF_2026) - 1, 7):
        (tmp_path / MANIFEST).write_text(OF_2026[:length])
        with pytest.raises(ManifestError):
            read_manifest(tmp_path)


def test_a_missing_manifest_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="is missing"):
        read_manifest(tmp_path)


def test_checksums_are_what_sha256sum_reads() -> None:
    assert checksums({"postgres/dump.sql.gz": "ab12"}) == "ab12  postgres/dump.sql.gz\n"
