"""The rehearsal of a whole recovery: by the very code, on a scratch server, and nothing live is touched."""

import pytest

from mem0_assets.alerts.watch import look_at_disk
from mem0_assets.backups.backup import make_backup
from mem0_assets.backups.catalog import Catalog
from mem0_assets.errors import NotFoundError
from mem0_assets.fleet import Deployment
from mem0_assets.live.census import take_census
from mem0_assets.recovery.rehearsal import rehearse
from mem0_assets_tests.conftest import SMALL, MakeDeployment, run_sql

CALM = {"limits": {"warn_rows": 0, "warn_bytes": 0}, "health": {"min_free_bytes": 0}}


@pytest.fixture
def prd(make_in_each_format: MakeDeployment) -> Deployment:
    deployment = make_in_each_format(SMALL, **CALM)
    assert make_backup(deployment).verdict.ok
    return deployment


def test_a_recovery_is_rehearsed_whole_and_leaves_nothing_behind(prd: Deployment) -> None:
    before = take_census(prd.postgres)
    result = rehearse(prd)
    assert result.verdict.ok, result.verdict.sentence()
    assert list(result.seconds) == ["plan", "restore", "compare", "undo", "total"]
    event = Catalog(prd).journal.last("recovery_drill")
    assert event is not None
    assert (event["backup"], event["verdict"]) == (result.backup, "ok")
    after = take_census(prd.postgres)
    assert (after.namespaces, after.identity) == (before.namespaces, before.identity)
    assert [path.name for path in Catalog(prd).candidates_folder.iterdir() if not path.name.startswith(".")] == []
    assert not (prd.backups / "restores").exists()
    assert Catalog(prd).journal.last("identity_accepted") is None


def test_a_backup_that_is_damaged_fails_it_and_that_is_an_incident(make_deployment: MakeDeployment) -> None:
    prd = make_deployment(SMALL, **CALM)
    made = make_backup(prd).backup
    (dump,) = made.path.glob("postgres/*.sql.gz")
    content = bytearray(dump.read_bytes())
    content[len(content) // 2] ^= 0xFF
    dump.write_bytes(content)
    result = rehearse(prd)
    assert not result.verdict.ok
    (finding,) = [one for one in look_at_disk(prd)["drills"] if one.key == "recovery_drill"]
    assert (finding.kind, finding.severity) == ("recovery_drill_failed", "critical")
    assert finding.command == "mem0-assets recover prd --drill"


def test_only_verified_backups_are_rehearsed(make_deployment: MakeDeployment) -> None:
    prd = make_deployment(SMALL, **CALM)
    with pytest.raises(NotFoundError):
        rehearse(prd)
    run_sql(prd, "DELETE FROM memories")
    refused = make_backup(prd).backup
    with pytest.raises(NotFoundError, match="only verified backups"):
        rehearse(prd, refused.backup)
