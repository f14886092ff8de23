"""The newest memory: the latest time that is one, whatever else stands in its place."""

from datetime import UTC, datetime

from mem0_assets.live.newest import newest_memory
from mem0_assets.live.postgres import connect
from mem0_assets_tests.conftest import MakeDeployment, run_sql

ODD = ["one evening", "infinity", "2999-01-01T00:00:00+00:00", "2026-02-31T10:00:00+00:00", ""]


def test_the_latest_time_that_is_one_counts_with_its_offset(make_deployment: MakeDeployment) -> None:
    deployment = make_deployment({"alice": 8})
    times = [*ODD, "2026-01-09T23:59:00-08:00", "2026-01-10T01:00:00+00:00"]
    run_sql(deployment, "UPDATE memories SET payload = payload - 'created_at'")
    for number, text in enumerate(times):
        one = f"(SELECT id FROM memories ORDER BY id OFFSET {number} LIMIT 1)"
        run_sql(
            deployment, f"""UPDATE memories SET payload = payload || '{{"created_at": "{text}"}}' WHERE id = {one}"""
        )
    with connect(deployment.postgres, seconds=10) as connection:
        assert newest_memory(connection, "memories") == datetime(2026, 1, 10, 7, 59, tzinfo=UTC)


def test_memories_without_any_time_have_no_newest(make_deployment: MakeDeployment) -> None:
    deployment = make_deployment({"alice": 2})
    run_sql(deployment, "UPDATE memories SET payload = payload - 'created_at'")
    with connect(deployment.postgres, seconds=10) as connection:
        assert newest_memory(connection, "memories") is None
