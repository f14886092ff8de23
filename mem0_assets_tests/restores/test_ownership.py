"""To whom a restored database is given, and what is said where it cannot be."""

import psycopg
import pytest

from mem0_assets.errors import RefusedError
from mem0_assets.live.embedded import EmbeddedServer
from mem0_assets.restores.ownership import Ownership, give
from mem0_assets_tests.conftest import make_database, open_connection


def test_a_table_that_cannot_be_given_to_its_owner_is_refused(server: EmbeddedServer) -> None:
    """mem0 would find its table, and have no right to write to it."""
    make_database(server, "given", None)
    with open_connection(server, "given") as connection:
        connection.execute("CREATE ROLE given_ops LOGIN; CREATE ROLE given_mem0")
        connection.execute("GRANT ALL ON SCHEMA public TO given_ops, given_mem0")
    owner = Ownership("given_ops", "given_ops", {"public.memories": "given_mem0"})
    with psycopg.connect(
        host=str(server.socket_folder),
        port=server.port or 5432,
        user="given_ops",
        dbname="given",
        autocommit=True,
        row_factory=psycopg.rows.dict_row,
    ) as connection:
        connection.execute("CREATE TABLE memories (id uuid)")
        with pytest.raises(RefusedError, match=r"public\.memories cannot be given to given_mem0") as caught:
            give(connection, owner)
        assert caught.value.next_step == 'As a superuser: GRANT "given_mem0" TO "given_ops"'
        with open_connection(server, "given") as superuser:
            superuser.execute("GRANT given_mem0 TO given_ops")
        assert give(connection, owner) == []
        row = connection.execute("SELECT tableowner FROM pg_tables WHERE tablename = 'memories'").fetchone()
    assert row == {"tableowner": "given_mem0"}
