"""What every command needs: the one who speaks, the fleet that was named, and alerts after the work."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from mem0_assets.alerts.watch import deliver, look_at_disk, observe
from mem0_assets.console import Speaker
from mem0_assets.errors import Mem0AssetsError
from mem0_assets.fleet import Deployment, Fleet, load_fleet

speaker = Speaker()
# What --fleet named; empty where it was not given.
fleet_option: list[Path] = []

DeploymentName = Annotated[str, typer.Argument(metavar="DEPLOYMENT", help="A deployment of fleet.yaml.")]


def the_deployment(name: str) -> Deployment:
    """The deployment of this name. Raises ConfigurationError."""
    return fleet_and(name)[1]


def fleet_and(name: str) -> tuple[Fleet, Deployment]:
    """The whole fleet, and the deployment of this name. Raises ConfigurationError."""
    fleet = load_fleet(*fleet_option)
    return fleet, fleet.deployment(name)


@contextmanager
def alerting(fleet: Fleet, deployment: Deployment) -> Iterator[None]:
    """Whatever comes of the work, its incidents are noted and told: cron's users rely on it."""
    try:
        yield
    finally:
        try:
            observe(fleet, deployment, look_at_disk(deployment))
            report = deliver(fleet)
            if report.error:
                speaker.err.print(f"{report.left} alerts wait for delivery: {report.error}")
        except (Mem0AssetsError, OSError) as error:
            speaker.err.print(f"the alert could not be kept: {error}")


def exit_unless(ok: bool) -> None:
    """Exit status 1 for a refusal or a failed check."""
    if not ok:
        raise typer.Exit(1)


def say_reasons(reasons: list[dict[str, str]]) -> None:
    """One line for each reason of a refusal."""
    for reason in reasons:
        speaker.line(f"  {reason['code']}: {reason['message']}", "red")
