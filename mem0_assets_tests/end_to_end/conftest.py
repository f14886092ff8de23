"""Shared by all tests that look at them: a real `dagster dev` over two deployments on a real server, with one loss in it;
and the real mem0 of several versions."""

import itertools
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

import pytest
import requests
import yaml

from mem0_assets.alerts.spool import Spool
from mem0_assets.backups.backup import make_backup
from mem0_assets.demo.memories import INCIDENT
from mem0_assets.fleet import Deployment, Fleet, Schedule, load_fleet
from mem0_assets.live.embedded import SUPERUSER, EmbeddedServer
from mem0_assets.timetable import next_fire
from mem0_assets_tests.conftest import make_database, run_sql, start_server
from mem0_assets_tests.mem0_environments import environment
from mem0_assets_tests.openai_stub import OpenAIStub
from mem0_assets_tests.real_mem0 import RealMem0, real_mem0
from mem0_assets_tests.telegram_emulator import free_port
from mem0_assets_tests.telegram_stub import TelegramStub

ROOT = Path(__file__).parents[2]
DIMENSIONS = 8
REPOSITORY = {"repositoryLocationName": "mem0_assets.definitions", "repositoryName": "__repository__"}
LAUNCH = """mutation($parameters: ExecutionParams!) { launchRun(executionParams: $parameters) {
    __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }"""
TICKS = """{ repositoriesOrError { ... on RepositoryConnection { nodes { sensors {
    name sensorState { ticks { status timestamp error { message } } } } } } } }"""
# Full hours, half hours and quarters apart: in one of them the next half hour is quiet.
ZONES = ("UTC", "Asia/Kolkata", "Asia/Kathmandu", "Asia/Tokyo", "Australia/Eucla", "Pacific/Marquesas")
ALARM = ("fleet_census", "run_alerts", "check_alerts")
FINISHED = {"SUCCESS", "FAILURE", "CANCELED"}

Answer = TypeVar("Answer")

_numbers = itertools.count(1)


def until(what: str, ask: Callable[[], Answer | None], seconds: float = 60.0) -> Answer:
    """Ask until there is an answer; fails with `what` where none comes."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        answer = ask()
        if answer:
            return answer
        time.sleep(0.1)
    raise AssertionError(f"waited {seconds:g} s in vain: {what}")


@dataclass(frozen=True)
class DagsterDev:
    """A running `dagster dev`, what it guards, and whom it alarms."""

    process: "subprocess.Popen[bytes]"
    port: int
    home: Path
    log: Path
    fleet: Fleet
    telegram: TelegramStub

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ask(self, query: str, **variables: object) -> Any:
        """The data of one GraphQL query."""
        answer = requests.post(f"{self.url}/graphql", json={"query": query, "variables": variables}, timeout=60).json()
        assert "errors" not in answer, answer["errors"]
        return answer["data"]

    def launch(self, job: str) -> str:
        """Launch a job as the UI does; the run's id."""
        return self._launch({"selector": {**REPOSITORY, "jobName": job}, "mode": "default"})

    def press(self, deployment: str, thing: str, config: Mapping[str, str]) -> str:
        """Materialize one asset with what was typed into its launchpad; the run's id."""
        selector = {**REPOSITORY, "jobName": "__ASSET_JOB", "assetSelection": [{"path": [deployment, thing]}]}
        run_config = {"ops": {f"{deployment}__{thing}": {"config": dict(config)}}}
        return self._launch({"selector": selector, "mode": "default", "runConfigData": run_config})

    def _launch(self, parameters: Mapping[str, Any]) -> str:
        data = self.ask(LAUNCH, parameters=parameters)["launchRun"]
        assert "run" in data, data
        return str(data["run"]["runId"])

    def status(self, run_id: str) -> str:
        """How a run ended, once it has."""

        def ended() -> str | None:
            data = self.ask("query($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }", id=run_id)
            status: str = data["runOrError"]["status"]
            return status if status in FINISHED else None

        return until(f"the run {run_id} ends", ended)

    def materializations(self, deployment: str, thing: str) -> list[dict[str, Any]]:
        """The materializations of an asset, the newest first: the run's id (empty without one) and the row count."""
        data = self.ask(
            """query($key: AssetKeyInput!) { assetOrError(assetKey: $key) { ... on Asset { assetMaterializations {
            runId metadataEntries { label ... on IntMetadataEntry { intValue } } } } } }""",
            key={"path": [deployment, thing]},
        )
        return [
            {"run": one["runId"], **{entry["label"]: entry.get("intValue") for entry in one["metadataEntries"]}}
            for one in data["assetOrError"].get("assetMaterializations", [])
        ]

    def ticks(self) -> dict[str, list[dict[str, Any]]]:
        """The ticks of each sensor, the newest first."""
        (repository,) = self.ask(TICKS)["repositoriesOrError"]["nodes"]
        return {sensor["name"]: sensor["sensorState"]["ticks"] for sensor in repository["sensors"]}

    def told(self) -> list[str]:
        """Every alert, delivered or not yet."""
        waiting = [part.text for _, message in Spool(self.fleet.alerts_folder).messages() for part in message.parts]
        return self.telegram.texts + waiting

    def processes(self) -> list[int]:
        """The processes of its session that live now."""
        return [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if _session(pid) == self.process.pid]

    def stop(self) -> None:
        """End it as a service manager does. Fails where it does not go by itself, or leaves somebody behind."""
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(60)
            until("every process of dagster dev is gone", lambda: not self.processes(), 20)
        finally:
            for pid in self.processes():
                os.kill(pid, signal.SIGKILL)


def _session(pid: int) -> int | None:
    """The session of a living process."""
    try:
        after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if after_name[0] == "Z" else int(after_name[3])


@dataclass(frozen=True)
class Loss:
    """What was seen while prd lost every memory: how the two backups that were then launched ended."""

    runs_before_alert: int
    alert: str
    prd_run: str
    prd_status: str
    test_run: str
    test_status: str


@pytest.fixture(scope="session")
def dagster_dev(server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DagsterDev]:
    """`dagster dev` with the project's own workspace.yaml and dagster.yaml, guarding prd and test.

    Both have one backup, which was made without Dagster. On the way out it must end cleanly.
    """
    folder = tmp_path_factory.mktemp("dagster_dev")
    with TelegramStub() as telegram, pytest.MonkeyPatch.context() as environment:
        environment.setenv("TELEGRAM_BOT_TOKEN", telegram.token)
        environment.setenv("TELEGRAM_CHAT_ID", telegram.chat_id)
        fleet = load_fleet(_write_fleet(folder, server, telegram))
        for deployment in fleet.deployments.values():
            make_database(server, deployment.postgres.database, INCIDENT, DIMENSIONS)
            assert make_backup(deployment).verdict.ok
        running = _start(folder, fleet, telegram)
        try:
            until("Dagster's webserver answers", lambda: _answers(running), 120)
            yield running
        finally:
            running.stop()


@pytest.fixture(scope="session")
def loss(dagster_dev: DagsterDev) -> Loss:
    """prd loses every memory: the sensor sees it by itself, then both deployments are asked for a backup."""
    dev = dagster_dev
    for name in dev.fleet.deployments:
        until(f"{name} is counted", partial(dev.materializations, name, "memory_counts"))
        until(f"{name}'s backup is shown", partial(dev.materializations, name, "validated_dump"))
    assert dev.telegram.texts == []
    run_sql(dev.fleet.deployment("prd"), "DELETE FROM memories")
    until("the loss is told", lambda: dev.telegram.texts)
    runs = dev.ask("{ runsOrError { ... on Runs { results { runId } } } }")["runsOrError"]["results"]
    prd_run, test_run = dev.launch("prd_backup"), dev.launch("test_backup")
    statuses = dev.status(prd_run), dev.status(test_run)
    ended = time.time()
    until("who alarms on it has seen it", lambda: all(dev.ticks()[name][0]["timestamp"] > ended for name in ALARM))
    until("the refusal is told", lambda: len(dev.telegram.texts) > 1)
    return Loss(len(runs), dev.telegram.texts[0], prd_run, statuses[0], test_run, statuses[1])


def _quiet_zone() -> str:
    """A time zone in which nothing fires in the next minutes: a backup at the full hour is none that a test has begun."""
    now, lines = datetime.now(UTC), [line for line in Schedule().model_dump().values() if line and " " in line]
    soonest = {zone: min(next_fire(line, ZoneInfo(zone), now) for line in lines) for zone in ZONES}
    return max(soonest, key=lambda zone: soonest[zone])


def _write_fleet(folder: Path, server: EmbeddedServer, telegram: TelegramStub) -> Path:
    deployments: dict[str, Mapping[str, object]] = {}
    zone = _quiet_zone()
    for name in ("prd", "test"):
        place = {"host": str(server.socket_folder), "port": server.port or 5432, "user": SUPERUSER}
        deployments[name] = {
            "postgres": {**place, "database": f"mem0_{name}_{os.getpid()}"},
            "limits": {"warn_bytes": 0},
            "schedule": {"timezone": zone},
            "health": {"min_free_bytes": 0},  # however full the disk of this machine is
        }
    path = folder / "fleet.yaml"
    content = {"backups_root": "./backups", "telegram": {"api_url": telegram.url}, "deployments": deployments}
    path.write_text(yaml.safe_dump(content))
    return path


def _start(folder: Path, fleet: Fleet, telegram: TelegramStub) -> DagsterDev:
    home, log, port = folder / "home", folder / "dagster.log", free_port()
    home.mkdir()
    shutil.copy(ROOT / "dagster.yaml", home)
    environment = {**os.environ, "DAGSTER_HOME": str(home), "MEM0_FLEET": str(fleet.path), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "dagster", "dev", "-w", str(ROOT / "workspace.yaml")]
    with open(log, "wb") as output:
        process = subprocess.Popen(
            [*command, "-h", "127.0.0.1", "-p", str(port)],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            preexec_fn=_listen_to_signals,
        )
    return DagsterDev(process, port, home, log, fleet, telegram)


def _listen_to_signals() -> None:
    """A shell's `&` passes on "SIGINT is ignored", and Dagster handles SIGTERM as SIGINT: it could not be ended."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _answers(running: DagsterDev) -> bool:
    assert running.process.poll() is None, running.log.read_text()[-3000:]
    try:
        return requests.get(f"{running.url}/server_info", timeout=5).ok
    except requests.ConnectionError:
        return False


@pytest.fixture(scope="session")
def tcp_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    """A server that mem0 reaches by TCP. Tests make their own databases in it and never stop it."""
    server = start_server(tmp_path_factory.mktemp("pg_tcp") / "data", port=free_port())
    yield server
    server.stop("immediate")


Mem0Of = Callable[[str], RealMem0]


@pytest.fixture(scope="session")
def mem0_of(tcp_server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mem0Of]:
    """The real mem0 of a version, in a process of its own that goes on from test to test."""
    running: dict[str, RealMem0] = {}
    with ExitStack() as stack:
        openai = stack.enter_context(OpenAIStub())

        def start(version: str) -> RealMem0:
            if version not in running:
                folder = tmp_path_factory.mktemp("mem0")
                running[version] = stack.enter_context(real_mem0(tcp_server, openai, folder, environment(version)))
            return running[version]

        yield start


@pytest.fixture
def real_deployment(tcp_server: EmbeddedServer, tmp_path: Path) -> Deployment:
    """A deployment on an empty database of its own, with a history that mem0 has still to make."""
    database = f"real_{next(_numbers)}"
    make_database(tcp_server, database, None)
    raw = {
        "name": "prd",
        "backups": tmp_path / "backups" / "prd",
        "postgres": {"host": "127.0.0.1", "port": tcp_server.port, "user": SUPERUSER, "database": database},
        "stores": {"history": tmp_path / "history.db"},
    }
    return Deployment.model_validate(raw)


@pytest.fixture
def real_fleet(real_deployment: Deployment, tmp_path: Path) -> Fleet:
    path, root = tmp_path / "fleet.yaml", tmp_path / "backups"
    return Fleet(path=path, backups_root=root, deployments={"prd": real_deployment})
