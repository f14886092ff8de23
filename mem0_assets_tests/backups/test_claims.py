"""The pure rules on what a backup claims: each would have refused the 17 nights of the incident."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mem0_assets.backups.catalog import Catalog
from mem0_assets.backups.claims import Standard, cautions, drop, judge_claims
from mem0_assets.backups.inventory import Backup
from mem0_assets.backups.manifest import Manifest, read_manifest
from mem0_assets.fleet import Limits
from mem0_assets.live.identity import Identity
from mem0_assets_tests.forged import IDENTITY, forge, forged_deployment

BEFORE = {"alice": 40, "bob": 10, "carol": 9}


@pytest.fixture(scope="module")
def forged(tmp_path_factory: pytest.TempPathFactory) -> tuple[Manifest, Backup]:
    deployment = forged_deployment(tmp_path_factory.mktemp("claims"))
    folder = forge(deployment, "20260103_023000", 1, namespaces=BEFORE)
    return read_manifest(folder), Catalog(deployment).find("latest")


def _claiming(manifest: Manifest, namespaces: dict[str, int], identity: Identity = IDENTITY) -> Manifest:
    census = replace(manifest.census, total=sum(namespaces.values()), namespaces=namespaces, identity=identity)
    return replace(manifest, census=census)


@pytest.mark.parametrize(
    ("limits", "namespaces", "codes"),
    [
        ({}, BEFORE, []),
        ({}, {"alice": 40, "bob": 10, "carol": 9, "new": 1}, []),
        ({}, {"alice": 20, "bob": 10, "carol": 9}, []),  # half is not more than max_drop
        ({}, {"alice": 19, "bob": 10, "carol": 9}, ["shrunk"]),
        ({}, {"alice": 19, "bob": 10, "carol": 0}, ["shrunk", "shrunk"]),  # the total fell too, by more than half
        ({}, {"alice": 40, "carol": 9}, ["namespace_vanished"]),
        ({}, {"alice": 40, "bob": 10}, []),  # carol held fewer than min_namespace
        ({"min_namespace": 9}, {"alice": 40, "bob": 10}, ["namespace_vanished"]),
        ({"min_namespace": 11}, {"alice": 40}, []),
        ({"max_drop": 0.0}, {"alice": 39, "bob": 10, "carol": 9}, ["shrunk", "shrunk"]),
        ({"max_drop": 1.0}, {"alice": 1}, []),
        ({}, {}, ["empty", "shrunk", "namespace_vanished", "namespace_vanished"]),
        ({"min_rows": 100}, BEFORE, ["too_few_rows"]),
        ({"min_rows": 0, "max_drop": 1.0}, {}, []),
        ({"min_bytes": 1 << 30}, BEFORE, ["too_small"]),
    ],
)
def test_counts_and_sizes_are_held_against_the_limits_and_the_last_verified_backup(
    forged: tuple[Manifest, Backup], limits: dict[str, float], namespaces: dict[str, int], codes: list[str]
) -> None:
    manifest, previous = forged
    standard = Standard(Limits.model_validate(limits), previous, IDENTITY)
    verdict = judge_claims(_claiming(manifest, namespaces), standard)
    assert sorted(verdict.codes) == sorted(codes)


@pytest.mark.parametrize(
    ("changes", "codes"),
    [
        ({}, []),
        ({"server_version": "19.0", "pgvector_version": "0.9.0"}, []),
        ({"system_identifier": "7800000000000000001"}, ["identity_changed"]),
        ({"database": "mem0"}, ["identity_changed"]),
        ({"database_oid": 5}, ["identity_changed"]),
        ({"table_oid": 5}, ["identity_changed"]),
        ({"system_identifier": None}, []),  # what is unknown differs from nothing
        ({"dimensions": 768}, ["dimensions_changed"]),
        ({"dimensions": 768, "table_oid": 5}, ["identity_changed", "dimensions_changed"]),
    ],
)
def test_another_database_is_refused_and_a_new_version_is_not(
    forged: tuple[Manifest, Backup], changes: dict[str, object], codes: list[str]
) -> None:
    manifest, previous = forged
    identity = replace(IDENTITY, **changes)  # type: ignore[arg-type]
    verdict = judge_claims(_claiming(manifest, BEFORE, identity), Standard(Limits(), previous, IDENTITY))
    assert verdict.codes == codes


def test_a_first_backup_is_held_against_the_limits_only(forged: tuple[Manifest, Backup]) -> None:
    manifest, _ = forged
    assert judge_claims(_claiming(manifest, {"alice": 1}), Standard(Limits())).ok
    assert judge_claims(_claiming(manifest, {}), Standard(Limits())).codes == ["empty"]


def test_without_an_identity_the_dimensions_of_a_backup_from_before_this_project_count(
    forged: tuple[Manifest, Backup],
) -> None:
    manifest, previous = forged
    legacy = replace(previous, manifest=None, dimensions=768)
    assert judge_claims(manifest, Standard(Limits(), legacy)).codes == ["dimensions_changed"]


def test_a_reason_says_which_backup_held_how_many(forged: tuple[Manifest, Backup]) -> None:
    manifest, previous = forged
    reasons = judge_claims(_claiming(manifest, {"alice": 10, "carol": 9}), Standard(Limits(), previous)).reasons
    assert [reason.message for reason in reasons] == [
        "the total fell from 59 memories in 20260103_023000 to 19, a drop of 68%",
        "the namespace alice fell from 40 memories in 20260103_023000 to 10, a drop of 75%",
        "the namespace bob held 10 memories in 20260103_023000 and is gone",
    ]


def test_few_memories_and_small_files_are_cautions_only(forged: tuple[Manifest, Backup]) -> None:
    manifest, _ = forged
    notes = cautions(replace(manifest, warnings=("pg_dump: warning: odd",)), Standard(Limits()))
    assert notes[0] == "pg_dump: warning: odd"
    assert notes[1] == "only 59 memories (warn_rows is 100)"
    assert notes[2].startswith(f"only {manifest.bytes} bytes")
    assert cautions(manifest, Standard(Limits(warn_rows=0, warn_bytes=0))) == []


@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_a_drop_is_a_share_between_nothing_and_all(before: int, after: int) -> None:
    share = drop(before, after)
    assert 0 <= share <= 1
    assert (share == 1) == (before > 0 and after == 0)
    assert (share == 0) == (after >= before)


@given(
    st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 100)),
    st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 100)),
    st.floats(0, 1),
)
def test_whatever_is_lost_beyond_max_drop_is_refused(
    forged: tuple[Manifest, Backup], before: dict[str, int], after: dict[str, int], max_drop: float
) -> None:
    manifest, previous = forged
    limits = Limits(min_rows=0, max_drop=max_drop)
    standard = Standard(limits, replace(previous, total=sum(before.values()), namespaces=before), IDENTITY)
    verdict = judge_claims(_claiming(manifest, after), standard)
    lost = [name for name, count in before.items() if count >= 10 and drop(count, after.get(name, 0)) > max_drop]
    assert verdict.ok == (not lost and drop(sum(before.values()), sum(after.values())) <= max_drop)
    gone = [name for name in lost if not after.get(name)]
    assert verdict.codes.count("namespace_vanished") == len(gone)


def test_limits_of_a_fleet_without_any_still_refuse_an_empty_backup(tmp_path: Path) -> None:
    assert forged_deployment(tmp_path).limits.min_rows == 1
