"""Writes memories into a live collection, in one transaction, while mem0 goes on writing.

Whatever happens before its end (a damaged dump, a kill, a full disk), the collection is as it was. All memories are first
copied into a temporary table; what is to be done with each is decided there by SQL, once for the plan and once more for
the deed, so that both say the same. Rows that will be lost are locked and handed out to be kept before they are.
"""

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal
from uuid import UUID

import psycopg
from psycopg import sql

from mem0_assets.errors import (
    Mem0AssetsError,
    NoSpaceError,
    NotACollectionError,
    RefusedError,
    TableMissingError,
)
from mem0_assets.fleet import Deployment, Postgres
from mem0_assets.live.identity import read_identity
from mem0_assets.live.memories import ALL, Memory, Selection
from mem0_assets.live.namespaces import NAMESPACE_SQL
from mem0_assets.live.postgres import CHECK_COLLECTION, SCHEMA, Connection, answers_within, connect

# missing   only ids that are gone
# newer     also those whose own time is later here than in the live collection
# exact     what was chosen becomes as it is here: changed ones are replaced, and what is not here is deleted
Mode = Literal["missing", "newer", "exact"]
MODES: tuple[Mode, ...] = ("missing", "newer", "exact")
Keep = Callable[[Iterable[Memory]], None]
Tell = Callable[[str], None]

# Each exchange with the server is given up after so long: a thousand memories into a large HNSW index take seconds.
STEP_SECONDS = 600.0
STEP_ROWS = 1000

_STAGED = "CREATE TEMPORARY TABLE mem0_staged (id uuid PRIMARY KEY, vector vector, payload jsonb) ON COMMIT DROP"
# Any text may stand where a time should, and only from PostgreSQL 16 on can one ask before casting.
_TIME = """
    CREATE FUNCTION pg_temp.mem0_time(written text) RETURNS timestamptz LANGUAGE plpgsql STABLE AS
    $$ BEGIN RETURN written::timestamptz; EXCEPTION WHEN data_exception THEN RETURN NULL; END $$
"""
_WRITTEN_AT = (
    "coalesce(pg_temp.mem0_time({row}.payload->>'updated_at'), pg_temp.mem0_time({row}.payload->>'created_at'))"
)
# Which live rows give way to the staged ones.
_GIVES_WAY: dict[Mode, str] = {
    "missing": "false",
    "newer": f"{_WRITTEN_AT.format(row='staged')} > {_WRITTEN_AT.format(row='live')}",
    "exact": "(staged.payload::text, staged.vector) IS DISTINCT FROM (live.payload::text, live.vector::vector)",
}
_PLANNED = """
    CREATE TEMPORARY TABLE mem0_planned ON COMMIT DROP AS
    SELECT row_number() OVER (ORDER BY step) AS number, id, namespace, step FROM (
        SELECT staged.id, {staged_namespace} AS namespace,
               CASE WHEN live.id IS NULL THEN 'insert' WHEN {gives_way} THEN 'replace' ELSE 'keep' END AS step
          FROM mem0_staged AS staged LEFT JOIN {table} AS live ON live.id = staged.id
        UNION ALL
        SELECT live.id, {live_namespace}, 'delete' FROM {table} AS live
         WHERE {deletes} AND NOT EXISTS (SELECT FROM mem0_staged AS staged WHERE staged.id = live.id)
    ) AS steps
"""
_LOCK = """
    SELECT count(*) FROM (
        SELECT FROM {table} AS live JOIN mem0_planned AS planned ON planned.id = live.id
         WHERE planned.step IN ('replace', 'delete') FOR UPDATE OF live
    ) AS locked
"""
# mem0 may have written to a row between the plan and the lock.
_SPARE = """
    UPDATE mem0_planned AS planned SET step = 'keep' FROM {table} AS live, mem0_staged AS staged
     WHERE planned.step = 'replace' AND live.id = planned.id AND staged.id = planned.id
       AND ({gives_way}) IS NOT TRUE
"""
_LOST = """
    SELECT live.id, planned.namespace, live.payload::text AS payload, live.vector::vector AS vector
      FROM {table} AS live JOIN mem0_planned AS planned ON planned.id = live.id
     WHERE planned.step IN ('replace', 'delete')
"""
_STEPS = {
    "delete": """
        DELETE FROM {table} AS live USING mem0_planned AS planned
         WHERE planned.id = live.id AND {of_step}
    """,
    "replace": """
        UPDATE {table} AS live SET vector = staged.vector, payload = staged.payload
          FROM mem0_staged AS staged, mem0_planned AS planned
         WHERE staged.id = live.id AND planned.id = live.id AND {of_step}
    """,
    "insert": """
        INSERT INTO {table} (id, vector, payload)
        SELECT staged.id, staged.vector, staged.payload
          FROM mem0_staged AS staged JOIN mem0_planned AS planned ON planned.id = staged.id WHERE {of_step}
        ON CONFLICT (id) DO NOTHING
    """,
}
_OF_STEP = "planned.step = %s AND planned.number > %s AND planned.number <= %s"


@dataclass(frozen=True)
class Change:
    """How many memories would be, or were, inserted, replaced, deleted, and found as they should be."""

    inserted: int = 0
    replaced: int = 0
    deleted: int = 0
    unchanged: int = 0

    @property
    def lost(self) -> int:
        """How many live rows are not there afterwards as they were before."""
        return self.replaced + self.deleted

    def as_json(self) -> dict[str, int]:
        return dict(vars(self))

    def __add__(self, other: "Change") -> "Change":
        return Change(*(mine + theirs for mine, theirs in zip(vars(self).values(), vars(other).values(), strict=True)))


@dataclass(frozen=True)
class Plan:
    """What writing would do, by namespace, and the ids that it would write (inserted or replaced).

    `dimensions` are the live column's; None where it takes any. A million ids take some 150 MB.
    """

    namespaces: dict[str, Change]
    written: frozenset[UUID]
    dimensions: int | None

    @property
    def total(self) -> Change:
        return sum(self.namespaces.values(), Change())


def plan_memories(deployment: Deployment, memories: Iterable[Memory], mode: Mode, selection: Selection = ALL) -> Plan:
    """What `write_memories` would do now. It writes nothing, and raises what that raises."""
    with _writing(deployment.postgres.admin) as writer:
        writer.stage(memories)
        writer.decide(mode, selection)
        return writer.plan()


def write_memories(
    deployment: Deployment,
    memories: Iterable[Memory],
    mode: Mode,
    selection: Selection = ALL,
    *,
    keep: Keep,
    tell: Tell = lambda what: None,
) -> Change:
    """Write memories into the live collection, all or none; what was done.

    In the mode `exact` live memories that the `selection` takes and that are not among `memories` are deleted. `keep` is
    called with every row that will be replaced or deleted, before it is; where it raises, nothing is written. Writers need
    not stop: what they write to these very rows meanwhile waits a moment, and an id that they insert first stays theirs.

    Raises RefusedError (`dimensions_changed` where the vectors do not fit the column), TableMissingError,
    NotACollectionError, NoSpaceError, UnreachableError, and what `memories` and `keep` raise.
    """
    with _writing(deployment.postgres.admin) as writer:
        tell("reading them into the database")
        staged = writer.stage(memories)
        writer.decide(mode, selection)
        if writer.lock(mode):
            tell("keeping what will be replaced or deleted")
            with closing(writer.lost()) as lost:
                keep(lost)
        deleted, replaced, inserted = (writer.take(step, tell) for step in ("delete", "replace", "insert"))
        writer.execute("COMMIT")
    return Change(inserted, replaced, deleted, staged - inserted - replaced)


class _Writer:
    """One transaction on one collection. Each exchange with the server is bounded by STEP_SECONDS."""

    def __init__(self, connection: Connection, collection: str) -> None:
        self._connection = connection
        self._collection = collection
        self._dimensions: int | None = None
        self._names = {"table": sql.Identifier(SCHEMA, collection)}

    def execute(self, query: str, values: Any = None, **names: sql.Composable) -> psycopg.Cursor[dict[str, Any]]:
        """Run one statement, in which `{table}` is the live collection."""
        with answers_within(self._connection, STEP_SECONDS):
            return self._connection.execute(sql.SQL(query).format(**self._names, **names), values)

    def stage(self, memories: Iterable[Memory]) -> int:
        """Begin, and copy the memories into a temporary table; how many they are."""
        self.execute("BEGIN")
        # The lock proves the right to write, and keeps the table from being truncated or dropped meanwhile.
        self.execute("LOCK TABLE {table} IN ROW EXCLUSIVE MODE")
        self._dimensions = read_identity(self._connection, self._collection).dimensions
        self.execute(_STAGED)
        rows, source = 0, iter(memories)
        with ExitStack() as guard, self._connection.cursor() as cursor:
            guard.enter_context(answers_within(self._connection, STEP_SECONDS))
            with cursor.copy("COPY mem0_staged FROM STDIN (FORMAT binary)") as copy:
                # bytea is the type whose binary form is its bytes: so each field is sent as it is.
                copy.set_types(["bytea", "bytea", "bytea"])
                guard.close()
                while chunk := list(islice(source, STEP_ROWS)):
                    rows += len(chunk)
                    with answers_within(self._connection, STEP_SECONDS):
                        for memory in chunk:
                            copy.write_row((memory.id.bytes, memory.vector, _jsonb(memory.payload)))
                guard.enter_context(answers_within(self._connection, STEP_SECONDS))
        self.execute("ANALYZE mem0_staged")
        self._require_dimensions()
        return rows

    def _require_dimensions(self) -> None:
        query = "SELECT DISTINCT vector_dims(vector) AS dimensions FROM mem0_staged WHERE vector IS NOT NULL"
        others = [row["dimensions"] for row in self.execute(query).fetchall() if row["dimensions"] != self._dimensions]
        if others and self._dimensions is not None:
            raise other_dimensions(others[0], self._dimensions)

    def decide(self, mode: Mode, selection: Selection) -> None:
        """What is to be done with each memory, into a second temporary table."""
        if mode == "newer":
            self.execute(_TIME)
        self.execute(
            _PLANNED,
            gives_way=sql.SQL(_GIVES_WAY[mode]),
            staged_namespace=sql.SQL(NAMESPACE_SQL.replace("payload", "staged.payload")),
            live_namespace=sql.SQL(NAMESPACE_SQL.replace("payload", "live.payload")),
            deletes=_taken(selection) if mode == "exact" else sql.SQL("false"),
        )
        self.execute("ALTER TABLE mem0_planned ADD PRIMARY KEY (number)")
        self.execute("ANALYZE mem0_planned")

    def plan(self) -> Plan:
        """What was decided."""
        query = "SELECT namespace, step, count(*) AS memories FROM mem0_planned GROUP BY 1, 2 ORDER BY 1"
        namespaces: dict[str, Change] = {}
        for row in self.execute(query).fetchall():
            change = Change(**{_COUNTED_AS[row["step"]]: row["memories"]})
            namespaces[row["namespace"]] = namespaces.get(row["namespace"], Change()) + change
        written = self.execute("SELECT id FROM mem0_planned WHERE step IN ('insert', 'replace')").fetchall()
        return Plan(namespaces, frozenset(row["id"] for row in written), self._dimensions)

    def lock(self, mode: Mode) -> int:
        """Lock the live rows that will be lost, and spare those that mem0 has written to since; how many are locked."""
        row = self.execute(_LOCK).fetchone()
        self.execute(_SPARE, gives_way=sql.SQL(_GIVES_WAY[mode]))
        return row["count"] if row else 0

    def lost(self) -> Generator[Memory, None, None]:
        """The live rows that will be replaced or deleted, as they are."""
        with closing(psycopg.ServerCursor(self._connection, "mem0_lost")) as cursor:
            with answers_within(self._connection, STEP_SECONDS):
                cursor.execute(sql.SQL(_LOST).format(**self._names), binary=True)
            while True:
                with answers_within(self._connection, STEP_SECONDS):
                    rows = cursor.fetchmany(STEP_ROWS)
                if not rows:
                    return
                yield from (Memory(row["id"], row["namespace"], row["payload"], row["vector"]) for row in rows)

    def take(self, step: str, tell: Tell) -> int:
        """Do one kind of what was decided, STEP_ROWS at a time; to how many rows."""
        query = "SELECT min(number) - 1 AS first, max(number) AS last FROM mem0_planned WHERE step = %s"
        bounds, done = self.execute(query, (step,)).fetchone(), 0
        if bounds is None or bounds["last"] is None:
            return 0
        for first in range(bounds["first"], bounds["last"], STEP_ROWS):
            values = (step, first, first + STEP_ROWS)
            done += self.execute(_STEPS[step], values, of_step=sql.SQL(_OF_STEP)).rowcount
            tell(f"{done:,} of {bounds['last'] - bounds['first']:,} {_COUNTED_AS[step]}")
        return done


_COUNTED_AS = {"insert": "inserted", "replace": "replaced", "delete": "deleted", "keep": "unchanged"}


def other_dimensions(incoming: int, column: int) -> RefusedError:
    """What to say where vectors do not fit the live column."""
    return RefusedError(
        f"these vectors have {incoming} dimensions, and the live collection holds vectors of {column}",
        code="dimensions_changed",
        next_step="Add --reembed: it has new vectors made from the texts, by the embedder that fleet.yaml names",
    )


def _jsonb(payload: str | None) -> bytes | None:
    """A payload as PostgreSQL receives a jsonb in binary: version 1 is its text."""
    return None if payload is None else b"\x01" + payload.encode()


def _taken(selection: Selection) -> sql.Composable:
    """Whether the selection takes a live row."""
    taken: list[sql.Composable] = [sql.SQL("true")]
    if selection.namespaces is not None:
        namespace = sql.SQL(NAMESPACE_SQL.replace("payload", "live.payload"))
        taken.append(sql.SQL("{} = ANY ({}::text[])").format(namespace, sql.Literal(list(selection.namespaces))))
    if selection.ids is not None:
        taken.append(sql.SQL("live.id = ANY ({}::uuid[])").format(sql.Literal(list(selection.ids))))
    return sql.SQL(" AND ").join(taken)


@contextmanager
def _writing(postgres: Postgres) -> Iterator[_Writer]:
    """A connection that writes; what is not committed in it is undone at its end. PostgreSQL's noes as ours.

    Of its messages only the first line is told: the others quote rows, which are memories.
    """
    with connect(postgres, seconds=None) as connection:
        try:
            yield _Writer(connection, postgres.collection)
        except psycopg.Error as error:
            raise _refusal(postgres, error) or error from None
        finally:
            if not connection.closed:
                connection.rollback()


# Classes of SQLSTATE: the connection, the server's resources, an operator's intervention.
_GOING_AWAY = ("08", "53", "57")


def _refusal(postgres: Postgres, error: psycopg.Error) -> Mem0AssetsError | None:
    """What PostgreSQL's no means; None where `connect` knows better: it timed out, or is gone."""
    said, table = error.diag.message_primary or "", postgres.collection
    match error:
        case psycopg.errors.UndefinedTable():
            step = "Restore the whole deployment, or let mem0 make the table first"
            return TableMissingError(f"the database answers, and it has no table {table}", next_step=step)
        case psycopg.errors.UndefinedColumn() | psycopg.errors.InvalidColumnReference():
            return NotACollectionError(f"the table {table} is no mem0 collection: {said}", next_step=CHECK_COLLECTION)
        case psycopg.errors.InsufficientPrivilege() | psycopg.errors.ReadOnlySqlTransaction():
            return RefusedError(f"{postgres.user} may not write to {table}: {said}", next_step=_grant(postgres))
        case psycopg.errors.UniqueViolation():
            return RefusedError("an id stands twice among these memories", code="wrong_content")
        case psycopg.errors.DiskFull():
            return NoSpaceError(f"the disk of {postgres.address} is full", next_step="Free space there")
        case psycopg.errors.DataError() | psycopg.errors.ProgramLimitExceeded():
            return RefusedError(f"PostgreSQL does not take these memories: {said}", code="wrong_content")
        case psycopg.errors.LockNotAvailable() | psycopg.errors.QueryCanceled():
            return None
        case _ if error.sqlstate and error.sqlstate[:2] not in _GOING_AWAY:
            return RefusedError(f"{postgres.address} refuses the rows: {said} [{error.sqlstate}]")
    return None


def _grant(postgres: Postgres) -> str:
    return (
        "Name a role that may write to it, and make temporary tables, in postgres.admin_user of fleet.yaml:"
        f" mem0's own role of the database {postgres.database} may"
    )
