"""What is shown beside an asset: numbers that can be plotted, and nothing that is not known."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest

from mem0_assets.assets.metadata import (
    backup_metadata,
    census_metadata,
    drill_metadata,
    last_backup_of,
    manifest_metadata,
    retention_metadata,
)
from mem0_assets.backups.inventory import Backup
from mem0_assets.backups.manifest import Application, BackupFile, History, read_manifest
from mem0_assets.backups.retention import Decision, Plan
from mem0_assets.live.census import Census
from mem0_assets.live.history import HistoryCopy
from mem0_assets.live.identity import Identity
from mem0_assets.restores.drill import DrillResult
from mem0_assets.verdicts import OK
from mem0_assets_tests.forged import forge, forged_deployment

NOW = datetime(2026, 1, 10, 8, 0, tzinfo=UTC)
IDENTITY = Identity("7", "mem0", 5, 6, 1536, "18.4", "0.8.5")
CENSUS = Census("memories", 3, {"alice": 2, "bob": 1}, IDENTITY, NOW)
STORES = dg.TableSchema(columns=[dg.TableColumn("store", "string"), dg.TableColumn("holds", "string")])
LEGACY = Backup("20260103_133102", "verified", Path("/b"), ("daily",), 0, NOW, None, 3, {"alice": 3}, 1536, 900)


def test_counts_are_numbers_so_that_the_ui_plots_them() -> None:
    shown = census_metadata(CENSUS, {})
    assert shown["dagster/row_count"] == dg.MetadataValue.int(3)
    assert shown["namespace_count"] == dg.MetadataValue.int(2)
    assert shown["dimensions"] == dg.MetadataValue.int(1536)
    assert shown["taken_at"] == dg.MetadataValue.text("2026-01-10T08:00:00+00:00")


def test_what_is_not_known_is_left_out_and_not_zero() -> None:
    assert "dimensions" not in census_metadata(replace(CENSUS, identity=replace(IDENTITY, dimensions=None)), {})
    assert "dagster/row_count" not in backup_metadata(replace(LEGACY, total=None))


def test_a_backup_from_before_this_project_shows_what_is_known_of_it() -> None:
    shown = {name: value.value for name, value in backup_metadata(LEGACY).items()}
    assert shown == {
        "dagster/row_count": 3,
        "backup": "20260103_133102",
        "bytes": 900,
        "tiers": "daily",
        "path": "/b",
        "state": "verified",
    }


def test_a_backup_shows_what_it_holds_of_each_other_store(tmp_path: Path) -> None:
    manifest = read_manifest(forge(forged_deployment(tmp_path), "20260103_133102", 1))
    assert manifest_metadata(manifest)["stores"] == dg.MetadataValue.table([], schema=STORES)
    tables = {"users": 2, "api_keys": 1, "request_logs": 12_000}
    whole = replace(
        manifest,
        application=Application("mem0_app", "postgres", tables, "006"),
        history=History(5, HistoryCopy(1968, 1968, {"ADD": 1968})),
        roles=("mem0", "postgres"),
        files=(BackupFile("files/.env", 9, "f97d", 9),),
        masked={"files/.env": ("POSTGRES_PASSWORD",)},
    )
    shown = manifest_metadata(whole)["stores"]
    assert isinstance(shown, dg.TableMetadataValue)
    assert {row.data["store"]: row.data["holds"] for row in shown.records} == {
        "application": "2 users, 1 api_keys in mem0_app, revision 006",
        "history": "1,968 events",
        "files": ".env; 1 secrets masked",
        "roles": "mem0, postgres; without passwords",
    }


def test_a_drill_shows_each_part_of_the_time_it_took() -> None:
    seconds = {"restore": 1.5, "index": 0.5, "checks": 0.1, "total": 3.0}
    shown = drill_metadata(DrillResult("20260103_133102", OK, 3, {"alice": 3}, seconds, "18.4"))
    assert {name: shown[f"{name}_seconds"].value for name in seconds} == seconds


def test_a_backup_that_is_kept_in_two_tiers_is_one_backup() -> None:
    kept = replace(LEGACY, tiers=("hourly", "daily"))
    gone = replace(LEGACY, backup="20251231_023000")
    decisions = (
        Decision(kept, "hourly", True, "one of the newest 24"),
        Decision(kept, "daily", True, "one of the newest 7"),
        Decision(gone, "daily", False, "beyond the 7 that daily keeps"),
    )
    shown = retention_metadata(Plan(decisions, None))
    assert (shown["kept"].value, shown["expired"].value, shown["held"].value) == (1, 1, "no")


@pytest.mark.parametrize(
    ("metadata", "known"), [({"backup": "20260103_133102"}, "20260103_133102"), ({}, None), (None, None)]
)
def test_the_last_backup_of_an_asset_is_what_its_newest_materialization_names(
    metadata: dict[str, str] | None, known: str | None
) -> None:
    key = dg.AssetKey(["prd", "validated_dump"])
    with dg.DagsterInstance.ephemeral() as instance:
        assert last_backup_of(instance, key) is None
        instance.report_runless_asset_event(dg.AssetMaterialization(key, metadata=metadata))
        assert last_backup_of(instance, key) == known
