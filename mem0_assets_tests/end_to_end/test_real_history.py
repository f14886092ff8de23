"""The real mem0 writes its history and PostgreSQL from four threads, and a cut of both is one story."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from mem0_assets.backups.history_claims import judge_growth
from mem0_assets.live.embedded import EmbeddedServer
from mem0_assets.live.history import HistoryCopy, copy_history, newest_row
from mem0_assets.restores.history_checks import HistoryReport, compare_history, judge_history
from mem0_assets.verdicts import OK
from mem0_assets_tests.conftest import open_connection, start_server
from mem0_assets_tests.openai_stub import OpenAIStub
from mem0_assets_tests.real_mem0 import RealMem0, real_mem0
from mem0_assets_tests.telegram_emulator import free_port
from mem0_assets_tests.waiting import wait_until

CUTS = 10
WRITERS = [f"writer/{number}" for number in range(4)]


@dataclass(frozen=True)
class House:
    """A server, a real mem0 that writes to its database `mem0`, and that mem0's history."""

    server: EmbeddedServer
    mem0: RealMem0
    history: Path


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    server = start_server(tmp_path_factory.mktemp("pg") / "data", port=free_port())
    folder = tmp_path_factory.mktemp("mem0")
    try:
        with open_connection(server, "postgres") as connection:
            connection.execute("CREATE DATABASE mem0")
        with OpenAIStub() as openai, real_mem0(server, openai, folder) as mem0:
            mem0.add("mem0", "The first of all", "mark_carey/sap")
            [history] = folder.glob("history_*.db")
            yield House(server, mem0, history)
    finally:
        server.stop("immediate")


def cut(house: House, place: Path, table: str) -> tuple[HistoryReport, HistoryCopy, int]:
    """As a backup does it: the newest row, a snapshot of PostgreSQL (a table here), the copy; and what they tell."""
    settled = newest_row(house.history)
    with open_connection(house.server, "mem0") as connection:
        connection.execute(f"CREATE TABLE {table} AS SELECT id, payload FROM memories")
        copied = copy_history(house.history, place)
        return compare_history(connection, table, place, settled), copied, settled


def test_ten_cuts_beside_four_writers_are_each_one_story(house: House, tmp_path: Path) -> None:
    """Each writer has at most one change that PostgreSQL holds and the history does not yet; at rest there is none.

    None at rest also says that no copy locked mem0 out: it would have stored a memory without its history.
    """
    with house.mem0.changing("mem0", WRITERS):
        for number in range(CUTS):
            begun = newest_row(house.history)
            wait_until(lambda begun=begun: newest_row(house.history) > begun + 4)  # type: ignore[misc]
            report, copied, settled = cut(house, tmp_path / f"{number}.db", f"cut_{number}")
            assert judge_growth(copied, settled=settled, previous=None) == OK
            assert judge_history(report)[0] == OK, report
            assert report.lost.count + report.unlogged.count + report.changed.count <= len(WRITERS), report
    at_rest, copied, _ = cut(house, tmp_path / "at_rest.db", "at_rest")
    assert set(copied.events) == {"ADD", "DELETE", "UPDATE"}
    assert judge_history(at_rest) == (OK, [])
    assert (at_rest.coverage, at_rest.in_flight.count) == (1.0, 0)


def test_memories_that_sql_deleted_behind_mem0s_back_are_lost(house: House, tmp_path: Path) -> None:
    for number in range(20):
        house.mem0.add("mem0", f"note {number}", "mark_carey/health")
    with open_connection(house.server, "mem0") as connection:
        connection.execute("DELETE FROM memories WHERE payload->>'user_id' = 'mark_carey/health'")
    report, _, _ = cut(house, tmp_path / "copy.db", "after_the_loss")
    assert report.lost.count == 20
    assert judge_history(report)[0].codes == ["history_lost_memories"]


def test_reset_is_a_history_that_was_emptied(house: House, tmp_path: Path) -> None:
    before = copy_history(house.history, tmp_path / "before.db")
    house.mem0.call("mem0", "reset")
    after = copy_history(house.history, tmp_path / "after.db")
    assert after.rows == newest_row(house.history) == 0
    assert judge_growth(after, settled=0, previous=before).codes == ["history_emptied"]
    with closing(sqlite3.connect(tmp_path / "before.db")) as database:
        assert database.execute("SELECT count(*) FROM history").fetchone() == (before.rows,)
