"""A restore: every byte back, what was there kept, and nothing live touched by whatever fails before the swap."""

import pytest

from mem0_assets.backups.backup import make_backup
from mem0_assets.backups.catalog import Catalog
from mem0_assets.errors import ConfigurationError
from mem0_assets.restores.restore import Restore, restore
from mem0_assets_tests.conftest import SMALL, MakeDeployment, run_sql
from mem0_assets_tests.restores.contents import databases_like, fingerprint, query


def test_every_byte_comes_back_and_what_was_there_is_kept(make_in_each_format: MakeDeployment) -> None:
    deployment = make_in_each_format()
    before = fingerprint(deployment)
    backup = make_backup(deployment).backup
    run_sql(deployment, "DELETE FROM memories WHERE payload->>'user_id' <> 'carol'")
    left = fingerprint(deployment)
    told: list[str] = []
    report = restore(deployment, by="anna", confirm="prd", tell=told.append)
    assert report.ok
    assert (report.state, report.backup, report.by) == ("done", backup.backup, "anna")
    assert fingerprint(deployment) == before
    assert (report.total, dict(report.namespaces)) == (77, SMALL)
    kept = report.kept[deployment.postgres.database]
    assert fingerprint(deployment, database=kept) == left
    assert databases_like(deployment) == [deployment.postgres.database, kept]
    assert told


def test_the_safety_backup_is_neither_the_newest_verified_nor_a_refusal(make_deployment: MakeDeployment) -> None:
    deployment = make_deployment()
    backup = make_backup(deployment).backup
    run_sql(deployment, "TRUNCATE memories")
    report = restore(deployment, by="anna", confirm="prd")
    catalog = Catalog(deployment)
    safety = catalog.find(report.safety_backup or "")
    assert (safety.state, safety.total) == ("safety", 0)
    assert catalog.find("latest").backup == backup.backup
    assert catalog.last_refusal() is None
    assert make_backup(deployment).verdict.ok  # the new identity is accepted


def test_what_was_written_while_the_backup_was_loaded_is_kept_and_told(
    make_deployment: MakeDeployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployment = make_deployment()
    make_backup(deployment)
    load = Restore.load

    def load_and_be_written_to(work: Restore) -> None:
        load(work)
        run_sql(deployment, "INSERT INTO memories SELECT gen_random_uuid(), vector, payload FROM memories LIMIT 2")

    monkeypatch.setattr(Restore, "load", load_and_be_written_to)
    report = restore(deployment, by="anna", confirm="prd")
    kept = report.kept[deployment.postgres.database]
    assert f"It was written to while the backup was loaded (77 memories, then 79): see {kept}" in report.cautions


@pytest.mark.parametrize("confirm", ["", "PRD", "test", "prd "])
def test_without_the_deployments_own_name_nothing_is_begun(make_deployment: MakeDeployment, confirm: str) -> None:
    deployment = make_deployment()
    make_backup(deployment)
    with pytest.raises(ConfigurationError, match="not confirmed") as told:
        restore(deployment, by="anna", confirm=confirm)
    assert told.value.exit_status == 2
    assert not (deployment.backups / "restores").exists()


def test_owners_grants_and_settings_are_those_of_the_live_database(make_deployment: MakeDeployment) -> None:
    deployment = make_deployment()
    name = deployment.postgres.database
    run_sql(deployment, f"CREATE ROLE owner_{name}; CREATE ROLE reader_{name}")
    run_sql(deployment, f"ALTER TABLE memories OWNER TO owner_{name}; GRANT SELECT ON memories TO reader_{name}")
    run_sql(deployment, f"ALTER DATABASE {name} OWNER TO owner_{name}")
    run_sql(deployment, f"ALTER DATABASE {name} SET work_mem = '7MB'")
    run_sql(deployment, f'ALTER DATABASE {name} SET search_path = "$user", public')
    run_sql(deployment, f"ALTER ROLE reader_{name} IN DATABASE {name} SET statement_timeout = '5s'")
    run_sql(
        deployment, f"REVOKE CONNECT ON DATABASE {name} FROM PUBLIC; GRANT CONNECT ON DATABASE {name} TO reader_{name}"
    )
    run_sql(deployment, f"ALTER DEFAULT PRIVILEGES FOR ROLE owner_{name} GRANT SELECT ON TABLES TO reader_{name}")
    make_backup(deployment)
    facts = """
        SELECT (SELECT json_agg(x) FROM (SELECT c.relname, pg_get_userbyid(c.relowner), c.relacl::text FROM pg_class c
                 WHERE c.relname LIKE 'memories%' ORDER BY 1) x) AS tables,
               (SELECT json_agg(a ORDER BY a::text) FROM pg_database, aclexplode(datacl) a
                 WHERE datname = current_database()) AS acl,
               (SELECT json_agg(x) FROM (SELECT setrole::regrole, setconfig FROM pg_db_role_setting s JOIN pg_database d
                    ON d.oid = s.setdatabase WHERE d.datname = current_database() ORDER BY 1) x) AS settings,
               (SELECT json_agg(defaclacl::text) FROM pg_default_acl) AS defaults,
               (SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = current_database()) AS owner
    """
    before = query(deployment, facts)
    run_sql(deployment, "TRUNCATE memories")
    report = restore(deployment, by="anna", confirm="prd")
    assert query(deployment, facts) == before
    assert report.cautions == ("Which embedder runs is not known (name health.server_url and health.admin_key_env).",)
