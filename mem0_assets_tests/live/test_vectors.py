"""Vectors in binary, against what pgvector itself makes of the same text."""

import random
import struct
from collections.abc import Iterator
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mem0_assets.live.embedded import EmbeddedServer
from mem0_assets.live.postgres import Connection
from mem0_assets.live.vectors import numbers_of, vector_of, vector_of_text
from mem0_assets_tests.conftest import make_database, open_connection

FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)
FLOAT4 = struct.Struct("<f")


@pytest.fixture(scope="module")
def connection(server: EmbeddedServer) -> Iterator[Connection]:
    make_database(server, "vectors", {})
    with open_connection(server, "vectors") as opened:
        yield opened


def _sent(connection: Connection, text: str) -> bytes:
    row = connection.execute("SELECT vector_send(%s::vector) AS sent", [text]).fetchone()
    assert row is not None
    return bytes(row["sent"])


@given(st.lists(FLOATS, min_size=1, max_size=20))
@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_vector_is_to_the_last_bit_what_pgvector_sends(connection: Connection, elements: list[float]) -> None:
    sent = vector_of(elements)
    row = connection.execute("SELECT %s::real[]::vector::text AS written", [elements]).fetchone()
    assert row is not None
    assert vector_of_text(row["written"]) == sent == _sent(connection, row["written"])
    assert numbers_of(sent) == tuple(elements)


def test_decimals_beside_the_midst_of_two_float4s_are_rounded_to_their_side(connection: Connection) -> None:
    chance = random.Random(7)
    texts = []
    for _ in range(300):
        bits = chance.randrange(0x30000000, 0x4B000000)
        below, above = (FLOAT4.unpack(struct.pack("<I", bits + more))[0] for more in (0, 1))
        midst = (Decimal(below) + Decimal(above)) / 2
        texts += [f"{midst + shift * abs(midst) * Decimal('1e-19'):f}" for shift in (-1, 0, 1)]
    assert vector_of_text(f"[{','.join(texts)}]") == _sent(connection, f"[{','.join(texts)}]")


@pytest.mark.parametrize(
    "text", ["", "[]", "1,2", "[1,2", "1,2]", "[1,,2]", "[1,x]", "[NaN]", "[1,Infinity]", "[1e39]", "[1_0]", "[1 2]"]
)
def test_what_is_no_vector_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"vector|element|float"):
        vector_of_text(text)


@pytest.mark.parametrize("damaged", [b"", b"\0", vector_of([1, 2])[:-1]])
def test_damaged_bytes_are_no_vector(damaged: bytes) -> None:
    with pytest.raises(ValueError, match="no vector"):
        numbers_of(damaged)


def test_more_elements_than_a_vector_can_say_are_refused() -> None:
    with pytest.raises(ValueError, match="too many"):
        vector_of([0.0] * 70_000)
