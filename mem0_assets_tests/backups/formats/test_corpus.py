"""The corpus: real dumps of the same odd memories, by every version of PostgreSQL and in every form, whole and damaged."""

import gzip
import random
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mem0_assets.backups.formats.container import open_dump
from mem0_assets.backups.formats.damage import DumpDamage
from mem0_assets.backups.formats.sql_reader import DumpContents
from mem0_assets.backups.memories import read_dump
from mem0_assets.backups.validation import verify
from mem0_assets.live.memories import Memory

CORPUS = Path(__file__).parent / "corpus"
DUMPS = sorted(path for version in CORPUS.glob("pg*") for path in version.iterdir())
TEXTS = sorted(CORPUS.glob("pg*/*.sql"))
NAMESPACES = {"alice": 2, "bob/work": 2, "Zoë 🧠": 1, "(none)": 2}
TABLES = {"memories": 7, "memories_entities": 2, "mem0migrations": 0, "notes": 3}


def name_of(dump: Path) -> str:
    return f"{dump.parent.name}/{dump.name}"


def is_the_truth(contents: DumpContents) -> bool:
    return contents.namespaces == NAMESPACES and contents.total == 7 and contents.collection == "memories"


@pytest.mark.parametrize("dump", DUMPS, ids=name_of)
def test_every_dump_of_the_corpus_is_counted_exactly(dump: Path) -> None:
    examined = verify(dump)
    if examined.verdict.codes == ["client_missing"]:
        assert dump.name.startswith(("lz4", "zstd"))  # not every pg_restore can read them
        return
    assert examined.verdict.sentence() == "ok"
    assert is_the_truth(examined.contents)
    assert examined.contents.tables == TABLES
    assert examined.contents.dimensions == 3
    assert examined.contents.server_version is not None
    assert examined.contents.server_version.startswith(dump.parent.name.removeprefix("pg"))
    named = dump.name.startswith(("create", "cluster"))
    assert examined.contents.database == ("mem0_corpus" if named else None)


@pytest.mark.parametrize("dump", [dump for dump in DUMPS if dump.is_file()], ids=name_of)
def test_every_dump_of_the_corpus_cut_anywhere_is_refused(dump: Path, tmp_path: Path) -> None:
    whole = dump.read_bytes()
    text_bytes = len(whole.rstrip())
    chance = random.Random(name_of(dump))
    for length in sorted({0, 1, text_bytes - 1, *(chance.randrange(text_bytes) for _ in range(12))}):
        (tmp_path / "dump").write_bytes(whole[:length])
        assert not verify(tmp_path / "dump").verdict.ok, length


def _flip(data: bytes, one: int, other: int) -> bytes:
    return data[:one] + bytes([data[one] ^ 1 << other % 8]) + data[one + 1 :]


def _cut_out(data: bytes, one: int, other: int) -> bytes:
    return data[: min(one, other)] + data[max(one, other) :]


def _insert(data: bytes, one: int, other: int) -> bytes:
    return data[:one] + data[other : other + 97] + data[one:]


def _double(data: bytes, one: int, other: int) -> bytes:
    return data[: max(one, other)] + data[min(one, other) :]


def _swap(data: bytes, one: int, other: int) -> bytes:
    first, second = sorted((one, other))
    middle = (first + second) // 2
    return data[:first] + data[middle:second] + data[first:middle] + data[second:]


def _cut_off(data: bytes, one: int, other: int) -> bytes:
    return data[:one]


DAMAGES: list[Callable[[bytes, int, int], bytes]] = [_flip, _cut_out, _insert, _double, _swap, _cut_off]
COMPRESSORS = [
    gzip.compress,
    zstandard.ZstdCompressor(write_checksum=True).compress,
    lambda text: gzip.compress(text[:2000]) + gzip.compress(text[2000:]),
]
PLACES = st.integers(0, 1 << 20)


@given(
    text=st.sampled_from(TEXTS),
    compress=st.sampled_from(COMPRESSORS),
    damage=st.sampled_from(DAMAGES),
    one=PLACES,
    other=PLACES,
)
@settings(
    max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_where_a_checksum_stands_no_damage_is_called_ok(
    tmp_path: Path, text: Path, compress: Callable[[bytes], bytes], damage: Callable[..., bytes], one: int, other: int
) -> None:
    plain = text.read_bytes()
    whole = compress(plain)
    damaged = damage(whole, one % len(whole), other % len(whole))
    (tmp_path / "dump").write_bytes(damaged)
    examined = verify(tmp_path / "dump")
    if examined.verdict.ok:  # a time or a name in gzip's header, or one member twice beside the end of the other
        assert is_the_truth(examined.contents)
        with open_dump(tmp_path / "dump") as dump:
            assert b"".join(dump.blocks).strip() == plain.strip()


@given(
    text=st.sampled_from(TEXTS),
    damage=st.sampled_from([_flip, _cut_out, _insert, _swap, _cut_off]),
    one=PLACES,
    other=PLACES,
)
@settings(
    max_examples=300, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_in_plain_text_no_small_damage_loses_a_memory_unseen(
    tmp_path: Path, text: Path, damage: Callable[..., bytes], one: int, other: int
) -> None:
    """Without a checksum nobody can see a changed letter, also of a namespace, or whole lines that are gone."""
    plain = text.read_bytes()
    one %= len(plain)
    other = one + 1 + other % 60  # less than a line: a memory of the corpus has 90 and more
    (tmp_path / "dump").write_bytes(damage(plain, one, min(other, len(plain) - 1)))
    examined = verify(tmp_path / "dump")
    if examined.verdict.ok:
        assert examined.contents.total == 7
        assert sum(examined.contents.namespaces.values()) == 7


@pytest.mark.parametrize("dump", [dump for dump in DUMPS if dump.suffix == ".dump"], ids=name_of)
def test_a_flipped_bit_of_an_archive_never_changes_the_counts_unseen(dump: Path, tmp_path: Path) -> None:
    whole = dump.read_bytes()
    chance = random.Random(name_of(dump))
    for _ in range(25):
        (tmp_path / "dump").write_bytes(_flip(whole, chance.randrange(len(whole)), chance.randrange(8)))
        examined = verify(tmp_path / "dump")
        assert not examined.verdict.ok or examined.contents.total == 7


@pytest.mark.parametrize("folder", sorted(CORPUS.glob("pg*/inserts-folder")), ids=name_of)
def test_rows_in_insert_form_are_counted_by_their_own_words_in_whichever_file_they_stand(
    folder: Path, tmp_path: Path
) -> None:
    """In COPY form the files of two tables with the same columns can change places unseen: nothing says whose they are."""
    shutil.copytree(folder, tmp_path / "folder")
    one, other = sorted((tmp_path / "folder").glob("[0-9]*.dat"), key=lambda file: file.stat().st_size)[-2:]
    one_content, other_content = one.read_bytes(), other.read_bytes()
    one.write_bytes(other_content)
    other.write_bytes(one_content)
    examined = verify(tmp_path / "folder")
    assert examined.contents.tables == TABLES  # by their own words


# The memories in it


def _memories(dump: Path) -> dict[int, Memory]:
    return {memory.id.int & 0xFF: memory for memory in read_dump(dump)}


@pytest.mark.parametrize("dump", DUMPS, ids=name_of)
def test_every_dump_of_the_corpus_gives_the_same_memories(dump: Path) -> None:
    if verify(dump).verdict.codes == ["client_missing"]:
        return
    found = _memories(dump)
    assert len(found) == 7
    assert found == _memories(CORPUS / "pg18" / "copy.sql")
    assert Counter(memory.namespace for memory in found.values()) == NAMESPACES
    assert [number for number, memory in found.items() if memory.vector is None] == [0x05]


@given(st.sampled_from(TEXTS), st.sampled_from([_flip, _cut_out, _insert, _double, _swap]), st.data())
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_damaged_dump_gives_its_memories_or_damage(
    tmp_path: Path, dump: Path, hurt: Callable[[bytes, int, int], bytes], data: st.DataObject
) -> None:
    whole = dump.read_bytes()
    places = st.integers(0, len(whole) - 1)
    (tmp_path / "dump").write_bytes(hurt(whole, data.draw(places), data.draw(places)))
    try:
        assert len(list(read_dump(tmp_path / "dump"))) == verify(tmp_path / "dump").contents.total
    except DumpDamage:
        return
