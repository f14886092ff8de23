"""A disaster recovery in the UI: its four stages as assets, each behind the gate that a person materializes.

The job goes as far as the gates are open, and is launched again once the next one is: what is done is not done twice.
"""

import dagster as dg

from mem0_assets.assets.failures import failure
from mem0_assets.assets.gates import GATE_CLOSED, build_gate, gate_key
from mem0_assets.assets.groups import recovery_group
from mem0_assets.errors import Mem0AssetsError
from mem0_assets.fleet import Deployment, Fleet
from mem0_assets.recovery.approvals import GateClosedError
from mem0_assets.recovery.gates import GATES
from mem0_assets.recovery.record import STAGES, Stage
from mem0_assets.recovery.stages import run_stage

DESCRIPTIONS: dict[Stage, str] = {
    "readiness": "What is there now is kept in a safety backup.",
    "restore": "What writes is stopped; the approved backup is loaded beside, verified, and takes the live place.",
    "cold_start": "The containers run, all is well, the memories are those of the backup, and a message is sent.",
    "telegram": "A person has read the message: the recovery is over, and this is its report.",
}


class RestoreWord(dg.Config):
    """Who restores, and the deployment's name, typed once more. `end_sessions`: of whoever holds the database."""

    by: str = ""
    confirm: str = ""
    end_sessions: bool = False


def stage_key(deployment: Deployment, stage: Stage) -> dg.AssetKey:
    """`[deployment, recovery_readiness]` and so on."""
    return dg.AssetKey([deployment.name, f"recovery_{stage}"])


def build_recovery(fleet: Fleet, deployment: Deployment, owners: list[str]) -> list[dg.AssetsDefinition]:
    """Gates and stages in turn: each gate rests on the stage before it, and opens the next."""
    before = [dg.AssetKey([deployment.name, thing]) for thing in ("validated_dump", "restore_drill")]
    parts = []
    for stage, gate in STAGES.items():
        parts.append(build_gate(deployment, gate, before, owners))
        earlier = [key for key in before if key.path[-1].startswith("recovery_")]
        parts.append(_build_stage(fleet, deployment, stage, [gate_key(deployment, gate), *earlier], owners))
        before = [stage_key(deployment, stage)]
    return parts


def _build_stage(
    fleet: Fleet, deployment: Deployment, stage: Stage, deps: list[dg.AssetKey], owners: list[str]
) -> dg.AssetsDefinition:
    title = GATES[STAGES[stage]][0]
    description = f"{DESCRIPTIONS[stage]} Refuses to start without gate {STAGES[stage]}, {title}."
    asset = dg.asset(
        key=stage_key(deployment, stage),
        deps=deps,
        group_name=recovery_group(deployment),
        description=description,
        kinds={"postgres"},
        owners=owners,
        pool=f"{deployment.name}_database",
    )

    def done(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
        return _run(context, fleet, deployment, stage, RestoreWord())

    def restored(context: dg.AssetExecutionContext, config: RestoreWord) -> dg.MaterializeResult[None]:
        return _run(context, fleet, deployment, stage, config)

    return asset(restored) if stage == "restore" else asset(done)


def _run(
    context: dg.AssetExecutionContext, fleet: Fleet, deployment: Deployment, stage: Stage, word: RestoreWord
) -> dg.MaterializeResult[None]:
    try:
        report = run_stage(
            fleet,
            deployment,
            stage,
            by=word.by,
            confirm=word.confirm,
            end_sessions=word.end_sessions,
            tell=context.log.info,
        )
    except GateClosedError as error:
        raise failure(str(error), GATE_CLOSED, code=error.code) from None
    except Mem0AssetsError as error:
        raise failure(str(error), None, code=error.code) from None
    return dg.MaterializeResult(
        metadata={
            "backup": dg.MetadataValue.text(report.backup),
            "recovery": dg.MetadataValue.text(report.recovery),
            "already_done": dg.MetadataValue.bool(report.already),
            "facts": dg.MetadataValue.json(report.facts),
        }
    )
