"""`restore` of some memories, by its words, its JSON, its exit status and its tables."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from mem0_assets_tests.commands.test_rows import Here
from mem0_assets_tests.conftest import MakeDeployment, run_sql
from mem0_assets_tests.embedder_stubs import OllamaStub
from mem0_assets_tests.forged import forge
from mem0_assets_tests.test_cli import Shell, write_fleet_file

ID = "20260103_023000"


@pytest.fixture
def shell(make_deployment: MakeDeployment, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Shell:
    """An empty deployment with a backup of 77 memories."""
    deployment = make_deployment({}, dimensions=3)
    forge(deployment, ID, 1)
    return Here(write_fleet_file(tmp_path, deployment), deployment, capsys)


@pytest.fixture
def ollama() -> Iterator[OllamaStub]:
    with OllamaStub(4) as stub:
        yield stub


def total(shell: Shell) -> int:
    found = shell.json("counts", "prd")["total"]
    assert isinstance(found, int)
    return found


def test_what_is_gone_comes_back_without_a_word(shell: Shell) -> None:
    planned = shell.json("restore", "prd", "--namespace", "bob/work", "--plan")
    assert (planned["inserted"], planned["backup"], planned["mode"]) == (25, ID, "missing")
    assert planned["changes"] == {"bob/work": {"inserted": 25, "replaced": 0, "deleted": 0, "unchanged": 0}}
    assert total(shell) == 0
    done = shell.json("restore", "prd", "--namespace", "bob/work", "--namespace", "carol")
    assert (done["verdict"], done["inserted"], done["kept"], done["history"]) == ("ok", 37, None, None)
    assert total(shell) == 37
    told = shell("restore", "prd", "--mode", "missing")
    assert told.returncode == 0
    assert "40 memories inserted, 0 replaced, 0 deleted; 37 were as they should be" in told.stdout


def test_nothing_live_is_lost_without_the_deployments_name(shell: Shell) -> None:
    shell.json("restore", "prd", "--mode", "missing")
    run_sql(shell.deployment, 'UPDATE memories SET payload = payload || \'{"data": "x"}\'')
    words = ("restore", "prd", "--namespace", "carol", "--mode", "exact")
    shell.json(*words, status=2)
    shell.json(*words, "--confirm", "carol", status=2)
    assert shell.json(*words, "--plan")["replaced"] == 12
    told = shell(*words, "--confirm", "prd")
    assert told.returncode == 0, told.stderr
    assert "0 memories inserted, 12 replaced, 0 deleted; 0 were as they should be" in told.stdout
    assert "The way back: mem0-assets import prd" in told.stdout
    assert shell.json(*words)["unchanged"] == 12  # and where nothing is lost any more, nobody's word is needed


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (("--namespace", "carol", "--id", "5d0a5b1e-5f39-4a1c-8f9a-1d4b1e0a9c11"), "either namespaces or ids"),
        (("--id", "carol"), "is none"),
        (("--namespace", "carol", "--mode", "older"), "--mode is one of"),
        (("--namespace", "dave"), "has no namespace dave"),
        (("--reembed",), "names no embedder"),
    ],
)
def test_wrong_words_are_refused(shell: Shell, words: tuple[str, ...], what: str) -> None:
    answer = shell.json("restore", "prd", *words, status=2)
    assert what in answer["error"]["message"]


def test_new_vectors_are_made_on_a_word_after_their_cost_is_told(shell: Shell, ollama: OllamaStub) -> None:
    run_sql(shell.deployment, "ALTER TABLE memories ALTER COLUMN vector TYPE vector(4)")
    assert shell.json("restore", "prd", "--namespace", "carol", status=1)["reasons"][0]["code"] == "dimensions_changed"
    content = yaml.safe_load(shell.fleet.read_text())
    content["deployments"]["prd"]["embedder"] = {
        "provider": "ollama",
        "url": ollama.url,
        "model": ollama.model,
        "price_per_million_tokens": 0.02,
    }
    shell.fleet.write_text(yaml.safe_dump(content))
    told = shell("restore", "prd", "--reembed")
    assert told.returncode == 2
    assert "new vectors: 77 texts of" in told.stdout
    assert "in 1 requests, about 0.0000" in told.stdout
    assert shell.json("restore", "prd", "--reembed", "--confirm", "prd")["inserted"] == 77
    assert total(shell) == 77
