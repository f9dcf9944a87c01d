"""Breaking lines at spaces, whatever the width, the language, and the pieces in which a text arrives."""

from __future__ import annotations

import pyte
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lollms_core._cli.wrapping import WordWrap, cells, shortened, wrap

TEXTS = st.text(st.sampled_from("ab \n\té漢🙂-|`"), max_size=80)
PROSE = st.lists(st.text(st.sampled_from("abé漢🙂-,."), min_size=1, max_size=12), min_size=1, max_size=30).map(" ".join)


def arrived(pieces: list[str], width: int | None, *, eager: bool = False) -> str:
    words = WordWrap(lambda: width, eager=eager)
    return "".join(map(words.feed, pieces)) + words.rest()


def seen(text: str, width: int) -> list[str]:
    """What a terminal with one more column shows."""
    screen = pyte.Screen(width + 1, 60)
    pyte.Stream(screen).feed(text.replace("\n", "\r\n"))
    return [line.rstrip() for line in screen.display]


@pytest.mark.parametrize(("text", "columns"), [("abc", 3), ("é", 1), ("e\u0301", 1), ("漢字", 4), ("🙂", 2), ("", 0)])
def test_columns_of_a_text(text, columns):
    assert cells(text) == columns


@given(PROSE, st.integers(1, 60), st.integers(0, 20))
def test_lines_fit_unless_a_word_does_not(text, width, column):
    lines = wrap(text, width, column=column, hanging="  ").split("\n")
    assert " ".join(line.removeprefix("  ") for line in lines).split() == text.split()
    for number, line in enumerate(lines):
        assert cells(line) + (column if number == 0 else 0) <= width or len(line.split()) == 1


def test_a_text_stays_in_one_line_where_there_is_no_width():
    assert wrap("a  text of some words", None) == "a  text of some words"


@given(st.text(st.sampled_from("ab漢🙂"), max_size=20), st.integers(1, 12))
def test_a_shortened_text_fits(text, width):
    assert cells(shortened(text, width)) <= width
    assert shortened(text, 100) == text


@given(TEXTS, st.integers(1, 30), st.data())
def test_pieces_make_no_difference(text, width, data):
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    pieces = [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert arrived(pieces, width) == arrived([text], width)


@given(PROSE, st.integers(13, 30), st.data())
def test_beginnings_of_words_make_no_difference_on_the_screen(text, width, data):
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=20)))
    pieces = [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert seen(arrived(pieces, width, eager=True), width) == seen(arrived([text], width), width)


def test_a_beginning_is_seen_at_once_and_taken_back_if_it_must():
    words = WordWrap(lambda: 10, eager=True)
    assert [words.feed(piece) for piece in ("Hel", "lo", " wor", "lds", "!")] == [
        "Hel", "lo", " wor", "\x1b[4D\x1b[K\nworlds", "!",
    ]  # fmt: skip


@given(TEXTS)
def test_without_a_width_nothing_changes(text):
    assert arrived([text], None) == text


@given(TEXTS, st.integers(1, 30))
def test_only_spaces_become_line_ends(text, width):
    assert arrived([text], width).split() == text.split()


@given(PROSE, st.integers(12, 60))
def test_lines_of_an_answer_fit(text, width):
    for line in arrived([text], width).split("\n"):
        assert cells(line) <= width or len(line.split()) == 1


def test_words_are_shown_as_soon_as_they_are_whole():
    words = WordWrap(lambda: 80)
    assert [words.feed(piece) for piece in ("Hel", "lo wor", "ld", "!\n", "Bye")] == ["", "Hello", "", " world!\n", ""]
    assert words.rest() == "Bye"


LONG = "a line of code that is much longer than the window is wide"


@pytest.mark.parametrize(
    "text",
    [f"```\n{LONG}\n```\n", f"~~~~\n{LONG}\n```\n{LONG}\n~~~~\n", f"    {LONG}\n", f"\t{LONG}\n", f"| {LONG} |\n"],
    ids=["fence", "tildes", "spaces", "tab", "table"],
)
def test_code_and_tables_are_left_alone(text):
    assert arrived([text], 20) == text
    assert arrived([text + "and prose that is broken again"], 20) == text + "and prose that is\nbroken again"


def test_an_open_fence_lasts_to_the_end():
    assert arrived([f"```python\n{LONG}\n{LONG}"], 20) == f"```python\n{LONG}\n{LONG}"
