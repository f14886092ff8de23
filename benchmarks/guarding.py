"""What guarding costs: a backup of the incident's 1,968 memories, the nightly job through the daemon, a sensor's tick.

Each is run five times: the machines are shared, and one figure says little.
"""

import os
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import psycopg
import requests
from dagster_graphql import DagsterGraphQLClient
from psycopg import sql

from mem0_assets.assets.fleet import build_fleet
from mem0_assets.backups.backup import make_backup
from mem0_assets.demo.deployment import NAME, Demo
from mem0_assets.demo.memories import INCIDENT, create_collection
from mem0_assets.fleet import Fleet, load_fleet
from mem0_assets.live.embedded import SUPERUSER, EmbeddedServer
from mem0_assets.restores.drill import drill

RUNS = 5
DEPLOYMENTS = 10


@dataclass(frozen=True)
class Cost:
    """One figure: all its seconds, and how low it ought to be."""

    title: str
    seconds: list[float]
    goal: str = ""

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    def __str__(self) -> str:
        aim = f"   ({self.goal})" if self.goal else ""
        return f"{self.title:<50} {self.median:7.3f} s   {min(self.seconds):.3f} to {max(self.seconds):.3f}{aim}"


def measure_all(folder: Path) -> Iterator[Cost]:
    """A figure after the other."""
    demo = Demo(folder / "demo")
    demo.create()
    deployment = load_fleet(demo.fleet_file).deployment(NAME)
    try:
        yield Cost("backup of 1,968 memories, with its proof", _times(lambda: make_backup(deployment)), "under 1 s")
        yield Cost("drill of it, with its indexes", _times(lambda: drill(deployment)))
        with _dagster_dev(demo) as client:
            yield Cost("the nightly job through the daemon", _times(lambda: _run_job(client)), "under 10 s")
    finally:
        demo.server.stop("immediate")
    with _ten_deployments(folder) as fleet:
        definitions = build_fleet(fleet)
        instance = dg.DagsterInstance.local_temp(str(folder))
        for one in fleet.deployments.values():
            make_backup(one)
        ticks = _times(lambda: _tick(definitions, instance))
        yield Cost(f"a tick of the sensor, for {DEPLOYMENTS} deployments", ticks, "under 0.15 s")


def _times(action: Callable[[], object]) -> list[float]:
    action()  # not counted: caches, imports, the first pages
    times = []
    for _ in range(RUNS):
        started = time.perf_counter()
        action()
        times.append(time.perf_counter() - started)
    return times


@contextmanager
def _dagster_dev(demo: Demo) -> Iterator[DagsterGraphQLClient]:
    port = _free_port()
    environment = {**os.environ, "MEM0_FLEET": str(demo.fleet_file), "DAGSTER_HOME": str(demo.dagster_home)}
    command = [sys.executable, "-m", "dagster", "dev", "-m", "mem0_assets.definitions", "-h", "127.0.0.1"]
    nowhere = subprocess.DEVNULL
    with subprocess.Popen(
        [*command, "-p", str(port)],
        env=environment,
        cwd=demo.folder,
        start_new_session=True,
        stdout=nowhere,
        stderr=nowhere,
    ) as dagster:
        try:
            _wait_for(f"http://127.0.0.1:{port}/server_info")
            time.sleep(20)  # the daemon's own start
            yield DagsterGraphQLClient("127.0.0.1", port_number=port)
        finally:
            dagster.send_signal(signal.SIGINT)
            try:
                dagster.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(dagster.pid, signal.SIGKILL)


def _run_job(client: DagsterGraphQLClient) -> None:
    run = client.submit_job_execution(f"{NAME}_backup")
    while (status := client.get_run_status(run)) not in (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE):
        time.sleep(0.05)
    if status is not dg.DagsterRunStatus.SUCCESS:
        raise RuntimeError(f"the run {run} ended as {status}")


@contextmanager
def _ten_deployments(folder: Path) -> Iterator[Fleet]:
    server = EmbeddedServer(folder / "ten" / "postgres", fsync=False)
    sockets = server.start()
    names = [f"mem0_{number}" for number in range(DEPLOYMENTS)]
    lines = ["backups_root: ./backups", "deployments:"]
    for name in names:
        place = f"host: {sockets}, user: {SUPERUSER}, database: {name}"
        lines.append(f"  {name}: {{postgres: {{{place}}}}}")
        with psycopg.connect(host=str(sockets), user=SUPERUSER, dbname="postgres", autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        with psycopg.connect(
            host=str(sockets), user=SUPERUSER, dbname=name, autocommit=True, row_factory=psycopg.rows.dict_row
        ) as rows:
            create_collection(rows, INCIDENT, dimensions=64)
    (folder / "ten" / "fleet.yaml").write_text("\n".join(lines) + "\n")
    try:
        yield load_fleet(folder / "ten" / "fleet.yaml")
    finally:
        server.stop("immediate")


_cursor: list[str | None] = [None]


def _tick(definitions: dg.Definitions, instance: dg.DagsterInstance) -> None:
    sensor = definitions.get_repository_def().get_sensor_def("fleet_census")
    with dg.build_sensor_context(instance=instance, cursor=_cursor[0], definitions=definitions) as context:
        _cursor[0] = sensor.evaluate_tick(context).cursor


def _wait_for(url: str) -> None:
    until = time.monotonic() + 120
    while time.monotonic() < until:
        try:
            if requests.get(url, timeout=2).ok:
                return
        except requests.ConnectionError:
            time.sleep(0.2)
    raise TimeoutError(f"{url} did not answer")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
