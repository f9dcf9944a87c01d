"""The OpenAI protocol: bodies as they go out, and every shape in which answers come back."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lollms_core.contract.errors import (
    ContextWindowError,
    IncompleteStreamError,
    LollmsError,
    ProtocolError,
    RateLimitError,
    ServerError,
)
from lollms_core.contract.types import (
    MSG_TYPE,
    Chunk,
    GenerationRequest,
    Image,
    Message,
    SamplingParams,
    ToolCall,
    ToolResult,
    Usage,
)
from lollms_core.protocols._extras import Extras
from lollms_core.protocols.openai import (
    ChatDecoder,
    chat_body,
    completion_body,
    finish_reason,
    read_embeddings,
    wire_messages,
)
from tests.http.test_decoders import cuts, split

THINK = MSG_TYPE.MSG_TYPE_REASONING


def events(*values: object, done: bool = True) -> bytes:
    lines = [f"data: {json.dumps(value)}\n\n" for value in values] + (["data: [DONE]\n\n"] if done else [])
    return "".join(lines).encode()


def delta(finish: object = None, **fields: object) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": fields, "finish_reason": finish}]}


def plain(text: str, finish: str | None = None) -> dict[str, object]:
    return {"choices": [{"text": text, "finish_reason": finish}]}


COUNTS = {"prompt_tokens": 5, "completion_tokens": 1}


def decode(*pieces: bytes, content_type: str = "text/event-stream") -> list[Chunk]:
    decoder = ChatDecoder({"content-type": content_type})
    chunks: list[Chunk] = []
    for piece in pieces:
        chunks += decoder.feed(piece)
        if decoder.finished:
            return chunks
    return chunks + list(decoder.close())


STOP = Chunk(finish_reason="stop")


@pytest.mark.parametrize("end", [b"data: [DONE] \n\n", b"data:  [DONE]\n\n", b"data:\t[DONE]\t\n\n", b"data: [DONE] "])
def test_blanks_around_the_end_mark(end):
    data = events(delta(content="a"), delta("stop"), done=False)
    assert decode(data, end) == [Chunk("a"), STOP]


def test_a_whole_answer_needs_no_finish_reason():
    data = json.dumps({"choices": [{"message": {"content": "a"}, "finish_reason": None}]}).encode()
    assert decode(data, content_type="application/json") == [Chunk("a"), Chunk(finish_reason="unknown")]


@given(cuts)
def test_a_byte_order_mark_is_none_of_the_answer(places):
    whole = b"\xef\xbb\xbf" + json.dumps({"choices": [{"message": {"content": "a"}, "finish_reason": "stop"}]}).encode()
    assert decode(*split(whole, places), content_type="application/json") == [Chunk("a"), STOP]


@pytest.mark.parametrize(
    ("data", "chunks"),
    [
        (events(delta(content="a"), delta(content="b"), delta("stop")), [Chunk("a"), Chunk("b"), STOP]),
        (events(delta(role="assistant", content=""), delta(content="a"), delta("stop")), [Chunk("a"), STOP]),
        (events(delta(content="a", finish="length")), [Chunk("a"), Chunk(finish_reason="length")]),
        (events(delta(content="a"), delta("stop"), done=False), [Chunk("a"), STOP]),
        (events(delta(content="a")), [Chunk("a"), Chunk(finish_reason="unknown")]),
        (events(delta(content=None, reasoning="hm"), delta("stop")), [Chunk("hm", THINK), STOP]),
        (events(delta(reasoning_content="hm", content="a"), delta("stop")), [Chunk("hm", THINK), Chunk("a"), STOP]),
        (events(delta(reasoning="x", reasoning_content="x"), delta("stop")), [Chunk("x", THINK), STOP]),
        (
            events(
                delta(content=[{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}]),
                delta(content=[{"type": "text", "text": "a"}]),
                delta("stop"),
            ),
            [Chunk("hm", THINK), Chunk("a"), STOP],
        ),
        (events({"choices": []}, delta(content="a"), delta("stop")), [Chunk("a"), STOP]),
        (events({**delta(content="a"), "usage": None}, delta("stop")), [Chunk("a"), STOP]),
        (
            events(delta(content="a"), delta("stop"), {"choices": [], "usage": COUNTS}),
            [Chunk("a"), Chunk(finish_reason="stop", usage=Usage(prompt_tokens=5, completion_tokens=1))],
        ),
        (events(plain("a"), plain("", "stop")), [Chunk("a"), STOP]),
        (events(delta(content=[{"type": "text", "text": "a"}]), delta("stop")), [Chunk("a"), STOP]),
        (b": ping\n\n" + events(delta(content="a"), delta("stop")), [Chunk("a"), STOP]),
        (b'{"choices": [{"message": {"content": "all"}, "finish_reason": "stop"}]}', [Chunk("all"), STOP]),
        (b'\n {"choices": [{"text": "all", "finish_reason": "stop"}]}', [Chunk("all"), STOP]),
    ],
)  # fmt: skip
def test_answers(data: bytes, chunks: list[Chunk]) -> None:
    assert decode(data) == chunks
    assert decode(*(bytes([byte]) for byte in data)) == chunks


@pytest.mark.parametrize("content", [["a", 1], 5, True, {"text": "a"}])
def test_content_that_is_no_text_is_no_empty_answer(content: object) -> None:
    with pytest.raises(ProtocolError, match="where text is due"):
        decode(events(delta(content=content), delta("stop")))


@given(st.lists(st.text(max_size=6).map(lambda text: delta(content=text)) | st.just({"choices": []}), max_size=6), cuts)
def test_an_answer_however_it_is_split(values: list[object], where: list[int]) -> None:
    data = events(*values, delta("stop"))
    assert decode(*split(data, where)) == decode(data)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["choices", "delta", "content", "error", "usage", "message", "text", "finish_reason", "object"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(st.lists(json_values, max_size=3), st.booleans())
def test_no_json_makes_it_raise_anything_else(values: list[object], done: bool) -> None:
    with contextlib.suppress(LollmsError):
        decode(events(*values, done=done))


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ({"error": {"message": "boom"}}, ServerError),
        ({"error": "boom"}, ServerError),
        ({"object": "error", "message": "boom", "code": 500}, ServerError),
        ({"error": {"message": "boom", "code": 429}}, RateLimitError),
        ({"error": {"message": "boom", "code": "context_length_exceeded"}}, ContextWindowError),
        (
            {"error": {"message": "boom"}, "choices": [{"delta": {"content": ""}, "finish_reason": "error"}]},
            ServerError,
        ),
        (["not", "an", "object"], ProtocolError),
    ],
)
def test_an_error_in_the_stream_comes_after_the_text(value: object, kind: type[LollmsError]) -> None:
    chunks = ChatDecoder({}).feed(events(delta(content="a"), value))
    assert next(chunks) == Chunk("a")
    with pytest.raises(LollmsError) as caught:
        next(chunks)
    assert type(caught.value) is kind
    if kind is not ProtocolError:
        assert "boom" in str(caught.value)


@pytest.mark.parametrize("data", [b"", events(delta(content="a"), done=False), b'data: {"choi', b": ping\n\n"])
def test_an_answer_without_an_end_is_cut(data: bytes) -> None:
    with pytest.raises(IncompleteStreamError):
        decode(data)


def test_a_web_page_is_named() -> None:
    with pytest.raises(ProtocolError, match="HTML"):
        decode(b"<!doctype html><h1>hello</h1>")


def test_the_chat_body() -> None:
    request = GenerationRequest(
        prompt="What is it?",
        system_prompt="Be brief.",
        images=(Image(b"\x89PNG", "image/png"),),
        sampling=SamplingParams(n_predict=5, temperature=0.0, top_k=3, seed=0, stop=("\n",)),
        json_schema={"title": "my answer", "type": "object"},
        extra={"user": "me"},
    )
    assert chat_body(request, model="m") == {
        "model": "m",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "What is it?"},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw=="}},
                ],
            },
        ],
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": 5,
        "temperature": 0.0,
        "seed": 0,
        "stop": ["\n"],
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "my_answer", "schema": {"title": "my answer", "type": "object"}, "strict": True},
        },
        "user": "me",
    }


def test_the_completion_body() -> None:
    request = GenerationRequest(prompt="Once", sampling=SamplingParams(top_k=3))
    fields = {"top_k": "top_k"}
    assert completion_body(request, model=None, fields=fields, include_usage=False) == {
        "prompt": "Once",
        "stream": True,
        "top_k": 3,
    }


def test_a_conversation_in_the_chat_body() -> None:
    messages = (Message("user", "a"), Message("assistant", "b"), Message("user", "c"))
    body = chat_body(GenerationRequest(messages=messages), model="m")
    assert body["messages"] == [{"role": m.role, "content": m.text} for m in messages]


def test_embeddings_in_the_order_of_the_texts() -> None:
    data = [{"index": 1, "embedding": [2, 1]}, {"index": 0, "embedding": [1, 0.5]}]
    assert read_embeddings({"data": data}, 2) == [[1.0, 0.5], [2.0, 1.0]]
    wrong: list[Any] = [{}, {"data": data}, {"data": [{"index": "x", "embedding": 1}] * 3}, [], None]
    for broken in wrong:
        with pytest.raises(ProtocolError):
            read_embeddings(broken, 3)


# --- what an answer says beyond text ----------------------------------------------------------------------------------


def call(index: int | None, **fields: object) -> dict[str, object]:
    function = {name: fields.pop(name) for name in ("name", "arguments") if name in fields}
    piece: dict[str, object] = {**fields, **({"function": function} if function else {})}
    return {**piece, "index": index} if index is not None else piece


def made(id: str | None, name: str, arguments: str) -> dict[str, object]:
    value: dict[str, object] = {"function": {"name": name, "arguments": arguments}}
    return {"id": id, **value} if id else value


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        ([[call(0, id="1", name="f", arguments='{"a":')], [call(0, arguments=" 1}")]], [made("1", "f", '{"a": 1}')]),
        (
            [
                [call(0, id="1", name="f", arguments="{}"), call(1, id="2", name="g", arguments="")],
                [call(1, arguments="{}")],
            ],
            [made("1", "f", "{}"), made("2", "g", "{}")],
        ),
        # every parallel call with index 0
        (
            [[call(0, id="1", name="f", arguments="{}")], [call(0, id="2", name="g", arguments="{}")]],
            [made("1", "f", "{}"), made("2", "g", "{}")],
        ),
        # numbers that begin with 1
        ([[call(1, id="1", name="f", arguments="{")], [call(1, arguments="}")]], [made("1", "f", "{}")]),
        # every parallel call with index 0, and no id
        (
            [[call(0, name="f", arguments="{}")], [call(0, name="g", arguments="{}")]],
            [made(None, "f", "{}"), made(None, "g", "{}")],
        ),
        (
            [[call(0, name="f", arguments="{}")], [call(0, name="f", arguments='{"a": 1}')]],
            [made(None, "f", "{}"), made(None, "f", '{"a": 1}')],
        ),
        # the name in every piece, with and without the id
        (
            [[call(0, id="1", name="f", arguments='{"a":')], [call(0, id="1", name="f", arguments=" 1}")]],
            [made("1", "f", '{"a": 1}')],
        ),
        (
            [[call(0, name="f", arguments='{"a":')], [call(0, name="f", arguments=" 1}")]],
            [made(None, "f", '{"a": 1}')],
        ),
        # arguments that begin before the name
        (
            [[call(0, id="1", arguments='{"a":')], [call(0, name="f", arguments=" 1}")]],
            [made("1", "f", '{"a": 1}')],
        ),
        # the id in every piece, without an index
        (
            [[call(None, id="1", name="f", arguments="{")], [call(None, id="1", arguments="}")]],
            [made("1", "f", "{}")],
        ),
        # an id made up for each piece
        (
            [[call(0, id="1", name="f", arguments="{")], [call(0, id="2", arguments="}")]],
            [made("1", "f", "{}")],
        ),
        # not in a list
        ([call(0, id="1", name="f", arguments="{}")], [made("1", "f", "{}")]),
        # a name in pieces
        (
            [[call(0, id="1", name="get_", arguments="")], [call(0, name="weather")], [call(0, arguments="{}")]],
            [made("1", "get_weather", "{}")],
        ),
        # no index, no id
        ([[call(None, name="f", arguments="{")], [call(None, arguments="}")]], [made(None, "f", "{}")]),
    ],
)
@pytest.mark.parametrize("finish", ["tool_calls", None])
def test_calls_of_tools_that_nobody_asked_for_are_kept(
    pieces: list[object], expected: list[object], finish: str | None
) -> None:
    data = events(
        delta(role="assistant"), *(delta(tool_calls=part) for part in pieces), *([delta(finish)] * bool(finish))
    )
    *_, last = decode(data)
    assert last.finish_reason == "tool_calls"
    assert last.metadata is not None
    assert last.metadata["tool_calls"] == expected


@given(cuts)
def test_calls_of_tools_however_the_bytes_are_split(places: list[int]) -> None:
    data = events(
        delta(content="I look. "),
        delta(tool_calls=[call(0, id="1", name="wet", arguments="")]),
        delta(tool_calls=[call(0, arguments='{"city": "Zürich"}')]),
        delta("tool_calls"),
    )
    text, made_call, last = decode(*split(data, places))
    assert text == Chunk("I look. ")
    assert made_call.part == ToolCall.from_text("wet", '{"city": "Zürich"}', "1")
    assert last.metadata == {"tool_calls": [made("1", "wet", '{"city": "Zürich"}')]}


def test_a_whole_answer_with_calls_of_tools() -> None:
    message = {
        "role": "assistant",
        "content": None,
        "tool_calls": [made("1", "f", "{}")],
        "annotations": [{"url": "u"}],
    }
    body = {"id": "c", "model": "m", "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]}
    called, last = decode(json.dumps(body).encode(), content_type="application/json")
    assert called.part == ToolCall.from_text("f", "{}", "1")
    assert last.finish_reason == "tool_calls"
    assert last.metadata == {
        "id": "c",
        "model": "m",
        "tool_calls": [made("1", "f", "{}")],
        "annotations": [{"url": "u"}],
    }


def test_other_fields_are_kept() -> None:
    data = events(
        {**delta(content="a"), "system_fingerprint": "fp"},
        {"choices": [{"index": 0, "delta": {"content": "b"}, "finish_reason": None, "logprobs": {"content": [1]}}]},
        {
            "choices": [
                {"index": 0, "delta": {"audio": {"data": "x"}}, "finish_reason": None, "logprobs": {"content": [2]}}
            ]
        },
        {"choices": [{"index": 0, "delta": {"audio": {"data": "y"}}, "finish_reason": "stop"}], "service_tier": "flex"},
    )
    *text, last = decode(data)
    assert text == [Chunk("a"), Chunk("b")]
    assert last.metadata == {
        "system_fingerprint": "fp",
        "service_tier": "flex",
        "logprobs": {"content": [1, 2]},
        "audio": {"data": "xy"},
    }


def test_a_label_in_every_piece_is_kept_once() -> None:
    pieces = [delta(content="a", channel="final"), delta(content="b", channel="final"), delta("stop", channel="final")]
    *_, last = decode(events(*pieces))
    assert last.metadata is not None
    assert last.metadata["channel"] == "final"


@pytest.mark.parametrize("first", ["low", "safe"])
def test_a_label_within_an_object_is_kept_once(first: str) -> None:
    pieces = [delta(content=text) for text in "abc"]
    for piece, said in zip(pieces, (first, "safe", "safe"), strict=True):
        piece["choices"][0]["content_filter_results"] = {"hate": {"filtered": False, "severity": said}}
    *_, last = decode(events(*pieces, delta("stop")))
    assert last.metadata == {"content_filter_results": {"hate": {"filtered": False, "severity": "safe"}}}


def test_findings_that_come_by_themselves_are_labels() -> None:
    """As Azure's filter gives them where it looks at the text later on."""
    pieces = [delta(content="a"), delta(), delta(), delta()]
    for piece, said in zip(pieces[1:], ("safe", "low", "safe"), strict=True):
        piece["choices"][0]["content_filter_results"] = {"hate": {"filtered": False, "severity": said}}
    *_, last = decode(events(*pieces, delta("stop")))
    assert last.metadata == {"content_filter_results": {"hate": {"filtered": False, "severity": "safe"}}}


def test_a_label_that_changes_is_the_last_one() -> None:
    pieces = [delta(content="a", channel="analysis"), delta(content="b", channel="final"), delta("stop")]
    *_, last = decode(events(*pieces))
    assert last.metadata == {"channel": "final"}


def test_a_text_in_place_of_the_answers_is_put_together() -> None:
    pieces = [delta(audio={"id": "1", "transcript": text}) for text in ("ha", "ha", "!")]
    *_, last = decode(events(*pieces, delta("stop")))
    assert last.metadata == {"audio": {"id": "1", "transcript": "haha!"}}


@pytest.mark.parametrize(
    ("field", "merged"),
    [
        ({"token_ids": [1]}, {"token_ids": [1, 1, 1]}),
        ({"content_filter_results": {"hate": False}}, {"content_filter_results": {"hate": False}}),
    ],
)
def test_what_stands_beside_a_plain_piece_is_kept(field: dict[str, object], merged: dict[str, object]) -> None:
    pieces = [delta(content=text) for text in "abc"]
    for piece in pieces:
        piece["choices"][0].update(field)
    *_, last = decode(events(*pieces, delta("stop")))
    assert last.metadata == merged


def test_what_an_event_says_beside_a_plain_piece_is_kept() -> None:
    pieces = [{**delta(content=text), "citations": [text]} for text in "abc"]
    *_, last = decode(events(*pieces, delta("stop")))
    assert last.metadata == {"citations": ["c"]}


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ({"type": "insufficient_quota", "code": "insufficient_quota"}, "RateLimitError"),
        ({"type": "invalid_request_error", "code": "invalid_api_key"}, "AuthenticationError"),
        ({"type": "invalid_request_error", "code": None}, "InvalidRequestError"),
        ({"type": "requests", "code": "rate_limit_exceeded"}, "RateLimitError"),
        ({"http_status_code": 422}, "InvalidRequestError"),
        ({"http_status_code": 200}, "ServerError"),
        ({"type": "overloaded_error"}, "ServerError"),
    ],
)
def test_an_error_in_the_stream_is_what_its_words_say(said: dict[str, object], kind: str) -> None:
    with pytest.raises(LollmsError) as raised:
        decode(events({"error": {"message": "boom", **said}}))
    assert raised.value.type == kind
    assert "boom" in raised.value.message
    assert raised.value.status_code != 200
    assert raised.value.retryable is (kind == "ServerError" or said.get("code") == "rate_limit_exceeded")


def test_parts_of_another_kind_are_kept() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "reference", "reference_ids": [1]}]
    text, last = decode(events(delta(content=parts), delta("stop")))
    assert text == Chunk("a")
    assert last.metadata == {"content_parts": [{"type": "reference", "reference_ids": [1]}]}


def test_an_error_in_a_field_of_its_own() -> None:
    """As llama.cpp's server had it until 2025: not as data."""
    with pytest.raises(ServerError, match="slot unavailable"):
        decode(b'data: {"choices": []}\n\nerror: {"code": 500, "message": "slot unavailable"}\n\n')


def test_an_event_without_data_says_nothing() -> None:
    text, last = decode(b"data: \n\n" + events(delta(content="a"), delta("stop")).replace(b"\n\n", b"\n\ndata:\n\n"))
    assert (text, last) == (Chunk("a"), STOP)


def test_the_former_form_of_a_call() -> None:
    pieces = [delta(function_call={"name": "f", "arguments": part}) for part in ('{"a":', " 1}")]
    *_, last = decode(events(*pieces) + b"data: [DONE]\n\n")
    assert last == Chunk(finish_reason="tool_calls", metadata={"function_call": {"name": "f", "arguments": '{"a": 1}'}})


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("MAX_TOKENS", "length"),
        ("STOP", "stop"),
        ("eos_token", "stop"),
        ("tool_use", "tool_calls"),
        ("model_length", "length"),
        ("SAFETY", "content_filter"),
        ("COMPLETE", "stop"),
        ("nobody knows", "unknown"),
    ],
)
def test_finish_reasons_in_other_words_are_told_untouched(said: str, meant: str) -> None:
    assert finish_reason(said) == meant
    *_, last = decode(events(delta(content="a"), delta(said)))
    assert (last.finish_reason, last.metadata) == (meant, {"provider_finish_reason": said})


def test_what_comes_with_each_token_is_not_copied_each_time() -> None:
    extras, all_of_it = Extras(), []
    for number in range(3):
        part = [{"token": str(number)}]
        extras.read_choice({"logprobs": {"content": part}}, {})
        all_of_it.append(extras.metadata()["logprobs"]["content"])
    assert all_of_it[0] is all_of_it[1] is all_of_it[2]
    assert [token["token"] for token in all_of_it[0]] == ["0", "1", "2"]


def test_another_answer_is_not_mixed_in() -> None:
    data = events(
        delta(content="mine "),
        {"choices": [{"index": 1, "delta": {"content": "not mine "}, "finish_reason": None}]},
        delta(content="too", finish="stop"),
        {"choices": [{"index": 1, "delta": {}, "finish_reason": "length"}]},
    )
    assert decode(data) == [Chunk("mine "), Chunk("too"), STOP]


def test_done_is_no_end_where_a_finish_reason_is_due() -> None:
    decoder = ChatDecoder({}, needs_finish_reason=True)
    with pytest.raises(IncompleteStreamError):
        list(decoder.feed(events(delta(content="cut"))))


def test_what_comes_with_the_result_of_a_tool_is_said_by_the_user() -> None:
    picture = Image(data=None, media_type=None, url="https://example.com/map.png")
    answered, shown = wire_messages([Message("tool", [ToolResult(text="a map", id="a"), picture])])
    assert answered == {"role": "tool", "tool_call_id": "a", "content": "a map"}
    assert shown["role"] == "user"
    assert shown["content"][0]["type"] == "image_url"


@pytest.mark.parametrize("said", [["stop"], {}, {"why": "stop"}, 7, True])
def test_a_finish_reason_that_is_no_word_is_unknown(said: object) -> None:
    *_, last = decode(events(delta(content="Hi"), delta(said)))
    assert last.finish_reason == "unknown"


SAID = 'A "long"\n\\answer: é 😀'


@pytest.mark.parametrize("ascii_only", [True, False])
@given(st.data())
def test_a_whole_answer_that_breaks_off_is_cut_short_and_keeps_its_text(ascii_only: bool, data: Any) -> None:
    choice = {"index": 0, "message": {"role": "assistant", "content": SAID}, "finish_reason": "stop"}
    body = json.dumps({"choices": [choice]}, ensure_ascii=ascii_only).encode()
    decoder = ChatDecoder({"content-type": "application/json"})
    assert not list(decoder.feed(body[: data.draw(st.integers(1, len(body) - 1))]))
    said = ""
    with pytest.raises(IncompleteStreamError):
        for chunk in decoder.close():
            said += chunk.text
    assert SAID.startswith(said.removesuffix("\ud83d"))  # half of a pair, which the client's joiner sees to


def test_what_had_come_of_a_whole_answer_is_kept() -> None:
    decoder = ChatDecoder({"content-type": "application/json"})
    list(decoder.feed(b'{"choices":[{"message":{"role":"assistant","content":"so far'))
    chunks = decoder.close()
    assert next(chunks).text == "so far"
    with pytest.raises(IncompleteStreamError):
        next(chunks)


def test_an_error_in_a_list_is_told() -> None:
    decoder = ChatDecoder({"content-type": "application/json"})
    list(decoder.feed(b'[{"error": {"code": 429, "message": "Quota exceeded", "status": "RESOURCE_EXHAUSTED"}}]'))
    with pytest.raises(RateLimitError, match="Quota exceeded"):
        list(decoder.close())


def test_a_reason_that_is_the_word_null_is_none() -> None:
    decoder = ChatDecoder({})
    assert [chunk.text for chunk in decoder.feed(events(delta("null", content="half"), done=False))] == ["half"]
    assert not decoder.whole
    with pytest.raises(IncompleteStreamError):
        list(decoder.close())
