"""Folders made before this project: read once, believed or refused, and then like our own."""

import gzip
import os
import tempfile
from pathlib import Path

import pytest

from mem0_assets.backups import legacy
from mem0_assets.backups.backup import accept_backup, standard_of
from mem0_assets.backups.catalog import Catalog
from mem0_assets.backups.legacy import examine_legacy
from mem0_assets.backups.retention import why_held
from mem0_assets.backups.validation import Examination, examine_dump
from mem0_assets.errors import RefusedError
from mem0_assets.fleet import Deployment
from mem0_assets_tests.forged import dump_text, forge, forge_legacy, forged_deployment

GOOD = gzip.compress(dump_text())
# What `pg_dump | gzip > m.sql.gz` leaves where pg_dump fails: whole, valid, and empty.
NOTHING = bytes.fromhex("1f8b0808000000000003 6d2e73716c00 0300 00000000 00000000")


@pytest.fixture
def deployment(tmp_path: Path) -> Deployment:
    return forged_deployment(tmp_path)


def test_a_good_one_is_listed_and_is_the_standard_for_the_next_backup(deployment: Deployment) -> None:
    forge_legacy(deployment, "20260103_133102", GOOD)
    catalog = Catalog(deployment)
    with catalog.locked():
        examine_legacy(catalog)
    [backup] = catalog.backups()
    assert (backup.state, backup.tiers, backup.total, backup.dimensions) == ("verified", ("daily",), 77, 3)
    standard = standard_of(catalog)
    assert standard.previous == backup
    assert standard.identity is None
    assert catalog.next_sequence() == 1


def test_it_is_read_once_and_again_only_when_it_has_changed(deployment: Deployment) -> None:
    folder = forge_legacy(deployment, "20260103_133102", GOOD)
    catalog = Catalog(deployment)
    told: list[str] = []
    for _ in range(3):
        examine_legacy(catalog, told.append)
    assert told == ["reading 20260103_133102, made before this project"]
    dump = folder / "postgres" / "mem0_20260103_133102.sql.gz"
    dump.write_bytes(GOOD[:-9])
    assert catalog.backups()[0].state == "candidate"
    examine_legacy(catalog, told.append)
    assert len(told) == 2
    [backup] = catalog.backups()
    assert backup.state == "quarantined"
    assert [reason.code for reason in backup.reasons] == ["truncated"]


def test_one_that_changes_while_it_is_read_is_read_again(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An old script is still writing it."""
    folder = forge_legacy(deployment, "20260103_133102", GOOD)
    dump = folder / "postgres" / "mem0_20260103_133102.sql.gz"

    def read_while_it_changes(path: Path) -> Examination:
        examined = examine_dump(path)
        dump.write_bytes(GOOD[:-9])
        return examined

    catalog = Catalog(deployment)
    monkeypatch.setattr(legacy, "examine_dump", read_while_it_changes)
    examine_legacy(catalog)
    assert catalog.backups()[0].state == "candidate"
    monkeypatch.undo()
    examine_legacy(catalog)
    assert catalog.backups()[0].state == "quarantined"


def test_the_26_bytes_of_the_incident_are_refused_and_hold_everything_else(deployment: Deployment) -> None:
    assert (len(NOTHING), gzip.decompress(NOTHING)) == (26, b"")
    forge_legacy(deployment, "20260103_133102", GOOD)
    for day in range(10, 27):
        forge_legacy(deployment, f"202601{day}_023000", NOTHING)
    catalog = Catalog(deployment)
    examine_legacy(catalog)
    states = [backup.state for backup in catalog.backups()]
    assert states == ["quarantined"] * 17 + ["verified"]
    assert catalog.find("latest").backup == "20260103_133102"
    held = why_held(catalog)
    assert held is not None
    assert "20260126_023000" in held
    with pytest.raises(RefusedError, match=r"cannot be accepted: nothing vouches for it .*\[not_a_dump\]"):
        accept_backup(catalog, "20260126_023000", by="anna", reason="it looks fine")


def test_one_of_an_empty_table_is_refused(deployment: Deployment) -> None:
    forge_legacy(deployment, "20260111_023000", gzip.compress(dump_text({})))
    catalog = Catalog(deployment)
    examine_legacy(catalog)
    assert [reason.code for reason in catalog.backups()[0].reasons] == ["empty"]


def test_ours_are_newer_than_all_of_them_whatever_their_names_say(deployment: Deployment) -> None:
    forge_legacy(deployment, "20270101_000000", GOOD)
    forge(deployment, "20260103_023000", 1)
    catalog = Catalog(deployment)
    examine_legacy(catalog)
    assert [backup.backup for backup in catalog.verified()] == ["20260103_023000", "20270101_000000"]


def test_one_that_cannot_be_read_stays_unknown_and_stops_nothing() -> None:
    """As when root's script made it, and we are not root."""
    if os.geteuid() != 0:
        pytest.skip("only root can make a file that this process then may not read")
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        deployment = forged_deployment(Path(folder))
        secret = forge_legacy(deployment, "20260103_133102", GOOD) / "postgres" / "mem0_20260103_133102.sql.gz"
        secret.chmod(0o600)
        forge_legacy(deployment, "20260104_133102", GOOD)
        deployment.backups.chmod(0o777)
        told: list[str] = []
        os.seteuid(65534)
        try:
            examine_legacy(Catalog(deployment), told.append)
        finally:
            os.seteuid(0)
        found = [(one.backup, one.state) for one in Catalog(deployment).backups()]
    assert any("20260103_133102 stays unknown" in what and "Permission denied" in what for what in told)
    assert found == [("20260104_133102", "verified"), ("20260103_133102", "candidate")]
