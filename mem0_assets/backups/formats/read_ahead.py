"""Lets one thread decompress while another parses: on two cores a dump takes as long as the slower of both.

Decompression leaves Python's lock alone for most of its time; but when it wants it back, it is by default let wait for
5 ms while the parser computes, and a block takes it 1 ms: a verify of 2 GB of text took 3.9 s so, and takes 2.8 s now.
"""

import sys
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

_BLOCKS_AHEAD = 8
_SWITCH_SECONDS = 2e-5


def read_ahead(blocks: Iterator[bytes]) -> Generator[bytes, None, None]:
    """The same blocks, each made in a thread of its own while those before it are used; and the same exceptions."""
    with _quick_switches(), ThreadPoolExecutor(1, "read-ahead") as thread:
        coming = deque(thread.submit(next, blocks, b"") for _ in range(_BLOCKS_AHEAD))
        while block := coming.popleft().result():
            coming.append(thread.submit(next, blocks, b""))
            yield block


@contextmanager
def _quick_switches() -> Iterator[None]:
    usual = sys.getswitchinterval()
    sys.setswitchinterval(min(usual, _SWITCH_SECONDS))
    try:
        yield
    finally:
        sys.setswitchinterval(usual)
