"""One deployment as a graph of assets, its jobs and schedules: `build_deployment` makes the same graph for each.

Keys are [deployment, thing] and the group is the deployment, so that each has its own lineage, check status, freshness
and plots. (Partitions would share one check status: a passing `test` would hide a failing `prd`.) The work itself is
in the domain's packages; what stands here only calls it and shows what it found.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import dagster as dg

from mem0_assets.alerts.watch import look
from mem0_assets.assets.auto_restore import build_auto_restore
from mem0_assets.assets.checks import backup_checks, count_checks
from mem0_assets.assets.configuration_checks import configuration_asset, configuration_checks
from mem0_assets.assets.failures import failure, plain_failures
from mem0_assets.assets.health_checks import health_checks
from mem0_assets.assets.metadata import (
    backup_metadata,
    census_metadata,
    drill_metadata,
    manifest_metadata,
    retention_metadata,
)
from mem0_assets.assets.recovery import build_recovery
from mem0_assets.assets.restore import build_restore, restore_words
from mem0_assets.assets.schedules import build_schedules
from mem0_assets.backups.backup import prove, standard_of, tiers_of
from mem0_assets.backups.capture import capture
from mem0_assets.backups.catalog import Catalog
from mem0_assets.backups.legacy import examine_legacy
from mem0_assets.backups.manifest import read_manifest
from mem0_assets.backups.retention import prune
from mem0_assets.fleet import Deployment, Fleet
from mem0_assets.recovery.record import STAGES
from mem0_assets.recovery.rehearsal import rehearse
from mem0_assets.restores.drill import drill
from mem0_assets.timetable import GRACE, longest_gap

OWNERS = ["team:memory-keepers"]

# Each deployment's jobs: the assets that they materialize, and what the UI says of them.
JOBS = {
    "census": (["memory_counts"], "Count the memories."),
    "backup": (
        ["postgres_backup", "validated_dump", "retention"],
        "Dump, check, read back, publish; then expire what is beyond retention.",
    ),
    "drill": (["restore_drill"], "Restore the newest verified backup for real, and compare."),
    "restore": (
        ["restore_plan", "safety_backup", "restored_database", "restored_deployment"],
        "Restore a backup, with the deployment's name as `confirm`. The way back: `mem0-assets restore ... --undo`.",
    ),
    "recovery_drill": (["recovery_drill"], "Rehearse a whole recovery on a scratch server, without gates."),
    "disaster_recovery": (
        [f"recovery_{stage}" for stage in STAGES],
        "Recover in four stages, each behind a gate: goes as far as they are open, and goes on when launched again.",
    ),
}


def build_deployment(fleet: Fleet, deployment: Deployment) -> dg.Definitions:
    """Everything that Dagster shows and runs for one deployment."""
    stores = _stores(deployment)
    assets = [
        *_live_assets(fleet, deployment),
        configuration_asset(deployment),
        *stores,
        _postgres_backup(deployment, stores),
        _validated_dump(deployment),
        _restore_drill(deployment),
        _retention(deployment),
        _recovery_drill(deployment),
        *build_restore(deployment, OWNERS),
        *build_recovery(fleet, deployment, OWNERS),
    ]
    jobs = [
        dg.define_asset_job(
            f"{deployment.name}_{name}",
            selection=dg.AssetSelection.assets(*([deployment.name, thing] for thing in things)),
            tags={"deployment": deployment.name},
            config=restore_words(deployment) if name == "restore" else None,
            description=description,
        )
        for name, (things, description) in JOBS.items()
    ]
    whole = dg.Definitions(
        assets=assets,
        asset_checks=[
            health_checks(deployment),
            configuration_checks(deployment),
            count_checks(fleet, deployment),
            backup_checks(deployment),
        ],
        jobs=jobs,
        schedules=build_schedules(fleet, deployment),
    )
    return dg.Definitions.merge(whole, build_auto_restore(fleet, deployment, OWNERS))


def _live_assets(fleet: Fleet, deployment: Deployment) -> list[dg.AssetSpec | dg.AssetsDefinition]:
    postgres = deployment.postgres
    memories = dg.AssetSpec(
        [deployment.name, "memories"],
        group_name=deployment.name,
        description=f"The live memories of {deployment.name}: the table `{postgres.collection}` of {postgres.address}.",
        kinds={"postgres", "pgvector"},
        owners=OWNERS,
        metadata={"dagster/table_name": f"{postgres.database}.public.{postgres.collection}"},
    )

    @dg.asset(
        key=[deployment.name, "memory_counts"],
        deps=[memories.key],
        group_name=deployment.name,
        description="How many memories each namespace holds, and in which database: one MVCC snapshot, by SQL. "
        "The fleet's sensor feeds it every ten seconds.",
        kinds={"postgres"},
        owners=OWNERS,
    )
    def memory_counts() -> dg.MaterializeResult[None]:
        seen = look(fleet, deployment)
        if seen.census is None:
            raise failure(str(seen.problem), "unreachable", code=seen.problem.code if seen.problem else "unreachable")
        previous = standard_of(Catalog(deployment)).previous
        return dg.MaterializeResult(metadata=census_metadata(seen.census, previous.namespaces if previous else {}))

    return [memories, memory_counts]


def _stores(deployment: Deployment) -> list[dg.AssetSpec]:
    """What else the backups of this deployment hold, as sources of them."""
    stores, application = deployment.stores, deployment.application
    kept = {
        "application": application
        and (
            f"Users, API keys and settings: the database {application.address}. Each backup dumps it in a snapshot of its "
            "own, right after the memories'.",
            "postgres",
        ),
        "history": stores.history
        and (
            f"Every memory's history: {stores.history}. Each backup copies it last, and each drill replays it against "
            "the memories.",
            "sqlite",
        ),
        "files": stores.files
        and (
            f"The deployment's own files, kept without their secrets: {', '.join(map(str, stores.files))}.",
            "file",
        ),
    }
    return [
        dg.AssetSpec(
            [deployment.name, name], group_name=deployment.name, description=what[0], kinds={what[1]}, owners=OWNERS
        )
        for name, what in kept.items()
        if what
    ]


def _postgres_backup(deployment: Deployment, stores: list[dg.AssetSpec]) -> dg.AssetsDefinition:
    @dg.asset(
        key=[deployment.name, "postgres_backup"],
        deps=[dg.AssetKey([deployment.name, "memories"]), *(store.key for store in stores)],
        group_name=deployment.name,
        description="A candidate: census, identity and dump of the same exported snapshot, and all other stores that "
        "fleet.yaml names, in candidates/. It counts for nothing until `validated_dump` has published it.",
        kinds={"postgres", "file"},
        owners=OWNERS,
        pool=f"{deployment.name}_database",
    )
    def postgres_backup() -> dg.MaterializeResult[None]:
        catalog = Catalog(deployment)
        with plain_failures(incident=None), catalog.locked():
            examine_legacy(catalog)
            with plain_failures(incident="backup_refused"):
                candidate = capture(deployment, catalog, tiers_of(catalog, ()))
        return dg.MaterializeResult(metadata=manifest_metadata(read_manifest(candidate)))

    return postgres_backup


def _validated_dump(deployment: Deployment) -> dg.AssetsDefinition:
    key = dg.AssetKey([deployment.name, "validated_dump"])
    check = dg.AssetCheckSpec(
        "read_back",
        asset=key,
        description="Read back from disk byte by byte, every table and namespace equals the manifest exactly.",
    )

    @dg.asset(
        key=key,
        deps=[[deployment.name, "postgres_backup"]],
        group_name=deployment.name,
        description="The candidate, read back from disk byte by byte, judged again, and published by one atomic rename; "
        "or refused, and kept in quarantine/ with its verdict.",
        kinds={"file"},
        owners=OWNERS,
        check_specs=[check],
        freshness_policy=_freshness(deployment, list(deployment.schedule.tiers.values())),
        pool=f"{deployment.name}_database",
    )
    def validated_dump() -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
        catalog = Catalog(deployment)
        with plain_failures(incident=None), catalog.locked():
            waiting = catalog.candidates()
            if not waiting:
                raise failure("No candidate waits for its verdict: materialize postgres_backup first.", None)
            with plain_failures(incident="backup_refused"):
                outcome = prove(catalog, waiting[0])
        passed, why = outcome.verdict.ok, outcome.verdict.sentence()
        yield dg.AssetCheckResult(passed=passed, description=None if passed else why)
        if not passed:
            raise failure(f"{outcome.backup.backup} was refused: {why}", "backup_refused")
        yield dg.MaterializeResult(metadata=backup_metadata(outcome.backup))

    return validated_dump


def _restore_drill(deployment: Deployment) -> dg.AssetsDefinition:
    key = dg.AssetKey([deployment.name, "restore_drill"])
    check = dg.AssetCheckSpec(
        "restored_exactly",
        asset=key,
        description="Restored for real, every namespace holds exactly what the manifest says, with valid indexes and "
        "a search that finds what was stored.",
    )

    @dg.asset(
        key=key,
        deps=[[deployment.name, "validated_dump"]],
        group_name=deployment.name,
        description="The newest verified backup restored into a scratch server of the same major version, compared "
        "exactly, measured, and thrown away.",
        kinds={"postgres"},
        owners=OWNERS,
        check_specs=[check],
        freshness_policy=_freshness(deployment, [deployment.schedule.drill] if deployment.schedule.drill else []),
        pool="scratch_server",
    )
    def restore_drill() -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
        with plain_failures(incident=None):
            result = drill(deployment)
        passed, why = result.verdict.ok, result.verdict.sentence()
        yield dg.AssetCheckResult(passed=passed, description=None if passed else why, metadata=drill_metadata(result))
        if not passed:
            raise failure(f"the drill of {result.backup} failed: {why}", "drill_failed")
        yield dg.MaterializeResult(metadata=drill_metadata(result))

    return restore_drill


def _retention(deployment: Deployment) -> dg.AssetsDefinition:
    @dg.asset(
        key=[deployment.name, "retention"],
        deps=[[deployment.name, "validated_dump"]],
        group_name=deployment.name,
        description="Which verified backups are kept, and which were expired and why. The newest is never deleted, and "
        "while the newest attempt is refused nothing is.",
        kinds={"file"},
        owners=OWNERS,
        pool=f"{deployment.name}_database",
    )
    def retention() -> dg.MaterializeResult[None]:
        catalog = Catalog(deployment)
        with plain_failures(incident=None), catalog.locked():
            return dg.MaterializeResult(metadata=retention_metadata(prune(catalog)))

    return retention


def _recovery_drill(deployment: Deployment) -> dg.AssetsDefinition:
    @dg.asset(
        key=[deployment.name, "recovery_drill"],
        deps=[[deployment.name, "validated_dump"]],
        group_name=deployment.name,
        description="A whole recovery rehearsed on a scratch server, without gates: an empty deployment is made there, the "
        "newest verified backup planned, loaded beside, verified and swapped in, and undone again.",
        kinds={"postgres"},
        owners=OWNERS,
        pool="scratch_server",
    )
    def recovery_drill() -> dg.MaterializeResult[None]:
        with plain_failures(incident=None):
            result = rehearse(deployment)
        if not result.verdict.ok:
            why = f"the rehearsal of a recovery from {result.backup} failed: {result.verdict.sentence()}"
            raise failure(why, "recovery_drill_failed")
        seconds = {f"{name}_seconds": dg.MetadataValue.float(value) for name, value in result.seconds.items()}
        return dg.MaterializeResult(metadata={"backup": dg.MetadataValue.text(result.backup), **seconds})

    return recovery_drill


def _freshness(deployment: Deployment, lines: list[str]) -> dg.FreshnessPolicy | None:
    """Fresh while nothing that was due is missing: the longest gap of the schedule, and the grace of the alert rules."""
    if not lines:
        return None
    window = longest_gap(lines, deployment.schedule.zone, datetime.now(UTC)) + GRACE + timedelta(minutes=1)
    return dg.FreshnessPolicy.time_window(fail_window=window)
