"""Messages are parts: what they say reaches the server and comes back, and what cannot be said is told."""

from __future__ import annotations

import asyncio
import json
import pickle
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lollms_core import (
    Backend,
    Capabilities,
    Chunk,
    ContractError,
    EmptyPromptError,
    GenerationRequest,
    Image,
    InvalidRequestError,
    LollmsClient,
    Message,
    Part,
    ProviderPart,
    ReasoningPart,
    TextPart,
    ToolCall,
    ToolResult,
    UnsupportedOptionWarning,
    hookimpl,
)
from lollms_core._client.given_messages import as_message
from lollms_core.protocols.openai import wire_messages
from tests.support.results import result_of

PNG = (
    b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x06\x00\x00\x00\x1f\x15\xc4\x89"
    b"\x00\x00\x00\rIDATx\x9cc\xf8\xff\xff?\x00\x05\xfe\x02\xfe\xa75\x81\x84\x00\x00\x00\x00IEND\xaeB`\x82"
)
IMAGE = Image(PNG, "image/png")
CALL = ToolCall.from_text("weather", '{"city": "Paris"}', "call_1")
RESULT = ToolResult(text="rain", id="call_1", name="weather")


# --- values -----------------------------------------------------------------------------------------------------------


def test_text_is_a_part() -> None:
    assert Message("user", "hello") == Message("user", [TextPart("hello")])
    assert Message("user", "look", [IMAGE]) == Message("user", [TextPart("look"), IMAGE])
    assert Message("user", "").parts == ()
    message = Message("user", "look", [IMAGE])
    assert (message.text, message.images, message.reasoning, message.tool_calls) == ("look", (IMAGE,), "", ())
    assert Message("user", [TextPart("a"), TextPart("b")]).text == "a\nb"
    assert Message("assistant", [TextPart("a"), ReasoningPart("no"), TextPart("b")]).text == "ab"
    assert repr(Message("user", "hello")) == "Message('user', 'hello')"
    assert pickle.loads(pickle.dumps(message)) == message
    assert hash(Message("user", "hello")) == hash(Message("user", "hello"))


def test_the_place_of_an_image_has_no_secrets() -> None:
    image = Image(None, None, "https://bob:hunter2secret@host:1/a/img.png?X-Amz-Signature=5ecret#x")
    assert image.place == "https://host:1/a/img.png"
    assert repr(image) == "Image(None, https://host:1/a/img.png)"
    assert repr(IMAGE).startswith("Image(image/png, ")


@pytest.mark.parametrize("content", [None, 3, b"bytes", {"a": 1}])
def test_content_of_another_kind(content: Any) -> None:
    with pytest.raises(TypeError, match="content must be text or parts"):
        Message("user", content)


@pytest.mark.parametrize("part", ["text", {"type": "text"}, None])
def test_parts_of_another_kind_are_refused(part: Any) -> None:
    with LollmsClient(default_generation_mode="echo") as client, pytest.raises(TypeError, match="a part of a Message"):
        client.chat([Message("user", [part])])


@pytest.mark.parametrize(
    ("text", "arguments"),
    [('{"a": 1}', {"a": 1}), ("", {}), (" ", {}), ("[1]", None), ("{", None), ("[" * 10**5, None)],
)
def test_arguments_are_read_and_kept_as_they_were(text: str, arguments: Any) -> None:
    call = ToolCall.from_text("f", text, "1")
    assert (call.arguments, call.text) == (arguments, text)
    assert call.as_text() == (text or "{}")


# --- dictionaries -----------------------------------------------------------------------------------------------------


SOUND = {"type": "input_audio", "input_audio": {"data": "x"}}


def test_the_dictionaries_of_the_protocol() -> None:
    told: list[dict[str, Any]] = [
        {
            "role": "user",
            "content": [{"type": "text", "text": "a"}, {"type": "input_audio", "input_audio": {"data": "x"}}],
        },
        {
            "role": "assistant",
            "content": None,
            "reasoning_content": "hm",
            "tool_calls": [
                {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}},
                {"function": {"name": "g", "arguments": {"b": 2}}},
            ],
        },
        {"role": "tool", "tool_call_id": "call_1", "content": "rain"},
        {"role": "tool", "tool_name": "g", "content": [{"type": "text", "text": "sun"}]},
    ]
    user, assistant, first, second = map(as_message, told)
    assert user.parts == (TextPart("a"), ProviderPart(SOUND))
    assert assistant.reasoning == "hm"
    assert assistant.tool_calls == (
        ToolCall.from_text("f", '{"a": 1}', "call_1"),
        ToolCall(name="g", arguments={"b": 2}),
    )
    assert first.tool_results == (ToolResult(text="rain", id="call_1"),)
    assert second.tool_results == (ToolResult(text="sun", name="g"),)


@pytest.mark.parametrize(
    ("message", "complaint"),
    [
        ({"role": "user"}, "lacks 'content'"),
        ({"role": "assistant", "tool_calls": [{}]}, "lacks its function's name"),
        ({"role": "assistant", "tool_calls": [3]}, "lacks its function's name"),
        ({"role": "user", "content": [{"type": 3}]}, "must be of type text or image_url"),
        ({"role": "user", "content": [{"type": "text"}]}, "lacks 'text'"),
        ({"role": "boss", "content": "x"}, "must be system, user, assistant or tool"),
    ],
)
def test_dictionaries_that_are_wrong(message: Mapping[str, Any], complaint: str) -> None:
    with pytest.raises(InvalidRequestError, match=complaint):
        as_message(message)


# --- there and back ---------------------------------------------------------------------------------------------------

words = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=12)
ids = st.text("abc0123456789_", min_size=1, max_size=8)
json_values = st.none() | st.booleans() | st.integers() | words | st.lists(words, max_size=2)
calls = st.builds(
    lambda name, values, number: ToolCall.from_text(name, json.dumps(values), number),
    ids, st.dictionaries(words, json_values, max_size=3), ids,
)  # fmt: skip
texts = st.builds(TextPart, words)
users = st.builds(lambda parts: Message("user", parts), st.lists(texts | st.just(IMAGE), min_size=1, max_size=3))
assistants = st.builds(
    lambda text, made: Message("assistant", [*([TextPart(text)] if text else []), *made]),
    st.just("") | words, st.lists(calls, min_size=1, max_size=2),
)  # fmt: skip
tools = st.builds(
    lambda text, number, name: Message("tool", [ToolResult(text=text, id=number, name=name)]), words, ids, ids
)
conversations = st.lists(
    users | assistants | tools | st.builds(Message, st.just("system"), words), min_size=1, max_size=5
)


def same(message: Message, *, but: tuple[str, ...] = ()) -> Message:
    """A message without what a protocol has no place for."""
    parts: list[Part] = []
    for part in message.parts:
        if isinstance(part, ToolResult) and "names" in but:
            part = ToolResult(text=part.text, id=part.id)
        parts.append(part)
    # Texts side by side are one text on the wire, where nothing else is there.
    if all(isinstance(part, TextPart) for part in parts) and parts:
        parts = [TextPart(message.text)]
    return Message(message.role, parts)


@given(conversations)
def test_there_and_back_through_openais_protocol(conversation: list[Message]) -> None:
    wire = json.loads(json.dumps(wire_messages(conversation)))
    assert [as_message(each) for each in wire] == [same(message, but=("names",)) for message in conversation]


@given(conversations)
def test_there_and_back_through_ollamas_protocol(conversation: list[Message]) -> None:
    bodies = pytest.importorskip("lollms_ollama.bodies")
    wire = json.loads(json.dumps([form for message in conversation for form in bodies._wire_forms(message)]))
    assert [plain(as_message(each)) for each in wire] == [plain(message) for message in conversation]


def plain(message: Message) -> Any:
    """What a message says, whatever the order of text and images, and however the arguments were written."""
    called = [(call.name, call.arguments, call.id) for call in message.tool_calls]
    return message.role, message.text, message.images, called, message.tool_results


# --- what cannot be said ----------------------------------------------------------------------------------------------


class Remembering(Backend):
    capabilities = Capabilities(options=frozenset({"messages", "system_prompt"}))
    seen: tuple[Message, ...] = ()

    @hookimpl
    def generate(self, request: GenerationRequest) -> Iterator[Chunk]:
        Remembering.seen = request.messages
        yield Chunk("ok")


class Saying(Remembering):
    capabilities = Capabilities(
        options=frozenset({"messages"}), parts=frozenset({"reasoning", "tool_call", "tool_result", "provider"})
    )


TALK = [
    Message("user", "Rain in Paris?"),
    Message("assistant", [ReasoningPart("hm"), TextPart("I look."), CALL, ProviderPart({"signature": "x"})]),
    Message("tool", [RESULT]),
    Message("user", "And?"),
]


def test_what_a_format_cannot_say_is_told_and_the_rest_is_sent() -> None:
    with LollmsClient(default_generation_mode=Remembering, raise_errors=True) as client:
        with pytest.warns(UnsupportedOptionWarning) as told:
            client.chat(TALK)
        assert str(told[0].message) == (
            "the Remembering format does not honour: other parts of messages, results of tools in messages, "
            "tool calls in messages"
        )
        assert Remembering.seen == (TALK[0], Message("assistant", "I look."), TALK[3])
        with pytest.raises(
            EmptyPromptError, match="the Remembering format has no way to send results of tools in messages"
        ):
            client.chat([Message("tool", [RESULT])])


def test_what_a_format_can_say_is_sent_as_it_is() -> None:
    with LollmsClient(default_generation_mode=Saying, raise_errors=True) as client:
        client.chat(TALK)
        assert Remembering.seen == tuple(TALK)


def test_reasoning_that_does_not_go_back_is_nothing_to_tell() -> None:
    with LollmsClient(default_generation_mode=Remembering, raise_errors=True) as client:
        client.chat([Message("assistant", [ReasoningPart("hm"), TextPart("Hello.")]), Message("user", "hi")])
    assert Remembering.seen[0] == Message("assistant", "Hello.")


def test_raw_text_has_the_texts(recwarn: pytest.WarningsRecorder) -> None:
    assert GenerationRequest(messages=(Message("user", "a"), Message("assistant", "b"))).as_text() == "a\n\nb"
    assert GenerationRequest(prompt="a", system_prompt="s").as_text() == "s\n\na"
    assert GenerationRequest(prompt="a").as_text() == "a"


# --- answers ----------------------------------------------------------------------------------------------------------


class Calling(Backend):
    @hookimpl
    def generate(self, request: GenerationRequest) -> Iterator[Chunk]:
        yield Chunk("<think>hm</think>I ")
        yield Chunk("look.")
        yield Chunk(part=CALL)
        yield Chunk(" And wait.")
        yield Chunk(part=ProviderPart({"signature": "x"}))
        yield Chunk(finish_reason="tool_calls")


def test_an_answer_has_its_parts_in_order() -> None:
    expected = (
        ReasoningPart("hm"), TextPart("I look."), CALL, TextPart(" And wait."), ProviderPart({"signature": "x"}),
    )  # fmt: skip
    with LollmsClient(default_generation_mode=Calling, raise_errors=True) as client:
        for completion in map(result_of, (client.complete("x"), asyncio.run(client.acomplete("x")))):
            assert completion.parts == expected
            assert completion.text == "I look. And wait."
            assert completion.tool_calls == (CALL,)
            assert completion.message == Message("assistant", expected)
            assert completion.finish_reason == "tool_calls"
        assert [chunk.part for chunk in client.stream("x") if chunk.part] == [CALL, ProviderPart({"signature": "x"})]
        assert result_of(client.complete("x", stop="look")).parts == (ReasoningPart("hm"), TextPart("I "))


@pytest.mark.parametrize(
    ("chunk", "complaint"),
    [
        (Chunk(part="call"), "part is a str"),  # type: ignore[arg-type]
        (Chunk(part=TextPart("a")), "part is a TextPart"),
        (Chunk("text", part=CALL), "part is a ToolCall beside a text"),
    ],
)
def test_parts_that_no_chunk_can_have(chunk: Chunk, complaint: str) -> None:
    class Wrong(Backend):
        @hookimpl
        def generate(self, request: GenerationRequest) -> Iterator[Chunk]:
            yield chunk

    with LollmsClient(default_generation_mode=Wrong, raise_errors=True) as client:
        with pytest.raises(ContractError, match=complaint):
            client.generate("x")


def test_halves_of_a_character_in_arguments_are_joined() -> None:
    """As they arrive in two events."""
    call = ToolCall.from_text("f", '{"a": "\ud83d' + '\ude00 \ud83d"}')
    assert call.arguments == {"a": "\U0001f600 \ufffd"}
    call.as_text().encode()


@pytest.mark.parametrize("value", [{1, 2}, b"bytes", object()])
def test_arguments_of_a_call_are_json(value: object) -> None:
    with pytest.raises(TypeError, match="must be values that JSON has"):
        ToolCall(name="weather", arguments={"a": [value]})


def test_arguments_of_a_call_are_a_dictionary() -> None:
    wrong: Any = ["Rome"]
    with pytest.raises(TypeError, match="must be a dictionary, not list"):
        ToolCall(name="weather", arguments=wrong)


class Seeing(Remembering):
    capabilities = Capabilities(options=frozenset({"messages"}), vision=True)


class SeeingText(Seeing):
    capabilities = Capabilities(options=frozenset(), vision=True)
    prompt = ""

    @hookimpl
    def generate(self, request: GenerationRequest) -> Iterator[Chunk]:
        SeeingText.prompt = request.prompt
        yield Chunk("ok")


def test_an_image_that_came_with_a_tools_result_stays_when_the_result_cannot_be_said() -> None:
    result = Message("tool", [RESULT, IMAGE])
    with LollmsClient(default_generation_mode=Seeing, raise_errors=True) as client:
        with pytest.warns(UnsupportedOptionWarning, match="results of tools"):
            client.chat([TALK[0], result])
        assert Remembering.seen == (TALK[0], Message("user", "", [IMAGE]))
    with LollmsClient(default_generation_mode=SeeingText, raise_errors=True) as client:
        with pytest.warns(UnsupportedOptionWarning, match="results of tools"):
            client.chat([TALK[0], result])
        assert SeeingText.prompt.startswith("!@>user: Rain in Paris?")


def test_a_tool_that_gave_nothing_but_an_image_has_a_result_without_text() -> None:
    assert as_message(Message("tool", [IMAGE])).parts == (ToolResult(text=""), IMAGE)
    assert as_message(Message("tool", "")).parts == (ToolResult(text=""),)


@pytest.mark.parametrize(
    ("key", "meant"), [("image", "images"), ("tool_call", "tool_calls"), ("resoning", "reasoning")]
)
def test_a_misspelt_key_of_a_message_is_told(key: str, meant: str) -> None:
    with pytest.raises(InvalidRequestError, match=f"a message has no key '{key}'") as caught:
        as_message({"role": "user", "content": "hi", key: ["x"]})
    assert caught.value.hint == f"Did you mean '{meant}'?"
    assert as_message({"role": "user", "content": "hi", "id": 3, "timestamp": 5, "refusal": None}).text == "hi"


def test_parts_of_the_wrong_kind_are_refused_where_they_are_made() -> None:
    wrong: Any = 7
    with pytest.raises(TypeError, match="the id of a tool call must be a str, not int"):
        ToolCall(name="f", id=wrong)
    with pytest.raises(TypeError, match="the text of the result of a tool must be a str, not int"):
        ToolResult(text=wrong)
    with pytest.raises(TypeError, match="the data of a ProviderPart must be a dictionary, not int"):
        ProviderPart(wrong)
