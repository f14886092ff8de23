"""The gates of a disaster recovery in the UI: each is an asset that a person materializes, with a name and a reason.

Without a reason the step fails, on purpose, and shows what the gate rests on: that is how it is looked at in the UI before
it is opened. Nobody is alarmed by that failure.
"""

import dagster as dg

from mem0_assets.assets.failures import failure
from mem0_assets.assets.groups import recovery_group
from mem0_assets.errors import Mem0AssetsError
from mem0_assets.fleet import Deployment
from mem0_assets.recovery.approvals import GateView, approve, view
from mem0_assets.recovery.gates import GATES, Gate

# What the failure of a step at a closed gate names in place of an incident: a person is at work there.
GATE_CLOSED = "gate_closed"


class Word(dg.Config):
    """A person's word: both are kept, with all that was known. `backup` counts at gate A only."""

    by: str = ""
    reason: str = ""
    backup: str = "latest"


def gate_key(deployment: Deployment, gate: Gate) -> dg.AssetKey:
    """`[deployment, gate_a]` and so on."""
    return dg.AssetKey([deployment.name, f"gate_{gate.lower()}"])


def build_gate(deployment: Deployment, gate: Gate, deps: list[dg.AssetKey], owners: list[str]) -> dg.AssetsDefinition:
    """The asset of one gate."""
    title, opens = GATES[gate]

    @dg.asset(
        key=gate_key(deployment, gate),
        deps=deps,
        group_name=recovery_group(deployment),
        description=f"Gate {gate}, {title}. Opened by a person, with the config `by` and `reason`: then {opens}. "
        "Materialized without a reason it fails, and shows what it rests on.",
        kinds={"approval"},
        owners=owners,
    )
    def opened(config: Word) -> dg.MaterializeResult[None]:
        backup = config.backup if gate == "A" else None
        try:
            if not config.by.strip() or not config.reason.strip():
                seen = view(deployment, gate, backup)
                how = f"gate {gate} stays as it was: give the config `by` and `reason` to open it"
                raise failure(how, GATE_CLOSED, metadata=gate_metadata(seen))
            seen = approve(deployment, gate, by=config.by, reason=config.reason, backup=backup)
        except Mem0AssetsError as error:
            raise failure(str(error), GATE_CLOSED, code=error.code) from None
        return dg.MaterializeResult(metadata=gate_metadata(seen))

    return opened


def gate_metadata(seen: GateView) -> dict[str, dg.MetadataValue]:
    """How a gate stands, who opened it, and every line that it rests on."""
    state = seen.state
    columns = [dg.TableColumn(name, "string") for name in ("what", "is", "known", "fix")]
    records = [
        dg.TableRecord(
            {
                "what": line.name,
                "is": "ok" if line.ok else ("lacking" if line.needed else "not ok"),
                "known": line.detail,
                "fix": line.fix,
            }
        )
        for line in seen.evidence
    ]
    said = state.approval
    return {
        "standing": dg.MetadataValue.text(state.standing),
        "backup": dg.MetadataValue.text(seen.backup),
        "evidence": dg.MetadataValue.table(records, schema=dg.TableSchema(columns=columns)),
        **({"by": dg.MetadataValue.text(said.by), "reason": dg.MetadataValue.text(said.reason)} if said else {}),
        **({"expires": dg.MetadataValue.timestamp(state.expires)} if state.expires else {}),
    }
