"""Answers of an OpenAI-like server that are failures, or no answers, though their status is a success."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lollms_openai.decoders import StopDecoder

from lollms_core import (
    APIStatusError,
    AuthenticationError,
    Chunk,
    IncompleteStreamError,
    InvalidRequestError,
    LollmsError,
    ProtocolError,
    RateLimitError,
    ServerError,
)
from lollms_core.http import Decoder, SSEDecoder, answer_error
from lollms_core.protocols.openai import ChatDecoder
from tests.openai.conftest import MakeClient
from tests.support.openai_stub import OpenAIStub, Reply

JSON = {"content-type": "application/json"}
STOP = Chunk(finish_reason="stop")


def event(value: Any, name: str = "") -> bytes:
    data = value if isinstance(value, str) else json.dumps(value)
    return (f"event: {name}\n" if name else "").encode() + f"data: {data}\n\n".encode()


def choice(finish: str | None = None, **fields: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "finish_reason": finish, **fields}]}


def text(content: str, finish: str | None = None) -> dict[str, Any]:
    return choice(finish, delta={"content": content})


@pytest.mark.parametrize("word", ["abort", "cancelled"])
def test_an_answer_that_the_server_gave_up_is_not_whole(word: str) -> None:
    answer = event(text("some ")) + event(text("of it", word)) + b"data: [DONE]\n\n"
    said, last, error = read(ChatDecoder({}), answer, 64)
    assert (said, last) == ("some of it", None)
    assert isinstance(error, IncompleteStreamError)
    assert f"finish reason {word!r}" in error.message
    assert error.retryable


def read(decoder: Decoder, data: bytes, size: int) -> tuple[str, Chunk | None, LollmsError | None]:
    """The text, the closing record and the error of an answer that comes in pieces of this size."""
    said, last = "", None
    try:
        for start in range(0, len(data), size):
            for chunk in decoder.feed(data[start : start + size]):
                said += chunk.text
                last = chunk if chunk.finish_reason else last
            if decoder.finished:
                break
        else:
            for chunk in decoder.close():
                said += chunk.text
                last = chunk if chunk.finish_reason else last
    except LollmsError as error:
        return said, last, error
    return said, last, None


DONE = event("[DONE]")


@pytest.mark.parametrize(
    ("code", "kind"),
    [(1004, AuthenticationError), (1008, RateLimitError), (2013, InvalidRequestError), (7, LollmsError)],
)
def test_an_error_of_minimax(code: int, kind: type[LollmsError]) -> None:
    refused = {"id": "x", "choices": None, "base_resp": {"status_code": code, "status_msg": "so it is"}}
    said, last, error = read(ChatDecoder({}), event(text("so far")) + event(refused), 64)
    assert (said, last) == ("so far", None)
    assert isinstance(error, kind)
    assert "so it is" in error.message
    well = text("whole", "stop") | {"base_resp": {"status_code": 0, "status_msg": ""}}
    assert read(ChatDecoder({}), event(well) + DONE, 64)[::2] == ("whole", None)


SAID_BY_THE_SERVER = [
    event({"message": "boom"}, "error"),
    event({"error": {"message": "boom"}}, "error"),
    event("boom", "error"),
    event('"boom"', "error"),
    event(text("boom"), "error").replace(b'"choices"', b'"detail": "boom", "choices"'),
    event({"type": "error", "message": "boom"}),
    event({"type": "error", "error": {"type": "overloaded_error", "message": "boom"}}),
    event({"object": "error", "message": "boom"}),
    event({"detail": "boom"}),
    event({"code": 50505, "message": "boom", "data": None}),
    event({"detail": [{"loc": ["body"], "msg": "boom"}]}),
    event({"detail": "boom", "choices": None}),
    event({"error": "boom"}),
    event(choice(error={"message": "boom"})),
    event(choice(delta={"content": ""}, error={"message": "boom", "code": 502})),
    event(choice("error", delta={"content": ""}, error={"message": "boom", "code": 502})),
]


@pytest.mark.parametrize("data", SAID_BY_THE_SERVER)
@pytest.mark.parametrize("end", [b"", DONE, event(text("", "stop")) + DONE])
@pytest.mark.parametrize("size", [1, 10_000])
def test_what_the_server_says_went_wrong_is_an_error(data: bytes, end: bytes, size: int) -> None:
    said, last, error = read(ChatDecoder({}), event(text("So far")) + data + end, size)
    assert type(error) is ServerError
    assert "boom" in error.message
    assert (said, last) == ("So far", None)


@pytest.mark.parametrize("code", [429, "429"])
def test_the_code_of_an_error_in_a_choice_counts(code: int | str) -> None:
    data = event(choice("error", delta={"content": ""}, error={"message": "slowly", "code": code}))
    said, _, error = read(ChatDecoder({}), event(text("So far")) + data, 10_000)
    assert said == "So far"
    assert type(error) is RateLimitError
    assert error.status_code == 429


@pytest.mark.parametrize(
    "value",
    [
        choice("error", delta={"content": "so far"}, error={"message": "boom"}),
        {**choice("error", delta={"content": "so far"}), "error": {"message": "boom"}},
        {**choice(text="so far"), "error": {"message": "boom"}},
    ],
)
def test_text_beside_an_error_is_kept(value: Any) -> None:
    data = event(value)
    said, _, error = read(ChatDecoder({}), data + DONE, 10_000)
    assert said == "so far"
    assert error is not None
    assert "boom" in error.message


def test_an_error_without_words() -> None:
    for data in (event("", "error"), event(choice("error", delta={"content": ""}))):
        _, _, error = read(ChatDecoder({}), data + DONE, 10_000)
        assert type(error) is ServerError, data
        assert "an error without a message" in error.message
    for data in (event({}, "error"), event({"type": "error"}), event({"error": {}})):
        _, _, error = read(ChatDecoder({}), data + DONE, 10_000)
        assert type(error) is ServerError, data


@pytest.mark.parametrize(
    ("value", "named"),
    [
        (choice(delta="hello"), "a text in place of a choice's delta: 'hello'"),
        (choice(delta=["hello"]), "a list in place of a choice's delta"),
        (choice(delta=5), "a number in place of a choice's delta: 5"),
        (choice(message="hello"), "a text in place of a choice's message"),
        ({"choices": "hello"}, "a text in place of a list of choices"),
        ({"choices": {"0": {}}}, "an object in place of a list of choices"),
        ({"choices": ["hello"]}, "a text in place of a choice"),
        ({"choices": [None]}, "null in place of a choice"),
        ({"choices": [{"index": "0", "delta": {"content": "hello"}}]}, "a text in place of a choice's index"),
        ("hello", "not valid JSON: hello"),
        ('"hello"', "not a JSON object"),
        ("5", "not a JSON object"),
    ],
)
def test_what_is_no_answer_is_named(value: Any, named: str) -> None:
    data = event(text("So far")) + event(value) + event(text("", "stop")) + DONE
    for size in (1, 10_000):
        said, last, error = read(ChatDecoder({}), data, size)
        assert type(error) is ProtocolError
        assert named in error.message
        assert (said, last) == ("So far", None)


@pytest.mark.parametrize(
    "data", [b"", b": ping\n\n", event({"choices": [], "usage": {"prompt_tokens": 1}}), event({"id": "1"}), event({})]
)
def test_an_end_mark_with_nothing_before_it_is_no_answer(data: bytes) -> None:
    said, last, error = read(ChatDecoder({}), data + DONE, 10_000)
    assert type(error) is IncompleteStreamError
    assert error.retryable
    assert (said, last) == ("", None)


@pytest.mark.parametrize(
    "data",
    [
        event(text("", "stop")),
        event(choice("stop", delta={})),
        event(choice("stop", delta=None)),
        event(choice("stop", delta=[])),
        event(choice("stop")),
        event(choice("stop", text="")),
        event(choice(delta={"role": "assistant"})) + event(choice("stop", delta={})),
        event(choice("stop", delta={}), "message"),
        event(choice("stop", delta={}), "completion"),
        event({**choice("stop", delta={}), "error": None, "detail": None, "type": None}),
        event({**choice("stop", delta={}), "detail": "of something else", "error": ""}),
        event(choice("stop", delta={}, error=None)),
    ],
)
def test_an_empty_answer_is_an_answer(data: bytes) -> None:
    for end in (b"", DONE):
        said, last, error = read(ChatDecoder({}), data + end, 10_000)
        assert error is None
        assert said == ""
        assert last is not None
        assert last.finish_reason == "stop"


# --- the whole answer as one object, though a stream was asked for ----------------------------------------------------


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"error": {"message": "boom"}}, ""),
        ({"type": "error", "message": "boom"}, ""),
        ({"type": "error", "error": {"message": "boom"}}, ""),
        ({"object": "error", "message": "boom"}, ""),
        ({"detail": "boom"}, ""),
        ({"message": "boom"}, ""),
        ({"message": "boom", "choices": None}, ""),
        (choice("error", message={"content": "So far"}, error={"message": "boom"}), "So far"),
        (choice("stop", message={"content": "So far"}, error={"message": "boom"}), "So far"),
        (choice(message={"content": None}, error={"message": "boom"}), ""),
    ],
)
@pytest.mark.parametrize("size", [1, 10_000])
def test_a_whole_answer_that_is_an_error(value: Any, said: str, size: int) -> None:
    got, last, error = read(ChatDecoder(JSON), json.dumps(value).encode(), size)
    assert type(error) is ServerError
    assert "boom" in error.message
    assert (got, last) == (said, None)


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"id": "1"},
        {"choices": []},
        {"choices": "hello"},
        {"choices": ["hello"]},
        choice("stop", message="hello"),
        choice("stop", delta="hello"),
        choice("stop", message={"content": 5}),
        [],
        ["hello"],
    ],
)
def test_a_whole_answer_that_is_none(value: Any) -> None:
    said, last, error = read(ChatDecoder(JSON), json.dumps(value).encode(), 10_000)
    assert type(error) is ProtocolError
    assert (said, last) == ("", None)


def test_a_whole_answer_that_is_empty() -> None:
    data = json.dumps(choice("stop", message={"role": "assistant", "content": ""})).encode()
    assert read(ChatDecoder(JSON), data, 10_000)[1:] == (STOP, None)


def nested(depth: int, begin: str, end: str) -> Any:
    return json.loads(begin * depth + "1" + end * depth)


@pytest.mark.parametrize(("begin", "end"), [("[", "]"), ('{"a": ', "}")])
def test_deep_nesting_is_no_error_of_python(begin: str, end: str) -> None:
    for depth in range(100, 900, 50):
        deep = nested(depth, begin, end)
        for value in ({"error": deep}, {"detail": deep}, choice("stop", delta=deep), choice("stop", message=deep),
                      choice("stop", delta={"content": deep}), choice("stop", delta={"audio": deep}),
                      {"choices": deep}, choice(error={"message": deep, "code": deep})):  # fmt: skip
            for data, headers in ((event(value) * 2, {}), (json.dumps(value).encode(), JSON)):
                read(ChatDecoder(headers), data, 100_000)


# --- by a client ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", SAID_BY_THE_SERVER)
def test_the_caller_gets_the_error_and_the_text(client: MakeClient, stub: OpenAIStub, data: bytes) -> None:
    stub.rules.append(lambda _: Reply(iter([event(text("So far")), data + DONE]), content_type="text/event-stream"))
    with pytest.raises(ServerError, match="boom") as caught:
        client().generate("Hi?")
    assert caught.value.partial_text == "So far"


def test_what_is_held_back_for_a_stop_sequence_is_kept_in_an_error(client: MakeClient, stub: OpenAIStub) -> None:
    pieces = [event(text("So far EN")), event({"error": {"message": "boom"}})]
    stub.rules.append(lambda _: Reply(iter(pieces), content_type="text/event-stream"))
    with pytest.raises(ServerError, match="boom") as caught:
        client().generate("Hi?", stop=["END"])
    assert caught.value.partial_text == "So far EN"


@pytest.mark.parametrize("end", [b"", event({"error": {"message": "boom"}}), event(choice(delta=5))])
def test_held_text_comes_before_any_error(end: bytes) -> None:
    said, last, error = read(StopDecoder(ChatDecoder({}), ("END",)), event(text("So far EN")) + end, 10_000)
    assert isinstance(error, LollmsError)
    assert (said, last) == ("So far EN", None)


def test_an_end_mark_alone_is_asked_for_again(client: MakeClient, stub: OpenAIStub) -> None:
    replies = [Reply(iter([DONE]), content_type="text/event-stream")]
    stub.rules.append(lambda request: replies.pop() if replies and request.body else None)
    assert client(max_retries=1).generate("Hi?") == "Hello from the stub."


# --- names of events --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "events"),
    [
        (b"event: error\ndata: a\n\ndata: b\n\n", [("a", "error"), ("b", "")]),
        (b"event:error\ndata: a\n\n", [("a", "error")]),
        (b"data: a\nevent: error\n\n", [("a", "error")]),
        (b"event: a\nevent: b\ndata: 1\n\n", [("1", "b")]),
        (b"event: error\n\ndata: a\n\n", [("a", "")]),  # an event without data is none, and its name goes with it
        (b"event: error\nevent\ndata: a\n\n", [("a", "")]),
        (b"event: message\ndata: a\n\n", [("a", "")]),  # which is the name of those that have none
        (b"event: error\ndata: a", [("a", "error")]),
        (b"event: error\r\ndata: a\r\n\r\n", [("a", "error")]),
        (b"events: error\ndata: a\n\n", [("a", "")]),
        (b"event: error\ndata\n\n", [("", "error")]),
    ],
)
def test_names_of_events(data: bytes, events: list[tuple[str, str]]) -> None:
    for size in (1, 2, 1000):
        decoder = SSEDecoder()
        found = [each for at in range(0, len(data), size) for each in decoder.feed(data[at : at + size])]
        found += decoder.close()
        assert [(str(each), getattr(each, "name", "")) for each in found] == events


# --- codes of errors --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "code", ["²", "²²²", "٤٢٩", "9" * 5000, "4" * 4, "42", "-42", "", " 429", "429\n", 10**40, 1e300]
)
def test_a_code_that_is_no_status(code: object) -> None:
    error = answer_error({"error": {"message": "boom", "code": code}})
    assert type(error) is ServerError
    assert error.status_code is None
    assert "boom" in error.message


def test_tokens_of_a_minute_are_no_window() -> None:
    """As Bedrock says it, through a gateway."""
    said = "BedrockException - Too many tokens, please wait before trying again."
    error = answer_error({"error": {"message": said, "code": "429"}})
    assert type(error) is RateLimitError
    assert error.retryable


@given(st.text(max_size=6) | st.integers() | st.floats() | st.none() | st.booleans() | st.lists(st.text(), max_size=1))
@settings(deadline=None)
def test_any_code_is_an_error_of_ours(code: object) -> None:
    error = answer_error({"error": {"message": "boom", "code": code}})
    assert isinstance(error, LollmsError)
    assert error.status_code is None or 100 <= error.status_code < 600


def test_a_code_that_is_a_status() -> None:
    error = answer_error({"error": {"message": "boom", "code": "404"}})
    assert isinstance(error, APIStatusError)
    assert error.status_code == 404
