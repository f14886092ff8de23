"""`mem0-assets configuration`: what is configured, by whom, and what differs; and a person's word that it is meant."""

from typing import Any

from mem0_assets.alerts.configuration_rules import judge_configuration, severity_of
from mem0_assets.alerts.watch import deliver, observe
from mem0_assets.backups.accepted_configuration import accept_configuration, configuration_now, drift
from mem0_assets.backups.catalog import Catalog
from mem0_assets.commands.context import DeploymentName, exit_unless, speaker, the_deployment
from mem0_assets.fleet import Deployment, Fleet
from mem0_assets.live.configuration import SOURCES


def configuration(deployment: DeploymentName) -> None:
    """What the deployment is configured to, by every source that can be read, and what differs."""
    chosen = the_deployment(deployment)
    catalog = Catalog(chosen)
    with speaker.working(f"reading the configuration of {chosen.name}"):
        now = configuration_now(catalog)
        found = drift(catalog, now)
    told = [{**one.as_json(), "severity": severity_of(one), "what": one.sentence()} for one in found]
    speaker.result({"deployment": chosen.name, **now.as_json(), "differences": told})
    speaker.table(f"{chosen.name}: configuration", ["setting", "value", "who says it"], now.rows())
    for source, why in now.unknown.items():
        speaker.line(f"not known: {SOURCES[source]}: {why}", "yellow")
    for one in found:
        speaker.line(f"{severity_of(one)}: {one.sentence()}", "red")
    speaker.verdict(not found, f"{len(found)} differences" if found else "nothing differs from what was accepted")
    exit_unless(not found)


def accept_drift(fleet: Fleet, deployment: Deployment, *, by: str, reason: str) -> dict[str, Any]:
    """Note a person's word on the configuration as it is now, and end the incidents that it ends, at once.

    Also those of a source that is silent, perhaps for good.
    """
    catalog = Catalog(deployment)
    meant = accept_configuration(catalog, by=by, reason=reason)
    left = judge_configuration(deployment, drift(catalog, configuration_now(catalog)))
    observe(fleet, deployment, {"configuration": left})
    deliver(fleet)
    return {"differences": [one.sentence() for one in meant]}
