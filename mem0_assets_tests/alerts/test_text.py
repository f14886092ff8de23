"""Texts are built, cut and kept without losing a character, a style, or Telegram's consent."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mem0_assets.alerts.text import TELEGRAM_LIMIT, Entity, Text, bold, code, pre
from mem0_assets_tests.telegram_stub import check_entities, check_text

STYLES = {"plain": Text.plain, "bold": bold, "code": code, "pre": pre}

# Words, line ends, blanks, emoji (two units each), combining marks, and halves of surrogate pairs.
CHARACTERS = st.one_of(
    st.text(alphabet="ab \n", max_size=20),
    st.text(alphabet="é😀🇬🇧👩‍👧\u0301\n \ud83d\ude00", max_size=20),
    st.text(st.characters(), max_size=20),
)
PIECES = st.lists(st.tuples(st.sampled_from(sorted(STYLES)), CHARACTERS), max_size=12)
TEXTS = PIECES.map(lambda pieces: Text("").join(STYLES[style](words) for style, words in pieces))


def styled_characters(text: Text) -> list[tuple[str, str]]:
    """Every character that can be seen, with its style: read back from the entities, in UTF-16, as Telegram does."""
    units = text.text.encode("utf-16-le")
    styles = ["plain"] * (len(units) // 2)
    for entity in text.entities:
        styles[entity.offset : entity.end] = [entity.type] * entity.length
    characters, unit = [], 0
    for character in text.text:
        characters.append((character, styles[unit]))
        unit += len(character.encode("utf-16-le")) // 2
    return [(character, style) for character, style in characters if not character.isspace()]


@settings(deadline=None)
@given(PIECES)
def test_every_character_keeps_the_style_that_it_was_given(pieces: list[tuple[str, str]]) -> None:
    built = Text("").join(STYLES[style](words) for style, words in pieces)
    expected = [pair for style, words in pieces for pair in one_style(style, words)]
    assert styled_characters(built) == expected


def one_style(style: str, words: str) -> list[tuple[str, str]]:
    return [(character, style) for character in Text.plain(words).text if not character.isspace()]


@settings(deadline=None)
@given(TEXTS, st.integers(min_value=2, max_value=40))
def test_a_split_loses_no_character_and_no_style(text: Text, limit: int) -> None:
    parts = text.split(limit)
    assert [pair for part in parts for pair in styled_characters(part)] == styled_characters(text)


@settings(deadline=None)
@given(TEXTS, st.integers(min_value=2, max_value=40))
def test_every_part_fits_and_says_something(text: Text, limit: int) -> None:
    for part in text.split(limit):
        assert part.units <= limit
        assert part.text.strip()


@settings(deadline=None)
@given(TEXTS, st.integers(min_value=2, max_value=40))
def test_telegram_takes_every_part(text: Text, limit: int) -> None:
    for part in text.split(limit):
        sent = part.as_json()
        check_text(sent["text"])
        check_entities(sent["text"], list(sent["entities"]))


@settings(deadline=None)
@given(TEXTS)
def test_json_brings_the_same_text_back(text: Text) -> None:
    assert Text.from_json(json.loads(json.dumps(text.as_json()))) == text


def test_offsets_count_utf16_units() -> None:
    text = Text.plain("🔴 prd: ") + bold("0 memories") + " in " + code("mem0_prd")
    assert text.text == "🔴 prd: 0 memories in mem0_prd"
    assert text.entities == (Entity("bold", 8, 10), Entity("code", 22, 8))


def test_a_str_counts_as_plain_on_either_side() -> None:
    assert ("a " + bold("b") + " c").as_json() == {
        "text": "a b c",
        "entities": ({"type": "bold", "offset": 2, "length": 1},),
    }


def test_join_puts_the_separator_between_the_texts_only() -> None:
    joined = Text.plain("\n").join(["one", bold("two"), code("three")])
    assert joined == "one\n" + bold("two") + "\n" + code("three")
    assert Text.plain("\n").join([]) == Text("")


def test_styling_nothing_makes_no_entity() -> None:
    assert bold("") == Text("")


def test_a_long_text_is_cut_after_a_line() -> None:
    line = "x" * 99 + "\n"
    parts = Text.plain(line * 100).split()
    assert [part.units for part in parts] == [4000, 4000, 2000]
    assert all(part.text.endswith("\n") for part in parts)


def test_lines_that_fit_exactly_are_not_cut_in_two() -> None:
    assert [part.text for part in Text.plain("a\nbb\ncc").split(4)] == ["a\nbb", "\ncc"]
    line = "x" * TELEGRAM_LIMIT
    assert [part.text.strip() for part in Text.plain(f"{line}\n{line}\n{line}").split()] == [line] * 3


def test_a_line_too_long_is_cut_after_a_word_and_a_word_too_long_anywhere() -> None:
    assert [part.text for part in Text.plain("one two three").split(9)] == ["one two ", "three"]
    assert [part.text for part in Text.plain("abcdefgh").split(3)] == ["abc", "def", "gh"]


def test_an_emoji_is_never_cut_in_two() -> None:
    assert [part.text for part in Text.plain("😀😀😀").split(3)] == ["😀", "😀", "😀"]


def test_an_entity_goes_on_in_the_next_part() -> None:
    assert bold("one two").split(4) == [bold("one "), bold("two")]


def test_a_blank_text_has_no_parts() -> None:
    assert Text.plain(" \n\n ").split() == []


def test_halves_of_surrogate_pairs_become_replacement_characters() -> None:
    assert Text.plain("bad \udce9 name").text == "bad \ufffd name"


def test_the_first_line_is_the_first_that_says_something() -> None:
    assert (bold("\n  prd is empty  ") + "\nsince 08:00").first_line == "prd is empty"
    assert Text.plain(" \n").first_line == ""


@pytest.mark.parametrize(
    "raw",
    [
        None,
        {},
        {"text": 1, "entities": []},
        {"text": "a", "entities": [{"type": "bold", "offset": 0, "length": 2}]},
        {"text": "a", "entities": [{"type": "bold", "offset": 0, "length": 0}]},
        {"text": "a", "entities": [{"type": "bold", "offset": -1, "length": 1}]},
        {"text": "a", "entities": [{"type": "link", "offset": 0, "length": 1}]},
        {
            "text": "ab",
            "entities": [{"type": "bold", "offset": 0, "length": 2}, {"type": "code", "offset": 1, "length": 1}],
        },
        {"text": "😀", "entities": [{"type": "bold", "offset": 0, "length": 1}]},
        {"text": "😀", "entities": [{"type": "bold", "offset": 1, "length": 1}]},
        {"text": "\udce9", "entities": []},
    ],
)
def test_what_telegram_would_refuse_cannot_be_read_back(raw: object) -> None:
    with pytest.raises(ValueError, match=r"."):
        Text.from_json(raw)


def test_a_limit_that_no_emoji_fits_in_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 2"):
        Text.plain("a").split(1)
