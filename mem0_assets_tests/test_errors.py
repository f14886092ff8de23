"""What a person meets: a stable code, an exit status, what to do next, and no secret."""

import pytest

from mem0_assets.errors import (
    BusyError,
    ConfigurationError,
    Mem0AssetsError,
    NoSpaceError,
    NotACollectionError,
    NotFoundError,
    RefusedError,
    TableMissingError,
    UnreachableError,
    without_secrets,
)


@pytest.mark.parametrize(
    ("kind", "code", "exit_status"),
    [
        (ConfigurationError, "configuration", 2),
        (NotFoundError, "not_found", 2),
        (UnreachableError, "unreachable", 3),
        (BusyError, "busy", 3),
        (TableMissingError, "table_missing", 1),
        (NotACollectionError, "wrong_content", 1),
        (NoSpaceError, "no_space", 1),
        (RefusedError, "refused", 1),
    ],
)
def test_each_error_has_the_code_and_exit_status_of_the_contract(
    kind: type[Mem0AssetsError], code: str, exit_status: int
) -> None:
    error = kind("what happened", next_step="Do this now")
    assert (error.code, error.exit_status) == (code, exit_status)
    assert str(error) == "what happened. Do this now"
    assert str(kind("what happened")) == "what happened"


def test_a_code_of_its_own_stays_with_one_error_alone() -> None:
    assert Mem0AssetsError("x", code="wrong_content").code == "wrong_content"
    assert Mem0AssetsError("x").code == "error"


def test_secrets_are_taken_out_of_foreign_texts_and_what_is_not_set_takes_nothing_out() -> None:
    text = "could not use hunter2 nor s3cret"
    assert without_secrets(text, ["hunter2", None, "", "s3cret"]) == "could not use *** nor ***"
    assert without_secrets(text, [None, ""]) == text
