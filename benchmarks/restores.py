"""Loading a dump into an empty server: `gunzip | psql` as the runbooks have it, in the very server that a drill uses.

Two times: until the last memory was in (`readable`), and from then until all indexes were built (`index`).
"""

import tempfile
import time
from pathlib import Path

from benchmarks.data import count_rows
from benchmarks.measuring import Contender
from benchmarks.processes import ContenderFailed, Runner
from benchmarks.results import Run
from benchmarks.servers import EMBEDDED_MAJOR, clients
from mem0_assets.restores.scratch import DATABASE, connect_scratch, scratch_server


def psql_contender(dump: Path, rows: int, also: str = "") -> Contender:
    """`gunzip -c DUMP | psql`; `also` is SQL that stands after the dump, as if it were its last statement."""

    def run(folder: Path) -> Run:
        with scratch_server(folder, EMBEDDED_MAJOR) as server:
            figures = _load(clients(server, DATABASE), server.programs, dump, also)
            with connect_scratch(server) as connection:
                if (found := count_rows(connection)) != rows:
                    raise ContenderFailed(f"{found} memories came back instead of {rows}")
        return figures

    return Contender("psql", "gunzip | psql", run)


def _load(runner: Runner, programs: Path, dump: Path, also: str) -> Run:
    tail = dump.with_name("also.sql")
    tail.write_text(f"{also};\n" if also else "")
    commands: list[list[str | Path]] = [
        ["sh", "-c", 'gunzip -c "$1" && cat "$2"', "sh", dump, tail],
        [programs / "psql", "-X"],
    ]
    readable: list[float] = []
    started = time.perf_counter()
    with tempfile.TemporaryFile() as complaints:
        with runner.started(commands, complaints) as children:
            assert children[-1].stdout is not None
            for line in children[-1].stdout:
                if line.startswith(b"COPY "):  # psql prints `COPY n` when a table's rows are in
                    readable.append(time.perf_counter())
        ended = time.perf_counter()
        complaints.seek(0)
        said = complaints.read().decode(errors="replace")
    if not readable or "ERROR" in said or any(child.returncode for child in children):
        raise ContenderFailed(f"psql: {said.strip()[-500:]}")
    return {"seconds": ended - started, "readable": readable[-1] - started, "index": ended - readable[-1]}
