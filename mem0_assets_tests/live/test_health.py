"""The health of a deployment: a port that answers proves nothing, and what each failure is called."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mem0_assets.fleet import Deployment, HealthSettings
from mem0_assets.live import endpoints
from mem0_assets.live.embedded import EmbeddedServer
from mem0_assets.live.health import (
    Health,
    check_disk,
    check_grafana,
    check_neo4j,
    check_postgres,
    check_server,
    checks_of,
    look_at_health,
)
from mem0_assets_tests.conftest import SMALL, MakeDeployment, run_sql
from mem0_assets_tests.freezing import frozen
from mem0_assets_tests.service_stub import (
    Asked,
    Fault,
    GrafanaStub,
    Mem0Stub,
    Neo4jStub,
    ServiceStub,
    drip,
    flood,
    half_json,
    hang_up,
    page,
    redirect,
    say_nothing,
)

KEY = "admin-hunter2"
SETUP, MEMORIES, CYPHER = "/auth/setup-status", "/memories", "/db/neo4j/tx/commit"
NEVER = [say_nothing, drip]
FAULTS: list[Fault] = [*NEVER, flood, hang_up, half_json, page(500), page(200), redirect("http://127.0.0.1:9/")]


@pytest.fixture
def mem0(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mem0Stub]:
    monkeypatch.setenv("MEM0_ADMIN_KEY", KEY)
    with Mem0Stub(key=KEY) as stub:
        yield stub


@pytest.fixture
def neo4j(monkeypatch: pytest.MonkeyPatch) -> Iterator[Neo4jStub]:
    monkeypatch.setenv("NEO4J_PASSWORD", "graph-hunter2")
    with Neo4jStub() as stub:
        yield stub


@pytest.fixture
def grafana() -> Iterator[GrafanaStub]:
    with GrafanaStub() as stub:
        yield stub


@pytest.fixture(params=FAULTS, ids=["silent", "dripping", "endless", "closing", "half", "500", "a page", "redirecting"])
def fault(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Fault:
    """Each way to answer wrongly. For what never comes, waiting longer would change nothing."""
    if request.param in NEVER:
        monkeypatch.setattr(endpoints, "ANSWER_SECONDS", 0.2)
    chosen: Fault = request.param
    return chosen


def server_seen(mem0: ServiceStub, *, key: bool = True) -> Health:
    return quiet(check_server(mem0.url, settings(server_url=mem0.url, admin_key_env="MEM0_ADMIN_KEY" if key else None)))


def neo4j_seen(neo4j: ServiceStub) -> Health:
    return quiet(check_neo4j(neo4j.url, settings(neo4j_url=neo4j.url, neo4j_password_env="NEO4J_PASSWORD")))


def settings(**given: Any) -> HealthSettings:
    return HealthSettings.model_validate(given)


def quiet(seen: Health) -> Health:
    """What was seen, which never repeats a secret, nor what a stranger answered."""
    assert "hunter2" not in repr(seen)
    assert seen.ok == (seen.next_step == "")
    return seen


# mem0's server


def test_a_server_is_well_where_both_its_databases_answer(mem0: Mem0Stub) -> None:
    seen = server_seen(mem0)
    assert (seen.code, seen.facts["proven"]) == ("ok", "users and memories")
    assert seen.sentence == f"{mem0.url}: it answers from its users and memories"
    assert mem0.asked == [Asked(SETUP, None), Asked(MEMORIES, KEY)]


def test_without_a_key_the_sentence_says_what_was_not_proven(mem0: Mem0Stub) -> None:
    seen = server_seen(mem0, key=False)
    assert (seen.code, seen.facts["proven"]) == ("ok", "users")
    assert "name it: health.admin_key_env" in seen.sentence


@pytest.mark.parametrize("key", [True, False])
def test_a_server_whose_database_is_dead_is_not_well_although_its_pages_are_green(mem0: Mem0Stub, key: bool) -> None:
    mem0.database_up = False
    seen = server_seen(mem0, key=key)
    assert seen.code == "mem0_server_endpoint"
    assert "HTTP 500" in seen.sentence


def test_a_store_of_memories_that_is_away_is_told_in_the_servers_own_word(mem0: Mem0Stub) -> None:
    mem0.faults[SETUP] = lambda exchange: exchange.answer(200, b'{"needsSetup": false}')
    mem0.database_up = False
    seen = server_seen(mem0)
    assert seen.code == "mem0_server_endpoint"
    assert "it answers /memories with HTTP 502 (datastore_unavailable)" in seen.sentence


def test_a_server_without_any_user_has_lost_them_or_is_new(mem0: Mem0Stub) -> None:
    mem0.users = 0
    seen = server_seen(mem0, key=False)
    assert seen.code == "mem0_server_endpoint"
    assert "its application database is a new one, or is lost" in seen.sentence


def test_a_server_that_is_used_with_its_admin_key_alone_needs_no_user(mem0: Mem0Stub) -> None:
    mem0.users = 0
    seen = server_seen(mem0)
    assert seen.ok
    assert "no user is registered" in seen.sentence


def test_a_server_that_lets_everybody_in_needs_no_user() -> None:
    with Mem0Stub(key=None) as mem0:
        mem0.users = 0
        assert server_seen(mem0, key=False).facts["proven"] == "users and memories"


def test_a_wrong_key_is_told_by_the_name_of_its_variable(mem0: Mem0Stub) -> None:
    mem0.key = "rotated"
    seen = server_seen(mem0)
    assert seen.code == "mem0_server_endpoint"
    assert "admin_key_env" in seen.next_step


def test_a_key_that_is_unset_meanwhile_is_told_by_its_name(mem0: Mem0Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MEM0_ADMIN_KEY")
    seen = check_server(mem0.url, settings(server_url=mem0.url, admin_key_env="MEM0_ADMIN_KEY"))
    assert seen.code == "mem0_server_endpoint"
    assert "MEM0_ADMIN_KEY is set" in seen.sentence


def test_the_one_call_that_fails_after_a_restart_of_postgres_is_no_failure(mem0: Mem0Stub) -> None:
    mem0.dead_connections = 1
    assert server_seen(mem0).ok


def test_a_server_of_1_x_is_asked_for_memories() -> None:
    with Mem0Stub(version=1, key=None) as mem0:
        assert server_seen(mem0, key=False).facts["proven"] == "memories"
        mem0.database_up = False
        assert server_seen(mem0, key=False).code == "mem0_server_endpoint"


def test_a_server_of_1_x_that_asks_for_a_key_proves_nothing_without_it(mem0: Mem0Stub) -> None:
    mem0.version = 1
    seen = server_seen(mem0, key=False)
    assert (seen.code, seen.facts["proven"]) == ("ok", "nothing")
    assert "nothing behind it was proven" in seen.sentence
    assert server_seen(mem0).facts["proven"] == "memories"


def test_another_service_at_that_address_is_not_mem0(grafana: GrafanaStub, neo4j: Neo4jStub) -> None:
    for stub in (grafana, neo4j):
        assert server_seen(stub, key=False).code == "mem0_server_endpoint"


@pytest.mark.parametrize("path", [SETUP, MEMORIES])
def test_a_server_that_misbehaves_answers_wrongly(mem0: Mem0Stub, path: str, fault: Fault) -> None:
    mem0.faults[path] = fault
    assert server_seen(mem0).code == "mem0_server_endpoint"


def test_a_redirect_says_what_to_write_into_fleet_yaml(mem0: Mem0Stub) -> None:
    mem0.faults[SETUP] = redirect("https://elsewhere.invalid/hunter2")
    assert "write the address that answers by itself" in server_seen(mem0).next_step


# Neo4j


def test_neo4j_is_well_where_its_nodes_can_be_counted(neo4j: Neo4jStub) -> None:
    seen = neo4j_seen(neo4j)
    assert (seen.code, seen.facts["nodes"], seen.facts["version"]) == ("ok", 42, "5.26.4")


def test_neo4j_without_a_password_is_asked_without_one() -> None:
    with Neo4jStub(password=None, nodes=0) as neo4j:
        seen = check_neo4j(neo4j.url, settings(neo4j_url=neo4j.url))
        assert (seen.code, seen.facts["nodes"]) == ("ok", 0)
        assert {one.secret for one in neo4j.asked} == {None}


def test_neo4js_password_is_sent_with_the_query_only(neo4j: Neo4jStub) -> None:
    neo4j_seen(neo4j)
    assert [(one.path, one.secret is not None) for one in neo4j.asked] == [("/", False), (CYPHER, True)]


def test_a_wrong_password_of_neo4j_is_told(neo4j: Neo4jStub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEO4J_PASSWORD", "hunter2-old")
    seen = neo4j_seen(neo4j)
    assert seen.code == "neo4j_endpoint"
    assert "(Neo.ClientError.Security.Unauthorized)" in seen.sentence
    assert "neo4j_password_env" in seen.next_step


def test_a_query_that_fails_with_status_200_is_a_failure(neo4j: Neo4jStub) -> None:
    neo4j.error = "Neo.TransientError.General.OutOfMemoryError"
    seen = neo4j_seen(neo4j)
    assert seen.code == "neo4j_endpoint"
    assert neo4j.error in seen.sentence


@pytest.mark.parametrize("path", ["/", CYPHER])
def test_a_neo4j_that_misbehaves_answers_wrongly(neo4j: Neo4jStub, path: str, fault: Fault) -> None:
    neo4j.faults[path] = fault
    assert neo4j_seen(neo4j).code == "neo4j_endpoint"


# Grafana


def test_grafana_is_well_where_its_database_is(grafana: GrafanaStub) -> None:
    assert quiet(check_grafana(grafana.url)).facts["version"] == "11.2.0"
    grafana.database_up = False
    assert quiet(check_grafana(grafana.url)).code == "grafana_endpoint"


def test_a_grafana_that_misbehaves_answers_wrongly(grafana: GrafanaStub, fault: Fault) -> None:
    grafana.faults["/api/health"] = fault
    assert quiet(check_grafana(grafana.url)).code == "grafana_endpoint"


# All of them


def test_where_nothing_listens_a_service_is_down() -> None:
    with Mem0Stub() as stub:
        url = stub.url
    assert quiet(check_server(url, settings(server_url=url))).code == "mem0_server_down"
    assert quiet(check_neo4j(url, settings(neo4j_url=url))).code == "neo4j_down"
    seen = quiet(check_grafana(url))
    assert (seen.code, seen.sentence) == ("grafana_down", f"{url}: nothing takes connections there")


# PostgreSQL


def test_postgres_is_well_where_the_memories_can_be_counted(make_deployment: MakeDeployment) -> None:
    seen = check_postgres(make_deployment().postgres)
    assert (seen.code, seen.facts["memories"], seen.facts["namespaces"]) == ("ok", sum(SMALL.values()), len(SMALL))


def test_an_empty_table_is_the_matter_of_the_census(make_deployment: MakeDeployment) -> None:
    assert check_postgres(make_deployment({}).postgres).ok


@pytest.mark.parametrize(
    "harm",
    [
        "DROP TABLE memories",
        "ALTER TABLE memories DROP COLUMN vector",
        "ALTER TABLE memories OWNER TO postgres; CREATE ROLE {role} LOGIN",
    ],
    ids=["no table", "another table", "no right"],
)
def test_memories_that_cannot_be_read_are_no_access(make_deployment: MakeDeployment, harm: str) -> None:
    deployment = make_deployment()
    role = f"reader_{deployment.postgres.database}"
    run_sql(deployment, harm.format(role=role))
    user = role if "ROLE" in harm else deployment.postgres.user
    assert check_postgres(deployment.postgres.model_copy(update={"user": user})).code == "postgresql_db_access"


@pytest.mark.parametrize("wrong", ["database", "user"])
def test_a_server_that_lets_nobody_in_is_no_connection(make_deployment: MakeDeployment, wrong: str) -> None:
    postgres = make_deployment(None).postgres
    assert check_postgres(postgres.model_copy(update={wrong: "gone"})).code == "postgresql_connection"


def test_a_server_with_no_room_for_one_more_is_no_connection(make_deployment: MakeDeployment) -> None:
    deployment = make_deployment()
    role = f"crowd_{deployment.postgres.database}"
    run_sql(deployment, f"CREATE ROLE {role} LOGIN CONNECTION LIMIT 0")
    seen = check_postgres(deployment.postgres.model_copy(update={"user": role}))
    assert seen.code == "postgresql_connection"
    assert "takes no connection: too many connections for role" in seen.sentence


def test_a_postgres_that_is_frozen_or_stopped_is_down(
    own_server: EmbeddedServer, make_deployment: MakeDeployment
) -> None:
    postgres = make_deployment(on=own_server).postgres
    assert check_postgres(postgres).ok
    with frozen(own_server):
        assert check_postgres(postgres).code == "postgresql_down"
    assert check_postgres(postgres).ok
    own_server.stop("immediate")
    assert check_postgres(postgres).code == "postgresql_down"


# Disks


def test_room_on_the_disks_is_told_in_bytes(make_deployment: MakeDeployment, tmp_path: Path) -> None:
    seen = check_disk(with_disk(make_deployment, least=0))
    assert seen.ok
    assert isinstance(seen.facts["backups_free_bytes"], int)


def test_too_little_room_is_told_with_the_folder(make_deployment: MakeDeployment, tmp_path: Path) -> None:
    (tmp_path / "backups").mkdir()
    seen = quiet(check_disk(with_disk(make_deployment, least=1 << 62)))
    assert seen.code == "disk_space_low"
    assert f"GB are free in {tmp_path / 'backups'}, and " in seen.sentence


def test_before_the_first_backup_the_folder_above_is_looked_at(make_deployment: MakeDeployment, tmp_path: Path) -> None:
    deployment = with_disk(make_deployment, least=1 << 62)
    assert f"in {tmp_path}, " in check_disk(deployment).sentence
    away = deployment.model_copy(update={"backups": tmp_path / "mnt" / "nas" / "backups" / "prd"})
    seen = quiet(check_disk(away))
    assert seen.code == "disk_space_low"
    assert "is its disk mounted?" in seen.sentence


def test_the_disk_of_an_embedded_servers_data_counts_too(tmp_path: Path) -> None:
    raw = {"name": "prd", "backups": tmp_path / "prd", "postgres": {"embedded": tmp_path / "pg", "database": "mem0"}}
    (tmp_path / "pg").mkdir()
    seen = check_disk(Deployment.model_validate({**raw, "health": {"min_free_bytes": 0}}))
    assert seen.facts.keys() == {"backups_free_bytes", "database_free_bytes"}


def with_disk(make_deployment: MakeDeployment, least: int) -> Deployment:
    return make_deployment(None, health={"min_free_bytes": least})


# Together


def test_only_what_is_configured_is_looked_at(make_deployment: MakeDeployment) -> None:
    url = "http://127.0.0.1:9"
    everything = {"server_url": url, "neo4j_url": url, "grafana_url": url}
    assert list(checks_of(make_deployment(None))) == ["postgres", "disk"]
    full = make_deployment(None, health=everything)
    assert list(checks_of(full)) == ["server", "postgres", "neo4j", "disk", "grafana"]


def test_one_look_sees_all_of_them(make_deployment: MakeDeployment, mem0: Mem0Stub, grafana: GrafanaStub) -> None:
    grafana.database_up = False
    health = {"server_url": mem0.url, "grafana_url": grafana.url, "min_free_bytes": 0}
    seen = look_at_health(make_deployment(health=health))
    assert {one.check: one.code for one in seen} == {
        "server": "ok",
        "postgres": "ok",
        "disk": "ok",
        "grafana": "grafana_endpoint",
    }
