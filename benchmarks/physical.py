"""pgBackRest and Barman: the tools that copy a server's files and its write-ahead log, each with a new repository.

Each is set up as its manual says for one server on the same machine, and asked for a full backup. A new repository for
each run is made before the clock starts.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path

from benchmarks.measuring import Contender, bytes_in
from benchmarks.processes import Runner
from benchmarks.results import Run
from benchmarks.servers import as_owner, owned_folder, owner_name
from mem0_assets.live.embedded import PORT, SUPERUSER, EmbeddedServer
from mem0_assets.live.postgres import connect_embedded

STANZA = "main"
PROCESSES = 2

_PGBACKREST = """\
[global]
repo1-path={home}/repository
repo1-retention-full=1
log-path={home}
lock-path={home}
spool-path={home}
log-level-console=warn
log-level-file=off
process-max={processes}
compress-type=zst
start-fast=y
[{stanza}]
pg1-path={data}
pg1-socket-path={sockets}
pg1-port={port}
pg1-user={superuser}
"""

_BARMAN = """\
[barman]
barman_home = {home}
barman_user = {user}
barman_lock_directory = {home}
log_file = {home}/barman.log
log_level = WARNING
[{stanza}]
description = benchmark
conninfo = host={sockets} port={port} user={superuser} dbname=postgres
streaming_conninfo = host={sockets} port={port} user={superuser}
backup_method = postgres
backup_compression = zstd
immediate_checkpoint = true
archiver = on
path_prefix = {programs}
"""


def physical_contenders(server: EmbeddedServer) -> list[Contender]:
    """Both, on one server that archives its log."""
    return [
        Contender(
            "pgbackrest",
            f"pgBackRest, full, {PROCESSES} processes, zst ({server.made_by})",
            _run_pgbackrest,
            lambda folder: _prepare_pgbackrest(server, folder),
        ),
        Contender(
            "barman",
            f"Barman, full, pg_basebackup with zstd ({server.made_by})",
            lambda folder: _run_barman(server, folder),
            lambda folder: _prepare_barman(server, folder),
        ),
    ]


def missing_here(server: bool) -> dict[str, str]:
    """Which of the two cannot run here, and why."""
    missing = {}
    for key in ("pgbackrest", "barman"):
        if shutil.which(key) is None:
            missing[key] = f"{key} is not installed (Debian: `apt-get install {key}`)"
        elif not server:
            missing[key] = "no PostgreSQL of Debian's is installed (`apt-get install postgresql`)"
    return missing


def let_archive(server: EmbeddedServer) -> None:
    """Switch the server's archiving on, which takes a restart: after the load, whose log nobody needs."""
    with connect_embedded(server, "postgres") as connection:
        connection.execute("ALTER SYSTEM SET archive_mode = on")
        connection.execute("ALTER SYSTEM SET archive_command = 'true'")
    server.stop()
    server.start()


def _prepare_pgbackrest(server: EmbeddedServer, folder: Path) -> None:
    home = owned_folder(folder / "home")
    config = _PGBACKREST.format(home=home, processes=PROCESSES, stanza=STANZA, **_place(server))
    (home / "pgbackrest.conf").write_text(config)
    _as_owner(home).run(*_pgbackrest(home), "stanza-create")
    _archive_by(server, " ".join([*_pgbackrest(home), "archive-push", "%p"]))


def _run_pgbackrest(folder: Path) -> Run:
    home = folder / "home"
    _as_owner(home).run(*_pgbackrest(home), "--type=full", "backup")
    return {"bytes": bytes_in(home / "repository" / "backup")}


def _pgbackrest(home: Path) -> list[str]:
    return ["pgbackrest", f"--config={home}/pgbackrest.conf", f"--stanza={STANZA}"]


def _prepare_barman(server: EmbeddedServer, folder: Path) -> None:
    home = owned_folder(folder / "home")
    programs = server.programs
    config = _BARMAN.format(home=home, user=owner_name(), stanza=STANZA, programs=programs, **_place(server))
    (home / "barman.conf").write_text(config)
    owned_folder(home / STANZA)
    owned_folder(home / STANZA / "incoming")
    _archive_by(server, f"cp %p {home}/{STANZA}/incoming/%f")
    _as_owner(home).run(*_barman(home), "switch-wal", "--force", "--archive", STANZA)


def _run_barman(server: EmbeddedServer, folder: Path) -> Run:
    home = folder / "home"
    _as_owner(home).run(*_barman(home), "backup", STANZA)
    return {"bytes": bytes_in(home / STANZA / "base")}


def _barman(home: Path) -> Sequence[str]:
    return ["barman", "-q", "-c", f"{home}/barman.conf"]


def _place(server: EmbeddedServer) -> dict[str, object]:
    return {"data": server.folder, "sockets": server.socket_folder, "port": PORT, "superuser": SUPERUSER}


def _as_owner(home: Path) -> Runner:
    return Runner({"HOME": str(home)}, user=as_owner(), folder=home)


def _archive_by(server: EmbeddedServer, command: str) -> None:
    with connect_embedded(server, "postgres") as connection:
        connection.execute(f"ALTER SYSTEM SET archive_command = '{command}'")
        connection.execute("SELECT pg_reload_conf()")
