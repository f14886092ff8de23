"""Lets one thread decompress while another parses: on two cores a dump takes as long as the slower of both."""

from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor

from mem0_assets.backups.formats.quick_switches import quick_switches

_BLOCKS_AHEAD = 8


def read_ahead(blocks: Iterator[bytes]) -> Generator[bytes, None, None]:
    """The same blocks, each made in a thread of its own while those before it are used; and the same exceptions."""
    with quick_switches(), ThreadPoolExecutor(1, "read-ahead") as thread:
        coming = deque(thread.submit(next, blocks, b"") for _ in range(_BLOCKS_AHEAD))
        while block := coming.popleft().result():
            coming.append(thread.submit(next, blocks, b""))
            yield block
