"""Runs pg_dump (or pg_dumpall), and believes it only when exit status, stderr and the end of what it wrote agree.

`pg_dump | gzip` in a shell is never used: its exit status is gzip's, and an empty dump is a valid 26-byte file.
"""

import fcntl
import os
import re
import selectors
import subprocess
import tempfile
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import IO, Any

from mem0_assets.backups.files import CHUNK
from mem0_assets.errors import Mem0AssetsError, UnreachableError, without_secrets
from mem0_assets.live.programs import Program

END_MARK = b"-- PostgreSQL database dump complete"
CLUSTER_END_MARK = b"-- PostgreSQL database cluster dump complete"
STALL_SECONDS = 120.0
LOCK_WAIT = "10s"
_TAIL_BYTES = 512

_ERROR = re.compile("error|fatal|panic", re.IGNORECASE)
_NO_ERROR = re.compile("pg_dump(all)?: (warning|detail|hint): ")
# Where a person's environment could lead a client program elsewhere than psycopg was led, whatever it is told.
_ELSEWHERE = {"PGSERVICE", "PGHOSTADDR"}


class DumpFailedError(Mem0AssetsError):
    """The dump program or the server said that the dump failed, or what was written is no whole dump."""

    code = "dump_failed"

    def __init__(self, message: str) -> None:
        super().__init__(
            message, next_step="See the server's log, then make the backup again; no good backup was touched"
        )


class DumpProgram:
    """The text that a dump program writes, in blocks; close the iterator, so that no program is left.

    `settings` are psycopg's keywords, `arguments` the program's own; `end_mark` is what it ends a whole dump with. At the
    end `warnings` holds what the program warned of. Iterating raises DumpFailedError, and UnreachableError where nothing
    comes for `stall_seconds`.
    """

    def __init__(
        self,
        program: Program,
        settings: dict[str, Any],
        arguments: Sequence[str],
        end_mark: bytes,
        *,
        stall_seconds: float = STALL_SECONDS,
    ) -> None:
        self._program = program
        self._settings = settings
        self._command = [str(program.path), *arguments]
        self._end_mark = end_mark
        self._stall_seconds = stall_seconds
        self._child: subprocess.Popen[bytes] | None = None
        self._killed = False
        self.warnings: tuple[str, ...] = ()

    def __iter__(self) -> Generator[bytes, None, None]:
        plain, tail = 0, b""
        with tempfile.TemporaryFile() as complaints, _running(self._command, self._settings, complaints) as child:
            self._child = child
            if self._killed:
                child.kill()
            for chunk in _chunks(child, self._stall_seconds):
                plain += len(chunk)
                tail = (tail + chunk[-_TAIL_BYTES:])[-_TAIL_BYTES:]
                yield chunk
            status = _status(child, self._stall_seconds)
            complaints.seek(0)
            stderr = without_secrets(complaints.read().decode("utf-8", "replace"), [self._settings.get("password")])
        self.warnings = _evidence(self._program, status, stderr, plain, self._end_mark in tail)

    def kill(self) -> None:
        """End the program, from any thread and also before it began; whoever iterates gets a DumpFailedError."""
        self._killed = True
        if self._child is not None:
            self._child.kill()

    @contextmanager
    def killed_on_error(self) -> Iterator[None]:
        """End the program when what reads it fails: nobody should wait for the next words of a server that is frozen."""
        try:
            yield
        except BaseException:
            self.kill()
            raise


class PgDump(DumpProgram):
    """The text that pg_dump writes of the exported `snapshot`; `options` are more of its own."""

    def __init__(
        self,
        program: Program,
        settings: dict[str, Any],
        snapshot: str,
        *options: str,
        stall_seconds: float = STALL_SECONDS,
    ) -> None:
        arguments = ["--format=plain", "--encoding=UTF8", "--no-owner", "--no-privileges", f"--snapshot={snapshot}"]
        arguments += [f"--lock-wait-timeout={LOCK_WAIT}", "--no-password", *options]
        super().__init__(program, settings, arguments, END_MARK, stall_seconds=stall_seconds)


def _evidence(program: Program, status: int, stderr: str, plain: int, ended: bool) -> tuple[str, ...]:
    """The client's warnings, if all that it left behind says that the dump is whole; DumpFailedError otherwise."""
    lines = [line for line in stderr.splitlines() if line.strip()]
    if status or any(_is_error(line) for line in lines):
        raise DumpFailedError(f"{program} failed with exit status {status}: {' / '.join(lines) or 'no message'}")
    if not ended:
        raise DumpFailedError(
            f"{program} ended with status 0 after {plain} bytes without its end mark: a part is missing"
        )
    return tuple(lines)


def _is_error(line: str) -> bool:
    """Whether a line tells of an error. What the program itself calls less may name one: a table `error_log`."""
    return not _NO_ERROR.match(line) and bool(_ERROR.search(line))


def _chunks(child: subprocess.Popen[bytes], stall_seconds: float) -> Iterator[bytes]:
    assert child.stdout is not None
    with selectors.DefaultSelector() as selector:
        selector.register(child.stdout, selectors.EVENT_READ)
        while True:
            if not selector.select(stall_seconds):
                raise silent(stall_seconds)
            chunk = os.read(child.stdout.fileno(), CHUNK)
            if not chunk:
                return
            yield chunk


def _status(child: subprocess.Popen[bytes], stall_seconds: float) -> int:
    try:
        return child.wait(stall_seconds)
    except subprocess.TimeoutExpired:
        raise silent(stall_seconds) from None


def silent(seconds: float) -> UnreachableError:
    """The error of a dump that stood still."""
    return UnreachableError(
        f"the dump stood still for {seconds:g} s: the server fell silent",
        next_step="Is it frozen, or its disk? See its log",
    )


@contextmanager
def _running(command: list[str], settings: dict[str, Any], stderr: IO[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """The child, which never outlives its use: a refused or cancelled run must not leave a pg_dump behind."""
    inherited = {name: value for name, value in os.environ.items() if name not in _ELSEWHERE}
    environment = {**inherited, **client_environment(settings)}
    try:
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=stderr, env=environment
        )
    except OSError as error:
        raise DumpFailedError(f"{command[0]} cannot be run: {error.strerror}") from None
    with child:
        try:
            _widen(child.stdout)
            yield child
        finally:
            if child.poll() is None:
                child.kill()


def _widen(pipe: IO[bytes] | None) -> None:
    """Let the program write ahead while we compress: Linux's 64 KB keep it, and the server behind it, waiting for us."""
    if pipe is not None and hasattr(fcntl, "F_SETPIPE_SZ"):
        with suppress(OSError):  # more than this user may have: it works all the same
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, CHUNK)


def client_environment(settings: dict[str, Any]) -> dict[str, str]:
    """psycopg's keywords as the client programs' variables: a password in the environment is not shown by `ps`.

    Messages come in English, whatever this machine speaks: an error must be known for one.
    """
    names = {"host": "PGHOST", "port": "PGPORT", "user": "PGUSER", "password": "PGPASSWORD", "dbname": "PGDATABASE"}
    variables = {names[key]: str(value) for key, value in settings.items() if value is not None}
    return variables | {"PGCONNECT_TIMEOUT": "10", "PGAPPNAME": "mem0-assets", "LC_ALL": "C"}
