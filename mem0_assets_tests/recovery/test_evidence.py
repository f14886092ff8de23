"""What the gates see of a deployment's containers and volumes, on a real Docker engine."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from mem0_assets.backups.backup import make_backup
from mem0_assets.fleet import Deployment, Fleet
from mem0_assets.recovery.approvals import GateClosedError, GateView, approve, require, view
from mem0_assets.recovery.stages import run_stage
from mem0_assets_tests.conftest import SMALL, MakeDeployment, run_sql
from mem0_assets_tests.docker_engine import DockerEngine, docker_engine, needs_docker

pytestmark = needs_docker


@pytest.fixture(scope="module")
def engine() -> Iterator[DockerEngine]:
    with docker_engine() as running:
        yield running


@pytest.fixture
def prd(make_deployment: MakeDeployment, engine: DockerEngine) -> Deployment:
    """Emptied, with one good backup, and with containers: one for the database, one that writes."""
    engine.run("postgres", volumes=["memories:/var/lib/postgresql/data"])
    engine.run("mem0")
    containers = {"postgres": "postgres", "server": "mem0", "docker_url": engine.url}
    deployment = make_deployment(SMALL, health={"min_free_bytes": 0}, containers=containers)
    assert make_backup(deployment).verdict.ok
    run_sql(deployment, "DELETE FROM memories")
    return deployment


@pytest.fixture
def fleet(prd: Deployment, tmp_path: Path) -> Fleet:
    return Fleet(path=tmp_path / "fleet.yaml", backups_root=tmp_path / "backups", deployments={"prd": prd})


def detail(seen: GateView, name: str) -> str:
    return next(line.detail for line in seen.evidence if line.name == name)


def test_a_container_that_is_missing_keeps_gate_a_shut(prd: Deployment, engine: DockerEngine) -> None:
    assert detail(view(prd, "A", whole=False), "containers") == "postgres runs, mem0 runs"
    approve(prd, "A", by="ann", reason="because")
    engine.client.containers.get("mem0").remove(force=True)
    with pytest.raises(GateClosedError, match="containers: Docker has no container mem0"):
        require(prd, "A")


def test_another_volume_shuts_gate_b(prd: Deployment, fleet: Fleet, engine: DockerEngine) -> None:
    approve(prd, "A", by="ann", reason="because")
    run_stage(fleet, prd, "readiness")
    seen = approve(prd, "B", by="ann", reason="because")
    assert detail(seen, "volumes") == "postgres has /var/lib/postgresql/data on memories"
    engine.run("postgres", volumes=["new_and_empty:/var/lib/postgresql/data"])
    with pytest.raises(GateClosedError, match=r"volumes: it was: .* on memories, and is now: .* on new_and_empty"):
        run_stage(fleet, prd, "restore", confirm="prd")


def test_what_stands_still_is_started_at_the_cold_start(prd: Deployment, fleet: Fleet, engine: DockerEngine) -> None:
    approve(prd, "A", by="ann", reason="because")
    run_stage(fleet, prd, "readiness")
    approve(prd, "B", by="ann", reason="because")
    run_stage(fleet, prd, "restore", confirm="prd")
    mem0 = engine.client.containers.get("mem0")
    mem0.stop(timeout=5)
    assert detail(approve(prd, "C", by="ann", reason="because"), "containers") == "postgres runs, mem0 stands still"
    run_stage(fleet, prd, "cold_start")
    mem0.reload()
    assert mem0.status == "running"
