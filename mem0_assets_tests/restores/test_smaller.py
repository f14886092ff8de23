"""Some memories out of a backup into a deployment that goes on: planned, written once, kept, reported, with its history."""

import gzip
import json
import os
import signal
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mem0_assets.backups.backup import make_backup
from mem0_assets.backups.formats.damage import DumpDamage
from mem0_assets.backups.memories import read_memories
from mem0_assets.errors import BusyError, ConfigurationError, NotFoundError, RefusedError
from mem0_assets.fleet import Deployment
from mem0_assets.live.vectors import vector_of
from mem0_assets.restores import smaller
from mem0_assets.restores.embedding import EmbedderError
from mem0_assets.restores.importing import import_memories, judge_file, plan_import
from mem0_assets.restores.record import alone, new_record
from mem0_assets.restores.rows_writer import Change
from mem0_assets.restores.smaller import SmallerReport, Wish, plan_smaller, restore_smaller
from mem0_assets_tests.conftest import SMALL, MakeDeployment, run_sql
from mem0_assets_tests.embedder_stubs import OllamaStub
from mem0_assets_tests.forged import dump_text, forge, forge_legacy
from mem0_assets_tests.histories import add_rows, make_history
from mem0_assets_tests.openai_stub import embed
from mem0_assets_tests.restores.test_rows_writer import memories_of

NAMESPACES = SMALL | {"mark_carey/sap": 9, "Zoë’s 🤫": 4}
SAP = Wish(namespaces=frozenset({"mark_carey/sap"}))


def restore(deployment: Deployment, wish: Wish) -> SmallerReport:
    return restore_smaller(deployment, plan_smaller(deployment, wish), by="mark")


def forged(make_deployment: MakeDeployment, dimensions: int = 3, **settings: Any) -> Deployment:
    """An empty deployment with a backup of SMALL, whose vectors have 3 dimensions."""
    deployment = make_deployment({}, dimensions=dimensions, **settings)
    forge(deployment, "20260103_023000", 1)
    return deployment


def lose(deployment: Deployment, namespace: str) -> None:
    run_sql(deployment, f"DELETE FROM memories WHERE payload->>'user_id' = '{namespace}'")


def test_one_namespace_comes_back_as_it_was_from_either_format(make_in_each_format: MakeDeployment) -> None:
    deployment = make_in_each_format(NAMESPACES)
    run_sql(deployment, 'INSERT INTO memories VALUES (gen_random_uuid(), NULL, \'{"data": "of nobody"}\')')
    before = memories_of(deployment)
    backup = make_backup(deployment).backup
    for namespace in (*NAMESPACES, "(none)"):
        run_sql(deployment, "DELETE FROM memories")
        report = restore(deployment, Wish(namespaces=frozenset({namespace})))
        assert report.outcome is not None
        assert report.outcome.written == Change(inserted=NAMESPACES.get(namespace, 1))
        assert memories_of(deployment) == [memory for memory in before if memory.namespace == namespace]
    restore(deployment, Wish())
    assert memories_of(deployment) == before
    told = json.loads((report.record.folder / "report.json").read_text())
    assert told | report.as_json() | {"ended_at": 0, "seconds": 0} == told | {"ended_at": 0, "seconds": 0}
    assert (told["backup"], told["by"], told["verdict"]) == (backup.backup, "mark", "ok")
    assert backup.manifest is not None
    assert told["files"] == {file.path: file.sha256 for file in backup.manifest.files}


def test_single_memories_come_back_by_id_and_the_unknown_is_named(make_deployment: MakeDeployment) -> None:
    deployment = forged(make_deployment)
    restore(deployment, Wish())
    first, second, *_ = before = memories_of(deployment)
    run_sql(deployment, "DELETE FROM memories")
    unknown = uuid.uuid4()
    plan = plan_smaller(deployment, Wish(ids=frozenset({first.id, second.id, unknown})))
    assert plan.not_in_backup == [str(unknown)]
    assert memories_of(deployment) == []
    restore_smaller(deployment, plan, by="mark")
    assert memories_of(deployment) == before[:2]
    with pytest.raises(NotFoundError, match="none of the ids"):
        plan_smaller(deployment, Wish(ids=frozenset({unknown})))


def test_what_exact_replaces_and_deletes_can_be_put_back(make_deployment: MakeDeployment) -> None:
    deployment = make_deployment(NAMESPACES)
    good = memories_of(deployment)
    make_backup(deployment)
    sap = "payload->>'user_id' = 'mark_carey/sap'"
    run_sql(deployment, f'UPDATE memories SET payload = payload || \'{{"data": "spoilt"}}\' WHERE {sap}')
    run_sql(
        deployment, f"INSERT INTO memories SELECT gen_random_uuid(), vector, payload FROM memories WHERE {sap} LIMIT 3"
    )
    spoilt = memories_of(deployment)
    plan = plan_smaller(deployment, Wish(namespaces=SAP.namespaces, mode="exact"))
    assert plan.changes.namespaces == {"mark_carey/sap": Change(replaced=9, deleted=3)}
    report = restore_smaller(deployment, plan, by="mark")
    assert report.outcome is not None
    assert report.outcome.kept is not None
    kept = report.outcome.kept.path
    assert memories_of(deployment) == good
    assert kept.stat().st_mode & 0o777 == 0o600
    import_memories(deployment, plan_import(deployment, judge_file(kept), "exact"), by="mark")
    assert memories_of(deployment) == spoilt


def test_what_was_written_after_a_plan_that_lost_nothing_is_not_lost(make_deployment: MakeDeployment) -> None:
    deployment = forged(make_deployment)
    restore(deployment, Wish())
    plan = plan_smaller(deployment, Wish(namespaces=frozenset({"carol"}), mode="exact"))
    assert plan.changes.total.lost == 0
    run_sql(deployment, "INSERT INTO memories SELECT gen_random_uuid(), vector, payload FROM memories LIMIT 1")
    run_sql(deployment, 'UPDATE memories SET payload = payload || \'{"user_id": "carol"}\'')
    with pytest.raises(RefusedError, match="mem0 wrote meanwhile"):
        restore_smaller(deployment, plan, by="mark")
    assert len(memories_of(deployment)) == sum(SMALL.values()) + 1


def test_the_history_of_these_memories_comes_back_too(make_deployment: MakeDeployment, tmp_path: Path) -> None:
    history = make_history(tmp_path / "history.db")
    deployment = make_deployment(NAMESPACES, stores={"history": str(history), "roles": False})
    add_rows(history, [(str(memory.id), "ADD", "x") for memory in memories_of(deployment)])
    make_backup(deployment)
    lose(deployment, "mark_carey/sap")
    history.unlink()
    make_history(history)
    report = restore(deployment, Wish(namespaces=SAP.namespaces, history=False))
    assert report.outcome is not None
    assert report.outcome.history is None
    report = restore(deployment, SAP)  # the memories are there, their story is not
    assert report.outcome is not None
    assert (report.outcome.written, report.outcome.history) == (Change(unchanged=9), 9)


def test_a_history_that_cannot_be_written_does_not_hide_that_the_memories_are_back(
    make_deployment: MakeDeployment, tmp_path: Path
) -> None:
    history = make_history(tmp_path / "history.db")
    deployment = make_deployment(NAMESPACES, stores={"history": str(history), "roles": False})
    add_rows(history, [(str(memory.id), "ADD", "x") for memory in memories_of(deployment)])
    make_backup(deployment)
    lose(deployment, "mark_carey/sap")
    history.unlink()
    report = restore(deployment, SAP)
    assert report.outcome is not None
    assert report.outcome.written == Change(inserted=9)
    assert [reason["code"] for reason in report.outcome.reasons] == ["history_missing"]
    assert not report.ok


def test_a_namespace_with_a_slip_in_it_is_not_an_empty_one(make_deployment: MakeDeployment) -> None:
    with pytest.raises(NotFoundError, match=r"no namespace bob/wark; it has: .*bob/work"):
        plan_smaller(forged(make_deployment), Wish(namespaces=frozenset({"bob/wark"}), mode="exact"))


def test_a_backup_that_is_damaged_after_it_was_planned_writes_nothing(make_deployment: MakeDeployment) -> None:
    deployment = forged(make_deployment)
    plan = plan_smaller(deployment, Wish())
    dump = next((plan.backup.path / "postgres").iterdir())
    dump.write_bytes(dump.read_bytes()[:-20])
    with pytest.raises(DumpDamage):
        restore_smaller(deployment, plan, by="mark")
    with pytest.raises(DumpDamage):
        plan_smaller(deployment, Wish())
    assert memories_of(deployment) == []


def test_what_was_refused_brings_nothing_back(make_deployment: MakeDeployment) -> None:
    deployment = make_deployment({}, dimensions=3)
    forge(deployment, "20260103_023000", 1, place="quarantine")
    with pytest.raises(RefusedError, match="quarantined") as caught:
        plan_smaller(deployment, Wish(backup="20260103_023000"))
    assert "accept prd --backup 20260103_023000" in caught.value.next_step


def test_a_folder_of_the_old_scripts_does_as_well(make_deployment: MakeDeployment) -> None:
    deployment = make_deployment({}, dimensions=3)
    forge_legacy(deployment, "20251230_023000", gzip.compress(dump_text()))
    restore(deployment, Wish(namespaces=frozenset({"bob/work"})))
    assert {memory.namespace for memory in memories_of(deployment)} == {"bob/work"}


def test_two_restores_at_once_are_one_too_many(make_deployment: MakeDeployment) -> None:
    deployment = forged(make_deployment)
    plan = plan_smaller(deployment, Wish())
    with alone(deployment), pytest.raises(BusyError):
        restore_smaller(deployment, plan, by="mark")
    new_record(deployment).note("swapping")  # of a whole one, which was killed
    with pytest.raises(RefusedError, match="is not settled"):
        restore_smaller(deployment, plan, by="mark")


def test_a_kill_leaves_a_report_of_what_was_begun_and_the_next_attempt_does_all(
    make_deployment: MakeDeployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployment = forged(make_deployment)
    plan = plan_smaller(deployment, Wish())
    child = os.fork()
    if child == 0:
        monkeypatch.setattr(smaller, "write_memories", lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL))
        restore_smaller(deployment, plan, by="mark")
        os._exit(1)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    (folder,) = [path for path in (deployment.backups / "restores").iterdir() if path.is_dir()]
    told = json.loads((folder / "report.json").read_text())
    assert (told["by"], told["plan"]["inserted"], told.get("verdict")) == ("mark", 77, None)
    assert restore(deployment, Wish()).ok
    assert len(memories_of(deployment)) == 77


# With new vectors


@pytest.fixture
def ollama() -> Iterator[OllamaStub]:
    with OllamaStub(4) as stub:
        yield stub


def moved(make_deployment: MakeDeployment, ollama: OllamaStub, **embedder: Any) -> Deployment:
    """A deployment that was moved to an embedder of 4 dimensions, and came up empty; its backup has 3."""
    settings = {"provider": "ollama", "url": ollama.url, "model": ollama.model, "batch": 10, **embedder}
    return forged(make_deployment, 4, embedder=settings)


def test_into_other_dimensions_memories_come_with_new_vectors_only(
    make_deployment: MakeDeployment, ollama: OllamaStub
) -> None:
    deployment = moved(make_deployment, ollama, price_per_million_tokens=0.02)
    with pytest.raises(RefusedError, match=r"3 dimensions.*vectors of 4") as caught:
        plan_smaller(deployment, Wish(namespaces=frozenset({"alice"})))
    assert caught.value.code == "dimensions_changed"
    with pytest.raises(ConfigurationError, match="exactly"):
        plan_smaller(deployment, Wish(mode="exact", reembed=True))
    plan = plan_smaller(deployment, Wish(reembed=True))
    assert plan.cost is not None
    assert (plan.cost.texts, plan.cost.requests) == (77, 8)
    assert plan.cost.price == plan.cost.tokens * 0.02 / 1e6
    assert len(ollama.texts) == 1  # one, which proves the embedder
    assert restore_smaller(deployment, plan, by="mark").ok
    found = memories_of(deployment)
    stored = {memory.id: memory.payload for memory in read_memories(plan.backup)}
    assert {memory.id: json.loads(memory.payload or "") for memory in found} == {
        number: json.loads(payload or "") for number, payload in stored.items()
    }
    assert [one.vector for one in found] == [
        vector_of(embed(json.loads(one.payload or "")["data"], 4)) for one in found
    ]
    assert len(ollama.texts) == 1 + 77
    assert not (deployment.backups / "restores" / "vectors.db").exists()


def test_only_what_will_be_written_is_paid_for(make_deployment: MakeDeployment, ollama: OllamaStub) -> None:
    deployment = moved(make_deployment, ollama)
    restore(deployment, Wish(reembed=True))
    lose(deployment, "carol")
    asked = len(ollama.texts)
    report = restore(deployment, Wish(reembed=True))
    assert report.outcome is not None
    assert report.outcome.written == Change(inserted=12)
    assert len(ollama.texts) == asked + 1 + 12


def test_a_memory_that_has_no_vector_is_left_out_and_named(
    make_deployment: MakeDeployment, ollama: OllamaStub, tmp_path: Path
) -> None:
    ollama.longest = 60
    stores = {"history": str(make_history(tmp_path / "history.db")), "roles": False}
    embedder = {"provider": "ollama", "url": ollama.url, "model": ollama.model}
    deployment = make_deployment(embedder=embedder, stores=stores)
    first, second, *_ = memories_of(deployment)
    add_rows(tmp_path / "history.db", [(str(memory.id), "ADD", "x") for memory in memories_of(deployment)])
    run_sql(deployment, 'UPDATE memories SET payload = payload || \'{"data": "short"}\'')
    run_sql(deployment, f"UPDATE memories SET payload = payload - 'data' WHERE id = '{first.id}'")
    long = json.dumps({"data": "x" * 61})
    run_sql(deployment, f"UPDATE memories SET payload = payload || '{long}' WHERE id = '{second.id}'")
    make_backup(deployment)
    (tmp_path / "history.db").unlink()
    make_history(tmp_path / "history.db")
    run_sql(deployment, "TRUNCATE memories; ALTER TABLE memories ALTER COLUMN vector TYPE vector(4)")
    report = restore(deployment, Wish(reembed=True))
    assert report.outcome is not None
    assert (report.outcome.written, report.outcome.history) == (Change(inserted=75), 75)
    assert report.outcome.left_out == (first.id, second.id)
    assert report.outcome.reasons[0]["code"] == "left_out"
    assert not report.ok


def test_an_embedder_that_gives_other_dimensions_is_told_before_anything_is_paid(
    make_deployment: MakeDeployment, ollama: OllamaStub
) -> None:
    ollama.dimensions = 6
    with pytest.raises(RefusedError, match=r"gives 6 dimensions.*vectors of 4") as caught:
        plan_smaller(moved(make_deployment, ollama), Wish(reembed=True))
    assert caught.value.code == "dimensions_changed"
    assert ollama.requests == 1


def test_after_an_embedder_that_gave_up_the_rest_is_asked_for(
    make_deployment: MakeDeployment, ollama: OllamaStub
) -> None:
    deployment = moved(make_deployment, ollama)
    plan = plan_smaller(deployment, Wish(reembed=True))

    def break_off(what: str) -> None:
        if what.startswith("30 texts"):
            ollama.model = "another"

    with pytest.raises(EmbedderError, match="knows no model"):
        restore_smaller(deployment, plan, by="mark", tell=break_off)
    assert memories_of(deployment) == []
    ollama.model = OllamaStub.model
    again = plan_smaller(deployment, Wish(reembed=True))
    assert again.cost is not None
    assert again.cost.texts == 77 - 30
    restore_smaller(deployment, again, by="mark")
    assert len(memories_of(deployment)) == 77
