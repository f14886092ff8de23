"""The picture on a census: one bar per namespace, and what is missing in red."""

import base64
import re
from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st

from mem0_assets.assets.charts import MOST_BARS, census_chart

SVG = "{http://www.w3.org/2000/svg}"
NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


def picture(markdown: str) -> ElementTree.Element:
    """The SVG inside the Markdown; an error where it is not well-formed."""
    encoded = re.search(r"base64,([A-Za-z0-9+/=]+)\)", markdown)
    assert encoded is not None
    return ElementTree.fromstring(base64.b64decode(encoded[1]).decode())


def texts(svg: ElementTree.Element) -> list[str]:
    return [text.text or "" for text in svg.iter(f"{SVG}text")]


def bars(svg: ElementTree.Element) -> list[tuple[int, int]]:
    """Per namespace how wide its memories are drawn, and how wide what is lost."""
    widths = [int(bar.attrib["width"]) for bar in svg.iter(f"{SVG}rect")]
    return list(zip(widths[::2], widths[1::2], strict=True))


def test_the_largest_namespace_comes_first_and_fills_the_width() -> None:
    svg = picture(census_chart({"small": 10, "large": 1000}, {}))
    assert texts(svg) == ["large", "1,000", "small", "10"]
    assert bars(svg) == [(260, 0), (2, 0)]


def test_what_is_missing_since_the_last_backup_stands_in_red() -> None:
    svg = picture(census_chart({"sap": 100}, {"sap": 200, "booking": 33}))
    assert texts(svg) == ["sap", "100 of 200", "booking", "0 of 33"]
    assert bars(svg) == [(130, 130), (0, 42)]
    assert {bar.attrib["fill"] for bar in svg.iter(f"{SVG}rect")} == {"#4f43dd", "#c0362c"}


def test_an_empty_collection_is_a_picture_too() -> None:
    assert bars(picture(census_chart({}, {}))) == []
    assert bars(picture(census_chart({"none": 0}, {}))) == [(0, 0)]


def test_many_namespaces_are_told_and_not_drawn() -> None:
    markdown = census_chart({f"user_{number}": number for number in range(MOST_BARS + 3)}, {})
    assert len(bars(picture(markdown))) == MOST_BARS
    assert markdown.endswith("... and 3 more namespaces")


def test_the_event_stays_small() -> None:
    assert len(census_chart({"n" * 500 + str(number): number for number in range(1000)}, {})) < 8000


@given(st.dictionaries(NAMES, st.integers(0, 10**9)), st.dictionaries(NAMES, st.integers(0, 10**9)))
def test_any_names_and_numbers_make_a_well_formed_picture(now: dict[str, int], before: dict[str, int]) -> None:
    svg = picture(census_chart(now, before))
    assert len(bars(svg)) == min(len(now.keys() | before.keys()), MOST_BARS)
    assert all(0 <= wide <= 260 and 0 <= lost <= 260 for wide, lost in bars(svg))
