"""`mem0-assets demo`: make the demo, guard it by Dagster runs, say what was proven, and serve the UI."""

import os
import signal
import socket
import subprocess
import sys
from types import FrameType

from mem0_assets.alerts.watch import look_at_configuration
from mem0_assets.backups.catalog import Catalog
from mem0_assets.backups.retention import why_held
from mem0_assets.console import Speaker
from mem0_assets.demo.deployment import NAME, Demo
from mem0_assets.errors import ConfigurationError
from mem0_assets.fleet import load_fleet
from mem0_assets.live.census import take_census

JOBS = [f"{NAME}_census", f"{NAME}_backup", f"{NAME}_drill"]


def show_demo(demo: Demo, speaker: Speaker, *, ui: bool, port: int) -> bool:
    """Run the whole demo; whether everything was proven. With `ui` it returns when the UI is stopped."""
    if ui:
        _require_free(port)
    with speaker.working("demo") as (_, tell):
        tell("an embedded PostgreSQL with 1,968 memories")
        demo.create()
        os.environ |= {"MEM0_FLEET": str(demo.fleet_file), "DAGSTER_HOME": str(demo.dagster_home)}
        tell("census, backup, validation and drill, as Dagster runs")
        ok = _guard(demo)
    ok = _say_what_was_proven(demo, speaker) and ok
    if ui and ok:
        _serve(demo, speaker, port)
    return ok


def _guard(demo: Demo) -> bool:
    from mem0_assets.assets.execution import run_jobs
    from mem0_assets.assets.fleet import build_fleet

    fleet = load_fleet(demo.fleet_file)
    look_at_configuration(fleet.deployment(NAME))  # the first look is what later ones are held against
    return all(run_jobs(build_fleet(fleet), demo.dagster_home, JOBS).values())


def _say_what_was_proven(demo: Demo, speaker: Speaker) -> bool:
    deployment = load_fleet(demo.fleet_file).deployment(NAME)
    catalog = Catalog(deployment)
    newest, census = catalog.newest_verified(), take_census(deployment.postgres)
    drill = catalog.last_drill() or {"verdict": "refused", "seconds": {"total": 0}}
    ok = newest is not None and why_held(catalog) is None and drill["verdict"] == "ok"
    backup = newest.backup if newest else None
    content = {"deployment": NAME, "total": census.total, "backup": backup, "drill": drill["verdict"]}
    speaker.result({**content, "fleet": str(demo.fleet_file)})
    speaker.table("The demo deployment", ["namespace", "memories"], census.namespaces.items())
    speaker.verdict(True, f"census: {census.total:,} memories of {census.identity.dimensions} dimensions")
    speaker.verdict(newest is not None, f"backup: {backup}, read back from disk and equal to the census")
    speaker.verdict(ok, f"drill: restored for real in {drill['seconds']['total']} s, and every memory came back")
    speaker.line(f"Every other command works on it: mem0-assets --fleet {demo.fleet_file} status")
    return ok


def _serve(demo: Demo, speaker: Speaker, port: int) -> None:
    speaker.line(f"\nThe Dagster UI: http://127.0.0.1:{port}/asset-groups   (Ctrl-C ends it)", "bold")
    speaker.line("In another terminal, lose the memories and watch: mem0-assets demo lose --how truncate")
    command = [
        sys.executable,
        "-m",
        "dagster",
        "dev",
        "-m",
        "mem0_assets.definitions",
        "-h",
        "127.0.0.1",
        "-p",
        str(port),
    ]
    command += ["--log-level", "warning", "--code-server-log-level", "warning"]  # alerts, not every tick
    signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # a shell's `&` passes on "ignored", and Dagster could not end
    with subprocess.Popen(command, cwd=demo.folder, start_new_session=True) as dagster:
        _end_with_us(dagster)
        try:
            dagster.wait()
        except KeyboardInterrupt:
            _end(dagster)
        finally:
            demo.server.stop()


def _end_with_us(dagster: "subprocess.Popen[bytes]") -> None:
    def end(number: int, frame: FrameType | None) -> None:
        _end(dagster)

    signal.signal(signal.SIGTERM, end)


def _end(dagster: "subprocess.Popen[bytes]") -> None:
    """End Dagster as Ctrl-C would: it takes its own children with it."""
    dagster.send_signal(signal.SIGINT)
    try:
        dagster.wait(30)
    except subprocess.TimeoutExpired:
        os.killpg(dagster.pid, signal.SIGKILL)


def _require_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            raise ConfigurationError(f"the port {port} is in use", next_step="Name another one: --port 3001") from None
