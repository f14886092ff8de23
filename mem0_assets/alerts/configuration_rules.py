"""What a drifted configuration means to people: pure rules from differences to findings.

Critical is what makes memories unreachable, or vectors that cannot be asked for; told before anything is recreated.
"""

from collections.abc import Iterable

from mem0_assets.alerts.rules import Finding, Severity
from mem0_assets.fleet import Deployment
from mem0_assets.live.drift import SERIOUS, Difference


def judge_configuration(deployment: Deployment, found: Iterable[Difference]) -> list[Finding]:
    """One finding for each setting and what is wrong with it. It lasts until a person accepts it, or it is gone."""
    found = list(found)
    dimensions = {one.kind for one in found if one.setting == "embedder_dimensions"}
    strange = {one.setting for one in found if one.kind == "not_guarded"}
    return [
        Finding(
            f"{one.kind} {one.setting}",
            one.kind,
            severity_of(one),
            _what(deployment, one),
            _command(deployment, one),
            # Another model gives other dimensions, and another database is not guarded: that is told, with its reason.
            implied=(one.setting == "embedder_model" and one.kind in dimensions)
            or (one.kind == "configuration_changed" and one.setting in strange),
        )
        for one in found
    ]


def severity_of(difference: Difference) -> Severity:
    """By what the setting decides, not by who says it."""
    if difference.grave:
        return "critical"
    return "warning" if difference.setting in SERIOUS else "info"


def _what(deployment: Deployment, one: Difference) -> str:
    said = one.sentence()
    meant = f"If it is meant: mem0-assets accept {deployment.name} --configuration --reason WHY"
    return f"{said[0].upper()}{said[1:]}. {_advice(one)}{meant}"


def _advice(one: Difference) -> str:
    if one.kind == "next_start_differs" and one.grave:
        return "Do not recreate any container. "
    if one.kind == "embedder_mismatch":
        return "What it embeds can neither be stored nor be searched for. "
    if one.kind == "not_guarded":
        return "No backup holds what is written there. "
    if one.setting == "embedder_model":
        return "Searches find noise among the memories of the other model. "
    return ""


def _command(deployment: Deployment, one: Difference) -> str:
    word = "preflight" if one.kind == "next_start_differs" else "configuration"
    return f"mem0-assets {word} {deployment.name}"
