"""Whether what mem0 says it wrote is there, and when it wrote: the history's newest rows beside the memories.

mem0 2.0.0 to 2.2.0 answer "added", and write it into their history, although PostgreSQL refused the memory: an embedder that
was switched to other dimensions (mem0ai/mem0#4985). No count falls by that, and nobody notices. (1.0.11 writes nothing at
all then: there the pause is all that shows.)
"""

import time
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path

from psycopg import sql

from mem0_assets.fleet import Deployment, Postgres
from mem0_assets.live.history import LiveEvent, read_tail
from mem0_assets.live.postgres import SCHEMA, Connection, NotReadableError, connect

HISTORY_SECONDS = 2.0
# mem0 deletes from PostgreSQL first and writes the history after it, some milliseconds later.
IN_FLIGHT_SECONDS = 1.0
# Beside the newest 1,000 rows of a history: these reach back over the newest 512,000, a few weeks of 10,000 a day.
STRIDES = (8, 64, 512)
# The usual pace is read anew as often as this: of memories without a history it takes 0.15 s for 100,000.
PACE_SECONDS = 900.0
MOST_HOURS = 1500

_HELD = sql.SQL("SELECT id::text AS id FROM {} WHERE id = ANY (%s::uuid[])")
# Every table whose rows may be memories.
_COLLECTIONS = """
    SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE n.nspname = %s AND c.relkind = 'r' AND has_table_privilege(c.oid, 'SELECT')
       AND EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'id' AND a.atttypid = 'uuid'::regtype)
       AND EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'payload' AND NOT a.attisdropped)
"""
# The last write of each hour, by its text: what is no time ("yesterday"), or lies in the future, sorts behind the bound.
_PACE = sql.SQL(
    """
    SELECT max(at) AS at FROM (SELECT (payload->>'created_at') COLLATE "C" AS at FROM {}) AS memories
     WHERE at < %s GROUP BY left(at, 13) ORDER BY 1 DESC LIMIT %s
    """
)


@dataclass(frozen=True)
class Writes:
    """What a look at a deployment's writes saw.

    `missing`: the ids that the history's newest rows call alive and that are in no collection, the newest last.
    `times`: when memories of this collection were written, as mem0 noted it, once per hour and in no order: enough of them
    to tell the usual pace.
    """

    missing: tuple[str, ...]
    times: tuple[str, ...]


def read_writes(deployment: Deployment, *, seconds: float) -> Writes:
    """Look at the newest writes, within about `seconds`. Without a history nothing can be missing, and `times` are the
    memories' own.

    Raises UnreachableError, HistoryMissingError and HistoryDamagedError: then nothing is known.
    """
    history, postgres, turn = deployment.stores.history, deployment.postgres, int(time.monotonic() / PACE_SECONDS)
    if history is None:
        times = _times_of_memories(postgres, seconds, turn)
        if isinstance(times, NotReadableError):
            raise times
        return Writes((), times)
    older = _older_times(postgres, history, seconds, turn)
    tail = read_tail(history, seconds=HISTORY_SECONDS)
    alive = _alive(tail)
    held = _held(postgres, alive, seconds)
    missing = _missing(postgres, history, [memory for memory in alive if memory not in held], seconds)
    return Writes(missing, _once_per_hour(tail, held) + older)


def missing_writes(deployment: Deployment, *, seconds: float) -> tuple[str, ...]:
    """The `missing` of `read_writes` alone."""
    history, postgres = deployment.stores.history, deployment.postgres
    if history is None:
        return ()
    alive = _alive(read_tail(history, seconds=HISTORY_SECONDS))
    held = _held(postgres, alive, seconds)
    return _missing(postgres, history, [memory for memory in alive if memory not in held], seconds)


def _missing(postgres: Postgres, history: Path, suspects: list[str], seconds: float) -> tuple[str, ...]:
    """Those of `suspects` that are nowhere, and still are a moment later, when a deletion has its history."""
    missing = _nowhere(postgres, suspects, seconds)
    if missing:
        time.sleep(IN_FLIGHT_SECONDS)
        alive = set(_alive(read_tail(history, seconds=HISTORY_SECONDS)))
        missing = _nowhere(postgres, [memory for memory in missing if memory in alive], seconds)
    return tuple(missing)


def _nowhere(postgres: Postgres, ids: list[str], seconds: float) -> list[str]:
    """Those of `ids` that are in no collection of the database: one history may be written for several."""
    if not ids:
        return []
    with connect(postgres, seconds=seconds) as connection:
        names = [row["relname"] for row in connection.execute(_COLLECTIONS, (SCHEMA,)).fetchall()]
        held = set().union(*(_held_in(connection, name, ids) for name in names))
    return [memory for memory in ids if memory not in held]


def _alive(tail: list[LiveEvent]) -> list[str]:
    """The ids whose last event is no deletion, in the order of their last events."""
    last: dict[str, str] = {}
    for event in tail:
        memory = _as_uuid(event.memory_id)
        if memory:
            last.pop(memory, None)
            last[memory] = event.event
    return [memory for memory, event in last.items() if event != "DELETE"]


def _as_uuid(memory_id: str) -> str | None:
    """As PostgreSQL writes it; None for what cannot be the id of a memory in it."""
    try:
        return str(uuid.UUID(memory_id))
    except ValueError:
        return None


def _held(postgres: Postgres, ids: list[str], seconds: float) -> set[str]:
    """Those of `ids` that are in the collection."""
    with connect(postgres, seconds=seconds) as connection:
        return _held_in(connection, postgres.collection, ids)


def _held_in(connection: Connection, collection: str, ids: list[str]) -> set[str]:
    rows = connection.execute(_HELD.format(sql.Identifier(SCHEMA, collection)), (ids,)).fetchall()
    return {row["id"] for row in rows}


@lru_cache(maxsize=256)
def _older_times(postgres: Postgres, history: Path, seconds: float, turn: int) -> tuple[str, ...]:
    """When memories were written further back. `turn` is the quarter of an hour for which this is remembered."""
    tails = [event for stride in STRIDES for event in read_tail(history, stride=stride, seconds=HISTORY_SECONDS)]
    return _once_per_hour(tails, _held(postgres, _alive(tails), seconds))


def _once_per_hour(events: Iterable[LiveEvent], held: set[str]) -> tuple[str, ...]:
    """When the memories that are `held` here were written, of each hour the last time: a thousand in a minute are one.

    What was written to another collection, or was deleted since, says nothing of this one.
    """
    times = sorted(at for event in events if _as_uuid(event.memory_id) in held for at in event.times)
    return tuple({at[:13]: at for at in times}.values())


@lru_cache(maxsize=256)
def _times_of_memories(postgres: Postgres, seconds: float, turn: int) -> tuple[str, ...] | NotReadableError:
    """When memories were created: of each hour the last one. Remembered for this `turn`, as it reads every payload.

    So is that it took too long: asked every ten seconds, a table of many millions would be read all the time.
    """
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    query = _PACE.format(sql.Identifier(SCHEMA, postgres.collection))
    try:
        with connect(postgres, seconds=seconds) as connection:
            return tuple(row["at"] for row in connection.execute(query, (tomorrow, MOST_HOURS)).fetchall())
    except NotReadableError as error:
        step = "Name mem0's history.db under stores in fleet.yaml: its newest rows tell it at once"
        return NotReadableError(f"when memories were written is not known: {error.message}", next_step=step)
