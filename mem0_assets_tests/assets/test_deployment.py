"""One deployment's graph, run for real: what is published, what is refused, and what a person then sees."""

import json
from datetime import timedelta
from pathlib import Path

import dagster as dg
import pytest

from mem0_assets.backups.manifest import read_manifest
from mem0_assets.recovery.record import STAGES
from mem0_assets.timetable import GRACE
from mem0_assets_tests.assets.conftest import (
    CALM,
    OpenProject,
    Project,
    failure_of,
    materialized,
    metadata_of,
    red,
    yellow,
)
from mem0_assets_tests.conftest import SMALL, MakeDeployment, run_sql

CONTENT_CHECKS = {
    "contents_seen",
    "hashes_match",
    "texts_not_empty",
    "scope_known",
    "vectors_present",
    "vectors_not_zero",
    "vectors_alike",
    "few_duplicates",
    "times_readable",
    "times_not_future",
    "entity_links_kept",
    "searches_complete",
    "indexes_whole",
    "metadata_kept",
    "changes_by_mem0",
}
MAY_REFUSE = {"texts_not_empty", "vectors_present", "vectors_not_zero", "metadata_kept"}
BACKUP_CHECKS = {"has_memories", "complete", "not_shrunk", "same_identity", "plausible_size", "stores_kept"}
CONFIGURATION_CHECKS = {"unchanged", "next_start_same", "guarded", "embedder_fits"}
COUNT_CHECKS = {"reachable", "has_memories", "not_dropped", "same_identity", "writes_arrive"}
# What runs by itself; all else waits for a person, in a group of its own.
EVERY_NIGHT = {"memories", "configuration", "memory_counts", "postgres_backup", "validated_dump", "restore_drill"}
EVERY_NIGHT |= {"retention", "recovery_drill"}
TOTAL = sum(SMALL.values())


@pytest.fixture
def project(make_deployment: MakeDeployment, open_project: OpenProject) -> Project:
    """A small prd that was never backed up."""
    return open_project(make_deployment(limits=CALM))


def dump_of(folder: Path) -> Path:
    return folder / read_manifest(folder).files[0].path


def damage(path: Path) -> None:
    """Flip one byte in the middle of a file: its size stays."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


def quarantined(project: Project, name: str = "prd") -> Path:
    """The one refused backup of a deployment."""
    (folder,) = (project.fleet.deployment(name).backups / "quarantine").iterdir()
    return folder


def refusal_codes(folder: Path) -> set[str]:
    verdict = json.loads((folder / "verdict.json").read_text())
    assert verdict["verdict"] == "refused"
    return {reason["code"] for reason in verdict["reasons"]}


# A good run


def test_a_good_backup_is_captured_checked_read_back_published_and_pruned(project: Project) -> None:
    result = project.run("prd_backup")
    assert result.success
    assert materialized(result) == ["postgres_backup", "validated_dump", "retention"]
    evaluations = result.get_asset_check_evaluations()
    assert {one.check_name for one in evaluations} == BACKUP_CHECKS | CONTENT_CHECKS | {"read_back"}
    assert all(one.passed for one in evaluations)
    assert [backup.state for backup in project.catalog().backups()] == ["verified"]
    assert project.catalog().candidates() == []


def test_a_good_backup_shows_what_a_person_looks_for(project: Project) -> None:
    result = project.run("prd_backup")
    backup = project.catalog().find("latest")
    assert backup.manifest is not None
    made, published = metadata_of(result, "postgres_backup"), metadata_of(result, "validated_dump")
    for shown in (made, published):
        assert shown["dagster/row_count"] == TOTAL
        assert shown["backup"] == backup.backup
        assert shown["bytes"] == backup.bytes
        assert [row.data["sha256"] for row in shown["files"].records] == [file.sha256 for file in backup.manifest.files]
        assert shown["format"] == "sql"
        assert shown["seconds"] > 0
        assert shown["program"].startswith("pg_dump ")
        assert {row.data["namespace"]: row.data["memories"] for row in shown["namespaces"].records} == SMALL
    assert published["path"] == str(backup.path)
    assert published["state"] == "verified"
    pruned = metadata_of(result, "retention")
    assert (pruned["kept"], pruned["expired"], pruned["held"]) == (1, 0, "no")
    assert {row.data["why"] for row in pruned["decisions"].records} >= {"one of the newest 24", "one of the newest 7"}


def test_a_binary_backup_is_captured_checked_published_and_drilled_alike(
    make_deployment: MakeDeployment, open_project: OpenProject
) -> None:
    project = open_project(make_deployment(limits=CALM, dump={"format": "binary"}))
    result = project.run("prd_backup")
    assert result.success
    assert materialized(result) == ["postgres_backup", "validated_dump", "retention"]
    assert all(one.passed for one in result.get_asset_check_evaluations())
    manifest = project.catalog().find("latest").manifest
    assert manifest is not None
    for thing in ("postgres_backup", "validated_dump"):
        shown = metadata_of(result, thing)
        assert (shown["format"], shown["dagster/row_count"], shown["bytes"]) == ("binary", TOTAL, manifest.bytes)
        files = [(row.data["path"], row.data["sha256"]) for row in shown["files"].records]
        assert files == [(file.path, file.sha256) for file in manifest.files]
    drilled = project.run("prd_drill")
    assert drilled.success
    assert metadata_of(drilled, "restore_drill")["dagster/row_count"] == TOTAL


def test_tiers_that_are_due_at_the_same_minute_share_one_backup(project: Project) -> None:
    project.run("prd_backup")
    backup = project.catalog().find("latest")
    assert backup.tiers == ("hourly", "daily", "weekly", "monthly")
    dumps = [dump_of(project.fleet.deployment("prd").backups / tier / backup.backup) for tier in backup.tiers]
    assert {dump.stat().st_ino for dump in dumps} == {dumps[0].stat().st_ino}
    assert dumps[0].stat().st_nlink == 4


def test_a_backup_by_hand_when_nothing_is_due_is_a_daily_one(project: Project) -> None:
    project.run("prd_backup")
    project.run("prd_backup")
    assert project.catalog().find("latest").tiers == ("daily",)


def test_retention_says_what_it_expired_and_why(make_deployment: MakeDeployment, open_project: OpenProject) -> None:
    project = open_project(make_deployment(limits=CALM, retention={"daily": 1}))
    project.run("prd_backup")
    pruned = metadata_of(project.run("prd_backup"), "retention")
    assert pruned["expired"] == 1
    gone = [row.data for row in pruned["decisions"].records if row.data["kept"] == "expired"]
    assert [(row["tier"], row["why"]) for row in gone] == [("daily", "beyond the 1 that daily keeps")]


# What is refused


def test_an_empty_database_makes_no_backup(project: Project) -> None:
    project.run("prd_backup")
    good = project.catalog().find("latest")
    run_sql(project.fleet.deployment("prd"), "DELETE FROM memories")
    result = project.run("prd_backup")
    assert not result.success
    assert materialized(result) == ["postgres_backup"]
    assert set(red(result)) == {"has_memories", "not_shrunk"}
    assert "holds no memories at all" in red(result)["has_memories"]
    assert refusal_codes(quarantined(project)) == {"empty", "shrunk", "namespace_vanished"}
    assert [backup.backup for backup in project.catalog().verified()] == [good.backup]


def test_a_database_that_was_always_empty_is_refused_too(
    make_deployment: MakeDeployment, open_project: OpenProject
) -> None:
    project = open_project(make_deployment({}, limits=CALM))
    result = project.run("prd_backup")
    assert set(red(result)) == {"has_memories"}
    assert project.catalog().verified() == []


def test_a_shrunk_database_makes_no_backup(project: Project) -> None:
    project.run("prd_backup")
    run_sql(project.fleet.deployment("prd"), "DELETE FROM memories WHERE payload->>'user_id' = 'carol'")
    result = project.run("prd_backup")
    assert set(red(result)) == {"not_shrunk"}
    assert "carol held 12 memories" in red(result)["not_shrunk"]
    assert materialized(result) == ["postgres_backup"]
    assert refusal_codes(quarantined(project)) == {"namespace_vanished"}


def test_another_database_under_the_same_name_makes_no_backup(project: Project) -> None:
    """The incident: all memories are there again, and it is another table, with vectors of another length."""
    project.run("prd_backup")
    statements = (
        "ALTER TABLE memories RENAME TO old",
        "CREATE TABLE memories AS SELECT id, vector_concat AS vector, payload FROM "
        "(SELECT id, (vector || vector)::vector(16) AS vector_concat, payload FROM old) doubled",
    )
    for statement in statements:
        run_sql(project.fleet.deployment("prd"), statement)
    result = project.run("prd_backup")
    assert set(red(result)) == {"same_identity"}
    assert "the table changed from" in red(result)["same_identity"]
    assert refusal_codes(quarantined(project)) == {"identity_changed", "dimensions_changed"}


def test_a_backup_below_the_demanded_size_is_refused(
    make_deployment: MakeDeployment, open_project: OpenProject
) -> None:
    project = open_project(make_deployment(limits={**CALM, "min_bytes": 10**9}))
    assert set(red(project.run("prd_backup"))) == {"plausible_size"}
    assert refusal_codes(quarantined(project)) == {"too_small"}


def test_a_table_that_is_gone_is_a_failed_attempt_with_its_code(project: Project) -> None:
    project.run("prd_backup")
    run_sql(project.fleet.deployment("prd"), "DROP TABLE memories")
    result = project.run("prd_backup")
    assert failure_of(result).metadata["code"].value == "table_missing"
    assert materialized(result) == []
    refusal = project.catalog().last_refusal()
    assert refusal is not None
    assert refusal[1].codes == ["table_missing"]


def test_nothing_is_deleted_while_the_newest_attempt_is_refused(
    make_deployment: MakeDeployment, open_project: OpenProject
) -> None:
    project = open_project(make_deployment(limits=CALM, retention={"daily": 1}))
    project.run("prd_backup")
    project.click(["prd", "postgres_backup"], ["prd", "validated_dump"])
    run_sql(project.fleet.deployment("prd"), "DELETE FROM memories")
    project.run("prd_backup")
    held = metadata_of(project.click(["prd", "retention"]), "retention")
    assert held["expired"] == 0
    assert "was refused" in held["held"]
    assert len(project.catalog().verified()) == 2


# What happens between two materializations


def test_a_file_that_was_damaged_after_its_capture_is_refused(project: Project) -> None:
    assert project.click(["prd", "postgres_backup"]).success
    (candidate,) = project.catalog().candidates()
    damage(dump_of(candidate))
    result = project.click(["prd", "validated_dump"])
    assert not result.success
    assert materialized(result) == []
    assert "sha256 differs" in red(result)["read_back"]
    assert failure_of(result).metadata["incident"].value == "backup_refused"
    assert "checksum_mismatch" in refusal_codes(quarantined(project))
    assert project.catalog().verified() == []


def test_a_file_that_was_cut_after_its_capture_fails_the_check_complete(project: Project) -> None:
    project.click(["prd", "postgres_backup"])
    (candidate,) = project.catalog().candidates()
    dump = dump_of(candidate)
    dump.write_bytes(dump.read_bytes()[:-100])
    result = check_alone(project)
    assert set(red(result)) == {"complete"}
    assert "truncated" in refusal_codes(quarantined(project))


def test_a_damaged_manifest_fails_every_check_because_nothing_is_known(project: Project) -> None:
    project.click(["prd", "postgres_backup"])
    (candidate,) = project.catalog().candidates()
    (candidate / "manifest.json").write_text("{")
    result = check_alone(project)
    assert set(red(result)) == BACKUP_CHECKS
    assert refusal_codes(quarantined(project)) == {"corrupt"}


def check_alone(project: Project) -> dg.ExecuteInProcessResult:
    """Execute the checks of postgres_backup without it, as the UI's button does."""
    key = dg.AssetKey(["prd", "postgres_backup"])
    checks = dg.define_asset_job("checks", selection=dg.AssetSelection.checks_for_assets(key))
    job = dg.Definitions.merge(project.definitions, dg.Definitions(jobs=[checks])).resolve_job_def("checks")
    return job.execute_in_process(instance=project.instance, raise_on_error=False)


def test_the_checks_of_a_published_backup_can_be_executed_again(project: Project) -> None:
    project.run("prd_backup")
    result = check_alone(project)
    assert result.success
    assert {one.check_name for one in result.get_asset_check_evaluations()} == BACKUP_CHECKS | CONTENT_CHECKS


def test_checks_without_a_backup_say_so(project: Project) -> None:
    assert "was not materialized yet" in (failure_of(check_alone(project)).description or "")


def test_publishing_without_a_candidate_says_what_to_do(project: Project) -> None:
    result = project.click(["prd", "validated_dump"])
    assert "materialize postgres_backup first" in (failure_of(result).description or "")


def test_publishing_alone_judges_by_itself(project: Project) -> None:
    """A blocking check gates only inside its own run; a click is never gated."""
    project.run("prd_backup")
    run_sql(project.fleet.deployment("prd"), "DELETE FROM memories")
    without_checks = dg.materialize(
        [one for one in project.definitions.assets or () if isinstance(one, dg.AssetsDefinition)],
        instance=project.instance,
        selection=dg.AssetSelection.assets(["prd", "postgres_backup"]).without_checks(),
    )
    assert without_checks.success
    result = project.click(["prd", "validated_dump"])
    assert "holds no memories at all" in red(result)["read_back"]
    assert len(project.catalog().verified()) == 1


# Cautions, and the other deployments


def test_few_rows_and_few_bytes_warn_and_do_not_stop_the_backup(
    make_deployment: MakeDeployment, open_project: OpenProject
) -> None:
    project = open_project(make_deployment())
    result = project.run("prd_backup")
    assert result.success
    assert red(result) == {}
    assert set(yellow(result)) == {"has_memories", "plausible_size"}
    assert "fewer than warn_rows" in yellow(result)["has_memories"]
    assert len(project.catalog().verified()) == 1


def test_one_deployment_is_refused_and_the_other_is_not_touched(
    make_deployment: MakeDeployment, open_project: OpenProject
) -> None:
    project = open_project(make_deployment(name="prd", limits=CALM), make_deployment(name="test", limits=CALM))
    assert project.run("prd_backup").success
    assert project.run("test_backup").success
    run_sql(project.fleet.deployment("prd"), "TRUNCATE memories")
    assert not project.run("prd_backup").success
    assert project.run("test_backup").success
    assert len(project.catalog("prd").verified()) == 1
    assert len(project.catalog("test").verified()) == 2
    assert not (project.fleet.deployment("test").backups / "quarantine").exists()


# Counts and drills


def test_a_census_shows_counts_per_namespace_and_which_database_it_is(project: Project) -> None:
    result = project.run("prd_census")
    shown = metadata_of(result, "memory_counts")
    assert shown["dagster/row_count"] == TOTAL
    assert shown["namespace_count"] == len(SMALL)
    assert shown["dimensions"] == 8
    assert shown["identity"]["database"] == project.fleet.deployment("prd").postgres.database
    assert shown["chart"].startswith("![memories per namespace](data:image/svg+xml;base64,")
    assert {one.check_name for one in result.get_asset_check_evaluations()} == COUNT_CHECKS


def test_a_drill_brings_every_memory_back_and_says_how_long_it_took(project: Project) -> None:
    project.run("prd_backup")
    result = project.run("prd_drill")
    assert result.success
    shown = metadata_of(result, "restore_drill")
    assert shown["dagster/row_count"] == TOTAL
    assert shown["backup"] == project.catalog().find("latest").backup
    assert shown["total_seconds"] >= shown["restore_seconds"] > 0
    assert [(one.check_name, one.passed) for one in result.get_asset_check_evaluations()] == [
        ("restored_exactly", True)
    ]
    assert project.catalog().find("latest").drilled_at is not None


def test_a_drill_of_a_damaged_backup_fails_and_is_not_a_materialization(project: Project) -> None:
    project.run("prd_backup")
    damage(dump_of(project.catalog().find("latest").path))
    result = project.run("prd_drill")
    assert not result.success
    assert materialized(result) == []
    assert set(red(result)) == {"restored_exactly"}
    assert failure_of(result).metadata["incident"].value == "drill_failed"
    assert project.catalog().find("latest").drilled_at is None


def test_a_drill_without_a_backup_says_that_there_is_none(project: Project) -> None:
    assert failure_of(project.run("prd_drill")).metadata["code"].value == "not_found"


# The shape of the graph


def test_every_deployment_has_the_same_graph_under_its_own_name(
    make_deployment: MakeDeployment, open_project: OpenProject
) -> None:
    project = open_project(make_deployment(name="prd"), make_deployment(name="test"))
    graph = project.definitions.resolve_asset_graph()
    things = ["memories", "configuration", "memory_counts", "postgres_backup", "validated_dump", "restore_drill"]
    things += ["retention", "restore_plan", "safety_backup", "restored_database", "restored_deployment"]
    things += ["recovery_drill", "gate_a", "recovery_readiness", "gate_b", "recovery_restore"]
    things += ["gate_c", "recovery_cold_start", "gate_d", "recovery_telegram", "restored_when_empty"]
    assert {key.to_user_string() for key in graph.get_all_asset_keys()} == {
        f"{name}/{thing}" for name in ("prd", "test") for thing in things
    }
    for name in ("prd", "test"):
        parents = {
            thing: {key.path[-1] for key in graph.get(dg.AssetKey([name, thing])).parent_keys} for thing in things
        }
        assert parents == {
            "memories": set(),
            "configuration": set(),
            "memory_counts": {"memories"},
            "postgres_backup": {"memories"},
            "validated_dump": {"postgres_backup"},
            "restore_drill": {"validated_dump"},
            "retention": {"validated_dump"},
            "gate_a": {"validated_dump", "restore_drill"},
            "recovery_readiness": {"gate_a"},
            "gate_b": {"recovery_readiness"},
            "recovery_restore": {"gate_b", "recovery_readiness"},
            "gate_c": {"recovery_restore"},
            "recovery_cold_start": {"gate_c", "recovery_restore"},
            "gate_d": {"recovery_cold_start"},
            "recovery_telegram": {"gate_d", "recovery_cold_start"},
            "recovery_drill": {"validated_dump"},
            "restored_when_empty": {"validated_dump"},
            "restore_plan": {"validated_dump", "memories"},
            "safety_backup": {"restore_plan"},
            "restored_database": {"safety_backup"},
            "restored_deployment": {"restored_database"},
        }


def test_every_asset_says_whose_it_is_what_it_is_and_who_looks_after_it(project: Project) -> None:
    graph = project.definitions.resolve_asset_graph()
    kinds = {}
    for key in graph.get_all_asset_keys():
        node = graph.get(key)
        assert node.group_name == ("prd" if key.path[-1] in EVERY_NIGHT else "prd_recovery")
        assert node.owners == ["team:memory-keepers"]
        assert len(node.description or "") > 20
        kinds[key.path[-1]] = node.kinds
    assert kinds == {
        "memories": {"postgres", "pgvector"},
        "configuration": {"docker", "yaml"},
        "memory_counts": {"postgres"},
        "postgres_backup": {"postgres", "file"},
        "validated_dump": {"file"},
        "restore_drill": {"postgres"},
        "retention": {"file"},
        "recovery_drill": {"postgres"},
        "restored_when_empty": {"postgres"},
        **{
            thing: {"postgres"}
            for thing in ("restore_plan", "safety_backup", "restored_database", "restored_deployment")
        },
        **{f"gate_{letter}": {"approval"} for letter in "abcd"},
        **{f"recovery_{stage}": {"postgres"} for stage in STAGES},
    }
    assert not graph.get(dg.AssetKey(["prd", "memories"])).is_materializable


def test_what_reads_one_database_takes_turns_and_so_do_drills(project: Project) -> None:
    pools = {
        part.op.name: part.op.pool
        for part in [*(project.definitions.assets or ()), *(project.definitions.asset_checks or ())]
        if isinstance(part, dg.AssetsDefinition)
    }
    assert pools == {
        "prd__memory_counts": None,
        "prd__postgres_backup": "prd_database",
        "prd__validated_dump": "prd_database",
        "prd__retention": "prd_database",
        "prd__restore_drill": "scratch_server",
        "prd__recovery_drill": "scratch_server",
        "prd__restored_when_empty": "prd_database",
        "prd__restore_plan": None,
        "prd__restore": "prd_database",
        **{f"prd__gate_{letter}": None for letter in "abcd"},
        **{f"prd__recovery_{stage}": "prd_database" for stage in STAGES},
        "prd_backup_checks": "prd_database",
        "prd_count_checks": None,
        "prd_health_checks": None,
        "prd_configuration_checks": None,
    }


def test_the_checks_of_a_candidate_block_and_those_of_the_live_deployment_do_not(project: Project) -> None:
    graph = project.definitions.resolve_asset_graph()
    blocking = {(key.asset_key.path[-1], key.name): graph.get(key).blocking for key in graph.asset_check_keys}
    assert blocking == (
        {("postgres_backup", name): True for name in BACKUP_CHECKS}
        | {("postgres_backup", name): name in MAY_REFUSE for name in CONTENT_CHECKS}
        | {("memory_counts", name): False for name in COUNT_CHECKS}
        | {("memories", name): False for name in ("postgres_healthy", "disk_space")}
        | {("configuration", name): False for name in CONFIGURATION_CHECKS}
        | {("validated_dump", "read_back"): False, ("restore_drill", "restored_exactly"): False}
        | {("restored_database", "restored_exactly"): True}
    )


@pytest.mark.parametrize(
    ("schedule", "backup_window", "drill_window"),
    [
        ({}, timedelta(hours=1), timedelta(days=7)),
        ({"hourly": None}, timedelta(days=1), timedelta(days=7)),
        ({"drill": None}, timedelta(hours=1), None),
        ({"hourly": None, "daily": None, "weekly": None, "monthly": None}, None, timedelta(days=7)),
    ],
)
def test_a_proven_backup_and_a_drill_stay_fresh_for_one_gap_of_the_schedule(
    make_deployment: MakeDeployment,
    open_project: OpenProject,
    schedule: dict[str, None],
    backup_window: timedelta | None,
    drill_window: timedelta | None,
) -> None:
    graph = open_project(make_deployment(schedule=schedule)).definitions.resolve_asset_graph()
    windows = {key.path[-1]: graph.get(key).freshness_policy for key in graph.get_all_asset_keys()}
    for thing, gap in (("validated_dump", backup_window), ("restore_drill", drill_window)):
        policy = windows.pop(thing)
        expected = dg.FreshnessPolicy.time_window(fail_window=gap + GRACE + timedelta(minutes=1)) if gap else None
        assert policy == expected
    assert set(windows.values()) == {None}


def test_jobs_carry_their_deployment_and_materialize_what_belongs_together(project: Project) -> None:
    chosen = {}
    for name in ("prd_census", "prd_backup", "prd_drill"):
        job = project.definitions.resolve_job_def(name)
        assert job.tags["deployment"] == "prd"
        assert job.description
        chosen[name] = {key.path[-1] for key in job.asset_layer.executable_asset_keys}
        assert job.executor_def.name == "in_process"
    assert chosen == {
        "prd_census": {"memory_counts"},
        "prd_backup": {"postgres_backup", "validated_dump", "retention"},
        "prd_drill": {"restore_drill"},
    }
    assert project.definitions.resolve_implicit_global_asset_job_def().executor_def.name == "in_process"
