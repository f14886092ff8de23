"""January 2026 once more, with this project in the house.

What happened (10 to 27 January): the containers were recreated with other credentials and another embedding model. The
database that answered under the old name was empty. Every health check stayed green, no alert was sent, and for 17
nights the backup saved nothing, over the good ones. Here the same is done to a real deployment that Dagster guards.
"""

import hashlib
import os
import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import psycopg
import pytest

from mem0_assets.assets.checks import COUNT_CHECKS
from mem0_assets.assets.execution import QUIET
from mem0_assets.assets.fleet import build_fleet
from mem0_assets.backups.backup import accept_identity
from mem0_assets.backups.catalog import QUARANTINE, Catalog
from mem0_assets.backups.inventory import VERDICT, read_reasons
from mem0_assets.demo.memories import INCIDENT, create_collection
from mem0_assets.fleet import TIERS, Deployment, load_fleet
from mem0_assets.live.embedded import EmbeddedServer
from mem0_assets_tests.conftest import open_connection, start_server
from mem0_assets_tests.telegram_emulator import free_port
from mem0_assets_tests.telegram_stub import TelegramStub

GOOD_NIGHTS = 2
BLIND_NIGHTS = 17
TOTAL = 1968
SENSORS = ["fleet_census", "run_alerts", "check_alerts"]
REFUSAL = {"empty", "shrunk", "namespace_vanished", "identity_changed", "dimensions_changed"}
RED = {"has_memories", "not_shrunk", "same_identity"}

FLEET = """
backups_root: ./backups
telegram: {{bot_token_env: TELEGRAM_BOT_TOKEN, chat_id_env: TELEGRAM_CHAT_ID, api_url: "{api_url}"}}
alerts: {{cooldown_seconds: {cooldown}, unreachable_seconds: 0}}
deployments:
  prd:
    postgres: {{host: 127.0.0.1, port: {port}, user: {user}, password_env: POSTGRES_PASSWORD, database: {database}}}
"""


class House:
    """One mem0 host: its fleet.yaml, the volume that its Postgres runs on now, and the Dagster that guards it."""

    def __init__(self, folder: Path, telegram: TelegramStub, instance: dg.DagsterInstance) -> None:
        self.folder = folder
        self.telegram = telegram
        self.instance = instance
        self.port = free_port()
        self.server: EmbeddedServer | None = None
        self.cursors: dict[str, str | None] = dict.fromkeys(SENSORS)
        secrets = {"TELEGRAM_BOT_TOKEN": telegram.token, "TELEGRAM_CHAT_ID": telegram.chat_id, "POSTGRES_PASSWORD": "a"}
        (folder / ".env").write_text("".join(f"{name}={value}\n" for name, value in secrets.items()))

    def recreate(self, volume: str, user: str, database: str, namespaces: dict[str, int], dimensions: int) -> None:
        """What `docker compose up` does with these settings: a server at the same address, on whatever volume it finds."""
        if self.server:
            self.server.stop("immediate")
        self.server = start_server(self.folder / volume, port=self.port)
        with open_connection(self.server, "postgres") as connection:
            connection.execute(f"CREATE ROLE {user} SUPERUSER LOGIN PASSWORD 'a'")  # as the image's POSTGRES_USER
            connection.execute(f"CREATE DATABASE {database} OWNER {user}")
        with psycopg.connect(
            host="127.0.0.1",
            port=self.port,
            user=user,
            dbname=database,
            autocommit=True,
            row_factory=psycopg.rows.dict_row,
        ) as connection:
            create_collection(connection, namespaces, dimensions=dimensions)

    def configure(self, user: str, database: str, cooldown: float = 3600) -> None:
        """Write fleet.yaml, and load it as a restarted Dagster does."""
        content = FLEET.format(
            api_url=self.telegram.url, cooldown=cooldown, port=self.port, user=user, database=database
        )
        (self.folder / "fleet.yaml").write_text(content)
        self.definitions = build_fleet(load_fleet(self.folder / "fleet.yaml"))

    @property
    def deployment(self) -> Deployment:
        return load_fleet(self.folder / "fleet.yaml").deployment("prd")

    @property
    def catalog(self) -> Catalog:
        return Catalog(self.deployment)

    def run(self, job: str) -> dg.ExecuteInProcessResult:
        return self.definitions.resolve_job_def(job).execute_in_process(
            instance=self.instance, run_config=QUIET, raise_on_error=False
        )

    def click(self, thing: str) -> dg.ExecuteInProcessResult:
        """Materialize this one asset, as a person does in the UI."""
        everything = self.definitions.resolve_implicit_global_asset_job_def()
        return everything.execute_in_process(
            instance=self.instance,
            run_config=QUIET,
            asset_selection=[dg.AssetKey(["prd", thing])],
            raise_on_error=False,
        )

    def tick(self) -> list[str]:
        """One tick of every sensor, as the daemon gives them; the first lines of what reached the chat."""
        before = len(self.telegram.texts)
        for name in reversed(SENSORS):  # the census is last: it delivers what the others say
            with dg.build_sensor_context(
                instance=self.instance, cursor=self.cursors[name], definitions=self.definitions
            ) as context:
                data = self.definitions.resolve_sensor_def(name).evaluate_tick(context)
            self.cursors[name] = data.cursor
            for event in data.asset_events:
                self.instance.report_runless_asset_event(event)
        return [text.splitlines()[0] for text in self.telegram.texts[before:]]

    def red(self) -> set[str]:
        """The checks on `memory_counts` that the UI shows as failed."""
        keys = {name: dg.AssetCheckKey(dg.AssetKey(["prd", "memory_counts"]), name) for name in COUNT_CHECKS}
        latest = self.instance.event_log_storage.get_latest_asset_check_execution_by_key(list(keys.values()))
        return {name for name, key in keys.items() if key in latest and latest[key].status.value == "FAILED"}

    def published(self) -> dict[str, str]:
        """Every file of every published backup, with its sha256."""
        root = self.folder / "backups" / "prd"
        files = [file for tier in TIERS for file in (root / tier).rglob("*") if file.is_file()]
        return {str(file.relative_to(root)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}

    def restore(self, user: str, database: str) -> None:
        """The way back: the commands of RESTORE.md as they stand, and the new database in the place of the empty one."""
        assert self.server is not None
        backup = self.catalog.find("latest")
        commands = "\n".join(re.findall(r"```bash\n(.*?)```", (backup.path / "RESTORE.md").read_text(), re.DOTALL))
        place = {"PGHOST": "127.0.0.1", "PGPORT": str(self.port), "PGUSER": user, "PGPASSWORD": "a"}
        environment = {"PATH": f"{self.server.programs}:{os.environ['PATH']}", **place}
        subprocess.run(["bash", "-c", commands], cwd=backup.path, env=environment, check=True, capture_output=True)
        created = re.search(r"^createdb .* (\S+)$", commands, re.MULTILINE)
        assert created is not None
        with open_connection(self.server, "postgres") as connection:
            connection.execute(f"ALTER DATABASE {database} RENAME TO {database}_replaced")
            connection.execute(f'ALTER DATABASE "{created[1]}" RENAME TO {database}')


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    # In memory: on SQLite the runs of this test spend half a minute in Dagster's own event log.
    with TelegramStub() as telegram, dg.DagsterInstance.ephemeral() as instance:
        house = House(tmp_path, telegram, instance)
        yield house
        if house.server:
            house.server.stop("immediate")


def failed_checks(result: dg.ExecuteInProcessResult) -> set[str]:
    """The checks of a run that failed as errors."""
    return {
        check.check_name
        for check in result.get_asset_check_evaluations()
        if not check.passed and check.severity == dg.AssetCheckSeverity.ERROR
    }


def drilled_memories(house: House) -> int:
    """How many memories the drill job brings back."""
    result = house.run("prd_drill")
    assert result.success
    assert failed_checks(result) == set()
    (event,) = result.get_asset_materialization_events()
    return int(event.step_materialization_data.materialization.metadata["dagster/row_count"].value)  # type: ignore[arg-type]


def test_the_seventeen_nights_of_january(house: House) -> None:
    # Until 9 January all is well: every night a good backup, and one is restored in a drill.
    house.recreate("volume", "mem0_user", "mem0", INCIDENT, 1536)
    house.configure("mem0_user", "mem0")
    house.tick()
    for _ in range(GOOD_NIGHTS):
        assert house.run("prd_backup").success
    assert drilled_memories(house) == TOTAL
    house.tick()
    house.telegram.messages.clear()
    assert house.tick() == []
    assert house.red() == set()
    good = house.published()
    verified = [backup.backup for backup in house.catalog.verified()]
    assert len(verified) == GOOD_NIGHTS

    # 10 January, 19:30: recreated, with other credentials, on a volume that is new, for an embedder of 768 dimensions.
    house.recreate("volume_prd", "mem0_user_prd", "mem0_prd", {}, 768)
    assert house.tick() == ["🔴 prd: database unreachable: it lets nobody in"]
    assert "the server answers, and it has no role mem0_user" in house.telegram.texts[-1]
    assert "look at its volume before anything else" in house.telegram.texts[-1]

    # fleet.yaml follows, as .env did: and the very next tick says what has happened.
    house.configure("mem0_user_prd", "mem0_prd")
    assert sorted(house.tick()) == [
        "✅ prd: over: database unreachable: it lets nobody in",
        "🔴 prd: memory count is ZERO",
        "🔴 prd: this is another database",
    ]
    assert house.red() == {"has_memories", "not_dropped", "same_identity"}
    zero = next(text for text in house.telegram.texts if "ZERO" in text)
    assert f"{verified[0]} holds {TOTAL}" in zero
    assert house.tick() == []

    # 17 nights: each is refused, in quarantine, with its reasons; and people hear of it once.
    told: Counter[str] = Counter()
    for night in range(BLIND_NIGHTS):
        result = house.run("prd_backup")
        assert not result.success
        assert failed_checks(result) == RED
        refused = sorted((house.folder / "backups" / "prd" / QUARANTINE).iterdir())
        assert len(refused) == night + 1
        assert {reason.code for reason in read_reasons(refused[-1] / VERDICT)} == REFUSAL
        told.update(house.tick())
    assert told["🔴 prd: backup refused"] == 1
    assert set(told.values()) == {1}
    assert "✅" not in "".join(told)

    # Not one byte of a good backup was touched, neither by the nights nor by a click on retention.
    assert house.click("retention").success
    assert house.published() == good
    assert [backup.backup for backup in house.catalog.verified()] == verified

    # Whoever did not read it is told again after the cooldown: each thing once.
    house.configure("mem0_user_prd", "mem0_prd", cooldown=0.001)
    repeated = house.tick()
    assert {"🔴 prd: still: memory count is ZERO", "🔴 prd: still: this is another database"} <= set(repeated)
    assert len(repeated) == len(set(repeated))
    house.configure("mem0_user_prd", "mem0_prd")
    assert house.tick() == []

    # 27 January came on the 10th: a drill still brings back all of it, and so does RESTORE.md.
    assert drilled_memories(house) == TOTAL
    house.restore("mem0_user_prd", "mem0_prd")
    assert house.tick() == ["✅ prd: over: memory count is ZERO"]
    accept_identity(house.catalog, by="mark", reason="restored into the new cluster")
    assert house.run("prd_backup").success
    assert "✅ prd: over: this is another database" in house.tick()
    assert house.red() == set()
    assert house.catalog.find("latest").namespaces == INCIDENT
