"""What stands in the way of a restore: writers, a frozen server, a full disk, damage, roles that are not there."""

import gzip
import os
import subprocess
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from mem0_assets.backups.backup import make_backup
from mem0_assets.demo.memories import create_collection
from mem0_assets.errors import NoSpaceError, RefusedError, UnreachableError
from mem0_assets.fleet import Deployment
from mem0_assets.live.containers import ContainerMissingError
from mem0_assets.live.embedded import SUPERUSER, EmbeddedServer
from mem0_assets.live.programs import find_program
from mem0_assets.restores.names import beside_name
from mem0_assets.restores.record import new_record
from mem0_assets.restores.restore import holding, restore
from mem0_assets.restores.settling import settle
from mem0_assets.restores.status import restore_status
from mem0_assets.restores.swap import SessionsHeldError
from mem0_assets_tests.conftest import SMALL, MakeDeployment, open_connection, run_sql
from mem0_assets_tests.docker_engine import DockerEngine, docker_engine, needs_docker
from mem0_assets_tests.forged import forge, forge_legacy
from mem0_assets_tests.freezing import freeze, thaw
from mem0_assets_tests.restores.conftest import MakeWhole
from mem0_assets_tests.restores.contents import databases_like, fingerprint, query
from mem0_assets_tests.restores.killed import killed_after
from mem0_assets_tests.small_disk import fill, small_disk
from mem0_assets_tests.waiting import wait_until


@pytest.fixture(autouse=True)
def _in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mem0_assets.restores.writers.LEAVING_SECONDS", 0.2)


# Sessions


@contextmanager
def _writers(deployment: Deployment, count: int = 4) -> Iterator[list[str]]:
    """So many clients that write as mem0 does, and connect again when they are thrown out; the ids that were written."""
    written: list[str] = []
    done = threading.Event()
    place = deployment.postgres
    insert = """INSERT INTO memories SELECT %s, vector, '{"user_id": "writer", "data": "x"}' FROM memories LIMIT 1"""

    def write() -> None:
        while not done.is_set():
            try:
                with psycopg.connect(host=place.host, user=SUPERUSER, dbname=place.database, autocommit=True) as one:
                    while not done.wait(0.005):
                        memory = str(uuid.uuid4())
                        one.execute(insert, (memory,))
                        written.append(memory)
            except psycopg.Error:
                done.wait(0.01)

    threads = [threading.Thread(target=write, daemon=True) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        wait_until(lambda: len(written) > count)
        yield written
    finally:
        done.set()
        for thread in threads:
            thread.join()


def test_while_others_are_connected_it_is_refused_and_says_who(make_deployment: MakeDeployment) -> None:
    deployment = make_deployment()
    make_backup(deployment)
    with _writers(deployment):
        with pytest.raises(SessionsHeldError, match="of postgres from a socket"):
            restore(deployment, by="anna", confirm="prd")
        assert databases_like(deployment) == [deployment.postgres.database]
    assert restore_status(deployment).reports[0].state == "rolled_back"


def test_their_sessions_are_ended_on_demand_and_not_one_write_is_lost(make_deployment: MakeDeployment) -> None:
    deployment = make_deployment()
    make_backup(deployment)
    with _writers(deployment) as written:
        report = restore(deployment, by="anna", confirm="prd", end_sessions=True)
        before = len(written)
        wait_until(lambda: len(written) > before + 4)  # they are back, in the restored one
    assert report.state == "done"
    kept = report.kept[deployment.postgres.database]
    ids = "SELECT id::text FROM memories WHERE payload->>'user_id' = 'writer'"
    old = {row["id"] for row in query(deployment, ids, database=kept)}
    new = {row["id"] for row in query(deployment, ids)}
    assert set(written) <= old | new
    assert old.isdisjoint(new)
    assert len(old) > 0
    assert len(new) > 4


def test_a_session_that_comes_while_it_loads_is_seen_at_the_swap(
    make_deployment: MakeDeployment, server: EmbeddedServer
) -> None:
    deployment = make_deployment()
    make_backup(deployment)
    held = []

    def tell(what: str) -> None:
        if what == "swapping":
            held.append(open_connection(server, deployment.postgres.database))

    with pytest.raises(SessionsHeldError):
        restore(deployment, by="anna", confirm="prd", tell=tell)
    held[0].close()
    assert databases_like(deployment) == [deployment.postgres.database]
    assert restore(deployment, by="anna", confirm="prd").state == "done"


# The server and its disk


def test_a_server_that_freezes_while_it_loads_is_given_up_and_settled_later(
    own_server: EmbeddedServer, make_deployment: MakeDeployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployment = make_deployment(on=own_server)
    before = fingerprint(deployment)
    make_backup(deployment)
    for name in ("server.WORK_SECONDS", "beside.WORK_SECONDS", "beside.SLOW_SECONDS"):
        monkeypatch.setattr(f"mem0_assets.restores.{name}", 1.0)
    monkeypatch.setattr("mem0_assets.live.postgres.CONNECT_SECONDS", 2)

    def tell(what: str) -> None:
        if what.startswith("loading into"):
            freeze(own_server)

    with pytest.raises(UnreachableError) as told:
        restore(deployment, by="anna", confirm="prd", tell=tell)
    thaw(own_server)
    assert "restore prd --settle" in told.value.next_step
    assert restore_status(deployment).standing is not None
    with holding(deployment) as catalog:
        report = settle(deployment, catalog)
    assert report is not None
    assert (report.state, fingerprint(deployment)) == ("rolled_back", before)
    assert databases_like(deployment) == [deployment.postgres.database]


def test_a_disk_that_runs_full_while_it_loads_leaves_what_is_live(
    tmp_path: Path, make_deployment: MakeDeployment
) -> None:
    with small_disk(tmp_path / "disk", "300m") as disk:
        own = EmbeddedServer(disk / "data", fsync=False)
        own.start()
        try:
            deployment = make_deployment(on=own)
            before = fingerprint(deployment)
            make_backup(deployment)
            fillers: list[Path] = []

            def tell(what: str) -> None:
                if what.startswith("loading into"):
                    fillers.append(fill(disk, leave=2 << 20))

            with pytest.raises((NoSpaceError, UnreachableError)):  # where the log is full too, the server dies of it
                restore(deployment, by="anna", confirm="prd", tell=tell)
            fillers[0].unlink()
            own.stop("immediate")  # it may be just about to die, or to come back by itself
            own.start()
            with holding(deployment) as catalog:
                settle(deployment, catalog)
            assert fingerprint(deployment) == before
            assert databases_like(deployment) == [deployment.postgres.database]
            assert restore(deployment, by="anna", confirm="prd").state == "done"
        finally:
            own.stop("immediate")


def test_too_little_room_is_said_before_anything_is_begun(tmp_path: Path, make_deployment: MakeDeployment) -> None:
    with small_disk(tmp_path / "disk", "150m") as disk:
        own = EmbeddedServer(disk / "data", fsync=False)
        own.start()
        try:
            deployment = make_deployment(on=own)
            make_backup(deployment)
            embedded = deployment.postgres.model_copy(update={"embedded": own.folder})
            moved = deployment.model_copy(update={"postgres": embedded})
            with pytest.raises(RefusedError, match="no_space"):
                restore(moved, by="anna", confirm="prd")
            assert restore_status(deployment).reports == ()
        finally:
            own.stop("immediate")


# The backup


def test_what_came_back_otherwise_than_claimed_is_not_swapped_in(make_deployment: MakeDeployment) -> None:
    deployment = make_deployment()
    forge(deployment, "20260103_023000", 1)  # it claims an index that is not in its dump
    before = fingerprint(deployment)
    report = restore(deployment, by="anna", confirm="prd")
    assert (report.ok, report.state) == (False, "rolled_back")
    assert "index_missing" in report.verdict.codes
    assert fingerprint(deployment) == before
    assert databases_like(deployment) == [deployment.postgres.database]


def test_damaged_files_are_refused_before_anything_is_begun(make_deployment: MakeDeployment) -> None:
    deployment = make_deployment()
    backup = make_backup(deployment).backup
    assert backup.manifest is not None
    os.truncate(backup.path / backup.manifest.files[0].path, 100)
    with pytest.raises(RefusedError, match="is damaged"):
        restore(deployment, by="anna", confirm="prd")
    assert restore_status(deployment).reports == ()


def test_a_live_database_that_was_made_read_only_is_replaced_by_one_that_is_too(make_whole: MakeWhole) -> None:
    """As somebody does who wants nothing to be written until the memories are back."""
    deployment = make_whole()
    name = deployment.postgres.database
    before = fingerprint(deployment)
    make_backup(deployment)
    run_sql(deployment, "TRUNCATE memories")
    run_sql(deployment, f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    report = restore(deployment, by="anna", confirm="prd")
    assert (report.state, fingerprint(deployment)) == ("done", before)
    assert query(deployment, "SHOW default_transaction_read_only") == [{"default_transaction_read_only": "on"}]


def test_a_database_that_has_our_names_already_is_not_dropped(
    make_deployment: MakeDeployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployment = make_deployment()
    make_backup(deployment)
    record = new_record(deployment)
    theirs = beside_name(deployment.postgres.database, record.restore)
    run_sql(deployment, f"CREATE DATABASE {theirs}")
    before = databases_like(deployment)
    monkeypatch.setattr("mem0_assets.restores.restore.new_record", lambda _: record)
    with pytest.raises(RefusedError, match=theirs):
        restore(deployment, by="anna", confirm="prd")
    assert (databases_like(deployment), record.is_settled()) == (before, True)


def test_a_neighbours_old_backup_comes_back_for_the_owner_that_is_here(make_deployment: MakeDeployment) -> None:
    deployment = make_deployment()
    name = deployment.postgres.database
    owner, stranger = f"mem0_user_{name}", f"stranger_{name}"
    before = fingerprint(deployment)
    run_sql(deployment, f"CREATE ROLE {owner}; CREATE ROLE {stranger}; ALTER TABLE memories OWNER TO {stranger}")
    run_sql(deployment, f"GRANT SELECT ON memories TO {stranger}")
    forge_legacy(deployment, "20260103_133102", gzip.compress(_old_dump(deployment)))
    run_sql(deployment, f"ALTER TABLE memories OWNER TO {owner}; ALTER DATABASE {name} OWNER TO {owner}")
    run_sql(deployment, f"REVOKE ALL ON memories FROM {stranger}; DROP ROLE {stranger}; TRUNCATE memories")
    report = restore(deployment, by="anna", confirm="prd")
    assert (report.state, report.backup, dict(report.namespaces)) == ("done", "20260103_133102", SMALL)
    assert fingerprint(deployment) == before
    tables = query(deployment, "SELECT tableowner::text AS owner FROM pg_tables WHERE tablename = 'memories'")
    assert tables == [{"owner": owner}]
    assert query(deployment, f"SELECT 1 FROM pg_roles WHERE rolname = '{stranger}'") == []


def _old_dump(deployment: Deployment) -> bytes:
    """As the scripts of the incident made it: with owners and grants."""
    postgres = deployment.postgres
    place = {"PGHOST": postgres.host, "PGPORT": str(postgres.port), "PGUSER": postgres.user, "PATH": os.environ["PATH"]}
    command = [str(find_program("pg_dump", 18).path), postgres.database]
    return subprocess.run(command, env=place, capture_output=True, check=True).stdout


def test_it_works_on_the_older_server_as_on_the_newer(
    make_in_each_format: MakeDeployment, server16: EmbeddedServer
) -> None:
    deployment = make_in_each_format(on=server16)
    before = fingerprint(deployment)
    make_backup(deployment)
    run_sql(deployment, "DROP TABLE memories")
    report = restore(deployment, by="anna", confirm="prd")
    assert (report.state, report.safety_backup, fingerprint(deployment)) == ("done", None, before)


# Containers


@pytest.fixture(scope="module")
def docker() -> Iterator[DockerEngine]:
    with docker_engine() as engine:
        yield engine


@needs_docker
def test_the_writers_stand_still_meanwhile_and_run_again_afterwards(
    make_deployment: MakeDeployment, docker: DockerEngine
) -> None:
    containers = {"server": "mem0_server", "writers": ["bot", "idle", "gone"], "docker_url": docker.url}
    deployment = make_deployment(containers=containers)
    make_backup(deployment)
    running = {name: docker.run(name) for name in ("mem0_server", "bot", "idle")}
    running["idle"].stop()
    seen: dict[str, list[str]] = {}

    def tell(what: str) -> None:
        seen[what.split()[0]] = _states(docker)

    assert restore(deployment, by="anna", confirm="prd", tell=tell).state == "done"
    assert seen["loading"] == seen["swapping"] == []
    assert _states(docker) == ["bot", "mem0_server"]
    # killed while they stand still: the next call starts those that ran, and no other
    assert killed_after("loaded", lambda: restore(deployment, by="anna", confirm="prd"))
    assert _states(docker) == []
    with holding(deployment) as catalog:
        settle(deployment, catalog)
    assert _states(docker) == ["bot", "mem0_server"]


@needs_docker
def test_a_writer_that_cannot_be_started_does_not_keep_the_others_down(
    make_deployment: MakeDeployment, docker: DockerEngine
) -> None:
    deployment = make_deployment(
        containers={"server": "mem0_server", "writers": ["bot", "idle"], "docker_url": docker.url}
    )
    make_backup(deployment)
    for name in ("mem0_server", "bot", "idle"):
        docker.run(name)

    def remove_one(what: str) -> None:
        if what == "swapping":
            docker.client.containers.get("mem0_server").remove(force=True)

    with pytest.raises(ContainerMissingError, match="mem0_server") as caught:
        restore(deployment, by="anna", confirm="prd", tell=remove_one)
    assert "restore prd --settle" in (caught.value.next_step or "")
    assert _states(docker) == ["bot", "idle"]
    docker.run("mem0_server")
    with holding(deployment) as catalog:
        report = settle(deployment, catalog)
    assert (report and report.state, _states(docker)) == ("done", ["bot", "idle", "mem0_server"])


def _states(docker: DockerEngine) -> list[str]:
    return sorted(container.name or "" for container in docker.client.containers.list())


# Names and rights


def test_memories_in_the_database_postgres_as_mem0s_own_server_keeps_them(
    own_server: EmbeddedServer, make_deployment: MakeDeployment
) -> None:
    deployment = make_deployment(None, on=own_server, postgres={"database": "postgres"})
    with open_connection(own_server, "postgres") as connection:
        create_collection(connection, SMALL, dimensions=8)
    before = fingerprint(deployment)
    make_backup(deployment)
    run_sql(deployment, "TRUNCATE memories")
    report = restore(deployment, by="anna", confirm="prd")
    assert (report.kept["postgres"], fingerprint(deployment)) == (f"postgres_replaced_{report.restore}", before)


def test_a_role_with_all_grants_is_told_that_pgvector_wants_a_superuser(make_deployment: MakeDeployment) -> None:
    deployment = make_deployment()
    name = deployment.postgres.database
    make_backup(deployment)
    run_sql(deployment, f"CREATE ROLE adm_{name} LOGIN CREATEDB IN ROLE postgres, pg_read_all_data")
    admin = deployment.postgres.model_copy(update={"admin_user": f"adm_{name}"})
    with pytest.raises(RefusedError, match="may not create the extension vector") as told:
        restore(deployment.model_copy(update={"postgres": admin}), by="anna", confirm="prd")
    assert "postgres.admin_user" in told.value.next_step
    assert databases_like(deployment) == [name]
