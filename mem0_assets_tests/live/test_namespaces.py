"""The namespace of a payload in Python, against what PostgreSQL says of the same payload."""

import json
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mem0_assets.live.embedded import EmbeddedServer
from mem0_assets.live.namespaces import NAMESPACE_SQL, namespace_of
from mem0_assets.live.postgres import Connection
from mem0_assets_tests.conftest import open_connection

NUMBERS = ["0", "-0", "0.0", "-0.00", "0e10", "-0e3", "0E-5", "1.50", "1e5", "1E+5", "1.50e1", "1.5e-3", "100e-2"]
NUMBERS += ["12345678901234567890.123456789", "9" * 5000, "1e131071", "1e-16383", "0e200000"]
OUT_OF_RANGE = ["1e131072", "1e-16384", "1.5e-16383", "1e400000000", "1e9999999999999999999999"]

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
KEYS = st.sampled_from(["user_id", "agent_id", "run_id", "data"])
PAYLOADS = st.dictionaries(KEYS, VALUES, max_size=4) | VALUES


@pytest.fixture
def connection(server: EmbeddedServer) -> Iterator[Connection]:
    with open_connection(server, "postgres") as opened:
        yield opened


def _asked(connection: Connection, payload: str | None) -> str:
    row = connection.execute(
        f"SELECT {NAMESPACE_SQL} AS namespace FROM (VALUES (%s::jsonb)) AS memories (payload)",
        [payload],
    ).fetchone()
    assert row is not None
    return str(row["namespace"])


@given(payload=PAYLOADS)
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_namespace_is_what_postgresql_says(connection: Connection, payload: Any) -> None:
    text = json.dumps(payload)
    assert namespace_of(text) == namespace_of(json.dumps(payload, ensure_ascii=False).encode())
    assert namespace_of(text) == _asked(connection, text)


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("form", ['{"user_id": %s}', '{"agent_id": {"b": %s, "aa": [%s]}, "user_id": ""}'])
def test_a_number_reads_as_jsonb_writes_it(connection: Connection, number: str, form: str) -> None:
    text = form.replace("%s", number)
    assert namespace_of(text) == _asked(connection, text)


@pytest.mark.parametrize(
    "text", ['{"user_id": "a", "user_id": "b"}', ' {"run_id" :\t"x" }\n', '"user_id"', "[]", "null"]
)
def test_odd_but_valid_json_reads_as_postgresql_reads_it(connection: Connection, text: str) -> None:
    assert namespace_of(text) == _asked(connection, text)


def test_a_null_payload_has_no_namespace(connection: Connection) -> None:
    assert namespace_of(None) == _asked(connection, None) == "(none)"


@pytest.mark.parametrize(
    "text",
    ["", "{", '{"user_id": "a"', '{"user_id": NaN}', '{"user_id": "\t"}', '{"user_id": "\\u0000"}', '{"user_id": 01}']
    + ['{"user_id": "\\ud800"}', "{'user_id': 1}", '{"user_id": "a"} x', '{"user_id": "a",}']
    + [f'{{"user_id": {number}}}' for number in OUT_OF_RANGE],
)
def test_what_postgresql_refuses_is_no_payload(connection: Connection, text: str) -> None:
    with pytest.raises(ValueError, match="JSON"):
        namespace_of(text)
    with pytest.raises(psycopg.DataError):
        _asked(connection, text)


def test_bytes_that_are_no_utf8_and_endless_nesting_are_no_payload() -> None:
    with pytest.raises(ValueError, match="utf-8"):
        namespace_of(b'{"user_id": "\xff"}')
    with pytest.raises(ValueError, match="nested too deeply"):
        namespace_of('{"user_id": ' + "[" * 100_000)


def test_the_reason_never_holds_the_payload() -> None:
    with pytest.raises(ValueError, match="JSON") as refused:
        namespace_of('{"data": "the safe is behind the painting", "user_id": }')
    assert "painting" not in str(refused.value)
    assert refused.value.__cause__ is None
