"""The way back from a restore: swap again, as long as what it replaced is kept; or let that go, on a person's word.

Both touch only what the record of the restore names, and what the server knows under the very oid that the record has.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mem0_assets.backups.catalog import Catalog
from mem0_assets.backups.inventory import Backup
from mem0_assets.errors import NotACollectionError, RefusedError, TableMissingError
from mem0_assets.fleet import Deployment
from mem0_assets.live.census import CENSUS_SECONDS, read_census
from mem0_assets.live.postgres import SCHEMA, connect, snapshot
from mem0_assets.restores import history_swap
from mem0_assets.restores.record import Record, last_in
from mem0_assets.restores.report import RestoreReport, report_of
from mem0_assets.restores.restore import holding, require_confirmation
from mem0_assets.restores.server import databases, working
from mem0_assets.restores.settling import (
    Tell,
    finish_forgetting,
    finish_undoing,
    give_up_undoing,
    is_swapped,
    settle,
    to_be_settled,
)
from mem0_assets.restores.swap import swap
from mem0_assets.restores.writers import require_nobody, running_writers, stop_writers


@dataclass(frozen=True)
class Written:
    """What is in the live memories now that was not there when the restore ended, or the other way round, by numbers.

    `changed` maps each namespace that holds another number to the difference.
    """

    restore: str
    then: int
    now: int
    changed: Mapping[str, int]

    def as_json(self) -> dict[str, Any]:
        return {**vars(self), "changed": dict(self.changed)}


def written_since(deployment: Deployment) -> Written:
    """What an undo of the newest restore would take out of the live memories; it stays in the database swapped out.

    Raises NotFoundError without a restore to undo, UnreachableError.
    """
    record = last_in(deployment, "done")
    verified = record.find("verified") or {"total": 0, "namespaces": {}}
    then: dict[str, int] = verified["namespaces"]
    try:
        now = _count(deployment)
    except (TableMissingError, NotACollectionError):
        now = {}
    names = sorted(then.keys() | now.keys())
    changed = {name: now.get(name, 0) - then.get(name, 0) for name in names if now.get(name, 0) != then.get(name, 0)}
    return Written(record.restore, verified["total"], sum(now.values()), changed)


def undo(
    deployment: Deployment, *, by: str, confirm: str, end_sessions: bool = False, tell: Tell = lambda what: None
) -> RestoreReport:
    """Put back what the newest restore replaced: databases, history, identity. What it had put there is kept beside.

    Raises ConfigurationError without the confirmation, NotFoundError, RefusedError, SessionsHeldError, UnreachableError.
    """
    require_confirmation(deployment, confirm)
    with holding(deployment) as catalog:
        settled = settle(deployment, catalog, tell)
        if settled and settled.state == "undone":
            return settled
        record = last_in(deployment, "done")
        renames, oids = _way_back(deployment, record)
        running = running_writers(deployment)
        record.note("undoing", by=by, oids=oids, containers=running)
        try:
            tell("stopping the writers" if running else "looking who is connected")
            stop_writers(deployment, running)
            if not end_sessions:
                require_nobody(deployment)
            tell("swapping back")
            swap(deployment, renames, end_sessions=end_sessions)
        except BaseException:
            if not is_swapped(deployment, record, "undoing"):
                give_up_undoing(deployment, catalog, record)
            raise
        with to_be_settled(deployment):
            return finish_undoing(deployment, catalog, record)


@dataclass(frozen=True)
class Leftovers:
    """What is kept of a restore, and would be removed for ever: databases with their memories, files, a safety backup."""

    record: Record
    databases: Mapping[str, int]
    totals: Mapping[str, int | None]
    history: tuple[str, ...]
    safety_backup: str | None

    def as_json(self) -> dict[str, Any]:
        return {
            "restore": self.record.restore,
            "databases": dict(self.totals),
            "history": list(self.history),
            "safety_backup": self.safety_backup,
        }


def leftovers(deployment: Deployment) -> Leftovers:
    """What is kept of the newest restore that was not forgotten. Raises NotFoundError, UnreachableError."""
    record = last_in(deployment, "done", "undone")
    kept, known = report_of(record).kept, _oids_aside(record)
    with working(deployment) as connection:
        there = databases(connection)
    ours = {name: there[name] for name in kept.values() if name in there and there[name] == known.get(name)}
    totals = {name: _total(deployment, name) for name in ours}
    history = deployment.stores.history
    files = tuple(map(str, history_swap.aside(history, record.restore))) if history else ()
    safety = next((one.backup for one in Catalog(deployment).backups() if _is_safety(one, record)), None)
    return Leftovers(record, ours, totals, files, safety)


def forget(deployment: Deployment, *, by: str, confirm: str, tell: Tell = lambda what: None) -> RestoreReport:
    """Remove what is kept of the newest restore, for ever.

    Raises ConfigurationError without the confirmation, NotFoundError, UnreachableError.
    """
    require_confirmation(deployment, confirm)
    with holding(deployment) as catalog:
        settled = settle(deployment, catalog, tell)
        if settled and settled.state == "forgotten":
            return settled
        found = leftovers(deployment)
        found.record.note(
            "forgetting",
            by=by,
            databases=dict(found.databases),
            history=bool(found.history),
            safety_backup=found.safety_backup,
        )
        tell("removing what was kept")
        return finish_forgetting(deployment, catalog, found.record)


def _way_back(deployment: Deployment, record: Record) -> tuple[list[tuple[str, str]], dict[str, int]]:
    """The renames that undo a restore, and the oids that the live names mean afterwards."""
    begun, swapping = record.find("begun"), record.find("swapping")
    assert begun is not None
    assert swapping is not None
    with working(deployment) as connection:
        there = databases(connection)
    renames: list[tuple[str, str]] = []
    oids: dict[str, int] = {}
    for place in begun["places"]:
        live, old = place["live"], place["live_oid"]
        if old is None:
            raise RefusedError(f"before the restore {record.restore} there was no database {live}: no way leads back")
        if there.get(live) != swapping["oids"][live]:
            raise RefusedError(f"the database {live} is not the one that the restore {record.restore} made")
        if there.get(place["kept"]) != old:
            raise RefusedError(f"the database {place['kept']}, which the restore {record.restore} kept, is gone")
        renames += [(live, place["beside"]), (place["kept"], live)]
        oids[live] = old
    return renames, oids


def _oids_aside(record: Record) -> dict[str, int]:
    """The databases that a restore knows, by the names that they have while they are not live."""
    begun, swapping = record.find("begun"), record.find("swapping")
    places = begun["places"] if begun and swapping else []
    restored = {place["beside"]: swapping["oids"][place["live"]] for place in places if swapping}
    return restored | {place["kept"]: place["live_oid"] for place in places}


def _is_safety(backup: Backup, record: Record) -> bool:
    return backup.state == "safety" and backup.backup == (record.find("kept") or {}).get("backup")


def _count(deployment: Deployment, database: str | None = None) -> dict[str, int]:
    postgres = deployment.postgres.model_copy(update={"database": database} if database else {})
    with (
        connect(postgres, seconds=CENSUS_SECONDS) as connection,
        snapshot(connection, [(SCHEMA, postgres.collection)]),
    ):
        return read_census(connection, postgres.collection).namespaces


def _total(deployment: Deployment, database: str) -> int | None:
    """The memories of a database that is kept; None where it holds no such table (the application's, or a loss)."""
    try:
        return sum(_count(deployment, database).values())
    except (TableMissingError, NotACollectionError):
        return None
