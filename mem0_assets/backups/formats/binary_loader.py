"""Loads a `binary` dump: the schema by psql, the rows by COPY over several connections, then the indexes by psql.

The rows come before any index, so that each index is built once, from all rows, and the data are readable before.
"""

import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import psycopg

from mem0_assets.backups.formats.container import open_dump
from mem0_assets.backups.formats.crew import Crew
from mem0_assets.backups.formats.sql_loader import LoadFailedError, LoadTimes, load_dump
from mem0_assets.live.postgres import breaker
from mem0_assets.live.programs import Program

# A server that takes no more rows for so long stands still.
STALL_SECONDS = 900.0


def load_binary(
    program: Program,
    settings: dict[str, Any],
    files: Sequence[tuple[Path, str | None]],
    *,
    parameters: Mapping[str, str],
    jobs: int,
) -> LoadTimes:
    """Load all files of a dump, each with the statement that loads its rows (None: it is SQL itself), in their order.

    Raises LoadFailedError at the first error, DumpDamage, UnreachableError.
    """
    before, *rows, after = files
    started = time.monotonic()
    _load_text(program, settings, before[0], parameters)
    crew = Crew(jobs, STALL_SECONDS, lambda moved: None)
    crew.run([partial(_load_rows, crew, settings, path, statement or "") for path, statement in rows])
    readable = time.monotonic()
    _load_text(program, settings, after[0], parameters)
    return LoadTimes(readable=readable - started, indexes=time.monotonic() - readable)


def _load_text(program: Program, settings: dict[str, Any], path: Path, parameters: Mapping[str, str]) -> None:
    with open_dump(path) as dump:
        load_dump(program, settings, dump.blocks, parameters=parameters)


def _load_rows(crew: Crew, settings: dict[str, Any], path: Path, statement: str) -> None:
    try:
        with (
            open_dump(path) as dump,
            # Nothing of a person's own PG* variables: they lead to the live server.
            psycopg.connect(
                **settings, hostaddr="", options="", client_encoding="UTF8", connect_timeout=10
            ) as connection,
            breaker(connection) as break_wait,
            crew.breakable(break_wait),
            connection.cursor() as cursor,
            cursor.copy(cast("Any", statement)) as copy,
        ):
            for block in dump.blocks:
                copy.write(block)
                crew.moved(len(block))
    except psycopg.Error as error:
        said = error.diag.message_primary or " ".join(str(error).split())
        raise LoadFailedError(f"the rows of {path.name} were refused: {said}") from None
