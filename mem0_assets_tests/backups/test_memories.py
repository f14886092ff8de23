"""Reading single memories out of a backup: what is read is what PostgreSQL holds, to the letter, or damage is raised."""

import gzip
import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mem0_assets.backups.backup import make_backup
from mem0_assets.backups.catalog import Catalog
from mem0_assets.backups.formats.damage import DumpDamage
from mem0_assets.backups.inventory import Backup
from mem0_assets.backups.lines import line_of, read_lines
from mem0_assets.backups.memories import read_dump, read_memories
from mem0_assets.backups.validation import verify
from mem0_assets.fleet import Deployment
from mem0_assets.live.embedded import EmbeddedServer
from mem0_assets.live.memories import ALL, Memory, Selection, read_live
from mem0_assets.live.postgres import connect, snapshot
from mem0_assets_tests import binary_dump
from mem0_assets_tests.binary_dump import forge_binary
from mem0_assets_tests.conftest import SMALL, MakeDeployment, run_sql
from mem0_assets_tests.forged import dump_text, forge, forged_deployment

ODD = r"""
    INSERT INTO memories (id, vector, payload) VALUES
        ('00000000-0000-0000-0000-000000000000', NULL, NULL),
        ('ffffffff-ffff-ffff-ffff-ffffffffffff', '[0,-0,1e-45,3.4028235e+38,-1e-05,0.1,123456.7,1]', 'null'),
        ('A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11', NULL, '{"n": 1.500, "big": 12345678901234567890.10, "user_id": 7}'),
        ('00000000-0000-0000-0000-000000000003', '[1,2,3,4,5,6,7,8]', '"a string"'),
        ('00000000-0000-0000-0000-000000000004', '[1,2,3,4,5,6,7,8]',
         '{"data": "tab\t nl\n cr\r bs\b nul-like \\u0000x \u0001 '' \" é 🧠 \\. \\N \\\\.", "user_id": "mark_carey/sap"}');
    INSERT INTO memories SELECT gen_random_uuid(), (SELECT array_agg(random() * 10 ^ (random() * 20 - 10))
      FROM generate_series(1, 8) WHERE n > 0)::vector, jsonb_build_object('user_id', 'Zoë 🧠', 'data', n)
      FROM generate_series(1, 60) n;
"""


def _live(deployment: Deployment, selection: Selection = ALL) -> list[Memory]:
    table = ("public", deployment.postgres.collection)
    with connect(deployment.postgres, seconds=None) as connection, snapshot(connection, [table]):
        return _sorted(read_live(connection, table[1], selection))


def _sorted(memories: object) -> list[Memory]:
    return sorted(memories, key=lambda memory: memory.id)  # type: ignore[call-overload, no-any-return]


def _made(deployment: Deployment) -> Backup:
    return make_backup(deployment, ["daily"]).backup


def test_what_is_read_is_what_postgresql_holds_to_the_letter(make_in_each_format: MakeDeployment) -> None:
    deployment = make_in_each_format(SMALL)
    run_sql(deployment, ODD)
    backup = _made(deployment)
    assert _sorted(read_memories(backup)) == _live(deployment)


def test_all_of_it_comes_back_from_json_lines_to_the_letter(make_deployment: MakeDeployment) -> None:
    deployment = make_deployment(SMALL)
    run_sql(deployment, ODD)
    live = _live(deployment)
    lines = [line_of(memory, vectors=True) for memory in live]
    assert [memory for _, memory, _ in read_lines(lines)] == live


def test_so_is_it_of_an_older_server(make_in_each_format: MakeDeployment, server16: EmbeddedServer) -> None:
    deployment = make_in_each_format(SMALL, on=server16)
    run_sql(deployment, ODD)
    backup = _made(deployment)
    assert _sorted(read_memories(backup)) == _live(deployment)


def test_only_the_wanted_are_given(make_in_each_format: MakeDeployment) -> None:
    deployment = make_in_each_format(SMALL)
    backup = _made(deployment)
    some = frozenset(memory.id for memory in _live(deployment)[:9])
    for selection in (
        Selection(namespaces=frozenset({"bob/work"})),
        Selection(ids=some),
        Selection(frozenset({"alice"}), some, vectors=False),
        Selection(ids=frozenset()),
    ):
        assert _sorted(read_memories(backup, selection)) == _live(deployment, selection)


def test_an_empty_backup_gives_none(make_in_each_format: MakeDeployment) -> None:
    backup = _made(make_in_each_format({}))
    assert (backup.state, list(read_memories(backup))) == ("quarantined", [])


Forge = Callable[[Deployment, str, int], Path]


@pytest.fixture(params=[forge, forge_binary])
def backup(request: pytest.FixtureRequest, tmp_path: Path) -> Backup:
    """A whole backup of SMALL, in each format."""
    deployment = forged_deployment(tmp_path)
    request.param(deployment, "20260103_023000", 1)
    return Catalog(deployment).find("latest")


def _dump_of(backup: Backup) -> Path:
    assert backup.manifest is not None
    return backup.path / max(backup.manifest.files_of("postgres"), key=lambda file: file.bytes).path


def test_a_forged_backup_is_read_whole(backup: Backup) -> None:
    assert len(list(read_memories(backup))) == sum(SMALL.values())


def test_a_file_that_was_cut_gives_no_memory(backup: Backup) -> None:
    os.truncate(_dump_of(backup), _dump_of(backup).stat().st_size - 9)
    with pytest.raises(DumpDamage) as raised:
        next(read_memories(backup))
    assert raised.value.code == "truncated"


def test_a_missing_file_is_raised(backup: Backup) -> None:
    _dump_of(backup).unlink()
    with pytest.raises(DumpDamage, match="missing"):
        list(read_memories(backup))


def test_any_flipped_bit_is_raised_at_the_end_at_the_latest(backup: Backup) -> None:
    path = _dump_of(backup)
    whole = path.read_bytes()
    for place in range(0, len(whole), max(1, len(whole) // 60)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << place % 8]) + whole[place + 1 :])
        with pytest.raises(DumpDamage):
            list(read_memories(backup))


def test_another_whole_file_in_its_place_is_raised(tmp_path: Path) -> None:
    deployment = forged_deployment(tmp_path)
    forge(deployment, "20260103_023000", 1)
    backup = Catalog(deployment).find("latest")
    path = _dump_of(backup)
    recompressed = gzip.compress(gzip.decompress(path.read_bytes()), 1, mtime=1)
    assert len(recompressed) == path.stat().st_size
    path.write_bytes(recompressed)
    with pytest.raises(DumpDamage) as raised:
        list(read_memories(backup))
    assert raised.value.code == "checksum_mismatch"


def test_fewer_memories_than_the_manifest_counted_are_raised(tmp_path: Path) -> None:
    deployment = forged_deployment(tmp_path)
    folder = forge(deployment, "20260103_023000", 1)
    manifest = (folder / "manifest.json").read_text().replace('"alice": 40', '"alice": 41')
    (folder / "manifest.json").write_text(manifest)
    with pytest.raises(DumpDamage) as raised:
        list(read_memories(Catalog(deployment).find("20260103_023000")))
    assert raised.value.code == "count_mismatch"


def test_a_folder_of_before_this_project_is_read(tmp_path: Path) -> None:
    deployment = forged_deployment(tmp_path)
    folder = deployment.backups / "daily" / "20251224_023000"
    (folder / "postgres").mkdir(parents=True)
    dump = folder / "postgres" / "mem0_20251224_023000.sql.gz"
    dump.write_bytes(gzip.compress(dump_text(owner="mem0_user")))
    legacy = Catalog(deployment).find(folder.name)
    assert len(list(read_memories(legacy))) == sum(SMALL.values())
    os.truncate(dump, 500)
    with pytest.raises(DumpDamage):
        next(read_memories(legacy))
    dump.unlink()
    with pytest.raises(DumpDamage, match="neither a manifest nor a dump"):
        next(read_memories(legacy))


@pytest.mark.parametrize(
    ("before", "after"),
    [(b"\t[1,2,3]", b"\t[1,x,3]"), (b"\t[1,2,3]", b"\t[1,2e99,3]"), (b"\t[1,2,3]", b"\t[1,NaN,3]")],
)
def test_digits_that_no_vector_has_are_damage_that_counting_does_not_see(
    tmp_path: Path, before: bytes, after: bytes
) -> None:
    dump = tmp_path / "dump.sql"
    dump.write_bytes(dump_text().replace(before, after))
    with pytest.raises(
        DumpDamage, match="1 of 77 rows of memories are damaged; the first is row 1: its vector is none"
    ):
        list(read_dump(dump))
    assert len(list(read_dump(dump, Selection(vectors=False)))) == 77


def test_an_id_that_is_none_is_damage_whatever_the_column_says(tmp_path: Path) -> None:
    dump = tmp_path / "dump.sql"
    dump.write_bytes(
        dump_text({"alice": 2}).replace(b"id uuid", b"id text").replace(b"FROM stdin;\n", b"FROM stdin;\nx")
    )
    with pytest.raises(DumpDamage, match="its id is none"):
        list(read_dump(dump))


@given(st.data())
def test_damaged_rows_in_a_whole_frame_give_memories_or_damage(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    plain = binary_dump.rows(binary_dump.memories({"alice": 3, "bob/work": 2}))
    places = st.integers(0, len(plain))
    one, other = data.draw(places), data.draw(places)
    damaged = plain[:one] + data.draw(st.binary(max_size=4)) + plain[other:]
    folder = tmp_path_factory.mktemp("dump")
    binary_dump.put_dump(folder, damaged)
    try:
        assert len(list(read_dump(folder))) == verify(folder).contents.total
    except DumpDamage:
        assert damaged != plain


def test_memory_does_not_grow_with_the_dump(tmp_path: Path) -> None:
    dump = tmp_path / "dump.sql"
    dump.write_bytes(dump_text({"alice": 3_000}, dimensions=1_536))
    assert dump.stat().st_size > 20 << 20
    tracemalloc.start()
    try:
        assert sum(1 for _ in read_dump(dump, Selection(vectors=False))) == 3_000
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def test_whoever_stops_in_the_middle_leaves_nothing_open(backup: Backup) -> None:
    open_files = len(os.listdir("/proc/self/fd"))
    reading = read_memories(backup)
    first = next(reading)
    del reading
    assert isinstance(first.id, UUID)
    assert len(os.listdir("/proc/self/fd")) == open_files
