"""The whole fleet as one set of definitions: each deployment's graph, and the sensors that they share."""

import dagster as dg

from mem0_assets.assets.alert_sensors import build_check_sensor, build_run_sensor
from mem0_assets.assets.census_sensor import build_census_sensor
from mem0_assets.assets.configuration_sensor import build_configuration_sensor
from mem0_assets.assets.deployment import build_deployment
from mem0_assets.assets.health_sensor import build_health_sensor
from mem0_assets.assets.housekeeping import housekeeping, housekeeping_schedule
from mem0_assets.fleet import Fleet


def build_fleet(fleet: Fleet) -> dg.Definitions:
    """Everything of one fleet.yaml.

    In-process: the multiprocess executor costs 1.2 s per step, to isolate what is a child process anyway.
    """
    deployments = dg.Definitions.merge(*(build_deployment(fleet, one) for one in fleet.deployments.values()))
    sensors = [
        build_census_sensor(fleet),
        build_health_sensor(fleet),
        build_configuration_sensor(fleet),
        build_run_sensor(fleet, _steps(deployments)),
        build_check_sensor(fleet, _check_keys(deployments)),
    ]
    shared = dg.Definitions(
        jobs=[housekeeping],
        schedules=[housekeeping_schedule],
        sensors=sensors,
        executor=dg.in_process_executor,
    )
    return dg.Definitions.merge(deployments, shared)


def _steps(definitions: dg.Definitions) -> dict[str, str]:
    """The deployment of each step that a run may have: each asset is one, and each set of checks."""
    parts = [part for part in definitions.assets or () if isinstance(part, dg.AssetsDefinition)]
    steps = {part.op.name: next(iter(part.keys)).path[0] for part in parts}
    return steps | {
        part.op.name: key.asset_key.path[0] for part in definitions.asset_checks or () for key in part.check_keys
    }


def _check_keys(definitions: dg.Definitions) -> list[dg.AssetCheckKey]:
    """Every check: those with a definition of their own, and those that an asset evaluates itself."""
    keys = [key for check in definitions.asset_checks or () for key in check.check_keys]
    for asset in definitions.assets or ():
        if isinstance(asset, dg.AssetsDefinition):
            keys += asset.check_keys
    return keys
