"""A prompt that begins like an earlier one does not compute that beginning again."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lollms_transformers.prefix_cache import PrefixCache

from lollms_core import CloseRequest
from tests.support.results import known
from tests.transformers.conftest import MODEL, answer, make, prompt_tokens, raw


def layers(tokens: list[int]):
    """One layer whose keys are the tokens themselves."""
    keys = torch.tensor(tokens, dtype=torch.float32).view(1, 1, -1, 1)
    return [(keys, keys.clone())]


def test_the_longest_known_beginning_is_found():
    cache = PrefixCache(10_000, least=2)
    cache.store([1, 2, 3, 4], layers([1, 2, 3, 4]))
    cache.store([1, 2, 9, 9, 9], layers([1, 2, 9, 9, 9]))
    length, found = cache.lookup([1, 2, 9, 9, 5])
    assert length == 4
    assert known(found)[0][0].flatten().tolist() == [1, 2, 9, 9]
    assert cache.lookup([7, 7, 7]) == (0, None)
    assert cache.lookup([1, 8]) == (0, None), "shorter than a match must be"


def test_one_token_is_always_left_to_compute():
    cache = PrefixCache(10_000, least=1)
    cache.store([1, 2, 3], layers([1, 2, 3]))
    assert cache.lookup([1, 2, 3])[0] == 2


def test_an_entry_that_is_a_beginning_of_a_new_one_is_replaced():
    cache = PrefixCache(10_000, least=1)
    cache.store([1, 2], layers([1, 2]))
    cache.store([1, 2, 3], layers([1, 2, 3]))
    cache.store([1, 2], layers([1, 2]))
    assert len(cache) == 1


@given(st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=12), max_size=12))
def test_memory_stays_within_the_bound(sequences):
    cache = PrefixCache(128, least=1)
    for tokens in sequences:
        cache.store(tokens, layers(tokens))
        assert cache.size <= 128
        assert cache.size == sum(entry[2] for entry in cache._entries.values())
        length, found = cache.lookup([*tokens, 5])
        if found is not None:
            assert found[0][0].flatten().tolist() == tokens[:length]


def test_the_least_recently_used_goes_first():
    cache = PrefixCache(48, least=1)  # two entries of three tokens of 8 bytes
    cache.store([1, 1, 1], layers([1, 1, 1]))
    cache.store([2, 2, 2], layers([2, 2, 2]))
    cache.lookup([1, 1, 1, 1])
    cache.store([3, 3, 3], layers([3, 3, 3]))
    assert cache.match([1, 1, 1, 0]) == 3
    assert cache.match([2, 2, 2, 0]) == 0


STORY = "The ship left the harbour at dawn, and nobody on the quay knew where it was bound. " * 8


@pytest.mark.model
def test_a_shared_beginning_is_reused_and_changes_nothing(backend):
    fresh = make(MODEL, prefix_cache_bytes=0)
    try:
        expected, first = answer(fresh, raw(STORY + "In the evening", 8))
        again, second = answer(fresh, raw(STORY + "In the evening", 8))
    finally:
        fresh.close(CloseRequest())
    assert (known(first.usage).cached_tokens, known(second.usage).cached_tokens) == (0, 0), "0 bytes is off"
    answer(backend, raw(STORY + "In the morning", 8))
    text, end = answer(backend, raw(STORY + "In the evening", 8))
    assert text == again == expected
    assert known(known(end.usage).cached_tokens) > 0.9 * prompt_tokens(end)


@pytest.mark.model
def test_a_conversation_reuses_its_earlier_turns(backend):
    opening = "Once there was a lighthouse keeper. " * 12
    text, end = answer(backend, raw(opening, 6))
    _, following = answer(backend, raw(opening + text + " And then", 2))
    assert known(known(following.usage).cached_tokens) >= prompt_tokens(end)
