"""mem0's own history replayed against the memories that were restored: who should be there, and is?

mem0 commits to PostgreSQL first and writes the history after it. So the history's rows up to `settled` (the newest one
before the snapshot was taken) must all show in the snapshot, and those after it may or may not.

A memory that the history knows and the collection has not was either stored and lost, or never stored: mem0 2.0.0 to
2.2.0 wrote the history also where PostgreSQL had refused the row, after a change of embedder (mem0ai/mem0#4985). Both
look the same in both stores, and to the person whose memory it was: so there is one word for both, lost.
"""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from psycopg import sql

from mem0_assets.live.census import collections
from mem0_assets.live.history import read_events
from mem0_assets.live.postgres import SCHEMA, Connection
from mem0_assets.verdicts import OK, Verdict, refused

MOST_SAMPLES = 20
# So many lost ones are known by id, so that a person can say of these, and of no others, that they are meant to be gone.
MOST_LOST = 100_000
# Of 25 snapshots beside four writers one held a change whose history was not written yet. A mem0 that was killed just
# then never writes it.
MOST_IN_FLIGHT = 16
SHOWN = 3

_ACCEPTED = 'CREATE TEMPORARY TABLE history_accepted (memory text COLLATE "C") ON COMMIT DROP'
_EVENTS = """
    CREATE TEMPORARY TABLE history_events
        (row bigint, memory text COLLATE "C", deleted boolean, text_md5 text) ON COMMIT DROP
"""
# Ids are compared as PostgreSQL reads them: a caller of mem0 may have written one in capitals or in braces.
_FINDINGS = """
    WITH events AS (
        SELECT row, deleted, text_md5,
               CASE WHEN pg_input_is_valid(memory, 'uuid') THEN memory::uuid::text ELSE memory END COLLATE "C" AS memory
          FROM history_events
    ), settled AS (
        SELECT DISTINCT ON (memory) memory, deleted, text_md5 FROM events WHERE row <= {settled}
         ORDER BY memory, row DESC
    ), late AS (
        SELECT memory, bool_or(deleted) AS deleted FROM events WHERE row > {settled} GROUP BY memory
    ), known AS (
        SELECT memory, settled.deleted, settled.text_md5, late.memory IS NOT NULL AS late,
               coalesce(late.deleted, false) AS deleted_late
          FROM settled FULL JOIN late USING (memory)
    ), held AS (
        SELECT id::text COLLATE "C" AS memory, md5(payload->>'data') AS text_md5, true AS here FROM {collection}
    ), elsewhere AS (
        {elsewhere}
    ), compared AS MATERIALIZED (
        SELECT memory, held.here, known.late IS NOT NULL AS known, CASE
               WHEN elsewhere.memory IS NOT NULL AND held.here IS NULL THEN NULL
               WHEN held.here IS NULL AND known.deleted IS FALSE AND NOT known.deleted_late THEN
                    CASE WHEN EXISTS (SELECT FROM history_accepted a WHERE a.memory = known.memory)
                         THEN 'accepted' ELSE 'lost' END
               WHEN known.late THEN 'in_flight'
               WHEN known.deleted IS NULL THEN NULL
               WHEN held.here AND known.deleted THEN 'unlogged'
               WHEN held.here AND known.text_md5 IS DISTINCT FROM held.text_md5 THEN 'changed' END AS finding
          FROM known FULL JOIN held USING (memory) LEFT JOIN elsewhere USING (memory)
    )
    SELECT finding, count(*) AS memories, count(here) AS held, count(here) FILTER (WHERE known) AS held_and_known,
           (ARRAY(SELECT memory FROM compared AS one WHERE one.finding = compared.finding
                   ORDER BY memory LIMIT {most_lost}))[1:CASE finding WHEN 'lost' THEN {most_lost} ELSE {most} END] AS ids
      FROM compared GROUP BY finding
"""


_STATES = ("lost", "accepted", "unlogged", "changed", "in_flight")


@dataclass(frozen=True)
class Finding:
    """How many memories are in one state, and the ids of the first of them, in order; never their text.

    The first MOST_SAMPLES; MOST_LOST of those that are lost.
    """

    count: int = 0
    ids: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        return {"count": self.count, "ids": list(self.ids[:MOST_SAMPLES])}


@dataclass(frozen=True)
class HistoryReport:
    """What the replay found. `memories`: those of the collection; `known`: those of them that the history knows.

    lost       alive in the history, and in no collection of the database
    accepted   the same, and a person said that they are meant to be gone
    unlogged   in the collection, and deleted by the history's last word
    changed    in both, with another text than the history's last
    in_flight  the history went on about these while the dump was taken: neither for nor against
    """

    memories: int
    known: int
    lost: Finding
    unlogged: Finding
    changed: Finding
    in_flight: Finding
    accepted: Finding = Finding()

    @property
    def coverage(self) -> float:
        """The share of the collection that the history knows: 1 for all. The replay says nothing of the others."""
        return self.known / self.memories if self.memories else 1.0

    def as_json(self) -> dict[str, Any]:
        findings = {name: getattr(self, name) for name in _STATES}
        counts = {"memories": self.memories, "known": self.known, "coverage": self.coverage}
        return counts | {name: finding.as_json() for name, finding in findings.items()}


def compare_history(
    connection: Connection, collection: str, copy: Path, settled: int, accepted: Collection[str] = ()
) -> HistoryReport:
    """Replay a copied history against a restored collection. `settled`: `newest_row` before the dump's snapshot.
    `accepted`: ids that are meant to be gone. A memory in another collection of the database is not lost: every mem0 of
    a user writes into one history by default.

    `connection` is to a scratch server (PostgreSQL 16 or newer), and in no read-only transaction: the history goes into
    a temporary table there, without its texts, and the server compares. Raises HistoryDamagedError, psycopg.Error.
    """
    with connection.transaction():
        connection.execute(_EVENTS)
        with connection.cursor().copy("COPY history_events FROM STDIN") as rows:
            for event in read_events(copy):
                memory = event.memory_id.replace("\0", "\N{REPLACEMENT CHARACTER}")
                rows.write_row((event.row, memory, event.event == "DELETE", event.text_md5))
        connection.execute(_ACCEPTED)
        with connection.cursor().copy("COPY history_accepted FROM STDIN") as rows:
            for memory in accepted:
                rows.write_row((memory,))
        connection.execute("SET LOCAL work_mem = '64MB'")
        connection.execute("ANALYZE history_events")
        query = sql.SQL(_FINDINGS).format(
            settled=sql.Literal(settled),
            collection=sql.Identifier(SCHEMA, collection),
            elsewhere=_elsewhere(connection, collection),
            most=sql.Literal(MOST_SAMPLES),
            most_lost=sql.Literal(MOST_LOST),
        )
        found = connection.execute(query).fetchall()
    by_name = {row["finding"]: Finding(row["memories"], tuple(row["ids"])) for row in found if row["finding"]}
    findings = {name: by_name.get(name, Finding()) for name in _STATES}
    held, known = (sum(row[name] for row in found) for name in ("held", "held_and_known"))
    return HistoryReport(memories=held, known=known, **findings)


def _elsewhere(connection: Connection, collection: str) -> sql.Composable:
    """The ids of all other collections of the database, which another mem0 may write the same history for."""
    others = [name for name in collections(connection) if name != collection]
    ids = sql.SQL('SELECT id::text COLLATE "C" AS memory FROM {}')
    tables = [ids.format(sql.Identifier(SCHEMA, name)) for name in others]
    return sql.SQL(" UNION ").join(tables) if tables else sql.SQL('SELECT NULL::text COLLATE "C" AS memory WHERE false')


def judge_history(report: HistoryReport, *, lost_before: Collection[str] = ()) -> tuple[Verdict, list[str]]:
    """`history_lost_memories` where memories are lost, and what a person should know beside that.

    Up to MOST_IN_FLIGHT lost ones may be deletions in flight, and are only told; but not twice: `lost_before` are the
    lost ids of the report on an earlier backup, and an id that is lost in both was not in flight. What is unlogged or
    changed is told: mem0 itself does so whenever history.db is locked.
    """
    verdict, notes = OK, []
    if report.lost.count > MOST_IN_FLIGHT or set(report.lost.ids) & set(lost_before):
        verdict = refused("history_lost_memories", _sentence(report.lost, "in the history and not in the collection"))
    elif report.lost.count:
        why = "perhaps deletions in flight; the drill of the next backup will tell"
        notes.append(_sentence(report.lost, f"in the history and not in the collection: {why}"))
    if report.accepted.count:
        notes.append(_sentence(report.accepted, "in the history and not in the collection, as accepted"))
    if report.unlogged.count:
        notes.append(_sentence(report.unlogged, "in the collection, and deleted by the history's last word"))
    if report.changed.count:
        notes.append(_sentence(report.changed, "in the collection with another text than the history's last"))
    if report.coverage < 1:
        unknown = report.memories - report.known
        notes.append(f"the history knows {report.coverage:.1%} of the memories and says nothing of {unknown}")
    return verdict, notes


def _sentence(finding: Finding, what: str) -> str:
    shown = ", ".join(finding.ids[:SHOWN])
    more = ", ..." if finding.count > SHOWN else ""
    return f"{finding.count} {'memory is' if finding.count == 1 else 'memories are'} {what} ({shown}{more})"
