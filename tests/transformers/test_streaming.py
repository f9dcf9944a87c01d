"""Exact streams, and every way to end one early."""

import asyncio
import gc
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from lollms_core import CancelToken, GenerationRequest, SamplingParams
from tests.transformers.conftest import FRANCE, LONG, answer, greedy, held_up, wait_for_queue

pytestmark = pytest.mark.model

STORY = "Write a long story about the sea."


def test_pieces_arrive_one_token_at_a_time(backend):
    chunks = list(backend.generate(greedy(FRANCE)))
    assert [chunk.text for chunk in chunks] == ["The", " capital", " of", " France", " is", " Paris", ".", ""]
    assert [chunk.finish_reason for chunk in chunks] == [None] * 7 + ["stop"]


async def test_tasks_iterate_natively(backend):
    stream = backend.generate(greedy(FRANCE))
    assert "".join([chunk.text async for chunk in stream]) == "The capital of France is Paris."


async def test_many_waiting_tasks_cost_no_threads(backend):
    async def ask():
        return "".join([chunk.text async for chunk in backend.generate(greedy("Hi", 1))])

    before = set(threading.enumerate())
    tasks = [asyncio.create_task(ask()) for _ in range(24)]
    await asyncio.sleep(0)
    waiting = set(threading.enumerate())
    answers = await asyncio.gather(*tasks)
    assert len(set(answers)) == 1
    new = (waiting | set(threading.enumerate())) - before
    assert {thread.name for thread in new} <= {"lollms-transformers"}


def test_nothing_happens_before_the_first_item_is_asked_for(backend):
    engine = backend._engine(None)
    stream = backend.generate(greedy(STORY, 4096))
    assert engine.idle
    stream.close()


@pytest.mark.parametrize("end", ["cancel", "close", "abandon"])
def test_ending_early_frees_the_model_within_a_token(backend, end):
    token = CancelToken()
    request = GenerationRequest(prompt=STORY, sampling=SamplingParams(n_predict=4000, temperature=0.0), cancel=token)
    stream = backend.generate(request)
    first = next(stream)
    assert first.text
    if end == "cancel":
        token.cancel()
        assert list(stream)[-1].finish_reason == "cancelled"
    elif end == "close":
        stream.close()
        assert list(stream) == []
    else:
        del stream
        gc.collect()
    # Would take minutes if the abandoned answer were computed to its end.
    assert answer(backend, greedy(FRANCE))[0] == "The capital of France is Paris."


def test_a_call_that_waits_is_cancelled_at_once(backend):
    """Even while the engine does something else: here, while it is held up by a call."""
    engine = backend._engine(None)
    token = CancelToken()
    stream = backend.generate(
        GenerationRequest(prompt="Hi", sampling=SamplingParams(n_predict=5, temperature=0.0), cancel=token)
    )
    with held_up(engine), ThreadPoolExecutor(1) as pool:
        chunks = pool.submit(list, stream)
        wait_for_queue(engine, 1)
        token.cancel()
        assert [chunk.finish_reason for chunk in chunks.result(LONG)] == ["cancelled"]


def test_cancelled_before_it_began(backend):
    token = CancelToken()
    token.cancel()
    request = GenerationRequest(prompt="Hi", sampling=SamplingParams(n_predict=5), cancel=token)
    assert [chunk.finish_reason for chunk in backend.generate(request)] == ["cancelled"]


async def test_cancelling_a_task_stops_the_work(backend):
    begun = asyncio.Event()

    async def ask():
        async for _ in backend.generate(greedy(STORY, 4000)):
            begun.set()

    task = asyncio.create_task(ask())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert "".join([chunk.text async for chunk in backend.generate(greedy(FRANCE))]).endswith("Paris.")


def test_an_exception_in_the_generating_thread_reaches_the_caller(backend, smol, monkeypatch):
    from lollms_core import BackendError

    def broken(*args, **kwargs):
        raise RuntimeError("the device caught fire")

    monkeypatch.setattr(smol.model, "generate", broken)
    with pytest.raises(BackendError, match="caught fire") as caught:
        answer(backend, greedy(FRANCE))
    assert isinstance(caught.value.__cause__, RuntimeError)
    monkeypatch.undo()
    assert answer(backend, greedy(FRANCE))[0] == "The capital of France is Paris."


def test_running_out_of_memory_says_what_to_do(backend, smol, monkeypatch):
    import torch

    from lollms_core import BackendError

    def full(*args, **kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(smol.model, "generate", full)
    with pytest.raises(BackendError, match="out of memory") as caught:
        answer(backend, greedy(FRANCE))
    assert "max_batch_size" in caught.value.hint


def test_an_error_in_mid_stream_comes_after_the_text_so_far(backend, smol, monkeypatch):
    from lollms_transformers.row import Row

    from lollms_core import BackendError

    accept = Row.accept

    def accept_three(self, token):
        if self.generated == 3:
            raise RuntimeError("broke")
        accept(self, token)

    monkeypatch.setattr(Row, "accept", accept_three)
    stream = backend.generate(greedy(FRANCE))
    assert [next(stream).text for _ in range(3)] == ["The", " capital", " of"]
    with pytest.raises(BackendError, match="broke"):
        next(stream)
