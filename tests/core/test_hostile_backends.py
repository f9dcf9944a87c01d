"""Backends whose exceptions, chunks and ends are out of order: text is kept, calls end, and the errors are ours."""

from __future__ import annotations

import asyncio
import copy
import logging
import pickle
import threading

import pytest

from lollms_core import BackendError, ClientClosedError, ContractError, LollmsClient, LollmsError, ServerError

HEAD = """
import asyncio, threading
from lollms_core import *

class B(Backend):
    @hookimpl
    def generate(self, request):
        yield Chunk("so far ")
"""
SYNC = HEAD + "        raise {}\n"
ASYNC = HEAD.replace("def generate", "async def generate") + "        raise {}\n"
UNPRINTABLE = """
class Mute(Exception):
    def __str__(self):
        raise ValueError("no words")
    __repr__ = __str__
"""
CARELESS = """
class Careless(LollmsError):
    def __init__(self, code):
        self.code = code

class Wordless(LollmsError):
    def __init__(self):
        pass
"""


def by_sync(client: LollmsClient) -> object:
    return client.generate("hi")


def by_stream(client: LollmsClient) -> object:
    return "".join(chunk.text for chunk in client.stream("hi"))


def by_async(client: LollmsClient) -> object:
    async def ask() -> object:
        return await client.agenerate("hi")

    return asyncio.run(ask())


def by_astream(client: LollmsClient) -> object:
    async def ask() -> object:
        return "".join([chunk.text async for chunk in client.astream("hi")])

    return asyncio.run(ask())


@pytest.fixture(params=[by_sync, by_stream, by_async, by_astream])
def ask(request):
    return request.param


@pytest.fixture
def made(strangers):
    clients = []

    def make(source: str) -> LollmsClient:
        strangers.install(source, hostile="B")
        clients.append(LollmsClient(default_generation_mode="hostile", raise_errors=True))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


def raised(ask, client: LollmsClient) -> LollmsError:
    with pytest.raises(LollmsError) as caught:
        ask(client)
    return caught.value


@pytest.mark.parametrize("kind", [SYNC, ASYNC], ids=["sync backend", "async backend"])
def test_an_exception_that_cannot_be_printed(ask, made, kind):
    error = raised(ask, made(UNPRINTABLE + kind.format("Mute()")))
    assert isinstance(error, BackendError)
    assert "Mute: (a text that cannot be shown: ValueError)" in error.message
    assert error.partial_text == "so far "


@pytest.mark.parametrize("kind", [SYNC, ASYNC], ids=["sync backend", "async backend"])
@pytest.mark.parametrize("error", ["Careless(7)", "Wordless()"])
def test_an_error_of_ours_that_was_not_made_whole(ask, made, kind, error):
    error = raised(ask, made(f"from lollms_core import LollmsError\n{CARELESS}{kind.format(error)}"))
    assert type(error).__name__ in ("Careless", "Wordless")
    shown = error.to_dict()
    assert shown["partial_text"] == "so far "
    assert shown["error"] == ("7" if type(error).__name__ == "Careless" else "Wordless")
    assert (shown["hint"], shown["retryable"]) == ("", False)


@pytest.mark.parametrize("kind", [SYNC, ASYNC], ids=["sync backend", "async backend"])
def test_a_backend_that_cancels_itself(ask, made, kind):
    error = raised(ask, made(kind.format("asyncio.CancelledError()")))
    assert error.partial_text == "so far "


@pytest.mark.parametrize("kind", ["def", "async def"])
def test_a_value_hook_that_cancels_itself(made, kind):
    body = f"    @hookimpl\n    {kind} list_models(self, request):\n        raise asyncio.CancelledError\n"
    client = made(f"{HEAD}\n{body}")
    with pytest.raises(LollmsError):
        client.list_models()

    async def ask() -> None:
        with pytest.raises(LollmsError):
            await client.alist_models()

    asyncio.run(ask())


@pytest.mark.parametrize(
    ("chunk", "said"),
    [
        ("usage=5", "usage is an int, not a Usage"),
        ("metadata=5", "metadata is an int, not a mapping"),
        ("metadata=[1]", "metadata is a list, not a mapping"),
        ("finish_reason=5", "finish reason 5, which is not one of"),
        ("finish_reason=[]", r"finish reason \[\], which is not one of"),
        ("type='x'", "type is 'x', which is neither"),
    ],
)
def test_a_chunk_of_wrong_parts(ask, made, chunk, said):
    with pytest.raises(ContractError, match=said) as caught:
        ask(made(f"{HEAD}        yield Chunk('more', {chunk})\n"))
    assert caught.value.partial_text == "so far "


def test_one_error_that_is_raised_for_two_calls(made):
    """What the first caller got stays as it was, and the second gets nothing of it."""
    source = f"from lollms_core import ServerError\nGONE = ServerError('gone', hint='Wait.')\n{HEAD}"
    client = made(source.replace('"so far "', "request.prompt") + "        raise GONE\n")
    errors = []
    for prompt in ("first", "", "third"):
        with pytest.raises(ServerError) as caught:
            client.generate(prompt or " ")
        errors.append(caught.value)
    assert [error.partial_text for error in errors] == ["first", " ", "third"]
    assert {(error.message, error.hint, error.format) for error in errors} == {("gone", "Wait.", "hostile")}


@pytest.mark.parametrize("copied", [copy.copy, lambda error: pickle.loads(pickle.dumps(error))])
def test_errors_are_copied_whole(copied):
    error = ServerError("gone", hint="Wait.", partial_text="x", retryable=False, status_code=500)
    assert copied(error).to_dict() == error.to_dict()


# --- closing ----------------------------------------------------------------------------------------------------------

CLOSE = """
    @hookimpl
    {} close(self, request):
        {}
"""


@pytest.mark.parametrize("kind", ["def", "async def"])
def test_a_close_that_fails_is_logged(made, kind, caplog):
    client = made(HEAD + CLOSE.format(kind, "raise OSError('the disk is full')"))
    assert client.generate("hi") == "so far "
    with caplog.at_level(logging.WARNING, "lollms"):
        client.close()
    assert "closing the hostile format failed" in caplog.text
    assert "the disk is full" in caplog.text


def test_a_close_that_does_not_end_is_left_alone(made, caplog, monkeypatch):
    monkeypatch.setattr("lollms_core._client.base._LONGEST_CLOSE", 0.2)
    client = made(HEAD + CLOSE.format("async def", "await asyncio.Event().wait()"))
    assert client.generate("hi") == "so far "
    with caplog.at_level(logging.WARNING, "lollms"):
        client.close()
    assert "closing the hostile format did not end within 0.2 seconds" in caplog.text


def test_a_package_whose_import_fails_without_words(strangers):
    strangers.install(UNPRINTABLE + "raise Mute", hostile="B")
    with pytest.raises(LollmsError, match="cannot be loaded: Mute"):
        LollmsClient(default_generation_mode="hostile")


FAILS_WHEN_CANCELLED = HEAD.replace(
    "        yield",
    """
        def fail():
            raise OSError("socket is gone")
        request.cancel.on_cancel(fail)
        while True:
            yield""",
)


def test_a_callback_that_fails_stops_nothing_and_nobody(made, caplog):
    client = made(FAILS_WHEN_CANCELLED)
    assert client.generate("hi", streaming_callback=lambda *_: False) == "so far "
    streams = [client.stream("hi") for _ in range(2)]
    for stream in streams:
        next(stream)
    client.cancel()
    assert [list(stream)[-1].finish_reason for stream in streams] == ["cancelled"] * 2
    stream = client.stream("hi")
    next(stream)
    stream.close()
    client.close()
    with pytest.raises(ClientClosedError):
        client.generate("hi")
    assert "socket is gone" in caplog.text


@pytest.mark.parametrize("kind", [HEAD, HEAD.replace("def generate", "async def generate")])
def test_a_stream_of_a_client_that_was_closed_asks_nobody(made, kind):
    client = made(kind)
    stream = client.stream("hi")
    client.close()
    with pytest.raises(ClientClosedError):
        next(stream)
    assert not [thread for thread in threading.enumerate() if thread.name == "lollms-loop"]


@pytest.mark.parametrize(
    ("said", "error"),
    [
        ("neutral = None", ContractError),
        ("@property\n    def capabilities(self): raise RuntimeError('no idea')", BackendError),
    ],
)
def test_what_a_backend_says_of_itself_is_checked(made, said, error):
    with pytest.raises(error):
        made(HEAD.replace("class B(Backend):", f"class B(Backend):\n    {said}"))


@pytest.mark.parametrize("kind", [HEAD, HEAD.replace("def generate", "async def generate")])
def test_a_stream_that_is_open_when_its_loop_ends_is_closed_in_silence(made, kind, caplog):
    client = made(kind + "        yield Chunk('more')\n")
    kept = []

    async def ask() -> None:
        kept.append(client.astream("hi"))
        async for _ in kept[0]:
            break

    for _ in range(5):
        asyncio.run(ask())
    assert not caplog.records
