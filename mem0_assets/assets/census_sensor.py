"""The fleet's census: every deployment counted, judged and alarmed on every ten seconds, without a single run.

One sensor for the whole fleet: ten databases take 30 ms in threads, and ten sensors took five times the CPU. The
counts go to the UI as runless events: at once when something is wrong or right again, otherwise seldom, because every
event stays in the event log for ever (every tick of ten deployments would be 86,000 a day).
"""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import Any

import dagster as dg

from mem0_assets.alerts.watch import Look, deliver, look, observe, observe_delivery
from mem0_assets.assets.checks import count_evaluations
from mem0_assets.assets.metadata import backup_metadata, census_metadata, last_backup_of, last_named
from mem0_assets.assets.restore import report_metadata
from mem0_assets.backups.catalog import Catalog
from mem0_assets.backups.files import BackupsFolderError
from mem0_assets.backups.inventory import Backup
from mem0_assets.fleet import Deployment, Fleet
from mem0_assets.restores.status import newest_done

# The daemon's loop is 5 s: asking for 9 gives a tick every 10 s, asking for 10 every 15.
INTERVAL = 9
CENSUS_SECONDS = 5.0
HEARTBEAT_SECONDS = 3600
GROWTH_SECONDS = 900

Event = dg.AssetMaterialization | dg.AssetObservation | dg.AssetCheckEvaluation


@dataclass(frozen=True)
class Shown:
    """What the UI was last shown of a deployment: when, the counts, what was wrong, and the newest backup.

    `unreported`: a newer backup that was seen and that no run has reported yet. `restore`: the newest restore, likewise.
    """

    at: float = 0.0
    total: int | None = None
    namespaces: dict[str, int] | None = None
    wrong: tuple[str, ...] = ()
    backup: str | None = None
    unreported: str | None = None
    restore: str | None = None
    unreported_restore: str | None = None


def build_census_sensor(fleet: Fleet) -> dg.SensorDefinition:
    """The sensor `fleet_census`: on by default."""

    @dg.sensor(
        name="fleet_census",
        minimum_interval_seconds=INTERVAL,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Counts every deployment every ten seconds, opens and closes incidents, and delivers alerts.",
    )
    def fleet_census(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        shown = _read_cursor(context.cursor)
        events: list[Event] = []
        for seen in look_at_all(fleet):
            observe(fleet, seen.deployment, seen.findings)
            new_events, state = show(seen, shown.get(seen.deployment.name, Shown()), context.instance)
            events += new_events
            shown[seen.deployment.name] = state
        observe_delivery(fleet, deliver(fleet))
        cursor = json.dumps({name: asdict(state) for name, state in shown.items()})
        nothing = None if events else dg.SkipReason("Counted all; nothing new to show.")
        return dg.SensorResult(asset_events=events, cursor=cursor, skip_reason=nothing)

    return fleet_census


def look_at_all(fleet: Fleet) -> Iterator[Look]:
    """A look at each deployment, all at the same time and each as soon as it is done: one that hangs comes last."""
    with ThreadPoolExecutor(max_workers=min(16, len(fleet.deployments))) as pool:
        looks = [pool.submit(look, fleet, one, seconds=CENSUS_SECONDS) for one in fleet.deployments.values()]
        for done in as_completed(looks):
            yield done.result()


def show(seen: Look, before: Shown, instance: dg.DagsterInstance) -> tuple[list[Event], Shown]:
    """The events that the UI should be given now, and what it was shown with them."""
    newest = _newest_backup(seen.deployment)
    events, after = _show_backup(seen.deployment, newest, before, instance)
    restored, after = _show_restore(seen.deployment, after, instance)
    events += restored
    if not _worth_showing(seen, before):
        return events, after
    if seen.census:
        key = [seen.deployment.name, "memory_counts"]
        metadata = census_metadata(seen.census, newest.namespaces if newest else {})
        events.append(dg.AssetMaterialization(asset_key=key, metadata=metadata))
        live = [seen.deployment.name, "memories"]
        events.append(dg.AssetObservation(asset_key=live, metadata={"dagster/row_count": seen.census.total}))
    events += count_evaluations(seen)
    total, namespaces = (seen.census.total, seen.census.namespaces) if seen.census else (None, None)
    return events, replace(after, at=seen.at.timestamp(), total=total, namespaces=namespaces, wrong=_wrong(seen))


def _newest_backup(deployment: Deployment) -> Backup | None:
    """None, too, where the folder cannot be read: the look at it has found that already."""
    with suppress(BackupsFolderError):
        return Catalog(deployment).newest_verified()
    return None


def _show_backup(
    deployment: Deployment, newest: Backup | None, before: Shown, instance: dg.DagsterInstance
) -> tuple[list[Event], Shown]:
    """A backup that was made without a run (by hand, by cron) is ours to report.

    Not in the tick that sees it first: a run that has just published one reports it by itself, a moment later.
    """
    if newest is None or newest.backup == before.backup:
        return [], before
    key = dg.AssetKey([deployment.name, "validated_dump"])
    if newest.backup == last_backup_of(instance, key):
        return [], replace(before, backup=newest.backup)
    if newest.backup != before.unreported:
        return [], replace(before, unreported=newest.backup)
    events: list[Event] = [dg.AssetMaterialization(asset_key=key, metadata=backup_metadata(newest))]
    if newest.manifest:
        what = f"{newest.backup} was read back when it was published, outside of Dagster."
        events.append(dg.AssetCheckEvaluation(asset_key=key, check_name="read_back", passed=True, description=what))
    return events, replace(before, backup=newest.backup)


def _show_restore(deployment: Deployment, before: Shown, instance: dg.DagsterInstance) -> tuple[list[Event], Shown]:
    """A restore that was made by the command line is ours to report; not in the tick that sees it first, as above."""
    done = newest_done(deployment)
    if done is None or done.restore == before.restore:
        return [], before
    after, key = replace(before, restore=done.restore), dg.AssetKey([deployment.name, "restored_deployment"])
    if done.restore == last_named(instance, key, "restore"):
        return [], after
    if done.restore != before.unreported_restore:
        return [], replace(before, unreported_restore=done.restore)
    return [dg.AssetMaterialization(asset_key=key, metadata=report_metadata(done))], after


def _worth_showing(seen: Look, before: Shown) -> bool:
    age = seen.at.timestamp() - before.at
    if _wrong(seen) != before.wrong or not 0 <= age < HEARTBEAT_SECONDS:
        return True
    if seen.census is None:
        return before.total is not None
    fell = any(seen.census.namespaces.get(name, 0) < count for name, count in (before.namespaces or {}).items())
    return fell or (seen.census.namespaces != before.namespaces and age >= GROWTH_SECONDS)


def _wrong(seen: Look) -> tuple[str, ...]:
    return tuple(sorted(f"{one.key} {one.kind}" for found in seen.findings.values() for one in found))


def _read_cursor(cursor: str | None) -> dict[str, Shown]:
    states: dict[str, Any] = json.loads(cursor) if cursor else {}
    return {name: Shown(**{**state, "wrong": tuple(state["wrong"])}) for name, state in states.items()}
