"""Compose files of mem0 as they are found in the world, and how a test has a fleet.yaml read off one.

Whatever a test asks for, it also proves that no secret got out.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from mem0_assets.errors import ConfigurationError
from mem0_assets.fleet import Fleet, load_fleet
from mem0_assets.init import Written, write_fleet

# Every secret of these tests begins with this, so that one look at a text says whether one got out.
SECRET = "s3cret"

# mem0's own server of 1.x: the server takes all of its settings from .env, PostgreSQL's password is in the file.
MEM0_1 = """
name: mem0-dev
services:
  mem0:
    build: {context: .., dockerfile: server/dev.Dockerfile}
    ports: ["8888:8000"]
    env_file: [.env]
    volumes: [./history:/app/history, .:/app, ../mem0:/app/packages/mem0]
    environment: [PYTHONUNBUFFERED=1]
  postgres:
    image: ankane/pgvector:v0.5.1
    environment:
      - POSTGRES_USER=postgres
      - POSTGRES_PASSWORD=postgres
    volumes: [postgres_db:/var/lib/postgresql/data]
    ports: ["8432:5432"]
  neo4j:
    image: neo4j:5.26.4
    ports: ["8474:7474", "8687:7687"]
    environment: [NEO4J_AUTH=neo4j/mem0graph]
"""
# Since 2026-04: the password comes from .env and must be set; users and keys are in a second database.
MEM0_2 = """
name: mem0-dev
services:
  mem0:
    build: {context: .., dockerfile: server/dev.Dockerfile}
    ports: ["8888:8000"]
    env_file:
      - .env
    volumes:
      - ./history:/app/history
      - .:/app
    environment:
      - APP_DB_NAME=mem0_app
      - JWT_SECRET=${JWT_SECRET:?JWT_SECRET must be set}
      - AUTH_DISABLED=${AUTH_DISABLED:-false}
  postgres:
    image: pgvector/pgvector:pg17
    environment:
      - POSTGRES_USER=${POSTGRES_USER:-postgres}
      - POSTGRES_PASSWORD=${POSTGRES_PASSWORD:?POSTGRES_PASSWORD must be set}
    volumes:
      - postgres_db:/var/lib/postgresql/data
      - ./init-db.sh:/docker-entrypoint-initdb.d/init-db.sh
    ports: ["8432:5432"]
  mem0-dashboard:
    build: ./dashboard
    ports: ["3000:3000"]
"""
# The deployment of the incident, after 10 January 2026.
INCIDENT = """
services:
  postgres:
    image: pgvector/pgvector:pg16
    container_name: mem0_postgres_prd
    networks: [mem0_internal_prd]
    environment:
      POSTGRES_USER: ${POSTGRES_USER}
      POSTGRES_DB: ${POSTGRES_DB}
      POSTGRES_PASSWORD: ${POSTGRES_PASSWORD}
    ports: ["127.0.0.1:5433:5432"]
  mem0_server:
    image: mem0-server:latest
    container_name: mem0_server_prd
    ports: ["${MEM0_PORT:-8889}:8888"]
    environment:
      - POSTGRES_HOST=postgres
      - POSTGRES_PORT=5432
      - POSTGRES_USER=${POSTGRES_USER}
      - POSTGRES_DB=${POSTGRES_DB}
      - POSTGRES_PASSWORD=${POSTGRES_PASSWORD}
      - POSTGRES_COLLECTION_NAME=memories_768
  mem0_postgres_exporter:
    image: python:3.11-slim
    container_name: mem0_postgres_exporter
    environment:
      - POSTGRES_HOST=postgres
      - POSTGRES_PORT=5432
      - POSTGRES_USER=${POSTGRES_USER}
      - POSTGRES_DB=${POSTGRES_DB}
      - POSTGRES_PASSWORD=${POSTGRES_PASSWORD}
      - EXPORTER_PORT=9094
    command: >
      sh -c "pip install -q psycopg && python /app/exporter.py"
"""
INCIDENT_ENV = f"""
POSTGRES_USER=mem0_user_prd
POSTGRES_DB=mem0_prd
POSTGRES_PASSWORD={SECRET}-database
TELEGRAM_BOT_TOKEN=123456:{SECRET}-token
TELEGRAM_CHAT_ID=-100155
"""


def forget_exported_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment comes before .env: what the shell of this run has exported would hide what a test wrote."""
    for name in ("POSTGRES_PASSWORD", "POSTGRES_PASSWORD_PRD", "TELEGRAM_BOT_TOKEN", "TELEGRAM_CHAT_ID"):
        monkeypatch.delenv(name, raising=False)


@dataclass(frozen=True)
class Result:
    """What one `mem0-assets init --from` gave."""

    written: Written
    text: str

    @property
    def notes(self) -> str:
        return "\n".join(self.written.notes)

    @property
    def content(self) -> dict[str, Any]:
        content: dict[str, Any] = yaml.safe_load(self.text)
        return content

    def postgres(self, name: str = "prd") -> dict[str, Any]:
        found: dict[str, Any] = self.content["deployments"][name]["postgres"]
        return found

    def section(self, section: str, name: str = "prd") -> dict[str, Any]:
        found: dict[str, Any] = self.content["deployments"][name][section]
        return found

    def server_url(self, name: str = "prd") -> str | None:
        found: str | None = self.content["deployments"][name]["health"]["server_url"]
        return found

    def load(self) -> Fleet:
        """The fleet, after the passwords were written where the notes say."""
        for file, variable in re.findall(r"write it into (\S+) as (\w+)=\.\.\.", self.notes):
            with open(file, "a", encoding="utf-8") as env:
                env.write(f"\n{variable}={SECRET}-written-as-the-note-says\n")
        return load_fleet(self.written.path)


def lay_out(folder: Path, files: Mapping[str, str]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    return folder


def read_off(
    tmp_path: Path, compose: str, env: str | None = None, more: Mapping[str, str] | None = None, **options: Any
) -> Result:
    """Lay out a mem0 server's folder, and write a fleet.yaml in another folder from it. No secret may get out."""
    files = {"docker-compose.yaml": compose, **({".env": env} if env is not None else {}), **(more or {})}
    source = lay_out(tmp_path / "server", files)
    target = tmp_path / "guard" / "fleet.yaml"
    target.parent.mkdir(exist_ok=True)
    options.setdefault("source", source)
    written = write_fleet(target, **options)
    result = Result(written, target.read_text(encoding="utf-8"))
    assert SECRET not in result.text
    assert SECRET not in repr(written)
    return result


def with_postgres(lines: str, image: str = "pgvector/pgvector:pg17") -> str:
    """A compose file of one PostgreSQL service with these further lines (at the service's depth)."""
    body = "\n".join(f"    {line}" for line in lines.strip("\n").splitlines())
    return f"services:\n  postgres:\n    image: {image}\n{body}\n"


def refusal(tmp_path: Path, compose: str, env: str | None = None, **options: Any) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as caught:
        read_off(tmp_path, compose, env, **options)
    assert SECRET not in f"{caught.value} {caught.value!r}"
    assert caught.value.exit_status == 2
    assert caught.value.next_step
    assert [*(tmp_path / "guard").iterdir()] == []
    return caught.value
