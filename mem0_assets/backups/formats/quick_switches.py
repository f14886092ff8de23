"""Threads that compress and threads that parse, on the same cores.

Compression and decompression leave Python's lock alone for most of their time; but when they want it back, they are by
default let wait for 5 ms while another thread computes, and a block takes them 1 ms: a verify of 2 GB of text took 3.9 s
so, and takes 2.8 s now.
"""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_SECONDS = 2e-5

_lock = threading.Lock()
_usual: list[float] = []


@contextmanager
def quick_switches() -> Iterator[None]:
    """While anybody holds this, threads give way at once. The last one to leave puts back what was before the first."""
    with _lock:
        _usual.append(sys.getswitchinterval())
        sys.setswitchinterval(min(_usual[0], _SECONDS))
    try:
        yield
    finally:
        with _lock:
            usual = _usual[0]
            _usual.pop()
            if not _usual:
                sys.setswitchinterval(usual)
