"""What mem0's history calls alive and no table holds is found by id; and when mem0 wrote is known with and without one."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from mem0_assets.demo.memories import create_collection
from mem0_assets.demo.stores import create_history
from mem0_assets.errors import UnreachableError
from mem0_assets.fleet import Deployment
from mem0_assets.live import writes
from mem0_assets.live.embedded import EmbeddedServer
from mem0_assets.live.history import HistoryMissingError, newest_row
from mem0_assets.live.postgres import NotReadableError
from mem0_assets.live.writes import missing_writes, read_writes
from mem0_assets_tests.conftest import SMALL, MakeDeployment, open_connection, run_sql
from mem0_assets_tests.histories import Row, add_rows

PHANTOM = "0aaaaaaa-0000-4000-8000-000000000001"
ELSEWHERE = "0aaaaaaa-0000-4000-8000-000000000002"


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    """The pace of a deployment is remembered for a quarter of an hour."""
    yield
    writes._older_times.cache_clear()
    writes._times_of_memories.cache_clear()


@pytest.fixture
def guarded(make_deployment: MakeDeployment, server: EmbeddedServer, tmp_path: Path) -> Deployment:
    """A deployment whose history knows each of its memories."""
    deployment = make_deployment(stores={"history": str(tmp_path / "history.db")})
    with open_connection(server, deployment.postgres.database) as connection:
        create_history(tmp_path / "history.db", connection, "memories")
    return deployment


def note(deployment: Deployment, *rows: Row, at: str | None = None) -> None:
    assert deployment.stores.history
    add_rows(deployment.stores.history, rows, at=at)


def ids_of(deployment: Deployment, server: EmbeddedServer, namespace: str) -> list[str]:
    with open_connection(server, deployment.postgres.database) as connection:
        query = "SELECT id::text FROM memories WHERE payload->>'user_id' = %s ORDER BY id"
        return [row["id"] for row in connection.execute(query, (namespace,)).fetchall()]


def another_collection(deployment: Deployment, server: EmbeddedServer) -> None:
    """With one memory, ELSEWHERE."""
    with open_connection(server, deployment.postgres.database) as connection:
        create_collection(connection, {"zoe": 1}, collection="others", dimensions=8)
        connection.execute("UPDATE others SET id = %s", (ELSEWHERE,))


def test_where_all_is_well_nothing_is_missing(guarded: Deployment) -> None:
    seen = read_writes(guarded, seconds=5)
    assert seen.missing == ()
    assert seen.times


def test_an_added_memory_that_is_in_no_table_is_missing(guarded: Deployment) -> None:
    note(guarded, (PHANTOM, "ADD", "dropped"), (PHANTOM, "UPDATE", "dropped again"))
    assert read_writes(guarded, seconds=5).missing == missing_writes(guarded, seconds=5) == (PHANTOM,)


def test_what_sql_deleted_behind_mem0s_back_is_missing_the_newest_last(
    guarded: Deployment, server: EmbeddedServer
) -> None:
    (first, *_, last) = ids_of(guarded, server, "carol")
    note(guarded, (last, "UPDATE", "x"), (first, "UPDATE", "y"))
    run_sql(guarded, f"DELETE FROM memories WHERE id IN ('{first}', '{last}')")
    assert missing_writes(guarded, seconds=5) == (last, first)


def test_what_mem0_deleted_is_not_missing(guarded: Deployment, server: EmbeddedServer) -> None:
    (first, *_) = ids_of(guarded, server, "carol")
    note(guarded, (first, "DELETE", None))
    run_sql(guarded, f"DELETE FROM memories WHERE id = '{first}'")
    assert missing_writes(guarded, seconds=5) == ()


def test_a_deletion_whose_history_comes_a_moment_later_is_not_missing(
    guarded: Deployment, server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    (first, *_) = ids_of(guarded, server, "carol")
    run_sql(guarded, f"DELETE FROM memories WHERE id = '{first}'")
    monkeypatch.setattr("time.sleep", lambda seconds: note(guarded, (first, "DELETE", None)))
    assert missing_writes(guarded, seconds=5) == ()
    assert newest_row(guarded.stores.history or Path()) == sum(SMALL.values()) + 1


def test_ids_are_compared_as_postgresql_reads_them_and_what_is_none_is_passed_over(guarded: Deployment) -> None:
    note(guarded, (PHANTOM.upper(), "ADD", "x"), ("{" + PHANTOM + "}", "DELETE", None), ("no id", "ADD", "y"))
    assert missing_writes(guarded, seconds=5) == ()


def test_a_memory_of_another_collection_is_not_missing(guarded: Deployment, server: EmbeddedServer) -> None:
    with open_connection(server, guarded.postgres.database) as connection:
        connection.execute("CREATE TABLE odd (id text, payload jsonb)")
    another_collection(guarded, server)
    note(guarded, (ELSEWHERE, "ADD", "x"), (PHANTOM, "ADD", "y"))
    assert missing_writes(guarded, seconds=5) == (PHANTOM,)


def test_what_is_behind_the_newest_thousand_rows_is_the_drills_matter(guarded: Deployment) -> None:
    note(guarded, (PHANTOM, "ADD", "dropped"))
    note(guarded, *((str(uuid.uuid4()), "DELETE", None) for _ in range(1000)))
    assert missing_writes(guarded, seconds=5) == ()


def test_a_lost_history_is_unknown_and_not_empty(guarded: Deployment) -> None:
    assert guarded.stores.history
    guarded.stores.history.unlink()
    with pytest.raises(HistoryMissingError):
        read_writes(guarded, seconds=5)


def test_a_database_that_is_away_is_unknown(guarded: Deployment) -> None:
    away = guarded.postgres.model_copy(update={"host": "127.0.0.1", "port": 1})
    with pytest.raises(UnreachableError):
        read_writes(guarded.model_copy(update={"postgres": away}), seconds=5)


def test_the_pace_of_a_history_reaches_back_beyond_its_newest_thousand_rows(
    guarded: Deployment, server: EmbeddedServer
) -> None:
    ids = ids_of(guarded, server, "alice")
    for day in ("2026-01-02T10:00:00+00:00", "2026-01-03T10:00:00+00:00"):
        note(guarded, *((ids[number % len(ids)], "UPDATE", "x") for number in range(1500)), at=day)
    assert set(read_writes(guarded, seconds=5).times) >= {"2026-01-02T10:00:00+00:00", "2026-01-03T10:00:00+00:00"}


def test_a_thousand_writes_of_one_hour_are_one_time_the_last(guarded: Deployment, server: EmbeddedServer) -> None:
    (first, *_) = ids_of(guarded, server, "alice")
    for minute in range(60):
        note(guarded, (first, "UPDATE", "x"), at=f"2026-01-03T10:{minute:02}:00-08:00")
    seen = read_writes(guarded, seconds=5)
    assert {at for at in seen.times if at.endswith("-08:00")} == {"2026-01-03T10:59:00-08:00"}


def test_what_is_written_to_another_collection_says_nothing_of_this_ones_pace(
    guarded: Deployment, server: EmbeddedServer
) -> None:
    another_collection(guarded, server)
    note(guarded, (ELSEWHERE, "ADD", "x"), at="2026-01-03T10:00:00-08:00")
    seen = read_writes(guarded, seconds=5)
    assert (seen.missing, [at for at in seen.times if at.endswith("-08:00")]) == ((), [])


def test_without_a_history_the_memories_own_times_tell_the_pace(make_deployment: MakeDeployment) -> None:
    deployment = make_deployment()
    odd = ["yesterday", "", "2999-01-01T00:00:00+00:00", "2026-01-03T10:59:00-08:00", "2026-01-03T10:05:00-08:00"]
    for at in odd:
        payload = f'{{"data": "x", "created_at": "{at}"}}'
        run_sql(deployment, f"INSERT INTO memories (id, payload) VALUES (gen_random_uuid(), '{payload}')")
    run_sql(deployment, "INSERT INTO memories (id, payload) VALUES (gen_random_uuid(), NULL)")
    seen = read_writes(deployment, seconds=5)
    assert seen.missing == ()
    assert [time for time in seen.times if time.endswith("-08:00")] == ["2026-01-03T10:59:00-08:00"]
    assert not {"yesterday", "2999-01-01T00:00:00+00:00"} & set(seen.times)


def test_a_table_too_large_to_be_read_in_time_is_not_asked_again_at_every_look(
    make_deployment: MakeDeployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployment = make_deployment({})
    rows = (
        "SELECT gen_random_uuid(), jsonb_build_object('created_at', number::text) FROM generate_series(1, 50000) number"
    )
    run_sql(deployment, f"INSERT INTO memories (id, payload) {rows}")
    monkeypatch.setattr(writes, "PACE_SECONDS", 1e12)
    before = writes._times_of_memories.cache_info().misses
    for _ in range(2):
        with pytest.raises(NotReadableError, match="when memories were written is not known"):
            read_writes(deployment, seconds=0.001)
    assert writes._times_of_memories.cache_info().misses == before + 1
