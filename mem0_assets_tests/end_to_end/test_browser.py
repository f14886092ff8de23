"""What a person sees in Dagster's UI, in a real browser: the refused deployment red beside the healthy one.

`pytest -m pictures` takes the pictures of docs/pictures anew.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect, sync_playwright

from mem0_assets.demo.memories import add_memories
from mem0_assets.live.embedded import EmbeddedServer
from mem0_assets_tests.conftest import open_connection
from mem0_assets_tests.end_to_end.conftest import DIMENSIONS, ROOT, DagsterDev, Loss

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PICTURES = ROOT / "docs" / "pictures"
# As a person would leave the UI: the navigation folded, both groups open, side by side.
ARRANGED = """
localStorage.setItem("dagster-nav-collapsed", "true");
localStorage.setItem("asset-graph-direction", '"vertical"');
localStorage.setItem("asset-graph-open-graph-nodes-global-__GLOBAL__",
                     JSON.stringify({expanded: "global@global:prd,global@global:test"}));
"""

pytestmark = pytest.mark.skipif(not CHROMIUM.exists(), reason=f"{CHROMIUM} is not installed (apt-get install chromium)")


@pytest.fixture(scope="module")
def browser_page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """One page of a browser that has never been used."""
    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            tmp_path_factory.mktemp("chromium"),
            executable_path=CHROMIUM,
            args=FLAGS,
            viewport={"width": 1400, "height": 850},
        )
        context.set_default_timeout(60_000)
        context.add_init_script(ARRANGED)
        yield context.new_page()
        context.close()


@pytest.fixture
def page(browser_page: Page, dagster_dev: DagsterDev, loss: Loss) -> Page:
    """The page, once prd has lost its memories and its backup was refused."""
    return browser_page


def group_of(page: Page, dev: DagsterDev, name: str) -> Locator:
    page.goto(f"{dev.url}/locations/mem0_assets.definitions/asset-groups/{name}/lineage")
    return page.locator("body")


def asset_of(page: Page, dev: DagsterDev, name: str, thing: str, view: str = "overview") -> Locator:
    page.goto(f"{dev.url}/assets/{name}/{thing}?view={view}")
    return page.locator("body")


def in_order(*words: str) -> re.Pattern[str]:
    return re.compile(r"\s*".join(re.escape(word) for word in words))


def test_the_lineage_of_the_emptied_deployment_is_red(page: Page, dagster_dev: DagsterDev) -> None:
    group = group_of(page, dagster_dev, "prd")
    expect(group).to_contain_text("3 / 5 Passed", timeout=60_000)
    expect(group).to_contain_text("19 / 21 Passed")
    expect(page.get_by_text("Failed", exact=True)).to_have_count(2)  # validated_dump and retention did not run


def test_the_lineage_of_the_other_deployment_is_healthy(page: Page, dagster_dev: DagsterDev) -> None:
    group = group_of(page, dagster_dev, "test")
    expect(group).to_contain_text("5 / 5 Passed", timeout=60_000)
    expect(group).to_contain_text("21 / 21 Passed")
    expect(group).to_contain_text("1 / 1 Passed")
    expect(page.get_by_text("Failed", exact=True)).to_have_count(0)


def test_the_counts_page_shows_the_row_count_and_the_failed_checks(page: Page, dagster_dev: DagsterDev) -> None:
    counts = asset_of(page, dagster_dev, "prd", "memory_counts")
    expect(counts).to_contain_text(in_order("Latest check results", "2", "3", "Row count", "0"), timeout=60_000)


def test_the_chart_of_the_census_is_drawn_by_the_browser(page: Page, dagster_dev: DagsterDev) -> None:
    asset_of(page, dagster_dev, "prd", "memory_counts")
    page.get_by_text("[Show Markdown]").click()
    chart = page.get_by_role("img", name="memories per namespace")
    expect(chart).to_be_visible()
    assert chart.evaluate("image => image.naturalWidth") > 300


def test_the_checks_page_says_why_the_backup_was_refused(page: Page, dagster_dev: DagsterDev) -> None:
    checks = asset_of(page, dagster_dev, "prd", "postgres_backup", "checks")
    page.get_by_text("has_memories").first.click()
    expect(checks).to_contain_text("it holds no memories at all; at least 1 are required [empty]")
    expect(checks).to_contain_text("This is a blocking asset check.")
    expect(page.locator("button", has_text="Execute all")).to_be_enabled()


def test_a_proven_backup_shows_its_rows_and_that_it_is_fresh(page: Page, dagster_dev: DagsterDev) -> None:
    dump = asset_of(page, dagster_dev, "test", "validated_dump")
    expect(dump).to_contain_text(in_order("Freshness policy", "Passing", "Row count", "1,968"), timeout=60_000)
    expect(dump).to_contain_text("mark_carey/synovia")


@pytest.mark.pictures
def test_pictures_are_taken_for_the_documentation(page: Page, dagster_dev: DagsterDev, server: EmbeddedServer) -> None:
    PICTURES.mkdir(exist_ok=True)
    live_a_little(dagster_dev, server)
    page.goto(f"{dagster_dev.url}/asset-groups")
    page.get_by_placeholder("Jump to").locator("xpath=following::button[1]").click()
    page.set_viewport_size({"width": 1120, "height": 700})  # what the folded sidebar leaves empty
    page.wait_for_timeout(2000)
    page.screenshot(path=PICTURES / "lineage_refused.png")
    page.set_viewport_size({"width": 1400, "height": 850})
    asset_of(page, dagster_dev, "prd", "memory_counts")
    page.get_by_text("Plots", exact=True).click()
    page.get_by_text("namespace_count").first.wait_for()
    page.screenshot(path=PICTURES / "memory_counts.png")
    asset_of(page, dagster_dev, "prd", "postgres_backup", "checks")
    page.get_by_text("not_shrunk").first.click()
    page.get_by_text("is gone [namespace_vanished]").first.wait_for()
    page.screenshot(path=PICTURES / "check_failed.png")
    asset_of(page, dagster_dev, "test", "validated_dump")
    page.get_by_text("Passing").first.wait_for()
    page.wait_for_timeout(2000)
    page.screenshot(path=PICTURES / "validated_dump.png")


def live_a_little(dev: DagsterDev, server: EmbeddedServer) -> None:
    """Some growth of test from backup to backup, then drills of both."""
    database = dev.fleet.deployment("test").postgres.database
    for number in range(1, 4):
        with open_connection(server, database) as connection:
            add_memories(connection, {"mark_carey/sap": 4 * number}, dimensions=DIMENSIONS, seed=number)
        assert dev.status(dev.launch("test_backup")) == "SUCCESS"
    drills = [dev.launch("prd_drill"), dev.launch("test_drill")]
    assert [dev.status(run) for run in drills] == ["SUCCESS", "SUCCESS"]
