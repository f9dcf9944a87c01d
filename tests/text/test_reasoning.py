from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lollms_core.text import ReasoningSplitter, extract_thinking_blocks, remove_thinking_blocks

NAMES = ["think", "thinking", "thought", "reasoning"]
soup = st.lists(
    st.sampled_from(
        ["<think>", "</think>", "<THINK>", "<thinking>", "</thinking>", "<", "/think>", "thi", "a", "İ", " ", "\n"]
    ),
    max_size=10,
).map("".join)


def run(pieces: list[str]) -> tuple[str, str]:
    """The reasoning and the answer."""
    splitter = ReasoningSplitter()
    out = [part for piece in pieces for part in splitter.feed(piece)] + splitter.flush()
    assert all(text for _, text in out)
    kinds = [kind for kind, _ in out]
    assert kinds == sorted(kinds, reverse=True), "reasoning comes before the answer"
    return "".join(text for kind, text in out if kind), "".join(text for kind, text in out if not kind)


def split(text: str, cuts: list[int]) -> list[str]:
    places = sorted({cut % (len(text) + 1) for cut in cuts})
    return [text[a:b] for a, b in zip([0, *places], [*places, len(text)], strict=True)]


@given(text=soup, cuts=st.lists(st.integers(0)))
def test_any_split_gives_the_same(text: str, cuts: list[int]) -> None:
    assert run(split(text, cuts)) == run([text]) == run(list(text))


@given(text=soup)
def test_nothing_is_lost(text: str) -> None:
    reasoning, answer = run([text])
    if not text.lstrip().lower().startswith(("<think>", "<thinking>")):
        assert (reasoning, answer) == ("", text)
    else:
        opening, _, rest = text.lstrip().partition(">")
        closing = f"</{opening[1:].lower()}>"
        end = rest.lower().replace("i̇", "İ").find(closing)
        assert reasoning == (rest if end < 0 else rest[:end])
        assert answer == ("" if end < 0 else rest[end + len(closing) :].lstrip())


@given(text=soup)
def test_the_splitter_and_the_removal_agree_on_the_first_block(text: str) -> None:
    reasoning, answer = run([text])
    if reasoning or answer != text:
        assert extract_thinking_blocks(text)[0] == reasoning.strip()
        assert remove_thinking_blocks(text) == remove_thinking_blocks("x" + answer)[1:]


@pytest.mark.parametrize("name", NAMES)
def test_tags_split_over_chunks_are_never_leaked(name: str) -> None:
    text = f"\n<{name}>Let me see: 1 < 2 </ {name[:3]}.</{name.upper()}>\n\nYes, <{name}> is a tag."
    assert run(list(text)) == (f"Let me see: 1 < 2 </ {name[:3]}.", f"Yes, <{name}> is a tag.")


def test_once_decided_it_is_inactive_and_changes_nothing() -> None:
    splitter = ReasoningSplitter()
    active_at_first = splitter.active
    assert active_at_first
    assert splitter.feed(" \n") == []
    assert splitter.feed("<th") == []
    assert splitter.feed("e>") == [(False, " \n<the>")]
    assert not splitter.active
    assert splitter.feed("<think>") == [(False, "<think>")]
    assert splitter.feed("") == []
    assert splitter.flush() == []


def test_reasoning_streams_as_it_comes() -> None:
    splitter = ReasoningSplitter()
    assert splitter.feed("<think>one ") == [(True, "one ")]
    assert splitter.feed("two </th") == [(True, "two ")]
    assert splitter.feed("ree") == [(True, "</three")]
    assert splitter.feed("</think> \n") == []
    assert splitter.active
    assert splitter.feed("answer") == [(False, "answer")]
    assert not splitter.active


def test_reasoning_that_is_never_closed_stays_reasoning() -> None:
    assert run(["<think>", "hmm </thin"]) == ("hmm </thin", "")


def test_an_answer_that_ends_where_a_tag_might_begin() -> None:
    assert run([" <thi"]) == ("", " <thi")
    assert run(["  "]) == ("", "  ")


@pytest.mark.parametrize(
    ("text", "blocks", "rest"),
    [
        ("<think>a</think>\n\nb", ["a"], "b"),
        ("\n <thinking> a\n</thinking>b", ["a"], "b"),
        ("x\n\n\n<THOUGHT>a</thought>\n\n\n\ny\n\n\n\nz\n", ["a"], "x\n\n\ny\n\n\n\nz\n"),
        ("<think>a</think><reasoning>b</reasoning> c", ["a", "b"], "c"),
        ("<think>a</thinking>b</think>c", ["a</thinking>b"], "c"),
        ("<think>a ```\n<think>\n``` b</think>c", ["a ```\n<think>\n``` b"], "c"),
        ("```\n<think>a</think>\n```\n<think>b</think>c", ["b"], "```\n<think>a</think>\n```\nc"),
        (
            "```\r\n<think>a</think>\r\n```\r\n<think>b</think>\r\nc\r\n",
            ["b"],
            "```\r\n<think>a</think>\r\n```\r\nc\r\n",
        ),
        ("1. x\n   ```\n   <think>a</think>\n   ```\n", [], "1. x\n   ```\n   <think>a</think>\n   ```\n"),
        ("Put `<think>` before and `</think>` behind.", [], "Put `<think>` before and `</think>` behind."),
        ("<think>cut off", ["cut off"], ""),
        ("a <think>never closed", [], "a <think>never closed"),
        ("no tags\n\n\n\nat all  ", [], "no tags\n\n\n\nat all  "),
        ("<think></think>b", [""], "b"),
        ("", [], ""),
    ],
)
def test_blocks_anywhere(text: str, blocks: list[str], rest: str) -> None:
    assert extract_thinking_blocks(text) == blocks
    assert remove_thinking_blocks(text) == rest


def test_many_tags_take_linear_time() -> None:
    assert remove_thinking_blocks("a " + "<think>" * 50_000) == "a " + "<think>" * 50_000
    assert remove_thinking_blocks("a " + "<think>b</think>\n" * 20_000) == "a "
