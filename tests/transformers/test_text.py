"""Incremental decoding: nothing lost, nothing broken, nothing held but an unfinished character."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from lollms_transformers.text import IncrementalDecoder

pytestmark = pytest.mark.model

FAMILY = "Grüße 👩‍👩‍👧 日本語 naïve 🇫🇷 ok"


def test_a_character_is_never_split(smol):
    tokens = smol.tokenizer(FAMILY, add_special_tokens=False)["input_ids"]
    decoder = IncrementalDecoder(smol.tokenizer)
    pieces = [decoder.feed(token) for token in tokens]
    assert "".join(pieces) + decoder.flush() == FAMILY
    assert not any("\ufffd" in piece for piece in pieces)


def test_bytes_that_never_form_a_character_do_not_hold_the_stream_up(smol):
    broken = smol.tokenizer.convert_tokens_to_ids("ð")  # the byte F0, which begins a character of four
    word = smol.tokenizer(" word", add_special_tokens=False)["input_ids"]
    decoder = IncrementalDecoder(smol.tokenizer)
    text = "".join(decoder.feed(token) for token in [broken] * 9 + word * 2)
    assert text.endswith(" word word")
    assert "\ufffd" in text


def test_an_unfinished_character_at_the_end_is_shown_as_such(smol):
    tokens = smol.tokenizer("👧", add_special_tokens=False)["input_ids"]
    decoder = IncrementalDecoder(smol.tokenizer)
    assert [decoder.feed(token) for token in tokens[:-1]] == [""] * (len(tokens) - 1)
    assert "\ufffd" in decoder.flush()


@settings(max_examples=60, deadline=None)
@example(text="\U00040000\U00040000\U000c0000")  # bytes that the vocabulary lacks, then a character in pieces
@given(text=st.text(min_size=1, max_size=60))
def test_all_pieces_together_are_the_whole(smol, text):
    tokens = smol.tokenizer(text, add_special_tokens=False)["input_ids"]
    decoder = IncrementalDecoder(smol.tokenizer)
    streamed = "".join(decoder.feed(token) for token in tokens) + decoder.flush()
    assert streamed == smol.tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)


def test_tokenizers_written_in_python_work_too():
    from transformers import ByT5Tokenizer

    tokenizer = ByT5Tokenizer()
    tokens = tokenizer(FAMILY, add_special_tokens=False)["input_ids"]
    decoder = IncrementalDecoder(tokenizer)
    assert "".join(decoder.feed(token) for token in tokens) + decoder.flush() == FAMILY


def test_a_long_answer_keeps_the_window_short(smol):
    tokens = smol.tokenizer("word " * 700, add_special_tokens=False)["input_ids"]
    decoder = IncrementalDecoder(smol.tokenizer)
    assert "".join(decoder.feed(token) for token in tokens) + decoder.flush() == "word " * 700
    assert len(decoder._tokens) < 300
