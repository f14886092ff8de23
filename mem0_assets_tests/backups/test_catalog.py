"""The catalog: which backups there are, how they move between states, and what a kill or a wrong clock cannot do."""

import fcntl
import itertools
import json
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mem0_assets.backups.catalog import Catalog
from mem0_assets.backups.files import BackupsFolderError, move, remove_tree
from mem0_assets.backups.inventory import VERDICT
from mem0_assets.backups.manifest import MANIFEST, read_manifest
from mem0_assets.backups.validation import verify_files
from mem0_assets.errors import BusyError, Mem0AssetsError, NotFoundError
from mem0_assets.fleet import Deployment, Tier
from mem0_assets.verdicts import refused
from mem0_assets_tests.forged import claim, dump_text, forge, forge_legacy, forged_deployment
from mem0_assets_tests.killing import killed_before

NOON = datetime(2026, 1, 3, 12, 0, tzinfo=UTC)


@pytest.fixture
def deployment(tmp_path: Path) -> Deployment:
    return forged_deployment(tmp_path)


@pytest.fixture
def catalog(deployment: Deployment) -> Catalog:
    return Catalog(deployment)


def _candidate(deployment: Deployment, backup: str, sequence: int, tiers: tuple[Tier, ...] = ("daily",)) -> Path:
    return forge(deployment, backup, sequence, tiers, place="candidates", created_at=datetime.now(UTC))


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


# What there is


def test_a_deployment_without_a_folder_has_no_backups(catalog: Catalog) -> None:
    assert catalog.backups() == []
    assert catalog.newest_verified() is None
    assert catalog.last_refusal() is None
    with pytest.raises(NotFoundError, match="has no backup latest"):
        catalog.find("latest")


def test_one_backup_in_two_tiers_stands_in_the_list_once(deployment: Deployment, catalog: Catalog) -> None:
    forge(deployment, "20260103_023000", 1, ("weekly", "daily", "hourly"))
    [backup] = catalog.backups()
    assert backup.tiers == ("hourly", "daily", "weekly")
    assert backup.state == "verified"
    assert backup.path == deployment.backups / "weekly" / "20260103_023000"
    assert catalog.find("latest") == catalog.find("20260103_023000") == backup


def test_a_damaged_manifest_takes_a_backup_out_of_those_that_count(deployment: Deployment, catalog: Catalog) -> None:
    forge(deployment, "20260102_023000", 1)
    newest = forge(deployment, "20260103_023000", 2)
    (newest / MANIFEST).write_text("{")
    assert [backup.backup for backup in catalog.verified()] == ["20260102_023000"]
    assert [reason.code for reason in catalog.find("20260103_023000").reasons] == ["corrupt"]
    assert catalog.next_sequence() == 2


def test_a_disk_that_does_not_tell_is_an_error_and_not_an_empty_list(deployment: Deployment, catalog: Catalog) -> None:
    forge(deployment, "20260103_023000", 1)
    (deployment.backups / "catalog.jsonl").mkdir()
    with pytest.raises(BackupsFolderError, match="Is a directory"):
        catalog.backups()


def test_a_quarantined_backup_shows_its_verdict_also_when_that_is_lost(
    deployment: Deployment, catalog: Catalog
) -> None:
    with catalog.locked():
        refusal = refused("shrunk", "the total fell")
        backup = catalog.quarantine(_candidate(deployment, "20260103_120000", 1), refusal)
    assert backup.state == "quarantined"
    assert backup.as_json()["reasons"] == [{"code": "shrunk", "message": "the total fell"}]
    for content in ("", "{", '{"reasons": [{"code": 1}]}'):
        (backup.path / VERDICT).write_text(content)
        assert [reason.code for reason in catalog.find(backup.backup).reasons] == ["interrupted"]


# Publishing


def test_a_candidate_is_published_into_each_of_its_tiers_and_stored_once(
    deployment: Deployment, catalog: Catalog
) -> None:
    with catalog.locked():
        candidate = _candidate(deployment, "20260103_120000", 1)
        backup = catalog.publish(candidate, ["hourly", "monthly", "daily"])
    assert backup.state == "verified"
    assert backup.tiers == ("hourly", "daily", "monthly")
    assert not candidate.exists()
    dumps = [deployment.backups / tier / backup.backup / "postgres" for tier in backup.tiers]
    inodes = {path.stat().st_ino for folder in dumps for path in folder.iterdir()}
    assert len(inodes) == 1
    for tier in backup.tiers:
        assert verify_files(deployment.backups / tier / backup.backup).verdict.ok


def test_a_publish_killed_at_any_step_is_finished_or_not_begun(tmp_path: Path) -> None:
    finished = 0
    for number in itertools.count(1):
        deployment = forged_deployment(tmp_path / str(number))
        (tmp_path / str(number)).mkdir()
        _candidate(deployment, "20260103_120000", 1)
        killed = killed_before(number, lambda: _publish_waiting(deployment))  # noqa: B023 - run at once
        catalog = Catalog(deployment)
        with catalog.locked():
            pass
        published, waiting = catalog.backups(), catalog.candidates()
        assert len(published) + len(waiting) == 1, f"killed before step {number}"
        for backup in published:
            finished += 1
            assert backup.tiers == ("hourly", "daily", "monthly")
            paths = [deployment.backups / tier / backup.backup for tier in backup.tiers]
            assert all(verify_files(path).verdict.ok for path in paths)
            assert paths[0].joinpath(MANIFEST).samefile(paths[2] / MANIFEST)
        assert _names(catalog.candidates_folder) == [path.name for path in waiting]
        if not killed:
            break
    assert published
    assert finished > 5


def _publish_waiting(deployment: Deployment) -> None:
    catalog = Catalog(deployment)
    with catalog.locked():
        catalog.publish(catalog.candidates()[0], ["hourly", "monthly", "daily"])


def test_expiring_removes_one_tiers_copy_and_leaves_the_others(deployment: Deployment, catalog: Catalog) -> None:
    forge(deployment, "20260103_023000", 1, ("weekly", "daily"))
    with catalog.locked():
        catalog.expire(catalog.find("latest"), "weekly")
        assert _names(catalog.candidates_folder) == []
    [backup] = catalog.backups()
    assert backup.tiers == ("daily",)
    assert verify_files(backup.path).verdict.ok


def test_who_reads_meanwhile_always_finds_the_newest_backup(deployment: Deployment, catalog: Catalog) -> None:
    """The fleet's sensor looks every ten seconds, without a lock."""
    forge(deployment, "20260101_023000", 1, ("monthly", "daily"))
    seen: list[str | None] = []
    stop = threading.Event()

    def look() -> None:
        reader = Catalog(deployment)
        while not stop.is_set():
            newest = reader.newest_verified()
            seen.append(newest.backup if newest else None)

    looking = threading.Thread(target=look)
    looking.start()
    with catalog.locked():
        for number in range(2, 12):
            previous = catalog.verified()[0]
            candidate = _candidate(deployment, f"202601{number:02}_023000", number)
            if number % 2:
                quarantined = catalog.quarantine(candidate, refused("shrunk", "half is gone"))
                catalog.accept(quarantined, ["monthly", "daily"], by="anna", reason="cleaned up")
            else:
                catalog.publish(candidate, ["monthly", "daily"])
            for tier in previous.tiers:
                catalog.expire(previous, tier)
    stop.set()
    looking.join()
    assert len(seen) > 10
    assert None not in seen
    assert seen == sorted(seen, key=str)


# The clock


def test_the_newest_is_the_last_one_made_also_when_the_clock_was_set_back(
    deployment: Deployment, catalog: Catalog
) -> None:
    forge(deployment, "20260103_023000", 1)
    forge(deployment, "20250103_023000", 2)
    assert [backup.backup for backup in catalog.verified()] == ["20250103_023000", "20260103_023000"]
    assert catalog.next_sequence() == 3
    _candidate(deployment, "20260101_000000", 3)
    _candidate(deployment, "20250101_000000", 4)
    assert [path.name for path in catalog.candidates()] == ["20250101_000000", "20260101_000000"]
    assert catalog.next_sequence() == 5


def test_an_id_is_never_given_twice_also_when_its_backup_is_long_gone(deployment: Deployment, catalog: Catalog) -> None:
    with catalog.locked():
        first = catalog.new_candidate(NOON)
        assert first.name == "20260103_120000"
        assert catalog.new_candidate(NOON).name == "20260103_120001"
        forge(deployment, "20260103_120002", 1, ("hourly",))
        catalog.journal.record("published", backup="20260103_120003", sequence=1, tiers=["daily"])
        catalog.journal.record("drill", backup="20260103_120003", verdict="ok", reasons=[])
        assert catalog.new_candidate(NOON).name == "20260103_120004"


def test_a_drill_counts_for_its_backup_until_a_later_one_fails(deployment: Deployment, catalog: Catalog) -> None:
    forge(deployment, "20260103_023000", 1)
    assert catalog.find("latest").drilled_at is None
    catalog.journal.record("drill", backup="20260103_023000", verdict="ok", reasons=[])
    drilled_at = catalog.find("latest").drilled_at
    assert drilled_at is not None
    assert datetime.now(UTC) - drilled_at < timedelta(minutes=1)
    catalog.journal.record("drill", backup="20260103_023000", verdict="refused", reasons=[])
    assert catalog.find("latest").drilled_at is None


# The lock, and what a killed holder left


def test_one_at_a_time_and_busy_after_the_time_given(deployment: Deployment, catalog: Catalog) -> None:
    with catalog.locked():
        with (
            pytest.raises(BusyError, match="another backup or prune of prd") as busy,
            Catalog(deployment).locked(seconds=0),
        ):
            pass
        assert busy.value.exit_status == 3
    with Catalog(deployment).locked(seconds=0):
        pass


def test_the_lock_of_a_dead_process_does_not_hold(deployment: Deployment, catalog: Catalog) -> None:
    deployment.backups.mkdir(parents=True)
    with open(deployment.backups / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
    with catalog.locked(seconds=0):
        pass


def test_a_disk_that_is_not_mounted_is_not_filled_with_a_new_folder(tmp_path: Path) -> None:
    deployment = forged_deployment(tmp_path / "volumes" / "backup_disk")
    with pytest.raises(BackupsFolderError, match="does not exist") as refusal, Catalog(deployment).locked():
        pass
    assert "mounted" in refusal.value.next_step
    assert not (tmp_path / "volumes").exists()


def test_what_a_killed_holder_left_is_swept_by_the_next(deployment: Deployment, catalog: Catalog) -> None:
    for name in ("20260101_023000.daily.expired", "20260101_023000.daily.linking", "20260101_023000.discarded"):
        (catalog.candidates_folder / name / "postgres").mkdir(parents=True)
    (catalog.candidates_folder / "20260102_023000" / "postgres").mkdir(parents=True)
    (catalog.candidates_folder / "drill_of_another_process").mkdir()
    waiting = _candidate(deployment, "20260103_023000", 1)
    with catalog.locked():
        assert _names(catalog.candidates_folder) == ["20260103_023000", "drill_of_another_process"]
        assert catalog.candidates() == [waiting]


@pytest.mark.parametrize("age", [timedelta(days=2), timedelta(days=-400)])
def test_a_candidate_that_nobody_judged_for_a_day_is_put_aside(
    deployment: Deployment, catalog: Catalog, age: timedelta
) -> None:
    forge(deployment, "20260103_023000", 1, place="candidates", created_at=datetime.now(UTC) - age)
    with catalog.locked():
        assert catalog.candidates() == []
    [backup] = catalog.backups()
    assert backup.state == "quarantined"
    assert [reason.code for reason in backup.reasons] == ["interrupted"]


def test_a_refusal_that_was_killed_before_its_rename_is_still_the_same_refusal(
    deployment: Deployment, catalog: Catalog
) -> None:
    candidate = _candidate(deployment, "20260103_023000", 1)
    (candidate / VERDICT).write_text(json.dumps(refused("empty", "it holds no memories at all").as_json()))
    with catalog.locked():
        assert catalog.candidates() == []
    refusal = catalog.last_refusal()
    assert refusal is not None
    assert refusal[1].codes == ["empty"]


def test_a_candidate_is_discarded_whole_or_not_at_all(tmp_path: Path) -> None:
    """With a manifest and without its dump it would be quarantined as a truncated backup, which it never was."""
    for number in itertools.count(1):
        deployment = forged_deployment(tmp_path / str(number))
        candidate = _candidate(deployment, "20260103_023000", 1)
        catalog = Catalog(deployment)
        killed = killed_before(number, lambda: catalog.discard(candidate))  # noqa: B023 - run at once
        for left in catalog.candidates():
            assert verify_files(left).verdict.ok, f"killed before step {number}"
        if not killed:
            break
    assert _names(catalog.candidates_folder) == []


# The newest attempt


def test_the_newest_attempt_is_the_one_of_the_highest_sequence(deployment: Deployment, catalog: Catalog) -> None:
    forge(deployment, "20260103_023000", 1)
    assert catalog.last_refusal() is None
    catalog.attempt_failed(2, Mem0AssetsError("no answer", code="unreachable"))
    refusal = catalog.last_refusal()
    assert refusal is not None
    assert refusal[1].codes == ["unreachable"]
    with catalog.locked():
        published = catalog.publish(_candidate(deployment, "20260103_033000", 3), ["daily"])
    assert catalog.last_refusal() is None
    remove_tree(published.path)  # by a person: the attempt was a good one all the same
    assert catalog.last_refusal() is None


def test_an_old_backup_that_is_accepted_does_not_make_the_newest_attempt_a_good_one(
    deployment: Deployment, catalog: Catalog
) -> None:
    with catalog.locked():
        old = catalog.quarantine(_candidate(deployment, "20260103_023000", 1), refused("shrunk", "half is gone"))
        catalog.attempt_failed(2, Mem0AssetsError("no answer", code="unreachable"))
        catalog.accept(old, ["daily"], by="anna", reason="cleaned up")
    refusal = catalog.last_refusal()
    assert refusal is not None
    assert refusal[1].codes == ["unreachable"]


def test_empty_folders_of_before_this_project_are_refusals_too(deployment: Deployment, catalog: Catalog) -> None:
    forge_legacy(deployment, "20260127_023000", dump_text({}))
    assert catalog.last_refusal() is None
    [folder] = catalog.backups()
    assert folder.state == "candidate"
    assert catalog.verified() == []


def test_a_copied_folder_is_one_of_its_own_and_counts_by_its_own_manifest(
    deployment: Deployment, catalog: Catalog
) -> None:
    original = forge(deployment, "20260103_023000", 4)
    claim(original, read_manifest(original), sequence=9)
    move(original, deployment.backups / "weekly" / "20260104_023000")
    assert [(backup.backup, backup.sequence) for backup in catalog.verified()] == [("20260104_023000", 9)]
