"""The fleet's health: every deployment's services and disks looked at every five minutes, without a single run.

A sensor of its own: a service that hangs takes ten seconds to say so, and the census must not wait for that. While
something is wrong it looks every half minute instead, so that a restart is no alert and an end is told soon.
"""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from mem0_assets.alerts.rules import judge_health
from mem0_assets.alerts.watch import observe
from mem0_assets.assets.health_checks import health_evaluations
from mem0_assets.fleet import Deployment, Fleet
from mem0_assets.live.health import Health, look_at_health

INTERVAL = 29  # The daemon's loop is 5 s: a tick every 30.
LOOK_SECONDS = 300.0
HEARTBEAT_SECONDS = 3600.0


@dataclass(frozen=True)
class Shown:
    """What the UI was last shown of a deployment's health: when, and the code of each check."""

    at: float = 0.0
    codes: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class State:
    """What one tick leaves to the next: when everything was looked at, and what was shown, by deployment."""

    looked_at: float = 0.0
    shown: dict[str, Shown] = field(default_factory=dict)

    def due(self, now: float) -> bool:
        """Whether to look: after five minutes, or at once where something was wrong or the clock was set back."""
        wrong = any(code != "ok" for shown in self.shown.values() for code in shown.codes.values())
        return wrong or not 0 <= now - self.looked_at < LOOK_SECONDS


def build_health_sensor(fleet: Fleet) -> dg.SensorDefinition:
    """The sensor `fleet_health`: on by default. What it finds to tell is delivered by the census."""

    @dg.sensor(
        name="fleet_health",
        minimum_interval_seconds=INTERVAL,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Looks at every deployment's server, databases, Grafana and disks every five minutes, "
        "and every half minute while something is wrong.",
    )
    def fleet_health(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        now, state = datetime.now(UTC).timestamp(), _read_cursor(context.cursor)
        if not state.due(now):
            skip = dg.SkipReason("All was well less than five minutes ago.")
            return dg.SensorResult(cursor=context.cursor, skip_reason=skip)
        events: list[dg.AssetCheckEvaluation] = []
        shown: dict[str, Shown] = {}
        for deployment, seen in look_at_all(fleet):
            observe(fleet, deployment, {"health": judge_health(seen, fleet.alerts.unreachable_seconds)})
            before = state.shown.get(deployment.name, Shown())
            new, shown[deployment.name] = show(deployment, seen, before, now)
            events += new
        nothing = None if events else dg.SkipReason("Looked at all; nothing new to show.")
        return dg.SensorResult(asset_events=events, cursor=json.dumps(asdict(State(now, shown))), skip_reason=nothing)

    return fleet_health


def look_at_all(fleet: Fleet) -> Iterator[tuple[Deployment, list[Health]]]:
    """The health of each deployment, all at the same time and each as soon as it is known."""
    with ThreadPoolExecutor(max_workers=min(16, len(fleet.deployments))) as pool:
        looks = {pool.submit(look_at_health, one): one for one in fleet.deployments.values()}
        for done in as_completed(looks):
            yield looks[done], done.result()


def show(
    deployment: Deployment, seen: list[Health], before: Shown, now: float
) -> tuple[list[dg.AssetCheckEvaluation], Shown]:
    """The events that the UI should be given now (events stay for ever), and what it was shown with them."""
    codes: dict[str, str] = {one.check: one.code for one in seen}
    if codes == before.codes and 0 <= now - before.at < HEARTBEAT_SECONDS:
        return [], before
    return health_evaluations(deployment, seen), Shown(now, codes)


def _read_cursor(cursor: str | None) -> State:
    if not cursor:
        return State()
    content: dict[str, Any] = json.loads(cursor)
    return State(content["looked_at"], {name: Shown(**shown) for name, shown in content["shown"].items()})
