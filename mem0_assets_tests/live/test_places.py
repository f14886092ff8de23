"""Where a container's data really lie, in words that stay the same while it is the same."""

import pytest

from mem0_assets.live.containers import Mount
from mem0_assets.live.places import ANONYMOUS, NOWHERE, mount_of, place_of

PATH = "/var/lib/postgresql/data"
NAMED = Mount(PATH, "volume", "", "mem0_postgres_db")


@pytest.mark.parametrize(
    ("mounts", "place"),
    [
        ([NAMED], "the volume mem0_postgres_db"),
        ([Mount("/var/lib/postgresql", "volume", "", "mem0_postgres_db")], "the volume mem0_postgres_db"),
        ([Mount(PATH, "bind", "/srv/pg")], "the folder /srv/pg"),
        ([Mount(PATH, "bind", "/host_mnt/Users/mark/pg")], "the folder /Users/mark/pg"),
        ([Mount(PATH, "volume", "", "ab" * 32)], ANONYMOUS),
        ([Mount(PATH, "volume", "")], ANONYMOUS),
        ([Mount(PATH, "tmpfs", "")], NOWHERE),
        ([Mount("/var/lib/postgresql/data2", "volume", "", "other")], NOWHERE),
        ([], NOWHERE),
    ],
)
def test_a_place_is_a_named_volume_a_folder_or_no_place_at_all(mounts: list[Mount], place: str) -> None:
    assert place_of(mounts, PATH) == place


def test_of_mounts_within_one_another_the_innermost_holds_the_path() -> None:
    outer = Mount("/var/lib", "bind", "/srv/lib")
    assert mount_of([outer, NAMED], f"{PATH}/base") == NAMED
    assert mount_of([NAMED, outer], "/var/lib/other") == outer
