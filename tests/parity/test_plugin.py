"""The fixtures that users' own tests can have: a scripted client, and a stub server."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from lollms_core import Chunk, LollmsClient, LollmsError, Message, RateLimitError, ToolCall
from lollms_core.testing.plugin import Reply, StubServer, scripted_client, stub_server
from tests.support.waiting import PATIENT

__all__ = ["scripted_client", "stub_server"]


def test_a_client_answers_by_its_script(scripted_client):
    call = ToolCall(name="look", id="1")
    client = scripted_client("one", ["tw", "o"], [Chunk("three"), Chunk(part=call)], RateLimitError("busy"), "five")
    assert client.generate("a", temperature=0.5) == "one"
    assert [chunk.text for chunk in client.stream("b") if chunk.text] == ["tw", "o"]
    assert client.complete([Message("user", "c")]).tool_calls == (call,)
    with pytest.raises(RateLimitError, match="busy"):
        client.generate("d")
    assert asyncio.run(client.agenerate("e")) == "five"
    assert [request.prompt for request in client.asked] == ["a", "b", "", "d", "e"]
    assert client.asked[0].sampling.temperature == 0.5
    assert client.asked[2].messages == (Message("user", "c"),)
    with pytest.raises(Exception, match="the script has no answer number 6"):
        client.generate("f")
    assert client.embed("abc") == [3.0, 1.0]
    assert client.list_models() == ["scripted"]


def test_each_client_has_its_own_script(scripted_client):
    one, two = scripted_client("a"), scripted_client("b", raise_errors=False)
    assert (two.generate("x"), one.generate("x")) == ("b", "a")
    assert two.generate("x")["status"] is False


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
def test_a_server_answers_as_it_is_told(stub_server: StubServer, asynchronous: bool):
    def event(**delta: object) -> dict[str, object]:
        return {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]}

    end = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    stub_server.on("/v1/chat/completions", Reply.events(event(content="Hello"), event(content="!"), end))
    stub_server.on("/v1/models", Reply({"data": [{"id": "m"}]}))
    arguments: dict[str, Any] = {"default_generation_mode": "openai", "raise_errors": True, "timeouts": PATIENT}
    with LollmsClient(stub_server.url, service_key="k", **arguments) as client:
        assert (asyncio.run(client.agenerate("hi")) if asynchronous else client.generate("hi")) == "Hello!"
    asked = stub_server.requests[-1]
    assert (asked.method, asked.path, asked.headers["authorization"]) == ("POST", "/v1/chat/completions", "Bearer k")
    assert asked.json()["messages"] == [{"role": "user", "content": "hi"}]


def test_what_it_was_not_told_is_not_there(stub_server: StubServer):
    arguments: Any = {"default_generation_mode": "ollama", "raise_errors": True, "timeouts": PATIENT, "max_retries": 0}
    with LollmsClient(stub_server.url, "m", **arguments) as client, pytest.raises(Exception, match="status 404"):
        client.generate("hi")
    stub_server.on("/api/show", Reply({}))
    stub_server.on("/api/ps", Reply({"models": []}))
    stub_server.on(
        "/api/chat",
        lambda request: Reply.lines(
            {"message": {"content": request.json()["model"]}}, {"done": True, "done_reason": "stop"}
        ),
    )
    with LollmsClient(stub_server.url, "m", **arguments) as client:
        assert client.generate("hi") == "m"


def test_an_error_may_come_after_a_piece(scripted_client):
    client = scripted_client(["so ", "far", RateLimitError("busy")], ToolCall(name="look"), iter(["a", "b"]))
    with pytest.raises(RateLimitError, match="busy") as caught:
        client.generate("a")
    assert caught.value.partial_text == "so far"
    assert client.complete("b").tool_calls == (ToolCall(name="look"),)
    assert client.generate("c") == "ab"


@pytest.mark.parametrize("answer", [ValueError("x"), RateLimitError, {"name": "Paris"}, b"bytes", 5, ["a", 5], None])
def test_what_no_script_can_play_is_refused_at_once(scripted_client, answer):
    with pytest.raises(TypeError, match="what a scripted client answers is a text, "):
        scripted_client(answer)


def test_what_is_no_reply_is_refused(stub_server: StubServer):
    wrong: Any = {"choices": []}
    with pytest.raises(TypeError, match=r"a reply is a Reply\(…\), or a function .* is neither"):
        stub_server.on("/v1/models", wrong)
    with pytest.raises(ValueError, match="a path begins with a slash"):
        stub_server.on("v1/models", Reply([]))
    stub_server.on("/v1/models", lambda request: wrong)
    arguments: Any = {"default_generation_mode": "openai", "raise_errors": True, "timeouts": PATIENT, "max_retries": 0}
    with LollmsClient(stub_server.url, "m", **arguments) as client:
        with pytest.raises(LollmsError, match=r"the stub's function for /v1/models gave .*, which is no Reply"):
            client.list_models()
        with pytest.raises(LollmsError, match="has no reply for /v1/chat/completions; it has been given: /v1/models"):
            client.generate("hi")
