"""The formats of a dump, behind one interface: how a database becomes files, what the files hold, and how it comes back.

All else (capture, validation, drill, RESTORE.md) treats them alike. A dump is a list of files in the order of loading;
each is SQL text, or the rows of one table with the statement that loads them.
"""

from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from mem0_assets.backups.formats.binary_loader import load_binary
from mem0_assets.backups.formats.binary_reader import read_binary, walk_binary
from mem0_assets.backups.formats.binary_writer import write_binary
from mem0_assets.backups.formats.source import Source, Written
from mem0_assets.backups.formats.sql_loader import LoadTimes, load_dump
from mem0_assets.backups.formats.sql_reader import Reading, open_sql, read_sql_file, walk_sql
from mem0_assets.backups.formats.sql_writer import write_sql
from mem0_assets.live.memories import Memory, Selection
from mem0_assets.live.programs import Program

Load = Sequence[tuple[Path, str | None]]


class DumpFormat(Protocol):
    """How the dump of one database is written, read back and loaded."""

    def write(self, source: Source, folder: Path, name: str) -> Written:
        """Dump the whole database into `folder`, in files named after `name`; hashed and fsynced.

        Raises DumpFailedError, UnreachableError where the server fell silent, OSError.
        """

    def read(self, paths: Sequence[Path], *, collection: str | None, memories: bool = True) -> Reading:
        """Read the files of a dump from the disk, each once and whole; of a database without `memories` only count.

        Raises NotFoundError, UnreachableError.
        """

    def walk(self, paths: Sequence[Path], *, collection: str, selection: Selection) -> Generator[Memory, None, Reading]:
        """`read`, which gives the memories of the collection on the way; only its end says whether they are whole.

        Raises NotFoundError, UnreachableError.
        """

    def load(
        self, program: Program, settings: dict[str, Any], files: Load, *, parameters: Mapping[str, str], jobs: int
    ) -> LoadTimes:
        """Load a dump into the empty database of `settings`, by psql `program`; `files` are paths and their statements.

        Raises LoadFailedError at the first error, DumpDamage, UnreachableError.
        """


class SqlFormat:
    """One plain SQL file in gzip; and any other dump of one file that `verify` reads, for it comes down to SQL."""

    def write(self, source: Source, folder: Path, name: str) -> Written:
        return write_sql(source.pg_dump(), folder, name, progress=source.progress)

    def read(self, paths: Sequence[Path], *, collection: str | None, memories: bool = True) -> Reading:
        return read_sql_file(paths[0], collection=collection, memories=memories, hashed=True)

    def walk(self, paths: Sequence[Path], *, collection: str, selection: Selection) -> Generator[Memory, None, Reading]:
        return walk_sql(paths[0], collection=collection, selection=selection, hashed=True)

    def load(
        self, program: Program, settings: dict[str, Any], files: Load, *, parameters: Mapping[str, str], jobs: int
    ) -> LoadTimes:
        with open_sql(files[0][0]) as dump:
            return load_dump(program, settings, dump.blocks, parameters=parameters)


class BinaryFormat:
    """The schema as SQL and the rows as COPY's binary form, in zstd."""

    def write(self, source: Source, folder: Path, name: str) -> Written:
        return write_binary(source, folder, name)

    def read(self, paths: Sequence[Path], *, collection: str | None, memories: bool = True) -> Reading:
        return read_binary(paths, collection=collection, memories=memories)

    def walk(self, paths: Sequence[Path], *, collection: str, selection: Selection) -> Generator[Memory, None, Reading]:
        return walk_binary(paths, collection=collection, selection=selection)

    def load(
        self, program: Program, settings: dict[str, Any], files: Load, *, parameters: Mapping[str, str], jobs: int
    ) -> LoadTimes:
        return load_binary(program, settings, files, parameters=parameters, jobs=jobs)


FORMATS: Mapping[str, DumpFormat] = {"sql": SqlFormat(), "binary": BinaryFormat()}
