"""A disk of a given size, to be filled or made read-only: a tmpfs, which only root may mount."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def small_disk(place: Path, size: str) -> Iterator[Path]:
    """A disk of `size` (like "1m") mounted at `place`; skips the test where mounting is not permitted."""
    place.mkdir(parents=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=755", "tmpfs", str(place)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no `mount` here")
    if done.returncode:
        pytest.skip(f"mounting a small disk is not permitted here: {done.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def make_read_only(place: Path) -> None:
    """From now on nothing can be written to this disk."""
    subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True)


def fill(place: Path, *, leave: int = 0) -> Path:
    """Fill a disk but for `leave` bytes; the file that does it."""
    filler = place / "filler"
    state = os.statvfs(place)
    with open(filler, "wb") as file:
        file.write(b"x" * max(0, state.f_bavail * state.f_frsize - leave))
    return filler
