"""Says what a plain SQL dump holds, ours or not, without a server and with flat memory.

psql's own rules are followed, statement by statement, for what pg_dump 13 to 18 and pg_dumpall write: COPY blocks and
all forms of INSERT. Anything that those would not write is damage: a dump that was cut, joined, mixed with error
messages or hit by a flipped bit must never be counted as if it were whole.
"""

import hashlib
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

from mem0_assets.backups.formats.container import OpenDump, open_dump
from mem0_assets.backups.formats.damage import DumpDamage, damage
from mem0_assets.backups.formats.dump_tables import DumpTable
from mem0_assets.backups.formats.file_blocks import Digest
from mem0_assets.backups.formats.sql_lexer import MAX_LINE_BYTES
from mem0_assets.backups.formats.sql_statements import SqlStatements
from mem0_assets.live.memories import Memory, Selection
from mem0_assets.live.programs import ClientMissingError, newest_program
from mem0_assets.verdicts import OK, Reason, Verdict

T = TypeVar("T")


@dataclass(frozen=True)
class DumpContents:
    """What a dump holds, and whether it can be trusted.

    `format` is "custom" or "directory" for the text that pg_restore made of an archive of pg_dump.
    `tables` are rows by table: plain names in the schema public, `schema.table` elsewhere. `total` and `namespaces`
    are the collection's; `collection` is None where none was found. `dimensions` is the vector column's own,
    `row_dimensions` all that were seen in its rows. `complete` is True where the dump program's own end marker is the
    last thing in the text.
    """

    format: Literal["sql", "custom", "directory", "binary"]
    tables: dict[str, int]
    collection: str | None
    total: int
    namespaces: dict[str, int]
    dimensions: int | None
    row_dimensions: tuple[int, ...]
    complete: bool
    server_version: str | None
    pg_dump_version: str | None
    database: str | None
    uncompressed_bytes: int
    verdict: Verdict


# What is known of a file that could not even be opened as a dump.
NOTHING = DumpContents(
    format="sql",
    tables={},
    collection=None,
    total=0,
    namespaces={},
    dimensions=None,
    row_dimensions=(),
    complete=False,
    server_version=None,
    pg_dump_version=None,
    database=None,
    uncompressed_bytes=0,
    verdict=OK,
)


@dataclass(frozen=True)
class Reading:
    """What a dump's files hold, and the sha256 of each that was read to its end without damage."""

    contents: DumpContents
    sha256: Mapping[Path, str]


@contextmanager
def open_sql(path: Path, digest: Digest | None = None) -> Iterator[OpenDump]:
    """Open a dump that comes down to SQL: plain, gzip, zstd, or an archive of pg_dump. Raises what `open_dump` raises."""
    try:
        pg_restore = newest_program("pg_restore").path
    except ClientMissingError:
        pg_restore = None
    with open_dump(path, pg_restore=pg_restore, digest=digest) as dump:
        yield dump


def read_sql_file(path: Path, *, collection: str | None, memories: bool = True, hashed: bool = False) -> Reading:
    """Read one dump whole: a file, or a folder in pg_dump's directory format.

    Without a `collection` it is recognised by its columns id, vector and payload; a dump of a database that holds no
    `memories` is only counted. The sha256 is taken where the file is
    `hashed`: that is a seventh of the time.
    Raises NotFoundError, and UnreachableError where the disk does not give it.
    """
    return finish(walk_sql(path, collection=collection, memories=memories, hashed=hashed))


def walk_sql(
    path: Path,
    *,
    collection: str | None,
    selection: Selection | None = None,
    memories: bool = True,
    hashed: bool = False,
) -> Generator[Memory, None, Reading]:
    """`read_sql_file`, which gives the memories of the collection that the `selection` takes while it reads.

    They may be believed once the walk has come to its end and its verdict is ok. Raises as `read_sql_file` does.
    """
    digest = hashlib.sha256() if hashed else None
    try:
        with open_sql(path, digest) as dump:
            if "copy" in dump.wrapping:
                raise damage("not_a_dump", "the file holds rows in COPY's binary form, and nothing says whose")
            statements = SqlStatements(
                dump.blocks, max_bytes=MAX_LINE_BYTES, collection=collection, selection=selection
            )
            reasons = yield from follow(statements)
            contents = judge(statements, reasons, collection=collection, memories=memories)
        innermost = dump.wrapping[-1]
        if innermost == "custom" or innermost == "directory":
            contents = replace(contents, format=innermost)
    except DumpDamage as damaged:
        return Reading(replace(NOTHING, verdict=Verdict((damaged.reason,))), {})
    return Reading(contents, {path: digest.hexdigest()} if digest and contents.verdict.ok else {})


def read_sql(
    blocks: Iterable[bytes],
    *,
    collection: str | None,
    memories: bool = True,
    max_line_bytes: int = MAX_LINE_BYTES,
) -> DumpContents:
    """Read the plain text of a dump to its end, or to where it is damaged beyond reading, and judge it.

    `collection` names the table of memories (`schema.table` outside of public); without a name it is the table of the
    shape (id, vector, payload) with the most rows, mem0's own bookkeeping aside. A DumpDamage that `blocks` raises
    becomes a reason of the verdict, so that what was counted until there is told too.
    """
    statements = SqlStatements(blocks, max_bytes=max_line_bytes)
    return judge(statements, finish(follow(statements)), collection=collection, memories=memories)


def finish(walk: Generator[Any, None, T]) -> T:
    """What a walk comes to, for whoever wants nothing of what it gives on the way."""
    while True:
        try:
            next(walk)
        except StopIteration as end:
            result: T = end.value
            return result


def follow(statements: SqlStatements) -> Generator[Memory, None, list[Reason]]:
    """Read to the end, or to where the text is damaged beyond reading; the reasons against the text itself."""
    reasons = []
    try:
        yield from statements.memories()
    except DumpDamage as damaged:
        reasons.append(damaged.reason)
    if not reasons and not statements.complete:
        reasons.append(Reason("truncated", "the end marker of the dump program is missing: the dump stopped before"))
    return [*statements.client_messages, *reasons]


def judge(
    statements: SqlStatements, reasons: list[Reason], *, collection: str | None, memories: bool = True
) -> DumpContents:
    """What the dump holds whose text was followed, and whether that may be believed; `reasons` are known already."""
    tables = _by_name(statements.tables.values())
    found = collection if collection is not None else _most_likely(tables)
    held = [table for table in tables.get(found or "", []) if table.is_memories]
    reasons += [fault for parts in tables.values() for table in parts for fault in table.faults()]
    reasons += _rows_without_a_table(statements)
    if memories and not reasons:
        reasons += _judge_content(found, held, tables)
    return _contents(statements, tables, found if held else None, held, Verdict(tuple(dict.fromkeys(reasons))))


def _by_name(tables: Iterable[DumpTable]) -> dict[str, list[DumpTable]]:
    """The tables by name: more than one of a name where the file holds several databases or dumps."""
    named: dict[str, list[DumpTable]] = {}
    for table in tables:
        named.setdefault(table.name, []).append(table)
    return named


def _most_likely(tables: dict[str, list[DumpTable]]) -> str | None:
    """The collection of a dump that comes without a name: most rows of the shape; not the entities, not migrations."""
    shaped = {
        name: sum(table.rows for table in parts)
        for name, parts in tables.items()
        if any(table.is_memories for table in parts)
        and name != "mem0migrations"
        and not (name.endswith("_entities") and name.removesuffix("_entities") in tables)
    }
    return max(sorted(shaped), key=lambda name: shaped[name], default=None)


def _rows_without_a_table(statements: SqlStatements) -> list[Reason]:
    """The reasons against memories for a table that the dump does not create, though it has more than rows.

    Such a dump was edited, or a name in it is damaged; and loading it fails. (Tables of other shapes may belong to an
    extension, which creates them.)
    """
    return [
        Reason("corrupt", f"there are rows of {table.name} in the dump, which it does not create")
        for (section, _, _), table in statements.tables.items()
        if section in statements.sections_with_schema and table.is_memories and not table.created
    ]


def _judge_content(name: str | None, held: list[DumpTable], tables: dict[str, list[DumpTable]]) -> list[Reason]:
    """The reasons against a dump that is whole: it holds nothing, or not what it should."""
    reasons = []
    if not any(table.rows for parts in tables.values() for table in parts):
        reasons.append(Reason("empty", "the dump is whole and holds not one row of any table"))
    if not held:
        wanted = "a table" if name is None else f"the table {name}"
        message = f"{wanted} with the columns id, vector, payload is not among the {len(tables)} tables of the dump"
        reasons.append(Reason("wrong_content", message))
        return reasons
    if not reasons and not any(table.rows for table in held):
        reasons.append(Reason("empty", f"the dump is whole and holds not one row of {name}"))
    times = sum(table.times for table in held)
    if times > 1:
        places = " and ".join(sorted({table.database or "an unnamed one" for table in held}))
        message = f"{name} is in the file {times} times (database: {places}): which one is meant cannot be told"
        reasons.append(Reason("wrong_content", message))
    return reasons


def _contents(
    statements: SqlStatements,
    tables: dict[str, list[DumpTable]],
    collection: str | None,
    held: list[DumpTable],
    verdict: Verdict,
) -> DumpContents:
    namespaces: Counter[str] = Counter()
    dimensions: set[int] = set()
    for table in held:
        namespaces.update(table.memories.namespaces)
        dimensions.update(table.memories.dimensions)
    return DumpContents(
        format="sql",
        tables={name: sum(table.rows for table in parts) for name, parts in tables.items()},
        collection=collection,
        total=sum(table.rows for table in held),
        namespaces=dict(namespaces),
        dimensions=next((table.dimensions for table in held if table.dimensions), None),
        row_dimensions=tuple(sorted(dimensions)),
        complete=statements.complete,
        server_version=statements.server_version,
        pg_dump_version=statements.pg_dump_version,
        database=held[0].database if held else statements.database,
        uncompressed_bytes=statements.read_bytes,
        verdict=verdict,
    )
