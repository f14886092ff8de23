"""The checks on `memories`: whether what serves a deployment's memories is well, and the data behind it answer."""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from mem0_assets.fleet import Deployment
from mem0_assets.live.health import CheckName, Health, checks_of, look_at_health

# Each check's name in the UI, and what it proves.
HEALTH_CHECKS: dict[CheckName, tuple[str, str]] = {
    "server": ("server_healthy", "mem0's server answers from the databases behind it, as far as its key lets us ask."),
    "postgres": ("postgres_healthy", "PostgreSQL lets us in, and the memories can be read."),
    "neo4j": ("neo4j_healthy", "Neo4j lets us in, and its nodes can be counted."),
    "disk": ("disk_space", "There are min_free_bytes where the backups lie, and where an embedded server's data do."),
    "grafana": ("grafana_healthy", "Grafana answers, and has its own database."),
}


def health_checks(deployment: Deployment) -> dg.AssetChecksDefinition:
    """The checks that a deployment has. The sensor `fleet_health` evaluates the same ones without a run."""
    key = _key(deployment)
    specs = [
        dg.AssetCheckSpec(HEALTH_CHECKS[check][0], asset=key, description=HEALTH_CHECKS[check][1])
        for check in checks_of(deployment)
    ]

    @dg.multi_asset_check(name=f"{deployment.name}_health_checks", specs=specs, can_subset=True)
    def checks(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        selected = {one.name for one in context.selected_asset_check_keys}
        for seen in look_at_health(deployment):
            if HEALTH_CHECKS[seen.check][0] in selected:
                yield dg.AssetCheckResult(asset_key=key, **_result(seen))

    return checks


def health_evaluations(deployment: Deployment, seen: list[Health]) -> list[dg.AssetCheckEvaluation]:
    """The same checks as runless events, from a look that was taken anyway."""
    return [dg.AssetCheckEvaluation(asset_key=_key(deployment), **_result(one)) for one in seen]


def _key(deployment: Deployment) -> dg.AssetKey:
    return dg.AssetKey([deployment.name, "memories"])


def _result(seen: Health) -> dict[str, Any]:
    """Errors, all of them: `check_alerts` leaves errors of these checks to the incidents that tell of them."""
    return {
        "check_name": HEALTH_CHECKS[seen.check][0],
        "passed": seen.ok,
        "severity": dg.AssetCheckSeverity.WARN if seen.ok else dg.AssetCheckSeverity.ERROR,
        "description": " ".join(text for text in (f"{seen.sentence}.", seen.next_step) if text),
        "metadata": {"code": seen.code, **seen.facts},
    }
