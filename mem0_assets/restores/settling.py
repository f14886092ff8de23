"""Bringing a restore to its end: forward once the databases are swapped, back before that; also after a kill at any instant.

Which of the two happened is asked of the server, by oids: the swap is one transaction, and a record on another disk can
only say what was about to happen. Every part of either way may be done twice.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from mem0_assets.backups.catalog import Catalog
from mem0_assets.backups.manifest import ManifestError, read_manifest
from mem0_assets.errors import Mem0AssetsError, NotACollectionError, RefusedError, TableMissingError
from mem0_assets.fleet import Deployment
from mem0_assets.live.census import take_census
from mem0_assets.live.postgres import NotReadableError
from mem0_assets.restores import history_swap
from mem0_assets.restores.beside import drop_beside
from mem0_assets.restores.record import MEANING, Record, unfinished
from mem0_assets.restores.report import RestoreReport, report_of
from mem0_assets.restores.server import databases, working
from mem0_assets.restores.writers import START_SECONDS, ask_for_memories, start_writers

Tell = Callable[[str], None]
# A mem0 that we did not start is there, or a person starts it later.
STANDING_SECONDS = 5.0


def settle(deployment: Deployment, catalog: Catalog, tell: Tell = lambda what: None) -> RestoreReport | None:
    """Finish or roll back the restore that was interrupted; None where none was. Call it with both locks held.

    Raises UnreachableError where the server does not say how far it came: then nothing is done.
    """
    record = unfinished(deployment)
    if record is None:
        return None
    last = record.last()
    assert last is not None
    tell(f"the restore {record.restore} was interrupted: {MEANING.get(last, last)}")
    if last == "forgetting":
        finish_forgetting(deployment, catalog, record)
    elif last == "undoing":
        (finish_undoing if is_swapped(deployment, record, "undoing") else give_up_undoing)(deployment, catalog, record)
    elif is_swapped(deployment, record, "swapping"):
        tell("the databases were swapped: finishing it")
        finish(deployment, catalog, record, tell)
    else:
        tell("the databases were not swapped: rolling it back")
        roll_back(deployment, catalog, record, "it was interrupted")
    return report_of(record)


def is_swapped(deployment: Deployment, record: Record, step: Any) -> bool:
    """Whether the live names mean what this step was to put there. Raises UnreachableError where the server is away.

    RefusedError where they mean a third thing after a swap: to roll back would remove what the swap put aside.
    """
    swapping = record.find(step)
    if swapping is None:
        return False
    with working(deployment) as connection:
        there = databases(connection)
    others = [name for name, oid in swapping["oids"].items() if there.get(name) != oid]
    if others and step == "swapping" and not _is_still_beside(record, swapping["oids"], there):
        raise RefusedError(
            f"the restore {record.restore} was swapped in, and {', '.join(others)} became another database since",
            next_step="Rename them so that it is the restored one again, and say --settle; or, where you have put all right"
            f" by hand, start what writes and move {record.folder} away",
        )
    return not others


def _is_still_beside(record: Record, oids: Mapping[str, int], there: Mapping[str, int]) -> bool:
    """Whether the swap did not come: what was loaded still lies beside, or was dropped there, and the old is live."""
    places = _begun(record)["places"]
    return any(there.get(place["beside"]) == oids[place["live"]] for place in places) or all(
        there.get(place["live"]) == place["live_oid"] for place in places
    )


@contextmanager
def to_be_settled(deployment: Deployment) -> Iterator[None]:
    """What fails after a swap leaves the writers standing still: its error says what starts them again."""
    try:
        yield
    except Mem0AssetsError as error:
        mend = error.next_step or "Mend that"
        error.next_step = (
            f"{mend}; then, as what writes may stand still: mem0-assets restore {deployment.name} --settle"
        )
        raise


def finish(deployment: Deployment, catalog: Catalog, record: Record, tell: Tell) -> RestoreReport:
    """All that comes after the swap of the databases: history, identity, writers, a question to mem0, the report."""
    begun = _begun(record)
    if record.find("swapped") is None:
        record.note("swapped")
    if begun["history"] and deployment.stores.history:
        history_swap.place(deployment.stores.history, record.restore)
    record.note("history_placed")
    _accept(deployment, catalog, record, f"restore {record.restore} of {begun['backup']}")
    record.note("identity_accepted")
    tell("starting the writers")
    start_writers(deployment, _writers(record))
    record.note("writers_started")
    tell("asking mem0 for a memory of each namespace")
    verified = record.find("verified") or {"namespaces": {}}
    patience = START_SECONDS if _writers(record) else STANDING_SECONDS
    record.note("asked", **ask_for_memories(deployment, verified["namespaces"], seconds=patience))
    record.note("done")
    return _reported(record)


def roll_back(deployment: Deployment, catalog: Catalog, record: Record, why: str) -> RestoreReport:
    """Remove what was loaded beside, and start the writers again: the live databases were never touched."""
    begun = record.find("begun")
    if begun is not None:
        _keep_what_was_captured(catalog, record)
        drop_beside(deployment, [place["beside"] for place in begun["places"]])
        if deployment.stores.history:
            history_swap.remove(deployment.stores.history, record.restore)
        start_writers(deployment, _writers(record))
    record.note("rolled_back", why=why)
    return _reported(record)


def finish_undoing(deployment: Deployment, catalog: Catalog, record: Record) -> RestoreReport:
    """What comes after the databases were swapped back."""
    if _begun(record)["history"] and deployment.stores.history:
        history_swap.put_back(deployment.stores.history, record.restore)
    _accept(deployment, catalog, record, f"restore {record.restore} was undone")
    start_writers(deployment, _writers(record))
    record.note("undone", by=(record.find("undoing") or {}).get("by"))
    return _reported(record)


def give_up_undoing(deployment: Deployment, catalog: Catalog, record: Record) -> RestoreReport:
    """The databases were not swapped back: all stays as the restore had left it."""
    start_writers(deployment, _writers(record))
    record.note("done")
    return _reported(record)


def finish_forgetting(deployment: Deployment, catalog: Catalog, record: Record) -> RestoreReport:
    """Drop the databases that are kept of a restore, by their names and oids, then its history and its safety backup."""
    forgetting = record.find("forgetting")
    assert forgetting is not None
    with working(deployment) as connection:
        there = databases(connection)
    drop_beside(deployment, [name for name, oid in forgetting["databases"].items() if there.get(name) == oid])
    if forgetting["history"] and deployment.stores.history:
        history_swap.remove(deployment.stores.history, record.restore)
    for backup in catalog.backups():
        if backup.state == "safety" and backup.backup == forgetting["safety_backup"]:
            catalog.let_go(backup)
    record.note("forgotten", by=forgetting["by"])
    return _reported(record)


def _begun(record: Record) -> dict[str, Any]:
    begun = record.find("begun")
    assert begun is not None
    return begun


def _writers(record: Record) -> list[str]:
    """The containers that ran before the last thing that stopped them."""
    stopped = next((step for step in reversed(record.steps()) if "containers" in step), None)
    return [str(name) for name in stopped["containers"]] if stopped else []


def _accept(deployment: Deployment, catalog: Catalog, record: Record, reason: str) -> None:
    """The database that is live now is meant to be this one. (Without the lock: it is held by whoever restores.)"""
    try:
        identity = take_census(deployment.postgres).identity
    except (TableMissingError, NotACollectionError, NotReadableError):
        return  # undone, to what was replaced because there were no memories in it, or none to be read
    newest = catalog.newest_verified()
    sequence, by = (newest.sequence if newest else 0), str(_begun(record)["by"])
    catalog.journal.record("identity_accepted", identity=identity.as_json(), sequence=sequence, by=by, reason=reason)


def _keep_what_was_captured(catalog: Catalog, record: Record) -> None:
    """A safety backup that was complete when its maker was killed waits in candidates/, and must not be published."""
    keeping = record.find("keeping")
    for folder in catalog.candidates() if keeping and record.find("kept") is None else []:
        try:
            ours = read_manifest(folder).sequence == keeping["sequence"] if keeping else False
        except ManifestError:
            continue
        if ours:
            catalog.keep_safe(folder)


def _reported(record: Record) -> RestoreReport:
    report = report_of(record)
    record.write_report(report.as_json())
    return report
