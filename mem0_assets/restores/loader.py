"""Loads the databases of a backup into a scratch server, each into a new database of its own."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from psycopg import sql

from mem0_assets.backups.formats.dump_format import FORMATS
from mem0_assets.backups.formats.sql_loader import LoadFailedError, LoadTimes, load_dump
from mem0_assets.backups.inventory import Backup, legacy_dump
from mem0_assets.backups.manifest import Store
from mem0_assets.fleet import Format
from mem0_assets.live.embedded import PORT, SUPERUSER, EmbeddedServer
from mem0_assets.live.programs import find_program
from mem0_assets.restores.machine import index_build_parameters
from mem0_assets.restores.scratch import connect_scratch

# Roles that a foreign dump may name and a scratch server lacks: each costs one more attempt.
MOST_ROLES = 20

Files = Sequence[tuple[Path, str | None]]


def dump_of(backup: Backup, store: Store) -> tuple[Format, Files]:
    """The format and the files (with the statements that load them) of one database of a backup, ours or a legacy one."""
    if backup.manifest:
        return backup.manifest.format, [(backup.path / f.path, f.statement) for f in backup.manifest.files_of(store)]
    return "sql", [(dump, None) for dump in [legacy_dump(backup.path)] if dump]


class Loader:
    """Loads into one scratch server, over up to `jobs` connections. Roles that are missing there are made."""

    def __init__(self, server: EmbeddedServer, jobs: int) -> None:
        self._server = server
        self._jobs = jobs
        self._program = find_program("psql", server.made_by or 0)
        self._settings: dict[str, Any] = {"host": str(server.socket_folder), "port": PORT, "user": SUPERUSER}
        self._roles: set[str] = set()

    def load(self, database: str, dump_format: Format, files: Files) -> LoadTimes:
        """Load a dump into a new `database`. Raises LoadFailedError at the first error, DumpDamage, UnreachableError.

        A role that the dump names and that is missing is made, and the load begun again.
        """
        settings = {**self._settings, "dbname": database}
        parameters = index_build_parameters()
        while True:
            self._make(database)
            try:
                return FORMATS[dump_format].load(self._program, settings, files, parameters=parameters, jobs=self._jobs)
            except LoadFailedError as error:
                role = error.missing_role
                if role is None or role in self._roles or len(self._roles) >= MOST_ROLES:
                    raise
                self._roles.add(role)
                with connect_scratch(self._server, "postgres") as connection:
                    connection.execute(sql.SQL("CREATE ROLE {}").format(sql.Identifier(role)))

    def load_roles(self, backup: Backup) -> None:
        """Load the roles of a backup, where it has any. Raises LoadFailedError."""
        for file in backup.manifest.files_of("roles") if backup.manifest else ():
            content = (backup.path / file.path).read_bytes()
            load_dump(self._program, {**self._settings, "dbname": "postgres"}, [content])

    def _make(self, database: str) -> None:
        name = sql.Identifier(database)
        with connect_scratch(self._server, "postgres") as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(name))
            connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(name))
