"""One size, measured: the servers are made, all groups of contenders run, and everything is removed."""

import os
import shutil
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import dumps, physical
from benchmarks.data import DATABASE, HNSW, Size, build_hnsw
from benchmarks.machine import machine, memory_bytes, versions
from benchmarks.measuring import Contender, Tell, measure
from benchmarks.ours import FORMATS, backup_contenders, drill_contender, verify_contender
from benchmarks.physical import let_archive, physical_contenders
from benchmarks.restores import psql_contender
from benchmarks.results import Measured, Results
from benchmarks.servers import clients, debian_programs, debian_server, embedded_server, fill, settings_of
from mem0_assets.live.embedded import EmbeddedServer
from mem0_assets.live.postgres import connect_embedded

GROUPS = ("backup", "verify", "restore", "index")


@dataclass(frozen=True)
class Plan:
    """What to measure of a size, and how often. `only` names contenders; None means all."""

    rounds: int
    index_rounds: int
    groups: tuple[str, ...] = GROUPS
    only: frozenset[str] | None = None

    def chosen(self, contenders: Iterable[Contender], missing: Iterable[str] = ()) -> list[Contender]:
        absent = set(missing)
        return [one for one in contenders if one.key not in absent and self.wants(one.key)]

    def wants(self, key: str) -> bool:
        return self.only is None or key in self.only


def needed_bytes(size: Size) -> int:
    """Room on disk at the peak: two servers with the table, a dump in text, a copy of the server, the log."""
    return 5 * size.rows * (4 * size.dimensions + 600) + (1 << 30)


def measure_size(size: Size, plan: Plan, folder: Path, tell: Tell) -> Generator[Results, None, None]:
    """All that the plan wants of this size, in the empty `folder`: the results so far, after each group."""
    with embedded_server(folder / "server") as server:
        tell(f"{size}: making the table")
        table_bytes = fill(server, size, "vector")
        missing = dumps.missing_here(server.programs) | physical.missing_here(debian_programs() is not None)
        results = Results(
            size=size,
            taken_at=datetime.now(UTC).isoformat(timespec="minutes"),
            machine=machine(folder),
            versions=versions(server, debian_programs()),
            settings=settings_of(server),
            table_bytes=table_bytes,
            missing={key: why for key, why in missing.items() if plan.wants(key)},
        )
        dumps.read_table(clients(server), server.programs)
        for group, members in _groups(size, plan, server, folder, tell):
            results = replace(results, groups={**results.groups, group: members})
            yield results


def _groups(
    size: Size, plan: Plan, server: EmbeddedServer, folder: Path, tell: Tell
) -> Iterator[tuple[str, dict[str, Measured]]]:
    """Each group that the plan wants, measured, with its name."""
    if "backup" in plan.groups:
        yield "backup", _backups(size, plan, server, folder, tell)
    dump = folder / dumps.DUMP
    if set(plan.groups) - {"backup"}:
        tell(f"{size}: the seeds' dump")
        dumps.dump_in_gzip(clients(server), server.programs, dump)
    if "verify" in plan.groups:
        tell(f"{size}: verifying")
        grep = Contender("grep", "gunzip | grep -c", lambda _: dumps.count_copies(clients(server), dump))
        yield "verify", measure(plan.chosen([verify_contender(dump), grep]), plan.rounds, folder, tell)
    if "restore" in plan.groups:
        tell(f"{size}: restoring")
        contenders = [psql_contender(dump, size.rows), *_drills(server, folder / "plain", size)]
        yield "restore", measure(plan.chosen(contenders), plan.rounds, folder, tell)
        shutil.rmtree(folder / "plain", ignore_errors=True)
    if "index" in plan.groups and plan.index_rounds:
        tell(f"{size}: building the HNSW index, for backups that hold one")
        with connect_embedded(server, DATABASE) as connection:
            build_hnsw(connection, min(memory_bytes() // 4, 4 << 30), os.cpu_count() or 1)
        tell(f"{size}: restoring with the HNSW index")
        contenders = [psql_contender(dump, size.rows, HNSW), *_drills(server, folder / "indexed", size)]
        yield "index", measure(plan.chosen(contenders), plan.index_rounds, folder, tell)


def _backups(size: Size, plan: Plan, server: EmbeddedServer, folder: Path, tell: Tell) -> dict[str, Measured]:
    missing = dumps.missing_here(server.programs) | physical.missing_here(debian_programs() is not None)
    dumped = dumps.dump_contenders(clients(server), server.programs)
    with _copied_server(size, plan, missing, folder, tell) as copied:
        contenders = [*backup_contenders(server, size.rows), *dumped, *copied]
        tell(f"{size}: backups")
        return measure(plan.chosen(contenders, missing), plan.rounds, folder, tell)


def _drills(server: EmbeddedServer, home: Path, size: Size) -> list[Contender]:
    return [drill_contender(server, home / form, size.rows, form) for form in FORMATS]


@contextmanager
def _copied_server(
    size: Size, plan: Plan, missing: dict[str, str], folder: Path, tell: Tell
) -> Iterator[list[Contender]]:
    """The second server with the same table, and who copies it; none where none of them takes part."""
    program = debian_programs()
    wanted = [key for key in ("pgbackrest", "barman") if plan.wants(key) and key not in missing]
    if program is None or not wanted:
        yield []
        return
    tell(f"{size}: making the table in {program}, for {' and '.join(wanted)}")
    with debian_server(folder / "debian", program) as server:
        fill(server, size, "real[]")
        let_archive(server)
        copied = dumps.basebackup(
            clients(server), server.programs, "basebackup_debian", f"pg_basebackup -Ft ({program.major})"
        )
        yield [*physical_contenders(server), copied]
    shutil.rmtree(folder / "debian")
