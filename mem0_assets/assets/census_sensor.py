"""The fleet's census: every deployment counted, judged and alarmed on every ten seconds, without a single run.

One sensor for the whole fleet: ten databases take 30 ms in threads, and ten sensors took five times the CPU. The
counts go to the UI as runless events: at once when something is wrong or right again, otherwise seldom, because every
event stays in the event log for ever (every tick of ten deployments would be 86,000 a day).
"""

import json
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from mem0_assets.alerts.watch import Look, deliver, look, observe, observe_delivery
from mem0_assets.assets.checks import count_evaluations
from mem0_assets.assets.metadata import backup_metadata, census_metadata
from mem0_assets.backups.catalog import Catalog
from mem0_assets.fleet import Fleet

# The daemon's loop is 5 s: asking for 9 gives a tick every 10 s, asking for 10 every 15.
INTERVAL = 9
CENSUS_SECONDS = 5.0
HEARTBEAT_SECONDS = 3600
GROWTH_SECONDS = 900
# A run that has published a backup reports it by itself, a moment later.
REPORTED_BY_RUN_SECONDS = 60

Event = dg.AssetMaterialization | dg.AssetObservation | dg.AssetCheckEvaluation


@dataclass(frozen=True)
class Shown:
    """What the UI was last shown of a deployment: when, the counts, what was wrong, and the newest backup."""

    at: float = 0.0
    total: int | None = None
    namespaces: dict[str, int] | None = None
    wrong: tuple[str, ...] = ()
    backup: str | None = None


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


def look_at_all(fleet: Fleet) -> Iterable[Look]:
    """A look at each deployment, at the same time; one that hangs costs its own time-out and nobody else's."""
    deployments = fleet.deployments.values()
    with ThreadPoolExecutor(max_workers=min(16, len(deployments))) as pool:
        yield from pool.map(lambda deployment: look(fleet, deployment, seconds=CENSUS_SECONDS), deployments)


def show(seen: Look, before: Shown, instance: dg.DagsterInstance) -> tuple[list[Event], Shown]:
    """The events that the UI should be given now, and what it was shown with them."""
    events: list[Event] = []
    newest = Catalog(seen.deployment).newest_verified()
    if newest and newest.backup != before.backup and _made_elsewhere(seen, newest.backup, newest.created_at, instance):
        key = [seen.deployment.name, "validated_dump"]
        events.append(dg.AssetMaterialization(asset_key=key, metadata=backup_metadata(newest)))
    known = newest.backup if newest else None
    if not _worth_showing(seen, before):
        return events, Shown(before.at, before.total, before.namespaces, before.wrong, known)
    if seen.census:
        key = [seen.deployment.name, "memory_counts"]
        metadata = census_metadata(seen.census, newest.namespaces if newest else {})
        events.append(dg.AssetMaterialization(asset_key=key, metadata=metadata))
        live = [seen.deployment.name, "memories"]
        events.append(dg.AssetObservation(asset_key=live, metadata={"dagster/row_count": seen.census.total}))
    events += count_evaluations(seen)
    total, namespaces = (seen.census.total, seen.census.namespaces) if seen.census else (None, None)
    return events, Shown(seen.at.timestamp(), total, namespaces, _wrong(seen), known)


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


def _made_elsewhere(seen: Look, backup: str, created_at: datetime, instance: dg.DagsterInstance) -> bool:
    """Whether this backup was made without a run (by hand, by cron): then its materialization is ours to report."""
    event = instance.get_latest_materialization_event(dg.AssetKey([seen.deployment.name, "validated_dump"]))
    made = event.asset_materialization if event else None
    if made and made.metadata["backup"].value == backup:
        return False
    return (datetime.now(UTC) - created_at).total_seconds() > REPORTED_BY_RUN_SECONDS


def _read_cursor(cursor: str | None) -> dict[str, Shown]:
    states: dict[str, Any] = json.loads(cursor) if cursor else {}
    return {name: Shown(**{**state, "wrong": tuple(state["wrong"])}) for name, state in states.items()}
