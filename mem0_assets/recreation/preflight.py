"""Before containers are recreated: a fresh verified backup, and whether the next start would find the same data.

On 10 January 2026 `docker compose up` started what `.env` said by then: another database, another role, another embedder.
All of it could have been seen the minute before. So what runs is held against what the files on disk would start, and it
is a no-go with reasons, or a go.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from mem0_assets.backups.accepted_configuration import configuration_now, drift
from mem0_assets.backups.backup import Outcome, make_backup
from mem0_assets.backups.catalog import Catalog
from mem0_assets.backups.files import plain_disk_errors
from mem0_assets.backups.legacy import Tell
from mem0_assets.errors import Mem0AssetsError, UnreachableError
from mem0_assets.fleet import Deployment
from mem0_assets.live.configuration import SOURCES, Configuration
from mem0_assets.live.drift import ON_DISK, Difference, container_of
from mem0_assets.live.places import ANONYMOUS, NOWHERE
from mem0_assets.live.settings import MEANINGS, Setting
from mem0_assets.recreation.sight import Containers, Ground, Sight, Volume, look_at_containers

# What makes the next start a no-go where it differs; all else is a note.
NO_GO: dict[Setting, str] = {
    "database": "database_differs",
    "user": "user_differs",
    "password": "password_differs",
    "host": "host_differs",
    "port": "port_differs",
    "collection": "collection_differs",
    "data_place": "data_place_differs",
    "history_path": "history_place_differs",
    "history_place": "history_place_differs",
    "embedder_dimensions": "dimensions_differ",
    "embedder_model": "model_differs",
    "embedder_provider": "model_differs",
}
PUT_BACK = "Put the old value back into the files; where it is meant: mem0-assets accept {name} --configuration"
NO_PLACE = {ANONYMOUS: "anonymous", NOWHERE: "unmounted"}
_MAJOR = re.compile(r":(?:pg)?(\d{2})(?:\D|$)|:\S*?pg(\d{2})(?:\D|$)")


@dataclass(frozen=True)
class Preflight:
    """The verdict and what it rests on. `reached` is False where all that speaks against it is that nothing answered."""

    reasons: tuple[Ground, ...]
    notes: tuple[str, ...]
    backup: str | None
    sight: Sight
    compared: tuple[dict[str, Any], ...]
    reached: bool = True

    @property
    def go(self) -> bool:
        return not self.reasons

    def as_json(self) -> dict[str, Any]:
        return {
            "go": self.go,
            "reasons": [reason.as_json() for reason in self.reasons],
            "notes": list(self.notes),
            "backup": self.backup,
            "volumes": [volume.as_json() for volume in self.sight.volumes],
            "compared": list(self.compared),
        }


def preflight(deployment: Deployment, tell: Tell = lambda what: None) -> Preflight:
    """Back up, look, compare, and keep what was seen for `postflight`. Writes nothing but the backup and the journal.

    Raises BackupsFolderError, NoSpaceError, BusyError where even that cannot be done.
    """
    catalog = Catalog(deployment)
    tell("reading the configuration")
    now = configuration_now(catalog)
    found = drift(catalog, now)
    containers = look_at_containers(deployment)
    outcome, failed = _backed_up(deployment, tell)
    reasons = [*failed, *judge(deployment, now, found, containers)]
    result = Preflight(
        reasons=tuple(dict.fromkeys(reasons)),
        notes=tuple(notes(deployment, now, found, containers, outcome)),
        backup=outcome.backup.backup if outcome else None,
        sight=_sight(now, containers, outcome),
        compared=tuple(_compared(now, found)),
        reached=not (failed and len(reasons) == 1 and failed[0].code == UnreachableError.code),
    )
    with catalog.locked(), plain_disk_errors(catalog.root):
        catalog.journal.record(
            "preflight",
            go=result.go,
            reasons=[reason.as_json() for reason in result.reasons],
            backup=result.backup,
            saw=result.sight.as_json(),
        )
    return result


def _backed_up(deployment: Deployment, tell: Tell) -> tuple[Outcome | None, list[Ground]]:
    """A fresh backup, or why there is none that counts."""
    try:
        outcome = make_backup(deployment, tell=tell)
    except Mem0AssetsError as error:
        return None, [Ground(error.code, f"no backup could be made: {error.message}", error.next_step)]
    if outcome.verdict.ok:
        return outcome, []
    what = f"the backup {outcome.backup.backup} was refused: {outcome.verdict.sentence()}"
    return outcome, [Ground("backup_refused", what, f"mem0-assets backups {deployment.name}")]


def _sight(now: Configuration, containers: Containers, outcome: Outcome | None) -> Sight:
    manifest = outcome.backup.manifest if outcome else None
    return Sight(
        total=manifest.census.total if manifest else None,
        namespaces=manifest.census.namespaces if manifest else {},
        identity=manifest.census.identity if manifest else None,
        history_row=manifest.history.copy.newest_row if manifest and manifest.history else None,
        volumes=containers.volumes,
        configuration=now,
    )


# The verdict: pure


def judge(
    deployment: Deployment, now: Configuration, found: list[Difference], containers: Containers
) -> Iterator[Ground]:
    """Everything that speaks against recreating the containers."""
    blind = "files" not in now.said and not containers.volumes and not _containers_said(now)
    if blind:
        step = "Name `containers` and `stores.files` in fleet.yaml, and run this where Docker is"
        yield Ground("nothing_seen", "neither a container nor a file of the next start could be seen", step)
    if deployment.stores.files and "files" not in now.said:
        what = f"what the files on disk would start is not known: {now.unknown.get('files')}"
        yield Ground("files_unreadable", what, "docker compose config --quiet")
    for one in found:
        yield from _of_difference(deployment, now, one)
    for volume in containers.volumes:
        yield from _of_volume(volume)
    yield from _of_major(now)


def _containers_said(now: Configuration) -> bool:
    return "server_container" in now.said or "postgres_container" in now.said


def _of_difference(deployment: Deployment, now: Configuration, one: Difference) -> Iterator[Ground]:
    step = PUT_BACK.format(name=deployment.name)
    match one.kind:
        case "next_start_differs":
            if one.setting in NO_GO:
                yield Ground(NO_GO[one.setting], one.sentence(), step)
        case "not_guarded":
            yield Ground("not_guarded", one.sentence(), "Correct fleet.yaml or mem0, and run preflight again")
        case "embedder_mismatch":
            if now.of("files", "embedder_dimensions") != one.before or one.source in ("server", "settings"):
                yield Ground("dimensions_differ", one.sentence(), "Go back to the model that made the memories")
        case "configuration_changed":
            return  # it runs already, and is told by its own alert


def _of_volume(volume: Volume) -> Iterator[Ground]:
    if volume.holds and (how := NO_PLACE.get(volume.place)):
        what = "PostgreSQL's data" if volume.holds == "data" else "history.db"
        copy = "Restore the backup into a container with a named volume" if volume.holds == "data" else "Copy it out"
        message = f"{what} of {volume.container} ({volume.target}) is in {volume.place}: a new container has none of it"
        yield Ground(f"{volume.holds}_{how}", message, f"{copy}: see docs/recreation.md")


def _of_major(now: Configuration) -> Iterator[Ground]:
    """PostgreSQL does not read the data of another major version: the container starts, and stops at once."""
    version, image = now.of("database", "server_version") or "", now.of("files", "postgres_image") or ""
    tag = _MAJOR.search(image.rpartition("/")[2].partition("@")[0])  # a registry's port and a digest have colons, too
    major = (tag[1] or tag[2]) if tag else None
    if version and major and version.partition(".")[0].split()[0] != major:
        what = f"the data are of PostgreSQL {version}, and the next start would use {image}"
        yield Ground(
            "postgres_major_differs", what, "Keep the major version; to move, restore a backup into a new volume"
        )


def notes(
    deployment: Deployment, now: Configuration, found: list[Difference], containers: Containers, outcome: Outcome | None
) -> Iterator[str]:
    """What a person should know, and what could not be seen."""
    for one in found:
        if one.kind == "configuration_changed" or (one.kind == "next_start_differs" and one.setting not in NO_GO):
            yield one.sentence()
    for source, why in now.unknown.items():
        yield f"not seen: {SOURCES[source]}: {why}"
    for why in containers.unseen:
        yield f"not seen: containers: {why}"
    for name in containers.stopped:
        yield f"{name} does not run"
    if deployment.stores.left_out:
        yield f"the backup does not hold: {', '.join(deployment.stores.left_out)}"
    if outcome:
        yield from outcome.cautions


def _compared(now: Configuration, found: list[Difference]) -> Iterator[dict[str, Any]]:
    """What runs beside what the next start would use, for each setting of which both are known."""
    differing = {one.setting for one in found if one.kind == "next_start_differs"}
    for setting in ON_DISK:
        runs = now.in_force(setting)
        runs_value = runs[0] if runs else now.of(container_of(setting), setting) or now.of("fleet", setting)
        later = now.of("settings", setting) or now.of("files", setting)
        if runs_value is not None and later is not None:
            yield {
                "setting": setting,
                "what": MEANINGS[setting],
                "runs": runs_value,
                "next": later,
                "same": setting not in differing,
            }
