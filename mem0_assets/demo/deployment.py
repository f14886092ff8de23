"""The demo: an embedded deployment with the incident's 1,968 memories in one folder, and the ways to lose them."""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from mem0_assets.demo.memories import INCIDENT, create_collection
from mem0_assets.demo.stores import (
    APPLICATION,
    choose_embedder,
    create_application,
    create_history,
    drop_writes,
    write_files,
)
from mem0_assets.errors import ConfigurationError
from mem0_assets.live.embedded import EmbeddedServer
from mem0_assets.live.postgres import Connection, connect_embedded

NAME = "demo"
DATABASE = "mem0"
MARKER = ".mem0-assets-demo"
OTHER_DIMENSIONS = 768

OTHER_MODEL = "text-embedding-3-large"
DROPPED = 40  # more than can be in flight while a backup is made

How = Literal[
    "delete", "truncate", "namespace", "recreate", "dimensions", "history", "application", "dropped", "settings"
]
HOWS: tuple[How, ...] = get_args(How)

FLEET = """\
# The demo's fleet: one deployment on an embedded PostgreSQL in this folder. `mem0-assets demo` writes it anew.
backups_root: ./backups
# telegram: {bot_token_env: TELEGRAM_BOT_TOKEN, chat_id_env: TELEGRAM_CHAT_ID}   # without it alerts go to the log
deployments:
  demo:
    postgres: {embedded: ./postgres, database: mem0, collection: memories}
    stores:
      application: mem0_app
      history: ./server/history/history.db
      files: [./server/.env, ./server/docker-compose.yaml]
"""

STORIES: dict[How, str] = {
    "delete": "All memories were deleted, as mem0 up to 1.0.5 does when one user's memories are to be (delete_all).",
    "truncate": "The table was truncated: empty in an instant, and no delete was logged.",
    "namespace": "One namespace is gone: 33 of 1,968 memories, below every threshold on the total.",
    "recreate": "The container was recreated on an empty volume: the same name, the same port, another cluster.",
    "dimensions": f"The embedder was changed and all was embedded anew: {OTHER_DIMENSIONS} dimensions, as many memories.",
    "history": "history.db is gone, as in a container that was made anew without its folder: no memory has a past.",
    "application": "The application's database was made anew: no user, no API key and no setting is left in it.",
    "dropped": f"{DROPPED} memories are in mem0's history and were never stored, as by mem0 2.0 with a new embedder.",
    "settings": f"Somebody chose {OTHER_MODEL} in mem0's settings: its vectors fit into no table of this mem0.",
}
# What sees the loss, and the commands that show it; most are seen by counting, and by the next backup.
SEEN = (f"backup {NAME}", "status")
COUNTED = "Where the UI runs, the alert is in its log within ten seconds. By hand, see what a nightly backup says:"
UNCOUNTED = "No count of memories shows it; the next backup does:"
REPLAYED = (
    "No count of memories shows it, and the next backup is good. Where the UI runs, the alert is in its log within twenty"
    " seconds. By hand, a drill replays the whole history:"
)
CONFIGURED = "Nothing is lost yet, and no count or backup shows it; the configuration does:"
SHOWN_BY: dict[How, tuple[str, tuple[str, ...]]] = {
    "history": (UNCOUNTED, SEEN),
    "application": (UNCOUNTED, SEEN),
    "dropped": (REPLAYED, (f"backup {NAME}", f"drill {NAME}", "status")),
    "settings": (CONFIGURED, (f"configuration {NAME}",)),
}


@dataclass(frozen=True)
class Demo:
    """The demo in a folder: its server, its fleet.yaml, its Dagster home."""

    folder: Path

    @property
    def server(self) -> EmbeddedServer:
        return EmbeddedServer(self.folder / "postgres")

    @property
    def fleet_file(self) -> Path:
        return self.folder / "fleet.yaml"

    @property
    def history(self) -> Path:
        return self.folder / "server" / "history" / "history.db"

    @property
    def dagster_home(self) -> Path:
        return self.folder / "dagster"

    def create(self) -> None:
        """Make the whole folder anew. Raises ConfigurationError where it holds something else than a demo."""
        self._remove_old()
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / MARKER).touch()  # first: a demo that was interrupted here may be made anew, too
        self.dagster_home.mkdir()
        shutil.copy(_project_file("dagster.yaml"), self.dagster_home)
        self.fleet_file.write_text(FLEET)
        self._fill(INCIDENT)
        _run(self.server, DATABASE, lambda connection: create_history(self.history, connection, "memories"))
        write_files(self.history.parents[1])

    def lose(self, how: How) -> str:
        """Break the deployment in one of the ways; a sentence that says what happened."""
        if not (self.folder / MARKER).exists():
            raise ConfigurationError(f"{self.folder} holds no demo", next_step="Make one: mem0-assets demo --no-ui")
        match how:
            case "recreate":
                self._recreate()
            case "history":
                self.history.unlink(missing_ok=True)
            case "dropped":
                drop_writes(self.history, DROPPED)
            case "settings":
                self.server.start()
                _run(self.server, APPLICATION, lambda connection: choose_embedder(connection, OTHER_MODEL))
            case "application":
                self.server.start()
                _run(self.server, "postgres", _drop_application)
                self._make_application(used=False)
            case _:
                self.server.start()
                _run(self.server, DATABASE, _LOSSES[how])
        return STORIES[how]

    def _recreate(self) -> None:
        server = self.server
        with server.locked():
            server.stop()
            server.folder.rename(_free(self.folder / "postgres_before"))
        self._fill({})

    def _fill(self, namespaces: Mapping[str, int]) -> None:
        """Make both databases in a server that has none; nobody has used the application where there are no memories."""
        self.server.start()
        _create_database(self.server, DATABASE)
        _run(
            self.server,
            DATABASE,
            lambda connection: create_collection(connection, namespaces),
        )
        self._make_application(used=bool(namespaces))

    def _make_application(self, *, used: bool) -> None:
        _create_database(self.server, APPLICATION)
        _run(self.server, APPLICATION, lambda connection: create_application(connection, used=used))

    def _remove_old(self) -> None:
        if not self.folder.exists():
            return
        if any(self.folder.iterdir()) and not (self.folder / MARKER).exists():
            raise ConfigurationError(f"{self.folder} is not empty and holds no demo", next_step="Name another --dir")
        self.server.stop("immediate")
        shutil.rmtree(self.folder)


def _delete(connection: Connection) -> None:
    connection.execute("DELETE FROM memories")


def _truncate(connection: Connection) -> None:
    connection.execute("TRUNCATE memories")


def _namespace(connection: Connection) -> None:
    connection.execute("DELETE FROM memories WHERE payload->>'user_id' = 'mark_carey/booking'")


def _dimensions(connection: Connection) -> None:
    connection.execute("DROP TABLE memories")
    create_collection(connection, INCIDENT, dimensions=OTHER_DIMENSIONS)


def _drop_application(connection: Connection) -> None:
    connection.execute(f"DROP DATABASE {APPLICATION} WITH (FORCE)")


_LOSSES: dict[How, Callable[[Connection], None]] = {
    "delete": _delete,
    "truncate": _truncate,
    "namespace": _namespace,
    "dimensions": _dimensions,
}


def _create_database(server: EmbeddedServer, name: str) -> None:
    _run(server, "postgres", lambda connection: connection.execute(f"CREATE DATABASE {name}"))


def _run(server: EmbeddedServer, database: str, action: Callable[[Connection], object]) -> None:
    with connect_embedded(server, database) as connection:
        action(connection)


def _free(path: Path) -> Path:
    number = 1
    while (candidate := path.with_name(f"{path.name}_{number}")).exists():
        number += 1
    return candidate


def _project_file(name: str) -> Path:
    """A file of the project's top level, where the package is used from its checkout."""
    path = Path(__file__).parents[2] / name
    if not path.exists():
        raise ConfigurationError(f"{path} is missing", next_step="Run the demo from a checkout of mem0-assets")
    return path
