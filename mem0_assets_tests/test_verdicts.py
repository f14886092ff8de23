"""A verdict is ok, or refused with every reason against."""

import json
from typing import get_args

from mem0_assets.verdicts import ACCEPTABLE, OK, Reason, ReasonCode, Verdict, refused

CONTRACT_CODES = {
    "unreachable",
    "table_missing",
    "empty",
    "too_few_rows",
    "too_small",
    "shrunk",
    "namespace_vanished",
    "identity_changed",
    "dimensions_changed",
    "dump_failed",
    "truncated",
    "corrupt",
    "checksum_mismatch",
    "count_mismatch",
    "wrong_content",
    "no_space",
    "not_a_dump",
}
EMPTY = refused("empty", "it holds nothing")
SHRUNK = refused("shrunk", "it fell to 9")


def test_the_contracts_reason_codes_are_all_there() -> None:
    assert set(get_args(ReasonCode)) >= CONTRACT_CODES


def test_a_word_mends_a_meant_change_and_no_damage() -> None:
    assert set(get_args(ReasonCode)) >= ACCEPTABLE
    assert not ACCEPTABLE & {
        "truncated",
        "corrupt",
        "checksum_mismatch",
        "count_mismatch",
        "wrong_content",
        "not_a_dump",
    }


def test_no_reason_is_ok_and_one_is_a_refusal() -> None:
    assert (OK.ok, OK.word, OK.codes, OK.sentence()) == (True, "ok", [], "ok")
    assert (EMPTY.ok, EMPTY.word, EMPTY.codes) == (False, "refused", ["empty"])
    assert EMPTY.sentence() == "it holds nothing [empty]"


def test_verdicts_add_up_and_the_same_reason_is_told_once() -> None:
    both = EMPTY + SHRUNK + EMPTY
    assert both == Verdict((Reason("empty", "it holds nothing"), Reason("shrunk", "it fell to 9")))
    assert both.sentence() == "it holds nothing [empty]; it fell to 9 [shrunk]"
    assert OK + OK == OK
    assert (OK + EMPTY).word == "refused"


def test_a_verdict_can_be_looked_at_by_some_codes_alone() -> None:
    assert (EMPTY + SHRUNK).only(["shrunk"]) == SHRUNK
    assert (EMPTY + SHRUNK).only(ACCEPTABLE - {"empty", "shrunk"}).ok


def test_a_verdict_is_json() -> None:
    assert json.loads(json.dumps(SHRUNK.as_json())) == {
        "verdict": "refused",
        "reasons": [{"code": "shrunk", "message": "it fell to 9"}],
    }
