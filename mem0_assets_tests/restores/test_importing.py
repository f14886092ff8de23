"""Memories out of a file into the live table: every line is judged first, and either all of it comes or nothing."""

from pathlib import Path
from uuid import UUID

import pytest

from mem0_assets.backups.export import write_export
from mem0_assets.backups.lines import LineError, line_of
from mem0_assets.errors import NotFoundError, RefusedError
from mem0_assets.fleet import Deployment
from mem0_assets.live.memories import Memory, read_deployment
from mem0_assets.live.vectors import vector_of
from mem0_assets.restores.importing import import_memories, judge_file, plan_import
from mem0_assets.restores.rows_writer import Change
from mem0_assets_tests.backups.test_memories import ODD
from mem0_assets_tests.conftest import DIMENSIONS, SMALL, MakeDeployment, run_sql

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


def _memory(number: int, vector: bytes | None = VECTOR, namespace: str = "alice") -> Memory:
    return Memory(UUID(int=number), namespace, f'{{"n": 1.50, "user_id": "{namespace}"}}', vector)


def test_what_was_lost_comes_back_to_the_letter(deployment: Deployment, exported: Path) -> None:
    before = _live(deployment)
    run_sql(deployment, "DELETE FROM memories WHERE payload->>'user_id' <> 'alice'")
    file = judge_file(exported)
    assert file.namespaces == SMALL
    gone = TOTAL - SMALL["alice"]
    assert plan_import(deployment, file, "missing").total == Change(inserted=gone, unchanged=SMALL["alice"])
    done = import_memories(deployment, file, "missing")
    assert (done.change, done.kept) == (Change(inserted=gone, unchanged=SMALL["alice"]), None)
    assert _live(deployment) == before


def test_into_an_empty_table_of_another_deployment(
    make_deployment: MakeDeployment, deployment: Deployment, exported: Path
) -> None:
    other = make_deployment({})
    assert import_memories(other, judge_file(exported), "missing").change == Change(inserted=TOTAL)
    assert _live(other) == _live(deployment)


def test_odd_memories_come_back_to_the_letter(deployment: Deployment, tmp_path: Path) -> None:
    run_sql(deployment, ODD)
    before = _live(deployment)
    path = write_export(before.values(), tmp_path / "odd.jsonl", vectors=True).path
    run_sql(deployment, "DELETE FROM memories")
    import_memories(deployment, judge_file(path), "missing")
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
    done = import_memories(deployment, judge_file(exported), "exact")
    assert done.change == Change(replaced=SMALL["carol"], unchanged=TOTAL - SMALL["carol"])
    assert _live(deployment) == before | {number: changed[number] for number in changed.keys() - before.keys()}
    assert done.kept is not None
    assert done.kept.stat().st_mode & 0o777 == 0o600
    assert import_memories(deployment, judge_file(done.kept), "exact").change == Change(replaced=SMALL["carol"])
    assert _live(deployment) == changed


def test_exact_deletes_in_the_namespaces_that_were_named(deployment: Deployment, exported: Path) -> None:
    before = _live(deployment)
    for name in ("alice", "carol"):
        run_sql(deployment, f'INSERT INTO memories VALUES (gen_random_uuid(), NULL, \'{{"user_id": "{name}"}}\')')
    more = _live(deployment)
    file = judge_file(exported, ["carol"])
    assert file.namespaces == {"carol": SMALL["carol"]}
    assert plan_import(deployment, file, "exact").total == Change(deleted=1, unchanged=SMALL["carol"])
    done = import_memories(deployment, file, "exact")
    assert done.change == Change(deleted=1, unchanged=SMALL["carol"])
    assert {memory.namespace for number, memory in _live(deployment).items() if number not in before} == {"alice"}
    assert done.kept is not None
    import_memories(deployment, judge_file(done.kept), "missing")
    assert _live(deployment) == more


def test_nothing_is_replaced_that_cannot_be_kept(deployment: Deployment, tmp_path: Path) -> None:
    first = next(iter(_live(deployment)))
    file = judge_file(_file(tmp_path, Memory(first, "alice", '{"user_id": "alice"}', VECTOR)))
    before = _live(deployment)
    deployment.backups.rmdir()
    with pytest.raises(NotFoundError, match="is kept there"):
        import_memories(deployment, file, "exact")
    assert _live(deployment) == before
    assert import_memories(deployment, file, "missing").change == Change(unchanged=1)


def test_two_imports_in_one_second_keep_two_files(deployment: Deployment, exported: Path) -> None:
    kept = set()
    for text in ("x", "y"):
        run_sql(deployment, f'UPDATE memories SET payload = payload || \'{{"data": "{text}"}}\'')
        kept.add(import_memories(deployment, judge_file(exported), "exact").kept)
    assert len(kept) == 2


def test_the_first_line_that_is_no_memory_costs_nothing(deployment: Deployment, exported: Path) -> None:
    run_sql(deployment, "DELETE FROM memories")
    file = judge_file(exported)
    exported.write_bytes(exported.read_bytes() + b'{"id": 7}\n')
    with pytest.raises(LineError, match=f"line {TOTAL + 1}: its id is no uuid"):
        judge_file(exported)
    with pytest.raises(LineError):  # it changed after it was judged
        import_memories(deployment, file, "missing")
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
    import_memories(deployment, judge_file(_file(tmp_path, memory)), "missing")
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
    assert import_memories(deployment, file, "exact").change == Change()
    assert len(_live(deployment)) == TOTAL
