"""The plan of a restore: what is gained and lost, what is not known, what forbids it; and nothing is written."""

from dataclasses import replace
from pathlib import Path

import pytest

from mem0_assets.backups.backup import make_backup
from mem0_assets.backups.manifest import read_manifest
from mem0_assets.errors import RefusedError, UnreachableError
from mem0_assets.fleet import Deployment
from mem0_assets.live.embedded import EmbeddedServer
from mem0_assets.restores.drill import drill
from mem0_assets.restores.plan import plan_restore
from mem0_assets.restores.server import databases, working
from mem0_assets_tests.conftest import SMALL, MakeDeployment, open_connection, run_sql
from mem0_assets_tests.forged import claim, forge, forged_deployment
from mem0_assets_tests.service_stub import Mem0Stub


def _everything(deployment: Deployment) -> dict[str, int]:
    with working(deployment) as connection:
        return databases(connection)


def test_it_says_per_namespace_what_is_gained_and_lost_and_touches_nothing(make_deployment: MakeDeployment) -> None:
    deployment = make_deployment()
    backup = make_backup(deployment).backup
    drill(deployment)
    run_sql(deployment, "DELETE FROM memories WHERE payload->>'user_id' = 'alice'")
    run_sql(deployment, "INSERT INTO memories SELECT gen_random_uuid(), vector, payload FROM memories LIMIT 5")
    files, before = sorted(deployment.backups.rglob("*")), _everything(deployment)
    plan = plan_restore(deployment).as_json()
    changes = {change["namespace"]: change for change in plan["namespaces"]}
    assert changes["alice"] == {"namespace": "alice", "live": 0, "backup": 40, "gained": 40, "lost": 0, "changed": 0}
    assert (plan["verdict"], plan["gained"], plan["lost"]) == ("ok", 40, 5)
    assert plan["backup"]["backup"] == backup.backup
    assert plan["backup"]["newest_memory"] >= plan["live"]["newest_memory"]
    assert plan["dimensions"] == {"live": 8, "backup": 8, "embedder": None}
    assert plan["space"]["free_bytes"] is None
    assert plan["expected_seconds"] > 0
    assert (sorted(deployment.backups.rglob("*")), _everything(deployment)) == (files, before)


def test_as_many_new_memories_as_old_ones_are_no_equality(make_deployment: MakeDeployment) -> None:
    prd = make_deployment()
    assert make_backup(prd).verdict.ok
    run_sql(prd, "UPDATE memories SET id = gen_random_uuid() WHERE payload->>'user_id' = 'carol'")
    changed = "jsonb_set(payload, '{data}', '\"another text\"')"
    run_sql(prd, f"UPDATE memories SET payload = {changed} WHERE payload->>'user_id' = 'bob/work'")
    changes = {change["namespace"]: change for change in plan_restore(prd).as_json()["namespaces"]}
    told = {
        name: (one["live"], one["backup"], one["gained"], one["lost"], one["changed"]) for name, one in changes.items()
    }
    assert told == {"alice": (40, 40, 0, 0, 0), "bob/work": (25, 25, 0, 0, 25), "carol": (12, 12, 12, 12, 0)}


def test_a_backup_that_is_damaged_forbids_itself(make_deployment: MakeDeployment) -> None:
    prd = make_deployment()
    made = make_backup(prd).backup
    assert made.manifest is not None
    dump = made.path / made.manifest.files_of("postgres")[0].path
    content = bytearray(dump.read_bytes())
    content[len(content) // 2] ^= 0xFF
    dump.write_bytes(content)
    assert not plan_restore(prd).against.ok


def test_a_database_that_is_gone_is_known_to_be_gone(make_deployment: MakeDeployment, server: EmbeddedServer) -> None:
    deployment = make_deployment()
    make_backup(deployment)
    with open_connection(server, "postgres") as connection:
        connection.execute(f"DROP DATABASE {deployment.postgres.database}")
    plan = plan_restore(deployment)
    assert plan.missing == (deployment.postgres.database,)
    assert plan.live.total is None
    assert "has no database" in (plan.live.problem or "")
    assert plan.against.ok


def test_who_is_connected_is_named(make_deployment: MakeDeployment, server: EmbeddedServer) -> None:
    deployment = make_deployment()
    make_backup(deployment)
    with open_connection(server, deployment.postgres.database) as connection:
        (session,) = plan_restore(deployment).sessions
        assert (session.pid, session.role) == (connection.info.backend_pid, "postgres")


def test_an_embedder_of_other_dimensions_is_told(
    make_deployment: MakeDeployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEM0_KEY", "admin-hunter2")
    with Mem0Stub() as mem0:
        health = {"server_url": mem0.url, "admin_key_env": "MEM0_KEY"}
        deployment = make_deployment(health=health)
        make_backup(deployment)
        mem0.configuration = {
            "embedder": {"provider": "ollama", "config": {"model": "nomic-embed-text:latest"}},
            "vector_store": {"config": {"collection_name": "memories"}},
        }
        plan = plan_restore(deployment)
    assert plan.embedder is not None
    assert (plan.embedder.model, plan.embedder.dimensions) == ("nomic-embed-text:latest", 768)
    assert any("gives 768 dimensions, the backup has 8" in caution for caution in plan.cautions)


def test_another_mem0s_collection_in_the_same_database_is_named(make_deployment: MakeDeployment) -> None:
    deployment = make_deployment()
    make_backup(deployment)
    for table in ("openmemory", "memories_entities", "mem0migrations"):
        run_sql(deployment, f"CREATE TABLE {table} (LIKE memories INCLUDING ALL)")
    run_sql(deployment, "CREATE TABLE notes (id uuid)")
    plan = plan_restore(deployment)
    assert plan.live.neighbours == ("openmemory",)
    assert any("also holds the collections openmemory: they go back" in caution for caution in plan.cautions)


def test_a_role_that_may_not_is_told_the_exact_grants(make_deployment: MakeDeployment) -> None:
    deployment = make_deployment()
    make_backup(deployment)
    reader = f"reader_{deployment.postgres.database}"
    run_sql(deployment, f"CREATE ROLE {reader} LOGIN IN ROLE pg_read_all_data")
    as_reader = deployment.postgres.model_copy(update={"user": reader})
    plan = plan_restore(deployment.model_copy(update={"postgres": as_reader}))
    assert set(plan.against.codes) == {"no_right"}
    assert f"As a superuser: ALTER ROLE {reader} CREATEDB" in plan.steps
    assert f"As a superuser: GRANT postgres TO {reader}" in plan.steps
    with_admin = as_reader.model_copy(update={"admin_user": "postgres"})
    assert plan_restore(deployment.model_copy(update={"postgres": with_admin})).against.ok


def test_a_backup_of_a_newer_server_is_refused_before_anything(
    make_deployment: MakeDeployment, server16: EmbeddedServer
) -> None:
    deployment = make_deployment(on=server16)
    backup = make_backup(deployment).backup
    manifest = read_manifest(backup.path)
    claim(backup.path, manifest, identity=replace(manifest.census.identity, server_version="18.4"))
    assert plan_restore(deployment).against.codes == ["server_too_old"]


def test_what_was_refused_is_not_restored_before_it_is_accepted(make_deployment: MakeDeployment) -> None:
    deployment = make_deployment()
    make_backup(deployment)
    run_sql(deployment, "TRUNCATE memories")
    refused = make_backup(deployment).backup
    with pytest.raises(RefusedError, match="is quarantined, and is not restored") as told:
        plan_restore(deployment, refused.backup)
    assert f"accept prd --backup {refused.backup}" in told.value.next_step
    assert plan_restore(deployment).backup.namespaces == SMALL


def test_a_server_that_is_away_is_unknown(tmp_path: Path) -> None:
    deployment = forged_deployment(tmp_path)
    forge(deployment, "20260103_023000", 1)
    with pytest.raises(UnreachableError):
        plan_restore(deployment)
