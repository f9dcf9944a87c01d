"""The estimate of a text's tokens, against vocabularies of real models."""

from __future__ import annotations

import doctest

import lollms_ollama.estimate
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lollms_ollama.estimate import estimate

from tests.ollama.texts import TEXTS
from tests.ollama.vocabularies import VOCABULARIES, tokens_by


@pytest.mark.parametrize("vocabulary", VOCABULARIES)
@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_few_rather_than_many(vocabulary, text):
    size, truth = estimate(text * 10), tokens_by(vocabulary, text * 10)
    assert 0.25 * truth <= size.least <= 1.25 * truth
    assert 0.45 * truth <= size.likely


def test_examples_of_the_documentation_are_true():
    assert doctest.testmod(lollms_ollama.estimate).failed == 0
    assert doctest.testmod(lollms_ollama.estimate).attempted == 2


@given(st.text())
def test_a_token_is_at_least_a_byte(text):
    size = estimate(text)
    assert 0 <= size.least <= size.likely <= len(text.encode("utf-8", "surrogatepass"))
    assert (size.likely > 0) is bool(text)


@given(st.text(), st.text())
def test_texts_together_are_not_more_than_apart(first, second):
    assert estimate(first + second).likely <= estimate(first).likely + estimate(second).likely
