"""vLLM's engine in this process, with a real small model."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from lollms_core import (
    ELF_COMPLETION_FORMAT,
    ClientClosedError,
    ConfigurationError,
    ContextWindowError,
    ImageError,
    InvalidRequestError,
    LollmsClient,
    ModelNotFoundError,
    UnsupportedError,
    UnsupportedOptionError,
)
from lollms_core.testing._requirements import eventually
from tests.openai.test_requests import PNG
from tests.support.results import known, result_of
from tests.support.waiting import PATIENCE, await_until, in_background

pytestmark = [
    pytest.mark.vllm,
    # Of vLLM's and torch's own modules, at import; and vLLM leaves its ZeroMQ context to the garbage collector.
    pytest.mark.filterwarnings(
        "ignore::DeprecationWarning",
        "ignore::FutureWarning",
        "ignore:Exception ignored in. <function Context.__del__:pytest.PytestUnraisableExceptionWarning",
    ),
]

QUESTION = "What is the capital of France?"
ANSWER = "The capital of France is Paris."
STORY = "Tell a long story about the sea."
INSTRUCT = ELF_COMPLETION_FORMAT.Instruct


@pytest.fixture(scope="module")
def client(small_model: Path) -> Iterator[LollmsClient]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")
        before = set(threading.enumerate())
        with LollmsClient(
            model_name=str(small_model),
            ctx_size=2048,
            default_generation_mode="vllm",
            raise_errors=True,
            dtype="float32",
            enforce_eager=True,
        ) as client:
            yield client
            engine = psutil.Process().children(recursive=True)
            assert any("python" in process.name() or "VLLM" in process.name() for process in engine)
        # Closing has freed everything: the engine's processes and its thread.
        _, alive = psutil.wait_procs([process for process in engine if not _is_tracker(process)], timeout=PATIENCE)
        assert alive == []
        assert {thread.name for thread in set(threading.enumerate()) - before} & {"lollms-vllm"} == set()
        with pytest.raises(ClientClosedError):
            client.generate(QUESTION)


def _is_tracker(process: psutil.Process) -> bool:
    """Python's own helper, which lives as long as the interpreter."""
    try:
        return "resource_tracker" in " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return False


def idle(client: LollmsClient) -> bool:
    """Whether the engine comes to have nothing to do."""
    backend: Any = client.backend
    engine = backend._engine._engine
    return eventually(lambda: not engine.get_num_unfinished_requests(), PATIENCE)


def test_an_answer_and_what_it_cost(client: LollmsClient) -> None:
    completion = result_of(client.complete(QUESTION, 20, temperature=0))
    assert (completion.text, completion.finish_reason) == (ANSWER, "stop")
    assert (completion.usage.prompt_tokens, completion.usage.completion_tokens) == (37, 8)


def test_a_streamed_answer_is_the_same_in_many_pieces(client: LollmsClient) -> None:
    pieces = [chunk.text for chunk in client.stream(QUESTION, 20, temperature=0) if chunk.text]
    assert "".join(pieces) == ANSWER
    assert len(pieces) > 4


async def test_the_async_form_is_the_same(client: LollmsClient) -> None:
    pieces = [chunk.text async for chunk in client.astream(QUESTION, 20, temperature=0)]
    assert "".join(pieces) == ANSWER


async def test_many_tasks_at_once_have_answers_of_their_own(client: LollmsClient) -> None:
    questions = [f"What is the capital of {country}?" for country in ("France", "Italy", "Spain", "Japan")]
    alone = [client.generate(question, 12, temperature=0) for question in questions]
    together = await asyncio.gather(*(client.agenerate(question, 12, temperature=0) for question in questions))
    assert together == alone


def test_many_threads_at_once(client: LollmsClient) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: client.generate(QUESTION, 20, temperature=0), range(8)))
    assert answers == [ANSWER] * 8


def test_sampling_is_honoured(client: LollmsClient) -> None:
    greedy = client.generate(STORY, 12, temperature=0)
    assert client.generate(STORY, 12, temperature=2, top_p=1, top_k=1) == greedy
    assert client.generate(STORY, 12, temperature=2, top_p=1, min_p=1) == greedy
    assert client.generate(STORY, 12, temperature=2, top_p=0.0001) == greedy
    wild = [client.generate(STORY, 12, temperature=2, top_p=1, seed=seed) for seed in (1, 1, 2)]
    assert wild[0] == wild[1] != wild[2]
    assert client.generate(STORY, 40, temperature=0, repeat_penalty=2.0) != client.generate(STORY, 40, temperature=0)


def test_stop_sequences_and_limits(client: LollmsClient) -> None:
    completion = result_of(client.complete(QUESTION, 20, temperature=0, stop=[" is"]))
    assert (completion.text, completion.finish_reason) == ("The capital of France", "stop")
    completion = result_of(client.complete(STORY, 5, temperature=0))
    assert (completion.finish_reason, completion.usage.completion_tokens) == ("length", 5)


def test_a_raw_prompt_and_a_system_prompt(client: LollmsClient) -> None:
    raw = result_of(client.generate("The capital of France is", 2, temperature=0, completion_format=INSTRUCT))
    assert raw.startswith(" Paris")
    # The model is too small to obey, but it has read the system prompt in place of its template's own.
    assert known(result_of(client.complete(QUESTION, 1, system_prompt="Arr.")).usage.prompt_tokens) < 37
    with pytest.raises(InvalidRequestError, match="raw"):
        client.chat([{"role": "user", "content": "Hi"}], completion_format=INSTRUCT)


def test_an_answer_by_a_schema(client: LollmsClient) -> None:
    schema = {
        "type": "object",
        "properties": {"city": {"type": "string", "maxLength": 20}},
        "required": ["city"],
        "additionalProperties": False,
    }
    completion = result_of(client.complete("The capital of France, as JSON", 60, temperature=0, json_schema=schema))
    assert set(json.loads(completion.text)) == {"city"}
    assert completion.metadata["json_schema"]


def test_more_sampling_parameters_of_vllm(client: LollmsClient) -> None:
    completion = result_of(client.complete(QUESTION, 12, temperature=0, extra={"min_tokens": 12}))
    assert completion.usage.completion_tokens == 12
    with pytest.raises(InvalidRequestError, match="min_tokns") as caught:
        client.generate(QUESTION, extra={"min_tokns": 12})
    assert "'min_tokens'" in caught.value.hint
    with pytest.raises(InvalidRequestError, match="min_tokens"):
        client.generate(QUESTION, extra={"min_tokens": -1})


def test_the_window(client: LollmsClient) -> None:
    assert client.generate(QUESTION, temperature=0) == ANSWER  # the default of 4096 does not fit, and nobody chose it
    with pytest.raises(ContextWindowError, match="37 tokens"):
        client.generate(QUESTION, 2040)
    with pytest.raises(ContextWindowError, match="2048"):
        client.generate("word " * 3000)


def test_tokens_are_the_models_own(client: LollmsClient) -> None:
    text = "Zürich 🙂\n\ttokens"
    assert client.detokenize(result_of(client.tokenize(text))) == text
    assert result_of(client.count_tokens(text)).exact
    with pytest.raises(InvalidRequestError, match="999999"):
        client.detokenize([999999])


def test_what_the_engine_knows(client: LollmsClient, small_model: Path) -> None:
    info = result_of(client.model_info())
    assert (info.context_window, info.dtype, info.device) == (2048, "float32", "cpu")
    assert client.list_models() == [str(small_model)]


def test_what_the_engine_cannot_do(client: LollmsClient) -> None:
    with pytest.raises(ImageError, match="multimodal"):
        client.generate("What is it?", images=[PNG])
    with pytest.raises(UnsupportedError, match="embeddings"):
        client.embed("text")
    with pytest.raises(ModelNotFoundError, match="another"):
        client.generate(QUESTION, model_name="another")


def test_cancelling_from_another_thread(client: LollmsClient) -> None:
    began = threading.Event()
    answer = in_background(
        lambda: client.complete(STORY, 1500, temperature=0, streaming_callback=lambda text, kind: began.set())
    )
    assert began.wait(PATIENCE)
    client.cancel()
    completion = result_of(answer.result())
    assert completion.finish_reason == "cancelled"
    assert completion.text
    assert idle(client)


def test_leaving_a_stream_stops_the_work(client: LollmsClient) -> None:
    stream = client.stream(STORY, 1500)
    next(iter(stream))
    stream.close()
    assert idle(client)
    abandoned = client.stream(STORY, 1500)
    next(iter(abandoned))
    del abandoned
    assert idle(client)


async def test_cancelling_a_task_stops_the_work(client: LollmsClient) -> None:
    task = asyncio.create_task(client.agenerate(STORY, 1500))
    backend: Any = client.backend
    await await_until(backend._engine._engine.get_num_unfinished_requests, "the engine to begin")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, PATIENCE)
    assert await asyncio.to_thread(idle, client)


def test_a_callbacks_exception_stops_the_work(client: LollmsClient) -> None:
    def callback(text: str, kind: object) -> None:
        raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        client.generate(STORY, 1500, streaming_callback=callback)
    assert idle(client)


def test_an_unknown_engine_argument_is_refused_when_the_client_is_made(small_model: Path) -> None:
    with pytest.raises(UnsupportedOptionError, match="tensor_paralel_size") as caught:
        LollmsClient(model_name=str(small_model), default_generation_mode="vllm", tensor_paralel_size=2)
    assert "'tensor_parallel_size'" in caught.value.hint


def test_arguments_that_vllm_refuses(small_model: Path) -> None:
    with LollmsClient(
        model_name=str(small_model), default_generation_mode="vllm", raise_errors=True, max_model_len=-7
    ) as other:
        with pytest.raises(ConfigurationError, match="max_model_len"):
            other.generate(QUESTION)


def test_the_window_is_said_in_one_way(small_model: Path) -> None:
    with LollmsClient(
        model_name=str(small_model), ctx_size=512, default_generation_mode="vllm", raise_errors=True, max_model_len=256
    ) as other:
        with pytest.raises(ConfigurationError, match="ctx_size and"):
            other.generate(QUESTION)


def test_a_model_that_is_not_there(tmp_path: Path) -> None:
    with LollmsClient(model_name=str(tmp_path / "nothing"), default_generation_mode="vllm", raise_errors=True) as other:
        with pytest.raises(ModelNotFoundError, match="nothing"):
            other.generate(QUESTION)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this system")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_child_is_told(client: LollmsClient) -> None:
    client.generate(QUESTION, 2)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            client.generate(QUESTION, 2)
        except BaseException as error:
            os.write(writer, f"{type(error).__name__}: {error}".encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        assert "belongs to the process that started it" in pipe.read()
    os.waitpid(child, 0)
