"""The one rule that says whose memory a row is, in SQL and in Python.

The census asks the database, the dump's reader asks the files, and a drill demands that both agree exactly: so the rule
stands here once, in both languages, and a test compares the two on generated payloads.
"""

import json
from decimal import Decimal, InvalidOperation
from typing import Any, NoReturn

SCOPE_KEYS = ("user_id", "agent_id", "run_id")
NO_NAMESPACE = "(none)"
NAMESPACE_SQL = (
    "coalesce(nullif(payload->>'user_id', ''), nullif(payload->>'agent_id', ''), "
    "nullif(payload->>'run_id', ''), '(none)')"
)

# What PostgreSQL's numeric can hold: digits before and after the decimal point. A larger exponent is no jsonb, and
# writing it out would take as many bytes as it says.
_MOST_DIGITS_BEFORE_POINT = 131072
_MOST_DIGITS_AFTER_POINT = 16383


def namespace_of(payload_json: bytes | str | None) -> str:
    """The namespace of a memory with this payload (JSON text, UTF-8), exactly as NAMESPACE_SQL gives it.

    None is SQL's NULL. Raises ValueError where the text is no JSON that a jsonb column could hold; the message never
    holds a part of it, since it is somebody's memory.
    """
    if payload_json is None:
        return NO_NAMESPACE
    text = payload_json if isinstance(payload_json, str) else payload_json.decode("utf-8")
    try:
        return _scope(_DECODER.decode(text))
    except json.JSONDecodeError as error:
        raise ValueError(f"no JSON: {error.msg} at character {error.pos}") from None
    except RecursionError:
        raise ValueError("JSON nested too deeply") from None


def _scope(payload: Any) -> str:
    if not isinstance(payload, dict):
        return NO_NAMESPACE
    for key in SCOPE_KEYS:
        value = payload.get(key)
        if value is None or value == "":
            continue
        namespace = str(value) if type(value) is str else _jsonb_text(value)
        _refuse_what_postgres_refuses(namespace)
        return namespace
    return NO_NAMESPACE


class _Number(str):
    """A number of the JSON text, as written: only the few that name a namespace are worth converting."""


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"no JSON: {name}")


_DECODER = json.JSONDecoder(parse_float=_Number, parse_int=_Number, parse_constant=_refuse_constant)


def _refuse_what_postgres_refuses(text: str) -> None:
    if "\0" in text:
        raise ValueError("JSON with a zero character")
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError("JSON with half of a surrogate pair")


def _jsonb_text(value: Any) -> str:
    """`value` as jsonb writes it: keys by length, then bytes; numbers without exponent; a blank after `:` and `,`."""
    if isinstance(value, _Number):
        return numeric_text(value)
    if isinstance(value, dict):
        keys = sorted(value, key=lambda key: (len(key.encode()), key.encode()))
        return "{" + ", ".join(f"{_jsonb_text(key)}: {_jsonb_text(value[key])}" for key in keys) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_jsonb_text, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def numeric_text(number: str) -> str:
    """A number of JSON as jsonb writes it. Raises ValueError where no jsonb could hold it."""
    try:
        value = Decimal(number)
    except InvalidOperation:
        raise ValueError("JSON with a number out of range") from None
    exponent = int(value.as_tuple().exponent)
    if value.is_zero() and exponent >= 0:
        return "0"
    if value.adjusted() >= _MOST_DIGITS_BEFORE_POINT or exponent < -_MOST_DIGITS_AFTER_POINT:
        raise ValueError("JSON with a number out of range")
    return f"{value.copy_abs() if value.is_zero() else value:f}"
