"""Reading ahead in a thread changes nothing but the time: the same blocks, the same exceptions, and nothing left behind."""

import itertools
import sys
import threading
from collections.abc import Iterator

import pytest

from mem0_assets.backups.formats.damage import DumpDamage, damage
from mem0_assets.backups.formats.read_ahead import read_ahead


def test_the_blocks_come_whole_and_in_order() -> None:
    blocks = [b"%d" % number for number in range(100)]
    assert list(read_ahead(iter(blocks))) == blocks
    assert list(read_ahead(iter([]))) == []


def test_damage_comes_where_it_stands_behind_the_blocks_before_it() -> None:
    def broken() -> Iterator[bytes]:
        yield from (b"one", b"two")
        raise damage("corrupt", "the third is broken")

    ahead = read_ahead(broken())
    assert [next(ahead), next(ahead)] == [b"one", b"two"]
    with pytest.raises(DumpDamage, match="the third is broken"):
        next(ahead)


def test_who_stops_reading_leaves_no_thread_and_no_setting_behind() -> None:
    threads, interval = threading.active_count(), sys.getswitchinterval()
    ahead = read_ahead(itertools.repeat(b"more"))
    assert next(ahead) == b"more"
    ahead.close()
    assert threading.active_count() == threads
    assert sys.getswitchinterval() == interval
