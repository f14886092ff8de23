"""What a dump is written from, one live database at one instant; and what became of it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from mem0_assets.backups.formats.pg_dump import STALL_SECONDS, PgDump
from mem0_assets.backups.manifest import BackupFile
from mem0_assets.fleet import Postgres
from mem0_assets.live.postgres import Connection
from mem0_assets.live.programs import Program

# Told again and again while a dump is written: its plain bytes so far.
Progress = Callable[[int], None]


@dataclass(frozen=True)
class Source:
    """A live database at one instant: `snapshot` is the name that `connection` exported it under, and holds it by.

    `settings` are psycopg's keywords for more connections, `program` is the pg_dump to use, `jobs` the number of tables
    (or parts of a large one) to read at once.
    """

    postgres: Postgres
    connection: Connection
    settings: dict[str, Any] = field(repr=False)
    snapshot: str
    program: Program
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
