"""From a live deployment to a proven backup: capture, judge, read back, publish or quarantine.

Dagster runs the steps as assets; the command line runs them in one go. Either way a backup is published only here, and
never without a verdict of its own: a blocking check gates only inside one run, and a click in the UI is never gated.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mem0_assets.backups.capture import capture
from mem0_assets.backups.catalog import Catalog
from mem0_assets.backups.claims import Standard, cautions, judge_claims
from mem0_assets.backups.files import plain_disk_errors
from mem0_assets.backups.formats.source import Progress
from mem0_assets.backups.inventory import Backup
from mem0_assets.backups.legacy import Tell, examine_legacy
from mem0_assets.backups.manifest import Manifest, ManifestError, read_manifest
from mem0_assets.backups.validation import verify_files
from mem0_assets.errors import Mem0AssetsError, RefusedError
from mem0_assets.fleet import Deployment, Tier
from mem0_assets.live.census import CENSUS_SECONDS, take_census
from mem0_assets.live.identity import Identity
from mem0_assets.live.writes import missing_writes
from mem0_assets.timetable import due_tiers
from mem0_assets.verdicts import ACCEPTABLE, Verdict, refused

# A backup made by hand, when no tier is due, is kept as a daily one.
BY_HAND: Tier = "daily"


@dataclass(frozen=True)
class Outcome:
    """What became of one attempt: the backup as it now stands on disk, its verdict, and what a person should know."""

    backup: Backup
    verdict: Verdict
    cautions: tuple[str, ...]
    seconds: float

    @property
    def may_be_meant(self) -> bool:
        """Whether it is worth a hint that a person may accept it: refused, not damaged, and not for being empty."""
        codes = {reason.code for reason in self.verdict.reasons}
        return bool(codes) and codes <= ACCEPTABLE and "empty" not in codes

    def as_json(self) -> dict[str, Any]:
        return {
            "backup": self.backup.backup,
            "path": str(self.backup.path),
            "state": self.backup.state,
            "tiers": list(self.backup.tiers),
            "total": self.backup.total,
            "namespaces": self.backup.namespaces,
            "bytes": self.backup.bytes,
            "seconds": self.seconds,
            "reasons": [reason.as_json() for reason in self.verdict.reasons],
            "cautions": list(self.cautions),
        }


def make_backup(
    deployment: Deployment,
    tiers: Iterable[Tier] = (),
    *,
    progress: Progress = lambda plain_bytes: None,
    tell: Tell = lambda what: None,
) -> Outcome:
    """One whole backup with its verdict; without `tiers`, of those that are due.

    Raises what `capture` raises: then there is no backup, and the attempt is in the journal.
    """
    catalog = Catalog(deployment)
    started = time.monotonic()
    with catalog.locked():
        examine_legacy(catalog, tell)
        candidate = capture(deployment, catalog, tiers_of(catalog, tiers), progress=progress)
        tell("reading it back")
        outcome = prove(catalog, candidate)
    return replace(outcome, seconds=round(time.monotonic() - started, 3))


def prove(catalog: Catalog, candidate: Path) -> Outcome:
    """Judge a candidate by all that it claims and all that is read back from disk; publish or quarantine it.

    Call it with the catalog's lock held. Raises UnreachableError, NoSpaceError or BackupsFolderError where the disk lets
    it do neither: the candidate stays, and the failed attempt is in the journal.
    """
    try:
        manifest = read_manifest(candidate)
    except ManifestError as error:
        # Its sequence is lost with it: without this note the newest attempt would look like a good one.
        catalog.attempt_failed(catalog.next_sequence(), error)
        verdict = refused("corrupt", error.message)
        with plain_disk_errors(catalog.root):
            return Outcome(catalog.quarantine(candidate, verdict), verdict, (), 0.0)
    try:
        with plain_disk_errors(catalog.root):
            return _judge(catalog, candidate, manifest)
    except Mem0AssetsError as error:
        catalog.attempt_failed(manifest.sequence, error)
        raise


def _judge(catalog: Catalog, candidate: Path, manifest: Manifest) -> Outcome:
    standard = standard_of(catalog)
    verdict = judge_claims(manifest, standard) + verify_files(candidate).verdict
    notes = tuple(cautions(manifest, standard))
    backup = catalog.publish(candidate, manifest.tiers) if verdict.ok else catalog.quarantine(candidate, verdict)
    return Outcome(backup, verdict, notes, manifest.seconds)


def standard_of(catalog: Catalog, *, before: int | None = None) -> Standard:
    """What the next backup (or the one whose sequence is `before`) is held against."""
    verified = [backup for backup in catalog.verified() if before is None or backup.sequence < before]
    newest = verified[0] if verified else None
    return Standard(catalog.deployment.limits, newest, _accepted_identity(catalog, verified))


def _accepted_identity(catalog: Catalog, verified: list[Backup]) -> Identity | None:
    """The identity that is believed: the last one a person accepted, or of a verified backup; whichever came later."""
    newest = next((backup for backup in verified if backup.manifest), None)
    accepted = catalog.journal.last("identity_accepted")
    if accepted and (newest is None or accepted["sequence"] >= newest.sequence):
        return Identity.from_json(accepted["identity"])
    return newest.manifest.census.identity if newest and newest.manifest else None


def accept_backup(catalog: Catalog, backup: str, *, by: str, reason: str) -> Backup:
    """A person's word that a quarantined backup is meant. Raises RefusedError where its files are damaged.

    The files are read again: no word makes a damaged dump restorable.
    """
    with catalog.locked(), plain_disk_errors(catalog.root):
        chosen = catalog.find(backup)
        if chosen.state != "quarantined":
            raise RefusedError(f"{chosen.backup} is {chosen.state}: there is nothing to accept")
        if chosen.manifest is None:
            raise RefusedError(
                f"{chosen.backup} cannot be accepted: nothing vouches for it ({Verdict(chosen.reasons).sentence()})",
                next_step="Make a new backup",
            )
        reasons = Verdict(chosen.reasons) + verify_files(chosen.path).verdict
        damaged = Verdict(tuple(one for one in reasons.reasons if one.code not in ACCEPTABLE))
        if not damaged.ok:
            raise RefusedError(
                f"{chosen.backup} cannot be accepted: {damaged.sentence()}", next_step="Make a new backup"
            )
        return catalog.accept(chosen, chosen.manifest.tiers, by=by, reason=reason)


def accept_identity(catalog: Catalog, *, by: str, reason: str) -> Identity:
    """A person's word that the live database is meant to be this one. Raises UnreachableError, TableMissingError."""
    identity = take_census(catalog.deployment.postgres).identity
    with catalog.locked(), plain_disk_errors(catalog.root):
        newest = catalog.newest_verified()
        catalog.journal.record(
            "identity_accepted",
            identity=identity.as_json(),
            sequence=newest.sequence if newest else 0,
            by=by,
            reason=reason,
        )
    return identity


def accept_history(catalog: Catalog, *, by: str, reason: str) -> int:
    """A person's word that memories which mem0's history knows, and the collection has not, are meant to be gone; how many.

    Those that the last drill missed, and those that are missing live, by their ids: what is lost later is told. The next
    drill, and the next look, are the first to know it. Raises RefusedError where none is missing, and UnreachableError.
    """
    missing = missing_writes(catalog.deployment, seconds=CENSUS_SECONDS)
    with catalog.locked(), plain_disk_errors(catalog.root):
        last, known = catalog.last_drill(), accepted_losses(catalog)
        lost = [one for one in dict.fromkeys([*(last.get("lost", []) if last else []), *missing]) if one not in known]
        if not lost:
            raise RefusedError("no memory is missing by the history, live or in the last drill: nothing to accept")
        catalog.journal.record("history_accepted", memories=lost, by=by, reason=reason)
    return len(lost)


def accepted_losses(catalog: Catalog) -> set[str]:
    """The ids of the memories of which a person said that they are meant to be gone, whatever mem0's history says."""
    return {memory for word in catalog.journal.events("history_accepted") for memory in word["memories"]}


def tiers_of(catalog: Catalog, wanted: Iterable[Tier]) -> list[Tier]:
    """The tiers of a backup made now: those asked for, else those that are due, else BY_HAND."""
    newest: dict[Tier, datetime] = {}
    for backup in reversed(catalog.verified()):
        newest.update(dict.fromkeys(backup.tiers, backup.created_at))
    schedule = catalog.deployment.schedule
    return list(wanted) or due_tiers(schedule, newest, datetime.now(UTC)) or [BY_HAND]
