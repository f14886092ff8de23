"""What became of a restore, read from its steps: whether it ran through, or was finished after a kill."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from mem0_assets.restores.record import REPORT, Record, Step
from mem0_assets.verdicts import Reason, Verdict


@dataclass(frozen=True)
class RestoreReport:
    """`state` is the step that it ended with: `done`, `rolled_back`, `undone` or `forgotten`.

    `seconds`: `restore` until the data were readable, `index`, `checks`, `stopped` (how long nothing could write), `total`.
    `kept` maps each live database to the name under which the one that is not live any more is kept. `asked` is what mem0's
    own server said; `files` maps the files that were restored to their sha256.
    """

    restore: str
    deployment: str
    backup: str
    by: str
    state: Step
    why: str | None
    verdict: Verdict
    total: int | None
    namespaces: Mapping[str, int]
    safety_backup: str | None
    kept: Mapping[str, str]
    seconds: Mapping[str, float]
    asked: Mapping[str, Any] | None
    files: Mapping[str, str]
    cautions: tuple[str, ...]
    began_at: str
    ended_at: str
    path: str
    steps: tuple[str, ...] = field(default=())

    @property
    def ok(self) -> bool:
        """Whether it came to what was asked for."""
        return self.state != "rolled_back" and self.verdict.ok

    def as_json(self) -> dict[str, Any]:
        content = dict(vars(self)) | self.verdict.as_json()
        return content | {"cautions": list(self.cautions), "steps": list(self.steps)}


def report_of(record: Record) -> RestoreReport:
    """The report of a restore, as far as it came."""
    steps = record.steps()
    by_name = {step["step"]: step for step in steps}
    begun, verified = by_name.get("begun", {}), by_name.get("verified", {})
    state: Step = steps[-1]["step"]
    why = by_name.get("rolled_back", {}).get("why")
    reasons = tuple(Reason(**reason) for reason in verified.get("reasons", []))
    if why and not reasons:
        reasons = (Reason("restore_failed", why),)
    return RestoreReport(
        restore=record.restore,
        deployment=begun.get("deployment", ""),
        backup=begun.get("backup", ""),
        by=begun.get("by", ""),
        state=state,
        why=why,
        verdict=Verdict(reasons),
        total=verified.get("total"),
        namespaces=verified.get("namespaces", {}),
        safety_backup=by_name.get("kept", {}).get("backup"),
        kept=_kept(state, begun),
        seconds=_seconds(by_name, steps),
        asked=_asked(by_name),
        files=begun.get("files", {}),
        cautions=tuple(caution for step in steps for caution in step.get("notes", [])),
        began_at=steps[0]["at"],
        ended_at=steps[-1]["at"],
        path=str(record.folder / REPORT),
        steps=tuple(step["step"] for step in steps),
    )


def _kept(state: Step, begun: dict[str, Any]) -> dict[str, str]:
    where = {"done": "kept", "undone": "beside"}.get(state)
    places = begun.get("places", []) if where else []
    return {place["live"]: place[where] for place in places if where and place["live_oid"] is not None}


def _asked(steps: Mapping[str, dict[str, Any]]) -> dict[str, Any] | None:
    asked = steps.get("asked")
    return {name: asked[name] for name in ("asked", "without", "problem")} if asked else None


def _seconds(steps: Mapping[str, dict[str, Any]], taken: list[dict[str, Any]]) -> dict[str, float]:
    measured = {**steps.get("loaded", {}).get("seconds", {}), **steps.get("verified", {}).get("seconds", {})}
    if "stopping_writers" in steps and "writers_started" in steps:
        measured["stopped"] = _between(steps["stopping_writers"], steps["writers_started"])
    ended = steps.get("done", taken[-1])
    return {**measured, "total": _between(taken[0], ended)}


def _between(earlier: dict[str, Any], later: dict[str, Any]) -> float:
    moments = (datetime.fromisoformat(step["at"]) for step in (later, earlier))
    return round((next(moments) - next(moments)).total_seconds(), 3)
