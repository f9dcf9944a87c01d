"""Calls that wait at the same time run as one batch, and nobody's answer depends on who else is in it."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from lollms_transformers import kv
from lollms_transformers.row import Row

from lollms_core import BackendError, CancelToken, GenerationRequest, SamplingParams
from tests.transformers.conftest import FRANCE, answer, at_once, greedy, held_up, wait_for_queue

pytestmark = pytest.mark.model

QUESTIONS = [
    FRANCE,
    "Write a short poem about the sea.",
    "Explain photosynthesis.",
    "List five colours and describe each of them in a few words, please.",
]


@pytest.fixture
def widths(smol, monkeypatch):
    """How many rows each pass through `generate` had."""
    seen = []
    generate = smol.model.generate

    def counted(*args, **kwargs):
        seen.append(len(kwargs["input_ids"]))
        return generate(*args, **kwargs)

    monkeypatch.setattr(smol.model, "generate", counted)
    return seen


def test_greedy_answers_equal_those_of_separate_calls(backend, widths):
    requests = [greedy(question, 12) for question in QUESTIONS]
    alone = [answer(backend, request)[0] for request in requests]
    assert set(widths) == {1}
    assert [text for text, _ in at_once(backend, requests)] == alone
    assert max(widths) == len(QUESTIONS)


def test_each_row_has_its_own_limit_stop_sampling_and_seed(backend, widths):
    requests = [
        greedy(FRANCE),
        greedy(QUESTIONS[1], 3),
        greedy(QUESTIONS[2], 12, sampling={"temperature": 1.2, "seed": 7, "top_k": 0, "top_p": 0.9}),
        greedy(FRANCE, sampling={"stop": ("France",)}),
    ]
    alone = [answer(backend, request) for request in requests]
    together = at_once(backend, requests)
    assert max(widths) == 4
    assert [text for text, _ in together] == [text for text, _ in alone]
    assert [end.finish_reason for _, end in together] == [end.finish_reason for _, end in alone]


def test_a_call_joins_those_that_run(backend, widths, monkeypatch):
    """It does not wait for a long answer to end, and changes nothing in it."""
    expected = answer(backend, greedy(QUESTIONS[1], 40))[0]
    accept, finish = Row.accept, Row.finish
    finished = []

    def second_token_once_the_other_call_is_there(self, token):
        if (self.limit, self.generated) == (40, 1):
            wait_for_queue(backend._engine(None), 1)
        accept(self, token)

    def noted(self, reason):
        finished.append(self.limit)
        finish(self, reason)

    monkeypatch.setattr(Row, "accept", second_token_once_the_other_call_is_there)
    monkeypatch.setattr(Row, "finish", noted)
    running = backend.generate(greedy(QUESTIONS[1], 40))
    first = next(running).text
    joined = answer(backend, greedy(FRANCE, 20))[0]
    text = first + "".join(chunk.text for chunk in running)
    assert joined == "The capital of France is Paris."
    assert text == expected
    assert 2 in widths
    assert finished == [20, 40]


def test_rows_that_are_done_leave_the_batch(backend, widths):
    at_once(backend, [greedy(QUESTIONS[1], 2), greedy(QUESTIONS[2], 2), greedy(QUESTIONS[3], 8)])
    assert widths[-1] == 1


def test_more_calls_than_fit_are_served_in_turn(backend, widths):
    requests = [greedy(f"Say the number {number}.", 2) for number in range(11)]
    answers = at_once(backend, requests)
    assert len(answers) == 11
    assert max(widths) == 8


def test_cancelling_one_row_leaves_the_others(backend):
    token = CancelToken()
    doomed = GenerationRequest(
        prompt=QUESTIONS[1], sampling=SamplingParams(n_predict=500, temperature=0.0), cancel=token
    )
    stream = backend.generate(doomed)
    next(stream)
    other = backend.generate(greedy(FRANCE))
    text = next(other).text
    token.cancel()
    assert text + "".join(chunk.text for chunk in other) == "The capital of France is Paris."
    assert list(stream)[-1].finish_reason == "cancelled"


def test_an_error_in_one_row_leaves_the_others(backend, monkeypatch):
    from lollms_transformers.sampling import Sampler

    pick = Sampler.pick

    def fails_for_one(self, scores, tokens):
        if self.temperature == 0.77:
            raise ValueError("bad luck")
        return pick(self, scores, tokens)

    monkeypatch.setattr(Sampler, "pick", fails_for_one)
    engine = backend._engine(None)
    with ThreadPoolExecutor(2) as pool:
        with held_up(engine):
            bad = pool.submit(answer, backend, greedy(QUESTIONS[1], 5, sampling={"temperature": 0.77}))
            good = pool.submit(answer, backend, greedy(FRANCE))
            wait_for_queue(engine, 2)
        assert good.result()[0] == "The capital of France is Paris."
        with pytest.raises(BackendError, match="bad luck"):
            bad.result()


def test_calls_from_many_threads_all_end(backend):
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda number: answer(backend, greedy(FRANCE, 3 + number % 3))[0], range(32)))
    assert all("The capital of France".startswith(text) or text.startswith("The capital of") for text in answers)


def test_merging_and_selecting_caches_keeps_every_row(smol):
    import torch
    from transformers import DynamicCache

    config = smol.model.config

    def cache(rows, tokens, value):
        made: Any = DynamicCache(config=config)
        for layer in made.layers:
            keys = torch.full((rows, 3, tokens, 64), float(value))
            layer.update(keys, keys + 0.5)
        return made

    both = kv.merged(cache(2, 3, 1), cache(1, 5, 2), config)
    keys, values = kv.layers_of(both)[0]
    assert keys.shape == (3, 3, 5, 64)
    assert keys[0, 0, :, 0].tolist() == [0, 0, 1, 1, 1]
    assert values[2, 0, :, 0].tolist() == [2.5] * 5
    left = kv.selected(both, [0], 3, config)
    assert kv.layers_of(left)[0][0][0, 0, :, 0].tolist() == [1, 1, 1]
