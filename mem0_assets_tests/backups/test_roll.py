"""Memories that changed without a word from mem0: who is found, who is not, and what a damaged roll costs."""

import hashlib
import os
import shutil
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mem0_assets.backups.backup import Outcome, accept_identity, make_backup
from mem0_assets.backups.catalog import Catalog
from mem0_assets.backups.manifest import MANIFEST, BackupFile, Changes, Manifest, read_manifest
from mem0_assets.backups.roll import ROLL, _compare, check_roll, write_roll
from mem0_assets.backups.validation import verify_files
from mem0_assets.fleet import Deployment
from mem0_assets.live.census import read_census
from mem0_assets.live.embedded import EmbeddedServer
from mem0_assets.live.postgres import connect, snapshot
from mem0_assets.live.roll import RECORD, Record
from mem0_assets.live.semantics import NIGHTLY, Found, GivenUpError
from mem0_assets_tests.conftest import MakeDeployment, run_sql
from mem0_assets_tests.forged import claim, seal
from mem0_assets_tests.histories import add_rows, make_history

QUIET = {"warn_rows": 0, "warn_bytes": 0}
FIRST = "id = (SELECT id FROM memories ORDER BY id LIMIT 1)"
# mem0's own words of an update, but for the text.
NOW = "to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US+00:00')"
TOUCH = f"payload || jsonb_build_object('updated_at', {NOW})"


def first_id(deployment: Deployment) -> str:
    with connect(deployment.postgres, seconds=10) as connection:
        row = connection.execute("SELECT min(id::text) AS id FROM memories").fetchone()
        assert row
        return str(row["id"])


def back_up(deployment: Deployment) -> tuple[Outcome, Manifest]:
    outcome = make_backup(deployment, ["daily"])
    assert outcome.verdict.ok
    assert outcome.backup.manifest
    return outcome, outcome.backup.manifest


def changes(manifest: Manifest) -> Changes:
    assert manifest.roll
    assert manifest.roll.changes
    return manifest.roll.changes


@pytest.fixture
def guarded(make_deployment: MakeDeployment) -> Deployment:
    """A deployment with one good backup."""
    deployment = make_deployment(limits=QUIET)
    back_up(deployment)
    return deployment


# Who is found


@pytest.mark.parametrize(
    "silently",
    [
        "UPDATE memories SET payload = payload || jsonb_build_object('data', 'a lie', 'hash', md5('a lie')) WHERE {}",
        'UPDATE memories SET payload = payload || \'{{"source": "a script"}}\' WHERE {}',
        "UPDATE memories SET payload = payload - 'source' WHERE {}",
        'UPDATE memories SET payload = payload || \'{{"user_id": "bob/work"}}\' WHERE {}',
    ],
)
def test_one_memory_that_sql_changed_is_found_by_its_id_and_nothing_else_sees_it(
    guarded: Deployment, silently: str
) -> None:
    run_sql(guarded, silently.format(FIRST))
    outcome, manifest = back_up(guarded)
    assert changes(manifest).changed == Found(1, (first_id(guarded),))
    [warning] = [one for one in outcome.cautions if not one.startswith("not kept")]
    assert warning.endswith(
        f"{changes(manifest).since} holds too, 1 changed although mem0 does not say that it touched them since."
    )
    assert changes(back_up(guarded)[1]).changed == Found(0)  # told once: the new state is the one to keep


def test_it_is_found_on_every_server_and_in_every_format(
    make_in_each_format: MakeDeployment, server: EmbeddedServer, server16: EmbeddedServer
) -> None:
    for name, running in (("old", server16), ("new", server)):
        deployment = make_in_each_format(name=name, on=running, limits=QUIET)
        back_up(deployment)
        run_sql(deployment, f'UPDATE memories SET payload = payload || \'{{"data": "a lie"}}\' WHERE {FIRST}')
        assert changes(back_up(deployment)[1]).changed == Found(1, (first_id(deployment),))


def test_half_a_restore_is_found_though_its_times_differ(guarded: Deployment) -> None:
    run_sql(guarded, "CREATE TABLE aside AS SELECT * FROM memories")
    run_sql(guarded, f'UPDATE memories SET payload = {TOUCH} || \'{{"data": "newer"}}\' WHERE {FIRST}')
    assert changes(back_up(guarded)[1]).changed == Found(0)
    run_sql(guarded, "UPDATE memories m SET payload = a.payload FROM aside a WHERE a.id = m.id")
    assert changes(back_up(guarded)[1]).changed == Found(1, (first_id(guarded),))


def test_a_restore_of_the_whole_last_backup_changes_nothing(guarded: Deployment) -> None:
    run_sql(guarded, "CREATE TABLE aside AS SELECT * FROM memories")
    run_sql(guarded, "TRUNCATE memories")
    run_sql(guarded, "INSERT INTO memories SELECT * FROM aside ORDER BY random()")
    run_sql(guarded, "VACUUM FULL memories")
    found = changes(back_up(guarded)[1])
    assert (found.both, found.changed) == (77, Found(0))


def test_what_mem0_updated_adds_and_deletes_is_no_finding(guarded: Deployment) -> None:
    run_sql(guarded, f'UPDATE memories SET payload = {TOUCH} || \'{{"data": "newer", "mood": "new"}}\' WHERE {FIRST}')
    run_sql(guarded, "DELETE FROM memories WHERE id = (SELECT max(id::text)::uuid FROM memories)")
    run_sql(guarded, "INSERT INTO memories SELECT gen_random_uuid(), vector, payload FROM memories LIMIT 5")
    found = changes(back_up(guarded)[1])
    assert (found.both, found.changed) == (76, Found(0))


def test_an_update_that_only_the_history_knows_is_no_finding(make_deployment: MakeDeployment, tmp_path: Path) -> None:
    history = make_history(tmp_path / "history.db")
    deployment = make_deployment(limits=QUIET, stores={"history": history})
    memory = first_id(deployment)
    add_rows(history, [(memory, "ADD", "old"), (memory, "UPDATE", "before the backup")])
    back_up(deployment)
    lie = f'UPDATE memories SET payload = payload || \'{{"data": "%s"}}\' WHERE {FIRST}'
    run_sql(deployment, lie % "one")
    assert changes(back_up(deployment)[1]).changed == Found(1, (memory,))
    run_sql(deployment, lie % "two")
    add_rows(history, [(memory.upper(), "UPDATE", "two")])
    assert changes(back_up(deployment)[1]).changed == Found(0)


# What there is to compare with


def test_a_backup_of_before_the_rolls_and_another_table_are_nothing_to_compare_with(guarded: Deployment) -> None:
    newest = Catalog(guarded).newest_verified()
    assert newest
    assert newest.manifest
    shutil.rmtree(newest.path / "roll")
    seal(
        newest.path,
        replace(newest.manifest, roll=None, files=tuple(f for f in newest.manifest.files if f.path != ROLL)),
    )
    assert verify_files(newest.path).verdict.ok
    _, manifest = back_up(guarded)
    assert manifest.roll
    assert manifest.roll.changes is None
    run_sql(guarded, "CREATE TABLE copy (LIKE memories INCLUDING ALL); INSERT INTO copy SELECT * FROM memories")
    run_sql(guarded, f"UPDATE copy SET payload = payload - 'source' WHERE {FIRST}")
    run_sql(guarded, "DROP TABLE memories; ALTER TABLE copy RENAME TO memories")
    accept_identity(Catalog(guarded), by="a test", reason="recreated")
    _, manifest = back_up(guarded)
    assert manifest.roll
    assert manifest.roll.changes is None


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (lambda roll: roll.unlink(), "does not exist"),
        (lambda roll: os.truncate(roll, roll.stat().st_size - 9), "it ends inside a record"),
        (lambda roll: os.truncate(roll, 0), "is not the file that was written"),
        (lambda roll: roll.write_bytes(bytes(roll.stat().st_size)), "is not the file that was written"),
    ],
)
def test_a_roll_of_the_last_backup_that_was_damaged_since_is_told_and_costs_no_backup(
    guarded: Deployment, damage: Callable[[Path], object], why: str
) -> None:
    newest = Catalog(guarded).newest_verified()
    assert newest
    damage(newest.path / ROLL)
    outcome, manifest = back_up(guarded)
    assert manifest.roll
    assert manifest.roll.changes is None
    [warning] = [one for one in outcome.cautions if not one.startswith("not kept")]
    assert warning.startswith("Not everything could be looked at: the changes since the last backup: ")
    assert why in warning
    assert changes(back_up(guarded)[1]).both == 77


# The files


def test_a_roll_that_lies_is_refused(guarded: Deployment) -> None:
    newest = Catalog(guarded).newest_verified()
    assert newest
    assert newest.manifest
    whole = (newest.path / ROLL).read_bytes()
    records = [whole[at : at + RECORD.size] for at in range(0, len(whole), RECORD.size)]
    lies: dict[str, list[bytes]] = {
        "names 76 memories": records[1:],
        "names 78 memories": [*records, records[-1]],
        "not in the order": records[::-1],
        "names 0 memories": [],
    }
    for why, lie in lies.items():
        with_roll(newest.path, newest.manifest, b"".join(lie))
        verdict = verify_files(newest.path).verdict
        assert verdict.codes == ["corrupt"]
        assert why in verdict.sentence()
    with_roll(newest.path, newest.manifest, whole[:-1])
    assert verify_files(newest.path).verdict.sentence() == "the roll: it ends inside a record [truncated]"
    with_roll(newest.path, newest.manifest, whole)
    assert verify_files(newest.path).verdict.ok


def with_roll(folder: Path, manifest: Manifest, plain: bytes) -> None:
    """Another roll in the place of a backup's own, and vouched for."""
    (folder / ROLL).write_bytes(plain)
    file = BackupFile(ROLL, len(plain), hashlib.sha256(plain).hexdigest(), len(plain))
    seal(folder, replace(manifest, files=tuple(file if one.path == ROLL else one for one in manifest.files)))


@pytest.mark.parametrize(
    ("damage", "codes"),
    [
        (lambda roll: roll.unlink(), ["truncated"]),
        (lambda roll: os.truncate(roll, roll.stat().st_size - 1), ["truncated"]),
        (lambda roll: roll.write_bytes(bytes(roll.stat().st_size)), ["checksum_mismatch"]),
    ],
)
def test_a_damaged_roll_is_damage_of_its_backup(
    guarded: Deployment, damage: Callable[[Path], object], codes: list[str]
) -> None:
    newest = Catalog(guarded).newest_verified()
    assert newest
    damage(newest.path / ROLL)
    assert verify_files(newest.path).verdict.codes == codes


def test_a_manifest_that_claims_a_roll_and_names_no_file_is_damaged(guarded: Deployment) -> None:
    newest = Catalog(guarded).newest_verified()
    assert newest
    assert newest.manifest
    claim(newest.path, newest.manifest, files=tuple(one for one in newest.manifest.files if one.path != ROLL))
    assert (
        verify_files(newest.path)
        .verdict.sentence()
        .endswith(f"{MANIFEST} is damaged: it names no file of its roll [corrupt]")
    )


def test_a_roll_that_is_too_large_or_takes_too_long_is_given_up(guarded: Deployment, tmp_path: Path) -> None:
    (tmp_path / "another").mkdir()
    with connect(guarded.postgres, seconds=30) as connection, snapshot(connection, [("public", "memories")]):
        census = read_census(connection, "memories")
        with pytest.raises(GivenUpError, match="there are more than 76 memories"):
            write_roll(connection, census, tmp_path, replace(NIGHTLY, texts=76))
        assert not (tmp_path / ROLL).exists()
        file = write_roll(connection, census, tmp_path, replace(NIGHTLY, texts=77))
    assert check_roll(tmp_path / ROLL, 77).ok
    run_sql(guarded, "INSERT INTO memories SELECT gen_random_uuid(), NULL, '{}' FROM generate_series(1, 50000)")
    with connect(guarded.postgres, seconds=30) as connection, snapshot(connection, [("public", "memories")]):
        with pytest.raises(GivenUpError, match="it took longer than 0 s"):
            write_roll(connection, census, tmp_path / "another", replace(NIGHTLY, seconds=0.0))
        assert read_census(connection, "memories").total == 50077
    assert file.plain_bytes == 77 * RECORD.size


def test_a_table_that_has_no_roll_is_backed_up_without_one_and_that_is_told(guarded: Deployment) -> None:
    run_sql(guarded, "ALTER TABLE memories ALTER id TYPE text")
    outcome, manifest = back_up(guarded)
    assert manifest.roll is None
    assert manifest.files_of("roll") == ()
    assert not (outcome.backup.path / "roll").exists()
    assert "the roll: PostgreSQL could not read it (UndefinedFunction)" in " ".join(outcome.cautions)
    run_sql(guarded, "ALTER TABLE memories ALTER id TYPE uuid USING id::uuid")
    assert back_up(guarded)[1].roll


# Two rolls

MEMORY = st.tuples(st.integers(0, 255), st.integers(0, 3))
ROLLS = st.dictionaries(st.integers(0, 30), MEMORY, max_size=30)


@given(ROLLS, ROLLS)
def test_two_rolls_say_what_two_dictionaries_say(
    old: dict[int, tuple[int, int]], new: dict[int, tuple[int, int]]
) -> None:
    def records(roll: dict[int, tuple[int, int]]) -> list[Record]:
        hour = 3_600_000
        return [
            (uuid.UUID(int=memory).bytes, bytes([digest] * 4), (hour * touch).to_bytes(6, "big"))
            for memory, (digest, touch) in sorted(roll.items())
        ]

    both = old.keys() & new.keys()
    changed = [one for one in sorted(both) if old[one][0] != new[one][0] and new[one][1] <= old[one][1]]
    found = _compare(iter(records(old)), iter(records(new)))
    assert found == (len(both), len(changed), [str(uuid.UUID(int=one)) for one in changed])


def test_what_was_compared_is_in_the_manifest_as_it_was(guarded: Deployment) -> None:
    outcome, manifest = back_up(guarded)
    assert read_manifest(outcome.backup.path).roll == manifest.roll
