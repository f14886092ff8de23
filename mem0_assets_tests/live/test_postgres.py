"""Connections to a live deployment: bounded in time, without secrets, and honest about what is not known."""

import multiprocessing
import os
import signal
import socket
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from mem0_assets.errors import Mem0AssetsError, UnreachableError
from mem0_assets.fleet import Postgres
from mem0_assets.live import postgres as postgres_module
from mem0_assets.live.census import read_census, take_census
from mem0_assets.live.embedded import EmbeddedServer
from mem0_assets.live.postgres import SCHEMA, DeniedError, connect, joined, snapshot
from mem0_assets.live.tables import count_tables
from mem0_assets_tests.conftest import SMALL, MakeDeployment, make_database, open_connection, run_sql, start_server
from mem0_assets_tests.freezing import freeze, frozen, thaw
from mem0_assets_tests.waiting import wait_until

TOTAL = sum(SMALL.values())
MEMORIES = [(SCHEMA, "memories")]


@pytest.fixture(scope="module")
def lonely_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    """A server that also listens on TCP, may be frozen, and asks the role `guarded` for a password."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = start_server(tmp_path_factory.mktemp("lonely") / "data", port=port)
    make_database(server, "mem0", SMALL)
    with open_connection(server, "mem0") as connection:
        connection.execute("CREATE ROLE guarded LOGIN PASSWORD 'mem0' IN ROLE pg_read_all_data")
        connection.execute("CREATE ROLE barred LOGIN")
    hba = server.folder / "pg_hba.conf"
    rules = "local all guarded scram-sha-256\nhost all guarded all scram-sha-256\nlocal all barred reject\n"
    hba.write_text(rules + hba.read_text())
    with open_connection(server, "mem0") as connection:
        connection.execute("SELECT pg_reload_conf()")
    yield server
    server.stop("immediate")


@pytest.fixture(scope="module")
def frail(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    server = start_server(tmp_path_factory.mktemp("frail") / "data")
    make_database(server, "mem0", SMALL)
    yield server
    server.stop("immediate")


@pytest.fixture
def frail_server(frail: EmbeddedServer) -> EmbeddedServer:
    """A running server whose database may be harmed while it is asked, whatever the last test did to it."""
    frail.stop("immediate")
    frail.start()
    return frail


def over_socket(server: EmbeddedServer, **settings: str) -> Postgres:
    place = {"host": str(server.socket_folder), "port": server.port or 5432, "user": "postgres", "database": "mem0"}
    return Postgres.model_validate(place | settings)


def over_tcp(server: EmbeddedServer, **settings: str) -> Postgres:
    return over_socket(server, host="127.0.0.1", **settings)


Wait = Callable[[], None]


def connecting(postgres: Postgres, until_frozen: Wait) -> None:
    until_frozen()
    take_census(postgres, seconds=2)


def in_the_middle_of_a_query(postgres: Postgres, until_frozen: Wait) -> None:
    with connect(postgres, seconds=5) as connection, ThreadPoolExecutor(1) as waiting:
        waiting.submit(until_frozen)
        connection.execute("SELECT pg_sleep(100)")


def beginning_a_snapshot(postgres: Postgres, until_frozen: Wait) -> None:
    with connect(postgres, seconds=None) as connection:
        until_frozen()
        with snapshot(connection, MEMORIES):
            raise AssertionError("a frozen server gave a snapshot")


def ending_a_snapshot(postgres: Postgres, until_frozen: Wait) -> None:
    with connect(postgres, seconds=None) as connection, snapshot(connection, MEMORIES):
        until_frozen()


def failing_in_a_snapshot(postgres: Postgres, until_frozen: Wait) -> None:
    with connect(postgres, seconds=None) as connection, snapshot(connection, MEMORIES):
        until_frozen()
        raise LookupError("the caller's own")


SCENES = [connecting, in_the_middle_of_a_query, beginning_a_snapshot, ending_a_snapshot, failing_in_a_snapshot]


@pytest.fixture(scope="module")
def ends(lonely_server: EmbeddedServer) -> dict[tuple[str, str], BaseException | None]:
    """How each scene ended, over the socket and over TCP. All play at once in one frozen server, to save a minute."""
    ways = {"socket": over_socket(lonely_server), "tcp": over_tcp(lonely_server)}
    is_frozen, waiting = threading.Event(), threading.Semaphore(0)

    def until_frozen() -> None:
        waiting.release()
        assert is_frozen.wait(60)

    with ThreadPoolExecutor(len(SCENES) * len(ways)) as players:
        futures = {
            (scene.__name__, way): players.submit(scene, postgres, until_frozen)
            for way, postgres in ways.items()
            for scene in SCENES
        }
        for _ in futures:
            assert waiting.acquire(timeout=60)
        time.sleep(0.1)  # the queries that are to be interrupted are on their way
        with frozen(lonely_server):
            is_frozen.set()
            return {name: future.exception(timeout=60) for name, future in futures.items()}


@pytest.mark.parametrize("way", ["socket", "tcp"])
@pytest.mark.parametrize("scene", SCENES[:-1], ids=lambda scene: scene.__name__)
def test_a_frozen_server_is_given_up_and_nothing_is_known(
    ends: dict[tuple[str, str], BaseException | None], scene: Callable[..., None], way: str
) -> None:
    error = ends[scene.__name__, way]
    assert isinstance(error, UnreachableError)
    assert not isinstance(error, DeniedError)
    assert "did not answer within" in str(error)
    assert "Is the server frozen, or its disk?" in str(error)


@pytest.mark.parametrize("way", ["socket", "tcp"])
def test_in_a_frozen_server_the_callers_own_error_is_told_and_not_the_rollbacks(
    ends: dict[tuple[str, str], BaseException | None], way: str
) -> None:
    assert isinstance(ends["failing_in_a_snapshot", way], LookupError)


def test_a_thawed_server_answers_again(
    ends: dict[tuple[str, str], BaseException | None], lonely_server: EmbeddedServer
) -> None:
    assert ends
    assert take_census(over_tcp(lonely_server)).total == TOTAL


def test_a_query_that_takes_too_long_is_ended_by_the_server(lonely_server: EmbeddedServer) -> None:
    with (
        pytest.raises(UnreachableError, match=r"mem0 at .* did not answer within 0.2 s"),
        connect(over_socket(lonely_server), seconds=0.2) as connection,
    ):
        connection.execute("SELECT pg_sleep(100)")


def test_a_connection_outlives_its_snapshots_and_its_watchdogs(lonely_server: EmbeddedServer) -> None:
    """The watchdog of one exchange must not shut down the next one."""
    before = threading.active_count()
    with connect(over_socket(lonely_server), seconds=None) as connection:
        for _ in range(3):
            with snapshot(connection, MEMORIES):
                assert read_census(connection, "memories").total == TOTAL
            assert threading.active_count() == before
        assert connection.execute("SELECT 1 AS one").fetchone() == {"one": 1}


def count_after(server: EmbeddedServer, harm: Callable[[], None]) -> None:
    with connect(over_socket(server), seconds=10) as connection, snapshot(connection, MEMORIES):
        harm()
        read_census(connection, "memories")


def backend_of_the_census(server: EmbeddedServer) -> int:
    with open_connection(server, "mem0") as connection:
        row = connection.execute("SELECT pid FROM pg_stat_activity WHERE application_name = 'mem0-assets'").fetchone()
        assert row is not None
        return int(row["pid"])


def test_a_server_that_dies_in_the_middle_is_unreachable(frail_server: EmbeddedServer) -> None:
    with pytest.raises(UnreachableError, match="did not answer within 10 s, or broke off"):
        count_after(frail_server, lambda: os.kill(backend_of_the_census(frail_server), signal.SIGKILL))


def test_a_server_that_is_shut_down_in_the_middle_is_unreachable(frail_server: EmbeddedServer) -> None:
    with pytest.raises(UnreachableError, match="terminating connection due to administrator command"):
        count_after(frail_server, frail_server.stop)


def whole_chain(error: BaseException | None) -> str:
    """Everything that a logger could print of an error: it, what it was raised from, and what was being handled."""
    printed = ""
    while error is not None:
        printed += f"{error!r} {error} {''.join(traceback.format_exception(error))}"
        error = error.__context__
    return printed


@pytest.mark.parametrize("way", [over_socket, over_tcp])
def test_a_wrong_password_is_told_without_the_password(
    lonely_server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch, way: Callable[..., Postgres]
) -> None:
    monkeypatch.setenv("GUARDED_PASSWORD", "hunter2")
    with pytest.raises(DeniedError) as caught:
        take_census(way(lonely_server, user="guarded", password_env="GUARDED_PASSWORD"))
    assert "refused the password of guarded" in str(caught.value)
    assert "Check GUARDED_PASSWORD against the server's own" in str(caught.value)
    assert caught.value.exit_status == 3
    assert "hunter2" not in whole_chain(caught.value)


def test_a_missing_password_is_told(lonely_server: EmbeddedServer) -> None:
    with pytest.raises(DeniedError, match="Check password_env, which is not set"):
        take_census(over_socket(lonely_server, user="guarded"))


def test_the_right_password_is_let_in_and_a_rotated_one_without_restart(
    lonely_server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    postgres = over_tcp(lonely_server, user="guarded", password_env="GUARDED_PASSWORD")
    for password in ("rotated", "mem0"):
        with open_connection(lonely_server, "mem0") as connection:
            connection.execute(f"ALTER ROLE guarded PASSWORD '{password}'")
        monkeypatch.setenv("GUARDED_PASSWORD", password)
        assert take_census(postgres).total == TOTAL


def test_a_password_that_is_also_the_databases_name_hides_no_reason(
    lonely_server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """User, password and database all called mem0: common, and no reason to misread what the server says."""
    monkeypatch.setenv("GUARDED_PASSWORD", "mem0")
    missing = over_tcp(lonely_server, user="guarded", password_env="GUARDED_PASSWORD", database="mem0_gone")
    with pytest.raises(DeniedError, match="it has no database mem0_gone"):
        take_census(missing)


def test_a_role_that_pg_hba_rejects_is_denied(lonely_server: EmbeddedServer) -> None:
    with pytest.raises(DeniedError, match=r"does not let barred in: pg_hba\.conf rejects connection") as caught:
        take_census(over_socket(lonely_server, user="barred"))
    assert "Check pg_hba.conf on the server" in str(caught.value)


@pytest.mark.parametrize("wrong", ["database", "role"])
def test_a_database_or_role_that_is_gone_is_told_as_what_a_recreated_server_looks_like(
    server: EmbeddedServer, wrong: str
) -> None:
    postgres = over_socket(server, database="gone") if wrong == "database" else over_socket(server, user="gone")
    with pytest.raises(DeniedError, match=f"the server answers, and it has no {wrong} gone") as caught:
        take_census(postgres)
    assert "look at its volume before anything else" in str(caught.value)


def test_where_no_server_is_nothing_is_known(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))  # bound and not listening: the port is ours, and nobody answers
        port = probe.getsockname()[1]
        for host in (str(tmp_path), "127.0.0.1"):
            place = {"host": host, "port": port, "user": "mem0", "database": "mem0"}
            with pytest.raises(UnreachableError, match=r"cannot be reached.*Is the server running\?") as caught:
                take_census(Postgres.model_validate(place))
            assert not isinstance(caught.value, DeniedError)


def test_something_that_is_no_postgres_is_unreachable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as accepting:

        def greet_and_close() -> None:
            with listener.accept()[0] as caller:
                caller.recv(8)
                caller.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        done = accepting.submit(greet_and_close)
        place = {"host": "127.0.0.1", "port": listener.getsockname()[1], "user": "mem0", "database": "mem0"}
        with pytest.raises(UnreachableError):
            take_census(Postgres.model_validate(place))
        done.result(60)


def a_role(make_deployment: MakeDeployment, name: str, *rights: str) -> Postgres:
    """A deployment read by a role of its own with these rights."""
    deployment = make_deployment()
    role = f"{name}_{deployment.postgres.database}"
    run_sql(deployment, f'CREATE ROLE "{role}" LOGIN')
    for right in rights:
        run_sql(deployment, right.replace("ROLE_NAME", f'"{role}"'))
    return deployment.postgres.model_copy(update={"user": role})


def test_a_role_without_the_right_to_read_is_told_the_grant_that_it_needs(make_deployment: MakeDeployment) -> None:
    postgres = a_role(make_deployment, "poor")
    with pytest.raises(DeniedError, match="permission denied for table memories") as caught:
        take_census(postgres)
    assert f"GRANT pg_read_all_data TO {postgres.user}" in str(caught.value)


def test_the_grant_of_a_role_with_a_dash_can_be_copied_as_it_stands(make_deployment: MakeDeployment) -> None:
    postgres = a_role(make_deployment, "mem0-reader")
    with pytest.raises(DeniedError) as caught:
        take_census(postgres)
    grant = str(caught.value).rpartition("Let the role read: ")[2]
    with psycopg.connect(
        host=postgres.host, port=postgres.port, user="postgres", dbname=postgres.database, autocommit=True
    ) as connection:
        connection.execute(grant)
    assert take_census(postgres).total == TOTAL


def test_a_role_that_may_only_read_is_enough_for_everything(make_deployment: MakeDeployment) -> None:
    postgres = a_role(make_deployment, "reader", "GRANT pg_read_all_data TO ROLE_NAME")
    census = take_census(postgres)
    assert census.namespaces == SMALL
    assert all(value is not None for value in census.identity.as_json().values())
    with connect(postgres, seconds=10) as connection, snapshot(connection, MEMORIES):
        assert count_tables(connection) == {"memories": TOTAL}


def test_rows_hidden_from_a_role_are_an_error_and_not_a_smaller_count(make_deployment: MakeDeployment) -> None:
    postgres = a_role(
        make_deployment,
        "filtered",
        "GRANT pg_read_all_data TO ROLE_NAME",
        "ALTER TABLE memories ENABLE ROW LEVEL SECURITY",
        "CREATE POLICY few ON memories USING (payload->>'user_id' = 'alice')",
    )
    with pytest.raises(DeniedError, match="row-level security") as caught:
        take_census(postgres)
    assert f"ALTER ROLE {postgres.user} BYPASSRLS" in str(caught.value)


def test_an_exclusive_lock_is_not_waited_for_and_is_no_loss(make_deployment: MakeDeployment) -> None:
    postgres = make_deployment().postgres
    with psycopg.connect(host=postgres.host, user="postgres", dbname=postgres.database) as other:
        other.execute("LOCK TABLE memories IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(UnreachableError, match="another session holds an exclusive lock for more than 2 s"):
            take_census(postgres)


def test_inside_a_snapshot_nobody_can_truncate_the_table(make_deployment: MakeDeployment) -> None:
    """TRUNCATE is not MVCC-safe: without the lock, one that commits now would empty our own, older snapshot."""
    postgres = make_deployment().postgres
    with (
        psycopg.connect(host=postgres.host, user="postgres", dbname=postgres.database, autocommit=True) as other,
        connect(postgres, seconds=20) as connection,
    ):
        other.execute("SET lock_timeout = '100ms'")
        with snapshot(connection, MEMORIES):
            for harm in ("TRUNCATE memories", "DROP TABLE memories"):
                with pytest.raises(psycopg.errors.LockNotAvailable):
                    other.execute(harm)
            assert read_census(connection, "memories").total == TOTAL
        other.execute("TRUNCATE memories")
    assert take_census(postgres).total == 0


@pytest.mark.parametrize(("end", "expected"), [("COMMIT", 0), ("ROLLBACK", TOTAL)])
def test_a_truncate_that_is_just_ending_is_waited_for_and_then_seen_as_it_ended(
    make_deployment: MakeDeployment, end: str, expected: int
) -> None:
    postgres = make_deployment().postgres
    with (
        psycopg.connect(host=postgres.host, user="postgres", dbname=postgres.database, autocommit=True) as other,
        ThreadPoolExecutor(1) as counting,
    ):
        other.execute("BEGIN")
        other.execute("TRUNCATE memories")
        census = counting.submit(take_census, postgres)
        wait_until(
            lambda: other.execute("SELECT 1 FROM pg_locks WHERE NOT granted AND mode = 'AccessShareLock'").fetchone()
        )
        other.execute("COMMIT" if end == "COMMIT" else "ROLLBACK")
        assert census.result(60).total == expected


def test_a_snapshot_does_not_see_what_is_written_meanwhile(make_deployment: MakeDeployment) -> None:
    deployment = make_deployment()
    with connect(deployment.postgres, seconds=20) as connection:
        with snapshot(connection, MEMORIES):
            first = read_census(connection, "memories")
            run_sql(deployment, "DELETE FROM memories WHERE payload->>'user_id' = 'alice'")
            assert read_census(connection, "memories").namespaces == first.namespaces == SMALL
            with pytest.raises(psycopg.errors.ReadOnlySqlTransaction), connection.transaction():
                connection.execute("DELETE FROM memories")
        with snapshot(connection, MEMORIES):
            assert "alice" not in read_census(connection, "memories").namespaces


def test_the_time_limits_of_a_role_do_not_break_a_long_snapshot(make_deployment: MakeDeployment) -> None:
    limits = ["statement", "idle_in_transaction_session", "idle_session", "transaction"]
    postgres = a_role(
        make_deployment,
        "hasty",
        "GRANT pg_read_all_data TO ROLE_NAME",
        *(f"ALTER ROLE ROLE_NAME SET {limit}_timeout = '400ms'" for limit in limits),
        "ALTER ROLE ROLE_NAME SET search_path = nothing",
        "ALTER ROLE ROLE_NAME SET client_encoding = 'LATIN1'",
    )
    with connect(postgres, seconds=None) as connection:
        time.sleep(0.6)
        with snapshot(connection, MEMORIES):
            time.sleep(0.6)
            connection.execute("SELECT pg_sleep(0.6)")
            assert read_census(connection, "memories").namespaces == SMALL


def test_an_embedded_deployment_is_started_when_it_is_asked(frail_server: EmbeddedServer) -> None:
    frail_server.stop()
    census = take_census(Postgres.model_validate({"embedded": frail_server.folder}))
    assert census.namespaces == SMALL
    assert census.identity.database == "mem0"


def test_an_embedded_deployment_whose_folder_is_gone_is_not_made_anew(tmp_path: Path) -> None:
    with pytest.raises(UnreachableError, match="there is no embedded server in"):
        take_census(Postgres.model_validate({"embedded": tmp_path / "gone"}))
    assert list(tmp_path.iterdir()) == []


def _census_as(user: int, folder: Path) -> str:
    os.setgroups([])
    os.setuid(user)
    try:
        take_census(Postgres.model_validate({"embedded": folder}))
    except Mem0AssetsError as error:
        return f"{type(error).__name__}: {error}"
    return "no error"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_an_embedded_deployment_of_another_user_is_denied(server: EmbeddedServer) -> None:
    with multiprocessing.get_context("fork").Pool(1) as pool:
        answer = pool.apply(_census_as, (54321, server.folder))
    assert answer.startswith("DeniedError: the embedded server in")
    assert "belongs to another user. Run this as the user who made it" in answer


@pytest.mark.parametrize("when", ["before it begins", "before it ends"])
def test_a_server_that_freezes_around_a_joined_snapshot_is_given_up(
    lonely_server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """BEGIN and COMMIT wait for the server, too: without a bound a backup hung there for ever."""
    postgres = Postgres(
        host=str(lonely_server.socket_folder), port=lonely_server.port or 0, user="postgres", database="mem0"
    )
    with connect(postgres, seconds=None) as holder, snapshot(holder, MEMORIES):
        exported = holder.execute("SELECT pg_export_snapshot() AS value").fetchone()
        assert exported is not None

        @contextmanager
        def connected(*arguments: Any, **words: Any) -> Iterator[Any]:
            with connect(*arguments, **words) as connection:
                if when == "before it begins":
                    freeze(lonely_server)
                yield connection

        monkeypatch.setattr(postgres_module, "connect", connected)
        try:
            with pytest.raises(UnreachableError), joined(postgres, exported["value"]):
                freeze(lonely_server)
        finally:
            thaw(lonely_server)
