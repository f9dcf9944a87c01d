from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lollms_core.text import StopFilter


def run(stops: tuple[str, ...], pieces: list[str]) -> tuple[str, bool]:
    stop = StopFilter(stops)
    text = "".join(stop.feed(piece) for piece in pieces) + stop.flush()
    return text, stop.stopped


def split(text: str, cuts: list[int]) -> list[str]:
    places = sorted({cut % (len(text) + 1) for cut in cuts})
    return [text[a:b] for a, b in zip([0, *places], [*places, len(text)], strict=True)]


texts = st.text(alphabet="abc", max_size=40)


@given(text=texts, stops=st.lists(st.text(alphabet="abc", max_size=5), max_size=4), cuts=st.lists(st.integers(0)))
def test_any_split_gives_the_text_up_to_the_first_occurrence(text: str, stops: list[str], cuts: list[int]) -> None:
    found = [text.find(stop) for stop in stops if stop and stop in text]
    expected = text[: min(found)] if found else text
    assert run(tuple(stops), split(text, cuts)) == (expected, bool(found))


@given(text=texts, stops=st.lists(st.text(alphabet="abc", min_size=1, max_size=5), min_size=1, max_size=3))
def test_only_what_may_become_a_stop_sequence_is_held_back(text: str, stops: list[str]) -> None:
    stop = StopFilter(tuple(stops))
    given_out = "".join(map(stop.feed, text))
    if not stop.stopped and not any(sequence in text for sequence in stops):
        held = text[len(given_out) :]
        assert held == "" or any(sequence.startswith(held) for sequence in stops)


def test_a_stop_sequence_in_pieces_is_never_shown() -> None:
    stop = StopFilter(("\nUser:",))
    assert [stop.feed(piece) for piece in ["Hi", "!\n", "Us", "er", ": hello", "more"]] == ["Hi", "!", "", "", "", ""]
    assert stop.stopped
    assert stop.flush() == ""


def test_what_was_held_back_comes_at_the_end() -> None:
    stop = StopFilter(("END",))
    assert stop.feed("the EN") == "the "
    assert not stop.stopped
    assert stop.flush() == "EN"


def test_the_earliest_beginning_wins_over_the_earliest_end() -> None:
    assert run(("abcd", "bc"), ["xab", "c", "d"]) == ("x", True)
    assert run(("abcd", "bc"), ["xab", "c", "e"]) == ("xa", True)
    assert run(("abcd", "bc"), ["xab", "c"]) == ("xa", True)


def test_without_stop_sequences_nothing_is_held_back() -> None:
    assert run((), ["a", "b"]) == ("ab", False)
    assert run(("",), ["a", "b"]) == ("ab", False)


def test_one_string_is_not_a_list_of_characters() -> None:
    with pytest.raises(TypeError):
        StopFilter("END")


def test_a_long_near_miss_is_linear() -> None:
    """Each character is compared at most twice: what is held back never grows beyond the sequence."""
    stop = StopFilter(("a" * 500 + "b",))
    out = "".join(stop.feed("a") for _ in range(20_000))
    assert out == "a" * 19_500
    assert stop.flush() == "a" * 500
