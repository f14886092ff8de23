"""What a dump is written from, one live database at one instant; and what became of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from mem0_assets.backups.formats.pg_dump import STALL_SECONDS, PgDump
from mem0_assets.backups.manifest import BackupFile
from mem0_assets.fleet import Postgres
from mem0_assets.live.programs import Program
from mem0_assets.live.tables import Layout

# Told again and again while a dump is written: its plain bytes so far.
Progress = Callable[[int], None]


@dataclass(frozen=True)
class Source:
    """A live database at one instant: `snapshot` is the name under which an open transaction exported it, and holds it.

    `settings` are psycopg's keywords for connections to it, `program` is the pg_dump to use, `tables` how each table can be
    carried, `server_version` libpq's number, `jobs` the number of tables (or parts of a large one) to read at once.
    """

    postgres: Postgres
    settings: dict[str, Any] = field(repr=False)
    snapshot: str
    program: Program
    tables: Sequence[Layout]
    server_version: int
    jobs: int = 1
    progress: Progress = lambda plain_bytes: None
    stall_seconds: float = STALL_SECONDS

    def pg_dump(self, *options: str) -> PgDump:
        """The text that pg_dump writes of it."""
        return PgDump(self.program, self.settings, self.snapshot, *options, stall_seconds=self.stall_seconds)


@dataclass(frozen=True)
class Written:
    """A dump on disk: its files in the order in which they are loaded, and what the dump program warned of."""

    files: tuple[BackupFile, ...]
    warnings: tuple[str, ...]
