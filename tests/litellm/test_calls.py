"""What goes over the wire, and what comes back."""

from __future__ import annotations

import warnings

import pytest
from lollms_litellm.faults import from_litellm

from lollms_core import (
    ELF_COMPLETION_FORMAT,
    APITimeoutError,
    CloseRequest,
    EmbedRequest,
    Image,
    ImageError,
    InvalidRequestError,
    Message,
    ModelRequiredError,
    ServerError,
    Timeouts,
    ToolCall,
    ToolResult,
    UnsupportedError,
    UnsupportedOptionWarning,
    Usage,
)
from tests.litellm.conftest import KEY, Make, asking, collect
from tests.litellm.stub import answer, delta, serving, text, usage
from tests.support.waiting import PATIENCE

ROUTES = ["hosted_vllm/m", "openai/m"]
RAW = ELF_COMPLETION_FORMAT.Instruct


@pytest.mark.parametrize("model", ROUTES)
async def test_an_answer_with_its_usage(make: Make, model: str) -> None:
    with serving(answer("Hello,\n", "wörld ", "🦙")) as stub:
        told, reasoning, last = await collect(make(stub.address, model), asking(system_prompt="Be brief."))
    assert (told, reasoning) == ("Hello,\nwörld 🦙", "")
    assert last.finish_reason == "stop"
    assert last.usage == Usage(prompt_tokens=7, completion_tokens=5, reasoning_tokens=2, cached_tokens=3)
    assert stub.path == "/v1/chat/completions"
    assert stub.headers["authorization"] == f"Bearer {KEY}"
    assert stub.body["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "hi"},
    ]
    assert stub.body["stream_options"] == {"include_usage": True}


@pytest.mark.parametrize(("said", "meant"), [("length", "length"), ("content_filter", "content_filter")])
async def test_finish_reasons(make: Make, said: str, meant: str) -> None:
    with serving(answer("x", finish=said)) as stub:
        assert (await collect(make(stub.address), asking()))[2].finish_reason == meant


async def test_calls_of_tools_are_put_together(make: Make) -> None:
    def call(**fields: object) -> dict[str, object]:
        return {"index": 0, "type": "function", **fields}

    begun = call(id="1", function={"name": "look", "arguments": ""})
    pieces = [call(function={"arguments": part}) for part in ('{"at":', ' "it"}')]
    with serving([*(delta(tool_calls=[piece]) for piece in (begun, *pieces)), delta("tool_calls"), "[DONE]"]) as stub:
        _, _, last = await collect(make(stub.address), asking())
    assert last.finish_reason == "tool_calls"
    assert last.metadata is not None
    (made,) = last.metadata["tool_calls"]
    assert (made["id"], made["function"]) == ("1", {"name": "look", "arguments": '{"at": "it"}'})


@pytest.mark.parametrize("model", ROUTES)
@pytest.mark.parametrize("names", [("look", "read"), ("look", "look")])
@pytest.mark.parametrize("place", [{"index": 0}, {}])
async def test_two_calls_in_one_event_are_two(
    make: Make, model: str, names: tuple[str, str], place: dict[str, int]
) -> None:
    calls = [{**place, "type": "function", "function": {"name": name, "arguments": ""}} for name in names]
    with serving([delta(tool_calls=calls), delta("tool_calls"), "[DONE]"]) as stub:
        chunks = [chunk async for chunk in make(stub.address, model).generate(asking())]
    assert [chunk.part for chunk in chunks if chunk.part] == [ToolCall(name=name) for name in names]


async def test_a_conversation_with_tools(make: Make) -> None:
    call = {"index": 0, "id": "1", "type": "function", "function": {"name": "look", "arguments": '{"at": "it"}'}}
    made = ToolCall.from_text("look", '{"at": "it"}', "1")
    with serving([delta(tool_calls=[call]), delta("tool_calls"), "[DONE]"]) as stub:
        chunks = [chunk async for chunk in make(stub.address).generate(asking())]
        assert [chunk.part for chunk in chunks if chunk.part] == [made]
        talk = (
            Message("user", "Look!"),
            Message("assistant", [made]),
            Message("tool", [ToolResult(text="there", id="1", name="look")]),
        )
        await collect(make(stub.address), asking("", messages=talk))
    assert stub.body["messages"][1]["tool_calls"][0]["function"] == {"name": "look", "arguments": '{"at": "it"}'}
    assert stub.body["messages"][2]["tool_call_id"] == "1"
    assert stub.body["messages"][2]["content"] == "there"


@pytest.mark.parametrize("given", ["{nope", "[1]"])
async def test_arguments_that_are_no_object(make: Make, given: str) -> None:
    """Some protocols have them as text, which goes as it came; the others as an object."""
    talk = (Message("user", "Look!"), Message("assistant", [ToolCall.from_text("look", given, "1")]))
    with serving(answer("x")) as stub:
        await collect(make(stub.address), asking("", messages=talk))
        assert stub.body["messages"][1]["tool_calls"][0]["function"]["arguments"] == given
        for provider in ("ollama", "ollama_chat", "anthropic", "gemini"):
            with pytest.raises(InvalidRequestError, match=rf"call of 'look' are not a JSON object, and {provider} "):
                await collect(make(stub.address, f"{provider}/m"), asking("", messages=talk))
        assert len(stub.requests) == 1


async def test_what_stands_beside_the_text_is_kept(make: Make) -> None:
    logprobs = {"content": [{"token": "a", "logprob": -0.1, "bytes": [97], "top_logprobs": []}]}
    piece = delta(content="a", annotations=[{"type": "x"}])
    piece["choices"][0]["logprobs"] = logprobs
    with serving([piece, delta("stop"), "[DONE]"]) as stub:
        told, _, last = await collect(make(stub.address), asking())
    assert told == "a"
    assert last.metadata is not None
    assert (last.metadata["annotations"], last.metadata["logprobs"]) == ([{"type": "x"}], logprobs)


async def test_a_refusal_is_the_answer(make: Make) -> None:
    with serving([delta(role="assistant", refusal="I must not."), delta("stop"), "[DONE]"]) as stub:
        assert (await collect(make(stub.address, "openai/m"), asking()))[0] == "I must not."


@pytest.mark.parametrize("model", ["openai/m", "hosted_vllm/m"])
async def test_a_refusal_in_pieces(make: Make, model: str) -> None:
    """As OpenAI sends them; LiteLLM drops all but the first."""
    pieces = [delta(refusal=said) for said in ("I ", "must ", "not.")]
    with serving([delta(role="assistant", content="", refusal=None), *pieces, delta("stop"), "[DONE]"]) as stub:
        assert (await collect(make(stub.address, model), asking()))[0] == "I must not."


@pytest.mark.parametrize("model", ["openai/m", "hosted_vllm/m"])
async def test_equal_pieces_are_no_fault(make: Make, model: str) -> None:
    """LiteLLM ends an answer with a hundred of them otherwise."""
    with serving([*[delta(content=" 0.0")] * 150, delta("stop"), "[DONE]"]) as stub:
        assert (await collect(make(stub.address, model), asking()))[0] == " 0.0" * 150


async def test_another_answer_is_not_mixed_in(make: Make) -> None:
    other = delta(content="not mine")
    other["choices"][0]["index"] = 1
    with serving([delta(content="mine"), other, delta("stop"), "[DONE]"]) as stub:
        assert (await collect(make(stub.address), asking()))[0] == "mine"


@pytest.mark.parametrize(
    ("said", "seconds"), [("5", 5.0), ("Wed, soon", None), ("Wed, 99 Foo 2020 00:00:00 GMT", None), ("nan", None)]
)
def test_when_to_ask_again(said: str, seconds: float | None) -> None:
    error = RuntimeError("too many requests")
    error.headers = {"Retry-After": said}  # type: ignore[attr-defined]
    error.status_code = 429  # type: ignore[attr-defined]
    assert from_litellm(error).retry_after == seconds


@pytest.mark.parametrize("model", ROUTES)
async def test_reasoning_comes_apart_from_the_answer(make: Make, model: str) -> None:
    with serving([delta(reasoning_content="Let me think."), *answer("Paris")]) as stub:
        told, reasoning, _ = await collect(make(stub.address, model), asking())
    assert (told, reasoning) == ("Paris", "Let me think.")


async def test_usage_is_not_made_up(make: Make) -> None:
    with serving([delta(content="x"), delta("stop"), "[DONE]"]) as stub:
        last = (await collect(make(stub.address), asking()))[2]
    assert last.usage is None
    assert last.metadata is not None
    assert last.metadata["estimated_usage"]["completion_tokens"] >= 1


async def test_chosen_options_reach_a_vllm_server(make: Make) -> None:
    with serving(answer("x")) as stub:
        request = asking(
            n_predict=12,
            temperature=0.0,
            top_p=0.5,
            top_k=3,
            min_p=0.1,
            repeat_penalty=1.2,
            seed=0,
            stop=("a", "b", "c", "d", "e"),
            think="low",
            json_schema={"type": "object"},
            extra={"guided_choice": ["x"]},
        )
        await collect(make(stub.address, headers={"X-Team": "blue"}), request)
    body = stub.body
    wanted = {"max_tokens": 12, "temperature": 0.0, "top_p": 0.5, "top_k": 3, "min_p": 0.1, "repetition_penalty": 1.2}
    assert {name: body[name] for name in wanted} == wanted
    assert body["seed"] == 0
    assert body["stop"] == ["a", "b", "c", "d"]  # no provider takes more; the core looks for the rest
    assert body["reasoning_effort"] == "low"
    assert body["response_format"]["json_schema"]["schema"] == {"type": "object"}
    assert body["guided_choice"] == ["x"]
    assert stub.headers["x-team"] == "blue"


async def test_a_chosen_option_that_the_model_lacks_is_named_once(make: Make) -> None:
    with serving(answer("x")) as stub:
        backend = make(stub.address, "openai/m")
        with pytest.warns(UnsupportedOptionWarning, match=r"openai/m does not honour: repeat_penalty, top_k"):
            await collect(backend, asking(top_k=3, repeat_penalty=1.1))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            await collect(backend, asking(top_k=3))
    assert "top_k" not in stub.body


async def test_defaults_that_nobody_chose_are_left_out_in_silence(make: Make) -> None:
    with serving(answer("x")) as stub:
        await collect(make(stub.address, "openai/m"), asking())
    assert "top_k" not in stub.body
    assert stub.body["temperature"] == 0.1


async def test_images_are_data_urls_and_links_stay_links(make: Make) -> None:
    images = (Image(b"\x89PNG", "image/png"), Image(None, None, "https://example.org/cat.jpg"))
    with serving(answer("a cat")) as stub:
        await collect(make(stub.address), asking("What is it?", images=images))
    assert stub.body["messages"][0]["content"] == [
        {"type": "text", "text": "What is it?"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw=="}},
        {"type": "image_url", "image_url": {"url": "https://example.org/cat.jpg"}},
    ]


async def test_a_conversation(make: Make) -> None:
    turns = (Message("user", "1"), Message("assistant", "2"), Message("user", "3"))
    with serving(answer("4")) as stub:
        await collect(make(stub.address), asking("", messages=turns))
    assert [(m["role"], m["content"]) for m in stub.body["messages"]] == [
        ("user", "1"),
        ("assistant", "2"),
        ("user", "3"),
    ]


@pytest.mark.parametrize("model", ["hosted_vllm/m", "openai/m", "text-completion-openai/m"])
async def test_raw_text_goes_to_the_completions_route(make: Make, model: str) -> None:
    with serving([text("Once"), text(" more", "length"), usage(), "[DONE]"]) as stub:
        backend = make(stub.address, model)
        for _ in range(2):
            told, _, last = await collect(backend, asking("<s>raw", completion_format=RAW, n_predict=2))
    assert told == "Once more"
    assert last.finish_reason == "length"
    assert last.usage is not None
    assert last.usage.completion_tokens == 5
    assert stub.path == "/v1/completions"
    assert (stub.body["prompt"], stub.body["max_tokens"]) == ("<s>raw", 2)


async def test_raw_text_where_there_is_only_a_chat(make: Make) -> None:
    with pytest.raises(UnsupportedError, match="anthropic"):
        await collect(make(None, "anthropic/claude-x"), asking(completion_format=RAW))
    with pytest.raises(ImageError):
        await collect(make(), asking(completion_format=RAW, images=(Image(b"x", "image/png"),)))


async def test_extra_cannot_replace_the_messages(make: Make) -> None:
    with pytest.raises(InvalidRequestError, match="extra cannot set messages"):
        await collect(make(), asking(extra={"messages": []}))


async def test_a_model_is_needed_and_its_provider_known(make: Make) -> None:
    with pytest.raises(ModelRequiredError) as caught:
        await collect(make(model=None), asking())
    assert "openai/" in caught.value.hint
    with pytest.raises(InvalidRequestError, match="no provider"):
        await collect(make(model="nonsense/m"), asking())


async def test_options_params_go_with_every_call(make: Make) -> None:
    with serving(answer("x")) as stub:
        await collect(make(stub.address, options={"params": {"frequency_penalty": 0.5}}), asking())
    assert stub.body["frequency_penalty"] == 0.5


async def test_canned_answers_of_litellm(make: Make) -> None:
    told, _, last = await collect(make(model="openai/gpt-4o"), asking(extra={"mock_response": "Not a real one."}))
    assert told == "Not a real one."
    assert last.finish_reason == "stop"


async def test_embeddings_keep_their_order(make: Make) -> None:
    rows = [{"object": "embedding", "index": i, "embedding": [float(i), 1.0]} for i in (1, 0)]
    body = {"object": "list", "data": rows, "model": "m", "usage": {"prompt_tokens": 2, "total_tokens": 2}}
    with serving((200, {}, body)) as stub:
        vectors = await make(stub.address, "openai/m").embed(EmbedRequest(texts=("a", "b")))
    assert vectors == [[0.0, 1.0], [1.0, 1.0]]
    assert stub.body["input"] == ["a", "b"]


async def test_the_model_for_embeddings(make: Make) -> None:
    body = {"object": "list", "data": [{"object": "embedding", "index": 0, "embedding": [1.0]}], "model": "m"}
    with serving((200, {}, body)) as stub:
        backend = make(stub.address, "openai/chats", options={"embedding_model": "openai/embeds"})
        await backend.embed(EmbedRequest(texts=("a",), model="openai/chats"))
    assert stub.body["model"] == "embeds"


async def test_a_long_tool_call_is_no_silence(make: Make) -> None:
    """Its pieces give no chunk before the last one."""
    first = {"index": 0, "id": "1", "function": {"name": "write", "arguments": '{"text": "'}}
    more = {"index": 0, "function": {"arguments": "x"}}
    last = {"index": 0, "function": {"arguments": '"}'}}
    events = [delta(tool_calls=[each]) for each in (first, *[more] * 8, last)]
    with serving([*events, delta("tool_calls"), "[DONE]"]) as stub:
        stub.pause = 0.4
        limits = Timeouts(connect=PATIENCE, first_token=2.5, idle=PATIENCE)
        _, _, end = await collect(make(stub.address, timeouts=limits), asking())
    assert end.finish_reason == "tool_calls"


@pytest.mark.parametrize("model", ["openai/m", "hosted_vllm/m"])
async def test_embeddings_keep_the_limit_and_are_asked_for_once(make: Make, model: str) -> None:
    with serving(["hang"]) as stub:
        backend = make(stub.address, model, timeouts=Timeouts(connect=PATIENCE, first_token=1.0, idle=PATIENCE))
        with pytest.raises(APITimeoutError, match="within 1 seconds"):
            await backend.embed(EmbedRequest(texts=("a",)))
        assert len(stub.requests) == 1
    with serving((503, {}, {"error": "busy"})) as stub:
        with pytest.raises(ServerError):
            await make(stub.address, model).embed(EmbedRequest(texts=("a",)))
        assert len(stub.requests) == 1


async def test_closing_twice_and_using_again(make: Make) -> None:
    with serving(answer("x")) as stub:
        backend = make(stub.address)
        await collect(backend, asking())
        await backend.close(CloseRequest())
        await backend.close(CloseRequest())
        assert (await collect(backend, asking()))[0] == "x"
