"""Which counts tell that a prompt was cut, with the tokens of real vocabularies and the cuts of a real server."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lollms_ollama.truncation import size_if_cut

from tests.ollama.runner import cut, fitting
from tests.ollama.texts import PROSE, TEXTS
from tests.ollama.vocabularies import VOCABULARIES, tokens_by

SMALL = 65536
WHO = ("user", "assistant")
CHATML = 5
"""Tokens that `<|im_start|>user\\n` and `<|im_end|>\\n` add to a message."""
MISTRAL = 2
"""The same of `[INST]`, `[/INST]` and `</s>`."""


def left_of(tokens, window):
    """What the server reports for a text of so many tokens."""
    return len(cut(["x"] * tokens, window))


def told(reported, window, texts, vocabulary, raw=False):
    return size_if_cut(reported, window, texts, raw=raw, small_vocabulary=VOCABULARIES[vocabulary] < SMALL)


@pytest.mark.parametrize("vocabulary", VOCABULARIES)
@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_a_text_that_was_cut_is_seen_at_once(vocabulary, text):
    prompt = text * 20
    tokens = tokens_by(vocabulary, prompt)
    window = round(tokens / 1.2)
    size = told(left_of(tokens, window), window, [prompt], vocabulary, raw=True)
    assert size
    assert 0.45 * tokens <= size <= 2 * tokens


@pytest.mark.parametrize("vocabulary", VOCABULARIES)
@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_a_text_that_was_cut_is_seen_where_the_window_is_not_known(vocabulary, text):
    prompt = text * 20
    tokens = tokens_by(vocabulary, prompt)
    assert told(left_of(tokens, tokens // 2), None, [prompt], vocabulary, raw=True)


@pytest.mark.parametrize("vocabulary", VOCABULARIES)
@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
@pytest.mark.parametrize("filled", [0.3, 0.6, 0.9, 1.0, None])
def test_a_text_that_fits_is_no_alarm(vocabulary, text, filled):
    prompt = text * 20
    tokens = tokens_by(vocabulary, prompt)
    assert not told(tokens, filled and round(tokens / filled), [prompt], vocabulary, raw=True)


def conversation(text, count):
    """Messages of a few sentences each, and one for each line of a text of many."""
    parts = [part for part in text.splitlines() if part] * count if "\n" in text else [text] * count
    return [{"role": WHO[number % 2], "content": part} for number, part in enumerate(parts)]


@pytest.mark.parametrize("vocabulary", VOCABULARIES)
@pytest.mark.parametrize("name", [*PROSE, "short lines"])
def test_messages_that_were_left_out_are_seen(vocabulary, name):
    """Once three quarters are missing, in any language and however short they are."""

    def size(messages):
        return sum(tokens_by(vocabulary, message["content"]) + CHATML for message in messages)

    messages = conversation(TEXTS[name], 40)
    window = round(size(messages) / 3.6)
    left = size(fitting(messages, window, size))
    assert told(left, window, [message["content"] for message in messages], vocabulary)


@pytest.mark.parametrize("vocabulary", VOCABULARIES)
@pytest.mark.parametrize("name", [*PROSE, "short lines"])
@pytest.mark.parametrize("template", [CHATML, MISTRAL])
@pytest.mark.parametrize("filled", [0.4, 0.95, 1.0, None])
def test_a_conversation_that_fits_is_no_alarm(vocabulary, name, template, filled):
    texts = [message["content"] for message in conversation(TEXTS[name], 40)]
    tokens = sum(tokens_by(vocabulary, text) + template for text in texts)
    assert not told(tokens, filled and round(tokens / filled), texts, vocabulary)


@pytest.mark.parametrize(
    ("reported", "window", "cut"),
    [
        (2050, 4096, True),  # half of the window, as of a text that was cut
        (2051, 4096, True),
        (4096, 4096, True),  # all of it, as servers before 0.30 fill it
        (3000, 4096, True),
        (4900, 4096, False),  # more than the window: it is not what we think it is
        (2050, None, True),
        (4500, None, False),
        (2050, 28 * 1024, False),  # by its bytes it fits
        (0, 4096, False),
        (-1, 4096, False),
    ],
)
def test_rule(reported, window, cut):
    prompt = "word " * 5300 + "."
    assert bool(size_if_cut(reported, window, [prompt], raw=True)) is cut


def test_japanese_of_an_economical_vocabulary_is_no_alarm():
    """Qwen 3.6 has 0.443 tokens for a Japanese character, of which `cl100k_base` makes two: so it fits, and by far."""
    text = PROSE["Japanese"].replace("、", "").replace("。", "") * 40
    reported = round(len(text) * 0.443)
    assert tokens_by("cl100k", text) > 2 * reported
    for window in (reported, 2 * reported, None):
        assert not size_if_cut(reported, window, [text], raw=True)


@given(st.lists(st.text(), min_size=1), st.integers(1, 10**6), st.integers(1, 10**6) | st.none(), st.booleans())
def test_a_prompt_shorter_than_its_count_is_never_an_alarm(texts, reported, window, raw):
    size = sum(len(text.encode()) for text in texts) + 3 * len(texts)
    if size <= reported:
        assert size_if_cut(reported, window, texts, raw=raw) is None


def test_what_fits_by_far_is_not_taken_for_cut():
    """A table of rules has many signs and few tokens."""
    table = ("| --- " * 8 + "|\n") * 120
    assert size_if_cut(1500, 8192, [table], raw=False) is None
