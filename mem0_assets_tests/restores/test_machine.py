"""What a machine gives to the building of indexes: never more than it has, and never what a container cannot share."""

import pytest

from mem0_assets.live.embedded import EmbeddedServer
from mem0_assets.restores.machine import index_build_parameters, parameters_for
from mem0_assets_tests.conftest import open_connection


@pytest.mark.parametrize(
    ("available", "shared", "cores", "memory", "helpers"),
    [
        (16_000, None, 4, "4000MB", "3"),
        (16_000, 8_000, 4, "4000MB", "3"),
        (16_000, 1_000, 4, "500MB", "3"),  # what helpers share must fit into /dev/shm
        (16_000, 64, 4, "4000MB", "0"),  # a container's: no helpers, but all the memory
        (16_000, 64, 1, "4000MB", "0"),
        (16_000, 128, 2, "64MB", "1"),
        (100, None, 1, "64MB", "0"),  # PostgreSQL's own default is never undercut
        (0, 0, 1, "64MB", "0"),
    ],
)
def test_a_quarter_of_the_free_memory_and_helpers_only_where_they_can_share_it(
    available: int, shared: int | None, cores: int, memory: str, helpers: str
) -> None:
    parameters = parameters_for(available, shared, cores)
    assert parameters == {"maintenance_work_mem": memory, "max_parallel_maintenance_workers": helpers}


def test_this_machines_own_are_taken_by_a_server(server: EmbeddedServer) -> None:
    with open_connection(server, "postgres") as connection:
        for name, value in index_build_parameters().items():
            connection.execute("SELECT set_config(%s, %s, false)", (name, value))
