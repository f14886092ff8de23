"""One backup as it stands on disk: its folder read into a value, whoever wrote it and whatever became of it."""

import json
import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from mem0_assets.backups.journal import Event
from mem0_assets.backups.manifest import MANIFEST, Manifest, ManifestError, read_manifest
from mem0_assets.fleet import Tier
from mem0_assets.verdicts import Reason

State = Literal["candidate", "verified", "quarantined", "safety"]

VERDICT = "verdict.json"
ID_FORMAT = "%Y%m%d_%H%M%S"
_ID = re.compile(r"\d{8}_\d{6}")


@dataclass(frozen=True)
class Backup:
    """One backup as it stands on disk. `manifest` is None for a folder made before this project.

    `total`, `namespaces` and `dimensions` come from the manifest, or from an examination of a legacy folder's dump.
    """

    backup: str
    state: State
    path: Path
    tiers: tuple[Tier, ...]
    sequence: int
    created_at: datetime
    manifest: Manifest | None
    total: int | None
    namespaces: dict[str, int]
    dimensions: int | None
    bytes: int
    reasons: tuple[Reason, ...] = ()
    drilled_at: datetime | None = None

    def as_json(self) -> dict[str, Any]:
        return {
            "backup": self.backup,
            "tiers": list(self.tiers),
            "state": self.state,
            "total": self.total,
            "bytes": self.bytes,
            "created_at": self.created_at.isoformat(),
            "drilled_at": self.drilled_at.isoformat() if self.drilled_at else None,
            "path": str(self.path),
            "reasons": [reason.as_json() for reason in self.reasons],
        }


def dated_folders(parent: Path) -> list[Path]:
    """The dated folders in `parent`; none where it does not exist."""
    if not parent.is_dir():
        return []
    return [path for path in parent.iterdir() if _ID.fullmatch(path.name) and path.is_dir()]


def read_backup(folder: Path, examined: Event | None) -> Backup:
    """A backup's folder as it is; a legacy one as its last examination saw it."""
    try:
        version = tuple(stamp(folder / MANIFEST))
    except FileNotFoundError:
        return _read_legacy(folder, examined)
    try:
        manifest = _read_once(folder, version)
    except ManifestError as error:
        return _without_contents(folder, "quarantined", (Reason("corrupt", error.message),))
    return Backup(
        backup=folder.name,
        state="verified",
        path=folder,
        tiers=(),
        sequence=manifest.sequence,
        created_at=manifest.created_at,
        manifest=manifest,
        total=manifest.census.total,
        namespaces=manifest.census.namespaces,
        dimensions=manifest.census.identity.dimensions,
        bytes=manifest.bytes,
    )


@lru_cache(maxsize=4096)
def _read_once(folder: Path, version: tuple[int, ...]) -> Manifest:
    return read_manifest(folder)


def _read_legacy(folder: Path, examined: Event | None) -> Backup:
    """A folder made before this project: it counts only once its dump was read (see legacy.py), and read as it is now."""
    dump = legacy_dump(folder)
    if dump is None:
        return _without_contents(folder, "quarantined", (Reason("not_a_dump", "no manifest and no dump inside"),))
    try:
        now = stamp(dump)
    except FileNotFoundError:  # expired while it was being read
        return _without_contents(folder, "candidate", ())
    plain = replace(_without_contents(folder, "candidate", ()), bytes=now[0])
    if examined is None or examined["stamp"] != now:
        return plain
    return replace(
        plain,
        state="verified" if examined["verdict"] == "ok" else "quarantined",
        total=examined["total"],
        namespaces=examined["namespaces"],
        dimensions=examined["dimensions"],
        reasons=tuple(Reason(**reason) for reason in examined["reasons"]),
    )


def legacy_dump(folder: Path) -> Path | None:
    """The dump inside a legacy folder: `postgres/*.sql.gz` (or .sql, .sql.zst), or the same in the folder itself."""
    patterns = [f"{where}*.{kind}" for where in ("postgres/", "") for kind in ("sql.gz", "sql.zst", "sql", "dump")]
    return next((path for pattern in patterns for path in sorted(folder.glob(pattern)) if path.is_file()), None)


def stamp(path: Path) -> list[int]:
    """Size and time of a file: where they changed, an examination of it is worth nothing."""
    state = path.stat()
    return [state.st_size, state.st_mtime_ns]


def _without_contents(folder: Path, state: State, reasons: tuple[Reason, ...]) -> Backup:
    """What a folder's name alone tells: its time, by this machine's clock, as the old scripts named theirs."""
    try:
        created = datetime.strptime(folder.name, ID_FORMAT).astimezone()
    except ValueError:
        created = datetime.fromtimestamp(0, UTC)
    return Backup(folder.name, state, folder, (), 0, created, None, None, {}, None, 0, reasons)


def read_reasons(path: Path) -> tuple[Reason, ...]:
    try:
        return tuple(Reason(**reason) for reason in json.loads(path.read_text(encoding="utf-8"))["reasons"])
    except (OSError, ValueError, KeyError, TypeError):
        return (Reason("interrupted", f"{path.name} is missing or damaged"),)
