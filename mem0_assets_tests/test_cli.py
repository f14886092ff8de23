"""The command line as others call it: every command by its words, its JSON, its exit status, and its table."""

import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from mem0_assets.fleet import Deployment
from mem0_assets.live.programs import find_program
from mem0_assets_tests.conftest import SMALL, MakeDeployment, run_sql
from mem0_assets_tests.service_stub import Mem0Stub
from mem0_assets_tests.telegram_stub import TelegramStub

TOTAL = sum(SMALL.values())


def run(*words: str | Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mem0_assets.cli", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=env)


class Shell:
    """Runs the command on one fleet.yaml, which names one live deployment."""

    def __init__(self, fleet: Path, deployment: Deployment) -> None:
        self.fleet = fleet
        self.deployment = deployment

    def __call__(self, *words: str | Path) -> subprocess.CompletedProcess[str]:
        return run("--fleet", self.fleet, *words)

    def json(self, *words: str | Path, status: int = 0) -> dict[str, Any]:
        done = self(*words, "--json")
        assert done.returncode == status, done.stdout + done.stderr
        answer = json.loads(done.stdout)
        assert isinstance(answer, dict)
        return answer


def write_fleet_file(folder: Path, deployment: Deployment, **extra: Any) -> Path:
    postgres = deployment.postgres.model_dump(include={"host", "port", "user", "database", "collection"})
    calm = {"limits": {"warn_rows": 0, "warn_bytes": 0}, "health": {"min_free_bytes": 0}}
    prd = {"postgres": postgres, "dump": deployment.dump.model_dump(), **calm}
    content = {"backups_root": "./backups", **extra, "deployments": {"prd": prd}}
    path = folder / "fleet.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.fixture
def shell(make_deployment: MakeDeployment, tmp_path: Path) -> Shell:
    deployment = make_deployment(SMALL)
    return Shell(write_fleet_file(tmp_path, deployment), deployment)


def test_counts_are_told_per_namespace_with_the_identity_of_the_database(shell: Shell) -> None:
    answer = shell.json("counts", "prd")
    assert answer["deployment"] == "prd"
    assert answer["collection"] == "memories"
    assert answer["total"] == TOTAL
    assert answer["namespaces"] == SMALL
    assert answer["identity"]["dimensions"] == 8
    assert answer["identity"]["server_version"].startswith("18")
    assert answer["taken_at"].endswith("+00:00")


def test_people_get_tables_and_programs_get_nothing_but_json_on_stdout(shell: Shell) -> None:
    table = shell("counts", "prd")
    assert "bob/work" in table.stdout
    assert f"{TOTAL} memories in all" in table.stdout
    for words in (("--json", "counts", "prd"), ("counts", "--json", "prd"), ("counts", "prd", "--json")):
        assert json.loads(shell(*words).stdout)["total"] == TOTAL


def test_a_backup_is_made_listed_verified_drilled_and_kept(shell: Shell) -> None:
    made = shell.json("backup", "prd")
    assert (made["state"], made["total"], made["namespaces"], made["reasons"]) == ("verified", TOTAL, SMALL, [])
    assert Path(made["path"]).name == made["backup"]
    assert Path(made["path"]).parent.name == "daily"
    assert made["bytes"] > 0

    checked = shell.json("verify", made["path"])
    assert (checked["verdict"], checked["total"], checked["tables"]) == ("ok", TOTAL, {"memories": TOTAL})

    drilled = shell.json("drill", "prd")
    assert (drilled["verdict"], drilled["backup"], drilled["total"]) == ("ok", made["backup"], TOTAL)
    assert set(drilled["seconds"]) == {"restore", "index", "checks", "total"}

    listed = shell.json("backups", "prd")["backups"]
    assert [one["backup"] for one in listed] == [made["backup"]]
    assert listed[0]["drilled_at"] is not None
    assert listed[0]["tiers"] == ["daily"]

    pruned = shell.json("prune", "prd", "--dry-run")
    assert [one["backup"] for one in pruned["kept"]] == [made["backup"]]
    assert (pruned["expired"], pruned["held"]) == ([], False)


def test_a_binary_backup_is_verified_whole_as_its_dump_alone_and_part_by_part(
    make_deployment: MakeDeployment, tmp_path: Path
) -> None:
    deployment = make_deployment(SMALL, dump={"format": "binary"})
    shell = Shell(write_fleet_file(tmp_path, deployment), deployment)
    made = shell.json("backup", "prd")
    dump = Path(made["path"]) / "postgres"
    part = dump / "data" / "0002_memories.copy.zst"
    for path in (made["path"], dump, part):
        answer = shell.json("verify", path)
        assert (answer["verdict"], answer["format"], answer["namespaces"]) == ("ok", "binary", SMALL)
        assert answer["tables"] == {"memories": TOTAL}
    part.unlink()
    assert shell.json("verify", dump, status=1)["reasons"][0]["code"] == "truncated"


def test_a_refused_backup_exits_with_1_and_says_why_and_what_was_not_touched(shell: Shell) -> None:
    good = shell.json("backup", "prd")["backup"]
    run_sql(shell.deployment, "DELETE FROM memories")
    people = shell("backup", "prd")
    assert people.returncode == 1
    assert "empty: it holds no memories at all" in people.stdout
    assert "backup refused" in people.stderr  # without Telegram the alert goes to the log
    refused = shell.json("backup", "prd", status=1)
    assert refused["state"] == "quarantined"
    assert {reason["code"] for reason in refused["reasons"]} == {"empty", "shrunk", "namespace_vanished"}
    states = {one["backup"]: one["state"] for one in shell.json("backups", "prd")["backups"]}
    assert states[good] == "verified"
    pruned = shell.json("prune", "prd")
    assert pruned["held"] is True
    assert "was refused" in pruned["why"]


def test_a_persons_word_is_kept_with_its_reason(shell: Shell) -> None:
    shell.json("backup", "prd")
    run_sql(shell.deployment, "DELETE FROM memories WHERE payload->>'user_id' = 'carol'")
    refused = shell.json("backup", "prd", status=1)
    answer = shell.json("accept", "prd", "--backup", refused["backup"], "--reason", "carol asked for it")
    assert (answer["accepted"], answer["reason"]) == (refused["backup"], "carol asked for it")
    assert answer["by"]
    assert shell.json("backup", "prd")["state"] == "verified"


def test_a_refusal_that_may_be_meant_names_the_command_and_an_empty_one_does_not(shell: Shell) -> None:
    shell.json("backup", "prd")
    run_sql(shell.deployment, "DELETE FROM memories WHERE payload->>'user_id' = 'carol'")
    refused = shell("backup", "prd")
    assert refused.returncode == 1
    assert "only if somebody meant it: mem0-assets accept prd --backup 20" in refused.stdout
    run_sql(shell.deployment, "DELETE FROM memories")
    assert "accept" not in shell("backup", "prd").stdout


def test_accept_wants_one_thing_and_a_reason(shell: Shell) -> None:
    assert shell("accept", "prd", "--reason", "why").returncode == 2
    assert shell("accept", "prd", "--identity").returncode == 2
    assert shell("accept", "prd", "--backup", "20200101_000000", "--reason", "why").returncode == 2


def test_a_changed_identity_is_accepted_by_name(shell: Shell) -> None:
    shell.json("backup", "prd")
    run_sql(shell.deployment, "CREATE TABLE fresh (LIKE memories INCLUDING ALL)")
    run_sql(shell.deployment, "INSERT INTO fresh SELECT * FROM memories; DROP TABLE memories")
    run_sql(shell.deployment, "ALTER TABLE fresh RENAME TO memories")
    assert "identity_changed" in {one["code"] for one in shell.json("backup", "prd", status=1)["reasons"]}
    accepted = shell.json("accept", "prd", "--identity", "--reason", "rebuilt the table")
    assert accepted["accepted"]["dimensions"] == 8
    said = shell("accept", "prd", "--identity", "--reason", "once more, for people").stdout
    assert f"database {shell.deployment.postgres.database}, " in said
    assert "dimensions 8, " in said
    assert shell.json("backup", "prd")["state"] == "verified"


def test_status_tells_of_each_deployment_what_is_wrong_and_what_runs_next(shell: Shell) -> None:
    shell.json("backup", "prd")
    state = shell.json("status")["deployments"]["prd"]
    assert state["total"] == TOTAL
    assert state["newest_verified"]["age_seconds"] < 300
    assert state["incidents"] == []
    assert set(state["next_runs"]) == {"hourly", "daily", "weekly", "monthly", "drill", "recovery_drill", "report"}
    run_sql(shell.deployment, "TRUNCATE memories")
    kinds = {one["kind"] for one in shell.json("status")["deployments"]["prd"]["incidents"]}
    assert "count_zero" in kinds
    assert "Do not restart any container" in shell("status").stdout


def test_what_cannot_be_reached_exits_with_3_and_no_count(shell: Shell) -> None:
    content = yaml.safe_load(shell.fleet.read_text())
    content["deployments"]["prd"]["postgres"]["host"] = str(shell.fleet.parent)
    shell.fleet.write_text(yaml.safe_dump(content))
    for command in ("counts", "backup"):
        answer = shell.json(command, "prd", status=3)
        assert answer["reasons"][0]["code"] == "unreachable"
        assert "total" not in answer
    state = shell.json("status")["deployments"]["prd"]
    assert state["total"] is None
    assert "cannot be reached" in state["problem"]


def test_a_missing_table_is_a_loss_and_exits_with_1(shell: Shell) -> None:
    run_sql(shell.deployment, "DROP TABLE memories")
    assert shell.json("counts", "prd", status=1)["reasons"][0]["code"] == "table_missing"
    assert shell.json("backup", "prd", status=1)["reasons"][0]["code"] == "table_missing"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["counts", "nobody"], "there is no deployment 'nobody'"),
        (["backup", "prd", "--tier", "yearly"], "--tier is one of hourly, daily, weekly, monthly"),
        (["drill", "prd", "--backup", "20200101_000000"], "has no backup 20200101_000000"),
        (["verify", "nothing.sql.gz"], "nothing.sql.gz"),
        (["alert", "test", "--severity", "dire"], "--severity is one of"),
        (["demo", "lose", "--how", "magic"], "--how is one of"),
        (["no-such-command"], "No such command"),
    ],
)
def test_wrong_usage_exits_with_2_and_says_what_is_wrong(shell: Shell, words: list[str], said: str) -> None:
    done = shell(*words)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_verify_needs_no_fleet_and_takes_any_dump(tmp_path: Path) -> None:
    nothing = tmp_path / "backup.sql.gz"
    nothing.write_bytes(gzip.compress(b""))
    done = run("verify", nothing, "--json")
    answer = json.loads(done.stdout)
    assert done.returncode == 1
    assert (answer["verdict"], answer["total"]) == ("refused", 0)
    assert answer["reasons"][0]["code"] in ("empty", "not_a_dump")


def test_verify_reads_what_plain_pg_dump_made_in_each_of_its_formats(shell: Shell, tmp_path: Path) -> None:
    postgres = shell.deployment.postgres
    program = find_program("pg_dump", 18)
    place = ["-h", postgres.host, "-p", str(postgres.port), "-U", postgres.user, postgres.database]
    custom = tmp_path / "memories.dump"
    subprocess.run([program.path, "-Fc", "-f", custom, *place], check=True)
    piped = tmp_path / "memories.sql.gz"
    with open(piped, "wb") as file, subprocess.Popen([program.path, *place], stdout=subprocess.PIPE) as dump:
        subprocess.run(["gzip", "-6"], stdin=dump.stdout, stdout=file, check=True)
    for path, kind in ((piped, "sql"), (custom, "custom")):
        answer = shell.json("verify", path)
        assert (answer["verdict"], answer["format"], answer["total"]) == ("ok", kind, TOTAL)
        assert (answer["namespaces"], answer["tables"]) == (SMALL, {"memories": TOTAL})
        assert answer["bytes"] == path.stat().st_size


def test_a_test_alert_is_delivered_to_the_log_without_telegram(shell: Shell) -> None:
    done = shell("alert", "test", "--severity", "warning", "--json")
    assert json.loads(done.stdout) == {"delivered": True, "channel": "log"}
    assert "a test alert (warning)" in done.stderr


def test_alerts_go_to_telegram_where_fleet_yaml_names_it(make_deployment: MakeDeployment, tmp_path: Path) -> None:
    deployment = make_deployment(SMALL)
    with TelegramStub() as telegram:
        fleet = write_fleet_file(tmp_path, deployment, telegram={"api_url": telegram.url})
        (tmp_path / ".env").write_text(f"TELEGRAM_BOT_TOKEN={telegram.token}\nTELEGRAM_CHAT_ID={telegram.chat_id}\n")
        shell = Shell(fleet, deployment)
        assert shell.json("alert", "test") == {"delivered": True, "channel": "telegram"}
        assert shell.json("doctor", status=1)["checks"]
        run_sql(deployment, "DELETE FROM memories")
        shell.json("backup", "prd", status=1)
        assert "test alert" in telegram.texts[0]
        assert "prd: backup refused" in telegram.texts[1]


def test_the_doctor_says_what_to_do_for_each_thing_that_is_not_right(shell: Shell) -> None:
    answer = shell.json("doctor", status=1)
    checks = {check["name"]: check for check in answer["checks"]}
    assert checks["prd: postgres"]["ok"]
    assert checks["prd: postgres"]["detail"].startswith(f"{TOTAL} memories in {len(SMALL)} namespaces of ")
    assert checks["prd: disk"]["ok"]
    assert "prd: server" not in checks
    assert checks["prd: backup"] == {
        "name": "prd: backup",
        "ok": False,
        "detail": "never backed up",
        "fix": "mem0-assets backup prd",
    }
    assert "alerts go to the log" in checks["telegram"]["detail"]
    shell.json("backup", "prd")
    shell.json("drill", "prd")
    assert all(check["ok"] for check in shell.json("doctor")["checks"])


def test_the_doctor_sees_a_server_whose_pages_are_green_and_whose_database_is_dead(shell: Shell) -> None:
    with Mem0Stub() as mem0:
        mem0.database_up = False
        content = yaml.safe_load(shell.fleet.read_text())
        content["deployments"]["prd"]["health"]["server_url"] = mem0.url
        shell.fleet.write_text(yaml.safe_dump(content))
        answer = shell.json("doctor", status=1)
    (check,) = [check for check in answer["checks"] if check["name"] == "prd: server"]
    assert not check["ok"]
    assert check["detail"] == f"{mem0.url}: it answers /auth/setup-status with HTTP 500"
    assert check["fix"] == "Can it reach its application database? See its log"


def test_init_writes_a_fleet_that_the_doctor_can_read(tmp_path: Path) -> None:
    done = run("--fleet", tmp_path / "fleet.yaml", "init", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["path"] == str(tmp_path / "fleet.yaml")
    again = run("--fleet", tmp_path / "fleet.yaml", "init")
    assert again.returncode == 2
    assert "fleet.yaml" in again.stderr
