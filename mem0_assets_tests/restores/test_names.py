"""What lies beside is found again by its name, and belongs to one database alone."""

import pytest

from mem0_assets.restores.names import beside_name, kept_name

RESTORE = "20260103_133102"


def test_a_short_plain_name_stays_readable() -> None:
    assert beside_name("mem0", RESTORE) == "mem0_restored_20260103_133102"
    assert kept_name("mem0", RESTORE) == "mem0_replaced_20260103_133102"


@pytest.mark.parametrize(
    ("one", "other"),
    [("m" * 63, "m" * 62 + "n"), ("m" * 45, "m" * 45 + "_app"), ("mem0-app", "mem0_app"), ("ä" * 31, "ö" * 31)],
)
def test_two_databases_never_share_a_name(one: str, other: str) -> None:
    for name in (beside_name, kept_name):
        assert name(one, RESTORE) != name(other, RESTORE)
        assert len(name(one, RESTORE).encode()) <= 63
