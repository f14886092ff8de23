"""What a person looks for on an asset's page: numbers that plot, namespaces as a table, files, durations."""

from collections.abc import Mapping
from pathlib import Path

import dagster as dg

from mem0_assets.assets.charts import census_chart
from mem0_assets.backups.claims import KEPT_TABLES
from mem0_assets.backups.content_rules import ContentFinding
from mem0_assets.backups.inventory import Backup
from mem0_assets.backups.manifest import Manifest
from mem0_assets.backups.retention import Plan
from mem0_assets.live.census import Census
from mem0_assets.restores.drill import DrillResult

Metadata = dict[str, dg.MetadataValue]


def census_metadata(census: Census, before: Mapping[str, int]) -> Metadata:
    """The counts, which the UI plots over time, and which database they were read from."""
    identity = census.identity
    return {
        "dagster/row_count": dg.MetadataValue.int(census.total),
        "namespace_count": dg.MetadataValue.int(len(census.namespaces)),
        "namespaces": _namespaces(census.namespaces),
        "chart": dg.MetadataValue.md(census_chart(census.namespaces, before)),
        **_known("dimensions", identity.dimensions),
        "identity": dg.MetadataValue.json(identity.as_json()),
        "taken_at": dg.MetadataValue.text(census.taken_at.isoformat()),
    }


def manifest_metadata(manifest: Manifest) -> Metadata:
    """What a backup claims: counts, files, what the dump took, and which other stores it holds and does not hold."""
    return {
        "dagster/row_count": dg.MetadataValue.int(manifest.census.total),
        "backup": dg.MetadataValue.text(manifest.backup),
        "namespaces": _namespaces(manifest.census.namespaces),
        "bytes": dg.MetadataValue.int(manifest.bytes),
        "format": dg.MetadataValue.text(manifest.format),
        "plain_bytes": dg.MetadataValue.int(manifest.plain_bytes),
        "seconds": dg.MetadataValue.float(manifest.seconds),
        "files": _files(manifest),
        "stores": _stores(manifest),
        "program": dg.MetadataValue.text(manifest.program),
        "not_kept": dg.MetadataValue.text(", ".join(manifest.left_out) or "nothing"),
        "tiers": dg.MetadataValue.text(", ".join(manifest.tiers)),
    }


def _stores(manifest: Manifest) -> dg.TableMetadataValue:
    """What else than memories is in a backup, one row a store; of the application the tables that a person knows."""
    held = {}
    if application := manifest.application:
        known = [f"{application.tables[name]:,} {name}" for name in KEPT_TABLES if name in application.tables]
        held["application"] = f"{', '.join(known)} in {application.database}, revision {application.revision}"
    if manifest.history:
        held["history"] = f"{manifest.history.copy.rows:,} events"
    if files := manifest.files_of("files"):
        masked = sum(map(len, manifest.masked.values()))
        held["files"] = f"{', '.join(Path(file.path).name for file in files)}; {masked} secrets masked"
    if manifest.roles is not None:
        held["roles"] = f"{', '.join(manifest.roles)}; without passwords"
    records = [dg.TableRecord({"store": name, "holds": what}) for name, what in held.items()]
    return dg.MetadataValue.table(records, schema=_schema("store", "holds"))


def _files(manifest: Manifest) -> dg.TableMetadataValue:
    records = [dg.TableRecord({"path": f.path, "bytes": f.bytes, "sha256": f.sha256}) for f in manifest.files]
    columns = [dg.TableColumn("path", "string"), dg.TableColumn("bytes", "int"), dg.TableColumn("sha256", "string")]
    return dg.MetadataValue.table(records, schema=dg.TableSchema(columns=columns))


def backup_metadata(backup: Backup) -> Metadata:
    """Where a backup is and what it holds; one made before this project has no manifest."""
    known = manifest_metadata(backup.manifest) if backup.manifest else {}
    plain = {
        **_known("dagster/row_count", backup.total),
        "backup": dg.MetadataValue.text(backup.backup),
        "bytes": dg.MetadataValue.int(backup.bytes),
        "tiers": dg.MetadataValue.text(", ".join(backup.tiers)),
        "path": dg.MetadataValue.path(str(backup.path)),
        "state": dg.MetadataValue.text(backup.state),
    }
    return {**known, **plain}


def content_metadata(manifest: Manifest, finding: ContentFinding) -> Metadata:
    """Which backup a check on the rows speaks of, and the rows to look at first: ids, never a text."""
    examples = [dg.TableRecord({"example": example}) for example in finding.examples]
    found = {"examples": dg.MetadataValue.table(examples, schema=_schema("example"))} if examples else {}
    return {
        "backup": dg.MetadataValue.text(manifest.backup),
        "memories": dg.MetadataValue.int(manifest.census.total),
        **found,
    }


def last_backup_of(instance: dg.DagsterInstance, key: dg.AssetKey) -> str | None:
    """The backup that this asset's newest materialization speaks of; None where it names none."""
    return last_named(instance, key, "backup")


def last_named(instance: dg.DagsterInstance, key: dg.AssetKey, what: str) -> str | None:
    """What this asset's newest materialization names under `what`; None where it names none.

    Anybody may report a materialization in the UI, and such a one has no metadata.
    """
    event = instance.get_latest_materialization_event(key)
    made = event.asset_materialization if event else None
    named = made.metadata.get(what) if made else None
    return str(named.value) if named else None


def drill_metadata(result: DrillResult) -> Metadata:
    """What a drill brought back, and how long each part took: the recovery time, plotted."""
    seconds = {f"{name}_seconds": dg.MetadataValue.float(value) for name, value in result.seconds.items()}
    return {
        "dagster/row_count": dg.MetadataValue.int(result.total),
        "backup": dg.MetadataValue.text(result.backup),
        "namespaces": _namespaces(result.namespaces),
        "server_version": dg.MetadataValue.text(result.server_version),
        **_history(result),
        **seconds,
    }


def retention_metadata(plan: Plan) -> Metadata:
    """How many backups are kept, how many places in a tier were given up, and each decision with its reason."""
    decisions = [
        dg.TableRecord(
            {"backup": d.backup.backup, "tier": d.tier, "kept": "yes" if d.keep else "expired", "why": d.why}
        )
        for d in plan.decisions
    ]
    return {
        "kept": dg.MetadataValue.int(len({d.backup.backup for d in plan.decisions if d.keep})),
        "expired": dg.MetadataValue.int(len(plan.expired)),
        "held": dg.MetadataValue.text(plan.held or "no"),
        "decisions": dg.MetadataValue.table(decisions, schema=_schema("backup", "tier", "kept", "why")),
    }


def _history(result: DrillResult) -> Metadata:
    report = result.history
    if report is None:
        return {}
    return {
        "history_coverage": dg.MetadataValue.float(report.coverage),
        "history_lost": dg.MetadataValue.int(report.lost.count),
        "history": dg.MetadataValue.json(report.as_json()),
    }


def _known(name: str, value: int | None) -> Metadata:
    """One number; nothing where it is not known, because a plotted 0 says that there are none."""
    return {} if value is None else {name: dg.MetadataValue.int(value)}


def _namespaces(namespaces: Mapping[str, int]) -> dg.MetadataValue:
    records = [dg.TableRecord({"namespace": name, "memories": count}) for name, count in namespaces.items()]
    columns = [dg.TableColumn("namespace", "string"), dg.TableColumn("memories", "int")]
    return dg.MetadataValue.table(records, schema=dg.TableSchema(columns=columns))


def _schema(*columns: str) -> dg.TableSchema:
    return dg.TableSchema(columns=[dg.TableColumn(name, "string") for name in columns])
