"""What breaks the contract of `HTTPBackend` is told as that: which method of which format gave what, what was due."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from lollms_core import (
    Chunk,
    ConfigurationError,
    ContractError,
    IncompleteStreamError,
    LollmsClient,
    LollmsError,
    ModelInfo,
    hookimpl,
)
from lollms_core.contract.errors import ServerError
from lollms_core.http import Decoder, HTTPBackend, HTTPRequest, NDJSONDecoder, StreamCall
from lollms_core.testing.plugin import Reply, StubServer


class ShoutDecoder(Decoder):
    def __init__(self, headers):
        self.lines = NDJSONDecoder()

    def feed(self, data):
        for line in self.lines.feed(data):
            yield Chunk(line.get("word", ""), finish_reason=line.get("end"))
            self.finished = "end" in line

    def close(self):
        return ()


def shout(path: Any = "/shout", decoder: Any = ShoutDecoder) -> StreamCall:
    return StreamCall(request=HTTPRequest(path=path, json={}), decoder=decoder)


class ShoutBackend(HTTPBackend):
    """The example of the documentation."""

    contract_version = 1
    backoff = 0.01

    def open_stream(self, request):
        yield from ()
        return shout()

    def voices(self):
        response = yield HTTPRequest(method="GET", path="/voices")
        return [ModelInfo(name=name) for name in response.json()]

    @hookimpl
    def list_models(self, request):
        return self.ask(self.voices(), request)


@pytest.fixture
def server() -> Iterator[StubServer]:
    server = StubServer()
    server.on("/shout", Reply.lines({"word": "A "}, {"word": "B"}, {"end": "stop"}))
    server.on("/open", Reply.lines({"word": "A "}))
    server.on("/refused", Reply({"error": "no room"}, 500))
    server.on("/voices", Reply(["v1"]))
    yield server
    server.close()


def bad(**methods: Any) -> type[HTTPBackend]:
    """The example, with methods of another kind."""
    return type("Bad", (ShoutBackend,), methods)


def giving(value: Any) -> Callable[..., Any]:
    """A generator that asks nothing and returns a value."""

    def method(self, *_):
        yield from ()
        return value

    return method


def yielding(value: Any) -> Callable[..., Any]:
    def method(self, *_):
        yield value

    return method


def returning(value: Any) -> Callable[..., Any]:
    """A plain function."""
    return lambda self, *_: value


async def coroutine(self, *_):
    return shout()


def decoding(path: str = "/shout", **methods: Any) -> type[HTTPBackend]:
    """The example, with a decoder of another kind."""
    return bad(open_stream=giving(shout(path, type("Odd", (ShoutDecoder,), methods))))


def refused(**methods: Any) -> type[HTTPBackend]:
    """The example, where the server refuses."""
    return bad(open_stream=giving(shout("/refused")), **methods)


def generate(backend: type[HTTPBackend], server: StubServer, **options: Any) -> Any:
    with LollmsClient(server.url, default_generation_mode=backend, raise_errors=True, **options) as client:
        return client.generate("hi")


def agenerate(backend: type[HTTPBackend], server: StubServer, **options: Any) -> Any:
    async def awaited() -> Any:
        async with LollmsClient(server.url, default_generation_mode=backend, raise_errors=True, **options) as client:
            return await client.agenerate("hi")

    return asyncio.run(awaited())


def list_models(backend: type[HTTPBackend], server: StubServer) -> Any:
    with LollmsClient(server.url, default_generation_mode=backend, raise_errors=True) as client:
        return client.list_models()


def alist_models(backend: type[HTTPBackend], server: StubServer) -> Any:
    async def awaited() -> Any:
        async with LollmsClient(server.url, default_generation_mode=backend, raise_errors=True) as client:
            return await client.alist_models()

    return asyncio.run(awaited())


in_both_worlds = pytest.mark.parametrize("ask", [generate, agenerate])
listed_in_both_worlds = pytest.mark.parametrize("ask", [list_models, alist_models])

STREAMED = {
    "no open_stream": (
        type("Bad", (HTTPBackend,), {}),
        "`open_stream` of the Bad format is missing: a method that gives a StreamCall is due",
    ),
    "open_stream: nothing, of a generator": (
        bad(open_stream=giving(None)),
        "`open_stream` of the Bad format gave a NoneType where a StreamCall is due",
    ),
    "open_stream: nothing": (
        bad(open_stream=returning(None)),
        "`open_stream` of the Bad format gave a NoneType where a StreamCall is due",
    ),
    "open_stream: a request": (
        bad(open_stream=giving(HTTPRequest(path="/shout"))),
        "`open_stream` of the Bad format gave an? HTTPRequest where a StreamCall is due",
    ),
    "open_stream: the class": (
        bad(open_stream=returning(StreamCall)),
        "`open_stream` of the Bad format gave a type where a StreamCall is due",
    ),
    "open_stream: a coroutine": (
        bad(open_stream=coroutine),
        "`open_stream` of the Bad format gave a coroutine where a StreamCall is due",
    ),
    "open_stream: yields a path": (
        bad(open_stream=yielding("/shout")),
        "`open_stream` of the Bad format yielded a str where an HTTPRequest is due",
    ),
    "open_stream: yields the call": (
        bad(open_stream=yielding(shout())),
        "`open_stream` of the Bad format yielded a StreamCall where an HTTPRequest is due",
    ),
    "open_stream: a call without a request": (
        bad(open_stream=giving(StreamCall(request="/shout", decoder=ShoutDecoder))),  # type: ignore[arg-type]
        "`open_stream` of the Bad format gave a StreamCall whose request is a str, not an HTTPRequest",
    ),
    "open_stream: a path without a slash": (
        bad(open_stream=giving(shout("shout?key=secret"))),
        "`open_stream` of the Bad format gave an HTTPRequest whose path 'shout' does not begin with a slash\nHint",
    ),
    "open_stream: a path of bytes": (
        bad(open_stream=giving(shout(b"/shout"))),
        "`open_stream` of the Bad format gave an HTTPRequest whose path is a bytes, not a str",
    ),
    "open_stream: a limit of its own that is a number": (
        bad(open_stream=giving(StreamCall(request=HTTPRequest(path="/shout", timeouts=5), decoder=ShoutDecoder))),  # type: ignore[arg-type]
        "`open_stream` of the Bad format gave an HTTPRequest whose timeouts is an int, not Timeouts or None",
    ),
    "open_stream: headers in a list": (
        bad(open_stream=giving(StreamCall(request=HTTPRequest(path="/shout", headers=["a"]), decoder=ShoutDecoder))),  # type: ignore[arg-type]
        "`open_stream` of the Bad format gave an HTTPRequest whose headers is a list, not a mapping",
    ),
    "open_stream: a header that is a number": (
        bad(open_stream=giving(StreamCall(request=HTTPRequest(path="/shout", headers={"X-Limit": 5}), decoder=dict))),  # type: ignore[dict-item,arg-type]
        "`open_stream` of the Bad format gave an HTTPRequest whose header 'X-Limit' is an int, not a str",
    ),
    "open_stream: turns that are a truth value": (
        bad(open_stream=giving(StreamCall(request=HTTPRequest(path="/shout"), decoder=ShoutDecoder, turns=True))),  # type: ignore[arg-type]
        r"`open_stream` of the Bad format gave a StreamCall whose turns are a bool, not a Turns\(\)",
    ),
    "request_headers: nothing": (
        bad(request_headers=returning(None)),
        "`request_headers` of the Bad format gave a NoneType where a dictionary of headers is due",
    ),
    "request_headers: a number": (
        bad(request_headers=returning({"x-size": 3})),
        "`request_headers` of the Bad format gave the header x-size that is not text",
    ),
    "base_address: nothing": (
        bad(base_address=returning(None)),
        "`base_address` of the Bad format gave a NoneType where a str is due",
    ),
    "address: a text": (
        bad(address="http://localhost:1"),
        "its address is a str, where a parsed one is due: the server's address belongs in default_address",
    ),
    "unreachable_hint: nothing": (
        bad(unreachable_hint=returning(None)),
        "`unreachable_hint` of the Bad format gave a NoneType where a str is due",
    ),
    "open_stream: a decoder that is made already": (
        bad(open_stream=giving(shout(decoder=ShoutDecoder({})))),
        "gave a StreamCall whose decoder is a ShoutDecoder, not a class or function that makes one",
    ),
    "open_stream: a decoder that makes none": (
        bad(open_stream=giving(shout(decoder=dict))),
        "`StreamCall.decoder` of the Bad format gave a dict where a Decoder is due",
    ),
    "feed: texts": (
        decoding(feed=lambda self, data: (yield "A ")),
        "`Odd.feed` of the Bad format yielded a str where a Chunk is due",
    ),
    "feed: functions": (
        decoding(feed=lambda self, data: [print]),
        "`Odd.feed` of the Bad format yielded a builtin_function_or_method where a Chunk is due",
    ),
    "feed: nothing": (
        decoding(feed=returning(None)),
        "`Odd.feed` of the Bad format gave a NoneType where an iterable of Chunk is due",
    ),
    "feed: one chunk": (
        decoding(feed=returning(Chunk("A "))),
        "`Odd.feed` of the Bad format gave a Chunk where an iterable of Chunk is due",
    ),
    "feed: a coroutine": (
        decoding(feed=coroutine),
        "`Odd.feed` of the Bad format gave a coroutine where an iterable of Chunk is due",
    ),
    "feed: nothing of the kind": (
        bad(open_stream=giving(shout(decoder=type("Odd", (Decoder,), {"__init__": lambda self, headers: None})))),
        "Odd has no `feed`",
    ),
    "close: texts": (
        decoding("/open", close=lambda self: ["rest"]),
        "`Odd.close` of the Bad format yielded a str where a Chunk is due",
    ),
    "close: nothing": (
        decoding("/open", close=returning(None)),
        "`Odd.close` of the Bad format gave a NoneType where an iterable of Chunk is due",
    ),
    "revise: a text": (
        refused(revise=giving("/shout")),
        "`revise` of the Bad format gave a str where a StreamCall or None is due",
    ),
    "revise: a text, of a plain function": (
        refused(revise=returning("/shout")),
        "`revise` of the Bad format gave a str where a StreamCall or None is due",
    ),
    "revise: yields nothing": (
        refused(revise=yielding(None)),
        "`revise` of the Bad format yielded a NoneType where an HTTPRequest is due",
    ),
    "error_from: another error": (
        refused(error_from=returning(ValueError("no room"))),
        "`error_from` of the Bad format gave a ValueError where a LollmsError for the status 500 is due",
    ),
    "error_from: nothing": (
        refused(error_from=returning(None)),
        "`error_from` of the Bad format gave a NoneType where a LollmsError for the status 500 is due",
    ),
    "farewell: a path": (
        bad(farewell=returning("/stop")),
        "`farewell` of the Bad format gave a str where an HTTPRequest or None is due",
    ),
    "farewell: a generator": (
        bad(farewell=yielding(HTTPRequest(path="/stop"))),
        "`farewell` of the Bad format gave a generator where an HTTPRequest or None is due",
    ),
}


@hookimpl
def asks_the_method(self, request):
    return self.ask(self.voices, request)


@hookimpl
def asks_a_request(self, request):
    return self.ask(HTTPRequest(path="/voices"), request)


@hookimpl
def asks_a_coroutine(self, request):
    return self.ask(coroutine(self), request)


def yielding_later(self):
    yield HTTPRequest(method="GET", path="/voices")
    yield "/voices"


def excusing(self):
    try:
        return (yield HTTPRequest(path="/refused"))
    except LollmsError:
        return []


LISTED = {
    "ask: the method": (
        bad(list_models=asks_the_method),
        r"`ask` of the Bad format was given a method where the generator that `voices\(\)` makes is due",
    ),
    "ask: a request": (
        bad(list_models=asks_a_request),
        "`ask` of the Bad format was given an? HTTPRequest where a generator of HTTPRequests is due",
    ),
    "ask: a coroutine": (
        bad(list_models=asks_a_coroutine),
        "`ask` of the Bad format was given a coroutine where a generator of HTTPRequests is due",
    ),
    "a question that is a path": (
        bad(voices=yielding("/voices")),
        "`yielding.method` of the Bad format yielded a str where an HTTPRequest is due",
    ),
    "a second question that is a path": (
        bad(voices=yielding_later),
        "`yielding_later` of the Bad format yielded a str where an HTTPRequest is due",
    ),
    "a path without a slash": (
        bad(voices=yielding(HTTPRequest(path="voices"))),
        "`yielding.method` of the Bad format yielded an HTTPRequest whose path 'voices' does not begin with a slash",
    ),
    "error_from: another error, where errors are excused": (
        bad(voices=excusing, error_from=returning(ValueError("no room"))),
        "`error_from` of the Bad format gave a ValueError where a LollmsError for the status 500 is due",
    ),
}


@pytest.mark.parametrize("address", ["ftp://x", "http://localhost:port"])
def test_a_default_address_that_cannot_be(address):
    with LollmsClient(default_generation_mode=bad(default_address=address), raise_errors=True) as client:
        with pytest.raises(ConfigurationError, match="is not a server address"):
            client.generate("hi")


@in_both_worlds
@pytest.mark.parametrize(("backend", "said"), STREAMED.values(), ids=STREAMED)
def test_streamed(server, backend, said, ask):
    with pytest.raises(ContractError, match=said) as caught:
        ask(backend, server)
    assert caught.value.format == "Bad"
    assert "author" in caught.value.hint


@listed_in_both_worlds
@pytest.mark.parametrize(("backend", "said"), LISTED.values(), ids=LISTED)
def test_listed(server, backend, said, ask):
    with pytest.raises(ContractError, match=said) as caught:
        ask(backend, server)
    assert caught.value.format == "Bad"
    assert "author" in caught.value.hint


@in_both_worlds
def test_what_error_from_gave_is_the_cause(server, ask):
    with pytest.raises(ContractError) as caught:
        ask(refused(error_from=returning(ValueError("no room"))), server)
    assert repr(caught.value.__cause__) == "ValueError('no room')"


@in_both_worlds
def test_what_had_arrived_is_kept(server, ask):
    def feed(self, data):
        yield Chunk("so far")
        yield "more"

    with pytest.raises(ContractError) as caught:
        ask(decoding(feed=feed), server)
    assert caught.value.partial_text == "so far"


@in_both_worlds
def test_another_request_would_mend_nothing(server, ask):
    def revise(self, request, call, error):
        raise AssertionError("asked what to do about its own fault")

    backend = decoding(feed=returning(None))
    backend.revise = revise  # type: ignore[method-assign]
    with pytest.raises(ContractError):
        ask(backend, server, max_retries=2)
    assert len(server.requests) == 1


@in_both_worlds
def test_a_plain_function_is_as_good_as_a_generator(server, ask):
    assert ask(bad(open_stream=returning(shout())), server) == "A B"
    assert ask(refused(revise=returning(shout())), server) == "A B"
    with pytest.raises(ServerError, match="no room"):
        ask(refused(revise=returning(None)), server, max_retries=0)


@in_both_worlds
def test_what_the_end_of_a_body_gave_is_not_given_again(server, ask):
    def close(self):
        yield Chunk("rest")
        raise IncompleteStreamError("it broke off")

    with pytest.raises(IncompleteStreamError) as caught:
        ask(decoding("/open", feed=returning(()), close=close), server, max_retries=2)
    assert caught.value.partial_text == "rest"
    assert len(server.requests) == 1


@pytest.mark.parametrize("is_async", [False, True])
def test_an_answer_can_be_stopped_though_its_farewell_is_none(server, is_async):
    """As long as nothing has come, this farewell is right."""
    over, begun = threading.Event(), threading.Event()

    def pieces():
        yield b'{"word": "A "}\n'
        over.wait(60)

    server.on("/endless", lambda _: Reply(pieces()))
    methods = {
        "open_stream": giving(shout("/endless")),
        "farewell": lambda self, request: "/stop" if begun.is_set() else None,
    }
    client = LollmsClient(server.url, default_generation_mode=bad(**methods), raise_errors=True)

    def stop():
        begun.set()
        client.cancel()

    def read():
        with client:
            for chunk in client.stream("hi"):
                stop()
                yield chunk

    async def aread():
        async with client:
            chunks = []
            async for chunk in client.astream("hi"):
                stop()
                chunks.append(chunk)
            return chunks

    try:
        chunks = asyncio.run(aread()) if is_async else list(read())
    finally:
        over.set()
    assert [(chunk.text, chunk.finish_reason) for chunk in chunks] == [("A ", None), ("", "cancelled")]


@pytest.mark.parametrize(
    ("attributes", "problem"),
    [
        ({"key_variables": "SHOUT_API_KEY"}, "key_variables is a str, not a tuple of names"),
        ({"default_address": None}, "default_address is a NoneType"),
        ({"address_variable": ("SHOUT_HOST",)}, "address_variable is a tuple"),
    ],
)
def test_names_of_the_wrong_type(attributes: dict[str, Any], problem: str) -> None:
    kind = type("Wrong", (HTTPBackend,), attributes)
    with pytest.raises(ContractError, match=problem):
        LollmsClient(default_generation_mode=kind)


@in_both_worlds
@pytest.mark.parametrize(("final", "asked"), [(frozenset({500}), 1), (frozenset(), 3)])
def test_a_status_that_is_final_is_not_asked_for_again(server, final, asked, ask):
    call = StreamCall(request=HTTPRequest(path="/refused", json={}, final=final), decoder=ShoutDecoder)
    with pytest.raises(ServerError, match="no room"):
        ask(bad(open_stream=giving(call)), server, max_retries=2)
    assert len(server.requests) == asked
