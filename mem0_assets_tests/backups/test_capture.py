"""One consistent cut of a live deployment; and what is left, and said, when it cannot be made."""

import json
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest

from mem0_assets.backups import instant
from mem0_assets.backups.backup import make_backup, prove
from mem0_assets.backups.capture import capture
from mem0_assets.backups.catalog import Catalog
from mem0_assets.backups.files import BackupsFolderError
from mem0_assets.backups.formats.dump_format import FORMATS
from mem0_assets.backups.formats.pg_dump import DumpFailedError
from mem0_assets.backups.manifest import read_manifest
from mem0_assets.backups.retention import why_held
from mem0_assets.backups.validation import verify_files
from mem0_assets.errors import Mem0AssetsError, NoSpaceError, TableMissingError, UnreachableError
from mem0_assets.fleet import Deployment
from mem0_assets.live import programs
from mem0_assets.live.embedded import EmbeddedServer
from mem0_assets.live.postgres import connect, connection_settings
from mem0_assets.live.programs import ClientMissingError, ClientTooOldError, find_program
from mem0_assets.live.tables import count_tables
from mem0_assets.restores.drill import drill
from mem0_assets_tests.backups.conftest import PutPgDump
from mem0_assets_tests.conftest import SMALL, MakeDeployment, needs_zstd, open_connection, run_sql
from mem0_assets_tests.extension import make_known
from mem0_assets_tests.freezing import children_file, postmaster, thaw
from mem0_assets_tests.guarded import nothing_lost
from mem0_assets_tests.small_disk import fill, make_read_only, small_disk


def _capture(deployment: Deployment, stall_seconds: float = 20.0) -> Path:
    catalog = Catalog(deployment)
    with catalog.locked():
        return capture(deployment, catalog, ["daily"], stall_seconds=stall_seconds)


def _moved(deployment: Deployment, backups: Path) -> Deployment:
    return deployment.model_copy(update={"backups": backups})


# A good one


LAYOUTS = {
    "sql": ("gunzip", ["postgres/mem0_{}.sql.gz"]),
    "binary": (
        "zstd",
        ["postgres/pre-data.sql.zst", "postgres/data/0002_memories.copy.zst", "postgres/post-data.sql.zst"],
    ),
}


@pytest.mark.parametrize("kind", ["sql", pytest.param("binary", marks=needs_zstd)])
def test_a_candidate_is_laid_out_for_stock_programs(make_deployment: MakeDeployment, kind: str) -> None:
    deployment = make_deployment(dump={"format": kind})
    candidate = _capture(deployment)
    program, paths = LAYOUTS[kind]
    dump = [path.format(candidate.name) for path in paths]
    files = sorted(str(path.relative_to(candidate)) for path in candidate.rglob("*") if path.is_file())
    others = ["roles/roles.sql", "roll/roll.bin"]
    assert files == sorted(["RESTORE.md", "SHA256SUMS", "manifest.json", *others, *dump])
    checked = subprocess.run(
        ["sha256sum", "-c", "SHA256SUMS"], cwd=candidate, capture_output=True, text=True, check=True
    )
    assert checked.stdout.splitlines() == [f"{path}: OK" for path in [*dump, *others, "RESTORE.md"]]
    for path in dump:
        subprocess.run([program, "--test", "--quiet", candidate / path], check=True)
    manifest = json.loads((candidate / "manifest.json").read_text())
    assert manifest["census"]["namespaces"] == SMALL
    assert manifest["tables"] == {"memories": 77}
    assert {index["method"] for index in manifest["indexes"]} == {"btree", "hnsw", "gin"}
    assert manifest["owner"] == "postgres"
    assert datetime.fromisoformat(manifest["created_at"]).utcoffset() is not None


def test_an_id_is_the_time_in_the_deployments_own_zone(make_deployment: MakeDeployment) -> None:
    deployment = make_deployment(schedule={"timezone": "Asia/Kolkata"})
    catalog = Catalog(deployment)
    with catalog.locked():
        candidate = capture(deployment, catalog, ["daily"], now=datetime(2026, 1, 3, 22, 30, tzinfo=UTC))
    assert candidate.name == "20260104_040000"


def test_census_and_dump_are_one_instant_while_four_writers_add_and_delete(make_in_each_format: MakeDeployment) -> None:
    deployment = make_in_each_format(limits={"max_drop": 1.0})
    totals = set()
    with _writers(deployment, 4):
        for _ in range(4):
            outcome = make_backup(deployment, ["hourly"])
            assert outcome.verdict.ok, outcome.verdict.sentence()
            totals.add(outcome.backup.total)
    assert len(totals) > 1, "nobody wrote: this proved nothing"


def test_a_truncate_between_the_census_and_the_dump_waits(
    make_in_each_format: MakeDeployment, pg_dump: PutPgDump
) -> None:
    """TRUNCATE is not MVCC-safe: it would empty the dump, and not the count that was made in the same snapshot."""
    deployment = make_in_each_format()
    run_sql(deployment, "CREATE TABLE messages AS SELECT generate_series(1, 5) AS n")
    psql = find_program("psql", 18).path
    pg_dump(
        f"for table in memories messages; do PGOPTIONS='-c lock_timeout=100ms' {psql} -qXc \"TRUNCATE $table\""
        ' 2> /dev/null && exit 7; done; exec "$REAL" "$@"'
    )
    outcome = make_backup(deployment)
    assert outcome.verdict.ok, outcome.verdict.sentence()
    assert outcome.backup.manifest is not None
    assert outcome.backup.manifest.tables == {"memories": 77, "messages": 5}


@contextmanager
def _writers(deployment: Deployment, number: int) -> Iterator[None]:
    stop = threading.Event()
    postgres = deployment.postgres
    insert = (
        "INSERT INTO memories SELECT gen_random_uuid(), l2_normalize('[1,2,3,4,5,6,7,8]'::vector),"
        " jsonb_build_object('data', 'x', 'hash', md5('x'), 'user_id', %s::text) FROM generate_series(1, %s)"
    )
    delete = "DELETE FROM memories WHERE id IN (SELECT id FROM memories WHERE payload->>'user_id' = %s LIMIT %s)"

    def write(writer: int) -> None:
        with psycopg.connect(
            host=postgres.host, port=postgres.port, user=postgres.user, dbname=postgres.database, autocommit=True
        ) as connection:
            turn = 0
            while not stop.is_set():
                turn += 1
                connection.execute(insert, (f"writer{writer}", 1 + turn % 5))
                connection.execute(delete, (f"writer{(writer + 1) % number}", 1 + turn % 4))
                stop.wait(0.001)  # else they take both processors from the dump

    threads = [threading.Thread(target=write, args=(writer,)) for writer in range(number)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


ODD_TABLES = [
    'CREATE TABLE "Weird ""name"", with; everything\\" AS SELECT 1 AS a',
    'CREATE TABLE "two\nlines" ("a\nb" text); INSERT INTO "two\nlines" VALUES (E\'x\\n\\\\.\\ny\'), (NULL), (E\'\\t\')',
    'CREATE SCHEMA "Schöma"; CREATE TABLE "Schöma"."tablé" AS SELECT generate_series(1, 7) AS n',
    'CREATE TABLE "public.dotted" AS SELECT 1 AS a',
    "CREATE TABLE nothing (); INSERT INTO nothing DEFAULT VALUES",
    "CREATE TABLE parts (n int, t text) PARTITION BY RANGE (n);"
    "CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (5);"
    "CREATE TABLE parts_2 PARTITION OF parts DEFAULT; INSERT INTO parts SELECT n, 'x' FROM generate_series(1, 9) n",
    "CREATE TABLE parent (a int); CREATE TABLE child (b int) INHERITS (parent); INSERT INTO child VALUES (1, 2)",
    "CREATE TABLE made (a int GENERATED ALWAYS AS IDENTITY, b int GENERATED ALWAYS AS (7) STORED, c bytea);"
    "INSERT INTO made (c) VALUES ('\\x00ff'), (NULL)",
    "CREATE UNLOGGED TABLE fleeting AS SELECT 1 AS a; CREATE MATERIALIZED VIEW seen AS SELECT * FROM fleeting;"
    "CREATE SEQUENCE numbers; SELECT nextval('numbers')",
    "CREATE TABLE memories_entities (id uuid PRIMARY KEY, vector vector(8), payload jsonb);"
    'INSERT INTO memories_entities SELECT gen_random_uuid(), NULL, \'{"user_id": "alice"}\' FROM generate_series(1, 3)',
    "CREATE TABLE error_log AS SELECT 'pg_dump: error: only text' AS line, '-- PostgreSQL database dump complete' AS b",
]


def test_every_table_of_the_database_is_counted_dumped_and_comes_back(make_in_each_format: MakeDeployment) -> None:
    deployment = make_in_each_format()
    for statement in ODD_TABLES:
        run_sql(deployment, statement)
    outcome = make_backup(deployment)
    assert outcome.verdict.ok, outcome.verdict.sentence()
    manifest = outcome.backup.manifest
    assert manifest is not None
    assert manifest.tables["Schöma.tablé"] == 7
    assert manifest.tables["parts_1"] + manifest.tables["parts_2"] == 9
    assert manifest.tables["memories_entities"] == 3
    assert outcome.backup.total == 77
    result = drill(deployment)
    assert result.verdict.ok, result.verdict.sentence()


def test_the_jobs_that_a_user_gave_an_extension_come_back(
    make_deployment: MakeDeployment, make_in_each_format: MakeDeployment, tmp_path: Path
) -> None:
    """The scratch server of a drill knows no such extension, and says so: it is loaded where one does."""
    deployment, target = make_in_each_format(), make_deployment(None, name="target")
    for one in (deployment, target):
        make_known(one, tmp_path)
    run_sql(
        deployment, "CREATE EXTENSION calendar; INSERT INTO jobs VALUES (7, 'remember'), (8, 'forget'), (9, 'dream')"
    )
    outcome = make_backup(deployment)
    assert outcome.verdict.ok, outcome.verdict.sentence()
    manifest = outcome.backup.manifest
    assert manifest is not None
    assert manifest.tables == {"jobs": 3, "memories": 77}
    assert 'extension "calendar" is not available' in drill(deployment).verdict.sentence()
    files = [(outcome.backup.path / file.path, file.statement) for file in manifest.files_of("postgres")]
    settings = connection_settings(target.postgres)
    FORMATS[manifest.format].load(find_program("psql", 18), settings, files, parameters={}, jobs=2)
    with connect(target.postgres, seconds=20) as connection:
        assert count_tables(connection) == manifest.tables


def test_a_server_16_is_dumped_by_its_own_programs_and_drilled_on_16(
    make_in_each_format: MakeDeployment, server16: EmbeddedServer
) -> None:
    deployment = make_in_each_format(on=server16)
    outcome = make_backup(deployment)
    assert outcome.verdict.ok
    assert outcome.backup.manifest is not None
    assert outcome.backup.manifest.program.startswith("pg_dump 16.")
    result = drill(deployment)
    assert result.verdict.ok, result.verdict.sentence()
    assert result.server_version.startswith("16.")


# What cannot be had


@pytest.fixture
def guarded(make_deployment: MakeDeployment) -> Deployment:
    """A deployment with one good backup."""
    deployment = make_deployment()
    assert make_backup(deployment).verdict.ok
    return deployment


@pytest.fixture
def guarded_in_each_format(make_in_each_format: MakeDeployment) -> Deployment:
    """The same, in each format."""
    deployment = make_in_each_format()
    assert make_backup(deployment).verdict.ok
    return deployment


FAILURES = {
    "it fails": ("echo 'pg_dump: error: permission denied for table x' >&2; exit 1", "permission denied"),
    "it complains and exits 0": ('"$REAL" "$@"; echo "pg_dump: error: a page is damaged" >&2', "a page is damaged"),
    "it writes nothing and exits 0": ("exit 0", "after 0 bytes"),
    "it writes half and exits 0": ('"$REAL" "$@" | head -c 300', "a part is missing"),
    "it is killed": ('"$REAL" "$@" | head -c 3000; kill -9 $$', "exit status -9"),
}


@pytest.mark.parametrize("how", FAILURES)
def test_a_pg_dump_that_fails_leaves_nothing_and_costs_nothing(
    guarded_in_each_format: Deployment, pg_dump: PutPgDump, how: str
) -> None:
    body, why = FAILURES[how]
    pg_dump(body)
    with nothing_lost(guarded_in_each_format, "dump_failed"):
        with pytest.raises(DumpFailedError, match=why) as failed:
            _capture(guarded_in_each_format)
        assert "no good backup was touched" in failed.value.next_step
        assert [one.backup for one in Catalog(guarded_in_each_format).backups()] == [
            Catalog(guarded_in_each_format).find("latest").backup
        ]


def test_a_pg_dump_that_hangs_is_given_up(guarded_in_each_format: Deployment, pg_dump: PutPgDump) -> None:
    pg_dump("exec sleep 600")
    with (
        nothing_lost(guarded_in_each_format, "unreachable"),
        pytest.raises(UnreachableError, match="stood still") as silent,
    ):
        _capture(guarded_in_each_format, stall_seconds=0.3)
    assert silent.value.exit_status == 3


def test_a_pg_dump_that_dumps_another_database_is_found_out(
    guarded_in_each_format: Deployment, make_deployment: MakeDeployment, pg_dump: PutPgDump
) -> None:
    other = make_deployment({"alice": 40, "bob/work": 25, "mallory": 12})
    pg_dump(f'PGDATABASE={other.postgres.database} exec "$REAL" --no-owner --no-privileges')
    with nothing_lost(guarded_in_each_format, "count_mismatch"):
        outcome = make_backup(guarded_in_each_format)
        assert outcome.backup.state == "quarantined"


def test_a_server_that_freezes_in_the_middle_of_a_dump_is_given_up(
    own_server: EmbeddedServer, make_deployment: MakeDeployment, pg_dump: PutPgDump
) -> None:
    deployment = make_deployment(on=own_server)
    make_backup(deployment)
    pg_dump(f"echo half; kill -STOP {postmaster(own_server)} $(cat {children_file(own_server)}); exec sleep 600")
    with nothing_lost(deployment, "unreachable"):
        try:
            with pytest.raises(UnreachableError):
                _capture(deployment, stall_seconds=0.3)
        finally:
            thaw(own_server)


def test_a_server_that_is_away_is_unreachable_and_not_empty(
    own_server: EmbeddedServer, make_deployment: MakeDeployment
) -> None:
    deployment = make_deployment(on=own_server)
    make_backup(deployment)
    own_server.stop("immediate")
    with nothing_lost(deployment, "unreachable"), pytest.raises(UnreachableError):
        make_backup(deployment)


def test_locks_that_others_hold_are_waited_for_and_not_for_long(
    guarded: Deployment, server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_connection(server, guarded.postgres.database) as rival, rival.transaction():
        rival.execute("LOCK TABLE memories IN ACCESS EXCLUSIVE MODE")
        with nothing_lost(guarded, "unreachable"), pytest.raises(UnreachableError, match="exclusive lock"):
            make_backup(guarded)
        # A server that stands still cannot keep its own promises: the wait is bounded from this side, too.
        monkeypatch.setattr(instant, "QUERY_SECONDS", 0.1)
        with nothing_lost(guarded, "unreachable"), pytest.raises(UnreachableError, match="did not answer"):
            make_backup(guarded)


def test_a_collection_that_is_gone_is_a_loss_and_not_an_outage(guarded: Deployment) -> None:
    run_sql(guarded, "DROP TABLE memories")
    with nothing_lost(guarded, "table_missing"), pytest.raises(TableMissingError) as missing:
        make_backup(guarded)
    assert missing.value.exit_status == 1
    assert "Restart nothing" in missing.value.next_step


def test_without_any_client_program_it_says_what_to_install(
    guarded: Deployment, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(programs, "_candidates", lambda name, path: iter([tmp_path / "nothing"]))
    with nothing_lost(guarded, "client_missing"), pytest.raises(ClientMissingError) as missing:
        make_backup(guarded)
    assert "postgresql-client-18" in missing.value.next_step


def test_client_programs_older_than_the_server_are_not_tried(
    guarded: Deployment, pg_dump: PutPgDump, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pg_dump("exit 0")
    script = tmp_path / "bin" / "pg_dump"
    script.write_text(script.read_text().replace("18.99", "15.18"))
    monkeypatch.setattr(programs, "_candidates", lambda name, path: iter([script]))
    with nothing_lost(guarded, "client_too_old"), pytest.raises(ClientTooOldError, match="newest pg_dump here is 15"):
        make_backup(guarded)


# The disk


def test_a_disk_that_is_nearly_full_is_refused_before_the_dump(guarded: Deployment, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "70m") as disk:
        deployment = _moved(guarded, disk / "prd")
        make_backup(deployment)
        fill(disk, leave=30 << 20)
        with nothing_lost(deployment, "no_space"), pytest.raises(NoSpaceError, match="needs about") as full:
            make_backup(deployment)
        assert full.value.exit_status == 1
        assert "no backup was lost" in full.value.next_step


def test_a_disk_that_runs_full_in_the_middle_costs_no_good_backup(
    guarded_in_each_format: Deployment, tmp_path: Path, pg_dump: PutPgDump
) -> None:
    with small_disk(tmp_path / "disk", "70m") as disk:
        deployment = _moved(guarded_in_each_format, disk / "prd")
        make_backup(deployment)
        pg_dump(f'cat /dev/zero > {disk}/filler 2> {tmp_path}/said; exec "$REAL" "$@"')
        with nothing_lost(deployment, "no_space"), pytest.raises(NoSpaceError):
            make_backup(deployment)
        (disk / "filler").unlink()
        pg_dump('exec "$REAL" "$@"')
        assert make_backup(deployment).verdict.ok


def test_a_disk_that_runs_full_before_the_verdict_leaves_a_candidate_that_can_still_be_proven(
    guarded: Deployment, tmp_path: Path
) -> None:
    with small_disk(tmp_path / "disk", "70m") as disk:
        deployment = _moved(guarded, disk / "prd")
        catalog = Catalog(deployment)
        with catalog.locked():
            candidate = capture(deployment, catalog, ["daily", "weekly"])
            filler = fill(disk)
            with pytest.raises(NoSpaceError):
                prove(catalog, candidate)
            assert catalog.verified() == []
            assert why_held(catalog) is not None
            filler.unlink()
        with catalog.locked():
            assert catalog.candidates() == [candidate]
            assert prove(catalog, candidate).backup.tiers == ("daily", "weekly")
        assert why_held(catalog) is None


def test_a_tiers_folder_that_cannot_be_made_is_a_failed_attempt_until_it_is_mended(guarded: Deployment) -> None:
    catalog = Catalog(guarded)
    (guarded.backups / "weekly").rename(guarded.backups / "weekly.old")
    (guarded.backups / "weekly").touch()
    with catalog.locked():
        candidate = capture(guarded, catalog, ["weekly"])
        with pytest.raises(BackupsFolderError, match="File exists"):
            prove(catalog, candidate)
    refusal = catalog.last_refusal()
    assert refusal is not None
    assert refusal[1].codes == ["backups_folder"]
    (guarded.backups / "weekly").unlink()
    with catalog.locked():
        assert prove(catalog, candidate).verdict.ok
    assert catalog.last_refusal() is None


def test_a_disk_that_is_read_only_is_said_to_be(guarded: Deployment, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "70m") as disk:
        deployment = _moved(guarded, disk / "prd")
        good = make_backup(deployment).backup
        make_read_only(disk)
        with pytest.raises(BackupsFolderError, match="Read-only file system") as refused:
            make_backup(deployment)
        assert refused.value.exit_status == 3
        assert "mounted" in refused.value.next_step
        assert verify_files(good.path).verdict.ok


def test_an_unexpected_end_leaves_no_candidate(guarded_in_each_format: Deployment) -> None:
    catalog = Catalog(guarded_in_each_format)

    def interrupt(plain_bytes: int) -> None:
        raise KeyboardInterrupt

    with catalog.locked(), pytest.raises(KeyboardInterrupt):
        capture(guarded_in_each_format, catalog, ["daily"], progress=interrupt)
    assert [path.name for path in catalog.candidates_folder.iterdir()] == []
    assert catalog.last_refusal() is None


def test_a_wrong_table_is_no_collection(make_deployment: MakeDeployment) -> None:
    deployment = make_deployment(None)
    run_sql(deployment, "CREATE TABLE memories (id int)")
    with pytest.raises(Mem0AssetsError) as wrong:
        make_backup(deployment)
    assert wrong.value.code == "wrong_content"
    refusal = Catalog(deployment).last_refusal()
    assert refusal is not None
    assert refusal[1].codes == ["wrong_content"]


def test_a_manifest_names_every_index_and_the_owner_of_the_collection(make_deployment: MakeDeployment) -> None:
    deployment = make_deployment()
    role = f"owner of {deployment.postgres.database}"
    run_sql(deployment, f'CREATE ROLE "{role}"; ALTER TABLE memories OWNER TO "{role}"')
    try:
        manifest = read_manifest(_capture(deployment))
    finally:
        run_sql(deployment, f'ALTER TABLE memories OWNER TO postgres; DROP ROLE "{role}"')
    assert manifest.owner == role
    assert [index.name for index in manifest.indexes] == [
        "memories_hnsw_idx",
        "memories_pkey",
        "memories_text_lemmatized_idx",
    ]
