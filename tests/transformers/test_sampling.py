"""One row's choice of a token, against what the words mean."""

import pytest
import torch
from lollms_transformers.sampling import Sampler

from lollms_core import BackendError, SamplingParams

SCORES = torch.log(torch.tensor([0.5, 0.3, 0.15, 0.05]))


def drawn(count: int = 300, scores: torch.Tensor = SCORES, tokens: tuple[int, ...] = (), **params) -> set[int]:
    sampler = Sampler(SamplingParams(seed=1, **params), {})
    return {sampler.pick(scores, list(tokens)) for _ in range(count)}


def test_temperature_zero_takes_the_best():
    assert drawn(temperature=0.0) == {0}
    assert Sampler(SamplingParams(temperature=0.0), {}).plain


def test_everything_can_be_drawn_when_nothing_is_cut():
    assert drawn(temperature=1.0) == {0, 1, 2, 3}


def test_top_k_leaves_the_k_best():
    assert drawn(temperature=1.0, top_k=2) == {0, 1}
    assert drawn(temperature=1.0, top_k=0) == {0, 1, 2, 3}
    assert drawn(temperature=1.0, top_k=99) == {0, 1, 2, 3}


def test_top_p_leaves_the_smallest_set_that_reaches_it():
    assert drawn(temperature=1.0, top_p=0.6) == {0, 1}
    assert drawn(temperature=1.0, top_p=0.0) == {0}
    assert drawn(temperature=1.0, top_p=1.0) == {0, 1, 2, 3}


def test_min_p_is_relative_to_the_best():
    assert drawn(temperature=1.0, min_p=0.25) == {0, 1, 2}


def test_a_tiny_temperature_does_not_overflow():
    assert drawn(temperature=1e-30) == {0}


def test_frequencies_follow_the_weights():
    sampler = Sampler(SamplingParams(temperature=1.0, seed=3), {})
    counts = torch.bincount(torch.tensor([sampler.pick(SCORES, []) for _ in range(4000)]), minlength=4) / 4000
    assert torch.allclose(counts, SCORES.exp(), atol=0.03)


def test_the_penalty_looks_at_the_last_tokens_only():
    close = torch.tensor([1.0, 0.9, -1.0, -1.1])
    assert drawn(scores=close, tokens=(0,), temperature=0.0, repeat_penalty=2.0) == {1}
    assert drawn(scores=close, tokens=(0, 3, 3), temperature=0.0, repeat_penalty=2.0, repeat_last_n=2) == {0}
    assert drawn(scores=close, tokens=(0, 3), temperature=0.0, repeat_penalty=2.0, repeat_last_n=-1) == {1}
    assert drawn(scores=close, tokens=(0, 1), temperature=0.0, repeat_penalty=2.0, repeat_last_n=0) == {0}
    below_zero = torch.tensor([-1.0, -1.1, -3.0, -3.0])
    assert drawn(scores=below_zero, tokens=(0,), temperature=0.0, repeat_penalty=2.0) == {1}


def test_the_scores_of_the_batch_are_not_changed():
    scores = SCORES.clone()
    Sampler(SamplingParams(temperature=1.0, repeat_penalty=2.0, top_p=0.5), {}).pick(scores, [0, 1])
    assert torch.equal(scores, SCORES)


def test_what_nobody_chose_is_left_to_the_checkpoint():
    own = {"do_sample": True, "temperature": 0.6, "top_k": 20, "top_p": 0.95, "repetition_penalty": 1.1}
    sampler = Sampler(SamplingParams(), own)
    assert (sampler.temperature, sampler.top_k, sampler.top_p, sampler.penalty) == (0.6, 20, 0.95, 1.1)
    assert Sampler(SamplingParams(temperature=0.2), own).temperature == 0.2
    assert Sampler(SamplingParams(), {"do_sample": False, "temperature": 0.6}).temperature == 0.0


def test_any_integer_is_a_seed():
    for seed in (0, -1, 2**70):
        assert Sampler(SamplingParams(temperature=1.0, seed=seed), {}).pick(SCORES, []) in range(4)


def test_scores_that_are_not_numbers_are_an_error():
    with pytest.raises(BackendError, match="not numbers"):
        drawn(scores=torch.tensor([float("nan")] * 4), temperature=1.0)
