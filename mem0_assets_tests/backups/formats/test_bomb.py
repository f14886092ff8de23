"""Decompression bombs: refused with a code, in little memory, and never a dump that is only repetitive."""

import gzip
import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
import zstandard

from mem0_assets.backups.formats import bomb, dump_tables
from mem0_assets.backups.formats.bomb import without_bomb
from mem0_assets.backups.formats.damage import DumpDamage
from mem0_assets.backups.formats.sql_reader import read_sql
from mem0_assets.backups.validation import verify
from mem0_assets_tests.forged import dump_text

ROW = b"11111111-1111-1111-1111-111111111111\t[1,2,3]\t{}\n"


def test_a_few_bytes_that_become_more_than_any_dump_are_refused() -> None:
    endless = itertools.repeat(bytes(1 << 20))
    with pytest.raises(DumpDamage, match="decompression bomb") as refused:
        sum(map(len, without_bomb(endless, 1000)))
    assert refused.value.code == "corrupt"


def test_a_large_dump_of_small_ratio_and_a_small_one_of_large_ratio_are_none() -> None:
    block = bytes(1 << 20)
    assert sum(1 for _ in without_bomb(itertools.repeat(block, 1100), (1100 << 20) // bomb.BOMB_RATIO + 1)) == 1100
    assert sum(1 for _ in without_bomb(itertools.repeat(block, 1000), 1)) == 1000


@pytest.mark.parametrize("wrap", [gzip.compress, zstandard.compress], ids=["gzip", "zstd"])
@pytest.mark.parametrize("what", ["zeros", "letters", "rows", "twice"])
def test_every_kind_of_bomb_ends_with_a_code(tmp_path: Path, what: str, wrap: object) -> None:
    assert callable(wrap)
    begin = dump_text({"alice": 3}).partition(b"\\.\n")[0]
    bombs = {
        "zeros": (begin + bytes(20 << 20), "corrupt"),
        "letters": (begin + b"a" * (80 << 20), "truncated"),
        "rows": (begin + ROW * 100_000 + dump_text({}).partition(b"stdin;\n")[2], "corrupt"),
        "twice": (wrap(bytes(20 << 20)), "not_a_dump"),
    }
    text, code = bombs[what]
    (tmp_path / "bomb").write_bytes(wrap(text))
    assert verify(tmp_path / "bomb").verdict.codes == [code]


def test_a_bomb_of_damaged_rows_is_not_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dump_tables, "MOST_FAULTY_ROWS", 1000)
    text = dump_text({"alice": 3}).partition(b"\\.\n")[0]
    contents = read_sql(itertools.chain([text], itertools.repeat(ROW * 100)), collection=None)
    assert contents.verdict.codes == ["corrupt", "corrupt"]
    assert "the rest was not read" in contents.verdict.sentence()
    assert contents.total < 1200


def test_repetitive_memories_are_counted(tmp_path: Path) -> None:
    def rows() -> Iterator[bytes]:
        for number in range(200_000):
            yield b'%032d\t[0,0,0]\t{"user_id": "alice"}\n' % number

    before, _, after = dump_text({}).partition(b"stdin;\n")
    text = before + b"stdin;\n" + b"".join(rows()) + after
    (tmp_path / "dump").write_bytes(zstandard.compress(text, 9))
    examined = verify(tmp_path / "dump")
    assert examined.verdict.ok
    assert examined.contents.namespaces == {"alice": 200_000}
