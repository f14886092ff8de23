"""Whether what was restored is exactly what the backup claims: the same checks for a drill and for a restore.

Its history is judged apart: memories that were lost before the backup was made say nothing against the restore of it.
"""

from collections.abc import Collection
from dataclasses import dataclass

from mem0_assets.backups.backup import accepted_losses
from mem0_assets.backups.catalog import Catalog
from mem0_assets.backups.inventory import Backup
from mem0_assets.fleet import Deployment
from mem0_assets.live.census import Census, read_census
from mem0_assets.live.postgres import SCHEMA, Connection, snapshot
from mem0_assets.live.semantics import Semantics
from mem0_assets.restores.checks import (
    Expected,
    check_contents,
    check_indexes,
    check_search,
    check_tables,
    compare_counts,
)
from mem0_assets.restores.history_checks import HistoryReport, compare_history, judge_history
from mem0_assets.verdicts import OK, Verdict


@dataclass(frozen=True)
class Restored:
    """What came back of the memories: their census, the verdict on them, and what is odd in the rows, as sentences."""

    census: Census
    verdict: Verdict
    odd: tuple[str, ...]


def expected_of(deployment: Deployment, backup: Backup, collection: str | None) -> Expected:
    """What a backup claims; of a legacy folder what the reading of its dump found, `collection` too."""
    manifest = backup.manifest
    return Expected(
        collection=manifest.census.collection if manifest else collection or deployment.postgres.collection,
        total=backup.total or 0,
        namespaces=backup.namespaces,
        dimensions=backup.dimensions,
        tables=manifest.tables if manifest else None,
        indexes=manifest.indexes if manifest else None,
    )


def verify_memories(connection: Connection, expected: Expected, claimed: Semantics | None) -> Restored:
    """Every check on the memories' database. Raises TableMissingError, psycopg.Error."""
    with snapshot(connection, [(SCHEMA, expected.collection)]):
        census = read_census(connection, expected.collection)
        contents, odd = check_contents(connection, census, claimed)
        verdict = (
            compare_counts(expected, census)
            + check_tables(connection, expected)
            + contents
            + check_indexes(connection, expected)
            + check_search(connection, expected.collection)
        )
    return Restored(census, verdict, tuple(odd))


def replay_history(connection: Connection, catalog: Catalog, backup: Backup) -> HistoryReport | None:
    """The backup's history replayed against the memories that came back; None where the backup has none."""
    manifest = backup.manifest
    if manifest is None or manifest.history is None:
        return None
    copy = backup.path / manifest.files_of("history")[0].path
    settled, accepted = manifest.history.settled, accepted_losses(catalog)
    return compare_history(connection, manifest.census.collection, copy, settled, accepted)


def judge_replay(catalog: Catalog, backup: Backup, report: HistoryReport | None) -> tuple[Verdict, list[str]]:
    """What is lost in the drills of two backups was not in flight. (The same backup drilled twice shows the same.)"""
    if report is None:
        return OK, []
    earlier = [drill for drill in catalog.journal.events("drill") if drill.get("sequence", 0) < backup.sequence]
    lost: Collection[str] = earlier[-1].get("lost", []) if earlier else []
    return judge_history(report, lost_before=lost)
