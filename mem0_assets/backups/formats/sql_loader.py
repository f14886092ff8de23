"""Loading a plain SQL dump with psql, strictly: the first error stops it, and what psql says on stderr counts.

`gunzip | psql` as the runbooks have it goes on after errors and exits 0: nfrastack #572 restored 5,349 of 10,275 rows
and said OK.
"""

import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, Any

from mem0_assets.backups.formats.sql_writer import client_environment
from mem0_assets.errors import Mem0AssetsError
from mem0_assets.live.programs import Program


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


def load_dump(program: Program, settings: dict[str, Any], blocks: Iterable[bytes]) -> LoadTimes:
    """Feed a plain dump to psql. `settings` are psycopg's keywords. Raises LoadFailedError at the first error."""
    command = [str(program.path), "-X", "--no-password", "-v", "ON_ERROR_STOP=1"]
    environment = {**os.environ, **client_environment(settings), "PGOPTIONS": "-c client_min_messages=warning"}
    started = time.monotonic()
    with tempfile.TemporaryFile("w+") as complaints:
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=complaints, env=environment
        ) as child:
            assert child.stdin and child.stdout
            answers = _Answers(child.stdout)
            try:
                with suppress(BrokenPipeError):  # psql stopped at an error: its stderr says which
                    for block in blocks:
                        child.stdin.write(block)
                    child.stdin.close()
                status = child.wait()
            finally:
                if child.poll() is None:
                    child.kill()
            answers.join()
        ended = time.monotonic()
        complaints.seek(0)
        _require_success(status, complaints.read())
    return LoadTimes(readable=(answers.last_copy or ended) - started, indexes=ended - (answers.last_copy or ended))


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


def _require_success(status: int, stderr: str) -> None:
    errors = [line for line in stderr.splitlines() if "ERROR:" in line or "FATAL:" in line or "error:" in line]
    if not status and not errors:
        return
    first = (errors or stderr.splitlines() or [f"psql ended with exit status {status}"])[0]
    role = first.split('role "')[1].split('" does not exist')[0] if 'role "' in first and "not exist" in first else None
    raise LoadFailedError(f"psql stopped: {first}", missing_role=role)
