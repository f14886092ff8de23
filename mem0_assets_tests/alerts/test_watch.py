"""One look at a deployment, and what comes of it."""

import logging
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from mem0_assets.alerts import incidents, write_rules
from mem0_assets.alerts.channel import LogChannel
from mem0_assets.alerts.incidents import IncidentBook
from mem0_assets.alerts.outbox import Outbox
from mem0_assets.alerts.rules import Finding
from mem0_assets.alerts.text import Text
from mem0_assets.alerts.watch import channel_of, deliver, last_proof, look, observe, observe_delivery, report, tell
from mem0_assets.backups.backup import accept_history, make_backup
from mem0_assets.backups.catalog import Catalog
from mem0_assets.fleet import Alerting, Deployment, Fleet, TelegramSettings
from mem0_assets_tests.conftest import SMALL, MakeDeployment, run_sql
from mem0_assets_tests.histories import make_history
from mem0_assets_tests.telegram_stub import TelegramStub, close_connection

MakeFleet = Callable[..., Fleet]

PHANTOM = "0aaaaaaa-0000-4000-8000-000000000001"
ZERO = Finding("count", "count_zero", "critical", "no memories at all", "cat RESTORE.md")


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    """What a missing disk made this process remember is no other test's."""
    yield
    incidents._unwritten.clear()


@pytest.fixture
def telegram(monkeypatch: pytest.MonkeyPatch) -> Iterator[TelegramStub]:
    with TelegramStub() as stub:
        monkeypatch.setenv("WATCH_TOKEN", stub.token)
        monkeypatch.setenv("WATCH_CHAT", stub.chat_id)
        yield stub


@pytest.fixture
def make_fleet(tmp_path: Path, telegram: TelegramStub) -> MakeFleet:
    """A fleet of these deployments, which alarms into the Telegram stub."""

    def make(*deployments: Deployment, root: Path = tmp_path / "backups", **alerts: Any) -> Fleet:
        return Fleet(
            path=tmp_path / "fleet.yaml",
            backups_root=root,
            telegram=TelegramSettings(bot_token_env="WATCH_TOKEN", chat_id_env="WATCH_CHAT", api_url=telegram.url),
            alerts=Alerting(**alerts),
            deployments={one.name: one for one in deployments},
        )

    return make


@pytest.fixture
def backed_up(make_deployment: MakeDeployment, tmp_path: Path) -> Deployment:
    """A deployment with one verified backup."""
    deployment = make_deployment()
    assert make_backup(deployment).verdict.ok
    return deployment


@pytest.fixture
def nowhere(make_deployment: MakeDeployment) -> Deployment:
    """A deployment whose server is not there."""
    return make_deployment(None, postgres={"host": "127.0.0.1", "port": 1})


def kinds(fleet: Fleet, deployment: Deployment) -> dict[str, list[str]]:
    """What a look finds, by scope, without what is implied."""
    found = look(fleet, deployment, seconds=5).findings
    return {scope: [one.kind for one in findings if not one.implied] for scope, findings in found.items()}


FINE: dict[str, list[str]] = {"reach": [], "memories": [], "writes": [], "backups": [], "drills": [], "restores": []}


def test_a_deployment_that_is_well_and_backed_up_has_no_findings(backed_up: Deployment, make_fleet: MakeFleet) -> None:
    assert kinds(make_fleet(backed_up), backed_up) == FINE


def test_a_new_deployment_is_told_to_be_backed_up(make_deployment: MakeDeployment, make_fleet: MakeFleet) -> None:
    deployment = make_deployment()
    assert kinds(make_fleet(deployment), deployment) == {**FINE, "backups": ["never_backed_up"]}


def test_a_look_changes_nothing(make_deployment: MakeDeployment, make_fleet: MakeFleet, tmp_path: Path) -> None:
    deployment = make_deployment()
    look(make_fleet(deployment), deployment)
    assert list(tmp_path.iterdir()) == []


def test_an_emptied_table_is_zero_at_the_next_look(backed_up: Deployment, make_fleet: MakeFleet) -> None:
    run_sql(backed_up, "DELETE FROM memories")
    assert kinds(make_fleet(backed_up), backed_up) == {**FINE, "memories": ["count_zero"]}


def test_a_dropped_table_is_a_loss_and_not_an_outage(backed_up: Deployment, make_fleet: MakeFleet) -> None:
    run_sql(backed_up, "DROP TABLE memories")
    unseen = {scope: found for scope, found in FINE.items() if scope != "writes"}
    assert kinds(make_fleet(backed_up), backed_up) == {**unseen, "memories": ["table_missing"]}
    seen = look(make_fleet(backed_up), backed_up)
    assert seen.census is None
    assert seen.problem is not None
    assert seen.problem.code == "table_missing"


def test_a_server_that_is_not_there_is_unknown_and_not_zero(nowhere: Deployment, make_fleet: MakeFleet) -> None:
    seen = look(make_fleet(nowhere, unreachable_seconds=7), nowhere, seconds=5)
    assert "memories" not in seen.findings
    assert [(one.kind, one.hold) for one in seen.findings["reach"]] == [("postgresql_down", 7)]


def test_an_outage_ends_no_incident_of_the_memories(
    backed_up: Deployment, nowhere: Deployment, make_fleet: MakeFleet
) -> None:
    fleet = make_fleet(backed_up, unreachable_seconds=0)
    run_sql(backed_up, "TRUNCATE memories")
    assert [notice.change for notice in observe(fleet, backed_up, look(fleet, backed_up).findings)] == ["opened"]
    away = backed_up.model_copy(update={"postgres": nowhere.postgres})
    told = observe(fleet, away, look(fleet, away, seconds=5).findings)
    assert [(notice.change, notice.incident.kind) for notice in told] == [("opened", "postgresql_down")]
    assert {one.key for one in IncidentBook(backed_up.backups).open()} >= {"count", "unreachable"}


def test_backups_that_cannot_be_read_are_told_and_the_memories_still_counted(
    make_deployment: MakeDeployment, make_fleet: MakeFleet
) -> None:
    deployment = make_deployment()
    (deployment.backups / "catalog.jsonl").mkdir(parents=True)  # an input/output error, as far as a reader can tell
    seen = look(make_fleet(deployment), deployment)
    assert seen.census is not None
    assert seen.census.namespaces == SMALL
    (finding,) = seen.findings["backups"]
    assert (finding.kind, finding.severity) == ("backups_unreadable", "critical")
    assert "drills" not in seen.findings


def test_a_count_of_zero_is_seen_although_the_backups_cannot_be_read(
    make_deployment: MakeDeployment, make_fleet: MakeFleet
) -> None:
    deployment = make_deployment({})
    (deployment.backups / "catalog.jsonl").mkdir(parents=True)
    assert kinds(make_fleet(deployment), deployment)["memories"] == ["count_zero"]


@pytest.fixture
def with_history(make_deployment: MakeDeployment, tmp_path: Path) -> Deployment:
    """A deployment with one verified backup whose history knows a memory that is nowhere."""
    history = make_history(tmp_path / "history.db", [(PHANTOM, "ADD", "dropped")])
    deployment = make_deployment(stores={"history": str(history)})
    assert make_backup(deployment).verdict.ok
    return deployment


def test_a_write_that_vanished_is_seen_at_the_next_look_told_at_the_second_and_over_once_accepted(
    with_history: Deployment, make_fleet: MakeFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet = make_fleet(with_history)
    assert observe(fleet, with_history, look(fleet, with_history).findings) == []
    assert [one.kind for one in IncidentBook(with_history.backups).open()] == ["writes_dropped"]
    monkeypatch.setattr(write_rules, "HOLD_SECONDS", 0.0)  # as if it had lasted
    (told,) = observe(fleet, with_history, look(fleet, with_history).findings)
    assert (told.change, told.incident.scope, told.incident.kind) == ("opened", "writes", "writes_dropped")
    assert PHANTOM in told.incident.what
    assert accept_history(Catalog(with_history), by="mark", reason="the embedder was switched") == 1
    (told,) = observe(fleet, with_history, look(fleet, with_history).findings)
    assert told.change == "over"


def test_a_history_that_is_not_there_ends_no_incident_of_the_writes(
    with_history: Deployment, make_fleet: MakeFleet
) -> None:
    fleet = make_fleet(with_history)
    observe(fleet, with_history, look(fleet, with_history).findings)
    assert with_history.stores.history
    with_history.stores.history.unlink()
    seen = look(fleet, with_history)
    assert seen.census is not None
    assert "writes" not in seen.findings
    assert "history.db" in str(seen.problem)
    assert observe(fleet, with_history, seen.findings) == []
    assert [one.kind for one in IncidentBook(with_history.backups).open()] == ["writes_dropped"]


def write_hourly(deployment: Deployment, *, until: datetime) -> None:
    """Memories of forty days, one each hour."""
    run_sql(
        deployment,
        "INSERT INTO memories (id, payload) SELECT gen_random_uuid(), jsonb_build_object('created_at', at)"
        f" FROM generate_series('{until.isoformat()}'::timestamptz - interval '40 days',"
        f" '{until.isoformat()}'::timestamptz, interval '1 hour') AS at",
    )


def test_memories_that_stopped_coming_are_a_warning(make_deployment: MakeDeployment, make_fleet: MakeFleet) -> None:
    deployment = make_deployment({})
    write_hourly(deployment, until=datetime.now(UTC) - timedelta(days=2))
    assert kinds(make_fleet(deployment), deployment)["writes"] == ["writes_stopped"]


def test_memories_that_are_still_coming_are_none_whatever_time_they_are_given(
    make_deployment: MakeDeployment, make_fleet: MakeFleet
) -> None:
    deployment = make_deployment()
    assert make_backup(deployment).verdict.ok
    write_hourly(deployment, until=datetime.now(UTC) - timedelta(days=300))
    assert kinds(make_fleet(deployment), deployment)["writes"] == []


def test_an_incident_reaches_the_chat_once(
    backed_up: Deployment, make_fleet: MakeFleet, telegram: TelegramStub
) -> None:
    fleet = make_fleet(backed_up)
    run_sql(backed_up, "TRUNCATE memories")
    for _ in range(3):
        observe(fleet, backed_up, look(fleet, backed_up).findings)
        assert deliver(fleet).left == 0
    assert [text.splitlines()[0] for text in telegram.texts] == ["🔴 prd: memory count is ZERO"]
    assert "Do not restart any container." in telegram.texts[0]
    assert f"holds {sum(SMALL.values())} memories." in telegram.texts[0]
    assert telegram.texts[0].splitlines()[-1].endswith("restore prd --plan")


def test_a_restored_deployment_is_said_to_be_well(
    make_deployment: MakeDeployment, make_fleet: MakeFleet, telegram: TelegramStub
) -> None:
    deployment = make_deployment(None)
    fleet = make_fleet(deployment)
    observe(fleet, deployment, {"memories": [ZERO]})
    observe(fleet, deployment, {"memories": []})
    deliver(fleet)
    assert [text.splitlines()[0] for text in telegram.texts] == [
        "🔴 prd: memory count is ZERO",
        "✅ prd: over: memory count is ZERO",
    ]


def test_an_incident_that_comes_back_while_the_channel_is_down_has_the_last_word(
    make_deployment: MakeDeployment, make_fleet: MakeFleet, telegram: TelegramStub
) -> None:
    deployment = make_deployment(None)
    fleet = make_fleet(deployment, cooldown_seconds=0.001)
    for found in ([ZERO], [], [ZERO]):
        assert observe(fleet, deployment, {"memories": found})
    deliver(fleet)
    signs = [text[0] for text in telegram.texts]
    assert signs == ["🔴", "✅", "🔴"]


def test_repetitions_do_not_pile_up_while_the_channel_is_down(
    make_deployment: MakeDeployment, make_fleet: MakeFleet
) -> None:
    deployment = make_deployment(None)
    fleet = make_fleet(deployment, cooldown_seconds=0.001)
    for _ in range(20):
        observe(fleet, deployment, {"memories": [ZERO]})
    assert Outbox(fleet.alerts_folder).pending(now=datetime.now(UTC)).count == 2  # "opened", and one "still"


def test_without_the_disk_of_the_backups_alerts_go_straight_to_the_chat(
    make_deployment: MakeDeployment, make_fleet: MakeFleet, telegram: TelegramStub, tmp_path: Path
) -> None:
    root = tmp_path / "nas" / "backups"  # the mount point is there no more
    deployment = make_deployment(None).model_copy(update={"backups": root / "prd"})
    fleet = make_fleet(deployment, root=root)
    for _ in range(3):
        observe(fleet, deployment, {"memories": [ZERO]})
    assert [text.splitlines()[0] for text in telegram.texts] == ["🔴 prd: memory count is ZERO"]
    assert deliver(fleet).error is not None
    assert not (tmp_path / "nas").exists()


def test_an_alert_that_nothing_takes_is_tried_again_at_the_next_look(
    make_deployment: MakeDeployment,
    make_fleet: MakeFleet,
    telegram: TelegramStub,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    root = tmp_path / "nas" / "backups"
    deployment = make_deployment(None).model_copy(update={"backups": root / "prd"})
    fleet = make_fleet(deployment, root=root)
    telegram.always = close_connection()
    assert observe(fleet, deployment, {"memories": [ZERO]}) == []
    assert "no memories at all" in caplog.text
    assert telegram.token not in caplog.text
    telegram.always = None
    assert len(observe(fleet, deployment, {"memories": [ZERO]})) == 1
    assert len(telegram.texts) == 1


def test_a_long_alert_goes_straight_to_the_chat_in_parts(
    make_fleet: MakeFleet, telegram: TelegramStub, tmp_path: Path
) -> None:
    fleet = make_fleet(root=tmp_path / "nas" / "backups")
    assert tell(fleet, Text.plain("memory " * 1000), key="long")
    assert len(telegram.texts) == 2


def undelivered(fleet: Fleet, minutes: float) -> None:
    created = datetime.now(UTC) - timedelta(minutes=minutes)
    Outbox(fleet.alerts_folder).enqueue(Text.plain("prd lost a memory"), key="prd/loss", created_at=created)


def test_alerts_that_wait_for_a_quarter_of_an_hour_are_an_incident_of_the_fleet(
    make_fleet: MakeFleet, telegram: TelegramStub, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "backups").mkdir()
    fleet = make_fleet()
    telegram.always = close_connection()
    undelivered(fleet, minutes=16)
    observe_delivery(fleet, deliver(fleet))
    (incident,) = IncidentBook(fleet.alerts_folder).open()
    assert (incident.kind, incident.severity) == ("alerts_undelivered", "critical")
    assert incident.what.startswith("1 alerts wait since 16 minutes: ")
    with caplog.at_level(logging.ERROR):
        assert incident.what in caplog.text


def test_alerts_that_wait_for_a_moment_are_none(make_fleet: MakeFleet, telegram: TelegramStub, tmp_path: Path) -> None:
    (tmp_path / "backups").mkdir()
    fleet = make_fleet()
    telegram.always = close_connection()
    undelivered(fleet, minutes=1)
    observe_delivery(fleet, deliver(fleet))
    assert IncidentBook(fleet.alerts_folder).open() == []


def test_without_telegram_alerts_go_to_the_log(
    make_deployment: MakeDeployment, make_fleet: MakeFleet, caplog: pytest.LogCaptureFixture
) -> None:
    deployment = make_deployment(None)
    fleet = make_fleet(deployment).model_copy(update={"telegram": None})
    assert isinstance(channel_of(fleet), LogChannel)
    observe(fleet, deployment, {"memories": [ZERO]})
    with caplog.at_level(logging.WARNING):
        assert deliver(fleet).sent == 1
    assert "memory count is ZERO" in caplog.text


def test_a_secret_that_is_unset_meanwhile_keeps_the_alerts_waiting(
    make_deployment: MakeDeployment, make_fleet: MakeFleet, telegram: TelegramStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployment = make_deployment(None)
    fleet = make_fleet(deployment)
    monkeypatch.delenv("WATCH_TOKEN")
    observe(fleet, deployment, {"memories": [ZERO]})
    assert "WATCH_TOKEN" in (deliver(fleet).error or "")
    monkeypatch.setenv("WATCH_TOKEN", telegram.token)
    assert deliver(fleet).sent == 1


def drilled(deployment: Deployment, verdict: str) -> None:
    Catalog(deployment).journal.record("drill", backup="20260105_040000", verdict=verdict, reasons=[])


def test_the_last_proof_is_the_newest_good_drill(make_deployment: MakeDeployment) -> None:
    deployment = make_deployment(None)
    assert last_proof(Catalog(deployment)) is None
    drilled(deployment, "ok")
    drilled(deployment, "refused")
    proof = last_proof(Catalog(deployment))
    assert proof is not None
    assert proof[1] == "20260105_040000"


def test_the_report_counts_anew_and_knows_a_drill_whose_backup_has_expired(
    backed_up: Deployment, make_fleet: MakeFleet
) -> None:
    drilled(backed_up, "ok")
    lines = report(make_fleet(backed_up), [backed_up]).text.splitlines()
    assert lines[2] == "✅ prd: 77 memories"
    assert lines[3:6] == [f"  {name}: {count}" for name, count in SMALL.items()]
    assert "77 memories" in lines[6]
    assert "Last proven by a restore: 20260105_040000, " in lines[6]


def test_the_report_names_each_loss_once(backed_up: Deployment, make_fleet: MakeFleet) -> None:
    fleet = make_fleet(backed_up)
    run_sql(backed_up, "TRUNCATE memories")
    observe(fleet, backed_up, look(fleet, backed_up).findings)
    text = report(fleet, [backed_up]).text
    assert "🔴 prd: 0 memories" in text
    assert text.count("memory count is ZERO") == 1
    assert "a namespace is gone" not in text


def test_the_report_of_a_server_that_is_not_there_says_unknown(nowhere: Deployment, make_fleet: MakeFleet) -> None:
    text = report(make_fleet(nowhere), [nowhere]).text
    assert "prd: count unknown: " in text
    assert "0 memories" not in text
