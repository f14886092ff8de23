"""The `sql` format: one plain SQL file in gzip, as stock tools expect (`gunzip -c ... | psql`).

Written by pg_dump, compressed by igzip: on 100,000 memories `gzip -6` takes 100 s, igzip 7 s, for a file 8 % larger.
`pg_dump | gzip` in a shell is never used: its exit status is gzip's, and an empty dump is a valid 26-byte file.
"""

import hashlib
import os
import re
import selectors
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from isal import isal_zlib

from mem0_assets.backups.files import CHUNK
from mem0_assets.errors import Mem0AssetsError, UnreachableError, without_secrets
from mem0_assets.live.programs import Program

LEVEL = 3
END_MARK = b"-- PostgreSQL database dump complete"
STALL_SECONDS = 120.0
LOCK_WAIT = "10s"

_ERROR = re.compile("error|fatal|panic", re.IGNORECASE)
_NO_ERROR = re.compile("pg_dump: (warning|detail|hint): ")
# Where a person's environment could lead a client program elsewhere than psycopg was led, whatever it is told.
_ELSEWHERE = {"PGSERVICE", "PGHOSTADDR"}

Progress = Callable[[int], None]


class DumpFailedError(Mem0AssetsError):
    """pg_dump said that it failed, or wrote something that is no whole dump."""

    code = "dump_failed"

    def __init__(self, message: str) -> None:
        super().__init__(
            message, next_step="See the server's log, then make the backup again; no good backup was touched"
        )


@dataclass(frozen=True)
class Written:
    """A dump on disk: its bytes, their sha256, the bytes of SQL inside, and what the client warned of."""

    bytes: int
    sha256: str
    plain_bytes: int
    warnings: tuple[str, ...]


def write_dump(
    program: Program,
    settings: dict[str, Any],
    snapshot: str,
    target: Path,
    *,
    progress: Progress = lambda plain_bytes: None,
    stall_seconds: float = STALL_SECONDS,
) -> Written:
    """Dump the whole database, as it is in the exported `snapshot`, into `target`; compressed, hashed and fsynced.

    `settings` are psycopg's keywords. Raises DumpFailedError, UnreachableError where the server fell silent, OSError.
    Exit status, stderr and what was written all count as evidence.
    """
    command = [str(program.path), "--format=plain", "--encoding=UTF8", "--no-owner", "--no-privileges"]
    command += [f"--snapshot={snapshot}", f"--lock-wait-timeout={LOCK_WAIT}", "--no-password"]
    with tempfile.TemporaryFile() as complaints, _running(command, settings, complaints) as child:
        digest, compressed, plain, tail = hashlib.sha256(), 0, 0, b""
        compressor = isal_zlib.compressobj(LEVEL, isal_zlib.DEFLATED, 31)
        with open(target, "wb") as file:
            for chunk in _chunks(child, stall_seconds):
                plain += len(chunk)
                tail = (tail + chunk)[-512:]
                compressed += _put(file, digest, compressor.compress(chunk))
                progress(plain)
            compressed += _put(file, digest, compressor.flush())
            file.flush()
            os.fsync(file.fileno())
            _forget(file)
        status = _status(child, stall_seconds)
        complaints.seek(0)
        stderr = without_secrets(complaints.read().decode("utf-8", "replace"), [settings.get("password")])
    return Written(compressed, digest.hexdigest(), plain, _evidence(program, status, stderr, plain, tail))


def _evidence(program: Program, status: int, stderr: str, plain: int, tail: bytes) -> tuple[str, ...]:
    """The client's warnings, if all that it left behind says that the dump is whole; DumpFailedError otherwise."""
    lines = [line for line in stderr.splitlines() if line.strip()]
    if status or any(_is_error(line) for line in lines):
        raise DumpFailedError(f"{program} failed with exit status {status}: {' / '.join(lines) or 'no message'}")
    if END_MARK not in tail:
        raise DumpFailedError(
            f"{program} ended with status 0 after {plain} bytes without its end mark: a part is missing"
        )
    return tuple(lines)


def _is_error(line: str) -> bool:
    """Whether a line tells of an error. What pg_dump itself calls less may name one: a table `error_log`."""
    return not _NO_ERROR.match(line) and bool(_ERROR.search(line))


def _chunks(child: subprocess.Popen[bytes], stall_seconds: float) -> Iterator[bytes]:
    assert child.stdout is not None
    with selectors.DefaultSelector() as selector:
        selector.register(child.stdout, selectors.EVENT_READ)
        while True:
            if not selector.select(stall_seconds):
                raise _silent(stall_seconds)
            chunk = os.read(child.stdout.fileno(), CHUNK)
            if not chunk:
                return
            yield chunk


def _status(child: subprocess.Popen[bytes], stall_seconds: float) -> int:
    try:
        return child.wait(stall_seconds)
    except subprocess.TimeoutExpired:
        raise _silent(stall_seconds) from None


def _silent(seconds: float) -> UnreachableError:
    return UnreachableError(
        f"the dump stood still for {seconds:g} s: the server fell silent",
        next_step="Is it frozen, or its disk? See its log",
    )


def _forget(file: IO[bytes]) -> None:
    """Drop the written bytes from the page cache: reading them back must ask the disk, not the memory."""
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _put(file: IO[bytes], digest: Any, data: bytes) -> int:
    file.write(data)
    digest.update(data)
    return len(data)


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
            yield child
        finally:
            if child.poll() is None:
                child.kill()


def client_environment(settings: dict[str, Any]) -> dict[str, str]:
    """psycopg's keywords as the client programs' variables: a password in the environment is not shown by `ps`.

    Messages come in English, whatever this machine speaks: an error must be known for one.
    """
    names = {"host": "PGHOST", "port": "PGPORT", "user": "PGUSER", "password": "PGPASSWORD", "dbname": "PGDATABASE"}
    variables = {names[key]: str(value) for key, value in settings.items() if value is not None}
    return variables | {"PGCONNECT_TIMEOUT": "10", "PGAPPNAME": "mem0-assets", "LC_ALL": "C"}
