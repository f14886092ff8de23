"""Memories out of a file into the live table: every line is judged first, and either all of it comes or nothing."""

import json
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest

from mem0_assets.backups.export import write_export
from mem0_assets.backups.lines import LineError, line_of
from mem0_assets.errors import ConfigurationError, NotFoundError, RefusedError
from mem0_assets.fleet import Deployment
from mem0_assets.live.memories import Memory, read_deployment
from mem0_assets.live.vectors import numbers_of, vector_of
from mem0_assets.restores.importing import Imported, Judged, import_memories, judge_file, plan_import
from mem0_assets.restores.record import REPORT, new_record, records
from mem0_assets.restores.rows_writer import Change, Mode
from mem0_assets_tests.backups.test_memories import ODD
from mem0_assets_tests.conftest import DIMENSIONS, SMALL, MakeDeployment, run_sql
from mem0_assets_tests.embedder_stubs import OllamaStub

TOTAL = sum(SMALL.values())
VECTOR = vector_of([0.5] * DIMENSIONS)


@pytest.fixture
def deployment(make_deployment: MakeDeployment) -> Deployment:
    made = make_deployment(SMALL)
    made.backups.mkdir(parents=True)
    return made


@pytest.fixture
def exported(deployment: Deployment, tmp_path: Path) -> Path:
    """A file of all that the deployment held."""
    return write_export(read_deployment(deployment.postgres), tmp_path / "all.jsonl", vectors=True).path


def _live(deployment: Deployment) -> dict[UUID, Memory]:
    return {memory.id: memory for memory in read_deployment(deployment.postgres)}


def _file(folder: Path, *memories: Memory) -> Path:
    return write_export(memories, folder / "some.jsonl", vectors=True).path


def _import(deployment: Deployment, file: Judged, mode: Mode) -> Imported:
    return import_memories(deployment, plan_import(deployment, file, mode), by="alice")


def _memory(number: int, vector: bytes | None = VECTOR, namespace: str = "alice") -> Memory:
    return Memory(UUID(int=number), namespace, f'{{"n": 1.50, "user_id": "{namespace}"}}', vector)


def test_what_was_lost_comes_back_to_the_letter(deployment: Deployment, exported: Path) -> None:
    before = _live(deployment)
    run_sql(deployment, "DELETE FROM memories WHERE payload->>'user_id' <> 'alice'")
    file = judge_file(exported)
    assert file.namespaces == SMALL
    gone = TOTAL - SMALL["alice"]
    assert plan_import(deployment, file, "missing").changes.total == Change(inserted=gone, unchanged=SMALL["alice"])
    done = _import(deployment, file, "missing")
    assert (done.written, done.kept) == (Change(inserted=gone, unchanged=SMALL["alice"]), None)
    assert _live(deployment) == before


def test_into_an_empty_table_of_another_deployment(
    make_deployment: MakeDeployment, deployment: Deployment, exported: Path
) -> None:
    other = make_deployment({})
    assert _import(other, judge_file(exported), "missing").written == Change(inserted=TOTAL)
    assert _live(other) == _live(deployment)


def test_odd_memories_come_back_to_the_letter(deployment: Deployment, tmp_path: Path) -> None:
    run_sql(deployment, ODD)
    before = _live(deployment)
    path = write_export(before.values(), tmp_path / "odd.jsonl", vectors=True).path
    run_sql(deployment, "DELETE FROM memories")
    _import(deployment, judge_file(path), "missing")
    assert _live(deployment) == before


def test_exact_replaces_what_differs_deletes_nothing_and_can_be_taken_back(
    deployment: Deployment, exported: Path, tmp_path: Path
) -> None:
    before = _live(deployment)
    run_sql(
        deployment, "UPDATE memories SET payload = payload || '{\"data\": \"x\"}' WHERE payload->>'user_id' = 'carol'"
    )
    run_sql(deployment, 'INSERT INTO memories VALUES (gen_random_uuid(), NULL, \'{"user_id": "carol"}\')')
    changed = _live(deployment)
    done = _import(deployment, judge_file(exported), "exact")
    assert done.written == Change(replaced=SMALL["carol"], unchanged=TOTAL - SMALL["carol"])
    assert _live(deployment) == before | {number: changed[number] for number in changed.keys() - before.keys()}
    assert done.kept is not None
    assert done.kept.path.stat().st_mode & 0o777 == 0o600
    assert _import(deployment, judge_file(done.kept.path), "exact").written == Change(replaced=SMALL["carol"])
    assert _live(deployment) == changed


def test_exact_deletes_in_the_namespaces_that_were_named(deployment: Deployment, exported: Path) -> None:
    before = _live(deployment)
    for name in ("alice", "carol"):
        run_sql(deployment, f'INSERT INTO memories VALUES (gen_random_uuid(), NULL, \'{{"user_id": "{name}"}}\')')
    more = _live(deployment)
    file = judge_file(exported, ["carol"])
    assert file.namespaces == {"carol": SMALL["carol"]}
    assert plan_import(deployment, file, "exact").changes.total == Change(deleted=1, unchanged=SMALL["carol"])
    done = _import(deployment, file, "exact")
    assert done.written == Change(deleted=1, unchanged=SMALL["carol"])
    assert {memory.namespace for number, memory in _live(deployment).items() if number not in before} == {"alice"}
    assert done.kept is not None
    _import(deployment, judge_file(done.kept.path), "missing")
    assert _live(deployment) == more


def test_nothing_is_replaced_that_cannot_be_kept(deployment: Deployment, tmp_path: Path) -> None:
    first = next(iter(_live(deployment)))
    file = judge_file(_file(tmp_path, Memory(first, "alice", '{"user_id": "alice"}', VECTOR)))
    before = _live(deployment)
    deployment.backups.rmdir()
    with pytest.raises(NotFoundError, match="is kept there"):
        _import(deployment, file, "exact")
    assert _live(deployment) == before


def test_two_imports_in_one_second_keep_two_files(deployment: Deployment, exported: Path) -> None:
    kept = set()
    for text in ("x", "y"):
        run_sql(deployment, f'UPDATE memories SET payload = payload || \'{{"data": "{text}"}}\'')
        kept.add(_import(deployment, judge_file(exported), "exact").kept)
    assert len({one.path for one in kept if one}) == 2


def test_the_first_line_that_is_no_memory_costs_nothing(deployment: Deployment, exported: Path) -> None:
    run_sql(deployment, "DELETE FROM memories")
    plan = plan_import(deployment, judge_file(exported), "missing")
    exported.write_bytes(exported.read_bytes() + b'{"id": 7}\n')
    with pytest.raises(LineError, match=f"line {TOTAL + 1}: its id is no uuid"):
        judge_file(exported)
    with pytest.raises(LineError):  # it changed after it was judged
        import_memories(deployment, plan, by="alice")
    assert not _live(deployment)


def test_a_file_without_vectors_is_refused(deployment: Deployment, tmp_path: Path) -> None:
    path = write_export(read_deployment(deployment.postgres), tmp_path / "texts.jsonl", vectors=False).path
    with pytest.raises(RefusedError, match=f"line 1 has no vector, nor have {TOTAL - 1} others"):
        judge_file(path)
    path.write_bytes(line_of(_memory(1), vectors=True) + line_of(_memory(2), vectors=False))
    with pytest.raises(RefusedError, match="line 2 has no vector, nor have 0 others"):
        judge_file(path)


def test_a_memory_that_had_no_vector_comes_back_without_one(deployment: Deployment, tmp_path: Path) -> None:
    memory = _memory(1, None)
    _import(deployment, judge_file(_file(tmp_path, memory)), "missing")
    assert _live(deployment)[memory.id] == memory


def test_vectors_of_two_embedders_are_refused_by_their_lines(tmp_path: Path) -> None:
    path = _file(tmp_path, _memory(1, None), _memory(2), _memory(3, vector_of([1, 2])))
    with pytest.raises(LineError, match=f"line 3: its vector has 2 dimensions, that of line 2 {DIMENSIONS}"):
        judge_file(path)


def test_vectors_that_do_not_fit_the_column_are_refused(deployment: Deployment, tmp_path: Path) -> None:
    file = judge_file(_file(tmp_path, _memory(1, vector_of([1, 2]))))
    with pytest.raises(RefusedError) as raised:
        plan_import(deployment, file, "missing")
    assert raised.value.code == "dimensions_changed"


def test_a_namespace_or_a_file_that_is_not_there_is_said(exported: Path) -> None:
    with pytest.raises(NotFoundError, match="alicia"):
        judge_file(exported, ["alice", "alicia"])
    with pytest.raises(NotFoundError):
        judge_file(exported.with_name("none.jsonl"))


def test_an_empty_file_brings_nothing(deployment: Deployment, tmp_path: Path) -> None:
    file = judge_file(_file(tmp_path))
    assert _import(deployment, file, "exact").written == Change()
    assert len(_live(deployment)) == TOTAL


def test_it_leaves_a_report_from_its_first_moment_on(deployment: Deployment, exported: Path) -> None:
    run_sql(
        deployment, "UPDATE memories SET payload = payload || '{\"data\": \"x\"}' WHERE payload->>'user_id' = 'carol'"
    )
    done = _import(deployment, judge_file(exported), "exact")
    (record,) = records(deployment)
    report = json.loads((record.folder / REPORT).read_text())
    assert (report["kind"], report["by"], report["plan"]["file"]) == ("import", "alice", str(exported))
    assert (report["replaced"], report["kept"]) == (SMALL["carol"], str(record.folder / "replaced.jsonl"))
    assert done.kept is not None
    assert record.is_settled()
    plan = plan_import(deployment, judge_file(exported), "exact")
    exported.write_text("{}\n")
    with pytest.raises(LineError):
        import_memories(deployment, plan, by="alice")
    newest = json.loads((records(deployment)[0].folder / REPORT).read_text())
    assert newest["kind"] == "import"
    assert "ended_at" not in newest


def test_it_does_not_write_into_a_database_that_is_about_to_be_swapped_away(
    deployment: Deployment, exported: Path
) -> None:
    run_sql(deployment, "DELETE FROM memories")
    new_record(deployment).note("swapping")
    with pytest.raises(RefusedError, match="not settled"):
        _import(deployment, judge_file(exported), "missing")
    assert not _live(deployment)


# New vectors


@pytest.fixture
def ollama() -> Iterator[OllamaStub]:
    with OllamaStub(4) as stub:
        yield stub


@pytest.fixture
def narrow(make_deployment: MakeDeployment, ollama: OllamaStub) -> Deployment:
    """An empty deployment of four dimensions, with its embedder."""
    embedder = {"provider": "ollama", "url": ollama.url, "model": ollama.model, "price_per_million_tokens": 2.0}
    made = make_deployment({}, name="narrow", dimensions=4, embedder=embedder)
    made.backups.mkdir(parents=True)
    return made


@pytest.mark.parametrize("vectors", [False, True])
def test_texts_come_back_with_new_vectors(
    deployment: Deployment, narrow: Deployment, ollama: OllamaStub, tmp_path: Path, vectors: bool
) -> None:
    path = write_export(read_deployment(deployment.postgres), tmp_path / "texts.jsonl", vectors=vectors).path
    file = judge_file(path, reembed=True)
    plan = plan_import(narrow, file, "missing")
    assert plan.changes.total == Change(inserted=TOTAL)
    assert plan.cost is not None
    assert (plan.cost.without_text, plan.cost.price is not None) == (0, True)
    done = import_memories(narrow, plan, by="alice")
    assert (done.written, done.left_out) == (Change(inserted=TOTAL), ())
    assert {number: memory.payload for number, memory in _live(narrow).items()} == {
        number: memory.payload for number, memory in _live(deployment).items()
    }
    assert {len(numbers_of(memory.vector or b"")) for memory in _live(narrow).values()} == {4}
    asked = ollama.requests
    again = plan_import(narrow, file, "missing")
    assert (again.changes.total, again.cost and again.cost.texts) == (Change(unchanged=TOTAL), 0)
    assert import_memories(narrow, again, by="alice").written == Change()
    assert ollama.requests == asked + 1  # the one that says how many dimensions it gives


def test_a_memory_without_a_text_is_left_out_and_named(narrow: Deployment, tmp_path: Path) -> None:
    file = judge_file(_file(tmp_path, _memory(1)), reembed=True)
    done = import_memories(narrow, plan_import(narrow, file, "missing"), by="alice")
    assert (done.written, done.left_out) == (Change(), (UUID(int=1),))


def test_new_vectors_that_do_not_fit_are_refused_before_they_are_paid_for(
    make_deployment: MakeDeployment, ollama: OllamaStub, tmp_path: Path
) -> None:
    embedder = {"provider": "ollama", "url": ollama.url, "model": ollama.model}
    wide = make_deployment({}, name="wide", embedder=embedder)
    with pytest.raises(RefusedError) as raised:
        plan_import(wide, judge_file(_file(tmp_path, _memory(1)), reembed=True), "missing")
    assert raised.value.code == "dimensions_changed"
    assert ollama.requests == 1


def test_new_vectors_need_an_embedder_and_are_never_exact(
    deployment: Deployment, narrow: Deployment, exported: Path
) -> None:
    file = judge_file(exported, reembed=True)
    with pytest.raises(ConfigurationError, match="no embedder"):
        plan_import(deployment, file, "missing")
    with pytest.raises(ConfigurationError, match="exactly"):
        plan_import(narrow, file, "exact")


def test_what_a_file_loses_after_it_was_judged_is_not_deleted(deployment: Deployment, exported: Path) -> None:
    before = _live(deployment)
    plan = plan_import(deployment, judge_file(exported, ["alice"]), "exact")
    exported.write_text("".join(exported.read_text().splitlines(keepends=True)[:30]))
    with pytest.raises(RefusedError, match="was written to meanwhile"):
        import_memories(deployment, plan, by="alice")
    assert _live(deployment) == before
