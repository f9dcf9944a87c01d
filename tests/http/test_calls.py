"""Calls that end early, come again, run at once, or go through TLS, proxies and forks."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import signal
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import psutil
import pytest
from pydantic import SecretStr

from lollms_core.contract.errors import (
    APIConnectionError,
    ClientClosedError,
    ConfigurationError,
    InvalidRequestError,
    LollmsError,
    RateLimitError,
)
from lollms_core.contract.types import CancelToken, Chunk, CloseRequest, GenerationRequest, ListModelsRequest, Timeouts
from lollms_core.http import Exchange, HTTPRequest
from tests.http.backends import DIALECTS, ChatBackend, make
from tests.support.dialects import LOLLMS, OPENAI
from tests.support.fault_server import TEXT, FaultServer, refused_address
from tests.support.framing_server import Incoming
from tests.support.socket_server import SocketServer
from tests.support.waiting import PATIENCE, PATIENT, in_background, wait_until

WHOLE = "".join(TEXT)


@pytest.fixture
def server() -> Iterator[FaultServer]:
    threads = set(threading.enumerate())
    with FaultServer(OPENAI) as server:
        yield server
    wait_until(lambda: set(threading.enumerate()) <= threads, "the threads to end")


def ask(cancel: CancelToken | None = None) -> GenerationRequest:
    return GenerationRequest(prompt="hi", model="m", cancel=cancel or CancelToken())


def text(chunks: Iterator[Chunk]) -> str:
    return "".join(chunk.text for chunk in chunks)


async def atext(chunks: AsyncIterator[Chunk]) -> str:
    return "".join([chunk.text async for chunk in chunks])


# --- retries ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["first-503", "first-429", "first-500", "first_resets"])
def test_what_passes_is_asked_again(server: FaultServer, fault: str) -> None:
    backend = make("openai", server.address(fault))
    assert text(backend.generate(ask())) == WHOLE
    assert server.count() == 2
    backend.close(CloseRequest())


@pytest.mark.parametrize("fault", ["first-503", "first-429", "first-500", "first_resets"])
async def test_what_passes_is_asked_again_async(server: FaultServer, fault: str) -> None:
    backend = make("openai", server.address(fault))
    assert await atext(backend.generate(ask())) == WHOLE
    assert server.count() == 2
    backend.close(CloseRequest())


@pytest.mark.parametrize(("retries", "requests"), [(0, 1), (1, 2), (3, 4)])
def test_retries_are_counted(server: FaultServer, retries: int, requests: int) -> None:
    backend = make("openai", server.address("503"), max_retries=retries)
    with pytest.raises(LollmsError):
        text(backend.generate(ask()))
    assert server.count() == requests
    backend.close(CloseRequest())


def test_a_long_retry_after_is_raised_in_place_of_waited_for(server: FaultServer) -> None:
    backend = make("openai", server.address("429"))
    with pytest.raises(RateLimitError) as caught:
        text(backend.generate(ask()))
    assert caught.value.retry_after == 7200
    assert server.count() == 1


@pytest.mark.parametrize("fault", ["cut", "error_in_stream", "stall"])
def test_nothing_is_asked_again_after_the_first_chunk(server: FaultServer, fault: str) -> None:
    backend = make("openai", server.address(fault), max_retries=5, timeouts=replace(PATIENT, idle=0.1))
    with pytest.raises(LollmsError):
        text(backend.generate(ask()))
    assert server.count() == 1


def test_a_wait_before_a_retry_can_be_cancelled(server: FaultServer) -> None:
    class Slow(ChatBackend):
        backoff = 30.0

    backend = Slow(make("openai", server.address("500"), max_retries=1_000_000).settings)
    cancel = CancelToken()
    answer = in_background(lambda: list(backend.generate(ask(cancel))))
    wait_until(server.count, "the request")
    cancel.cancel()
    assert answer.result() == [Chunk(finish_reason="cancelled")]
    backend.close(CloseRequest())


# --- cancelling ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["slow_headers", "slow_body", "stall"])
def test_cancel_from_another_thread_closes_the_connection_at_once(server: FaultServer, fault: str) -> None:
    backend = make("openai", server.address(fault))
    cancel = CancelToken()
    expected = list(TEXT[:2]) if fault == "stall" else []
    pieces: list[str] = []
    finished: list[str | None] = []

    def collect() -> None:
        for chunk in backend.generate(ask(cancel)):
            pieces.append(chunk.text)
            finished.append(chunk.finish_reason)

    answer = in_background(collect)
    assert server.waiting.wait(PATIENCE)
    wait_until(lambda: len(pieces) >= len(expected), f"{len(expected)} pieces")
    cancel.cancel()
    answer.result()
    assert pieces == [*expected, ""]
    assert finished[-1] == "cancelled"
    assert server.gone.wait(PATIENCE), "the server did not see the connection close"


@pytest.mark.parametrize("fault", ["slow_headers", "slow_body", "stall"])
async def test_cancel_from_another_thread_async(server: FaultServer, fault: str) -> None:
    backend = make("openai", server.address(fault))
    cancel = CancelToken()

    async def answer() -> list[Chunk]:
        return [chunk async for chunk in backend.generate(ask(cancel))]

    task = asyncio.create_task(answer())
    assert await asyncio.to_thread(server.waiting.wait, PATIENCE)
    await asyncio.to_thread(cancel.cancel)
    chunks = await asyncio.wait_for(task, PATIENCE)
    assert chunks[-1].finish_reason == "cancelled"
    assert await asyncio.to_thread(server.gone.wait, PATIENCE)


@pytest.mark.parametrize("fault", ["slow_headers", "slow_body", "stall"])
async def test_a_cancelled_task_closes_the_connection(server: FaultServer, fault: str) -> None:
    backend = make("openai", server.address(fault))
    task = asyncio.create_task(atext(backend.generate(ask())))
    assert await asyncio.to_thread(server.waiting.wait, PATIENCE)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, PATIENCE)
    assert await asyncio.to_thread(server.gone.wait, PATIENCE)


def test_cancel_while_connecting() -> None:
    # A listener whose queue is full does not answer: connecting waits.
    import socket

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        with contextlib.ExitStack() as stack:
            fillers = [stack.enter_context(socket.socket()) for _ in range(4)]
            for filler in fillers:
                filler.setblocking(False)
                filler.connect_ex(listener.getsockname())
            taken = {filler.getsockname()[1] for filler in fillers}
            backend = make("openai", f"http://127.0.0.1:{listener.getsockname()[1]}")
            cancel = CancelToken()
            answer = in_background(lambda: list(backend.generate(ask(cancel))))
            process = psutil.Process()

            def connecting() -> bool:
                found = process.net_connections()
                return any(c.status == psutil.CONN_SYN_SENT and c.laddr.port not in taken for c in found)

            wait_until(lambda: connecting() or answer.done(), "an attempt to connect")
            cancel.cancel()
            assert answer.result()[-1].finish_reason == "cancelled"


def test_cancelled_before_it_begins(server: FaultServer) -> None:
    cancel = CancelToken()
    cancel.cancel()
    backend = make("openai", server.address("ok"))
    assert list(backend.generate(ask(cancel)))[-1].finish_reason == "cancelled"
    assert server.requests == []


def test_closing_from_another_thread_ends_the_wait(server: FaultServer) -> None:
    backend = make("openai", server.address("stall"))
    stream = backend.generate(ask())
    answer = in_background(lambda: list(stream))
    assert server.waiting.wait(PATIENCE)
    stream.close()
    assert answer.result()[-1].finish_reason == "cancelled"
    assert server.gone.wait(PATIENCE)


# --- connections --------------------------------------------------------------------------------------------------


def test_nothing_is_sent_before_the_first_chunk_is_wanted(server: FaultServer) -> None:
    backend = make("openai", server.address("ok"))
    backend.generate(ask())
    assert server.requests == []


def test_one_connection_serves_many_calls(server: FaultServer, monkeypatch: pytest.MonkeyPatch) -> None:
    # What follows the end mark may be late; then the connection would be closed, and another one made.
    monkeypatch.setattr("lollms_core.http._sync.DRAIN_SECONDS", PATIENCE)
    backend = make("openai", server.address("ok"))
    for _ in range(20):
        assert text(backend.generate(ask())) == WHOLE
    assert server.connections == 1
    backend.close(CloseRequest())
    assert server.wait_for_connections(0)


@pytest.mark.parametrize("protocol", list(DIALECTS))
def test_a_hundred_abandoned_streams_leave_nothing(protocol: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Only a server that is asked to stop is given time, and this one never would.
    monkeypatch.setattr("lollms_core.http._stops.STOP_LIMIT", 0.01)
    with FaultServer(DIALECTS[protocol]) as server:
        backend = make(protocol, server.address("stall"))
        for _ in range(100):
            stream = iter(backend.generate(ask()))
            assert next(stream).text
            del stream
        gc.collect()
        # The idle connection of the questions that come before and after an answer may stay.
        assert server.wait_for_connections(1)
        backend.close(CloseRequest())
        assert server.wait_for_connections(0)


async def test_a_hundred_abandoned_streams_leave_nothing_async(server: FaultServer) -> None:
    backend = make("openai", server.address("stall"))
    for _ in range(100):
        stream = backend.generate(ask())
        async for chunk in stream:
            assert chunk.text
            break
        await stream.aclose()
    assert await asyncio.to_thread(server.wait_for_connections, 0)


def test_errors_leave_no_socket_behind(server: FaultServer) -> None:
    process = psutil.Process()
    backend = make("openai", server.address("400"))
    with pytest.raises(InvalidRequestError):
        text(backend.generate(ask()))
    before = process.num_fds()
    for fault in ("400", "500", "cut", "error_under_200", "html_page", "not_http", "redirect"):
        backend = make("openai", server.address(fault), max_retries=0)
        for _ in range(5):
            with pytest.raises(LollmsError):
                text(backend.generate(ask()))
        backend.close(CloseRequest())
    assert server.wait_for_connections(1)
    gc.collect()
    wait_until(lambda: process.num_fds() <= before, "all that was opened to be closed")


def test_two_threads_on_one_backend(server: FaultServer) -> None:
    backend = make("openai", server.address("ok"))
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: text(backend.generate(ask())), range(80)))
    assert answers == [WHOLE] * 80
    backend.close(CloseRequest())
    assert server.wait_for_connections(0)


def test_one_backend_in_one_event_loop_after_another(server: FaultServer) -> None:
    backend = make("openai", server.address("ok"))
    for _ in range(3):
        assert asyncio.run(atext(backend.generate(ask()))) == WHOLE
        assert server.wait_for_connections(0), "the loop's end left its connections open"


def test_a_backend_closed_before_its_first_call_says_so(server: FaultServer) -> None:
    backend = make("openai", server.address("ok"))
    backend.close(CloseRequest())
    with pytest.raises(ClientClosedError):
        text(backend.generate(ask()))
    assert server.requests == []


def test_a_closed_backend_says_so(server: FaultServer) -> None:
    backend = make("openai", server.address("ok"))
    text(backend.generate(ask()))
    backend.close(CloseRequest())
    backend.close(CloseRequest())
    with pytest.raises(ClientClosedError):
        text(backend.generate(ask()))


def exit_code_of(child: int) -> int:
    """How a child ended; one that does not end is killed."""
    ended: list[int] = []

    def has_ended() -> bool:
        process, status = os.waitpid(child, os.WNOHANG)
        ended.append(status)
        return process == child

    try:
        wait_until(has_ended, "the child to end")
    except AssertionError:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        raise
    return os.waitstatus_to_exitcode(ended[-1])


def test_a_forked_child_uses_connections_of_its_own(server: FaultServer) -> None:
    backend = make("openai", server.address("ok"))
    assert text(backend.generate(ask())) == WHOLE
    child = os.fork()
    if child == 0:
        good = False
        try:
            good = text(backend.generate(ask())) == WHOLE
        finally:
            os._exit(0 if good else 1)
    assert exit_code_of(child) == 0
    assert server.count() == 2
    assert text(backend.generate(ask())) == WHOLE, "the parent's connection was spoilt"
    backend.close(CloseRequest())


# --- headers, keys, addresses ---------------------------------------------------------------------------------------


def test_the_key_is_sent_and_never_shown(server: FaultServer) -> None:
    backend = make("openai", server.address("401"), api_key=SecretStr("sk-very-secret"))
    with pytest.raises(LollmsError) as caught:
        text(backend.generate(ask()))
    assert server.requests[0].headers["authorization"] == "Bearer sk-very-secret"
    assert "sk-very-secret" not in f"{caught.value!r} {caught.value.hint} {caught.value.__cause__!r} {backend.__dict__}"


def test_the_key_of_the_environment(server: FaultServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_CHAT_KEY", " from-environment\n")
    backend = make("openai", server.address("ok"))
    text(backend.generate(ask()))
    assert server.requests[0].headers["authorization"] == "Bearer from-environment"
    backend.close(CloseRequest())


def test_a_missing_key_names_the_variable(server: FaultServer) -> None:
    with pytest.raises(LollmsError) as caught:
        text(make("openai", server.address("401")).generate(ask()))
    assert "TEST_CHAT_KEY" in caught.value.hint


@pytest.mark.parametrize("key", ["two\nlines", "snow\u2603man"])
def test_a_key_that_http_cannot_carry_is_not_shown(server: FaultServer, key: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        text(make("openai", server.address("ok"), api_key=SecretStr(key)).generate(ask()))
    assert key not in str(caught.value)
    assert "Authorization" in str(caught.value)


def test_credentials_in_the_address(server: FaultServer) -> None:
    address = server.address("500").replace("http://", "http://me:s3cret@")
    with pytest.raises(LollmsError) as caught:
        text(make("openai", address, max_retries=0).generate(ask()))
    assert server.requests[0].headers["authorization"].startswith("Basic ")
    assert "s3cret" not in str(caught.value)


def test_netrc_does_not_replace_a_key(server: FaultServer, monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    netrc = f"{tmp_path}/netrc"
    with open(netrc, "w") as file:
        file.write("machine 127.0.0.1 login me password other\n")
    os.chmod(netrc, 0o600)
    monkeypatch.setenv("NETRC", netrc)
    for key, sent in ((SecretStr("mine"), "Bearer mine"), (None, "Basic bWU6b3RoZXI=")):
        backend = make("openai", server.address("ok"), api_key=key)
        text(backend.generate(ask()))
        assert server.requests[-1].headers["authorization"] == sent
        backend.close(CloseRequest())


async def test_headers_of_the_client_and_sync_equals_async(server: FaultServer) -> None:
    backend = make("openai", server.address("ok"), headers={"x-team": "blue", "user-agent": "mine"})
    await asyncio.to_thread(lambda: text(backend.generate(ask())))
    await atext(backend.generate(ask()))
    by_sync, by_async = server.requests
    assert by_sync.headers["x-team"] == "blue"
    assert by_sync.headers["user-agent"] == "mine"
    assert by_sync.body == by_async.body
    # `accept` and `connection` are what the two libraries add by themselves.
    assert {n: v for n, v in by_sync.headers.items() if n not in ("accept", "connection")} == {
        n: v for n, v in by_async.headers.items() if n not in ("accept", "connection")
    }
    backend.close(CloseRequest())


def test_a_proxy_of_the_environment_is_used(server: FaultServer, monkeypatch: pytest.MonkeyPatch) -> None:
    with refused_address() as proxy:
        monkeypatch.setenv("http_proxy", proxy.replace("http://", "http://user:pa55@"))
        monkeypatch.delenv("no_proxy", raising=False)
        with pytest.raises(APIConnectionError) as caught:
            text(make("openai", "http://example.invalid/ok").generate(ask()))
        assert "proxy" in str(caught.value)
        assert "pa55" not in str(caught.value)
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        assert text(make("openai", server.address("ok")).generate(ask())) == WHOLE


def test_requests_in_their_own_json(server: FaultServer) -> None:
    backend = make("openai", server.address("ok"))
    with pytest.raises(InvalidRequestError, match="surrogate"):
        text(backend.generate(GenerationRequest(prompt="\ud800", model="m")))
    with pytest.raises(InvalidRequestError, match="JSON"):
        text(backend.generate(GenerationRequest(prompt="x", model="m", extra={"temperature": float("nan")})))
    assert server.requests == []


def test_a_question_is_retried_like_an_answer(server: FaultServer) -> None:
    backend = make("openai", server.address("first-503"))

    def question() -> Exchange[bytes]:
        return (yield HTTPRequest(path="/v1/completions", json={})).body

    assert TEXT[0].split()[0].encode() in backend.ask(question(), ListModelsRequest()).wait()
    assert server.count() == 2
    backend.close(CloseRequest())


async def test_two_hundred_streams_at_once() -> None:
    with FaultServer(LOLLMS) as server:
        backend = make("lollms", server.address("ok"))
        answers = await asyncio.gather(*(atext(backend.generate(ask())) for _ in range(200)))
        assert answers == [WHOLE] * 200
        backend.close(CloseRequest())


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
def test_connecting_is_not_charged_to_the_first_token(monkeypatch: pytest.MonkeyPatch, asynchronous: bool) -> None:
    """A name that takes its time to be found has the connect limit for that."""
    real = socket.getaddrinfo

    def slow(*args: Any, **kwargs: Any) -> Any:
        time.sleep(2.5)
        return real(*args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    limits = Timeouts(connect=PATIENCE, first_token=2.0, idle=PATIENCE)
    with FaultServer(OPENAI) as server:
        backend = make("openai", server.address("ok").replace("127.0.0.1", "localhost"), timeouts=limits)
        stream = backend.generate(ask())

        async def read() -> str:
            return await atext(aiter(stream))

        assert (asyncio.run(read()) if asynchronous else text(iter(stream))) == WHOLE
        backend.close(CloseRequest())


class Pinging(SocketServer):
    """Shows that it is alive for ever, when its answer has long been given."""

    alive = b": ping\n\n"

    def talk(self, sock: socket.socket) -> None:
        Incoming(sock).until(b"\r\n\r\n")
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n")
        end = {"choices": [{"index": 0, "delta": {"content": "all"}, "finish_reason": "stop"}]}
        sock.sendall(f"data: {json.dumps(end)}\n\n".encode())
        with contextlib.suppress(OSError):
            while True:
                sock.sendall(self.alive)
                if not self.alive and not sock.recv(1):
                    return
                time.sleep(0.02)


class Silent(Pinging):
    """Says nothing more and keeps the connection."""

    alive = b""


@pytest.mark.parametrize("kind", [Pinging, Silent])
@pytest.mark.parametrize("idle", [PATIENCE, None])
@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
def test_an_answer_that_is_whole_has_an_end(
    monkeypatch: pytest.MonkeyPatch, asynchronous: bool, idle: float | None, kind: type[Pinging]
) -> None:
    monkeypatch.setattr("lollms_core.http._driver._AFTER_THE_END", 0.3)
    with kind() as server:
        limits = Timeouts(connect=PATIENCE, first_token=PATIENCE, idle=idle)
        backend = make("openai", f"http://127.0.0.1:{server.port}", timeouts=limits)
        stream = backend.generate(ask())

        async def read() -> str:
            return await atext(aiter(stream))

        assert (asyncio.run(read()) if asynchronous else text(iter(stream))) == "all"
        backend.close(CloseRequest())
        wait_until(lambda: server.connections == 0, "the connection to close")
