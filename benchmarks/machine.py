"""On what was measured: the machine without its name, the programs' versions."""

import os
import platform
import re
import shutil
from pathlib import Path

import psycopg

import mem0_assets
from benchmarks.data import DATABASE
from benchmarks.processes import Runner
from mem0_assets.live.embedded import EmbeddedServer
from mem0_assets.live.postgres import connect_embedded
from mem0_assets.live.programs import Program


def machine(folder: Path) -> dict[str, str]:
    """Processor, cores, memory, kernel, and the disk on which `folder` lies."""
    return {
        "processor": _field("/proc/cpuinfo", "model name"),
        "cores": str(os.cpu_count()),
        "memory": f"{memory_bytes() / 2**30:.0f} GiB",
        "disk": _disk(folder),
        "kernel": f"{platform.system()} {platform.release().split('-')[0]}",
    }


def memory_bytes() -> int:
    """The machine's memory."""
    return int(_field("/proc/meminfo", "MemTotal").split()[0]) << 10


def versions(server: EmbeddedServer, debian: Program | None) -> dict[str, str]:
    """Of all programs that took part and are installed."""
    with connect_embedded(server, DATABASE) as connection:
        row = connection.execute("SELECT extversion FROM pg_extension WHERE extname = 'vector'").fetchone()
        found = {
            "mem0-assets": mem0_assets.__version__,
            "Python": platform.python_version(),
            "psycopg": psycopg.__version__,
            "PostgreSQL": str(connection.info.parameter_status("server_version")),
            "pgvector": str(row["extversion"]) if row else "none",
        }
    if debian:
        found["PostgreSQL of Debian"] = debian.version
    for program, words in {
        "gzip": "--version",
        "zstd": "--version",
        "pgbackrest": "version",
        "barman": "--version",
    }.items():
        if shutil.which(program):
            found[program] = _number(Runner({}).run(program, words))
    return found


def _number(printed: bytes) -> str:
    match = re.search(rb"\d+(\.\d+)+", printed)
    return match[0].decode() if match else "unknown"


def _field(file: str, name: str) -> str:
    lines = Path(file).read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), "unknown")


def _disk(folder: Path) -> str:
    """Its kind and its file system: a rotating, solid or virtual disk, or what lies in memory."""
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    device, _, kind, *_ = max(
        (mount for mount in mounts if folder.resolve().is_relative_to(mount[1])), key=lambda mount: len(mount[1])
    )
    number = folder.stat().st_dev
    place = Path(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}").resolve()
    queue = next((one / "queue" for one in (place, place.parent) if (one / "queue").exists()), None)
    if queue is None:
        return f"{kind}, no disk of its own"
    if Path(device).name.startswith(("vd", "xvd")):
        return f"virtual disk, {kind}"
    return f"{'rotating' if (queue / 'rotational').read_text().strip() == '1' else 'solid-state'} disk, {kind}"
