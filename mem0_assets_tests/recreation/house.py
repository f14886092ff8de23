"""A deployment whose containers may be recreated: real PostgreSQL, real containers, mem0's server played by a stub.

The containers only carry what Docker would show of the real ones: their environment, volumes and labels.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mem0_assets.demo.stores import create_history
from mem0_assets.fleet import Deployment
from mem0_assets.live.embedded import EmbeddedServer
from mem0_assets.live.served import one_of_each
from mem0_assets_tests.compose_files import lay_out
from mem0_assets_tests.conftest import MakeDeployment, open_connection
from mem0_assets_tests.docker_engine import DockerEngine
from mem0_assets_tests.service_stub import Mem0Stub

SECRET = "hunter2"
COMPOSE = """
name: mem0
services:
  postgres:
    image: {image}
    container_name: mem0_postgres_prd
    volumes: [postgres_db:/var/lib/postgresql/data]
  mem0_server:
    container_name: mem0_server_prd
    env_file: [.env]
    volumes: [./history:/app/history]
"""
DATA = "mem0_postgres_db:/var/lib/postgresql/data"
LABELS = {"com.docker.compose.project": "mem0"}


class House:
    """`env` is what .env says; `up` starts containers of what the files say now, as `docker compose up` does."""

    def __init__(
        self,
        folder: Path,
        server: EmbeddedServer,
        engine: DockerEngine,
        mem0: Mem0Stub,
        make_deployment: MakeDeployment,
        **settings: Any,
    ) -> None:
        self.folder = folder / "server"
        self.engine = engine
        self.mem0 = mem0
        history = self.folder / "history" / "history.db"
        self.deployment: Deployment = make_deployment(
            on=server,
            stores={"history": history, "files": [self.folder / ".env", self.folder / "docker-compose.yml"]},
            containers={"server": "mem0_server_prd", "postgres": "mem0_postgres_prd", "docker_url": engine.url},
            health={"server_url": mem0.url, "admin_key_env": "MEM0_ADMIN_KEY", "min_free_bytes": 0},
            **settings,
        )
        self.database = self.deployment.postgres.database
        self.env: dict[str, str] = {
            "POSTGRES_HOST": "postgres",
            "POSTGRES_DB": self.database,
            "POSTGRES_USER": "mem0_user",
            "POSTGRES_PASSWORD": SECRET,
        }
        self.image = f"pgvector/pgvector:pg{server.made_by}"
        lay_out(self.folder, {"docker-compose.yml": COMPOSE.format(image=self.image)})
        self.write()
        with open_connection(server, self.database) as connection:
            create_history(history, connection, "memories")
        self.serve()
        self.up()

    def write(self, **env: str) -> None:
        """Write .env anew, with these changes."""
        self.env |= env
        (self.folder / ".env").write_text("".join(f"{name}={value}\n" for name, value in self.env.items()))

    def serve(self) -> None:
        """mem0's server gives back what is in the database."""
        ids = one_of_each(self.deployment.postgres).values()
        self.mem0.memories = {memory: {"id": memory, "memory": "a text"} for memory in ids}

    def up(self, data: str | None = DATA, history: bool = True, environment: Mapping[str, str] | None = None) -> None:
        started = self.env if environment is None else environment
        kept = [f"{self.folder / 'history'}:/app/history"] if history else []
        self.engine.run("mem0_server_prd", environment=started, volumes=kept, labels=LABELS)
        self.engine.run("mem0_postgres_prd", volumes=[data] if data else [], labels=LABELS, image=self.image)

    def lose_history(self) -> None:
        shutil.rmtree(self.folder / "history")
        (self.folder / "history").mkdir()
