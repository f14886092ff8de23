"""The whole fleet as Dagster loads it: in a new interpreter, without a warning, with the files that lie beside it."""

import ast
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from mem0_assets_tests.assets.conftest import OpenProject
from mem0_assets_tests.conftest import MakeDeployment

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "mem0_assets"

FLEET = """\
backups_root: ./backups
deployments:
  prd: {postgres: {host: 127.0.0.1, port: 9, user: nobody, database: mem0}}
  test: {postgres: {host: 127.0.0.1, port: 9, user: nobody, database: mem0}}
"""

LOAD = """\
import warnings
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    import dagster as dg
    from mem0_assets.definitions import defs
    dg.Definitions.validate_loadable(defs)
for one in caught:
    print(f"{one.category.__name__}: {one.filename}: {one.message}")
"""


@pytest.fixture
def fleet_file(tmp_path: Path) -> Path:
    """A fleet whose databases are not there: definitions must load all the same."""
    path = tmp_path / "fleet.yaml"
    path.write_text(FLEET)
    return path


def run_python(*arguments: str, fleet: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "MEM0_FLEET": str(fleet), "DAGSTER_HOME": str(fleet.parent)}
    command = [sys.executable, *arguments]
    return subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


def imported(path: Path) -> Iterator[str]:
    """Every module that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module or ""


def test_it_loads_in_a_new_interpreter_without_a_warning_and_without_a_database(fleet_file: Path) -> None:
    done = run_python("-c", LOAD, fleet=fleet_file)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""


def test_a_wrong_fleet_file_is_refused_with_the_file_the_key_and_the_reason(fleet_file: Path) -> None:
    fleet_file.write_text(FLEET.replace("user: nobody", "usr: nobody"))
    done = run_python("-c", LOAD, fleet=fleet_file)
    assert done.returncode != 0
    assert f"{fleet_file}: deployments.prd.postgres.usr: unknown key" in done.stderr


def test_the_workspace_file_loads(fleet_file: Path) -> None:
    done = run_python("-m", "dagster", "definitions", "validate", "-w", "workspace.yaml", fleet=fleet_file)
    assert done.returncode == 0, done.stderr


def test_only_the_dagster_layer_imports_dagster() -> None:
    """All else is testable, quick to import, and usable where no Dagster is."""
    allowed = {PACKAGE / "definitions.py", *(PACKAGE / "assets").rglob("*.py")}
    importing = {
        path for path in PACKAGE.rglob("*.py") for name in imported(path) if name.split(".")[0].startswith("dagster")
    }
    assert importing <= allowed
    assert importing


def test_nothing_below_it_imports_the_dagster_layer_when_it_is_imported(fleet_file: Path) -> None:
    done = run_python("-c", "import sys, mem0_assets.cli; print('dagster' in sys.modules)", fleet=fleet_file)
    assert done.stdout == "False\n", done.stderr


def test_no_private_module_of_dagster_is_imported() -> None:
    names = {name for path in (PACKAGE / "assets").rglob("*.py") for name in imported(path)}
    assert {name for name in names if name.startswith("dagster")} == {"dagster"}


def test_dagster_yaml_makes_an_instance(tmp_path: Path) -> None:
    shutil.copy(ROOT / "dagster.yaml", tmp_path)
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        pools = instance.get_concurrency_config().pool_config
        assert (pools.default_pool_limit, str(pools.pool_granularity)) == (1, "PoolGranularity.OP")
        assert type(instance.run_coordinator).__name__ == "QueuedRunCoordinator"
        assert not instance.telemetry_enabled
        assert instance.run_monitoring_enabled
        assert instance.event_log_storage.supports_global_concurrency_limits


def test_five_sensors_serve_any_number_of_deployments(
    make_deployment: MakeDeployment, open_project: OpenProject
) -> None:
    project = open_project(*(make_deployment(None, name=name) for name in ("prd", "test", "dev")))
    sensors = project.definitions.get_repository_def().sensor_defs
    names = {"fleet_census", "fleet_health", "fleet_configuration", "run_alerts", "check_alerts"}
    assert {sensor.name for sensor in sensors} == names
    assert {sensor.default_status for sensor in sensors} == {dg.DefaultSensorStatus.RUNNING}


def test_no_name_that_a_deployment_may_have_collides_with_another(
    make_deployment: MakeDeployment, open_project: OpenProject
) -> None:
    names = ["prd", "Prd", "prd_backup", "prd__backup", "fleet", "housekeeping", "memories", "a_database"]
    project = open_project(*(make_deployment(None, name=name) for name in names))
    dg.Definitions.validate_loadable(project.definitions)


def test_the_query_over_all_checks_sees_those_of_runs_and_those_without(
    make_deployment: MakeDeployment, open_project: OpenProject, tmp_path: Path
) -> None:
    """The one thing used that is not public API: `check_alerts` asks for every check's last result in one query."""
    shutil.copy(ROOT / "dagster.yaml", tmp_path)
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        project = open_project(make_deployment({}), instance=instance)
        project.run("prd_backup")
        project.tick("fleet_census")
        keys = [
            dg.AssetCheckKey(dg.AssetKey(["prd", thing]), check)
            for thing, check in (
                ("postgres_backup", "has_memories"),
                ("memory_counts", "has_memories"),
                ("restore_drill", "restored_exactly"),
            )
        ]
        latest = instance.event_log_storage.get_latest_asset_check_execution_by_key(keys)
    by_run, without_run, never = keys
    assert never not in latest
    for key in (by_run, without_run):
        record = latest[key]
        assert record.status.value == "FAILED"
        assert record.event is not None
        assert record.event.dagster_event is not None
        assert record.event.dagster_event.asset_check_evaluation_data.severity == dg.AssetCheckSeverity.ERROR
    assert latest[without_run].run_id == ""


def test_every_store_that_is_named_is_a_source_of_the_backup(
    make_deployment: MakeDeployment, open_project: OpenProject, tmp_path: Path
) -> None:
    stores = {"application": "mem0_app", "history": tmp_path / "history.db", "files": [tmp_path / ".env"]}
    for named in ({}, stores):
        graph = open_project(make_deployment(stores=named)).definitions.resolve_asset_graph()
        backup = graph.get(dg.AssetKey(["prd", "postgres_backup"]))
        assert {key.path[-1] for key in backup.parent_keys} == {"memories", *named}
        for name, where in named.items():
            described = str(graph.get(dg.AssetKey(["prd", name])).description)
            assert str(where[0] if isinstance(where, list) else where) in described
