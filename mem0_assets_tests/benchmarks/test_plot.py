"""The picture is valid SVG, linear, the quickest on top, and readable in light and dark."""

from xml.etree import ElementTree

from benchmarks.plot import Bar, bar_chart

SVG = "{http://www.w3.org/2000/svg}"
BARS = [Bar("pg_dump | gzip & <friends>", "peer", 100.0, 98.0, 104.0), Bar("mem0-assets", "ours", 4.0, 3.9, 4.2)]


def drawn() -> ElementTree.Element:
    return ElementTree.fromstring(bar_chart("Seconds", "median", BARS))


def test_the_quickest_is_on_top_and_twice_the_time_is_twice_the_length() -> None:
    rectangles = drawn().findall(f"{SVG}rect")
    assert [one.get("class") for one in rectangles] == ["ours", "peer"]
    lengths = [float(one.get("width", 0)) for one in rectangles]
    assert round(lengths[1] / lengths[0]) == 25


def test_every_contender_stands_beside_its_bar_with_its_seconds() -> None:
    texts = [one.text for one in drawn().findall(f"{SVG}text")]
    assert texts[2:] == ["mem0-assets", "4.00 s", "pg_dump | gzip & <friends>", "100.00 s"]


def test_colours_are_given_for_a_light_and_a_dark_page() -> None:
    style = drawn().find(f"{SVG}style")
    assert style is not None
    assert "prefers-color-scheme: dark" in (style.text or "")
