"""A person's word on a gate: shown what is known, kept with it, taken back; or asked for at an approval service."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from mem0_assets.backups.catalog import Catalog
from mem0_assets.backups.files import plain_disk_errors
from mem0_assets.backups.journal import Event
from mem0_assets.errors import ConfigurationError, Mem0AssetsError, RefusedError
from mem0_assets.fleet import Deployment
from mem0_assets.recovery.approval_service import ask_service
from mem0_assets.recovery.evidence import evidence_of
from mem0_assets.recovery.gates import GATES, Approval, Evidence, Gate, GateState, judge_gate, lacking
from mem0_assets.recovery.record import STAGES, current_recovery

LATEST = "latest"  # in place of an id: there is no verified backup at all


class GateClosedError(Mem0AssetsError):
    """A stage was asked to start, and its gate is not open: nothing was done."""

    code = "gate_closed"


@dataclass(frozen=True)
class GateView:
    """A gate as it is shown to whoever is to open it: how it stands, and on what. `backup`: what would be restored."""

    state: GateState
    backup: str
    evidence: tuple[Evidence, ...]

    @property
    def lacking(self) -> tuple[Evidence, ...]:
        return tuple(lacking(self.evidence))

    def as_json(self) -> dict[str, Any]:
        title, opens = GATES[self.state.gate]
        return {
            **self.state.as_json(),
            "title": title,
            "opens": opens,
            "backup": self.backup,
            "evidence": [line.as_json() for line in self.evidence],
            "lacking": [line.name for line in self.lacking],
        }


def view(deployment: Deployment, gate: Gate, backup: str | None = None, *, whole: bool = True) -> GateView:
    """Look at a gate, and change nothing. Without `backup`: the approved one, else the newest verified one.

    `whole`: with the lines that are only shown. Raises NotFoundError where `backup` is none.
    """
    with plain_disk_errors(deployment.backups):
        word = last_word(deployment, gate)
        subject = _subject(deployment, gate, word, backup)
        evidence = evidence_of(deployment, gate, subject, whole=whole)
        state = judge_gate(gate, word, evidence, datetime.now(UTC), deployment.disaster_recovery.gate_hours)
    return GateView(state, subject, tuple(evidence))


def _subject(deployment: Deployment, gate: Gate, word: Event | None, backup: str | None) -> str:
    """Which backup a gate is about: gate A's is chosen with it, the others' is that of the recovery under way."""
    catalog = Catalog(deployment)
    recovery = current_recovery(catalog.journal)
    if gate != "A" and recovery:
        return recovery.backup
    if backup is not None and backup != LATEST:
        return catalog.find(backup).backup
    if backup is None and word and word["event"] == "gate_approved":
        approved: str = word["backup"]
        return approved
    newest = catalog.newest_verified()
    return newest.backup if newest else LATEST


def approve(deployment: Deployment, gate: Gate, *, by: str, reason: str, backup: str | None = None) -> GateView:
    """A person's word that a gate is open, kept with all that is known now.

    Anew each time: without `backup` for the newest verified one, whatever was approved before.
    Raises ConfigurationError without a name or a reason, RefusedError where something is lacking that no word mends.
    """
    by, reason = by.strip(), reason.strip()
    if not by or not reason:
        raise ConfigurationError(
            f"gate {gate} is opened by a person with a name and a reason, and the {'reason' if by else 'name'} is missing",
            next_step=command(deployment, gate),
        )
    _require_no_other(deployment, gate)
    seen = view(deployment, gate, backup or LATEST)
    if seen.lacking:
        raise RefusedError(
            f"gate {gate} cannot be opened: {_sentences(seen.lacking)}",
            next_step=next((line.fix for line in seen.lacking if line.fix), ""),
        )
    _keep(deployment, seen, by, reason)
    return view(deployment, gate)


def revoke(deployment: Deployment, gate: Gate, *, by: str, reason: str) -> GateView:
    """Take an approval back. Raises RefusedError where there is none."""
    word = last_word(deployment, gate)
    if word is None or word["event"] != "gate_approved":
        raise RefusedError(f"gate {gate} is not approved: there is nothing to take back")
    Catalog(deployment).journal.record("gate_revoked", gate=gate, by=by, reason=reason or "no reason given")
    return view(deployment, gate)


def require(deployment: Deployment, gate: Gate) -> Approval:
    """The approval that opens a gate now, or a GateClosedError that says what is lacking and which command helps.

    Where fleet.yaml names an approval service and nobody has opened the gate, the service is asked; not where somebody has
    taken an approval back, for as long as one holds: then a person opens it again.
    """
    seen = view(deployment, gate, whole=False)
    settings, refusal, asked = deployment.disaster_recovery, "", None
    if not seen.state.open and settings.approval_url and not _taken_back(deployment, gate):
        asked = view(deployment, gate, LATEST)
    if asked and not asked.lacking:
        answer = ask_service(settings, deployment.name, gate, asked.backup, asked.evidence)
        refusal = f" The approval service: {answer.why}."
        if answer.approved:
            _keep(deployment, asked, f"{answer.by} (by {settings.approval_url})", answer.reason)
            seen = view(deployment, gate, whole=False)
    if not seen.state.open or seen.state.approval is None:
        why = "; ".join(dict.fromkeys([*seen.state.why, *(f"{line.name}: {line.detail}" for line in seen.lacking)]))
        raise GateClosedError(
            f"gate {gate} ({GATES[gate][0]}) is closed: {why}.{refusal}".rstrip("."),
            next_step=f"See it: mem0-assets gate {deployment.name} {gate}; open it: {command(deployment, gate)}",
        )
    return seen.state.approval


def _taken_back(deployment: Deployment, gate: Gate) -> bool:
    word, hours = last_word(deployment, gate), deployment.disaster_recovery.gate_hours
    if word is None or word["event"] != "gate_revoked":
        return False
    return datetime.now(UTC) - datetime.fromisoformat(word["at"]) < timedelta(hours=hours)


def _require_no_other(deployment: Deployment, gate: Gate) -> None:
    """A recovery that is under way goes on with the backup that it began with: gate A is of the next one."""
    recovery = current_recovery(Catalog(deployment).journal)
    if gate == "A" and recovery:
        raise RefusedError(
            f"a recovery from {recovery.backup} is under way: its next stage is {recovery.next}, behind gate "
            f"{STAGES[recovery.next]}",
            next_step=f"To give it up: mem0-assets gate {deployment.name} A --revoke --reason WHY",
        )


def last_word(deployment: Deployment, gate: Gate) -> Event | None:
    """The newest approval or revocation of a gate."""
    words = Catalog(deployment).journal.events("gate_approved", "gate_revoked")
    return next((word for word in reversed([*words]) if word["gate"] == gate), None)


def command(deployment: Deployment, gate: Gate) -> str:
    """What a person types to open a gate."""
    return f'mem0-assets gate {deployment.name} {gate} --approve --reason "..."'


def _keep(deployment: Deployment, seen: GateView, by: str, reason: str) -> None:
    with plain_disk_errors(deployment.backups):
        evidence = [line.as_json() for line in seen.evidence]
        Catalog(deployment).journal.record(
            "gate_approved", gate=seen.state.gate, by=by, reason=reason, backup=seen.backup, evidence=evidence
        )


def _sentences(lines: tuple[Evidence, ...]) -> str:
    return "; ".join(f"{line.name}: {line.detail}" for line in lines)
