"""Memories written into a live collection: what each mode does, all or nothing, beside writers that go on."""

import json
import os
import signal
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

import psycopg
import pytest
from psycopg import sql

from mem0_assets.backups.formats.damage import damage
from mem0_assets.errors import Mem0AssetsError, NotACollectionError, RefusedError, TableMissingError, UnreachableError
from mem0_assets.fleet import Deployment
from mem0_assets.live import postgres as live_postgres
from mem0_assets.live.embedded import EmbeddedServer
from mem0_assets.live.memories import ALL, Memory, Selection, read_live
from mem0_assets.live.postgres import SCHEMA, connect, connection_settings, snapshot
from mem0_assets.live.vectors import vector_of
from mem0_assets.restores import rows_writer
from mem0_assets.restores.rows_writer import Change, Mode, plan_memories, write_memories
from mem0_assets_tests.conftest import SMALL, MakeDeployment, open_connection, run_sql
from mem0_assets_tests.freezing import freeze, thaw
from mem0_assets_tests.waiting import wait_until

TOTAL = sum(SMALL.values())
ODD = {"mark_carey/sap": 3, "Zoë’s 🤫": 2, 'it\'s "quoted"\\n': 2}


def memories_of(deployment: Deployment, selection: Selection = ALL) -> list[Memory]:
    """All rows of the live collection, by id, to the last bit."""
    collection = deployment.postgres.collection
    with connect(deployment.postgres, seconds=60) as connection, snapshot(connection, [(SCHEMA, collection)]):
        return sorted(read_live(connection, collection, selection), key=lambda memory: memory.id)


def write(
    deployment: Deployment, memories: Iterable[Memory], mode: Mode, selection: Selection = ALL
) -> tuple[Change, list[Memory]]:
    """What was done, and what was kept of what is lost."""
    kept: list[Memory] = []
    return write_memories(deployment, memories, mode, selection, keep=kept.extend), kept


def with_payload(memory: Memory, **changes: str | None) -> Memory:
    return replace(memory, payload=json.dumps(json.loads(memory.payload or "{}") | changes, ensure_ascii=False))


def change_first(deployment: Deployment, count: int, changes: str) -> None:
    first = f"SELECT id FROM memories ORDER BY id LIMIT {count}"
    run_sql(deployment, f"UPDATE memories SET payload = payload || '{changes}' WHERE id IN ({first})")


@pytest.fixture
def deployment(make_deployment: MakeDeployment) -> Deployment:
    return make_deployment()


@pytest.mark.parametrize("major", [16, 18])
def test_memories_that_are_gone_come_back_to_the_last_bit(
    make_deployment: MakeDeployment, server: EmbeddedServer, server16: EmbeddedServer, major: int
) -> None:
    deployment = make_deployment(SMALL | ODD, on=server16 if major == 16 else server)
    run_sql(deployment, 'INSERT INTO memories VALUES (gen_random_uuid(), NULL, \'{"data": "of nobody"}\')')
    run_sql(deployment, "INSERT INTO memories VALUES (gen_random_uuid(), '[1,2,3,4,5,6,7,1e-40]', NULL)")
    before = memories_of(deployment)
    run_sql(deployment, "DELETE FROM memories WHERE payload IS NULL OR NOT payload->>'user_id' IN ('alice', 'carol')")
    plan = plan_memories(deployment, before, "missing")
    assert {name: change.inserted for name, change in plan.namespaces.items() if change.inserted} == {
        "bob/work": 25,
        **ODD,
        "(none)": 1,
    }
    done, kept = write(deployment, before, "missing")
    assert done == plan.total == Change(inserted=33, unchanged=53)
    assert kept == []
    assert memories_of(deployment) == before


def test_a_plan_changes_nothing(deployment: Deployment) -> None:
    before = memories_of(deployment)
    run_sql(deployment, "DELETE FROM memories WHERE payload->>'user_id' = 'alice'")
    without = memories_of(deployment)
    incoming = [with_payload(memory, data="other") for memory in before[5:]]
    for mode in rows_writer.MODES:
        plan = plan_memories(deployment, incoming, mode)
        assert plan.total.inserted + plan.total.replaced == len(plan.written)
        assert memories_of(deployment) == without


def test_what_is_only_missing_leaves_changed_memories_alone(deployment: Deployment) -> None:
    before = memories_of(deployment)
    change_first(deployment, 10, '{"data": "newer", "updated_at": "2020-01-01T00:00:00+00:00"}')
    changed = memories_of(deployment)
    assert write(deployment, before, "missing")[0] == Change(unchanged=TOTAL)
    assert memories_of(deployment) == changed


def test_newer_compares_instants_whatever_their_offset(deployment: Deployment) -> None:
    (memory, *_) = memories_of(deployment)
    times = {
        # 09:00 in California is 17:00 in UTC: as text the other way round.
        "later": ("2026-01-10T09:00:00-08:00", "2026-01-10T16:00:00+00:00"),
        "earlier": ("2026-01-10T16:00:00+00:00", "2026-01-10T09:00:00-08:00"),
        "same": ("2026-01-10T17:00:00+00:00", "2026-01-10T09:00:00-08:00"),
        "unreadable here": ("one evening", "2026-01-10T09:00:00-08:00"),
        "unreadable there": ("2026-01-10T09:00:00-08:00", "31 February"),
    }
    live, incoming = [], []
    for number, (name, (here, there)) in enumerate(times.items()):
        one = replace(memory, id=uuid.UUID(int=number))
        incoming.append(with_payload(one, created_at="2020-01-01T00:00:00Z", updated_at=here, name=name))
        live.append(with_payload(one, created_at=there, updated_at=None))
    incoming[3] = with_payload(incoming[3], created_at="dawn")
    run_sql(deployment, "TRUNCATE memories")
    write(deployment, live, "missing")
    before = memories_of(deployment)
    done, kept = write(deployment, incoming, "newer")
    assert done == Change(replaced=1, unchanged=4)
    assert kept == before[:1]
    assert json.loads(memories_of(deployment)[0].payload or "")["name"] == "later"


def test_exact_makes_the_chosen_namespace_as_it_was_and_no_other(deployment: Deployment) -> None:
    alice = Selection(namespaces=frozenset({"alice"}))
    good, others = memories_of(deployment, alice), memories_of(deployment, Selection(frozenset({"bob/work", "carol"})))
    run_sql(deployment, "DELETE FROM memories WHERE id IN (SELECT id FROM memories ORDER BY id LIMIT 7)")
    run_sql(deployment, "UPDATE memories SET vector = l2_normalize(vector + '[1,0,0,0,0,0,0,0]')")
    add = "INSERT INTO memories SELECT gen_random_uuid(), vector, payload FROM memories"
    run_sql(deployment, f"{add} WHERE payload->>'user_id' = 'alice' LIMIT 4")
    bad, bad_others = (
        memories_of(deployment, alice),
        memories_of(deployment, Selection(frozenset({"bob/work", "carol"}))),
    )
    gone = len({memory.id for memory in good} - {memory.id for memory in bad})
    plan = plan_memories(deployment, good, "exact", alice)
    assert plan.namespaces == {"alice": Change(inserted=gone, replaced=40 - gone, deleted=4)}
    done, kept = write(deployment, good, "exact", alice)
    assert done == plan.total
    assert memories_of(deployment, alice) == good
    assert memories_of(deployment, Selection(frozenset({"bob/work", "carol"}))) == bad_others != others
    assert sorted(kept, key=lambda memory: memory.id) == bad  # what was replaced and deleted can be put back
    write(deployment, kept, "exact", alice)
    assert memories_of(deployment, alice) == bad


def test_exact_deletes_only_the_chosen_ids(deployment: Deployment) -> None:
    first, second, *_ = before = memories_of(deployment)
    chosen = Selection(ids=frozenset({first.id, second.id}))
    assert write(deployment, [with_payload(first, data="as it was")], "exact", chosen)[0] == Change(
        replaced=1, deleted=1
    )
    assert memories_of(deployment)[1:] == before[2:]


def test_a_letter_of_a_payload_counts_and_a_number_is_its_letters(deployment: Deployment) -> None:
    first, *_ = memories_of(deployment)
    live = replace(first, payload='{"data": "x", "score": 1.0}')
    write(deployment, [live], "exact", Selection(ids=frozenset({first.id})))
    done, _ = write(
        deployment, [replace(live, payload='{"data": "x", "score": 1.00}')], "exact", Selection(ids=frozenset())
    )
    assert done == Change(replaced=1)


def test_vectors_of_other_dimensions_are_refused_before_anything_is_written(deployment: Deployment) -> None:
    before = memories_of(deployment)
    other = replace(before[0], id=uuid.uuid4(), vector=vector_of([1.0, 2.0, 3.0]))
    for call in (plan_memories, write):
        with pytest.raises(RefusedError, match="3 dimensions") as caught:
            call(deployment, [*before[:3], other], "missing")
        assert caught.value.code == "dimensions_changed"
        assert "--reembed" in caught.value.next_step
    assert memories_of(deployment) == before


def write_behind(deployment: Deployment, statement: str, memories: list[Memory], mode: Mode) -> Change:
    """What is done where mem0's `statement` has begun before and ends only when the writer waits for it."""
    done: list[Change] = []
    writer = threading.Thread(target=lambda: done.append(write(deployment, memories, mode)[0]))
    place = connection_settings(deployment.postgres)
    waiting = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    with psycopg.connect(**place) as mem0, psycopg.connect(**place, autocommit=True) as onlooker:
        mem0.execute(statement.encode())
        writer.start()
        wait_until(lambda: onlooker.execute(waiting).fetchone() is not None)
        mem0.commit()
    writer.join()
    assert done, "the writer raised: see stderr"
    return done[0]


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine may take its time between two lines of a test."""
    monkeypatch.setattr(live_postgres, "LOCK_SECONDS", 60)


@pytest.mark.usefixtures("patient")
def test_an_id_that_mem0_inserts_meanwhile_stays_mem0s(deployment: Deployment) -> None:
    before = memories_of(deployment)
    run_sql(deployment, "TRUNCATE memories")
    theirs = f"INSERT INTO memories VALUES ('{before[7].id}', NULL, '{{\"data\": \"mem0 was faster\"}}')"
    assert write_behind(deployment, theirs, before, "missing") == Change(inserted=TOTAL - 1, unchanged=1)
    found = memories_of(deployment)
    assert found[7].payload == '{"data": "mem0 was faster"}'
    assert [*found[:7], *found[8:]] == [*before[:7], *before[8:]]


@pytest.mark.usefixtures("patient")
def test_a_memory_that_mem0_updates_meanwhile_is_spared_where_it_is_newer(deployment: Deployment) -> None:
    before = memories_of(deployment)
    incoming = [with_payload(memory, updated_at="2100-02-01T00:00:00Z") for memory in before[:3]]
    updated = '{"updated_at": "2100-02-01T00:00:01Z"}'
    theirs = f"UPDATE memories SET payload = payload || '{updated}' WHERE id = '{before[1].id}'"
    assert write_behind(deployment, theirs, incoming, "newer") == Change(replaced=2, unchanged=1)
    assert json.loads(memories_of(deployment)[1].payload or "")["updated_at"] == "2100-02-01T00:00:01Z"


@pytest.mark.usefixtures("patient")
def test_a_memory_that_mem0_deletes_meanwhile_stays_deleted(deployment: Deployment) -> None:
    before = memories_of(deployment)
    incoming = [with_payload(memory, data="as it was") for memory in before[:3]]
    theirs = f"DELETE FROM memories WHERE id = '{before[1].id}'"
    chosen = Selection(ids=frozenset(memory.id for memory in incoming))
    assert write_behind(deployment, theirs, incoming, "exact") == Change(replaced=2, deleted=TOTAL - 3, unchanged=1)
    assert [memory.id for memory in memories_of(deployment, chosen)] == [before[0].id, before[2].id]


def broken_off(memories: list[Memory]) -> Iterator[Memory]:
    yield from memories
    raise damage("truncated", "the file ends too early")


def full(lost: Iterable[Memory]) -> None:
    raise OSError("the disk is full")


def test_whatever_goes_wrong_nothing_is_written(deployment: Deployment) -> None:
    before = memories_of(deployment)
    run_sql(deployment, "DELETE FROM memories WHERE payload->>'user_id' = 'alice'")
    left = memories_of(deployment)
    with pytest.raises(Exception, match="ends too early"):
        write(deployment, broken_off(before), "exact")
    with pytest.raises(OSError, match="full"):
        write_memories(deployment, before[:40], "exact", keep=full)
    for bad, what in (
        (before[0], "stands twice"),
        (replace(before[0], id=uuid.uuid4(), payload='{"data": "hunter2'), "type json"),
        (replace(before[0], id=uuid.uuid4(), vector=b"hunter2"), "does not take"),
    ):
        with pytest.raises(RefusedError, match=what) as caught:
            write(deployment, [*before, bad], "missing")
        assert caught.value.code == "wrong_content"
        assert "hunter2" not in str(caught.value)
        assert memories_of(deployment) == left


def killed(action: Callable[[Callable[[], None]], object]) -> None:
    """Run `action` in a fork, which kills itself where it calls what it is given."""
    child = os.fork()
    if child == 0:
        try:
            action(lambda: os.kill(os.getpid(), signal.SIGKILL))
        finally:
            os._exit(1)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL


def test_a_kill_in_the_middle_leaves_the_collection_as_it_was(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows_writer, "STEP_ROWS", 10)
    before = memories_of(deployment)
    run_sql(deployment, "DELETE FROM memories WHERE payload->>'user_id' = 'alice'")
    change_first(deployment, 20, '{"data": "other"}')
    left = memories_of(deployment)

    def killing_at(one: Memory, kill: Callable[[], None]) -> Iterator[Memory]:
        for memory in before:
            if memory is one:
                kill()
            yield memory

    def while_reading(kill: Callable[[], None]) -> None:
        write(deployment, killing_at(before[50], kill), "exact")

    def while_keeping(kill: Callable[[], None]) -> None:
        write_memories(deployment, before, "exact", keep=lambda lost: kill())

    def while_writing(kill: Callable[[], None]) -> None:
        def tell(what: str) -> None:
            if what.startswith("20 of") and what.endswith("inserted"):
                kill()

        write_memories(deployment, before, "exact", keep=list[Memory]().extend, tell=tell)

    for action in (while_reading, while_keeping, while_writing):
        killed(action)
        assert memories_of(deployment) == left
    write(deployment, before, "exact")  # and nothing is locked, or in the way
    assert memories_of(deployment) == before


def test_a_server_that_says_nothing_more_is_given_up(
    make_deployment: MakeDeployment, own_server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployment = make_deployment(on=own_server)
    before = memories_of(deployment)

    def incoming() -> Iterator[Memory]:
        yield from before
        monkeypatch.setattr(rows_writer, "STEP_SECONDS", 0.5)
        freeze(own_server)

    try:
        with pytest.raises(UnreachableError):
            write(deployment, incoming(), "missing")
    finally:
        thaw(own_server)


def make_role(server: EmbeddedServer, deployment: Deployment, rights: str) -> str:
    name = f"role_{uuid.uuid4().hex[:8]}"
    with open_connection(server, deployment.postgres.database) as connection:
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(name)))
        connection.execute(sql.SQL("GRANT " + rights + " TO {}").format(sql.Identifier(name)))
    return name


def test_who_may_only_read_is_told_whom_to_name(make_deployment: MakeDeployment, server: EmbeddedServer) -> None:
    deployment = make_deployment()
    before = memories_of(deployment)
    run_sql(deployment, "DELETE FROM memories")
    reader = make_role(server, deployment, "pg_read_all_data")
    writer = make_role(server, deployment, "pg_read_all_data, pg_write_all_data")
    place = deployment.postgres.model_copy(update={"user": reader})
    with pytest.raises(RefusedError, match="may not write") as caught:
        plan_memories(deployment.model_copy(update={"postgres": place}), before, "missing")
    assert "postgres.admin_user" in caught.value.next_step
    admin = place.model_copy(update={"admin_user": writer})
    assert write(deployment.model_copy(update={"postgres": admin}), before, "newer")[0].inserted == TOTAL


def refused_by(deployment: Deployment, statement: str, error: type[Mem0AssetsError]) -> str:
    before = memories_of(deployment)
    run_sql(deployment, statement)
    with pytest.raises(error) as caught:
        write(deployment, before, "missing")
    return str(caught.value)


def test_where_there_is_no_collection_it_is_said(make_deployment: MakeDeployment) -> None:
    missing = refused_by(make_deployment(), "DROP TABLE memories", TableMissingError)
    assert "Restore the whole deployment" in missing
    without_key = "ALTER TABLE memories DROP CONSTRAINT memories_pkey; DELETE FROM memories"
    refused_by(make_deployment(), without_key, NotACollectionError)
    refused_by(make_deployment(), "ALTER TABLE memories RENAME COLUMN payload TO content", NotACollectionError)
