"""Each way in which mem0 itself loses memories is made with the mem0 that does it, and seen by name at once.

At once: by the next look at the live deployment, or by the next backup.
"""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mem0_assets.alerts.rules import Finding
from mem0_assets.alerts.watch import look
from mem0_assets.backups.backup import make_backup
from mem0_assets.fleet import Deployment, Fleet
from mem0_assets.live import writes
from mem0_assets.live.census import take_census
from mem0_assets.live.history import HistoryMissingError
from mem0_assets.restores.drill import drill
from mem0_assets_tests.conftest import run_sql
from mem0_assets_tests.end_to_end.conftest import Mem0Of
from mem0_assets_tests.mem0_environments import OWN
from mem0_assets_tests.real_mem0 import RealMem0


@dataclass(frozen=True)
class Scene:
    """A real mem0 of one version, and the deployment that it writes to: memories of alice and bob, and one good backup."""

    mem0: RealMem0
    deployment: Deployment
    fleet: Fleet

    @property
    def database(self) -> str:
        return self.deployment.postgres.database

    @property
    def history(self) -> Path:
        assert self.deployment.stores.history
        return self.deployment.stores.history

    def tell(self, user_id: str, *texts: str, infer: bool = False) -> None:
        """Add these texts in one call, each with some metadata of the caller's."""
        said = [{"role": "user", "content": text} for text in texts]
        self.mem0.call(self.database, "add", messages=said, user_id=user_id, infer=infer, metadata={"mood": "calm"})

    def findings(self) -> list[Finding]:
        """What a look finds and tells."""
        found = look(self.fleet, self.deployment).findings
        return [finding for findings in found.values() for finding in findings if not finding.implied]

    def kinds(self) -> set[str]:
        return {finding.kind for finding in self.findings()}


MakeScene = Callable[..., Scene]


@pytest.fixture
def make_scene(mem0_of: Mem0Of, real_deployment: Deployment, real_fleet: Fleet) -> MakeScene:
    def make(version: str, *, alice: int = 12) -> Scene:
        mem0 = mem0_of(version).configured(history=str(real_deployment.stores.history))
        scene = Scene(mem0, real_deployment, real_fleet)
        scene.tell("alice", *(f"Alice's note {number}" for number in range(alice)))
        scene.tell("bob", *(f"Bob's note {number}" for number in range(15)))
        assert make_backup(real_deployment).verdict.ok
        assert scene.kinds() == set()
        return scene

    return make


def refused_for(scene: Scene) -> set[str]:
    return set(make_backup(scene.deployment).verdict.codes)


def test_delete_all_of_one_user_that_wipes_everyone(make_scene: MakeScene) -> None:
    scene = make_scene("0.1.118")
    scene.mem0.call(scene.database, "delete_all", user_id="alice")
    assert take_census(scene.deployment.postgres).namespaces == {}
    assert scene.kinds() == {"count_zero", "identity_changed"}
    assert refused_for(scene) >= {"empty", "namespace_vanished", "identity_changed"}


def test_delete_all_that_leaves_what_is_beyond_a_hundred_is_no_loss_and_counted_as_it_is(make_scene: MakeScene) -> None:
    scene = make_scene("1.0.11", alice=205)
    answer = scene.mem0.call(scene.database, "delete_all", user_id="alice")
    assert answer == {"message": "Memories deleted successfully!"}
    assert take_census(scene.deployment.postgres).namespaces == {"alice": 105, "bob": 15}
    assert scene.kinds() == set()


def test_an_update_that_drops_the_callers_metadata(make_scene: MakeScene) -> None:
    scene = make_scene("1.0.11")
    for user_id in ("alice", "bob"):
        for memory in scene.mem0.call(scene.database, "get_all", user_id=user_id)["results"]:
            scene.mem0.call(scene.database, "update", memory_id=memory["id"], data=f"{memory['memory']}, changed")
    assert scene.kinds() == set()
    assert refused_for(scene) == {"keys_vanished"}


def test_writes_dropped_after_the_embedder_was_switched_to_other_dimensions(make_scene: MakeScene) -> None:
    scene = make_scene("2.2.0")
    switched = Scene(scene.mem0.configured(dimensions=768), scene.deployment, scene.fleet)
    switched.tell(
        "carol", "She moved to Berlin", infer=True
    )  # alice has memories: mem0 would stumble over their vectors
    assert take_census(scene.deployment.postgres).namespaces == {"alice": 12, "bob": 15}
    (finding,) = scene.findings()
    assert finding.kind == "writes_dropped"
    assert "the column takes 1536 dimensions" in finding.what
    assert make_backup(scene.deployment).verdict.ok
    report = drill(scene.deployment).history
    assert report is not None
    assert report.lost.ids[0] in finding.what
    scene.tell("carol", "She moved to Berlin", infer=True)
    assert take_census(scene.deployment.postgres).namespaces == {"alice": 12, "bob": 15, "carol": 1}
    assert scene.kinds() == {"writes_dropped"}


def test_a_collection_that_was_renamed_gets_no_new_memories(make_scene: MakeScene) -> None:
    scene = make_scene(OWN.version)
    _age(scene.history, timedelta(days=40), until=datetime.now(UTC) - timedelta(days=6))
    renamed = Scene(scene.mem0.configured(collection="renamed"), scene.deployment, scene.fleet)
    renamed.tell("alice", "She moved to Berlin")
    assert take_census(scene.deployment.postgres).namespaces == {"alice": 12, "bob": 15}
    assert scene.kinds() == {"writes_stopped"}
    scene.tell("alice", "She moved to Berlin")
    assert scene.kinds() == set()


def _age(history: Path, span: timedelta, *, until: datetime) -> None:
    """As if mem0 had written these rows one after the other, over so long a time."""
    with closing(sqlite3.connect(history)) as database, database:
        (rows,) = database.execute("SELECT max(rowid) FROM history").fetchone()
        for row in range(1, rows + 1):
            at = (until - span * (rows - row) / rows).isoformat()
            database.execute("UPDATE history SET created_at = ?, updated_at = NULL WHERE rowid = ?", (at, row))
    writes._older_times.cache_clear()


@pytest.mark.parametrize("version", ["0.1.118", "1.0.11", OWN.version])
def test_reset(make_scene: MakeScene, version: str) -> None:
    scene = make_scene(version)
    scene.mem0.call(scene.database, "reset")
    assert scene.kinds() == {"count_zero", "identity_changed"}
    assert refused_for(scene) >= {"empty", "namespace_vanished", "identity_changed", "history_emptied"}


def test_a_history_that_is_gone_and_one_that_began_anew(make_scene: MakeScene) -> None:
    scene = make_scene(OWN.version)
    scene.history.rename(scene.history.with_name("kept.db"))
    with pytest.raises(HistoryMissingError):
        make_backup(scene.deployment)
    (finding,) = scene.findings()
    assert finding.kind == "backup_refused"
    assert "[history_missing]" in finding.what
    restarted = Scene(scene.mem0.configured(start=2), scene.deployment, scene.fleet)
    restarted.tell("alice", "She moved to Berlin")
    assert refused_for(scene) == {"history_emptied"}
    assert scene.kinds() == {"backup_refused"}


def test_a_table_that_is_dropped_under_a_live_server_and_made_anew_by_the_next_start(make_scene: MakeScene) -> None:
    scene = make_scene(OWN.version)
    run_sql(scene.deployment, "DROP TABLE memories")
    assert scene.kinds() == {"table_missing"}
    restarted = Scene(scene.mem0.configured(start=2), scene.deployment, scene.fleet)
    assert restarted.mem0.texts(scene.database, "alice") == []
    assert scene.kinds() == {"count_zero", "identity_changed"}


def test_a_table_that_is_put_back_under_a_live_server(make_scene: MakeScene) -> None:
    scene = make_scene(OWN.version)
    for statement in (
        "CREATE TABLE put_back (LIKE memories INCLUDING ALL)",
        "INSERT INTO put_back TABLE memories",
        "DROP TABLE memories",
        "ALTER TABLE put_back RENAME TO memories",
    ):
        run_sql(scene.deployment, statement)
    scene.tell("alice", "She moved to Berlin")
    assert take_census(scene.deployment.postgres).namespaces == {"alice": 13, "bob": 15}
    assert scene.kinds() == {"identity_changed"}
