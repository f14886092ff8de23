"""mem0's own server asked for what came back: patiently, in every scope, and no further than it is configured."""

from pathlib import Path

import pytest

from mem0_assets.fleet import Deployment
from mem0_assets.restores import writers
from mem0_assets.restores.writers import ask_for_memories
from mem0_assets_tests.forged import forged_deployment
from mem0_assets_tests.service_stub import Mem0Stub, hang_up

NAMESPACES = {"alice": 40, "planner": 3, "run 7/a&b": 2, "(none)": 1}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writers, "PAUSE_SECONDS", 0.01)
    monkeypatch.setenv("MEM0_KEY", "admin-hunter2")


def _deployment(tmp_path: Path, mem0: Mem0Stub) -> Deployment:
    health = {"server_url": mem0.url, "admin_key_env": "MEM0_KEY"}
    return forged_deployment(tmp_path, health=health)


def test_each_namespace_is_found_in_its_own_scope_and_what_is_missing_is_named(tmp_path: Path) -> None:
    with Mem0Stub() as mem0:
        mem0.held = {("user_id", "alice"): "likes tea", ("run_id", "run 7/a&b"): "went well"}
        mem0.dead_connections = 2  # of a pool whose sessions were ended
        asked = ask_for_memories(_deployment(tmp_path, mem0), NAMESPACES, seconds=60)
    assert asked == {"asked": 3, "without": ["planner"], "problem": None}


def test_a_server_that_does_not_answer_is_a_problem_and_no_loss(tmp_path: Path) -> None:
    with Mem0Stub() as mem0:
        mem0.faults["/memories"] = hang_up
        asked = ask_for_memories(_deployment(tmp_path, mem0), NAMESPACES, seconds=0.05)
    assert asked["asked"] == 0
    assert "gave no answer" in asked["problem"]


def test_without_an_address_and_a_key_nobody_is_asked(tmp_path: Path) -> None:
    asked = ask_for_memories(forged_deployment(tmp_path), NAMESPACES, seconds=60)
    assert "are not both named" in asked["problem"]
