"""Pure rules on what a backup claims to hold: enough, not shrunk, and of the same database as before.

No file is touched here. These are the rules that would have refused all 17 nights of the incident.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from mem0_assets.backups.content_rules import judge_content, refusals, warnings
from mem0_assets.backups.history_claims import judge_growth
from mem0_assets.backups.inventory import Backup
from mem0_assets.backups.manifest import Manifest
from mem0_assets.fleet import Limits
from mem0_assets.live.identity import Identity
from mem0_assets.verdicts import OK, Reason, ReasonCode, Verdict, refused

# What a person set up once: without it nobody can log in, and no assistant has a key.
KEPT_TABLES = ("users", "api_keys", "settings")


@dataclass(frozen=True)
class Standard:
    """What a new backup is held against: the fleet's limits, the last verified backup, the identity that was accepted."""

    limits: Limits
    previous: Backup | None = None
    identity: Identity | None = None

    @property
    def manifest(self) -> Manifest | None:
        """What the last verified backup claims; None where there is none, or nothing vouches for it."""
        return self.previous.manifest if self.previous else None


def judge_claims(manifest: Manifest, standard: Standard) -> Verdict:
    """Everything that a manifest alone can be refused for."""
    census = manifest.census
    return (
        judge_rows(census.total, standard.limits)
        + judge_shrinkage(census.total, census.namespaces, standard)
        + judge_identity(census.identity, standard.identity)
        + judge_dimensions(census.identity.dimensions, standard)
        + judge_size(manifest.bytes, standard.limits)
        + judge_stores(manifest, standard.previous.manifest if standard.previous else None)
        + refusals(judge_content(manifest, standard.manifest))
    )


def judge_rows(total: int, limits: Limits) -> Verdict:
    """`empty` or `too_few_rows` where there are fewer memories than the fleet demands."""
    if total >= limits.min_rows:
        return OK
    if total == 0:
        return refused("empty", f"it holds no memories at all; at least {limits.min_rows} are required")
    return refused("too_few_rows", f"it holds {total} memories; at least {limits.min_rows} are required")


def judge_shrinkage(total: int, namespaces: Mapping[str, int], standard: Standard) -> Verdict:
    """`shrunk` and `namespace_vanished` against the last verified backup, in total and per namespace."""
    previous, limits = standard.previous, standard.limits
    if previous is None or previous.total is None:
        return OK
    reasons = []
    if drop(previous.total, total) > limits.max_drop:
        reasons.append(_shrunk("the total", previous.total, total, previous.backup))
    for name, before in sorted(previous.namespaces.items()):
        after = namespaces.get(name, 0)
        if before < limits.min_namespace or drop(before, after) <= limits.max_drop:
            continue
        if after == 0:
            text = f"the namespace {name} held {before} memories in {previous.backup} and is gone"
            reasons.append(Reason("namespace_vanished", text))
        else:
            reasons.append(_shrunk(f"the namespace {name}", before, after, previous.backup))
    return Verdict(tuple(reasons))


def judge_identity(identity: Identity, accepted: Identity | None) -> Verdict:
    """`identity_changed` where this is another cluster, database or table than the accepted one."""
    changes = identity.changes_from(accepted) if accepted else []
    return refused("identity_changed", "; ".join(changes)) if changes else OK


def judge_dimensions(dimensions: int | None, standard: Standard) -> Verdict:
    """`dimensions_changed` where the vectors have another length: an embedder of one length cannot query the other."""
    before = standard.identity.dimensions if standard.identity else None
    before = before or (standard.previous.dimensions if standard.previous else None)
    if before is None or dimensions is None or before == dimensions:
        return OK
    return refused("dimensions_changed", f"the vectors had {before} dimensions and now have {dimensions}")


def judge_stores(manifest: Manifest, previous: Manifest | None) -> Verdict:
    """`application_emptied` and `history_emptied`: what only ever grows in these stores has become less.

    A database of users that is recreated empty is a loss that no count of memories shows: every key is gone.
    """
    verdict = OK
    before = previous.application if previous else None
    if manifest.application and before:
        gone = [
            name for name in KEPT_TABLES if before.tables.get(name, 0) and not manifest.application.tables.get(name, 0)
        ]
        if gone:
            text = f"the application's database has no row left in {' and '.join(gone)}"
            verdict += refused("application_emptied", text)
    if manifest.history:
        earlier = previous.history.copy if previous and previous.history else None
        verdict += judge_growth(manifest.history.copy, settled=manifest.history.settled, previous=earlier)
    return verdict


def judge_size(size: int, limits: Limits) -> Verdict:
    """`too_small` where the files on disk are smaller than the fleet demands."""
    code: ReasonCode = "too_small"
    return OK if size >= limits.min_bytes else refused(code, f"{size} bytes; at least {limits.min_bytes} are required")


def cautions(manifest: Manifest, standard: Standard) -> list[str]:
    """What does not refuse a backup and a person should still know."""
    limits = standard.limits
    notes = [*manifest.warnings, *warnings(judge_content(manifest, standard.manifest))]
    if manifest.census.total < limits.warn_rows:
        notes.append(f"only {manifest.census.total} memories (warn_rows is {limits.warn_rows})")
    if manifest.bytes < limits.warn_bytes:
        notes.append(f"only {manifest.bytes} bytes (warn_bytes is {limits.warn_bytes})")
    if manifest.left_out:
        notes.append(f"not kept, as fleet.yaml does not name it: {', '.join(manifest.left_out)}")
    if manifest.masked:
        names = ", ".join(path.rpartition("/")[2] for path in manifest.masked)
        notes.append(f"kept without their secrets, which would stand there in clear: {names}")
    return notes


def drop(before: int, after: int) -> float:
    """The share that was lost: 0 for none, 1 for all."""
    return max(0.0, (before - after) / before) if before else 0.0


def _shrunk(what: str, before: int, after: int, since: str) -> Reason:
    text = f"{what} fell from {before} memories in {since} to {after}, a drop of {drop(before, after):.0%}"
    return Reason("shrunk", text)
