"""Which backups are kept, and which may go: a pure plan, then its execution.

Counted over verified backups only. docker-postgres-backup-local replaces its daily, weekly and monthly copy with the
latest dump that exited 0: one empty dump destroys all three. Here the newest verified backup is never deleted, and
while the newest attempt was refused, or the newest drill failed, nothing is: the older ones may be all that is left.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from mem0_assets.backups.catalog import Catalog
from mem0_assets.backups.files import plain_disk_errors
from mem0_assets.backups.inventory import Backup, read_backup
from mem0_assets.fleet import TIERS, Retention, Tier
from mem0_assets.verdicts import Reason, Verdict

_PERIOD: dict[Tier, str] = {"hourly": "%Y-%m-%d %H", "daily": "%Y-%m-%d", "weekly": "%G week %V", "monthly": "%Y-%m"}


@dataclass(frozen=True)
class Decision:
    """What becomes of one backup in one tier, and why."""

    backup: Backup
    tier: Tier
    keep: bool
    why: str


@dataclass(frozen=True)
class Plan:
    """All decisions. `held` says why nothing may be deleted now; then nothing is expired."""

    decisions: tuple[Decision, ...]
    held: str | None

    @property
    def expired(self) -> list[Decision]:
        return [decision for decision in self.decisions if not decision.keep]

    def as_json(self) -> dict[str, Any]:
        """`{kept, expired, held, why}`; a backup that stays in one of its tiers stands under `kept`."""
        kept: dict[str, list[str]] = {}
        gone: dict[str, list[str]] = {}
        for decision in self.decisions:
            side = kept if decision.keep else gone
            side.setdefault(decision.backup.backup, []).append(f"{decision.tier}: {decision.why}")
        return {
            "kept": [{"backup": backup, "why": "; ".join(why)} for backup, why in kept.items()],
            "expired": [{"backup": b, "why": "; ".join(why)} for b, why in gone.items() if b not in kept],
            "held": self.held is not None,
            "why": self.held,
        }


def plan_retention(verified: Sequence[Backup], retention: Retention, held: str | None) -> Plan:
    """Decide for each verified backup (the newest first) in each of its tiers.

    A tier keeps its newest N backups, and beyond them the newest of each of its newest N periods: ten backups made by
    hand in one day must not push out the days before.
    """
    decisions: list[Decision] = []
    for tier in TIERS:
        members = [backup for backup in verified if tier in backup.tiers]
        keeps = _kept_in_tier(members, tier, retention.of(tier))
        for backup in members:
            why = keeps.get(backup.backup)
            if why is None and backup is verified[0]:
                why = "the newest verified backup is never deleted"
            if why is None and held:
                why = "nothing is deleted while the newest attempt or drill is refused"
            gone = f"beyond the {retention.of(tier)} that {tier} keeps"
            decisions.append(Decision(backup, tier, why is not None, why or gone))
    return Plan(tuple(decisions), held)


def prune(catalog: Catalog, *, dry_run: bool = False) -> Plan:
    """Plan, and (unless `dry_run`) expire. Call it with the catalog's lock held.

    Each expired backup leaves by one rename before its bytes are removed: a kill leaves it whole or gone.
    """
    plan = plan_retention(catalog.verified(), catalog.deployment.retention, why_held(catalog))
    if not dry_run:
        with plain_disk_errors(catalog.root):
            for decision in plan.expired:
                catalog.expire(decision.backup, decision.tier)
    return plan


def why_held(catalog: Catalog) -> str | None:
    """Why nothing may be deleted now: what became of the newest attempt, or of the newest drill. None where all is well."""
    refusal = catalog.last_refusal()
    if refusal:
        attempt, verdict = refusal
        return f"the newest attempt ({attempt}) was refused: {verdict.sentence()}"
    newest = catalog.newest_verified()
    for candidate in catalog.candidates()[:1]:
        if newest is None or read_backup(candidate, None).sequence > newest.sequence:
            return f"the newest attempt ({candidate.name}) waits for its verdict"
    drill = catalog.last_drill()
    if drill and drill["verdict"] != "ok":
        verdict = Verdict(tuple(Reason(**reason) for reason in drill["reasons"]))
        return f"the newest drill (of {drill['backup']}) failed: {verdict.sentence()}; one that succeeds lifts this"
    return None


def _kept_in_tier(members: Sequence[Backup], tier: Tier, count: int) -> dict[str, str]:
    keeps = {backup.backup: f"one of the newest {count}" for backup in members[:count]}
    newest_of: dict[str, Backup] = {}
    for backup in members:
        newest_of.setdefault(_period(backup.created_at, tier), backup)
    for period, backup in sorted(newest_of.items(), reverse=True)[:count]:
        keeps.setdefault(backup.backup, f"the newest of {period}")
    return keeps


def _period(moment: datetime, tier: Tier) -> str:
    return moment.strftime(_PERIOD[tier])
