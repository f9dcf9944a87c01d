"""What goes over the wire, exactly, and what comes back from it."""

from __future__ import annotations

import base64
import json

import pytest

from lollms_core import (
    ELF_COMPLETION_FORMAT,
    MSG_TYPE,
    ImageError,
    IncompleteStreamError,
    InvalidRequestError,
    Message,
    ProviderPart,
    ServerError,
    TextPart,
    ToolCall,
    ToolResult,
    Usage,
)
from tests.openai.conftest import MakeClient
from tests.support.openai_stub import OpenAIStub, Reply, error, sse
from tests.support.results import result_of

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
INSTRUCT = ELF_COMPLETION_FORMAT.Instruct


def delta(**fields: object) -> dict[str, object]:
    return {"choices": [{"index": 0, "delta": fields, "finish_reason": None}]}


END = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}


def test_a_plain_question_to_a_compatible_server(client: MakeClient, stub: OpenAIStub) -> None:
    completion = result_of(client().complete("Hi?", system_prompt="Be brief."))
    assert completion.text == "Hello from the stub."
    assert completion.finish_reason == "stop"
    assert completion.usage == Usage(prompt_tokens=7, completion_tokens=4)
    (request,) = stub.requests
    assert (request.method, request.path) == ("POST", "/v1/chat/completions")
    assert "authorization" not in request.headers
    # Of the guide's defaults, top_k and repeat_penalty mean something else here and are not sent.
    assert request.body == {
        "model": "stub-model",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi?"}],
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": 4096,
        "temperature": 0.1,
        "top_p": 0.95,
    }


def test_what_is_chosen_reaches_a_compatible_server(client: MakeClient, stub: OpenAIStub) -> None:
    client(top_k=7).generate(
        "Hi?", 12, temperature=0, top_p=0.5, min_p=0.05, repeat_penalty=1.2, seed=0, stop=["\n", "END"], think="low"
    )
    body = stub.bodies[0]
    chosen = {name: body[name] for name in body if name not in ("model", "messages", "stream", "stream_options")}
    assert chosen == {
        "max_tokens": 12,
        "temperature": 0.0,
        "top_k": 7,
        "top_p": 0.5,
        "min_p": 0.05,
        "repetition_penalty": 1.2,
        "seed": 0,
        "stop": ["\n", "END"],
        "reasoning_effort": "low",
    }


def test_a_plain_question_to_openai(openai_client: MakeClient, stub: OpenAIStub) -> None:
    assert openai_client(model_name="gpt-test").generate("Hi?", 5, seed=1) == "Hello from the stub."
    (request,) = stub.requests
    assert request.host == "api.openai.com"
    assert request.headers["authorization"] == "Bearer sk-test"
    assert request.body == {
        "model": "gpt-test",
        "messages": [{"role": "user", "content": "Hi?"}],
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_completion_tokens": 5,
        "temperature": 0.1,
        "top_p": 0.95,
        "seed": 1,
    }


def test_openai_does_not_honour_what_its_server_refuses(openai_client: MakeClient, client: MakeClient) -> None:
    extras = {"top_k", "min_p", "repeat_penalty"}
    assert not extras & openai_client().backend.capabilities.options
    assert extras <= client().backend.capabilities.options


async def test_async_sends_and_gets_the_same(client: MakeClient, stub: OpenAIStub) -> None:
    one = client()
    assert await one.agenerate("Hi?") == one.generate("Hi?")
    assert [chunk.text async for chunk in one.astream("Hi?") if chunk.text] == stub.answer
    assert stub.bodies[0] == stub.bodies[1] == stub.bodies[2]


def test_pieces_come_as_the_server_sends_them(client: MakeClient, stub: OpenAIStub) -> None:
    stub.answer = ["a\n", "\n", "  ünï", "🙂", " ", "!\n"]
    assert [chunk.text for chunk in client().stream("Hi?") if chunk.text] == stub.answer


def test_instruct_sends_the_prompt_raw(client: MakeClient, stub: OpenAIStub) -> None:
    assert client().generate("Once upon", 9, completion_format=INSTRUCT) == "Hello from the stub."
    (request,) = stub.requests
    assert request.path == "/v1/completions"
    assert (request.body["prompt"], request.body["max_tokens"]) == ("Once upon", 9)
    assert "messages" not in request.body


def test_what_cannot_be_sent_raw_is_refused_before_it_is_sent(client: MakeClient, stub: OpenAIStub) -> None:
    with pytest.raises(ImageError):
        client().generate("What is it?", images=[PNG], completion_format=INSTRUCT)
    with pytest.raises(InvalidRequestError):
        client().chat([{"role": "user", "content": "Hi"}], completion_format=INSTRUCT)
    assert stub.requests == []


def test_images_are_parts_of_the_users_message(client: MakeClient, stub: OpenAIStub) -> None:
    client().generate("What is it?", images=[PNG, "https://images.test/cat.jpg"])
    (message,) = stub.bodies[0]["messages"]
    assert message["content"] == [
        {"type": "text", "text": "What is it?"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64," + base64.b64encode(PNG).decode()}},
        {"type": "image_url", "image_url": {"url": "https://images.test/cat.jpg"}},
    ]


def test_a_model_that_does_not_see(client: MakeClient, stub: OpenAIStub) -> None:
    stub.rules.append(lambda _: error(400, "stub-model is not a multimodal model"))
    with pytest.raises(ImageError, match="not a multimodal model"):
        client().generate("What is it?", images=[PNG])


def test_conversations_keep_their_turns(client: MakeClient, stub: OpenAIStub) -> None:
    turns = [
        {"role": "user", "content": "1+1?"},
        {"role": "assistant", "content": "2"},
        {"role": "user", "content": "Sure?"},
    ]
    client().chat(turns)
    assert stub.bodies[0]["messages"] == turns


@pytest.mark.parametrize("name", ["reasoning", "reasoning_content"])
def test_reasoning_is_apart_from_the_answer(client: MakeClient, stub: OpenAIStub, name: str) -> None:
    stub.rules.append(lambda _: sse(delta(**{name: "Hm, "}), delta(**{name: "2."}), delta(content="Two."), END))
    completion = result_of(client().complete("1+1?"))
    assert (completion.reasoning, completion.text) == ("Hm, 2.", "Two.")


def test_callbacks_are_told_which_is_which(client: MakeClient, stub: OpenAIStub) -> None:
    stub.rules.append(lambda _: sse(delta(reasoning="Hm"), delta(content="Two."), END))
    seen: list[tuple[str, MSG_TYPE]] = []
    client().generate("1+1?", streaming_callback=lambda text, kind: seen.append((text, kind)))
    assert seen == [("Hm", MSG_TYPE.MSG_TYPE_REASONING), ("Two.", MSG_TYPE.MSG_TYPE_CHUNK)]


@pytest.mark.parametrize(("think", "effort"), [(True, "medium"), (False, "none"), ("high", "high")])
def test_think_sets_the_reasoning_effort(client: MakeClient, stub: OpenAIStub, think: bool | str, effort: str) -> None:
    client().generate("1+1?", think=think)
    assert stub.bodies[0]["reasoning_effort"] == effort


def test_extra_fields_go_as_they_are_and_win(client: MakeClient, stub: OpenAIStub) -> None:
    client().generate("Hi?", extra={"repeat_penalty": 1.1, "temperature": 0.7, "reasoning_effort": "x"}, think=True)
    assert (stub.bodies[0]["repeat_penalty"], stub.bodies[0]["temperature"]) == (1.1, 0.7)
    assert stub.bodies[0]["reasoning_effort"] == "x"


def test_an_error_in_the_stream_keeps_the_text(client: MakeClient, stub: OpenAIStub) -> None:
    stub.rules.append(lambda _: sse(delta(content="So far"), {"error": {"message": "out of memory"}}))
    with pytest.raises(ServerError, match="out of memory") as caught:
        client().generate("Hi?")
    assert caught.value.partial_text == "So far"


def test_a_stream_that_is_cut_off_is_an_error(client: MakeClient, stub: OpenAIStub) -> None:
    stub.rules.append(lambda _: sse(delta(content="So far"), done=False))
    with pytest.raises(IncompleteStreamError) as caught:
        client().generate("Hi?")
    assert caught.value.partial_text == "So far"


def test_errors_have_the_guides_form_by_default(client: MakeClient, stub: OpenAIStub) -> None:
    stub.rules.append(lambda _: error(400, "no such thing"))
    answer = client(raise_errors=False).generate("Hi?")
    assert isinstance(answer, dict)
    assert (answer["status"], answer["type"], answer["status_code"]) == (False, "InvalidRequestError", 400)
    assert "no such thing" in answer["error"]


def test_a_conversation_with_tools(client: MakeClient, stub: OpenAIStub) -> None:
    call = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "search", "arguments": '{"q": 1}'}}
    events = [
        {"choices": [{"index": 0, "delta": {"content": "Let me look."}, "finish_reason": None}]},
        {"choices": [{"index": 0, "delta": {"tool_calls": [call]}, "finish_reason": None}]},
        {"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]},
    ]
    body = "".join(f"data: {json.dumps(event)}\n\n" for event in events) + "data: [DONE]\n\n"
    stub.on("/v1/chat/completions", lambda _: Reply(body, content_type="text/event-stream"))
    ours = client()
    completion = result_of(ours.complete("Any ships?"))
    made = ToolCall.from_text("search", '{"q": 1}', "call_1")
    assert completion.parts == (TextPart("Let me look."), made)
    sound = ProviderPart({"type": "input_audio", "input_audio": {"data": "x", "format": "wav"}})
    ours.chat(
        [
            Message("user", [TextPart("Any ships?"), sound]),
            completion.message,
            Message("tool", [ToolResult(text="2", id="call_1", name="search")]),
        ]
    )
    assert stub.bodies[-1]["messages"] == [
        {"role": "user", "content": [{"type": "text", "text": "Any ships?"}, dict(sound.data)]},
        {
            "role": "assistant",
            "content": "Let me look.",
            "tool_calls": [
                {"id": "call_1", "type": "function", "function": {"name": "search", "arguments": '{"q": 1}'}}
            ],
        },
        {"role": "tool", "tool_call_id": "call_1", "content": "2"},
    ]
