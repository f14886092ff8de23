"""A history only grows: one that has shrunk was emptied or replaced."""

import pytest

from mem0_assets.backups.history_claims import judge_growth
from mem0_assets.live.history import HistoryCopy
from mem0_assets.verdicts import ACCEPTABLE

BEFORE = HistoryCopy(1968, 1968, {"ADD": 1968})


@pytest.mark.parametrize("rows", [1968, 1969, 5000])
def test_a_history_that_grew_or_stood_still_is_ok(rows: int) -> None:
    assert judge_growth(HistoryCopy(rows, rows, {"ADD": rows}), settled=1968, previous=BEFORE).ok


@pytest.mark.parametrize("rows", [0, 3, 1967])
def test_one_that_has_fewer_rows_than_the_last_verified_backup_was_emptied(rows: int) -> None:
    verdict = judge_growth(HistoryCopy(rows, rows, {}), settled=0, previous=BEFORE)
    assert verdict.codes == ["history_emptied"]
    assert verdict.reasons[0].message == f"the history holds {rows} events, and held 1968 in the last verified backup"


def test_one_that_was_emptied_while_the_backup_ran_is_refused_without_any_backup_before() -> None:
    assert judge_growth(HistoryCopy(0, 0, {}), settled=7, previous=None).codes == ["history_emptied"]


def test_a_first_history_may_be_empty() -> None:
    assert judge_growth(HistoryCopy(0, 0, {}), settled=0, previous=None).ok


def test_a_person_can_say_that_it_was_meant() -> None:
    assert "history_emptied" in ACCEPTABLE
