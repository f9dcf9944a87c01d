"""What providers say in their own words, which LiteLLM translates into something else."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest
from lollms_litellm.heard import Heard

from lollms_core import ELF_COMPLETION_FORMAT, IncompleteStreamError, ServerError, ToolCall
from tests.litellm.conftest import Make, asking, collect
from tests.litellm.stub import delta, serving, text, usage

GEMINI = "gemini/gemini-2.5-flash"


def candidate(said: str | None, reason: str | None = None) -> dict[str, Any]:
    """One event of Gemini's `streamGenerateContent`."""
    content = {} if said is None else {"content": {"role": "model", "parts": [{"text": said}]}}
    ended = {} if reason is None else {"finishReason": reason}
    counts = {"promptTokenCount": 1, "candidatesTokenCount": 1, "totalTokenCount": 2}
    return {"candidates": [{"index": 0, **content, **ended}], "usageMetadata": counts}


async def test_a_whole_answer_of_geminis(make: Make) -> None:
    with serving([candidate("never mix "), candidate("A and B", "STOP")]) as stub:
        said, _, closing = await collect(make(stub.address, GEMINI), asking())
    assert (said, closing.finish_reason, closing.metadata) == ("never mix A and B", "stop", None)


async def test_an_answer_of_geminis_without_a_reason_is_cut_short(make: Make) -> None:
    with serving([candidate("never mix ")]) as stub:
        with pytest.raises(IncompleteStreamError):
            await collect(make(stub.address, GEMINI), asking())


async def test_a_reason_of_geminis_that_is_no_stop_is_told(make: Make) -> None:
    with serving([candidate(None, "MALFORMED_FUNCTION_CALL")]) as stub:
        _, _, closing = await collect(make(stub.address, GEMINI), asking())
    assert closing.finish_reason == "unknown"
    assert closing.metadata == {"provider_finish_reason": "MALFORMED_FUNCTION_CALL"}


@pytest.mark.parametrize("model", ["hosted_vllm/m", "deepseek/deepseek-chat", "groq/m"])
async def test_a_server_that_answers_at_once_is_understood(make: Make, model: str) -> None:
    call = {"id": "1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    for message in ({"content": "The capital is Paris."}, {"content": None, "tool_calls": [call]}):
        choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": "stop"}
        whole = {"id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}
        with serving((200, {}, whole)) as stub:
            backend = make(stub.address, model)
            chunks = [chunk async for chunk in backend.generate(asking())]
        assert "".join(chunk.text for chunk in chunks) == (message["content"] or "")
        called = [chunk.part.name for chunk in chunks if isinstance(chunk.part, ToolCall)]
        assert called == (["look"] if "tool_calls" in message else [])


async def test_a_limit_by_another_name_is_one(make: Make) -> None:
    with serving([delta(content="half an "), delta("model_length")]) as stub:
        _, _, closing = await collect(make(stub.address, "mistral/mistral-small-latest"), asking())
    assert closing.finish_reason == "length"
    assert (closing.metadata or {})["provider_finish_reason"] == "model_length"


async def test_an_answer_that_the_provider_broke_off_is_cut_short(make: Make) -> None:
    with serving([delta(content="half an "), delta("insufficient_system_resource")]) as stub:
        with pytest.raises(IncompleteStreamError):
            await collect(make(stub.address, "deepseek/deepseek-chat"), asking())


async def test_an_error_whose_code_is_a_word_keeps_its_reason(make: Make) -> None:
    failure = {
        **delta("error", content=""),
        "error": {"code": "server_error", "message": "Provider disconnected"},
    }
    with serving([failure], [delta(content="ok"), delta("stop")]) as stub:
        with pytest.raises(ServerError, match="Provider disconnected") as caught:
            await collect(make(stub.address, "openrouter/x/m"), asking())
        assert caught.value.retryable
        assert (await collect(make(stub.address, "openrouter/x/m", max_retries=1), asking()))[0] == "ok"


async def test_a_text_completion_model_is_asked_as_any_other(make: Make) -> None:
    with serving([text("The capital"), text(" is Paris.", "stop"), usage()]) as stub:
        request = asking(completion_format=ELF_COMPLETION_FORMAT.Chat)
        said, _, closing = await collect(make(stub.address, "text-completion-openai/m"), request)
    assert (said, closing.finish_reason) == ("The capital is Paris.", "stop")


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({"response": "x", "done": True, "done_reason": "length"}, "length"),
        ({"message": {"content": "x"}, "done": False}, None),
        ({"type": "message_delta", "delta": {"stop_reason": "pause_turn"}}, "pause_turn"),
        ({"type": "message-end", "delta": {"finish_reason": "COMPLETE"}}, "COMPLETE"),
        ({"promptFeedback": {"blockReason": "SAFETY"}}, "SAFETY"),
        ({"choices": [{"index": 1, "finish_reason": "stop"}, None, 3]}, None),
        ({"choices": [{"index": 0, "finish_reason": "stop"}]}, "stop"),
        ({"candidates": None, "usageMetadata": {}}, None),
        ({}, None),
    ],
)
def test_reasons(value: dict[str, Any], reason: str | None) -> None:
    heard = Heard()
    heard.hear(value)
    assert heard.reason == reason


def test_a_stream_that_is_listened_to_ends_with_its_last_reader() -> None:
    class Stream:
        def chunk_parser(self, chunk: dict[str, Any]) -> Any:
            return chunk["x"]

    class Fixed:
        __slots__ = ()

        def chunk_parser(self, chunk: dict[str, Any]) -> Any:
            return chunk["x"]

    heard, stream = Heard(), Stream()
    heard.listen(stream)
    heard.listen(Fixed())
    assert stream.chunk_parser(chunk={"x": 5, "error": "boo"}) == stream.chunk_parser({"x": 5}) == 5
    assert heard.error == {"x": 5, "error": "boo"}
    gone = weakref.ref(stream)
    gc.disable()
    try:
        del stream
        assert gone() is None
    finally:
        gc.enable()


@pytest.mark.parametrize(
    ("model", "reason", "error"),
    [
        ("hosted_vllm/m", "error", IncompleteStreamError),
        ("hosted_vllm/m", "abort", ServerError),  # of LiteLLM's own
        ("azure_ai/m", "error", IncompleteStreamError),
        ("azure_ai/m", "abort", IncompleteStreamError),
    ],
)
async def test_an_answer_that_a_server_gave_up_is_no_whole_one(
    make: Make, model: str, reason: str, error: type[Exception]
) -> None:
    with serving([delta(content="half an "), delta(reason)]) as stub:
        with pytest.raises(error):
            await collect(make(stub.address, model), asking())


CHAT_ROUTES = pytest.mark.parametrize("model", ["openai/m", "hosted_vllm/m", "deepseek/deepseek-chat"])


@CHAT_ROUTES
async def test_text_that_is_a_list_of_parts_is_text(make: Make, model: str) -> None:
    pieces = ["Hel", [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "lo wor"}], "ld"]
    with serving([*(delta(content=piece) for piece in pieces), delta("stop"), "[DONE]"]) as stub:
        said, thought, closing = await collect(make(stub.address, model), asking())
    assert (said, thought, closing.finish_reason) == ("Hello world", "hm", "stop")


@CHAT_ROUTES
@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("model_length", "length"),
        ("max_output_tokens", "length"),
        ("safety", "content_filter"),
        ("repetition_truncation", "unknown"),
    ],
)
async def test_reasons_that_litellm_does_not_know(make: Make, model: str, reason: str, finish: str) -> None:
    with serving([delta(content="half"), delta(reason), "[DONE]"]) as stub:
        said, _, closing = await collect(make(stub.address, model), asking())
    assert (said, closing.finish_reason) == ("half", finish)
    assert (closing.metadata or {})["provider_finish_reason"] == reason


@CHAT_ROUTES
@pytest.mark.parametrize("events", [["[DONE]"], [delta(role="assistant"), "[DONE]"], [usage(), "[DONE]"]])
async def test_an_answer_that_never_began_is_none(make: Make, model: str, events: list[Any]) -> None:
    with serving(events) as stub, pytest.raises(IncompleteStreamError):
        await collect(make(stub.address, model), asking())


@CHAT_ROUTES
async def test_a_whole_answer_in_one_event(make: Make, model: str) -> None:
    call = {"id": "1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    choice = {"index": 0, "message": {"role": "assistant", "content": "Whole", "tool_calls": [call]}}
    event = {**delta(), "choices": [{**choice, "finish_reason": "tool_calls"}]}
    with serving([event, "[DONE]"]) as stub:
        chunks = [chunk async for chunk in make(stub.address, model).generate(asking())]
    assert "".join(chunk.text for chunk in chunks) == "Whole"
    assert [chunk.part.name for chunk in chunks if isinstance(chunk.part, ToolCall)] == ["look"]
    assert chunks[-1].finish_reason == "tool_calls"


@CHAT_ROUTES
async def test_errors_that_are_not_under_their_name(make: Make, model: str) -> None:
    for event in ({"object": "error", "message": "boom"}, {"detail": "boom"}, {"code": 505, "message": "boom"}):
        with serving([delta(content="half"), event, "[DONE]"]) as stub:
            with pytest.raises(ServerError, match="boom"):
                await collect(make(stub.address, model), asking())


@CHAT_ROUTES
async def test_a_server_that_does_not_know_stream_options(make: Make, model: str) -> None:
    refused = {"error": {"message": "Unrecognized request argument supplied: stream_options", "type": "invalid"}}
    with serving((400, {}, refused), [delta(content="ok"), delta("stop"), "[DONE]"]) as stub:
        backend = make(stub.address, model)
        assert (await collect(backend, asking()))[0] == "ok"
        assert (await collect(backend, asking()))[0] == "ok"
    assert ["stream_options" in body for _, _, body in stub.requests] == [True, False, False]


@CHAT_ROUTES
async def test_a_reason_that_is_the_word_null_is_none(make: Make, model: str) -> None:
    with serving([delta("null", content="half"), "cut"]) as stub, pytest.raises(IncompleteStreamError):
        await collect(make(stub.address, model), asking())


@CHAT_ROUTES
async def test_a_refusal_is_text(make: Make, model: str) -> None:
    whole = {"choices": [{"index": 0, "message": {"content": None, "refusal": "I cannot."}, "finish_reason": "stop"}]}
    for events in ([delta(refusal="I "), delta(refusal="cannot."), delta("stop")], [{**delta(), **whole}]):
        with serving([*events, "[DONE]"]) as stub:
            assert (await collect(make(stub.address, model), asking()))[0] == "I cannot."
