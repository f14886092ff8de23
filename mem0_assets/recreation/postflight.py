"""After containers were recreated: whether all that preflight saw is still there, and is found.

A server that answers proves nothing: in January 2026 it answered for 17 days, from an empty database.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from mem0_assets.backups.accepted_configuration import configuration_now
from mem0_assets.backups.catalog import Catalog
from mem0_assets.backups.files import plain_disk_errors
from mem0_assets.errors import Mem0AssetsError, NotFoundError
from mem0_assets.fleet import Deployment
from mem0_assets.live.census import Census, take_census
from mem0_assets.live.configuration import Configuration
from mem0_assets.live.drift import changed
from mem0_assets.live.health import check_server
from mem0_assets.live.history import newest_row
from mem0_assets.live.served import not_served, one_of_each
from mem0_assets.recreation.preflight import NO_GO
from mem0_assets.recreation.sight import Containers, Ground, Sight, look_at_containers

Seen = TypeVar("Seen")
LOSS = "Stop what writes, recreate nothing more, and see docs/recreation.md: the way back"


@dataclass(frozen=True)
class Postflight:
    """The verdict, with the backup that preflight made. `reached`: whether anything at all could be learnt."""

    reasons: tuple[Ground, ...]
    notes: tuple[str, ...]
    preflight_at: str
    backup: str | None
    total: int | None

    @property
    def ok(self) -> bool:
        return not self.reasons

    @property
    def reached(self) -> bool:
        return self.total is not None or any(reason.code != "unreachable" for reason in self.reasons)

    def as_json(self) -> dict[str, Any]:
        return {
            "verdict": "ok" if self.ok else "refused",
            "reasons": [reason.as_json() for reason in self.reasons],
            "notes": list(self.notes),
            "preflight_at": self.preflight_at,
            "backup": self.backup,
            "total": self.total,
        }


def postflight(deployment: Deployment) -> Postflight:
    """Compare what is there with what the last preflight saw, and keep the verdict.

    Raises NotFoundError where there was no preflight, BackupsFolderError, NoSpaceError, BusyError.
    """
    catalog = Catalog(deployment)
    event = catalog.journal.last("preflight")
    if event is None:
        raise NotFoundError(
            f"no preflight of {deployment.name} was ever made: there is nothing to compare with",
            next_step="mem0-assets counts, and mem0-assets backups, show what there is",
        )
    before = Sight.from_json(event["saw"])
    now, containers = configuration_now(catalog), look_at_containers(deployment)
    reasons: list[Ground] = []
    notes: list[str] = [] if event["go"] else ["the preflight before this was a no-go"]
    census = _tried(reasons, lambda: take_census(deployment.postgres))
    if census:
        reasons += judge_census(before, census)
    reasons += judge_containers(before, containers)
    reasons += judge_settings(before.configuration, now, planned=event["go"])
    _tried(reasons, lambda: reasons.extend(_history(deployment, before)))
    _server(deployment, census, reasons, notes)
    notes += [f"not seen: containers: {why}" for why in containers.unseen]
    total = census.total if census else None
    result = Postflight(tuple(dict.fromkeys(reasons)), tuple(notes), event["at"], event.get("backup"), total)
    with catalog.locked(), plain_disk_errors(catalog.root):
        catalog.journal.record("postflight", **result.as_json())
    return result


def _tried(reasons: list[Ground], look: Callable[[], Seen]) -> Seen | None:
    """What was seen; where it could not be, that is a reason of its own."""
    try:
        return look()
    except Mem0AssetsError as error:
        reasons.append(Ground(error.code, error.message, error.next_step or LOSS))
        return None


def judge_census(before: Sight, census: Census) -> Iterator[Ground]:
    """The same cluster, database and table, and in each namespace at least what was there. Pure."""
    if before.identity:
        changes = census.identity.changes_from(before.identity)
        old, new = before.identity.dimensions, census.identity.dimensions
        if old and new and old != new:
            changes.append(f"the vectors' dimensions changed from {old} to {new}")
        if changes:
            yield Ground("identity_changed", f"this is another database: {'; '.join(changes)}", LOSS)
    for name, count in before.namespaces.items():
        left = census.namespaces.get(name, 0)
        if left < count:
            code = "shrunk" if left else "namespace_vanished"
            yield Ground(code, f"the namespace {name} had {count} memories, and has {left}", LOSS)


def judge_containers(before: Sight, now: Containers) -> Iterator[Ground]:
    """The same volumes behind the data and the history, and every container runs. Pure."""
    places: dict[tuple[str, str], str] = {
        (volume.container, volume.holds): volume.place for volume in now.volumes if volume.holds
    }
    for volume in before.volumes:
        place = places.get((volume.container, volume.holds))
        if volume.holds and place is not None and place != volume.place:
            what = "PostgreSQL's data" if volume.holds == "data" else "history.db"
            message = f"{what} of {volume.container} was in {volume.place}, and is in {place}"
            yield Ground("volume_changed", message, LOSS)
    seen = {volume.container for volume in now.volumes}
    for name in sorted({volume.container for volume in before.volumes} - seen):
        yield Ground("container_missing", f"the container {name} was there, and is not seen now", "docker ps -a")
    for name in now.stopped:
        yield Ground("container_stopped", f"the container {name} does not run", f"docker logs {name} --tail 50")


def judge_settings(before: Configuration, now: Configuration, *, planned: bool) -> Iterator[Ground]:
    """What runs is what ran or, after a go (`planned`), what the files said that it would be. Pure."""
    for setting in NO_GO:
        one = changed(now, before, setting)
        if one and not (planned and one.after == before.of("files", setting)):
            yield Ground("configuration_changed", one.sentence(), LOSS)


def _history(deployment: Deployment, before: Sight) -> Iterator[Ground]:
    path = deployment.stores.history
    if path is None or before.history_row is None:
        return
    row = newest_row(path)
    if row < before.history_row:
        message = f"{path} had {before.history_row} events, and has {row}"
        yield Ground("history_emptied", message, "Stop mem0, and copy history.db back from the backup's history/")


def _server(deployment: Deployment, census: Census | None, reasons: list[Ground], notes: list[str]) -> None:
    """The server answers, and gives back a memory of each namespace."""
    health = deployment.health
    if health.server_url is None:
        notes.append("not seen: mem0's server: fleet.yaml names no health.server_url")
        return
    seen = check_server(health.server_url, health)
    if not seen.ok:
        reasons.append(Ground(seen.code, seen.sentence, seen.next_step))
    elif census and (ids := _tried(reasons, lambda: one_of_each(deployment.postgres))):
        _served(deployment, ids, reasons, notes)


def _served(deployment: Deployment, ids: Mapping[str, str], reasons: list[Ground], notes: list[str]) -> None:
    try:
        missing = not_served(deployment.health, ids)
    except Mem0AssetsError as error:
        notes.append(f"not seen: a memory of each namespace through the server: {error}")
        return
    if missing:
        message = f"the server does not give back a memory of {', '.join(missing)}: it looks into another database"
        reasons.append(Ground("memory_not_found", message, LOSS))
