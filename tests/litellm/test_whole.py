"""JSON that stands where the events of a stream are due: whole answers, and errors."""

from __future__ import annotations

import json
from typing import Any

import pytest
from lollms_litellm.whole import Joiner

from lollms_core import (
    ELF_COMPLETION_FORMAT,
    AuthenticationError,
    IncompleteStreamError,
    LollmsClient,
    ProtocolError,
    ServerError,
    ToolCall,
    Usage,
)
from tests.litellm.conftest import KEY, Make, asking, collect
from tests.litellm.stub import USAGE, delta, serving, text

RAW = ELF_COMPLETION_FORMAT.Instruct
CHAT_ROUTES = pytest.mark.parametrize("model", ["openai/m", "hosted_vllm/m", "openrouter/x/m"])
INDENTS = pytest.mark.parametrize("indent", [None, 2])


def whole(finish: str = "stop", **message: Any) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}
    return {"id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": USAGE}


@CHAT_ROUTES
@INDENTS
async def test_a_whole_answer_is_the_answer(make: Make, model: str, indent: int | None) -> None:
    body = json.dumps(whole("length", content="Paris is\nthe 🦙"), indent=indent)
    with serving((200, {}, body)) as stub:
        said, _, closing = await collect(make(stub.address, model), asking())
    assert (said, closing.finish_reason) == ("Paris is\nthe 🦙", "length")
    assert closing.usage == Usage(prompt_tokens=7, completion_tokens=5, reasoning_tokens=2, cached_tokens=3)


@CHAT_ROUTES
@INDENTS
async def test_a_whole_answer_that_calls_functions(make: Make, model: str, indent: int | None) -> None:
    calls = [
        {"id": name, "type": "function", "function": {"name": name, "arguments": '{"at": 1}'}}
        for name in ("look", "read")
    ]
    body = json.dumps(whole("tool_calls", content=None, tool_calls=calls), indent=indent)
    with serving((200, {}, body)) as stub:
        chunks = [chunk async for chunk in make(stub.address, model).generate(asking())]
    called = [chunk.part for chunk in chunks if chunk.part]
    assert called == [ToolCall.from_text(name, '{"at": 1}', name) for name in ("look", "read")]
    assert chunks[-1].finish_reason == "tool_calls"


@INDENTS
async def test_whole_raw_text(make: Make, indent: int | None) -> None:
    body = json.dumps({**text("Once", "stop"), "usage": USAGE}, indent=indent)
    with serving((200, {}, body)) as stub:
        said, _, closing = await collect(make(stub.address, "openai/m"), asking(completion_format=RAW))
    assert (said, closing.finish_reason) == ("Once", "stop")
    assert closing.usage is not None


@CHAT_ROUTES
@INDENTS
async def test_an_error_in_place_of_the_stream_is_told(make: Make, model: str, indent: int | None) -> None:
    body = json.dumps({"error": {"message": "bad key", "type": "t", "code": 401}}, indent=indent)
    with serving((200, {}, body)) as stub, pytest.raises(AuthenticationError, match="bad key"):
        await collect(make(stub.address, model), asking())


@CHAT_ROUTES
@INDENTS
@pytest.mark.parametrize("ended", [True, False])
async def test_an_error_between_the_events_is_told(make: Make, model: str, indent: int | None, ended: bool) -> None:
    said = json.dumps({"error": {"message": "the engine died", "code": 500}}, indent=indent).encode()
    with serving([delta(content="half"), said[:9], said[9:] + b"\n\n" * ended]) as stub:
        stream = make(stub.address, model).generate(asking())
        assert (await anext(stream)).text == "half"
        with pytest.raises(ServerError, match="the engine died"):
            await anext(stream)


@CHAT_ROUTES
def test_the_text_before_such_an_error_is_kept(model: str) -> None:
    with serving([delta(content="half"), b'{"error": {"message": "the engine died"}}\n\n']) as stub:
        client = LollmsClient(
            default_generation_mode="litellm",
            host_address=stub.address,
            model_name=model,
            service_key=KEY,
            max_retries=0,
            raise_errors=True,
        )
        with client:
            with pytest.raises(ServerError, match="the engine died") as caught:
                client.generate("hi")
    assert caught.value.partial_text == "half"


@CHAT_ROUTES
@INDENTS
async def test_a_whole_answer_that_breaks_off(make: Make, model: str, indent: int | None) -> None:
    body = json.dumps(whole(content="Paris"), indent=indent)[:-20]
    with serving((200, {}, body)) as stub, pytest.raises(IncompleteStreamError):
        await collect(make(stub.address, model), asking())


@CHAT_ROUTES
async def test_an_error_of_minimax(make: Make, model: str) -> None:
    refused = {"id": "x", "choices": None, "base_resp": {"status_code": 1004, "status_msg": "login fail"}}
    with serving((200, {}, refused)) as stub, pytest.raises(AuthenticationError, match="login fail"):
        await collect(make(stub.address, model), asking())


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ([b'data: {"a": 1}\n\n'], b'data: {"a": 1}\n\n'),
        ([b"data: {\r", b"\ndata: }\r\n\r\n"], b"data: {\r\ndata: }\r\n\r\n"),
        ([b'{"a":', b" 1}"], b'<{"a": 1}>'),
        ([b'{"a": 1}\n{"b": 2}\n'], b'<{"a": 1}><{"b": 2}>'),
        ([b'{\r\n  "a": {\r', b'\n    "b": 1\r\n  }\r\n', b"}\n"], b'<{  "a": {    "b": 1  }}>'),
        ([b": ok\n", b'{"a"', b": 1}\n\ndata: x\n"], b': ok\n<{"a": 1}>\ndata: x\n'),
        ([b"{nope\n", b"data: x\n"], b"{nope\ndata: x\n"),
        ([b"{nope\n", b"more\n"], b"{nope\nmore\n"),
        ([], b""),
    ],
)
def test_objects_become_lines(given: list[bytes], read: bytes) -> None:
    joiner = Joiner(b"<", b">")
    assert b"".join([*map(joiner.feed, given), joiner.close()]) == read
    joiner = Joiner(b"<", b">")
    one_by_one = [bytes([byte]) for byte in b"".join(given)]
    assert b"".join([*map(joiner.feed, one_by_one), joiner.close()]) == read


@CHAT_ROUTES
async def test_a_web_page_is_no_answer_that_was_cut(make: Make, model: str) -> None:
    page = "<!doctype html><html><h1>Log in</h1></html>"
    with serving((200, {"Content-Type": "text/html; charset=utf-8"}, page)) as stub:
        with pytest.raises(ProtocolError, match="HTML page in place of data"):
            await collect(make(stub.address, model), asking())
    assert len(stub.requests) == 1
