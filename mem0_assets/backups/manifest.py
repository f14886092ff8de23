"""What a backup claims of itself, written in the dump's own snapshot, and the files that prove the claim.

The manifest and the dump are the same instant, so whoever reads the dump back may demand exact equality.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any, Literal, get_args

from pydantic import TypeAdapter, ValidationError

from mem0_assets.errors import Mem0AssetsError
from mem0_assets.fleet import Format, Tier
from mem0_assets.live.census import Census
from mem0_assets.live.history import HistoryCopy
from mem0_assets.live.indexes import Index
from mem0_assets.live.semantics import Found, Semantics

MANIFEST = "manifest.json"
# The folders of a backup: the memories' database is `postgres`, as the layout of before this project has it.
Store = Literal["postgres", "application", "roles", "history", "files", "roll"]

# What `Semantics.unknown` calls the changes since the last verified backup, where a roll could not be read.
CHANGES = "changes since the last backup"

CHECKSUMS = "SHA256SUMS"
RESTORE = "RESTORE.md"
FORMAT_VERSION = 1


class ManifestError(Mem0AssetsError):
    """A manifest that cannot be read: the backup's files may still be good, but nothing vouches for them."""

    code = "corrupt"


@dataclass(frozen=True)
class BackupFile:
    """One file of a backup: its path inside the folder, its bytes on disk, their sha256, and the bytes inside it.

    `statement` is the SQL that loads a file of rows (`COPY ... FROM STDIN`); None where the file is SQL itself.
    """

    path: str
    bytes: int
    sha256: str
    plain_bytes: int
    statement: str | None = None

    def as_json(self) -> dict[str, Any]:
        return dict(vars(self))


@dataclass(frozen=True)
class Application:
    """mem0's second database, as one snapshot right after the memories' held it: every table's rows, and its revision.

    `revision` is alembic's: mem0 upgrades the database when it starts, and a newer one is not read by an older mem0.
    """

    database: str
    owner: str | None
    tables: Mapping[str, int]
    revision: str | None


@dataclass(frozen=True)
class History:
    """mem0's history.db: what the copy holds, and `settled`, the newest row when the backup began.

    The rows up to `settled` must show in the memories' snapshot; those after it may or may not.
    """

    settled: int
    copy: HistoryCopy


@dataclass(frozen=True)
class Changes:
    """What the roll of the last verified backup says against this one's: of the memories that `both` hold, which have
    `changed` although mem0 does not say that it touched them since.
    """

    since: str
    both: int
    changed: Found


@dataclass(frozen=True)
class Roll:
    """The roll of the memories (roll.py), and what was compared; None where there was nothing to compare it with.

    `recipe` is what its digests are made by.
    """

    recipe: int
    changes: Changes | None


@dataclass(frozen=True)
class Manifest:
    """One backup's claim. `tables` maps every table of the database to its rows; `seconds` is what the dump took.

    `sequence` grows with every attempt: a clock that was set back cannot make an old backup the newest. `owner` is the
    role that the collection belongs to: a dump names no owners, and mem0 cannot read what belongs to somebody else.
    `files` stand in the order in which they are loaded, those of each store in the folder of its name. `masked` maps each of
    the deployment's own files to what is not in it, its secrets. `left_out` are the stores that fleet.yaml does not name.
    `semantics` is what a look into the rows saw, `roll` what their roll says, `newest_memory` when the latest of them was
    made; None in manifests of earlier versions, `roll` also where it could not be made.
    """

    backup: str
    deployment: str
    sequence: int
    tiers: tuple[Tier, ...]
    created_at: datetime
    census: Census
    tables: Mapping[str, int]
    indexes: tuple[Index, ...]
    format: Format
    program: str
    seconds: float
    files: tuple[BackupFile, ...]
    warnings: tuple[str, ...] = ()
    made_by: str = ""
    owner: str | None = None
    application: Application | None = None
    roles: tuple[str, ...] | None = None
    history: History | None = None
    masked: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    semantics: Semantics | None = None
    roll: Roll | None = None
    newest_memory: datetime | None = None

    @property
    def bytes(self) -> int:
        return sum(file.bytes for file in self.files)

    @property
    def plain_bytes(self) -> int:
        return sum(file.plain_bytes for file in self.files)

    def files_of(self, store: Store) -> tuple[BackupFile, ...]:
        """The files of one store, in their order."""
        return tuple(file for file in self.files if file.path.startswith(f"{store}/"))

    def as_json(self) -> dict[str, Any]:
        return {
            "format_version": FORMAT_VERSION,
            **vars(self),
            "tiers": list(self.tiers),
            "created_at": self.created_at.isoformat(),
            "census": self.census.as_json(),
            "tables": dict(self.tables),
            "indexes": [vars(index) for index in self.indexes],
            "files": [file.as_json() for file in self.files],
            "warnings": list(self.warnings),
            "application": vars(self.application) | {"tables": dict(self.application.tables)}
            if self.application
            else None,
            "roles": None if self.roles is None else list(self.roles),
            "history": {"settled": self.history.settled, "copy": self.history.copy.as_json()} if self.history else None,
            "masked": {name: list(secrets) for name, secrets in self.masked.items()},
            "left_out": list(self.left_out),
            "semantics": asdict(self.semantics) if self.semantics else None,
            "roll": asdict(self.roll) if self.roll else None,
            "newest_memory": self.newest_memory.isoformat() if self.newest_memory else None,
        }


_READER = TypeAdapter(Manifest)


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a backup's folder. Raises ManifestError where it is missing, damaged or of another version."""
    path = folder / MANIFEST
    try:
        content = path.read_bytes()
        _require_known_version(path, json.loads(content))
        manifest = _READER.validate_json(content, strict=True)
    except FileNotFoundError:
        raise ManifestError(f"{path} is missing") from None
    except ValidationError as error:
        wrong = error.errors(include_url=False, include_input=False)[0]
        key = ".".join(str(part) for part in wrong["loc"])
        raise ManifestError(f"{path} is damaged: {key}: {wrong['msg']}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise ManifestError(f"{path} is damaged: {type(error).__name__}: {error}") from None
    _require_sense(path, manifest)
    return manifest


def _require_known_version(path: Path, content: Any) -> None:
    version = content.get("format_version") if isinstance(content, dict) else None
    if version != FORMAT_VERSION:
        raise ManifestError(
            f"{path} has format_version {version!r}, not {FORMAT_VERSION}",
            next_step="It was written by another version of mem0-assets: read it with that one",
        )


def _require_sense(path: Path, manifest: Manifest) -> None:
    """What the types do not say, and everything after relies on."""
    moments = (manifest.created_at, manifest.census.taken_at)
    places = [PurePosixPath(file.path) for file in manifest.files]
    if any(moment.tzinfo is None for moment in moments):
        raise ManifestError(f"{path} is damaged: a time without its offset")
    if not manifest.tiers or not places:
        raise ManifestError(f"{path} is damaged: it names no {'file' if manifest.tiers else 'tier'}")
    if any(place.is_absolute() or ".." in place.parts for place in places):
        raise ManifestError(f"{path} is damaged: it names a file outside of its folder")
    claimed = {
        "application": manifest.application,
        "roles": manifest.roles,
        "history": manifest.history,
        "roll": manifest.roll,
    }
    for store in get_args(Store):
        if (store == "postgres" or claimed.get(store) is not None) and not manifest.files_of(store):
            raise ManifestError(f"{path} is damaged: it names no file of its {store}")


def checksums(files: Mapping[str, str]) -> str:
    """The text of SHA256SUMS, as `sha256sum -c` reads it. `files` maps a path inside the folder to its sha256."""
    return "".join(f"{digest}  {path}\n" for path, digest in files.items())
