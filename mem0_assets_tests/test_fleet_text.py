"""The text of fleet.yaml: complete, explained, and read back as what was meant."""

import json
import re
from pathlib import Path

import yaml

from mem0_assets.fleet import Alerting, Deployment, Fleet, Postgres, TelegramSettings
from mem0_assets.init import write_fleet
from mem0_assets_tests.compose_files import read_off, with_postgres

EXAMPLE = Path(__file__).parent.parent / "fleet.example.yaml"


def test_the_example_is_exactly_what_init_writes(tmp_path: Path) -> None:
    written = write_fleet(tmp_path / "fleet.yaml")
    assert written.path.read_text(encoding="utf-8") == EXAMPLE.read_text(encoding="utf-8")
    assert written.deployments == ("prd",)


def test_every_key_of_the_schema_stands_in_the_example_with_its_default() -> None:
    text = EXAMPLE.read_text(encoding="utf-8")
    content = yaml.safe_load(text)
    assert content.keys() == (Fleet.model_fields.keys() - {"path"}) | {"env_file"}
    assert content["env_file"] == ".env"
    assert content["telegram"] == TelegramSettings().model_dump()
    assert content["alerts"] == Alerting().model_dump()
    deployment = content["deployments"]["prd"]
    assert deployment.keys() == Deployment.model_fields.keys() - {"name", "backups"}
    defaults = {name: field.default for name, field in Deployment.model_fields.items()}
    assert deployment["auto_restore"] == defaults["auto_restore"]
    for section in deployment.keys() - {"postgres", "auto_restore"}:
        assert deployment[section] == defaults[section].model_dump(mode="json")
    shown = {name: field.default for name, field in Postgres.model_fields.items() if name != "embedded"}
    assert deployment["postgres"] == {**shown, "password_env": "POSTGRES_PASSWORD"}
    assert "# embedded: ./postgres" in text


def test_every_key_is_followed_by_one_sentence_and_no_line_is_too_wide() -> None:
    lines = EXAMPLE.read_text(encoding="utf-8").splitlines()
    keys = [line for line in lines if line and not line.startswith("# ") and line != "  prd:"]
    assert [line for line in keys if not re.fullmatch(r" *(# )?\w+:.*  # [A-Za-z][^#]*\.", line)] == []
    assert max(map(len, lines)) <= 120


def test_strange_names_are_written_so_that_they_are_read_back(tmp_path: Path) -> None:
    names = {"POSTGRES_USER": "null", "POSTGRES_DB": '5432 # "it\'s" : {a}, ü €'}
    compose = with_postgres(f"environment: {json.dumps(names)}\nports: ['1:5432']")
    loaded = read_off(tmp_path, compose).load().deployment("prd").postgres
    assert (loaded.user, loaded.database) == ("null", names["POSTGRES_DB"])
