"""Every way to lose something, done to one demo in turn, and each brought back by a restore.

What counts is that every byte is what it was before the loss: the memories with their vectors, the users, the history.
"""

import os
from collections.abc import Iterator

import pytest

from mem0_assets.backups.backup import make_backup
from mem0_assets.backups.catalog import Catalog
from mem0_assets.backups.files import sha256_of
from mem0_assets.demo.deployment import HOWS, NAME, Demo, How
from mem0_assets.demo.memories import INCIDENT
from mem0_assets.fleet import Deployment, load_fleet
from mem0_assets.live.census import take_census
from mem0_assets.restores.plan import plan_restore
from mem0_assets.restores.restore import restore
from mem0_assets_tests.restores.contents import fingerprint

Content = tuple[dict[str, str], int]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    made = Demo(tmp_path_factory.mktemp("restored") / "demo")
    made.create()
    try:
        yield made
    finally:
        made.server.stop("immediate")


@pytest.fixture(scope="module")
def whole(demo: Demo) -> Content:
    """What the demo holds before any loss, once it is backed up."""
    deployment = _deployment(demo)
    assert make_backup(deployment).verdict.ok
    return _content(deployment)


def _deployment(demo: Demo) -> Deployment:
    return load_fleet(demo.fleet_file).deployment(NAME)


def _content(deployment: Deployment) -> Content:
    assert deployment.stores.history is not None
    return fingerprint(deployment), os.stat(deployment.stores.history).st_size


@pytest.mark.parametrize("how", HOWS)
def test_what_was_lost_comes_back_to_the_byte(demo: Demo, whole: Content, how: How) -> None:
    deployment = _deployment(demo)
    demo.lose(how)
    assert plan_restore(deployment).against.ok
    report = restore(deployment, by="anna", confirm=NAME, safety_backup=how == "namespace")  # one costs seconds
    assert (report.state, report.verdict.codes) == ("done", [])
    assert _content(deployment) == whole
    assert take_census(deployment.postgres).namespaces == INCIDENT
    backup = Catalog(deployment).find("latest")
    assert report.files == {path: sha256_of(backup.path / path) for path in report.files}


def test_afterwards_the_next_backup_is_good(demo: Demo, whole: Content) -> None:
    assert make_backup(_deployment(demo)).verdict.ok
    assert _content(_deployment(demo)) == whole
