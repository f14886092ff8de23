"""A fleet on real databases as Dagster sees it: its definitions, an instance that ends with the test, runs and ticks."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from mem0_assets.alerts.spool import Spool
from mem0_assets.assets.fleet import build_fleet
from mem0_assets.backups.catalog import Catalog
from mem0_assets.fleet import Alerting, Deployment, Fleet, TelegramSettings
from mem0_assets_tests.telegram_stub import TelegramStub

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
# Small deployments are small on purpose: no cautions about that.
CALM = {"warn_rows": 0, "warn_bytes": 0}


@dataclass(frozen=True)
class Project:
    """A fleet's definitions and the instance in which they run."""

    fleet: Fleet
    definitions: dg.Definitions
    instance: dg.DagsterInstance

    def run(self, job: str) -> dg.ExecuteInProcessResult:
        """Run a job of the fleet; its failure is for the test to look at."""
        definition = self.definitions.resolve_job_def(job)
        return definition.execute_in_process(instance=self.instance, run_config=QUIET, raise_on_error=False)

    def click(self, *keys: Sequence[str]) -> dg.ExecuteInProcessResult:
        """Materialize these assets (with their checks) as the UI's button does."""
        job = self.definitions.resolve_implicit_global_asset_job_def()
        selection = [dg.AssetKey(key) for key in keys]
        return job.execute_in_process(
            instance=self.instance, run_config=QUIET, raise_on_error=False, asset_selection=selection
        )

    def tick(self, sensor: str, cursor: str | None = None) -> Any:
        """Evaluate a sensor once, and store its events as the daemon does."""
        with dg.build_sensor_context(
            instance=self.instance, cursor=cursor, definitions=self.definitions, sensor_name=sensor
        ) as context:
            data = self.definitions.resolve_sensor_def(sensor).evaluate_tick(context)
        for event in data.asset_events:
            self.instance.report_runless_asset_event(event)
        return data

    def catalog(self, name: str = "prd") -> Catalog:
        return Catalog(self.fleet.deployment(name))

    def waiting(self) -> list[str]:
        """The texts that wait in the outbox."""
        return [part.text for _, message in Spool(self.fleet.alerts_folder).messages() for part in message.parts]


OpenProject = Callable[..., Project]


@pytest.fixture
def open_project(tmp_path: Path) -> Iterator[OpenProject]:
    """Makes a project of these deployments: `open_project(prd, test, telegram=stub, instance=...)`."""
    with ExitStack() as stack:

        def open_it(
            *deployments: Deployment,
            telegram: TelegramStub | None = None,
            instance: dg.DagsterInstance | None = None,
            **alerts: float,
        ) -> Project:
            fleet = Fleet(
                path=tmp_path / "fleet.yaml",
                backups_root=tmp_path / "backups",
                telegram=TelegramSettings(api_url=telegram.url) if telegram else None,
                alerts=Alerting(**alerts),
                deployments={deployment.name: deployment for deployment in deployments},
            )
            instance = instance or stack.enter_context(dg.DagsterInstance.ephemeral())
            return Project(fleet, build_fleet(fleet), instance)

        yield open_it


@pytest.fixture
def telegram(monkeypatch: pytest.MonkeyPatch) -> Iterator[TelegramStub]:
    """A Telegram on loopback, and its secrets in the environment."""
    with TelegramStub() as stub:
        monkeypatch.setenv("TELEGRAM_BOT_TOKEN", stub.token)
        monkeypatch.setenv("TELEGRAM_CHAT_ID", stub.chat_id)
        yield stub


def metadata_of(result: dg.ExecuteInProcessResult, thing: str) -> dict[str, Any]:
    """The metadata of the materialization of [deployment, thing] in this run."""
    found = [event for event in result.get_asset_materialization_events() if event.asset_key.path[-1] == thing]  # type: ignore[union-attr]
    assert len(found) == 1, f"{thing} was materialized {len(found)} times"
    return {name: value.value for name, value in found[0].materialization.metadata.items()}


def materialized(result: dg.ExecuteInProcessResult) -> list[str]:
    """What was materialized in this run, in order."""
    return [event.asset_key.path[-1] for event in result.get_asset_materialization_events() if event.asset_key]


def red(result: dg.ExecuteInProcessResult) -> dict[str, str]:
    """The checks that failed in this run as errors, and why."""
    return _failed(result, dg.AssetCheckSeverity.ERROR)


def yellow(result: dg.ExecuteInProcessResult) -> dict[str, str]:
    """The checks that failed in this run as warnings, and why."""
    return _failed(result, dg.AssetCheckSeverity.WARN)


def _failed(result: dg.ExecuteInProcessResult, severity: dg.AssetCheckSeverity) -> dict[str, str]:
    evaluations = result.get_asset_check_evaluations()
    return {one.check_name: one.description or "" for one in evaluations if not one.passed and one.severity == severity}


def failure_of(result: dg.ExecuteInProcessResult) -> dg.Failure:
    """What the first failed step gave as its reason, with its metadata."""
    data = next(event.step_failure_data for event in result.all_events if event.is_step_failure)
    assert data.user_failure_data is not None, data.error
    return dg.Failure(data.user_failure_data.description, metadata=data.user_failure_data.metadata)
