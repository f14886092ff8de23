"""The drill: restored for real, compared exactly, journalled whatever comes of it, and gone afterwards."""

import gzip
import os
import subprocess
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from mem0_assets.backups.backup import make_backup, standard_of
from mem0_assets.backups.catalog import Catalog
from mem0_assets.backups.files import remove_tree, sha256_of
from mem0_assets.backups.inventory import Backup
from mem0_assets.backups.manifest import read_manifest
from mem0_assets.backups.retention import why_held
from mem0_assets.errors import NoSpaceError, NotFoundError
from mem0_assets.fleet import Deployment
from mem0_assets.live.indexes import Index
from mem0_assets.live.programs import find_program
from mem0_assets.restores.drill import DrillResult, drill
from mem0_assets.restores.scratch import PREFIX, NoScratchServerError
from mem0_assets.verdicts import OK, Verdict, refused
from mem0_assets_tests.binary_dump import forge_binary
from mem0_assets_tests.conftest import SMALL, MakeDeployment, run_sql
from mem0_assets_tests.forged import IDENTITY, claim, dump_text, forge, forge_legacy, forged_deployment, seal
from mem0_assets_tests.small_disk import fill, small_disk

BACK = "b restored: 3 memories in PostgreSQL 18.4"


def _journalled(deployment: Deployment, result: DrillResult) -> bool:
    event = Catalog(deployment).journal.last("drill")
    assert event is not None
    left = list(Catalog(deployment).candidates_folder.glob(f"{PREFIX}*"))
    return left == [] and {key: event[key] for key in result.as_json()} == result.as_json()


@pytest.mark.parametrize(
    ("verdict", "sentence"),
    [
        (OK, BACK),
        (
            refused("history_lost_memories", "x"),
            f"{BACK}; but mem0's history knows of more",
        ),
        (refused("count_mismatch", "x"), "b would not come back"),
        (refused("count_mismatch", "x") + refused("history_lost_memories", "x"), "b would not come back"),
    ],
)
def test_a_backup_that_came_back_and_a_history_that_knows_of_more_are_told_apart(
    verdict: Verdict, sentence: str
) -> None:
    assert DrillResult("b", verdict, 3, {"alice": 3}, {}, "18.4").sentence == sentence


def test_a_good_backup_comes_back_exactly_and_is_marked(make_in_each_format: MakeDeployment) -> None:
    deployment = make_in_each_format()
    backup = make_backup(deployment).backup
    run_sql(deployment, "TRUNCATE memories")  # the live database has nothing to do with it
    told: list[str] = []
    result = drill(deployment, tell=told.append)
    assert result.verdict.ok
    assert (result.backup, result.total, result.namespaces) == (backup.backup, 77, SMALL)
    assert result.server_version.startswith("18.")
    assert set(result.seconds) == {"restore", "index", "checks", "total"}
    assert result.seconds["total"] >= result.seconds["restore"] + result.seconds["index"] + result.seconds["checks"]
    assert _journalled(deployment, result)
    assert Catalog(deployment).find("latest").drilled_at is not None
    assert len(told) == 3


def test_what_was_wrong_in_the_live_database_is_found_in_its_backup(make_deployment: MakeDeployment) -> None:
    deployment = make_deployment()
    ids = "(SELECT id FROM memories ORDER BY id OFFSET {} LIMIT 1)"
    run_sql(deployment, 'UPDATE memories SET payload = payload || \'{"data": "other"}\' WHERE id = ' + ids.format(9))
    run_sql(deployment, "UPDATE memories SET vector = NULL WHERE id = " + ids.format(8))
    run_sql(deployment, "UPDATE memories SET vector = '[0,0,0,0,0,0,0,0]' WHERE id = " + ids.format(7))
    backup = make_backup(deployment).backup
    assert backup.manifest is not None
    for tier in backup.tiers:
        folder = deployment.backups / tier / backup.backup
        claim(folder, backup.manifest, indexes=(*backup.manifest.indexes, Index("memories_user_idx", "btree")))
    told = drill(deployment)
    assert told.verdict.codes == ["index_missing"]  # the rest is the live database's, which the backup told of
    assert len(told.cautions) == 3
    for tier in backup.tiers:
        folder = deployment.backups / tier / backup.backup
        claim(folder, read_manifest(folder), semantics=None)  # as version 0.1.0 wrote it: nothing says that it was so
    result = drill(deployment)
    assert set(result.verdict.codes) == {"hash_mismatch", "null_vectors", "zero_vectors", "index_missing"}
    assert result.total == 77
    assert _journalled(deployment, result)
    assert Catalog(deployment).find("latest").drilled_at is None
    assert "[null_vectors]" in (why_held(Catalog(deployment)) or "")


def test_what_is_odd_in_the_rows_is_a_caution_and_the_drill_is_good(make_deployment: MakeDeployment) -> None:
    deployment = make_deployment()
    run_sql(deployment, 'UPDATE memories SET payload = payload || \'{"created_at": "one evening"}\'')
    make_backup(deployment)
    result = drill(deployment)
    assert result.verdict.ok
    assert result.cautions == ("77 of 77 memories have a created_at or updated_at that is no time.",)
    assert _journalled(deployment, result)


def _forged(tmp_path: Path) -> tuple[Deployment, Path]:
    deployment = forged_deployment(tmp_path)
    return deployment, forge(deployment, "20260103_023000", 1)


def _redump(folder: Path, text: bytes) -> None:
    """Replace the dump by another, and vouch for it."""
    manifest = read_manifest(folder)
    dump = folder / manifest.files[0].path
    dump.write_bytes(gzip.compress(text, 1, mtime=0))
    file = replace(manifest.files[0], bytes=dump.stat().st_size, sha256=sha256_of(dump), plain_bytes=len(text))
    seal(folder, replace(manifest, files=(file,)))


def test_a_manifest_that_claims_one_memory_more_is_refused(tmp_path: Path) -> None:
    deployment, folder = _forged(tmp_path)
    claim(folder, read_manifest(folder), total=78, namespaces={**SMALL, "alice": 41})
    result = drill(deployment)
    assert "count_mismatch" in result.verdict.codes
    assert _journalled(deployment, result)


@pytest.mark.parametrize("forging", [forge, forge_binary])
def test_files_that_are_damaged_are_refused_without_a_server(tmp_path: Path, forging: Callable[..., Path]) -> None:
    deployment = forged_deployment(tmp_path)
    folder = forging(deployment, "20260103_023000", 1)
    files = read_manifest(folder).files
    dump = folder / files[len(files) // 2].path
    os.truncate(dump, 100)
    result = drill(deployment)
    assert result.verdict.codes == ["truncated"]
    assert _journalled(deployment, result)
    dump.unlink()
    assert drill(deployment).verdict.codes == ["truncated"]


def test_a_dump_that_the_server_refuses_is_refused_with_its_own_words(tmp_path: Path) -> None:
    deployment, folder = _forged(tmp_path)
    _redump(folder, dump_text().replace(b"CREATE EXTENSION IF NOT EXISTS vector WITH SCHEMA public;", b""))
    result = drill(deployment)
    assert result.verdict.codes == ["restore_failed"]
    assert 'type "public.vector" does not exist' in result.verdict.sentence()
    assert _journalled(deployment, result)


def test_a_backup_of_a_server_newer_than_all_says_nothing_about_the_backup(tmp_path: Path) -> None:
    deployment = forged_deployment(tmp_path)
    forge(deployment, "20260103_023000", 1, identity=replace(IDENTITY, server_version="99.0"))
    with pytest.raises(NoScratchServerError):
        drill(deployment)
    assert Catalog(deployment).journal.last("drill") is None


def test_only_verified_backups_are_drilled(make_deployment: MakeDeployment) -> None:
    deployment = make_deployment()
    with pytest.raises(NotFoundError, match="has no backup latest"):
        drill(deployment)
    make_backup(deployment)
    run_sql(deployment, "TRUNCATE memories")
    refused = make_backup(deployment).backup
    with pytest.raises(NotFoundError, match="is quarantined, and only verified backups are drilled"):
        drill(deployment, refused.backup)
    assert Catalog(deployment).journal.last("drill") is None


def test_a_backup_that_expires_while_it_is_drilled_is_not_found_and_not_damaged(tmp_path: Path) -> None:
    deployment, folder = _forged(tmp_path)
    with pytest.raises(NotFoundError, match="was expired while it was being drilled"):
        drill(deployment, tell=lambda what: remove_tree(folder))
    assert Catalog(deployment).journal.last("drill") is None


# Made before this project


def _old_dump(deployment: Deployment) -> bytes:
    """As the scripts of the incident made it: with owners and grants."""
    postgres = deployment.postgres
    place = {"PGHOST": postgres.host, "PGPORT": str(postgres.port), "PGUSER": postgres.user, "PATH": os.environ["PATH"]}
    command = [str(find_program("pg_dump", 18).path), postgres.database]
    return subprocess.run(command, env=place, capture_output=True, check=True).stdout


def test_an_old_folder_is_drilled_like_our_own_though_its_roles_do_not_exist_here(
    make_deployment: MakeDeployment,
) -> None:
    deployment = make_deployment()
    owner, reader = (f"{who} of {deployment.postgres.database}" for who in ("owner", "reader"))
    run_sql(deployment, f'CREATE ROLE "{owner}"; CREATE ROLE "{reader}"; ALTER TABLE memories OWNER TO "{owner}"')
    run_sql(deployment, f'GRANT SELECT ON memories TO "{reader}"')
    forge_legacy(deployment, "20260103_133102", gzip.compress(_old_dump(deployment)))
    result = drill(deployment)  # nobody has listed it yet: it is read now
    assert result.verdict.ok, result.verdict.sentence()
    assert (result.backup, result.total, result.namespaces) == ("20260103_133102", 77, SMALL)
    old: Backup | None = Catalog(deployment).newest_verified()
    assert old is not None
    assert old.drilled_at is not None
    assert standard_of(Catalog(deployment)).previous == old
    run_sql(deployment, "DELETE FROM memories WHERE payload->>'user_id' = 'alice'")
    assert set(make_backup(deployment).verdict.codes) == {"shrunk", "namespace_vanished"}


def test_an_old_dump_that_restores_into_another_database_is_refused_and_no_crash(tmp_path: Path) -> None:
    deployment = forged_deployment(tmp_path)
    elsewhere = b"CREATE DATABASE elsewhere;\n\\connect elsewhere\nSET client_encoding = 'UTF8';\n"
    text = dump_text().replace(b"SET client_encoding = 'UTF8';\n", elsewhere, 1)
    forge_legacy(deployment, "20260103_133102", gzip.compress(text))
    result = drill(deployment)
    assert result.verdict.codes == ["restore_failed"]
    assert 'relation "public.memories" does not exist' in result.verdict.sentence()
    assert _journalled(deployment, result)


def test_checks_that_cannot_be_made_refuse_the_backup_and_do_not_crash(tmp_path: Path) -> None:
    deployment, folder = _forged(tmp_path)
    _redump(folder, dump_text().replace(b"public.vector(3)", b"jsonb"))
    manifest = read_manifest(folder)
    claim(folder, manifest, identity=replace(manifest.census.identity, dimensions=None))
    result = drill(deployment)
    assert result.verdict.codes == ["restore_failed"]
    assert "operator does not exist" in result.verdict.sentence()
    assert _journalled(deployment, result)


# The disk


def test_too_little_space_is_said_before_anything_is_begun(tmp_path: Path) -> None:
    deployment, folder = _forged(tmp_path)
    with small_disk(tmp_path / "disk", "20m") as disk:
        moved = deployment.model_copy(update={"backups": disk / "prd"})
        subprocess.run(["cp", "-r", deployment.backups, disk], check=True)
        with pytest.raises(NoSpaceError, match="needs about") as full:
            drill(moved)
    assert full.value.next_step
    assert folder.exists()


def test_a_disk_that_runs_full_in_a_drill_says_nothing_against_the_backup(tmp_path: Path) -> None:
    deployment, _ = _forged(tmp_path)
    with small_disk(tmp_path / "disk", "340m") as disk:
        moved = deployment.model_copy(update={"backups": disk / "prd"})
        subprocess.run(["cp", "-r", deployment.backups, disk], check=True)

        def tell(what: str) -> None:
            if what.startswith("restoring"):
                fill(disk)

        with pytest.raises(NoSpaceError, match="ran full"):
            drill(moved, tell=tell)
        assert Catalog(moved).journal.last("drill") is None
        assert list(Catalog(moved).candidates_folder.glob(f"{PREFIX}*")) == []


def test_two_drills_at_once_do_not_disturb_each_other(tmp_path: Path) -> None:
    deployment, _ = _forged(tmp_path)
    results: list[DrillResult] = []
    drills = [threading.Thread(target=lambda: results.append(drill(deployment))) for _ in range(2)]
    for one in drills:
        one.start()
    for one in drills:
        one.join()
    assert [result.verdict.codes for result in results] == [["index_missing"]] * 2
