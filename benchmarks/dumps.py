"""The peers that dump or copy a running server, and the limit: the table's own bytes, out of the server and onto disk."""

import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from benchmarks.data import COLLECTION
from benchmarks.measuring import Contender, bytes_in
from benchmarks.processes import ContenderFailed, Runner
from benchmarks.results import Run

COPY = f"COPY {COLLECTION} TO STDOUT (FORMAT binary)"
DUMP = "dump.sql.gz"

Command = Sequence[str | Path]


def dump_contenders(runner: Runner, programs: Path) -> list[Contender]:
    """All that need nothing but PostgreSQL's own programs, gzip and zstd."""
    plain: Command = [programs / "pg_dump"]
    custom: Command = [programs / "pg_dump", "-Fc"]
    return [
        Contender("seeds", "pg_dump | gzip, gunzip | grep -c", lambda folder: seeds_way(runner, programs, folder)),
        _piped("custom", "pg_dump -Fc (gzip)", runner, [custom]),
        _piped("custom_zstd", "pg_dump -Fc -Z zstd", runner, [[*custom, "-Z", "zstd"]]),
        _piped("zstd", "pg_dump | zstd", runner, [plain, ["zstd", "-q"]]),
        _piped("zstd_fast", "pg_dump | zstd -1 -T0", runner, [plain, ["zstd", "-q", "-1", "-T0"]]),
        basebackup(runner, programs, "basebackup", "pg_basebackup -Ft"),
        Contender("limit_read", "limit: COPY BINARY to /dev/null", lambda folder: read_table(runner, programs)),
        Contender(
            "limit", "limit: COPY BINARY to disk, fsync", lambda folder: _copied_to_disk(runner, programs, folder)
        ),
    ]


def seeds_way(runner: Runner, programs: Path, folder: Path) -> Run:
    """What the deployment did that lost its memories: a dump in gzip, and its one check, the number of COPY lines."""
    written = dump_in_gzip(runner, programs, folder / DUMP)
    return count_copies(runner, folder / DUMP) | {"bytes": written}


def dump_in_gzip(runner: Runner, programs: Path, target: Path) -> int:
    """`pg_dump | gzip`; the file's bytes."""
    runner.pipeline([[programs / "pg_dump"], ["gzip"]], target)
    return target.stat().st_size


def count_copies(runner: Runner, dump: Path) -> Run:
    """`gunzip | grep -c`: it says how many tables were begun, whatever they hold."""
    found = int(runner.pipeline([["gunzip", "-c", dump], ["grep", "-c", "^COPY"]]))
    if found != 1:
        raise ContenderFailed(f"{found} tables in the dump instead of one")
    return {}


def basebackup(runner: Runner, programs: Path, key: str, title: str) -> Contender:
    """The whole server as one tar, uncompressed: its fastest way here."""

    def run(folder: Path) -> Run:
        target = folder / "copy"
        runner.run(programs / "pg_basebackup", "-D", target, "-Ft", "--checkpoint=fast")
        return {"bytes": bytes_in(target)}

    return Contender(key, title, run)


def missing_here(programs: Path) -> dict[str, str]:
    """Which of these cannot run here, and why."""
    missing = {}
    if not _links_zstd(programs / "pg_dump"):
        missing["custom_zstd"] = "the embedded `pg_dump` was built without zstd"
    if shutil.which("zstd") is None:
        missing |= dict.fromkeys(("zstd", "zstd_fast"), "zstd is not installed (Debian: `apt-get install zstd`)")
    return missing


def _links_zstd(program: Path) -> bool:
    configured = Runner({}).run(program.with_name("pg_config"), "--configure")
    return re.search(rb"--with-zstd", configured) is not None


def _piped(key: str, title: str, runner: Runner, commands: Sequence[Command]) -> Contender:
    def run(folder: Path) -> Run:
        runner.pipeline(commands, folder / "dump")
        return {"bytes": (folder / "dump").stat().st_size}

    return Contender(key, title, run)


def read_table(runner: Runner, programs: Path) -> Run:
    """The whole table once, to nowhere: the limit of all that reads it by SQL, and what brings it into memory."""
    runner.pipeline([[programs / "psql", "-X", "-c", COPY]], Path("/dev/null"))
    return {}


def _copied_to_disk(runner: Runner, programs: Path, folder: Path) -> Run:
    runner.pipeline([[programs / "psql", "-X", "-c", COPY]], folder / "copy", sync=True)
    return {"bytes": (folder / "copy").stat().st_size}
