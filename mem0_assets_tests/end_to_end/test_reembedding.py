"""The incident, with a way back: mem0 is moved from 1,536 dimensions to 768, and finds what it knew before."""

from pathlib import Path

import pytest

from mem0_assets.backups.backup import make_backup
from mem0_assets.fleet import Deployment
from mem0_assets.live.embedded import SUPERUSER, EmbeddedServer
from mem0_assets.restores.rows_writer import Change
from mem0_assets.restores.smaller import Wish, plan_smaller, restore_smaller
from mem0_assets_tests.conftest import open_connection, start_server
from mem0_assets_tests.openai_stub import OpenAIStub
from mem0_assets_tests.real_mem0 import real_mem0
from mem0_assets_tests.telegram_emulator import free_port

KNOWN = {
    "mark_carey/sap": [
        "The invoice of March is paid",
        "The transport went live on Friday",
        "Zoë reviews the budget 🤫",
    ],
    "mark_carey/booking": ["The flight to Oslo leaves at nine", "The hotel in Oslo is booked\nfor two nights"],
}


def deployment_on(server: EmbeddedServer, openai: OpenAIStub, folder: Path, database: str) -> Deployment:
    place = {"host": "127.0.0.1", "port": server.port, "user": SUPERUSER, "database": database}
    embedder = {"url": openai.url, "model": "text-embedding-3-small", "dimensions": 768, "api_key_env": "EMBEDDER_KEY"}
    stores = {"history": str(folder / f"{database}.db"), "roles": False}
    raw = {"name": "prd", "backups": folder / "prd", "postgres": place, "embedder": embedder, "stores": stores}
    return Deployment.model_validate(raw)


def test_after_a_change_from_1536_to_768_dimensions_mem0_finds_its_memories(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = start_server(tmp_path / "postgres", port=free_port())
    try:
        with open_connection(server, "postgres") as connection:
            for database in ("before", "after"):
                connection.execute(f"CREATE DATABASE {database}")
        (tmp_path / "mem0").mkdir()
        with OpenAIStub() as openai, real_mem0(server, openai, tmp_path / "mem0") as mem0:
            monkeypatch.setenv("EMBEDDER_KEY", openai.key)
            old = mem0.configured(history=str(tmp_path / "before.db"))
            for namespace, texts in KNOWN.items():
                for text in texts:
                    old.add("before", text, namespace)
            assert make_backup(deployment_on(server, openai, tmp_path, "before")).verdict.ok
            new = mem0.configured(dimensions=768, history=str(tmp_path / "after.db"))
            new.add("after", "The first memory after the move", "mark_carey/sap")
            after = deployment_on(server, openai, tmp_path, "after")
            with new.writing(
                "after", ["mark_carey/sap", "mark_carey/booking", "mark_carey/health", "mark_carey/synovia"]
            ):
                report = restore_smaller(after, plan_smaller(after, Wish(reembed=True)), by="mark")
            assert report.outcome is not None
            assert (report.outcome.written, report.outcome.history) == (Change(inserted=5), 5)
            for namespace, texts in KNOWN.items():
                assert set(texts) <= set(new.texts("after", namespace))
                for text in texts:
                    assert new.search("after", text, namespace)[0] == text
            for memory in report.plan.found:
                (story,) = new.call("after", "history", memory_id=str(memory))
                assert story["event"] == "ADD"
    finally:
        server.stop("immediate")
