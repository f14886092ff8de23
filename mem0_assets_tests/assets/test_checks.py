"""Checks: each rule has one, the sensor's and the run's say the same, and what is not known is neither red nor green."""

from collections.abc import Iterable
from pathlib import Path
from typing import get_args

import dagster as dg
import pytest

from mem0_assets.alerts.watch import look
from mem0_assets.assets.checks import BACKUP_CHECKS, COUNT_CHECKS, count_evaluations
from mem0_assets.backups.content_rules import CONTENT_CHECKS
from mem0_assets.fleet import Deployment
from mem0_assets.verdicts import ACCEPTABLE, ReasonCode
from mem0_assets_tests.assets.conftest import CALM, OpenProject, Project, failure_of, red
from mem0_assets_tests.conftest import MakeDeployment, run_sql

NOWHERE = {"postgres": {"host": "127.0.0.1", "port": 9}}
DAMAGE_SEEN_FROM_SIZES = {"truncated", "corrupt"}


def guarded(make_deployment: MakeDeployment, open_project: OpenProject) -> Project:
    """A prd with one good backup."""
    project = open_project(make_deployment(limits=CALM))
    assert project.run("prd_backup").success
    return project


def evaluations(project: Project) -> dict[str, tuple[bool, str | None]]:
    """What the sensor would report now, check by check."""
    seen = look(project.fleet, project.fleet.deployment("prd"))
    return {one.check_name: (one.passed, one.description) for one in count_evaluations(seen)}


def count_checks_alone(project: Project) -> dg.ExecuteInProcessResult:
    return execute(project, dg.AssetSelection.checks_for_assets(dg.AssetKey(["prd", "memory_counts"])))


def execute(project: Project, selection: dg.AssetSelection) -> dg.ExecuteInProcessResult:
    """Execute checks without their assets, as the UI's button does."""
    checks = dg.define_asset_job("checks", selection=selection)
    job = dg.Definitions.merge(project.definitions, dg.Definitions(jobs=[checks])).resolve_job_def("checks")
    return job.execute_in_process(instance=project.instance, raise_on_error=False)


def test_whatever_a_candidate_is_refused_for_turns_one_check_red() -> None:
    """A refusal that no check shows would go to quarantine with all checks green."""
    covered = [code for _, codes in BACKUP_CHECKS.values() for code in codes]
    covered += [code for check in CONTENT_CHECKS.values() for code in check.codes]
    assert set(covered) == ACCEPTABLE | DAMAGE_SEEN_FROM_SIZES
    assert len(covered) == len(set(covered))
    assert set(covered) <= set(get_args(ReasonCode))


def test_every_check_says_in_a_sentence_what_it_proves(
    make_deployment: MakeDeployment, open_project: OpenProject
) -> None:
    graph = open_project(make_deployment()).definitions.resolve_asset_graph()
    for key in graph.asset_check_keys:
        description = graph.get(key).description or ""
        assert description.endswith("."), key
        assert len(description) > 20, key


def test_every_check_is_explained_in_the_documents(make_deployment: MakeDeployment, open_project: OpenProject) -> None:
    text = (Path(__file__).parents[2] / "docs" / "what-is-checked.md").read_text()
    for key in open_project(make_deployment()).definitions.resolve_asset_graph().asset_check_keys:
        section = text.partition(f"## `{key.asset_key.path[-1]}`")[2]
        assert f"| `{key.name}` |" in section, key


def test_healthy_counts_pass_every_check(make_deployment: MakeDeployment, open_project: OpenProject) -> None:
    project = guarded(make_deployment, open_project)
    assert evaluations(project) == dict.fromkeys(COUNT_CHECKS, (True, None))


def test_of_writes_that_could_not_be_looked_at_nothing_is_claimed(
    make_deployment: MakeDeployment, open_project: OpenProject
) -> None:
    project = open_project(make_deployment(limits=CALM, stores={"history": "/nowhere/history.db"}))
    assert evaluations(project) == dict.fromkeys(COUNT_CHECKS.keys() - {"writes_arrive"}, (True, None))


@pytest.mark.parametrize(
    ("statement", "failing"),
    [
        ("DELETE FROM memories", {"has_memories", "not_dropped"}),
        ("DELETE FROM memories WHERE payload->>'user_id' = 'carol'", {"not_dropped"}),
        ("DELETE FROM memories WHERE payload->>'user_id' <> 'carol'", {"not_dropped"}),
        ("DROP TABLE memories", {"has_memories", "not_dropped", "same_identity"}),
        (
            "CREATE TABLE other AS TABLE memories; DROP TABLE memories; ALTER TABLE other RENAME TO memories",
            {"same_identity"},
        ),
    ],
    ids=["deleted", "a namespace gone", "dropped", "no table", "another table"],
)
def test_each_loss_turns_its_checks_red_in_the_sensor_as_in_a_run(
    make_deployment: MakeDeployment, open_project: OpenProject, statement: str, failing: set[str]
) -> None:
    project = guarded(make_deployment, open_project)
    run_sql(project.fleet.deployment("prd"), statement)
    seen = evaluations(project)
    assert {name for name, (passed, _) in seen.items() if not passed} == failing
    result = count_checks_alone(project)
    assert red(result) == {name: why for name, (passed, why) in seen.items() if not passed}


def test_nothing_but_reachable_is_judged_where_nothing_is_known(
    make_deployment: MakeDeployment, open_project: OpenProject
) -> None:
    project = open_project(make_deployment(**NOWHERE))
    (only,) = evaluations(project).items()
    assert only[0] == "reachable"
    assert not only[1][0]
    assert "cannot be reached" in (only[1][1] or "")


def test_executed_by_hand_they_judge_no_more_than_that(
    make_deployment: MakeDeployment, open_project: OpenProject
) -> None:
    result = count_checks_alone(open_project(make_deployment(**NOWHERE)))
    assert not result.success
    assert [(one.check_name, one.passed) for one in result.get_asset_check_evaluations()] == [("reachable", False)]
    assert (failure_of(result).description or "").startswith("nothing else is known")


@pytest.mark.parametrize(
    ("thing", "checks"),
    [
        ("postgres_backup", [*BACKUP_CHECKS, "contents_seen", "hashes_match", "indexes_whole"]),
        ("memory_counts", COUNT_CHECKS),
    ],
)
def test_each_check_can_be_executed_alone(
    make_deployment: MakeDeployment, open_project: OpenProject, thing: str, checks: Iterable[str]
) -> None:
    project = guarded(make_deployment, open_project)
    for name in checks:
        key = dg.AssetCheckKey(dg.AssetKey(["prd", thing]), name)
        result = execute(project, dg.AssetSelection.checks(key))
        assert [(one.check_name, one.passed) for one in result.get_asset_check_evaluations()] == [(name, True)]


def test_a_count_that_cannot_be_read_materializes_nothing(
    make_deployment: MakeDeployment, open_project: OpenProject
) -> None:
    result = open_project(make_deployment(**NOWHERE)).run("prd_census")
    assert not result.success
    assert list(result.get_asset_materialization_events()) == []
    assert failure_of(result).metadata["code"].value == "unreachable"


def test_each_check_has_one_key_per_deployment(make_deployment: MakeDeployment, open_project: OpenProject) -> None:
    """Under one key the passing `test` would hide the failing `prd`."""
    prd, test = make_deployment({}, name="prd"), make_deployment(name="test", limits=CALM)
    project = open_project(prd, test)
    project.run("prd_backup")
    project.run("test_backup")
    assert statuses(project, prd, "has_memories") == "FAILED"
    assert statuses(project, test, "has_memories") == "SUCCEEDED"


def statuses(project: Project, deployment: Deployment, check: str) -> str:
    key = dg.AssetCheckKey(dg.AssetKey([deployment.name, "postgres_backup"]), check)
    record = project.instance.event_log_storage.get_latest_asset_check_execution_by_key([key])[key]
    return str(record.status.value)
