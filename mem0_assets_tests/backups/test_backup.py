"""From a live deployment to a proven backup: what is refused, what a person may accept, and what a kill cannot do."""

import itertools
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from mem0_assets.backups.backup import accept_backup, accept_identity, make_backup, prove, standard_of, tiers_of
from mem0_assets.backups.capture import capture
from mem0_assets.backups.catalog import Catalog
from mem0_assets.backups.files import write_json
from mem0_assets.backups.inventory import VERDICT
from mem0_assets.backups.manifest import MANIFEST, read_manifest
from mem0_assets.backups.validation import verify_files
from mem0_assets.errors import BusyError, NotFoundError, RefusedError
from mem0_assets.fleet import Deployment
from mem0_assets.restores.drill import drill
from mem0_assets.verdicts import ACCEPTABLE
from mem0_assets_tests.conftest import SMALL, MakeDeployment, run_sql
from mem0_assets_tests.forged import claim
from mem0_assets_tests.guarded import nothing_lost
from mem0_assets_tests.killing import killed_before

RECREATE = (
    "ALTER TABLE memories RENAME TO old; CREATE TABLE memories (id uuid PRIMARY KEY, vector vector({0}), payload jsonb);"
    "INSERT INTO memories SELECT id, (SELECT array_agg(1) FROM generate_series(1, {0}))::vector, payload FROM old;"
    "DROP TABLE old"
)


@pytest.fixture
def guarded(make_deployment: MakeDeployment) -> Deployment:
    """A deployment with one good backup."""
    deployment = make_deployment()
    assert make_backup(deployment, ["daily"]).verdict.ok
    return deployment


@pytest.fixture
def guarded_in_each_format(make_in_each_format: MakeDeployment) -> Deployment:
    """The same, in each format."""
    deployment = make_in_each_format()
    assert make_backup(deployment, ["daily"]).verdict.ok
    return deployment


# A good one


def test_a_good_backup_is_verified_and_stored_once_in_all_its_tiers(make_in_each_format: MakeDeployment) -> None:
    deployment = make_in_each_format(limits={"warn_rows": 0, "warn_bytes": 0})
    told: list[str] = []
    outcome = make_backup(deployment, tell=told.append)
    content = outcome.as_json()
    assert content["state"] == "verified"
    assert content["total"] == 77
    assert content["namespaces"] == SMALL
    assert content["reasons"] == []
    assert content["cautions"] == ["not kept, as fleet.yaml does not name it: application, history, files"]
    assert content["tiers"] == ["hourly", "daily", "weekly", "monthly"]  # a first backup is due in all of them
    assert content["seconds"] > 0
    assert "reading it back" in told
    folders = [deployment.backups / tier / content["backup"] for tier in content["tiers"]]
    for file in read_manifest(folders[0]).files:
        assert len({(folder / file.path).stat().st_ino for folder in folders}) == 1
    for folder in folders:
        subprocess.run(["sha256sum", "--quiet", "-c", "SHA256SUMS"], cwd=folder, check=True)
    assert [path.name for path in (deployment.backups / "candidates").iterdir()] == []


def test_a_backup_is_of_the_tiers_that_are_due_else_a_daily_one(guarded: Deployment) -> None:
    catalog = Catalog(guarded)
    assert tiers_of(catalog, ["weekly"]) == ["weekly"]
    assert tiers_of(catalog, []) == ["hourly", "weekly", "monthly"]
    make_backup(guarded)
    assert tiers_of(catalog, []) == ["daily"]


def test_few_memories_are_said_and_not_refused(guarded: Deployment) -> None:
    outcome = make_backup(guarded)
    assert outcome.verdict.ok
    assert outcome.cautions[0] == "only 77 memories (warn_rows is 100)"


# What is refused

LOSSES = {
    "all memories deleted": ("DELETE FROM memories", {"empty", "shrunk", "namespace_vanished"}),
    "the table truncated": ("TRUNCATE memories", {"empty", "shrunk", "namespace_vanished"}),
    "more than half deleted": (
        "DELETE FROM memories WHERE payload->>'user_id' <> 'bob/work'",
        {"shrunk", "namespace_vanished"},
    ),
    "one namespace gone": ("DELETE FROM memories WHERE payload->>'user_id' = 'carol'", {"namespace_vanished"}),
    "the table made anew": (RECREATE.format(8), {"identity_changed"}),
    "another embedder": (RECREATE.format(16), {"identity_changed", "dimensions_changed"}),
}


@pytest.mark.parametrize("how", LOSSES)
def test_a_loss_is_refused_and_the_good_backup_stays_what_it_is(guarded: Deployment, how: str) -> None:
    statement, codes = LOSSES[how]
    run_sql(guarded, statement)
    code = sorted(codes)[-1]
    with nothing_lost(guarded, code):
        outcome = make_backup(guarded)
        assert set(outcome.verdict.codes) == codes
        assert outcome.backup.state == "quarantined"
        assert outcome.backup.path.parent == guarded.backups / "quarantine"
        assert set(outcome.verdict.codes) <= ACCEPTABLE
        assert verify_files(outcome.backup.path).verdict.ok  # it is a whole dump of what there was


def test_a_namespace_below_min_namespace_may_vanish(guarded: Deployment) -> None:
    few = guarded.model_copy(update={"limits": guarded.limits.model_copy(update={"min_namespace": 13})})
    run_sql(guarded, "DELETE FROM memories WHERE payload->>'user_id' = 'carol'")
    assert make_backup(few).verdict.ok


@pytest.mark.parametrize(
    ("limits", "code"), [({"min_rows": 100}, "too_few_rows"), ({"min_bytes": 1 << 30}, "too_small")]
)
def test_what_the_fleet_demands_is_demanded_of_a_first_backup_too(
    make_deployment: MakeDeployment, limits: dict[str, int], code: str
) -> None:
    outcome = make_backup(make_deployment(limits=limits))
    assert outcome.verdict.codes == [code]
    assert outcome.backup.state == "quarantined"


def test_seventeen_empty_nights_leave_the_one_good_backup(make_deployment: MakeDeployment) -> None:
    deployment = make_deployment(retention={"hourly": 1, "daily": 1, "weekly": 1, "monthly": 1})
    good = make_backup(deployment, ["daily"]).backup
    run_sql(deployment, "TRUNCATE memories")
    for _ in range(3):
        with nothing_lost(deployment, "empty"):
            assert "empty" in make_backup(deployment, ["daily"]).verdict.codes
    assert Catalog(deployment).find("latest").backup == good.backup


TAMPER: dict[str, tuple[str, Callable[[Path, Path], object]]] = {
    "the dump was cut": ("truncated", lambda folder, dump: os.truncate(dump, dump.stat().st_size // 2)),
    "something was appended": ("corrupt", lambda folder, dump: dump.open("ab").write(b"x")),
    "one byte differs": ("checksum_mismatch", lambda folder, dump: dump.open("r+b").write(b"\x1f\x8b\x08\x08")),
    "the dump is gone": ("truncated", lambda folder, dump: dump.unlink()),
    "more is claimed than was dumped": (
        "count_mismatch",
        lambda folder, dump: claim(folder, read_manifest(folder), total=78, namespaces={**SMALL, "alice": 41}),
    ),
    "the manifest is damaged": ("corrupt", lambda folder, dump: os.truncate(folder / MANIFEST, 300)),
    "the manifest claims no file": ("corrupt", lambda folder, dump: claim(folder, read_manifest(folder), files=())),
    "the manifest claims a word for a number": (
        "corrupt",
        lambda folder, dump: claim(folder, read_manifest(folder), sequence="first"),
    ),
    "the manifest is gone": ("corrupt", lambda folder, dump: (folder / MANIFEST).unlink()),
}


@pytest.mark.parametrize("how", TAMPER)
def test_what_happens_to_a_candidate_before_its_proof_is_found_out(
    guarded_in_each_format: Deployment, how: str
) -> None:
    code, tamper = TAMPER[how]
    catalog = Catalog(guarded_in_each_format)
    with nothing_lost(guarded_in_each_format, code):
        with catalog.locked():
            candidate = capture(guarded_in_each_format, catalog, ["daily"])
            files = read_manifest(candidate).files
            tamper(candidate, candidate / files[len(files) // 2].path)
            outcome = prove(catalog, candidate)
        assert code in outcome.verdict.codes
        assert outcome.backup.state == "quarantined"
        with pytest.raises(RefusedError, match="cannot be accepted") as refused:
            accept_backup(catalog, outcome.backup.backup, by="anna", reason="it will do")
        assert refused.value.next_step == "Make a new backup"


def test_a_candidate_that_is_gone_is_an_error_and_no_backup(guarded: Deployment) -> None:
    catalog = Catalog(guarded)
    with catalog.locked():
        candidate = capture(guarded, catalog, ["daily"])
        shutil.rmtree(candidate)
        with pytest.raises(Exception, match="No such file") as failed:
            prove(catalog, candidate)
    assert getattr(failed.value, "code", "") == "backups_folder"
    assert len(catalog.backups()) == 1
    assert catalog.last_refusal() is not None


# A person's word


def test_an_accepted_backup_counts_from_then_on(guarded: Deployment) -> None:
    run_sql(guarded, "DELETE FROM memories WHERE payload->>'user_id' <> 'carol'")
    refused = make_backup(guarded, ["daily", "weekly"]).backup
    catalog = Catalog(guarded)
    accepted = accept_backup(catalog, refused.backup, by="anna", reason="cleaned up")
    assert (accepted.state, accepted.tiers, accepted.total) == ("verified", ("daily", "weekly"), 12)
    assert standard_of(catalog).previous == accepted
    assert catalog.last_refusal() is None
    word = catalog.journal.last("accepted")
    assert word is not None
    assert (word["by"], word["reason"]) == ("anna", "cleaned up")
    assert {reason["code"] for reason in word["reasons"]} == {"shrunk", "namespace_vanished"}
    assert make_backup(guarded).verdict.ok
    with pytest.raises(RefusedError, match="is verified: there is nothing to accept"):
        accept_backup(catalog, refused.backup, by="anna", reason="again")


def test_an_empty_backup_may_be_accepted_where_empty_is_meant(guarded: Deployment) -> None:
    run_sql(guarded, "TRUNCATE memories")
    refused = make_backup(guarded).backup
    accepted = accept_backup(Catalog(guarded), refused.backup, by="anna", reason="a fresh start")
    assert accepted.total == 0
    assert drill(guarded).verdict.ok
    assert make_backup(guarded).verdict.codes == ["empty"]  # accepted once is not allowed for ever


def test_a_backup_that_was_damaged_in_quarantine_cannot_be_accepted_any_more(guarded: Deployment) -> None:
    run_sql(guarded, "TRUNCATE memories")
    refused = make_backup(guarded).backup
    dump = next((refused.path / "postgres").iterdir())
    os.truncate(dump, dump.stat().st_size - 1)
    with pytest.raises(RefusedError, match="truncated"):
        accept_backup(Catalog(guarded), refused.backup, by="anna", reason="a fresh start")
    assert Catalog(guarded).find(refused.backup).state == "quarantined"


def test_a_verdict_that_was_edited_does_not_make_a_damaged_backup_acceptable(guarded: Deployment) -> None:
    catalog = Catalog(guarded)
    with catalog.locked():
        candidate = capture(guarded, catalog, ["daily"])
        claim(candidate, read_manifest(candidate), total=78)
        refused = prove(catalog, candidate).backup
    write_json(refused.path / VERDICT, {"verdict": "refused", "reasons": [{"code": "shrunk", "message": "meant"}]})
    with pytest.raises(RefusedError, match="count_mismatch"):
        accept_backup(catalog, refused.backup, by="mallory", reason="trust me")


def test_dimensions_that_only_the_manifest_claims_are_damage_and_no_policy(guarded: Deployment) -> None:
    catalog = Catalog(guarded)
    with catalog.locked():
        candidate = capture(guarded, catalog, ["daily"])
        manifest = read_manifest(candidate)
        identity = manifest.census.identity
        claim(candidate, manifest, identity=type(identity)(**{**identity.as_json(), "dimensions": 9}))
        refused = prove(catalog, candidate)
    assert set(refused.verdict.codes) == {"dimensions_changed", "wrong_content"}
    with pytest.raises(RefusedError, match="wrong_content"):
        accept_backup(catalog, refused.backup.backup, by="anna", reason="a new embedder")


def test_a_changed_identity_that_was_accepted_is_believed_and_the_old_one_no_more(guarded: Deployment) -> None:
    catalog = Catalog(guarded)
    before = standard_of(catalog).identity
    run_sql(guarded, RECREATE.format(16))
    assert set(make_backup(guarded).verdict.codes) == {"identity_changed", "dimensions_changed"}
    identity = accept_identity(catalog, by="anna", reason="a new embedder")
    assert standard_of(catalog).identity == identity != before
    assert make_backup(guarded).verdict.ok
    assert catalog.newest_verified() is not None
    run_sql(guarded, RECREATE.format(8))
    assert set(make_backup(guarded).verdict.codes) == {"identity_changed", "dimensions_changed"}


def test_an_accepted_identity_does_not_excuse_a_loss(guarded: Deployment) -> None:
    run_sql(guarded, RECREATE.format(8) + "; DELETE FROM memories WHERE payload->>'user_id' = 'alice'")
    accept_identity(Catalog(guarded), by="anna", reason="moved")
    assert set(make_backup(guarded).verdict.codes) == {"shrunk", "namespace_vanished"}


def test_a_backup_that_is_not_there_cannot_be_accepted(guarded: Deployment) -> None:
    with pytest.raises(NotFoundError, match="has no backup 20260103_133102"):
        accept_backup(Catalog(guarded), "20260103_133102", by="anna", reason="")


# Two at once, and kills


def test_two_backups_at_once_succeed_one_after_the_other(guarded: Deployment) -> None:
    reading, writing = os.pipe()
    children = [_forked(lambda: (os.read(reading, 1), make_backup(guarded, ["hourly"]))) for _ in range(2)]
    os.write(writing, b"go")
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0, 0]
    os.close(reading)
    os.close(writing)
    verified = Catalog(guarded).verified()
    assert len({backup.backup for backup in verified}) == 3
    assert [backup.sequence for backup in verified] == [3, 2, 1]


def test_one_that_holds_the_lock_for_long_makes_others_busy(guarded: Deployment) -> None:
    ready, holding = os.pipe()
    end, ending = os.pipe()

    def hold() -> None:
        os.close(ending)
        with Catalog(guarded).locked():
            os.write(holding, b"x")
            os.read(end, 1)

    holder = _forked(hold)
    os.read(ready, 1)
    with pytest.raises(BusyError, match=r"at work for 0\.3 s"), Catalog(guarded).locked(seconds=0.3):
        pass
    os.close(ending)
    assert os.waitstatus_to_exitcode(os.waitpid(holder, 0)[1]) == 0
    for descriptor in (ready, holding, end):
        os.close(descriptor)
    assert make_backup(guarded).verdict.ok


def _forked(action: Callable[[], object]) -> int:
    child = os.fork()
    if child == 0:
        status = 1
        try:
            action()
            status = 0
        finally:
            os._exit(status)
    return child


def test_a_backup_killed_at_any_step_is_whole_or_was_never_made(guarded_in_each_format: Deployment) -> None:
    catalog = Catalog(guarded_in_each_format)
    first = catalog.find("latest")
    killed = True
    seen = set()
    for number in itertools.count(1):
        if not killed:
            break
        known = {backup.backup for backup in catalog.backups()}
        killed = killed_before(number, lambda: make_backup(guarded_in_each_format, ["hourly", "weekly"]))
        with catalog.locked():
            for candidate in catalog.candidates():  # complete, and only waits for its verdict
                assert prove(catalog, candidate).verdict.ok, f"killed before step {number}"
                seen.add("waiting")
        new = [backup for backup in catalog.backups() if backup.backup not in known]
        assert len(new) <= 1
        for backup in new:
            assert (backup.state, backup.tiers) == ("verified", ("hourly", "weekly")), f"killed before step {number}"
            assert verify_files(backup.path).verdict.ok
            dumps = [guarded_in_each_format.backups / tier / backup.backup / MANIFEST for tier in backup.tiers]
            assert dumps[0].samefile(dumps[1])
        seen.add("made" if new else "not made")
        left = [path.name for path in catalog.candidates_folder.iterdir()]
        assert left == [], f"killed before step {number}"
        assert verify_files(first.path).verdict.ok
    assert seen == {"not made", "waiting", "made"}
    sequences = [backup.sequence for backup in catalog.verified()]
    assert sequences == sorted(set(sequences), reverse=True)


def test_a_refusal_killed_at_any_step_ends_in_quarantine_or_was_never_made(guarded: Deployment) -> None:
    run_sql(guarded, "TRUNCATE memories")
    catalog = Catalog(guarded)
    killed = True
    for number in itertools.count(1):
        if not killed:
            break
        with catalog.locked():
            candidate = capture(guarded, catalog, ["daily"])
        killed = killed_before(number, lambda: _prove_alone(guarded, candidate.name))  # noqa: B023 - run at once
        with catalog.locked():
            for waiting in catalog.candidates():
                prove(catalog, waiting)
        assert len(catalog.verified()) == 1, f"killed before step {number}"
        assert catalog.find(candidate.name).state == "quarantined"
        refusal = catalog.last_refusal()
        assert refusal is not None
        assert "empty" in refusal[1].codes


def _prove_alone(deployment: Deployment, candidate: str) -> None:
    catalog = Catalog(deployment)
    with catalog.locked():
        prove(catalog, catalog.candidates_folder / candidate)
