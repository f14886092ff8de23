"""The backups of one deployment on disk: which there are, in which state, and how they move between states.

    candidates/ID   being written, or waiting for its verdict     -> `candidate`
    TIER/ID         published by one atomic rename, after a verdict -> `verified` (once drilled: also `drilled_at`)
    quarantine/ID   refused, with verdict.json                    -> `quarantined`

The folders are the truth; the journal adds what they cannot tell. One lock (flock: a killed holder lets go of it) is
held by whatever writes here.
"""

import fcntl
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO

from mem0_assets.backups.files import (
    BackupsFolderError,
    link_tree,
    move,
    plain_disk_errors,
    remove_tree,
    sync_folder,
    write_json,
)
from mem0_assets.backups.inventory import (
    ID_FORMAT,
    VERDICT,
    Backup,
    created_at,
    dated_folders,
    read_backup,
    read_reasons,
)
from mem0_assets.backups.journal import Journal
from mem0_assets.backups.manifest import MANIFEST, read_manifest
from mem0_assets.errors import BusyError, Mem0AssetsError, NotFoundError
from mem0_assets.fleet import TIERS, Deployment, Tier
from mem0_assets.verdicts import Reason, Verdict

CANDIDATES = "candidates"
QUARANTINE = "quarantine"
EXPIRED = ".expired"
LINKING = ".linking"
LOCK_SECONDS = 900.0
ABANDONED = timedelta(days=1)


class Catalog:
    """All that is known of one deployment's backups. Cheap to ask again: manifests are read once."""

    def __init__(self, deployment: Deployment) -> None:
        self.deployment = deployment
        self.root = deployment.backups
        self.journal = Journal(self.root)
        self.candidates_folder = self.root / CANDIDATES

    # What there is

    def backups(self) -> list[Backup]:
        """Every published and quarantined backup, the newest first; one that is kept in two tiers stands here once."""
        found = [*self._published(), *self._quarantined()]
        return sorted(found, key=lambda backup: (backup.sequence, backup.backup), reverse=True)

    def verified(self) -> list[Backup]:
        """The backups that count, the newest first."""
        return [backup for backup in self.backups() if backup.state == "verified"]

    def newest_verified(self) -> Backup | None:
        return next(iter(self.verified()), None)

    def find(self, backup: str) -> Backup:
        """The backup of this id, or the newest verified one for "latest". Raises NotFoundError."""
        wanted = self.newest_verified() if backup == "latest" else None
        wanted = wanted or next((one for one in self.backups() if one.backup == backup), None)
        if wanted is None:
            raise NotFoundError(
                f"{self.deployment.name} has no backup {backup}",
                next_step=f"See `mem0-assets backups {self.deployment.name}`",
            )
        return wanted

    def candidates(self) -> list[Path]:
        """Complete candidates that wait for their verdict, the newest first."""
        folders = dated_folders(self.candidates_folder)
        return sorted((folder for folder in folders if (folder / MANIFEST).exists()), reverse=True)

    def last_refusal(self) -> tuple[str, Verdict] | None:
        """When the newest attempt failed or was refused: its id (or time) and why. None where it was published."""
        newest = next(iter(self.backups()), None)
        failed = self.journal.last("attempt_failed", "published")
        if failed and failed["event"] == "attempt_failed" and (newest is None or failed["sequence"] > newest.sequence):
            return failed["at"], Verdict((Reason(failed["code"], failed["message"]),))
        if newest and newest.state == "quarantined":
            return newest.backup, Verdict(newest.reasons)
        return None

    def next_sequence(self) -> int:
        """One more than any attempt has had."""
        used = [backup.sequence for backup in self.backups()]
        used += [event["sequence"] for event in self.journal.events("attempt_failed", "published")]
        used += [read_backup(folder, None).sequence for folder in self.candidates()]
        return max(used, default=0) + 1

    # How it changes: each of these is called with the lock held

    @contextmanager
    def locked(self, *, seconds: float = LOCK_SECONDS) -> Iterator[None]:
        """Hold this deployment's backups alone; waits for another holder, then raises BusyError.

        Mends first what a killed holder left behind.
        """
        with plain_disk_errors(self.root):
            self._make_root()
            lock = open(self.root / ".lock", "a+")
        with lock:
            self._wait_for(lock, seconds)
            with plain_disk_errors(self.root):
                self._mend()
            yield

    def new_candidate(self, now: datetime) -> Path:
        """An empty folder in candidates/, named after this second, or the next one that is free."""
        moment = now
        while self._taken(moment.strftime(ID_FORMAT)):
            moment += timedelta(seconds=1)
        folder = self.candidates_folder / moment.strftime(ID_FORMAT)
        folder.mkdir(parents=True)
        return folder

    def publish(self, candidate: Path, tiers: Iterable[Tier]) -> Backup:
        """Make a candidate a verified backup of these tiers, by one atomic rename each; the longest-kept tier first.

        The intent is journalled before, so that a kill between two renames is finished by the next holder of the lock.
        """
        ordered = [tier for tier in reversed(TIERS) if tier in set(tiers)]
        backup, sequence = candidate.name, read_manifest(candidate).sequence
        self.journal.record("publishing", backup=backup, sequence=sequence, tiers=ordered)
        move(candidate, self.root / ordered[0] / backup)
        self._finish_publishing(backup, sequence, ordered)
        return self.find(backup)

    def quarantine(self, candidate: Path, verdict: Verdict) -> Backup:
        """Keep a refused candidate for a look, with the verdict that refused it. It never counts."""
        write_json(candidate / VERDICT, verdict.as_json())
        sync_folder(candidate)
        move(candidate, self.root / QUARANTINE / candidate.name)
        return self.find(candidate.name)

    def discard(self, candidate: Path) -> None:
        """Remove a candidate that is not worth a look: a part of a dump."""
        remove_tree(candidate)

    def attempt_failed(self, sequence: int, error: Mem0AssetsError) -> None:
        """Note an attempt that left no files. On a full disk even the note may fail: then only the error is left."""
        with suppress(OSError):
            self.journal.record("attempt_failed", sequence=sequence, code=error.code, message=error.message)

    def accept(self, backup: Backup, tiers: Iterable[Tier], *, by: str, reason: str) -> Backup:
        """A person's word that a quarantined backup is meant: it is published, and its verdict stays in the journal."""
        self.journal.record(
            "accepted", backup=backup.backup, by=by, reason=reason, reasons=[one.as_json() for one in backup.reasons]
        )
        return self.publish(backup.path, tiers)

    def expire(self, backup: Backup, tier: Tier) -> None:
        """Remove a backup from a tier: out of sight by one rename, then from the disk."""
        doomed = self.candidates_folder / f"{backup.backup}.{tier}{EXPIRED}"
        move(self.root / tier / backup.backup, doomed)
        remove_tree(doomed)

    # Inside

    def _published(self) -> Iterator[Backup]:
        tiers: dict[str, list[Tier]] = {}
        for tier in TIERS:
            for folder in dated_folders(self.root / tier):
                tiers.setdefault(folder.name, []).append(tier)
        drilled = {e["backup"]: e["at"] for e in self.journal.events("drill") if e["verdict"] == "ok"}
        examined = {e["backup"]: e for e in self.journal.events("examined")}
        for name, kept in tiers.items():
            backup = read_backup(self.root / kept[-1] / name, examined.get(name))
            at = drilled.get(name)
            yield replace(backup, tiers=tuple(kept), drilled_at=datetime.fromisoformat(at) if at else None)

    def _quarantined(self) -> Iterator[Backup]:
        for folder in dated_folders(self.root / QUARANTINE):
            reasons = read_reasons(folder / VERDICT)
            yield replace(read_backup(folder, None), state="quarantined", reasons=reasons)

    def _make_root(self) -> None:
        above = self.root.parent.parent
        if not above.is_dir():
            raise BackupsFolderError(
                f"{above} does not exist", next_step="Is the disk of the backups mounted? If it is new: mkdir -p it"
            )
        self.candidates_folder.mkdir(parents=True, exist_ok=True)

    def _wait_for(self, lock: IO[str], seconds: float) -> None:
        until = time.monotonic() + seconds
        while True:
            try:
                return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > until:
                    raise BusyError(
                        f"another backup, prune or drill of {self.deployment.name} is at work for {seconds:g} s",
                        next_step="Wait for it, or look for a process that hangs",
                    ) from None
                time.sleep(0.1)

    def _taken(self, name: str) -> bool:
        return any((self.root / folder / name).exists() for folder in (CANDIDATES, QUARANTINE, *TIERS))

    def _mend(self) -> None:
        """Finish or undo what a killed holder began. Nobody else writes now, so whatever is half done is dead."""
        begun = {e["backup"]: e for e in self.journal.events("publishing")}
        for event in self.journal.events("published"):
            begun.pop(event["backup"], None)
        for event in begun.values():
            if (self.root / event["tiers"][0] / event["backup"]).is_dir():
                self._finish_publishing(event["backup"], event["sequence"], event["tiers"])
        for leftover in [*self.candidates_folder.glob(f"*{EXPIRED}"), *self.candidates_folder.glob(f"*{LINKING}")]:
            remove_tree(leftover)
        for folder in dated_folders(self.candidates_folder):
            self._mend_candidate(folder)

    def _mend_candidate(self, folder: Path) -> None:
        if not (folder / MANIFEST).exists():
            remove_tree(folder)
        elif datetime.now(UTC) - created_at(folder) > ABANDONED:
            reason = Reason("interrupted", "its run ended before a verdict was reached")
            self.quarantine(folder, Verdict((reason,)))

    def _finish_publishing(self, backup: str, sequence: int, tiers: list[Tier]) -> None:
        first = self.root / tiers[0] / backup
        for tier in tiers[1:]:
            if not (self.root / tier / backup).exists():
                twin = self.candidates_folder / f"{backup}.{tier}{LINKING}"
                remove_tree(twin)
                link_tree(first, twin)
                move(twin, self.root / tier / backup)
        self.journal.record("published", backup=backup, sequence=sequence, tiers=tiers)
