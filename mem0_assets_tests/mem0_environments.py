"""Environments with one version of mem0ai each, made from PyPI when they are first asked for, and kept in `.tests/`.

mem0_versions/VERSION.txt pins what is in each, to the last package: a new version of some other library must not turn the
tests of today red tomorrow. One that pins mem0ai alone is laid over the project's own environment, which has all that it
needs. `python -m mem0_assets_tests.mem0_environments` makes them all, as `.ci/run` does, so that there no test is skipped.
"""

import fcntl
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PINS = ROOT / "mem0_assets_tests" / "mem0_versions"
# What pip says while it cannot reach its index, whatever its last line is; and where it was told to ask none.
UNREACHABLE = (
    *("NewConnectionError", "NameResolutionError", "ConnectTimeoutError", "ReadTimeoutError", "ProxyError"),
    "(from versions: none)",
)


@dataclass(frozen=True)
class Environment:
    """Which Python runs this version of mem0ai, and with which environment variables beside the usual ones."""

    version: str
    python: Path
    variables: Mapping[str, str] = field(default_factory=dict)


# The newest one that requirements.lock knows: this process' own.
OWN = Environment(version("mem0ai"), Path(sys.executable))


class NoIndexError(Exception):
    """The package index cannot be reached, and the environment was not made before."""


def environment(wanted: str) -> Environment:
    """The environment of this version of mem0ai; skips the test where there is none and PyPI cannot be reached."""
    found = OWN if wanted == OWN.version else _made_once(wanted)
    if isinstance(found, NoIndexError):
        pytest.skip(f"mem0ai {wanted} cannot be installed: {found}")
    return found


@cache
def _made_once(wanted: str) -> Environment | NoIndexError:
    """Without an index each attempt takes some seconds, and each test of a version would make one."""
    try:
        return make_environment(wanted)
    except NoIndexError as error:
        return error


def make_environment(wanted: str) -> Environment:
    """Make it, unless it is there already. Raises NoIndexError, and RuntimeError with pip's own words."""
    folder, pins = ROOT / ".tests" / f"mem0-{wanted}", PINS / f"{wanted}.txt"
    laid_over = [line for line in pins.read_text().split("\n") if line] == [f"mem0ai=={wanted}"]
    # Wheels are of one version of Python, and so is what is laid over this environment.
    made_of = f"{sys.version}\n{pins.read_text()}"
    ready = folder / ".ready"
    with _locked(folder):
        if not ready.exists() or ready.read_text() != made_of:
            shutil.rmtree(folder, ignore_errors=True)
            if laid_over:
                _pip(Path(sys.executable), "--no-deps", "--target", str(folder), "-r", str(pins))
            else:
                venv.create(folder, with_pip=True)
                _pip(folder / "bin" / "python", "-r", str(pins))
            ready.write_text(made_of)
    if laid_over:
        return Environment(wanted, Path(sys.executable), {"PYTHONPATH": str(folder)})
    return Environment(wanted, folder / "bin" / "python")


def _pip(python: Path, *words: str) -> None:
    command = [str(python), "-m", "pip", "--disable-pip-version-check", "--no-input", "--retries", "2"]
    done = subprocess.run([*command, "install", "--quiet", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        last = done.stderr.strip().split("\n")[-1]
        raise NoIndexError(last) if any(word in done.stderr for word in UNREACHABLE) else RuntimeError(done.stderr)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Two workers of pytest may want the same one."""
    folder.parent.mkdir(exist_ok=True)
    with open(folder.with_name(f"{folder.name}.lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


if __name__ == "__main__":
    os.chdir(ROOT)
    for path in sorted(PINS.glob("*.txt")):
        print(f"mem0ai {path.stem}: {make_environment(path.stem).python}")
