"""Which backups are kept: a table of cases, the properties that hold for all, and a kill at every step of a prune."""

import itertools
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mem0_assets.backups.catalog import Catalog
from mem0_assets.backups.inventory import Backup
from mem0_assets.backups.legacy import examine_legacy
from mem0_assets.backups.retention import Plan, plan_retention, prune, why_held
from mem0_assets.backups.validation import verify_files
from mem0_assets.errors import Mem0AssetsError
from mem0_assets.fleet import TIERS, Deployment, Retention, Tier
from mem0_assets.verdicts import refused
from mem0_assets_tests.forged import dump_text, forge, forge_legacy, forged_deployment
from mem0_assets_tests.killing import killed_before

MIDNIGHT = datetime(2026, 1, 31, 0, 0, tzinfo=UTC)
FEW = Retention(hourly=2, daily=3, weekly=2, monthly=2)


def _backup(sequence: int, at: datetime, tiers: tuple[Tier, ...]) -> Backup:
    name = f"{at:%Y%m%d_%H%M%S}_{sequence}"
    return Backup(name, "verified", Path("/backups") / name, tiers, sequence, at, None, 77, {}, 8, 1000)


def _newest_first(*backups: Backup) -> list[Backup]:
    return sorted(backups, key=lambda backup: backup.sequence, reverse=True)


def _kept(plan: Plan, tier: Tier) -> list[int]:
    return [one.backup.sequence for one in plan.decisions if one.tier == tier and one.keep]


# The plan


def test_each_tier_keeps_its_newest(tmp_path: Path) -> None:
    days = [_backup(day, MIDNIGHT - timedelta(days=9 - day), ("daily",)) for day in range(10)]
    plan = plan_retention(_newest_first(*days), FEW, None)
    assert _kept(plan, "daily") == [9, 8, 7]
    assert [one.backup.sequence for one in plan.expired] == [6, 5, 4, 3, 2, 1, 0]


def test_ten_backups_made_by_hand_in_one_day_do_not_push_out_the_days_before() -> None:
    days = [_backup(day, MIDNIGHT - timedelta(days=10 - day), ("daily",)) for day in range(10)]
    by_hand = [_backup(10 + number, MIDNIGHT + timedelta(minutes=number), ("daily",)) for number in range(10)]
    plan = plan_retention(_newest_first(*days, *by_hand), Retention(daily=7), None)
    assert _kept(plan, "daily") == [19, 18, 17, 16, 15, 14, 13, 9, 8, 7, 6, 5, 4]


@pytest.mark.parametrize(
    ("tier", "apart", "kept"),
    [
        ("hourly", timedelta(minutes=30), [9, 8, 7]),  # 9 and 8 are the newest, 7 the newest of the hour before
        ("daily", timedelta(hours=12), [9, 8, 7, 5]),
        ("weekly", timedelta(days=3), [9, 8, 7]),
        ("monthly", timedelta(days=10), [9, 8, 6]),
    ],
)
def test_beyond_its_newest_a_tier_keeps_the_newest_of_each_of_its_periods(
    tier: Tier, apart: timedelta, kept: list[int]
) -> None:
    end = datetime(2026, 1, 30, 23, 45, tzinfo=UTC)
    found = [_backup(number, end - apart * (9 - number), (tier,)) for number in range(10)]
    assert _kept(plan_retention(_newest_first(*found), FEW, None), tier) == kept


def test_a_backup_that_one_tier_still_keeps_stays_there() -> None:
    old = _backup(1, MIDNIGHT - timedelta(days=40), ("daily", "monthly"))
    days = [_backup(2 + day, MIDNIGHT - timedelta(days=9 - day), ("daily",)) for day in range(9)]
    plan = plan_retention(_newest_first(old, *days), FEW, None)
    assert [(one.tier, one.keep) for one in plan.decisions if one.backup is old] == [
        ("daily", False),
        ("monthly", True),
    ]
    content = plan.as_json()
    assert old.backup in [one["backup"] for one in content["kept"]]
    assert old.backup not in [one["backup"] for one in content["expired"]]


def test_the_newest_is_kept_though_its_clock_says_that_it_is_the_oldest() -> None:
    days = [_backup(day, MIDNIGHT - timedelta(days=9 - day), ("daily",)) for day in range(9)]
    set_back = _backup(99, MIDNIGHT - timedelta(days=400), ("daily",))
    plan = plan_retention(_newest_first(*days, set_back), Retention(daily=1), None)
    assert 99 in _kept(plan, "daily")


def test_a_retention_of_nothing_which_no_fleet_may_ask_for_still_keeps_the_newest() -> None:
    days = [_backup(day, MIDNIGHT - timedelta(days=3 - day), ("daily",)) for day in range(3)]
    nothing = Retention.model_construct(hourly=0, daily=0, weekly=0, monthly=0)
    assert _kept(plan_retention(_newest_first(*days), nothing, None), "daily") == [2]


def test_a_plan_says_why() -> None:
    days = [_backup(day, MIDNIGHT - timedelta(days=3 - day), ("daily",)) for day in range(3)]
    plan = plan_retention(_newest_first(*days), Retention(daily=1), None)
    assert plan.as_json() == {
        "kept": [{"backup": days[2].backup, "why": "daily: one of the newest 1"}],
        "expired": [
            {"backup": days[1].backup, "why": "daily: beyond the 1 that daily keeps"},
            {"backup": days[0].backup, "why": "daily: beyond the 1 that daily keeps"},
        ],
        "held": False,
        "why": None,
    }
    held = plan_retention(_newest_first(*days), Retention(daily=1), "the newest attempt was refused: empty")
    assert held.as_json()["held"] is True
    assert held.as_json()["why"] == "the newest attempt was refused: empty"
    assert held.expired == []


_PERIODS: dict[Tier, Callable[[datetime], tuple[int, ...]]] = {
    "hourly": lambda at: (at.year, at.month, at.day, at.hour),
    "daily": lambda at: (at.year, at.month, at.day),
    "weekly": lambda at: tuple(at.isocalendar())[:2],
    "monthly": lambda at: (at.year, at.month),
}
_MOMENTS = st.integers(0, 3 * 366 * 24 * 60).map(lambda minutes: MIDNIGHT - timedelta(minutes=minutes))
_TIERS = st.sets(st.sampled_from(TIERS), min_size=1).map(lambda tiers: tuple(tier for tier in TIERS if tier in tiers))
_FLEETS = st.lists(st.tuples(_MOMENTS, _TIERS), max_size=30).map(
    lambda found: [_backup(len(found) - number, at, tiers) for number, (at, tiers) in enumerate(found)]
)
_RETENTIONS = st.builds(Retention, **{tier: st.integers(1, 5) for tier in TIERS})


@given(_FLEETS, _RETENTIONS)
def test_the_newest_never_expires_and_each_tier_keeps_as_many_as_it_should(
    verified: list[Backup], retention: Retention
) -> None:
    plan = plan_retention(verified, retention, None)
    assert len(plan.decisions) == sum(len(backup.tiers) for backup in verified)
    assert all(one.backup is not verified[0] for one in plan.expired)
    for tier in TIERS:
        members, kept = [one for one in verified if tier in one.tiers], _kept(plan, tier)
        count = retention.of(tier)
        assert kept[:count] == [one.sequence for one in members[:count]]
        assert len(kept) <= 2 * count + 1
        for period in sorted({_PERIODS[tier](one.created_at) for one in members})[-count:]:
            first = next(one for one in members if _PERIODS[tier](one.created_at) == period)
            assert first.sequence in kept


@given(_FLEETS, _RETENTIONS)
def test_nothing_expires_while_it_is_held(verified: list[Backup], retention: Retention) -> None:
    plan = plan_retention(verified, retention, "the newest attempt was refused")
    assert plan.expired == []
    assert all(one.why for one in plan.decisions)


@given(_FLEETS, _RETENTIONS)
def test_what_was_kept_is_kept_again_when_nothing_is_added(verified: list[Backup], retention: Retention) -> None:
    plan = plan_retention(verified, retention, None)
    left = {(one.backup.backup, one.tier) for one in plan.decisions if one.keep}
    remaining = [
        Backup(**{**vars(backup), "tiers": tiers})
        for backup in verified
        if (tiers := tuple(tier for tier in backup.tiers if (backup.backup, tier) in left))
    ]
    assert plan_retention(remaining, retention, None).expired == []


# What holds it


@pytest.fixture
def deployment(tmp_path: Path) -> Deployment:
    return forged_deployment(tmp_path, retention={"hourly": 1, "daily": 1, "weekly": 1, "monthly": 1})


def _three_days(deployment: Deployment) -> Catalog:
    for day in (1, 2, 3):
        forge(deployment, f"2026010{day}_023000", day)
    return Catalog(deployment)


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_after_a_good_backup_the_old_ones_go(deployment: Deployment) -> None:
    catalog = _three_days(deployment)
    with catalog.locked():
        assert len(prune(catalog, dry_run=True).expired) == 2
        assert _names(deployment.backups / "daily") == ["20260101_023000", "20260102_023000", "20260103_023000"]
        assert len(prune(catalog).expired) == 2
    assert _names(deployment.backups / "daily") == ["20260103_023000"]
    assert [path for path in catalog.candidates_folder.iterdir() if not path.name.startswith(".")] == []


def test_a_refused_newest_attempt_holds_everything(deployment: Deployment) -> None:
    catalog = _three_days(deployment)
    candidate = forge(deployment, "20260104_023000", 4, place="candidates", created_at=datetime.now(UTC))
    with catalog.locked():
        catalog.quarantine(candidate, refused("shrunk", "the total fell from 77 to 5"))
        plan = prune(catalog)
    assert plan.expired == []
    assert plan.held is not None
    assert "20260104_023000" in plan.held
    assert "[shrunk]" in plan.held
    assert len(_names(deployment.backups / "daily")) == 3


def test_an_attempt_that_left_no_files_holds_everything(deployment: Deployment) -> None:
    catalog = _three_days(deployment)
    with catalog.locked():
        catalog.attempt_failed(4, Mem0AssetsError("pg_dump failed", code="dump_failed"))
        plan = prune(catalog)
    assert plan.expired == []
    assert "[dump_failed]" in (plan.held or "")


def test_an_attempt_that_waits_for_its_verdict_holds_everything(deployment: Deployment) -> None:
    """As when the disk ran full between the dump and its proof, so full that not even a note of it was taken."""
    catalog = _three_days(deployment)
    forge(deployment, "20260104_023000", 4, place="candidates", created_at=datetime.now(UTC))
    with catalog.locked():
        assert prune(catalog).held == "the newest attempt (20260104_023000) waits for its verdict"
        forge(deployment, "20260105_023000", 5)
        assert why_held(catalog) is None


def test_a_failed_drill_holds_everything_until_one_succeeds(deployment: Deployment) -> None:
    """The newest backup would not come back: the one before it may be all that is left."""
    catalog = _three_days(deployment)
    reasons = [{"code": "restore_failed", "message": "psql stopped"}]
    catalog.journal.record("drill", backup="20260103_023000", verdict="refused", reasons=reasons)
    with catalog.locked():
        plan = prune(catalog)
        assert plan.expired == []
        assert "(of 20260103_023000) failed: psql stopped [restore_failed]; one that succeeds" in (plan.held or "")
        catalog.journal.record("drill", backup="20260102_023000", verdict="ok", reasons=[])
        assert why_held(catalog) is None
        assert len(prune(catalog).expired) == 2


def test_folders_of_before_this_project_are_kept_and_expired_like_our_own(deployment: Deployment) -> None:
    for day in (1, 2):
        forge_legacy(deployment, f"2026010{day}_133102", dump_text())
    broken = forge_legacy(deployment, "20260103_133102", b"")
    catalog = Catalog(deployment)
    with catalog.locked():
        examine_legacy(catalog)
        assert prune(catalog).held is not None
        shutil.rmtree(broken)
        assert [one.backup.backup for one in prune(catalog).expired] == ["20260101_133102"]
    assert _names(deployment.backups / "daily") == ["20260102_133102"]


def test_one_that_is_unknown_or_refused_is_never_deleted(deployment: Deployment) -> None:
    catalog = _three_days(deployment)
    forge_legacy(deployment, "20251224_133102", dump_text())
    (deployment.backups / "daily" / "20260101_023000" / "manifest.json").write_text("{")
    with catalog.locked():
        prune(catalog)
    assert _names(deployment.backups / "daily") == ["20251224_133102", "20260101_023000", "20260103_023000"]


def test_a_prune_killed_at_any_step_leaves_each_backup_whole_or_gone(tmp_path: Path) -> None:
    retention = {"hourly": 1, "daily": 1, "weekly": 1, "monthly": 1}
    for number in itertools.count(1):
        deployment = forged_deployment(tmp_path / str(number), retention=retention)
        for day in (2, 3):
            forge(deployment, f"2026010{day}_023000", day, ("monthly", "daily"))
        killed = killed_before(number, lambda: _prune(deployment))  # noqa: B023 - run at once
        catalog = Catalog(deployment)
        assert catalog.verified()[0].backup == "20260103_023000"
        for tier in ("daily", "monthly"):
            for folder in (deployment.backups / tier).iterdir():
                assert verify_files(folder).verdict.ok, f"killed before step {number}"
        _prune(deployment)
        assert [(one.backup, one.tiers) for one in catalog.backups()] == [("20260103_023000", ("daily", "monthly"))]
        assert [path.name for path in catalog.candidates_folder.iterdir()] == []
        if not killed:
            break


def _prune(deployment: Deployment) -> None:
    catalog = Catalog(deployment)
    with catalog.locked():
        prune(catalog)
