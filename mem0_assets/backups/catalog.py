"""The backups of one deployment on disk: which there are, in which state, and how they move between states.

    candidates/ID   being written, or waiting for its verdict     -> `candidate`
    TIER/ID         published by one atomic rename, after a verdict -> `verified` (once drilled: also `drilled_at`)
    quarantine/ID   refused, with verdict.json                    -> `quarantined`
    safety/ID       what a restore found in its way               -> `safety`: kept until a person lets it go, and never
                    the newest verified one, because it holds what somebody wanted to be rid of

The folders are the truth; the journal adds what they cannot tell. One lock (flock: a killed holder lets go of it) is
held by whatever writes here.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from mem0_assets.backups.files import (
    BackupsFolderError,
    link_tree,
    make_folder,
    move,
    plain_disk_errors,
    remove_tree,
    sync_folder,
    wait_for_lock,
    write_json,
)
from mem0_assets.backups.inventory import ID_FORMAT, VERDICT, Backup, dated_folders, read_backup, read_reasons
from mem0_assets.backups.journal import Event, Journal
from mem0_assets.backups.manifest import MANIFEST, read_manifest
from mem0_assets.errors import Mem0AssetsError, NotFoundError
from mem0_assets.fleet import TIERS, Deployment, Tier
from mem0_assets.verdicts import Reason, Verdict

CANDIDATES = "candidates"
QUARANTINE = "quarantine"
SAFETY = "safety"
# What stands in candidates/ under these endings is dead without its maker.
EXPIRED = ".expired"
LINKING = ".linking"
DISCARDED = ".discarded"
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
        """Every published and quarantined backup, the newest first; one that is kept in two tiers stands here once.

        Raises BackupsFolderError where the disk does not tell: what cannot be read is not nothing.
        """
        with plain_disk_errors(self.root):
            found = self._look()
            while not all(backup.path.is_dir() for backup in found):  # expired or accepted while it was being read
                found = self._look()
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
        """Complete candidates that wait for their verdict, the newest first, whatever the clock said."""
        folders = [folder for folder in dated_folders(self.candidates_folder) if (folder / MANIFEST).exists()]
        return sorted(folders, key=lambda folder: (read_backup(folder, None).sequence, folder.name), reverse=True)

    def last_refusal(self) -> tuple[str, Verdict] | None:
        """When the newest attempt failed or was refused: its id (or time) and why. None where it was published."""
        newest = next((backup for backup in self.backups() if backup.state != "safety"), None)
        failed = self.journal.last("attempt_failed")
        published = max((event["sequence"] for event in self.journal.events("published")), default=0)
        if failed and failed["sequence"] > max(newest.sequence if newest else 0, published):
            return failed["at"], Verdict((Reason(failed["code"], failed["message"]),))
        if newest and newest.state == "quarantined":
            return newest.backup, Verdict(newest.reasons)
        return None

    def last_drill(self) -> Event | None:
        """The newest drill of the newest backup that was drilled: one of an older backup says nothing of the newer."""
        return max(
            self.journal.events("drill"), key=lambda drill: (drill.get("sequence", 0), drill["at"]), default=None
        )

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
        busy = f"another backup or prune of {self.deployment.name} has been at work"
        with plain_disk_errors(self.root):
            self.make_root()
            lock = open(self.root / ".lock", "a+")  # noqa: SIM115 - closed below
        with lock:
            with plain_disk_errors(self.root):
                wait_for_lock(lock, seconds, busy)
                self._mend()
            yield

    def new_candidate(self, now: datetime) -> Path:
        """An empty folder in candidates/, named after this second, or the next one that no backup has ever had."""
        moment = now
        while self._taken(moment.strftime(ID_FORMAT)):
            moment += timedelta(seconds=1)
        folder = self.candidates_folder / moment.strftime(ID_FORMAT)
        folder.mkdir()
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

    def keep_safe(self, candidate: Path) -> Backup:
        """Keep a complete candidate as what was there before a restore. Retention never touches it."""
        move(candidate, self.root / SAFETY / candidate.name)
        return self.find(candidate.name)

    def let_go(self, backup: Backup) -> None:
        """Remove a safety backup, on a person's word: out of sight by one rename, then from the disk."""
        doomed = self.candidates_folder / f"{backup.backup}.{SAFETY}{EXPIRED}"
        move(self.root / SAFETY / backup.backup, doomed)
        remove_tree(doomed)

    def discard(self, candidate: Path) -> None:
        """Remove a candidate that is not worth a look: a part of a dump. What the disk will not let go waits for mending."""
        with suppress(OSError):
            doomed = candidate.with_name(f"{candidate.name}{DISCARDED}")
            move(candidate, doomed)
            remove_tree(doomed)

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

    def _look(self) -> list[Backup]:
        # Quarantine first: one that a person accepts at this very moment is seen twice rather than not at all.
        found = {backup.backup: backup for backup in (*self._quarantined(), *self._safe(), *self._published())}
        return list(found.values())

    def _published(self) -> Iterator[Backup]:
        tiers: dict[str, list[Tier]] = {}
        for tier in TIERS:
            for folder in dated_folders(self.root / tier):
                tiers.setdefault(folder.name, []).append(tier)
        last_drill = {event["backup"]: event for event in self.journal.events("drill")}
        drilled = {name: event["at"] for name, event in last_drill.items() if event["verdict"] == "ok"}
        examined = {event["backup"]: event for event in self.journal.events("examined")}
        for name, kept in tiers.items():
            backup, at = read_backup(self.root / kept[-1] / name, examined.get(name)), drilled.get(name)
            yield replace(backup, tiers=tuple(kept), drilled_at=datetime.fromisoformat(at) if at else None)

    def _quarantined(self) -> Iterator[Backup]:
        for folder in dated_folders(self.root / QUARANTINE):
            reasons = read_reasons(folder / VERDICT)
            yield replace(read_backup(folder, None), state="quarantined", reasons=reasons)

    def _safe(self) -> Iterator[Backup]:
        for folder in dated_folders(self.root / SAFETY):
            yield replace(read_backup(folder, None), state="safety")

    def make_root(self) -> None:
        """The deployment's folder, unless its disk is not there. Raises BackupsFolderError, OSError."""
        above = self.root.parent.parent
        if not above.is_dir():
            raise BackupsFolderError(
                f"{above} does not exist", next_step="Is the disk of the backups mounted? If it is new: mkdir -p it"
            )
        make_folder(self.candidates_folder)

    def _taken(self, name: str) -> bool:
        """Whether any backup has, or had, this id: the journal's drills and words must not become another's."""
        known = any(event.get("backup") == name for event in self.journal.events())
        return known or any((self.root / folder / name).exists() for folder in (CANDIDATES, QUARANTINE, SAFETY, *TIERS))

    def _mend(self) -> None:
        """Finish or undo what a killed holder began. Nobody else writes now, so whatever is half done is dead."""
        begun = {}
        for event in self.journal.events("publishing", "published"):
            begun[event["backup"]] = event
        for event in begun.values():
            if event["event"] == "publishing" and (self.root / event["tiers"][0] / event["backup"]).is_dir():
                self._finish_publishing(event["backup"], event["sequence"], event["tiers"])
        for ending in (EXPIRED, LINKING, DISCARDED):
            for leftover in self.candidates_folder.glob(f"*{ending}"):
                remove_tree(leftover)
        for folder in dated_folders(self.candidates_folder):
            self._mend_candidate(folder)

    def _mend_candidate(self, folder: Path) -> None:
        if not (folder / MANIFEST).exists():
            remove_tree(folder)
        elif (folder / VERDICT).exists():
            move(folder, self.root / QUARANTINE / folder.name)
        elif abs(datetime.now(UTC) - read_backup(folder, None).created_at) > ABANDONED:
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
