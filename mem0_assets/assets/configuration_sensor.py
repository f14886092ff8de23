"""The fleet's configuration: every source of every deployment read every five minutes, and at once when a file changes.

A sensor of its own: a Docker or a server that hangs takes five seconds to say so, and neither the census nor the health
must wait for that. Asking is not free either (mem0 logs each request), but a look at the files' times is: so it ticks
every half minute, and reads when a file of the deployment was written to.
"""

import hashlib
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg

from mem0_assets.alerts.rules import Finding
from mem0_assets.alerts.watch import look_at_configuration, observe
from mem0_assets.assets.configuration_checks import configuration_events
from mem0_assets.errors import Mem0AssetsError
from mem0_assets.fleet import Deployment, Fleet
from mem0_assets.live.configuration import Configuration

INTERVAL = 29  # The daemon's loop is 5 s: a tick every 30.
READ_SECONDS = 300.0
HEARTBEAT_SECONDS = 86400.0

Event = dg.AssetObservation | dg.AssetCheckEvaluation
Seen = tuple[Configuration, list[Finding]]


@dataclass(frozen=True)
class Shown:
    """What the UI was last shown of a deployment: when, and a digest of it all."""

    at: float = 0.0
    digest: str = ""


@dataclass(frozen=True)
class State:
    """What one tick leaves to the next: when all was read, the files' times then, and what was shown, by deployment."""

    read_at: float = 0.0
    files: dict[str, str] = field(default_factory=dict)
    shown: dict[str, Shown] = field(default_factory=dict)


def build_configuration_sensor(fleet: Fleet) -> dg.SensorDefinition:
    """The sensor `fleet_configuration`: on by default. What it finds to tell is delivered by the census."""

    @dg.sensor(
        name="fleet_configuration",
        minimum_interval_seconds=INTERVAL,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Reads what every deployment is configured to every five minutes, and at once when one of its files "
        "changes; opens and closes the incidents of drift.",
    )
    def fleet_configuration(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        now, state = datetime.now(UTC).timestamp(), _read_cursor(context.cursor)
        files = {name: _times(one.stores.files) for name, one in fleet.deployments.items()}
        everything = not 0 <= now - state.read_at < READ_SECONDS
        due = [one for name, one in fleet.deployments.items() if everything or files[name] != state.files.get(name)]
        events: list[Event] = []
        shown, read = dict(state.shown), {**state.files}
        for deployment, seen in _look_at(due):
            read[deployment.name] = files[deployment.name]
            observe(fleet, deployment, {"configuration": seen[1]})
            new, shown[deployment.name] = _show(deployment, seen, shown.get(deployment.name, Shown()), now)
            events += new
        after = State(now if everything else state.read_at, read, shown)
        nothing = None if events else dg.SkipReason("Read all that was due; nothing new to show.")
        return dg.SensorResult(asset_events=events, cursor=json.dumps(asdict(after)), skip_reason=nothing)

    return fleet_configuration


def _look_at(due: list[Deployment]) -> Iterator[tuple[Deployment, Seen]]:
    """Each deployment's configuration as soon as it is known; one of which nothing was learnt is read at the next tick."""
    with ThreadPoolExecutor(max_workers=min(16, len(due) or 1)) as pool:
        looks = {pool.submit(_look, one): one for one in due}
        for done in as_completed(looks):
            if (seen := done.result()) is not None:
                yield looks[done], seen


def _look(deployment: Deployment) -> Seen | None:
    try:
        return look_at_configuration(deployment)
    except Mem0AssetsError:  # a backup runs, or the folder of the backups cannot be used, which the census tells
        return None


def _show(deployment: Deployment, seen: Seen, before: Shown, now: float) -> tuple[list[Event], Shown]:
    """The events that the UI should be given now (events stay for ever), and what it was shown with them."""
    found = [(finding.key, finding.what) for finding in seen[1]]
    digest = hashlib.sha256(json.dumps([seen[0].as_json(), found]).encode()).hexdigest()
    if digest == before.digest and 0 <= now - before.at < HEARTBEAT_SECONDS:
        return [], before
    return configuration_events(deployment, *seen), Shown(now, digest)


def _times(files: tuple[Path, ...]) -> str:
    """When each file was last written to, and how large it is: asked every half minute, and so not read."""
    return " ".join(_time(file) for file in files)


def _time(file: Path) -> str:
    try:
        found = file.stat()
    except OSError as error:
        return error.strerror or "away"
    return f"{found.st_mtime_ns}/{found.st_size}"


def _read_cursor(cursor: str | None) -> State:
    if not cursor:
        return State()
    content: dict[str, Any] = json.loads(cursor)
    shown = {name: Shown(**one) for name, one in content["shown"].items()}
    return State(content["read_at"], content["files"], shown)
