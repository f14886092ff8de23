"""The asset `configuration` and its checks: what a deployment is configured to, by whom, and what has drifted."""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from mem0_assets.alerts.rules import Finding
from mem0_assets.alerts.watch import look_at_configuration
from mem0_assets.assets.failures import plain_failures
from mem0_assets.fleet import Deployment
from mem0_assets.live.configuration import SOURCES, Configuration
from mem0_assets.live.drift import GUARDED, Kind

# Each check's name in the UI, what it proves, and the kind of finding that fails it.
CONFIGURATION_CHECKS: dict[str, tuple[str, Kind]] = {
    "unchanged": ("What is in force is what was first seen, or what a person accepted.", "configuration_changed"),
    "next_start_same": (
        "The files on disk would start what runs now: the same database, credentials, volumes and models.",
        "next_start_differs",
    ),
    "guarded": ("mem0 uses the database and the collection that fleet.yaml guards.", "not_guarded"),
    "embedder_fits": ("What embeds gives vectors of the table's dimensions.", "embedder_mismatch"),
}


def configuration_asset(deployment: Deployment) -> dg.AssetSpec:
    """The configuration as a source that the sensor observes: a table of every value and who says it."""
    return dg.AssetSpec(
        _key(deployment),
        group_name=deployment.name,
        description="What is configured: by mem0's server and its settings, by the containers that run, and by the files "
        "that the next start would use. Passwords are fingerprints.",
        kinds={"docker", "yaml"},
        owners=["team:memory-keepers"],
    )


def configuration_checks(deployment: Deployment) -> dg.AssetChecksDefinition:
    """The checks on `configuration`. The sensor `fleet_configuration` evaluates the same ones without a run."""
    specs = [
        dg.AssetCheckSpec(name, asset=_key(deployment), description=description)
        for name, (description, _) in CONFIGURATION_CHECKS.items()
    ]

    @dg.multi_asset_check(name=f"{deployment.name}_configuration_checks", specs=specs, can_subset=True)
    def checks(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        selected = {one.name for one in context.selected_asset_check_keys}
        with plain_failures(incident=None):
            now, found = look_at_configuration(deployment)
        for name, result in _results(now, found).items():
            if name in selected:
                yield dg.AssetCheckResult(asset_key=_key(deployment), check_name=name, **result)

    return checks


def configuration_events(
    deployment: Deployment, now: Configuration, found: list[Finding]
) -> list[dg.AssetObservation | dg.AssetCheckEvaluation]:
    """The observation and the checks as runless events, from a look that was taken anyway."""
    seen = dg.AssetObservation(asset_key=_key(deployment), metadata=_metadata(now))
    results = _results(now, found)
    return [
        seen,
        *(dg.AssetCheckEvaluation(asset_key=_key(deployment), check_name=name, **results[name]) for name in results),
    ]


def _key(deployment: Deployment) -> dg.AssetKey:
    return dg.AssetKey([deployment.name, "configuration"])


def _metadata(now: Configuration) -> dict[str, Any]:
    names = ("setting", "value", "source")
    schema = dg.TableSchema(columns=[dg.TableColumn(name, "string") for name in names])
    records = [dg.TableRecord(dict(zip(names, row, strict=True))) for row in now.rows()]
    silent = [dg.TableRecord({"source": SOURCES[source], "why": why}) for source, why in now.unknown.items()]
    unread = dg.TableSchema(columns=[dg.TableColumn(name, "string") for name in ("source", "why")])
    return {
        "configuration": dg.MetadataValue.table(records, schema=schema),
        "not_known": dg.MetadataValue.table(silent, schema=unread),
    }


def _results(now: Configuration, found: list[Finding]) -> dict[str, dict[str, Any]]:
    """What is known of each check: one of whose sources none could be read has neither passed nor failed."""
    results = {}
    for name, (_, kind) in CONFIGURATION_CHECKS.items():
        wrong = [finding for finding in found if finding.kind == kind]
        if wrong or _known(now, kind):
            results[name] = {
                "passed": not wrong,
                # Errors, all of them: `check_alerts` leaves errors of these checks to the incidents that tell of them.
                "severity": dg.AssetCheckSeverity.ERROR if wrong else dg.AssetCheckSeverity.WARN,
                "description": " ".join(finding.what for finding in wrong) or None,
            }
    return results


def _known(now: Configuration, kind: Kind) -> bool:
    match kind:
        case "next_start_differs":
            return "files" in now.said
        case "not_guarded":
            return any(now.in_force(setting) for setting in GUARDED)
        case "embedder_mismatch":
            dimensions = now.in_force("embedder_dimensions") or now.of("files", "embedder_dimensions")
            return bool(dimensions and now.of("database", "dimensions"))
        case "configuration_changed":
            return True
