"""The real mem0 client writes, we guard; and what comes back from a backup, the real mem0 client reads."""

import itertools
import os
import re
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from mem0_assets.alerts.watch import look, observe
from mem0_assets.backups.backup import make_backup
from mem0_assets.backups.content_rules import judge_semantics
from mem0_assets.backups.inventory import Backup
from mem0_assets.backups.manifest import Changes
from mem0_assets.fleet import Deployment, Fleet
from mem0_assets.live.census import read_census, take_census
from mem0_assets.live.embedded import SUPERUSER, EmbeddedServer
from mem0_assets.live.postgres import connect, snapshot
from mem0_assets.live.semantics import NIGHTLY, Found, read_semantics
from mem0_assets.restores.drill import drill
from mem0_assets_tests.conftest import open_connection, run_sql, start_server
from mem0_assets_tests.openai_stub import OpenAIStub
from mem0_assets_tests.real_mem0 import DIMENSIONS, RealMem0, real_mem0
from mem0_assets_tests.telegram_emulator import free_port

# The incident's namespaces; booking is above the default min_namespace, personal and health are below it.
NAMESPACES = {
    "mark_carey/synovia": 25,
    "mark_carey/sap": 18,
    "mark_carey/booking": 12,
    "mark_carey/personal": 5,
    "mark_carey/health": 3,
}
INFERRED = "mark_carey/personal"
SUBJECTS = ["invoice", "flight", "transport", "review", "budget", "vendor", "migration"]

_numbers = itertools.count(1)


@dataclass(frozen=True)
class House:
    """A server that mem0 and we both use, a database that mem0 has filled, and the mem0 process itself."""

    server: EmbeddedServer
    mem0: RealMem0
    filled: str


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    server = start_server(tmp_path_factory.mktemp("pg") / "data", port=free_port())
    try:
        with OpenAIStub() as openai, real_mem0(server, openai, tmp_path_factory.mktemp("mem0")) as mem0:
            create_database(server, "filled")
            fill(mem0, "filled")
            yield House(server, mem0, "filled")
    finally:
        server.stop("immediate")


@pytest.fixture
def deployment(house: House, tmp_path: Path) -> Iterator[Deployment]:
    """A deployment on a copy of the filled database."""
    database = f"mem0_{next(_numbers)}"
    create_database(house.server, database, house.filled)
    place = {"host": "127.0.0.1", "port": house.server.port, "user": SUPERUSER, "database": database}
    raw = {"name": "prd", "backups": tmp_path / "backups" / "prd", "postgres": place}
    yield Deployment.model_validate(raw)
    house.mem0.close(database)


@pytest.fixture
def fleet(deployment: Deployment, tmp_path: Path) -> Fleet:
    path, root = tmp_path / "fleet.yaml", tmp_path / "backups"
    return Fleet(path=path, backups_root=root, deployments={deployment.name: deployment})


def create_database(server: EmbeddedServer, database: str, template: str = "template1") -> None:
    with open_connection(server, "postgres") as connection:
        connection.execute(f"CREATE DATABASE {database} TEMPLATE {template}")


def text(namespace: str, number: int) -> str:
    return f"The {SUBJECTS[number % len(SUBJECTS)]} of {namespace.split('/')[1]} has Zoë’s number {number} 🤫"


def fill(mem0: RealMem0, database: str) -> None:
    """Through mem0's own `add`: as it is, and (one namespace) through its extraction by a model."""
    for namespace, count in NAMESPACES.items():
        texts = [text(namespace, number) for number in range(count)]
        if namespace == INFERRED:
            said = [{"role": "user", "content": one} for one in texts]
            mem0.call(database, "add", messages=said, user_id=namespace, infer=True)
        else:
            for one in texts:
                mem0.add(database, one, namespace)
    mem0.close(database)  # a database with connections to it cannot be copied


def restore_as_written(server: EmbeddedServer, backup: Backup) -> str:
    """Run the commands of RESTORE.md as they stand, in a shell that knows nothing of us; the new database's name."""
    instructions = (backup.path / "RESTORE.md").read_text()
    commands = "\n".join(re.findall(r"```bash\n(.*?)```", instructions, re.DOTALL))
    environment = {
        "PATH": f"{server.programs}:{os.environ['PATH']}",
        "PGHOST": "127.0.0.1",
        "PGPORT": str(server.port),
        "PGUSER": SUPERUSER,
    }
    done = subprocess.run(
        ["bash", "-c", commands], cwd=backup.path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    created = re.search(r"^createdb .* (\S+)$", commands, re.MULTILINE)
    assert created is not None
    return created[1]


def test_our_census_is_what_mem0_itself_returns(house: House, deployment: Deployment) -> None:
    census = take_census(deployment.postgres)
    database = deployment.postgres.database
    assert census.namespaces == {name: len(house.mem0.texts(database, name)) for name in NAMESPACES} == NAMESPACES
    assert census.identity.dimensions == DIMENSIONS


def test_what_mem0_writes_updates_and_deletes_is_clean_by_every_rule(house: House, deployment: Deployment) -> None:
    database, namespace = deployment.postgres.database, "mark_carey/sap"
    house.mem0.call(
        database, "add", messages="with metadata 🤫", user_id=namespace, infer=False, metadata={"mood": "calm"}
    )
    house.mem0.call(database, "add", messages="an agent's own", agent_id="concierge", infer=False)
    stored = house.mem0.call(database, "get_all", filters={"user_id": namespace}, top_k=100)["results"]
    first, second, *_ = [memory for memory in stored if not memory.get("metadata")]
    house.mem0.call(database, "update", memory_id=first["id"], data="Zoë’s text is another now")
    house.mem0.call(database, "delete", memory_id=second["id"])
    with connect(deployment.postgres, seconds=60) as connection, snapshot(connection, [("public", "memories")]):
        seen = read_semantics(connection, read_census(connection, "memories"), NIGHTLY)
    assert seen.unknown == {}
    assert {rule: found for rule, found in seen.found.items() if found.rows} == {}
    assert [finding for finding in judge_semantics(seen, None) if not finding.ok] == []
    assert seen.vectors == seen.rows == sum(NAMESPACES.values()) + 1
    assert seen.keys["mood"] == 1


def test_whatever_mem0_itself_changes_between_two_backups_it_has_touched_and_one_line_of_sql_it_has_not(
    house: House, deployment: Deployment
) -> None:
    database, namespace, lists = deployment.postgres.database, "mark_carey/sap", ["writer/0", "writer/1"]
    stored = house.mem0.call(database, "get_all", filters={"user_id": namespace}, top_k=100)["results"]
    before = make_backup(deployment).backup
    house.mem0.call(database, "update", memory_id=stored[0]["id"], data="Zoë’s text is another now")
    house.mem0.call(database, "update", memory_id=stored[1]["id"], metadata={"mood": "calm"})
    house.mem0.call(database, "delete", memory_id=stored[2]["id"])
    with house.mem0.changing(database, lists):
        wait_until_written(deployment, dict.fromkeys(lists, 3))
        after = make_backup(deployment).backup
        wait_until_written(deployment, {name: after.namespaces[name] + 2 for name in lists})
    total = sum(NAMESPACES.values())
    assert changes(after) == Changes(before.backup, total - 1, Found(0))

    silently = 'UPDATE memories SET payload = payload || \'{"mood": "a lie"}\' WHERE id = '
    run_sql(deployment, f"{silently}'{stored[3]['id']}'")
    found = changes(make_backup(deployment).backup)
    assert found
    assert found.changed == Found(1, (stored[3]["id"],))


def changes(backup: Backup) -> Changes | None:
    assert backup.manifest
    assert backup.manifest.roll
    return backup.manifest.roll.changes


def test_a_backup_while_four_threads_write_is_one_instant_and_comes_back_as_it_was(
    house: House, deployment: Deployment
) -> None:
    database = deployment.postgres.database
    writers = [f"writer/{number}" for number in range(4)]
    with house.mem0.writing(database, writers):
        wait_until_written(deployment, dict.fromkeys(writers, 3))
        outcome = make_backup(deployment)
        wait_until_written(deployment, {name: outcome.backup.namespaces[name] + 1 for name in writers})
    assert outcome.verdict.ok, outcome.verdict.sentence()
    assert {name: outcome.backup.namespaces[name] for name in NAMESPACES} == NAMESPACES
    assert outcome.backup.namespaces.keys() == {*NAMESPACES, *writers}

    result = drill(deployment)
    assert result.verdict.ok, result.verdict.sentence()
    assert result.namespaces == outcome.backup.namespaces

    # Each thread wrote 1, 2, 3, ... one after the other: one instant holds no gap and nothing twice.
    restored = restore_as_written(house.server, outcome.backup)
    for name in writers:
        notes = Counter(int(note.removeprefix(f"{name}: note ")) for note in texts_in(house.server, restored, name))
        assert notes == Counter(range(1, outcome.backup.namespaces[name] + 1))


def wait_until_written(deployment: Deployment, wanted: dict[str, int]) -> None:
    """Until every namespace holds at least so many: mem0 is at work in each of its threads."""
    for _ in range(3000):
        found = take_census(deployment.postgres).namespaces
        if all(found.get(name, 0) >= count for name, count in wanted.items()):
            return
        time.sleep(0.02)
    pytest.fail(f"mem0 has stopped writing: {found}")


def texts_in(server: EmbeddedServer, database: str, namespace: str) -> list[str]:
    with open_connection(server, database) as connection:
        query = "SELECT payload->>'data' AS text FROM memories WHERE payload->>'user_id' = %s"
        return [row["text"] for row in connection.execute(query, (namespace,))]


def test_mem0_reads_and_searches_what_restore_md_brought_back(house: House, deployment: Deployment) -> None:
    backup = make_backup(deployment).backup
    house.mem0.call(deployment.postgres.database, "reset")
    restored = restore_as_written(house.server, backup)
    assert {name: len(house.mem0.texts(restored, name)) for name in NAMESPACES} == NAMESPACES
    for name, count in NAMESPACES.items():
        wanted = text(name, count // 2)
        assert wanted in house.mem0.search(restored, wanted, name)
    house.mem0.add(restored, "mem0 goes on writing where it was", "mark_carey/sap")
    assert len(house.mem0.texts(restored, "mark_carey/sap")) == NAMESPACES["mark_carey/sap"] + 1
    house.mem0.close(restored)


def test_delete_all_of_one_namespace_is_seen_at_the_next_look_and_refused_at_the_next_backup(
    house: House, deployment: Deployment, fleet: Fleet
) -> None:
    good = make_backup(deployment).backup
    observe(fleet, deployment, look(fleet, deployment).findings)
    house.mem0.call(deployment.postgres.database, "delete_all", user_id="mark_carey/booking")

    (notice,) = observe(fleet, deployment, look(fleet, deployment).findings)
    assert (notice.change, notice.incident.kind, notice.incident.severity) == ("opened", "namespace_gone", "critical")
    assert "All 12 memories of the namespace mark_carey/booking are gone" in notice.incident.what

    outcome = make_backup(deployment)
    assert outcome.verdict.codes == ["namespace_vanished"]
    assert outcome.backup.state == "quarantined"
    assert drill(deployment).backup == good.backup


def test_reset_is_a_count_of_zero_in_another_table(house: House, deployment: Deployment, fleet: Fleet) -> None:
    make_backup(deployment)
    house.mem0.call(deployment.postgres.database, "reset")
    found = {one.kind for findings in look(fleet, deployment).findings.values() for one in findings if not one.implied}
    assert found == {"count_zero", "identity_changed"}
    assert set(make_backup(deployment).verdict.codes) == {"empty", "shrunk", "namespace_vanished", "identity_changed"}
