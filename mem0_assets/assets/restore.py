"""A restore in the UI: its plan, and then, with the deployment's name as a person's word, all of its steps in one run.

The steps are one step of Dagster's, because one lock is held from the first to the last; each shows its evidence as an asset
of its own. Without the word nothing is begun, so that "materialize all" restores nothing.
"""

from collections.abc import Iterator

import dagster as dg

from mem0_assets.assets.failures import failure, plain_failures
from mem0_assets.assets.groups import recovery_group
from mem0_assets.assets.metadata import Metadata
from mem0_assets.backups.safety import SafetyBackup
from mem0_assets.errors import ConfigurationError
from mem0_assets.fleet import Deployment
from mem0_assets.restores.plan import Plan, plan_restore
from mem0_assets.restores.report import RestoreReport
from mem0_assets.restores.restore import Restore, beginning, holding, require_confirmation
from mem0_assets.restores.settling import settle

# What the failure of an unconfirmed restore names in place of an incident: nothing was begun, and nobody is alarmed.
NOT_CONFIRMED = "not_confirmed"

Event = dg.MaterializeResult[None] | dg.AssetCheckResult


class WhichBackup(dg.Config):
    """The backup's id; "latest" is the newest verified one."""

    backup: str = "latest"


class RestoreWord(WhichBackup):
    """`confirm` is the deployment's name, typed by a person; `by` is who that is."""

    confirm: str = ""
    by: str = "dagster"
    end_sessions: bool = False


def build_restore(deployment: Deployment, owners: list[str]) -> list[dg.AssetsDefinition]:
    """The plan, and the restore with its three parts."""
    return [_plan(deployment, owners), _restore(deployment, owners)]


def restore_words(deployment: Deployment) -> dg.ConfigMapping:
    """The run config of the job `DEPLOYMENT_restore`: the backup, the word, and whose it is."""

    @dg.config_mapping(
        config_schema={
            "backup": dg.Field(str, default_value="latest", description="A backup's id, or latest."),
            "confirm": dg.Field(str, default_value="", description=f"Your word: {deployment.name}"),
            "by": dg.Field(str, default_value="dagster", description="Who you are."),
            "end_sessions": dg.Field(bool, default_value=False, description="End what holds the database."),
        }
    )
    def words(value: dict[str, object]) -> dict[str, object]:
        plan, all_of_it = f"{deployment.name}__restore_plan", f"{deployment.name}__restore"
        return {"ops": {plan: {"config": {"backup": value["backup"]}}, all_of_it: {"config": value}}}

    return words


def _plan(deployment: Deployment, owners: list[str]) -> dg.AssetsDefinition:
    @dg.asset(
        key=[deployment.name, "restore_plan"],
        deps=[[deployment.name, "validated_dump"], [deployment.name, "memories"]],
        group_name=recovery_group(deployment),
        description="What a restore would gain and lose, what must stop, and what forbids it. Writes nothing.",
        kinds={"postgres"},
        owners=owners,
    )
    def restore_plan(config: WhichBackup) -> dg.MaterializeResult[None]:
        with plain_failures(incident=None):
            return dg.MaterializeResult(metadata=plan_metadata(plan_restore(deployment, config.backup)))

    return restore_plan


def _restore(deployment: Deployment, owners: list[str]) -> dg.AssetsDefinition:
    def spec(thing: str, after: str, description: str) -> dg.AssetSpec:
        return dg.AssetSpec(
            [deployment.name, thing],
            deps=[[deployment.name, after]],
            group_name=recovery_group(deployment),
            description=description,
            kinds={"postgres"},
            owners=owners,
        )

    database = dg.AssetKey([deployment.name, "restored_database"])

    @dg.multi_asset(
        name=f"{deployment.name}__restore",
        specs=[
            spec("safety_backup", "restore_plan", "What was there before, kept in safety/ until a person lets it go."),
            spec("restored_database", "safety_backup", "The backup, loaded beside the live database and verified."),
            spec("restored_deployment", "restored_database", "Swapped in; the writers run, and mem0 was asked."),
        ],
        check_specs=[
            dg.AssetCheckSpec(
                "restored_exactly",
                asset=database,
                blocking=True,
                description="Every namespace holds exactly what the manifest says, with valid indexes and a search.",
            )
        ],
        pool=f"{deployment.name}_database",
    )
    def restored(context: dg.AssetExecutionContext, config: RestoreWord) -> Iterator[Event]:
        try:
            require_confirmation(deployment, config.confirm)
        except ConfigurationError as error:
            raise failure(str(error), NOT_CONFIRMED, code=error.code) from None
        with plain_failures(incident=None):
            yield from _steps(context, deployment, config)

    return restored


def _steps(context: dg.AssetExecutionContext, deployment: Deployment, word: RestoreWord) -> Iterator[Event]:
    def key(thing: str) -> dg.AssetKey:
        return dg.AssetKey([deployment.name, thing])

    tell = context.log.info
    with holding(deployment) as catalog:
        settled = settle(deployment, catalog, tell)
        if settled and settled.state == "done" and "undoing" not in settled.steps:
            raise failure(f"the interrupted restore {settled.restore} was finished, and no new one begun", None)
        with beginning(deployment, catalog, word.backup, by=word.by, end_sessions=word.end_sessions, tell=tell) as work:
            kept = work.keep_what_is_there()
            yield dg.MaterializeResult(asset_key=key("safety_backup"), metadata=safety_metadata(kept))
            work.stop_writers()
            work.load()
            yield _judged(work, key("restored_database"))
            report = work.report()
            yield dg.MaterializeResult(asset_key=key("restored_database"), metadata=report_metadata(report))
            work.swap()
        report = work.finish()
        yield dg.MaterializeResult(asset_key=key("restored_deployment"), metadata=report_metadata(report))


def _judged(work: Restore, key: dg.AssetKey) -> dg.AssetCheckResult:
    """The check, where it is passed; what was loaded otherwise goes away again, and the step fails with the reasons."""
    verdict = work.verify()
    if not verdict.ok:
        raise failure(f"what came back is not what the backup claims: {verdict.sentence()}", None)
    return dg.AssetCheckResult(asset_key=key, check_name="restored_exactly", passed=True)


def plan_metadata(plan: Plan) -> Metadata:
    """The plan's numbers per namespace, and what stands against it."""
    content = plan.as_json()
    columns = [dg.TableColumn("namespace", "string")]
    columns += [dg.TableColumn(name, "int") for name in ("live", "backup", "gained", "lost")]
    records = [dg.TableRecord(change) for change in plan.changes]
    return {
        "backup": dg.MetadataValue.text(plan.backup.backup),
        "verdict": dg.MetadataValue.text(plan.against.sentence()),
        "gained": dg.MetadataValue.int(content["gained"]),
        "lost": dg.MetadataValue.int(content["lost"]),
        "namespaces": dg.MetadataValue.table(records, schema=dg.TableSchema(columns=columns)),
        "plan": dg.MetadataValue.json(content),
    }


def safety_metadata(kept: SafetyBackup) -> Metadata:
    """What was kept of what was there."""
    backup = kept.backup
    known = {"dagster/row_count": dg.MetadataValue.int(backup.total or 0)} if backup else {}
    path = {"path": dg.MetadataValue.path(str(backup.path))} if backup else {}
    notes = dg.MetadataValue.text("; ".join(kept.notes) or "none")
    return {"backup": dg.MetadataValue.text(backup.backup if backup else "none"), "notes": notes, **known, **path}


def report_metadata(report: RestoreReport) -> Metadata:
    """What became of a restore, as far as it came."""
    seconds = {f"{name}_seconds": dg.MetadataValue.float(value) for name, value in report.seconds.items()}
    known = {} if report.total is None else {"dagster/row_count": dg.MetadataValue.int(report.total)}
    return {
        "restore": dg.MetadataValue.text(report.restore),
        "backup": dg.MetadataValue.text(report.backup),
        "by": dg.MetadataValue.text(report.by),
        "state": dg.MetadataValue.text(report.state),
        "report": dg.MetadataValue.json(report.as_json()),
        **known,
        **seconds,
    }
