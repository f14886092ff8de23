"""One folder of a backup read into a value, whoever wrote it and whatever became of it."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from mem0_assets.backups.inventory import dated_folders, legacy_dump, read_backup, stamp
from mem0_assets.backups.journal import Event
from mem0_assets_tests.forged import dump_text, forge, forge_legacy, forged_deployment


def test_our_own_backup_says_all_that_its_manifest_says(tmp_path: Path) -> None:
    folder = forge(forged_deployment(tmp_path), "20260103_023000", 5, ("daily",))
    backup = read_backup(folder, None)
    assert backup.as_json() == {
        "backup": "20260103_023000",
        "tiers": [],  # which tiers hold it is for the catalog to say
        "state": "verified",
        "total": 77,
        "bytes": backup.bytes,
        "created_at": "2026-01-03T02:30:00+00:00",
        "drilled_at": None,
        "path": str(folder),
        "reasons": [],
    }
    assert backup.bytes == (folder / "postgres" / "mem0_20260103_023000.sql.gz").stat().st_size


def test_only_folders_named_after_a_second_are_backups(tmp_path: Path) -> None:
    for name in ("20260103_023000", "latest", "20260103", "20260103_023000.daily.expired", "drill_x"):
        (tmp_path / name).mkdir()
    (tmp_path / "20260104_023000").touch()
    assert [path.name for path in dated_folders(tmp_path)] == ["20260103_023000"]
    assert dated_folders(tmp_path / "nothing") == []


@pytest.mark.parametrize(
    "name", ["postgres/mem0.sql.gz", "postgres/mem0.sql.zst", "mem0.sql.gz", "backup.sql", "postgres/mem0.dump"]
)
def test_the_dump_of_an_old_folder_is_found_where_scripts_put_it(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).touch()
    (tmp_path / "backup_info.txt").touch()
    assert legacy_dump(tmp_path) == tmp_path / name


def test_a_link_to_nowhere_is_no_dump(tmp_path: Path) -> None:
    folder = tmp_path / "20260103_023000"
    folder.mkdir()
    (folder / "latest.sql.gz").symlink_to(tmp_path / "gone.sql.gz")
    assert legacy_dump(folder) is None
    assert [reason.code for reason in read_backup(folder, None).reasons] == ["not_a_dump"]


def test_an_old_folder_is_unknown_until_it_was_examined_as_it_is_now(tmp_path: Path) -> None:
    folder = forge_legacy(forged_deployment(tmp_path), "20260103_023000", dump_text())
    dump = legacy_dump(folder)
    assert dump is not None
    unknown = read_backup(folder, None)
    assert (unknown.state, unknown.total, unknown.bytes) == ("candidate", None, dump.stat().st_size)
    event: Event = {"stamp": stamp(dump), "verdict": "ok", "reasons": [], "total": 77, "dimensions": 3}
    event["namespaces"] = {"alice": 77}
    known = read_backup(folder, event)
    assert (known.state, known.total, known.namespaces, known.dimensions) == ("verified", 77, {"alice": 77}, 3)
    dump.write_bytes(dump_text({}))
    assert read_backup(folder, event).state == "candidate"


def test_an_old_folder_tells_its_time_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "20260103_023000").mkdir()
    (tmp_path / "20261399_023000").mkdir()  # no such day
    assert read_backup(tmp_path / "20260103_023000", None).created_at == datetime(2026, 1, 3, 2, 30).astimezone()
    assert read_backup(tmp_path / "20261399_023000", None).created_at == datetime.fromtimestamp(0, UTC)
