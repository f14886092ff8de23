"""Asset checks: the domain's verdicts as Dagster knows them, one check per rule that a person would name."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import dagster as dg

from mem0_assets.alerts.watch import Look, look
from mem0_assets.assets.failures import failure, plain_failures
from mem0_assets.assets.metadata import content_metadata, last_backup_of
from mem0_assets.backups.backup import prove, standard_of
from mem0_assets.backups.catalog import Catalog
from mem0_assets.backups.claims import Standard, judge_claims
from mem0_assets.backups.content_rules import CONTENT_CHECKS, judge_content
from mem0_assets.backups.manifest import Manifest, ManifestError, read_manifest
from mem0_assets.backups.validation import missing_bytes
from mem0_assets.errors import NotFoundError
from mem0_assets.fleet import Deployment, Fleet
from mem0_assets.live.health import PostgresCode
from mem0_assets.verdicts import ReasonCode, Verdict, refused

# The blocking checks on a candidate, and the reasons that fail each.
BACKUP_CHECKS: dict[str, tuple[str, tuple[ReasonCode, ...]]] = {
    "has_memories": ("It holds at least as many memories as the fleet demands.", ("empty", "too_few_rows")),
    "complete": ("Every file that the manifest names is there, with every byte.", ("truncated", "corrupt")),
    "not_shrunk": (
        "Neither the total nor any namespace fell by more than max_drop since the last verified backup.",
        ("shrunk", "namespace_vanished"),
    ),
    "same_identity": (
        "It comes from the same cluster, database and table as before, with vectors of the same dimensions.",
        ("identity_changed", "dimensions_changed"),
    ),
    "plausible_size": ("Its files are as large as the fleet demands.", ("too_small",)),
    "stores_kept": (
        "The application's users, keys and settings, and mem0's history, are not emptied since the last verified backup.",
        ("application_emptied", "history_emptied"),
    ),
}

# The checks on the live counts, and the kinds of findings that fail each.
COUNT_CHECKS: dict[str, tuple[str, tuple[str, ...]]] = {
    "reachable": ("The database answers.", get_args(PostgresCode)),
    "has_memories": ("The collection is there and holds memories.", ("count_zero", "table_missing")),
    "not_dropped": (
        "Neither the total nor any namespace fell by more than max_drop since the last verified backup.",
        ("count_dropped", "namespace_gone", "namespace_dropped"),
    ),
    "same_identity": ("It is the same database as before.", ("identity_changed",)),
    "writes_arrive": (
        "What mem0 says it wrote is there, and new memories come as they usually do.",
        ("writes_dropped", "writes_stopped"),
    ),
}


def backup_checks(deployment: Deployment) -> dg.AssetChecksDefinition:
    """The checks on `postgres_backup`: of what it claims (blocking), and of what its rows hold (blocking where they may
    refuse it). A refused candidate goes to quarantine here, with its whole verdict.
    """
    key = dg.AssetKey([deployment.name, "postgres_backup"])
    specs = [
        dg.AssetCheckSpec(name, asset=key, blocking=True, description=description)
        for name, (description, _) in BACKUP_CHECKS.items()
    ]
    specs += [
        dg.AssetCheckSpec(name, asset=key, blocking=bool(check.codes), description=check.description)
        for name, check in CONTENT_CHECKS.items()
    ]

    # can_subset: otherwise the UI lets nobody execute a check again.
    @dg.multi_asset_check(
        name=f"{deployment.name}_backup_checks", specs=specs, can_subset=True, pool=f"{deployment.name}_database"
    )
    def checks(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        catalog = Catalog(deployment)
        with plain_failures(incident=None):
            folder = _materialized(context.instance, catalog, key)
            manifest, standard, verdict = _judge(catalog, folder)
            if not verdict.ok and folder.parent == catalog.candidates_folder:
                with catalog.locked(), plain_failures(incident="backup_refused"):
                    prove(catalog, folder)
        selected = _selected(context)
        for name in sorted(BACKUP_CHECKS.keys() & selected):
            yield _backup_result(key, name, verdict, manifest, deployment)
        yield from _content_results(key, manifest, standard, selected)

    return checks


def count_checks(fleet: Fleet, deployment: Deployment) -> dg.AssetChecksDefinition:
    """The checks on `memory_counts`. The sensor evaluates the same ones without a run, every ten seconds."""
    key = dg.AssetKey([deployment.name, "memory_counts"])
    specs = [
        dg.AssetCheckSpec(name, asset=key, description=description) for name, (description, _) in COUNT_CHECKS.items()
    ]

    @dg.multi_asset_check(name=f"{deployment.name}_count_checks", specs=specs, can_subset=True)
    def checks(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        seen, selected = look(fleet, deployment), _selected(context)
        results = _results(seen)
        known = [name for name in selected if name in results]
        yield from (dg.AssetCheckResult(asset_key=key, check_name=name, **results[name]) for name in known)
        if len(known) < len(selected):
            raise failure(f"nothing else is known: {seen.problem}", "unreachable")

    return checks


def count_evaluations(seen: Look) -> list[dg.AssetCheckEvaluation]:
    """The same checks as runless events, from a look that the sensor has taken anyway."""
    key = dg.AssetKey([seen.deployment.name, "memory_counts"])
    known = _results(seen)
    return [dg.AssetCheckEvaluation(asset_key=key, check_name=name, **known[name]) for name in known]


def _results(seen: Look) -> dict[str, dict[str, Any]]:
    """What is known of each check; one of which nothing is known has neither passed nor failed, and is left out."""
    results = {}
    for name in COUNT_CHECKS:
        wrong = findings_of(seen, name)
        if wrong or name == "reachable" or ("writes" in seen.findings if name == "writes_arrive" else seen.census):
            severity = dg.AssetCheckSeverity.ERROR if wrong else dg.AssetCheckSeverity.WARN
            results[name] = {"passed": not wrong, "severity": severity, "description": " ".join(wrong) or None}
    return results


def _selected(context: dg.AssetCheckExecutionContext) -> list[str]:
    return sorted(key.name for key in context.selected_asset_check_keys)


def findings_of(seen: Look, check: str) -> list[str]:
    """What fails this check on `memory_counts`, as sentences."""
    kinds = COUNT_CHECKS[check][1]
    return [finding.what for found in seen.findings.values() for finding in found if finding.kind in kinds]


def _materialized(instance: dg.DagsterInstance, catalog: Catalog, key: dg.AssetKey) -> Path:
    """The folder of the backup that was materialized last: a candidate, or what has become of it."""
    backup = last_backup_of(instance, key)
    if backup is None:
        raise NotFoundError(f"{key.to_user_string()} was not materialized yet: there is nothing to check")
    candidate = catalog.candidates_folder / backup
    return candidate if candidate.is_dir() else catalog.find(backup).path


def _judge(catalog: Catalog, folder: Path) -> tuple[Manifest | None, Standard, Verdict]:
    """What can be said of a backup before its files are read; nothing can without a manifest, so all is refused."""
    try:
        manifest = read_manifest(folder)
    except ManifestError as error:
        return None, standard_of(catalog), refused("corrupt", error.message)
    standard = standard_of(catalog, before=manifest.sequence)
    return manifest, standard, judge_claims(manifest, standard) + missing_bytes(folder, manifest)


def _backup_result(
    key: dg.AssetKey, name: str, verdict: Verdict, manifest: Manifest | None, deployment: Deployment
) -> dg.AssetCheckResult:
    if manifest is None:
        return dg.AssetCheckResult(asset_key=key, check_name=name, passed=False, description=verdict.sentence())
    failed = verdict.only(BACKUP_CHECKS[name][1])
    caution = _caution(name, manifest, deployment) if failed.ok else None
    return dg.AssetCheckResult(
        asset_key=key,
        check_name=name,
        passed=failed.ok and caution is None,
        severity=dg.AssetCheckSeverity.WARN if failed.ok else dg.AssetCheckSeverity.ERROR,
        description=caution or (None if failed.ok else failed.sentence()),
        metadata={"backup": manifest.backup, "memories": manifest.census.total, "bytes": manifest.bytes},
    )


def _caution(name: str, manifest: Manifest, deployment: Deployment) -> str | None:
    """What fails a check with a warning only: the backup is published all the same."""
    limits = deployment.limits
    if name == "has_memories" and manifest.census.total < limits.warn_rows:
        return f"Only {manifest.census.total} memories: fewer than warn_rows, which is {limits.warn_rows}."
    if name == "plausible_size" and manifest.bytes < limits.warn_bytes:
        return f"Only {manifest.bytes} bytes: fewer than warn_bytes, which is {limits.warn_bytes}."
    if name == "complete" and manifest.warnings:
        return f"The client program warned: {' / '.join(manifest.warnings)}"
    return None


def _content_results(
    key: dg.AssetKey, manifest: Manifest | None, standard: Standard, selected: list[str]
) -> Iterator[dg.AssetCheckResult]:
    """What is known of the rows; a check of which nothing is known has neither passed nor failed, and is left out."""
    if manifest is None:
        return
    for finding in judge_content(manifest, standard.manifest):
        if finding.check in selected:
            yield dg.AssetCheckResult(
                asset_key=key,
                check_name=finding.check,
                passed=finding.ok,
                severity=dg.AssetCheckSeverity.ERROR if finding.code else dg.AssetCheckSeverity.WARN,
                description=finding.sentence,
                metadata=content_metadata(manifest, finding),
            )
