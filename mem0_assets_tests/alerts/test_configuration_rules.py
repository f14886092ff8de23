"""What a drifted configuration means to people: how bad it is, why, and what to run next."""

import pytest

from mem0_assets.alerts.configuration_rules import judge_configuration, severity_of
from mem0_assets.alerts.messages import TITLES
from mem0_assets.alerts.rules import Finding
from mem0_assets.live.drift import Difference, Kind
from mem0_assets.live.settings import Setting
from mem0_assets_tests.conftest import MakeDeployment


def difference(
    setting: Setting, kind: Kind = "next_start_differs", before: str = "one", after: str = "two"
) -> Difference:
    return Difference(kind, setting, before, after, "files", "server_container")


@pytest.fixture
def judged(make_deployment: MakeDeployment) -> "Judge":
    return Judge(make_deployment)


class Judge:
    def __init__(self, make_deployment: MakeDeployment) -> None:
        self.deployment = make_deployment()

    def __call__(self, *found: Difference) -> list[Finding]:
        return judge_configuration(self.deployment, found)


@pytest.mark.parametrize(
    ("setting", "severity"),
    [
        ("database", "critical"),
        ("user", "critical"),
        ("password", "critical"),
        ("host", "critical"),
        ("port", "critical"),
        ("collection", "critical"),
        ("data_place", "critical"),
        ("embedder_dimensions", "critical"),
        ("embedder_model", "warning"),
        ("history_place", "warning"),
        ("server_version", "warning"),
        ("pgvector_version", "warning"),
        ("postgres_image_id", "warning"),
        ("llm_model", "info"),
    ],
)
def test_critical_is_what_makes_memories_unreachable(setting: Setting, severity: str) -> None:
    assert severity_of(difference(setting)) == severity


def test_the_next_start_is_told_with_both_values_and_with_what_not_to_do(judged: Judge) -> None:
    (finding,) = judged(difference("database", before="mem0", after="mem0_prd"))
    assert finding.what == (
        "The database is mem0 by the server's container, and the next start would use mem0_prd. "
        "Do not recreate any container. If it is meant: mem0-assets accept prd --configuration --reason WHY"
    )
    assert finding.command == "mem0-assets preflight prd"


def test_a_change_is_told_with_who_says_it(judged: Judge) -> None:
    (finding,) = judged(difference("collection", "configuration_changed", "memories", "notes"))
    assert finding.what.startswith("The collection changed from memories to notes, by the files on disk.")
    assert finding.command == "mem0-assets configuration prd"


def test_an_embedder_that_does_not_fit_says_what_follows_from_it(judged: Judge) -> None:
    (finding,) = judged(difference("embedder_dimensions", "embedder_mismatch", "1536", "768"))
    assert "are 768 by the files on disk, and the vectors of the table have 1536" in finding.what
    assert "neither be stored nor be searched for" in finding.what


def test_what_another_finding_says_with_its_reason_is_not_told_twice(judged: Judge) -> None:
    found = judged(
        difference("embedder_model"),
        difference("embedder_dimensions"),
        difference("database", "configuration_changed"),
        difference("database", "not_guarded"),
    )
    assert [finding.key for finding in found if finding.implied] == [
        "next_start_differs embedder_model",
        "configuration_changed database",
    ]


def test_a_model_of_the_same_dimensions_is_told_by_itself(judged: Judge) -> None:
    (finding,) = judged(difference("embedder_model", "configuration_changed"))
    assert not finding.implied
    assert "Searches find noise" in finding.what


def test_every_kind_has_a_title(judged: Judge) -> None:
    kinds: tuple[Kind, ...] = ("configuration_changed", "next_start_differs", "not_guarded", "embedder_mismatch")
    assert TITLES.keys() >= {finding.kind for kind in kinds for finding in judged(difference("database", kind))}
