"""A real vLLM server with a real small model: what is honoured, what is refused, what stops."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator

import pytest

from lollms_core import (
    ELF_COMPLETION_FORMAT,
    ContextWindowError,
    ImageError,
    InvalidRequestError,
    LollmsClient,
    ModelNotFoundError,
    UnsupportedError,
)
from lollms_core.testing._requirements import eventually
from tests.openai.test_requests import PNG
from tests.support.results import known, result_of
from tests.support.vllm_server import VLLMServer
from tests.support.waiting import PATIENCE, in_background

pytestmark = pytest.mark.vllm

QUESTION = "What is the capital of France?"
ANSWER = "The capital of France is Paris."
STORY = "Tell a long story about the sea."
INSTRUCT = ELF_COMPLETION_FORMAT.Instruct


@pytest.fixture(scope="module", params=["vllm", "openai"])
def client(vllm_server: VLLMServer, request: pytest.FixtureRequest) -> Iterator[LollmsClient]:
    """Both formats, for what both can do."""
    with LollmsClient(vllm_server.url, default_generation_mode=request.param, raise_errors=True) as client:
        yield client


@pytest.fixture(scope="module")
def vllm(vllm_server: VLLMServer) -> Iterator[LollmsClient]:
    with LollmsClient(vllm_server.url, default_generation_mode="vllm", raise_errors=True) as client:
        yield client


def test_an_answer_and_what_it_cost(client: LollmsClient) -> None:
    completion = result_of(client.complete(QUESTION, 20, temperature=0))
    assert (completion.text, completion.finish_reason) == (ANSWER, "stop")
    assert completion.usage.prompt_tokens == 37
    assert completion.usage.completion_tokens == 8


def test_a_streamed_answer_is_the_same_in_many_pieces(client: LollmsClient) -> None:
    pieces = [chunk.text for chunk in client.stream(QUESTION, 20, temperature=0) if chunk.text]
    assert "".join(pieces) == ANSWER
    assert len(pieces) > 4


async def test_many_async_calls_at_once(client: LollmsClient) -> None:
    answers = await asyncio.gather(*(client.agenerate(QUESTION, 20, temperature=0) for _ in range(6)))
    assert answers == [ANSWER] * 6


def test_tokens_are_the_models_own(client: LollmsClient) -> None:
    text = "Zürich 🙂\n\ttokens"
    assert client.detokenize(result_of(client.tokenize(text))) == text
    assert client.tokenize("Hello there") == [19556, 665]
    assert result_of(client.count_tokens(text)).exact


def test_the_window_is_known(client: LollmsClient, vllm_server: VLLMServer) -> None:
    assert result_of(client.model_info()).context_window == vllm_server.window
    assert client.list_models() == [vllm_server.model]


def test_the_limit_is_kept(client: LollmsClient) -> None:
    completion = result_of(client.complete(STORY, 5, temperature=0))
    assert (completion.finish_reason, completion.usage.completion_tokens) == ("length", 5)


def test_top_k_and_min_p_and_seed_and_penalty_change_the_answer(client: LollmsClient) -> None:
    greedy = client.generate(STORY, 12, temperature=0)
    assert client.generate(STORY, 12, temperature=2, top_p=1, top_k=1) == greedy
    assert client.generate(STORY, 12, temperature=2, top_p=1, min_p=1) == greedy
    wild = [client.generate(STORY, 12, temperature=2, top_p=1, seed=seed) for seed in (1, 1, 2)]
    assert wild[0] == wild[1] != wild[2]
    assert client.generate(STORY, 40, temperature=0, repeat_penalty=2.0) != client.generate(STORY, 40, temperature=0)


def test_stop_sequences(client: LollmsClient) -> None:
    completion = result_of(client.complete(QUESTION, 20, temperature=0, stop=[" is"]))
    assert (completion.text, completion.finish_reason) == ("The capital of France", "stop")


def test_a_system_prompt_and_a_conversation(client: LollmsClient) -> None:
    # The model is too small to obey, but it has read the system prompt in place of its template's own.
    assert known(result_of(client.complete(QUESTION, 1, system_prompt="Arr.")).usage.prompt_tokens) < 37
    turns = [
        {"role": "user", "content": "My name is Ada."},
        {"role": "assistant", "content": "Hello, Ada."},
        {"role": "user", "content": QUESTION},
    ]
    whole = known(result_of(client.complete(turns, 1)).usage.prompt_tokens)
    assert result_of(client.complete(turns[2:], 1)).usage.prompt_tokens == 37 < whole


def test_a_raw_prompt_is_continued(client: LollmsClient) -> None:
    raw = result_of(client.generate("The capital of France is", 2, temperature=0, completion_format=INSTRUCT))
    assert raw.startswith(" Paris")


def test_an_unchosen_limit_never_fails(client: LollmsClient) -> None:
    """The guide's default of 4096 new tokens is more than this window."""
    assert client.generate(QUESTION, temperature=0) == ANSWER
    prompt = "Count: one two three"
    assert result_of(client.complete(prompt, temperature=0, stop=["four"], completion_format=INSTRUCT)).text


def test_a_prompt_that_is_too_long(client: LollmsClient) -> None:
    with pytest.raises(ContextWindowError, match="2048"):
        client.generate("word " * 3000, 4)


def test_a_chosen_limit_beyond_the_window(client: LollmsClient) -> None:
    with pytest.raises(ContextWindowError, match="2048"):
        client.generate(QUESTION, 5000)


def test_a_chosen_limit_that_does_not_fit_with_the_prompt(vllm: LollmsClient) -> None:
    """The server itself would lower it without a word."""
    with pytest.raises(ContextWindowError, match="37 tokens"):
        vllm.generate(QUESTION, 2040)
    with pytest.raises(ContextWindowError, match="5 tokens"):
        vllm.generate("The capital of France is", 2046, completion_format=INSTRUCT)


def test_an_answer_by_a_schema(client: LollmsClient) -> None:
    schema = {
        "type": "object",
        "properties": {"city": {"type": "string", "maxLength": 20}, "people": {"type": "integer", "maximum": 99}},
        "required": ["city", "people"],
        "additionalProperties": False,
    }
    completion = result_of(client.complete("The capital of France, as JSON", 60, temperature=0, json_schema=schema))
    assert set(json.loads(completion.text)) == {"city", "people"}
    assert completion.metadata["json_schema"]


def test_what_the_model_cannot_do(client: LollmsClient) -> None:
    with pytest.raises(ImageError, match="multimodal"):
        client.generate("What is it?", 4, images=[PNG])
    with pytest.raises(UnsupportedError, match="embeddings"):
        client.embed("text")
    with pytest.raises(ModelNotFoundError, match="nope"):
        client.generate(QUESTION, 4, model_name="nope")


def test_tokens_that_are_not_in_the_vocabulary(vllm: LollmsClient) -> None:
    with pytest.raises(InvalidRequestError, match="999999"):
        vllm.detokenize([19556, 999999])
    assert vllm.detokenize([19556, 2]) == "Hello<|im_end|>"


def idle(server: VLLMServer) -> bool:
    """Whether the server comes to have nothing to do."""
    return eventually(lambda: not server.running(), PATIENCE)


def test_cancelling_stops_the_server(client: LollmsClient, vllm_server: VLLMServer) -> None:
    began = threading.Event()
    answer = in_background(
        lambda: client.complete(STORY, 1500, temperature=0, streaming_callback=lambda text, kind: began.set())
    )
    assert began.wait(PATIENCE)
    client.cancel()
    completion = result_of(answer.result())
    assert completion.finish_reason == "cancelled"
    assert completion.text
    assert idle(vllm_server)


async def test_leaving_an_async_stream_stops_the_server(client: LollmsClient, vllm_server: VLLMServer) -> None:
    stream = client.astream(STORY, 1500, temperature=0)
    assert (await anext(stream)).text
    await stream.aclose()
    assert await asyncio.to_thread(idle, vllm_server)
