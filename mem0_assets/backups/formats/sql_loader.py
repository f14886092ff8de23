"""Loading a plain SQL dump with psql, strictly: the first error stops it, and what psql says on stderr counts.

`gunzip | psql` as the runbooks have it goes on after errors and exits 0: nfrastack #572 restored 5,349 of 10,275 rows
and said OK.
"""

import os
import re
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from types import MappingProxyType
from typing import IO, Any

from mem0_assets.backups.formats.pg_dump import client_environment
from mem0_assets.errors import Mem0AssetsError
from mem0_assets.live.programs import Program

# An index of ten million vectors takes a day to build; nothing takes two.
LOAD_SECONDS = 2 * 86400.0
_QUIET = {"client_min_messages": "warning"}
_MISSING_ROLE = re.compile('role "(.*)" does not exist')
# A server quotes what it could not read: a vector of 1,536 numbers is no message.
_MESSAGE_LENGTH = 500


class LoadFailedError(Mem0AssetsError):
    """psql refused a statement of the dump. `missing_role` names the role that it wanted, where that was the reason."""

    code = "restore_failed"

    def __init__(self, message: str, missing_role: str | None = None) -> None:
        super().__init__(message)
        self.missing_role = missing_role


@dataclass(frozen=True)
class LoadTimes:
    """Seconds until the data were readable, and from then until all indexes were built."""

    readable: float
    indexes: float


def load_dump(
    program: Program,
    settings: dict[str, Any],
    blocks: Iterable[bytes],
    *,
    parameters: Mapping[str, str] = MappingProxyType({}),
    seconds: float = LOAD_SECONDS,
) -> LoadTimes:
    """Feed a plain dump to psql. `settings` are psycopg's keywords, `parameters` PostgreSQL's, for this session only.

    Raises LoadFailedError at the first error; also where psql has not come to an end after `seconds`: a server that
    stands still must not hold a drill for ever.
    """
    command = [str(program.path), "-X", "--no-password", "-v", "ON_ERROR_STOP=1"]
    # Nothing of a person's own PG* variables: they lead to the live server.
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    options = " ".join(f"-c {name}={value}" for name, value in {**_QUIET, **parameters}.items())
    environment = {**inherited, **client_environment(settings), "PGOPTIONS": options}
    started = time.monotonic()
    with tempfile.TemporaryFile() as complaints:
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=complaints, env=environment
        ) as child:
            limit = threading.Timer(seconds, child.kill)
            limit.daemon = True
            limit.start()
            try:
                last_copy = _feed(child, blocks)
                status = child.wait()
            finally:
                child.kill()  # nothing happens to one that has ended by itself
                limit.cancel()
                limit.join()
        ended = time.monotonic()
        complaints.seek(0)
        _require_success(status, complaints.read().decode("utf-8", "replace"), ended - started >= seconds)
    return LoadTimes(readable=(last_copy or ended) - started, indexes=ended - (last_copy or ended))


def _feed(child: "subprocess.Popen[bytes]", blocks: Iterable[bytes]) -> float | None:
    """Write all blocks and read all answers; when the last table's rows were in."""
    assert child.stdin is not None
    assert child.stdout is not None
    answers = _Answers(child.stdout)
    try:
        with suppress(BrokenPipeError):  # psql stopped at an error: its stderr says which
            for block in blocks:
                child.stdin.write(block)
    except BaseException:
        child.kill()
        raise
    finally:
        with suppress(BrokenPipeError):
            child.stdin.close()
        answers.join()
    return answers.last_copy


class _Answers(threading.Thread):
    """psql prints `COPY n` when a table's rows are in: the last one is the moment at which all data were readable."""

    def __init__(self, stdout: IO[bytes]) -> None:
        super().__init__(daemon=True)
        self.last_copy: float | None = None
        self._stdout = stdout
        self.start()

    def run(self) -> None:
        for line in self._stdout:
            if line.startswith(b"COPY "):
                self.last_copy = time.monotonic()


def _require_success(status: int, stderr: str, late: bool) -> None:
    errors = [line for line in stderr.splitlines() if "ERROR:" in line or "FATAL:" in line or "error:" in line]
    if not status and not errors:
        return
    if late and not errors:
        raise LoadFailedError("psql did not come to an end: the server stands still")
    first = (errors or stderr.splitlines() or [f"psql ended with exit status {status}"])[0]
    role = _MISSING_ROLE.search(first)
    raise LoadFailedError(f"psql stopped: {first[:_MESSAGE_LENGTH]}", missing_role=role[1] if role else None)
