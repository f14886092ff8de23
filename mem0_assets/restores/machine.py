"""What this machine can give to the building of indexes: HNSW is the largest part of a restore.

pgvector builds in memory while the graph fits into maintenance_work_mem, and many times slower from there on; its helpers
share that memory, which Linux gives from /dev/shm: a container has 64 MB there, and a build that asks for more fails.
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

_LEAST_MIB = 64  # PostgreSQL's own default
_SHARED = Path("/dev/shm")


def index_build_parameters() -> dict[str, str]:
    """PostgreSQL's parameters for a session that builds indexes on this machine: memory, and workers beside the first."""
    shared = shutil.disk_usage(_SHARED).free >> 20 if _SHARED.is_dir() else None
    return parameters_for(_available_mib(), shared, os.cpu_count() or 1)


def parameters_for(available_mib: int, shared_mib: int | None, cores: int) -> dict[str, str]:
    """A quarter of the memory that is free; helpers only where that can be shared among them (None: no such limit)."""
    memory = max(_LEAST_MIB, available_mib // 4)
    helpers = max(0, cores - 1)
    if shared_mib is not None and helpers:
        if shared_mib // 2 < _LEAST_MIB:
            helpers = 0
        else:
            memory = min(memory, shared_mib // 2)
    return {"maintenance_work_mem": f"{memory}MB", "max_parallel_maintenance_workers": str(helpers)}


def _available_mib() -> int:
    """The memory that is free, or can be made free at once; on systems that do not tell, half of what there is.

    In a container /proc/meminfo is the host's, and a build that took as much would be killed: its own limit counts.
    """
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")) >> 10
    except (OSError, StopIteration):
        free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 21
    return min([free, *_left_in_group(Path("/sys/fs/cgroup"))])


def _left_in_group(groups: Path) -> Iterator[int]:
    """What the container's own limit leaves, in MiB; nothing where there is none. Of both versions of control groups."""
    for limit, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        try:
            yield max(0, int((groups / limit).read_text()) - int((groups / used).read_text())) >> 20
        except (OSError, ValueError):  # no such group, or "max"
            continue
