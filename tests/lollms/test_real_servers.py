"""What the real LoLLMS servers were seen to do, and that none of it is taken for an answer that it is not."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import signal
import socket
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from lollms_core import (
    APITimeoutError,
    CallCancelledError,
    Chunk,
    IncompleteStreamError,
    InvalidRequestError,
    LollmsClient,
    LollmsError,
    ModelLoadError,
    PermissionDeniedError,
    Personality,
    ServerError,
    UnsupportedError,
)
from lollms_core._backends.lollms_current import CurrentServer
from lollms_core.http import HTTPResponse
from lollms_core.http._sockets import reset_when_closed
from tests.support import lollms_stub
from tests.support.framing_server import Incoming
from tests.support.lollms_stub import LollmsStub
from tests.support.results import result_of
from tests.support.socket_server import SocketServer
from tests.support.waiting import PATIENCE, PATIENT, Background, await_until, in_background, program, wait_until

Body = dict[str, Any]


def numbers(pause: float = 0.01) -> Callable[[Body], Iterator[str]]:
    def answer(body: Body) -> Iterator[str]:
        for number in itertools.count():
            yield f"{number} "
            time.sleep(pause)

    return answer


def first_counts(body: Body) -> Iterator[str]:
    """Counts without an end, except for whoever asks what is next."""
    return iter(["all ", "well"]) if "next" in str(body) else numbers()(body)


def twenty_or_slowly(body: Body) -> Iterator[str]:
    """Twenty numbers for whoever asks for them; others get theirs slowly, and without an end."""
    return itertools.islice(numbers(0.02)(body), 20) if "twenty" in str(body) else numbers(0.1)(body)


def client(stub: LollmsStub, **settings: Any) -> LollmsClient:
    return LollmsClient(host_address=stub.address, raise_errors=True, **{"timeouts": PATIENT, **settings})


@pytest.fixture
def classic() -> Iterator[LollmsStub]:
    with LollmsStub(answer=first_counts) as stub:
        yield stub


@pytest.fixture
def current() -> Iterator[LollmsStub]:
    with LollmsStub("current") as stub:
        yield stub


# --- after any stop, the next answer is whole -------------------------------------------------------------------------


def by_callback(client: LollmsClient) -> None:
    pieces: list[str] = []

    def first_three(piece: str, _: object) -> bool:
        pieces.append(piece)
        return len(pieces) < 3

    client.generate("count", streaming_callback=first_three)


def by_stop_sequence(client: LollmsClient) -> None:
    assert client.generate("count", stop="3") == "0 1 2 "


def by_closed_iterator(client: LollmsClient) -> None:
    stream = client.stream("count")
    next(stream)
    stream.close()


def by_abandoned_iterator(client: LollmsClient) -> None:
    for _ in client.stream("count"):
        break


def by_cancel_from_another_thread(client: LollmsClient) -> None:
    begun = threading.Event()
    answer = in_background(lambda: client.generate("count", streaming_callback=lambda *_: begun.set()))
    assert begun.wait(PATIENCE)
    client.cancel()
    assert answer.result()


def by_cancelled_task(client: LollmsClient) -> None:
    async def main() -> None:
        begun = asyncio.Event()
        task = asyncio.create_task(client.agenerate("count", streaming_callback=lambda *_: begun.set()))
        await asyncio.wait_for(begun.wait(), PATIENCE)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(task, PATIENCE)

    asyncio.run(main())


def by_async_callback(client: LollmsClient) -> None:
    asyncio.run(client.agenerate("count", streaming_callback=lambda *_: False))


def by_closed_async_iterator(client: LollmsClient) -> None:
    async def main() -> None:
        stream = client.astream("count")
        await anext(stream)
        await stream.aclose()

    asyncio.run(main())


def by_async_cancel(client: LollmsClient) -> None:
    async def main() -> None:
        begun = asyncio.Event()
        task = asyncio.create_task(client.agenerate("count", streaming_callback=lambda *_: begun.set()))
        await asyncio.wait_for(begun.wait(), PATIENCE)
        await asyncio.to_thread(client.cancel)
        assert await asyncio.wait_for(task, PATIENCE)

    asyncio.run(main())


def by_exception_in_callback(client: LollmsClient) -> None:
    def fail(*_: object) -> None:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        client.generate("count", streaming_callback=fail)


def by_task_that_is_cancelled_again_and_again(client: LollmsClient) -> None:
    """As anyio does it, on which FastAPI stands: with every turn of the loop."""

    async def main() -> None:
        begun = asyncio.Event()
        task = asyncio.create_task(client.agenerate("count", streaming_callback=lambda *_: begun.set()))
        await asyncio.wait_for(begun.wait(), PATIENCE)
        while not task.done():
            task.cancel()
            await asyncio.sleep(0)

    asyncio.run(main())


def by_a_loop_that_ends_with_an_iterator_left_behind(client: LollmsClient) -> None:
    async def main() -> None:
        async for _ in client.astream("count"):
            break

    asyncio.run(main())


def by_a_loop_that_ends_with_an_iterator_that_is_kept(client: LollmsClient) -> None:
    """The loop closes the session of the client in the same moment."""

    async def main() -> AsyncIterator[Chunk]:
        chunks = client.astream("count")
        await anext(chunks)
        return chunks

    kept = asyncio.run(main())
    del kept


def by_a_task_that_is_cancelled_as_the_loop_ends(client: LollmsClient) -> None:
    """The loop cancels what ends the answer as well, before it has begun."""

    async def main() -> None:
        begun = asyncio.Event()

        async def show(*_: object) -> None:
            begun.set()

        task = asyncio.create_task(client.agenerate("count", streaming_callback=show))
        await begun.wait()
        task.cancel()

    asyncio.run(main())


def by_a_task_when_all_tasks_are_cancelled_twice(client: LollmsClient) -> None:
    async def main() -> None:
        begun = asyncio.Event()

        async def show(*_: object) -> None:
            begun.set()

        task = asyncio.create_task(client.agenerate("count", streaming_callback=show))
        await begun.wait()
        task.cancel()
        await asyncio.sleep(0.01)
        for other in asyncio.all_tasks() - {asyncio.current_task()}:
            other.cancel()
        await asyncio.sleep(0)

    asyncio.run(main())


def by_iterator_left_in_a_circle(client: LollmsClient) -> None:
    circle: list[Any] = [client.stream("count")]
    next(circle[0])
    circle.append(circle)
    del circle
    gc.collect()


def by_async_iterator_left_in_a_circle(client: LollmsClient) -> None:
    async def main() -> None:
        circle: list[Any] = [client.astream("count")]
        await anext(circle[0])
        circle.append(circle)
        del circle
        gc.collect()
        await await_until(lambda: not client._running, "the end of the answer")

    asyncio.run(main())


STOPS = [
    by_callback,
    by_stop_sequence,
    by_closed_iterator,
    by_abandoned_iterator,
    by_iterator_left_in_a_circle,
    by_async_iterator_left_in_a_circle,
    by_cancel_from_another_thread,
    by_cancelled_task,
    by_async_callback,
    by_closed_async_iterator,
    by_async_cancel,
    by_exception_in_callback,
    by_task_that_is_cancelled_again_and_again,
    by_a_loop_that_ends_with_an_iterator_left_behind,
    by_a_loop_that_ends_with_an_iterator_that_is_kept,
    by_a_task_that_is_cancelled_as_the_loop_ends,
    by_a_task_when_all_tasks_are_cancelled_twice,
]


async def close_here(client: LollmsClient) -> None:
    client.close()


async def close_in_thread(client: LollmsClient) -> None:
    await asyncio.to_thread(client.close)


async def cancel_as_the_loop_ends(client: LollmsClient) -> None:
    client.cancel()


async def cancel_and_aclose(client: LollmsClient) -> None:
    client.cancel()
    await client.aclose()


@pytest.mark.usefixtures("unhurried")
@pytest.mark.parametrize("stay", [True, False], ids=["the task is waited for", "the loop ends"])
@pytest.mark.parametrize(
    "end", [LollmsClient.aclose, close_here, close_in_thread, cancel_as_the_loop_ends, cancel_and_aclose]
)
def test_the_end_of_a_client_stops_the_server(
    classic: LollmsStub, end: Callable[[LollmsClient], Awaitable[None]], stay: bool
) -> None:
    async def main() -> None:
        begun = asyncio.Event()
        task = asyncio.create_task(ours.agenerate("count", streaming_callback=lambda *_: begun.set()))
        await asyncio.wait_for(begun.wait(), PATIENCE)
        await end(ours)
        if stay:
            assert await asyncio.wait_for(task, PATIENCE)

    with client(classic) as ours:
        asyncio.run(asyncio.wait_for(main(), PATIENCE))
    assert (classic.consumed, classic.killed, classic.abandoned) == (1, 0, 0)


UNHURRIED = f"""
from lollms_core.http import _aio_call, _stops, _sync
_stops.STOP_LIMIT = {PATIENCE}
for driver in (_aio_call, _sync):
    driver.BRIEF = driver.Timeouts(connect={PATIENCE}, first_token={PATIENCE})
"""
"""A client soon leaves a server that was asked to stop and does not. One that is only slow must not be taken for it."""


@pytest.fixture
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """`UNHURRIED`, in this process."""
    monkeypatch.setattr("lollms_core.http._stops.STOP_LIMIT", PATIENCE)
    for driver in ("_aio_call", "_sync"):
        monkeypatch.setattr(f"lollms_core.http.{driver}.BRIEF", PATIENT)


@pytest.mark.usefixtures("unhurried")
@pytest.mark.parametrize("stop", STOPS)
def test_the_answer_after_a_stop_is_whole(classic: LollmsStub, stop: Callable[[LollmsClient], None]) -> None:
    with client(classic) as ours, client(classic) as somebody_elses:
        for _ in range(3):
            stop(ours)
            assert somebody_elses.generate("what is next?") == "all well"
    assert classic.killed == 0, "a stop request ended somebody's next answer"
    assert classic.consumed == 3, "the server was not made to stop"
    assert classic.abandoned == 0
    assert classic.paths().count("/lollms_generate") == 6


class _AtOnce(BaseHTTPRequestHandler):
    """A classic server whose model is quick, or a proxy that buffers: the end comes in one packet with the text."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.server.paths.append(self.path)  # type: ignore[attr-defined]
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path == "/lollms_generate":
            head = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n"
            self.wfile.write(head + b"8\r\none STOP\r\n4\r\n two\r\n0\r\n\r\n")
        else:
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}")

    def do_GET(self) -> None:
        self.do_POST()

    def log_message(self, *_: object) -> None:
        """Nothing on stderr."""


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> Iterator[ThreadingHTTPServer]:
    monkeypatch.setattr("lollms_core.http._stops.LAST_LOOK", PATIENCE)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _AtOnce)
    server.daemon_threads = True
    server.paths = []  # type: ignore[attr-defined]
    thread = in_background(lambda: server.serve_forever(poll_interval=0.02))
    yield server
    server.shutdown()
    thread.result()
    server.server_close()


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("stop", [{"stop": "STOP"}, {"streaming_callback": lambda *_: False}], ids=["stop", "callback"])
def test_no_stop_is_sent_for_an_answer_that_has_come(
    at_once: ThreadingHTTPServer, stop: dict[str, Any], asynchronous: bool
) -> None:
    with LollmsClient(host_address=f"http://127.0.0.1:{at_once.server_port}", timeouts=PATIENT) as ours:
        for _ in range(5):
            answer = asyncio.run(ours.agenerate("x", **stop)) if asynchronous else ours.generate("x", **stop)
            assert str(answer).startswith("one ")
    assert "/stop_gen" not in at_once.paths  # type: ignore[attr-defined]


async def read_slowly(client: LollmsClient, has_some: threading.Event, go_on: threading.Event) -> str:
    text = ""
    async for piece in client.astream("what is next?"):
        text += piece.text
        has_some.set()
        await asyncio.to_thread(go_on.wait, PATIENCE)
    return text


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
def test_no_stop_is_sent_while_the_end_may_lie_unread(
    classic: LollmsStub, monkeypatch: pytest.MonkeyPatch, asynchronous: bool
) -> None:
    has_some, go_on = threading.Event(), threading.Event()

    def answer(body: Body) -> Iterator[str]:
        yield "all "
        has_some.wait(PATIENCE)
        yield "well"

    def show(*_: object) -> None:
        has_some.set()
        go_on.wait(PATIENCE)

    classic.answer = answer
    with client(classic) as ours:
        if asynchronous:
            reading = in_background(lambda: asyncio.run(read_slowly(ours, has_some, go_on)))
        else:
            reading = in_background(lambda: str(ours.generate("what is next?", streaming_callback=show)))
        assert classic.ended.wait(PATIENCE)
        ours.cancel()
        time.sleep(0.5)  # a stop that does not wait for the reader is sent within a tenth of it
        monkeypatch.setattr("lollms_core.http._stops.LAST_LOOK", PATIENCE)
        go_on.set()
        assert reading.result().startswith("all")
    assert "/stop_gen" not in classic.paths()


@pytest.mark.usefixtures("unhurried")
@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
def test_one_cancel_ends_every_answer_of_a_client(
    classic: LollmsStub, monkeypatch: pytest.MonkeyPatch, asynchronous: bool
) -> None:
    monkeypatch.setattr("lollms_core.http._stops.LAST_LOOK", 0.3)
    begun = threading.Semaphore(0)

    def show(*_: object) -> None:
        begun.release()

    async def gathered() -> list[Any]:
        return await asyncio.gather(*(ours.agenerate(f"count {n}", streaming_callback=show) for n in range(3)))

    with client(classic) as ours:
        answers: list[Background[Any]]
        if asynchronous:
            answers = [in_background(lambda: asyncio.run(gathered()))]
        else:
            answers = [in_background(lambda: ours.generate("count", streaming_callback=show)) for _ in range(3)]
        wait_until(lambda: classic.running == 3, "three running answers")
        for _ in range(30):
            assert begun.acquire(timeout=PATIENCE)
        ours.cancel()
        for answer in answers:
            answer.result()
    assert (classic.consumed, classic.abandoned) == (3, 0)


@pytest.mark.usefixtures("unhurried")
@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
def test_a_question_right_after_a_cancel_gets_a_whole_answer(classic: LollmsStub, asynchronous: bool) -> None:
    """It would take the word that is meant for the answer before it, which would then go on."""
    classic.answer = twenty_or_slowly
    begun = threading.Semaphore(0)

    def count(ours: LollmsClient) -> object:
        return ours.generate("count", streaming_callback=lambda *_: begun.release())

    with client(classic) as ours:
        for _ in range(3):
            counting = in_background(lambda: count(ours))
            for _ in range(5):
                assert begun.acquire(timeout=PATIENCE)
            ours.cancel()
            completion = result_of(asyncio.run(ours.acomplete("twenty")) if asynchronous else ours.complete("twenty"))
            assert len(result_of(completion).text.split()) == 20
            counting.result()
            begun = threading.Semaphore(0)
    assert (classic.consumed, classic.abandoned) == (3, 0)


@pytest.mark.usefixtures("unhurried")
async def test_a_question_right_after_a_task_was_cancelled_gets_a_whole_answer(classic: LollmsStub) -> None:
    """That task has not yet had a turn of the loop, in which it would ask the server to stop."""
    begun = asyncio.Event()

    async def show(*_: object) -> None:
        begun.set()

    classic.answer = lambda body: (
        itertools.islice(numbers(0.02)(body), 20) if "twenty" in str(body) else numbers(0.1)(body)
    )
    async with client(classic) as ours:
        counting = asyncio.create_task(ours.agenerate("count", streaming_callback=show))
        await begun.wait()
        counting.cancel()
        completion = await ours.acomplete("twenty")
        assert len(result_of(completion).text.split()) == 20
        with contextlib.suppress(asyncio.CancelledError):
            await counting
    assert (classic.consumed, classic.abandoned) == (1, 0)


@pytest.mark.usefixtures("unhurried")
def test_closing_a_client_stops_the_server(classic: LollmsStub) -> None:
    begun = threading.Event()
    ours = client(classic)
    answer = in_background(lambda: ours.generate("count", streaming_callback=lambda *_: begun.set()))
    assert begun.wait(PATIENCE)
    ours.close()
    assert answer.result()
    assert (classic.consumed, classic.killed, classic.abandoned) == (1, 0, 0)


@pytest.mark.usefixtures("unhurried")
def test_answers_that_are_cancelled_as_their_loop_ends_are_stopped(classic: LollmsStub) -> None:
    async def main() -> None:
        answers = [asyncio.create_task(ours.agenerate(f"count {n}")) for n in range(3)]
        while classic.running < 3:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.2)  # until pieces of each have come
        together = asyncio.gather(*answers)
        together.cancel()
        with pytest.raises(asyncio.CancelledError):
            await together  # which waits for the first of them only

    with client(classic) as ours:
        asyncio.run(asyncio.wait_for(main(), PATIENCE))
    assert (classic.consumed, classic.abandoned) == (3, 0)


@pytest.mark.parametrize("others", [False, True], ids=["alone", "while others come and go"])
@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
def test_a_server_that_does_not_listen_is_not_asked_again_and_again(
    classic: LollmsStub, asynchronous: bool, others: bool
) -> None:
    classic.stop_flag.set = lambda: None  # type: ignore[method-assign]

    async def asked() -> None:
        answers = [asyncio.create_task(ours.agenerate(f"count {n}")) for n in range(3)]
        while classic.running < 3:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.2)
        for answer in answers:
            answer.cancel()
        while not all(answer.done() for answer in answers):
            await ours.agenerate("what is next?") if others else await asyncio.sleep(0.05)

    def ask() -> None:
        streams = [ours.stream("count") for _ in range(3)]
        for stream in streams:
            next(stream)
        closing = [in_background(stream.close) for stream in streams]
        while not all(thread.done() for thread in closing):
            ours.generate("what is next?") if others else time.sleep(0.05)

    with client(classic) as ours:
        if asynchronous:
            asyncio.run(asyncio.wait_for(asked(), PATIENCE))
        else:
            ask()
        wait_until(lambda: classic.abandoned == 3, "the end of the three connections")
    # Where another answer ends, it may be the one that took the word: then the next one says it for itself.
    assert classic.paths().count("/stop_gen") <= (3 if others else 1)


def test_a_personality_without_a_name_has_none() -> None:
    asking = CurrentServer(None).list_personalities()
    next(asking)
    with pytest.raises(StopIteration) as end:
        asking.send(HTTPResponse(200, {}, b'{"data": [{"id": null, "name": null}]}'))
    assert end.value.value == [Personality(id="", name="", category=None)]


def test_where_no_personality_has_a_name_the_hint_is_its_place() -> None:
    asking = CurrentServer(None)._personality_id("pirate")
    next(asking)
    with pytest.raises(InvalidRequestError) as raised:
        asking.send(HTTPResponse(200, {}, b'{"data": [{"id": null}, {"id": null}]}'))
    assert "0 to 1" in raised.value.hint


SCRIPT = f"""
import sys
from lollms_core import LollmsClient
{UNHURRIED}
client = LollmsClient(host_address=sys.argv[1], raise_errors=True)
client.generate("count", streaming_callback=lambda piece, _: print(piece, flush=True))
"""


def test_ctrl_c_stops_the_server(classic: LollmsStub) -> None:
    with program([sys.executable, "-c", SCRIPT, classic.address], stdout=-1, stderr=-1, text=True) as asking:
        assert asking.stdout is not None
        assert asking.stdout.readline()
        asking.send_signal(signal.SIGINT)
        asking.communicate(timeout=PATIENCE)
    assert (classic.consumed, classic.killed) == (1, 0)
    with client(classic) as other:
        assert other.generate("what is next?") == "all well"


ENDS = {
    "a stream is left open": "for _ in client.stream('count'): break",
    "an error keeps one alive": "def main():\n    chunks = client.stream('count')\n"
    "    for _ in chunks: raise ValueError\nmain()",
    "sys.exit while one is open": "chunks = client.stream('count')\nnext(chunks)\nsys.exit()",
    "the client is closed first": "chunks = client.stream('count')\nnext(chunks)\nclient.close()",
    "the client is closed at exit": "chunks = client.stream('count')\nnext(chunks)\natexit.register(client.close)",
    "the with block ends": "with client:\n    chunks = client.stream('count')\n    next(chunks)",
    "the answer is cancelled first": "chunks = client.stream('count')\nnext(chunks)\nclient.cancel()",
    "a daemon thread reads, and is cancelled": "begun = threading.Event()\n"
    "threading.Thread(target=client.generate, args=['count'], daemon=True,"
    " kwargs={'streaming_callback': lambda *_: begun.set()}).start()\nbegun.wait()\nclient.cancel()",
    "a daemon thread reads": "begun = threading.Event()\n"
    "threading.Thread(target=client.generate, args=['count'], daemon=True,"
    " kwargs={'streaming_callback': lambda *_: begun.set()}).start()\nbegun.wait()",
    "an async client is closed": "async def main():\n    async with client:\n        chunks = client.astream('count')\n"
    "        await anext(chunks)\n        kept.append(chunks)\nasyncio.run(main())",
}
"""How programs end whose answer is not read to its end."""


@pytest.mark.parametrize("end", ENDS)
def test_a_program_that_ends_stops_the_server(classic: LollmsStub, end: str) -> None:
    begin = f"""
import asyncio, atexit, sys, threading
from lollms_core import LollmsClient
{UNHURRIED}
client, kept = LollmsClient(host_address=sys.argv[1], raise_errors=True), []
"""
    with program([sys.executable, "-c", begin + ENDS[end], classic.address], stdout=-1, stderr=-1, text=True) as asking:
        said, complaint = asking.communicate(timeout=PATIENCE)
    assert said == ""
    assert complaint.replace("Traceback", "").count("Error") == complaint.count("ValueError"), complaint
    assert (classic.consumed, classic.killed, classic.abandoned) == (1, 0, 0)


@pytest.mark.usefixtures("unhurried")
def test_closing_a_client_stops_the_answer_that_nobody_reads_on(classic: LollmsStub) -> None:
    ours = client(classic)
    chunks = ours.stream("count")
    next(chunks)
    ours.close()
    assert (classic.consumed, classic.killed, classic.abandoned) == (1, 0, 0)
    assert not any(chunk.text for chunk in chunks)

    async def main() -> None:
        async with client(classic) as ours:
            chunks = ours.astream("count")
            await anext(chunks)
        assert (classic.consumed, classic.killed, classic.abandoned) == (2, 0, 0)
        assert not any([chunk.text async for chunk in chunks])

    asyncio.run(main())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_command_that_is_asked_to_end_stops_the_server(classic: LollmsStub, number: int) -> None:
    lollms = f"{UNHURRIED}\nfrom lollms_core._cli import main\nmain()"
    command = [sys.executable, "-c", lollms, "generate", "--host-address", classic.address, "count"]
    with program(command, stdout=-1, stderr=-1) as asking:
        assert asking.stdout is not None
        assert asking.stdout.read(4)
        asking.send_signal(number)
        _, complaint = asking.communicate(timeout=PATIENCE)
    assert (asking.returncode, complaint) == (128 + number, b"")
    wait_until(lambda: classic.consumed == 1, "the end of the answer")
    assert classic.killed == 0


def test_a_reader_who_has_read_enough_stops_the_server(classic: LollmsStub) -> None:
    lollms = f"{UNHURRIED}\nfrom lollms_core._cli import main\nmain()"
    command = [sys.executable, "-c", lollms, "generate", "--host-address", classic.address, "count"]
    with program(command, stdout=-1, stderr=-1) as asking:
        assert asking.stdout is not None
        asking.stdout.read(4)
        asking.stdout.close()  # what `head` does
        asking.wait(timeout=PATIENCE)
    assert (classic.consumed, classic.killed) == (1, 0)


def test_no_stop_is_sent_where_no_answer_of_ours_is_running(classic: LollmsStub) -> None:
    waiting, go_on = threading.Event(), threading.Event()

    def thinks(body: Body) -> Iterator[str]:
        waiting.set()
        go_on.wait(PATIENCE)
        yield "too late"

    with client(classic) as ours:
        ours.generate("what is next?")
        classic.answer = thinks
        answer = in_background(lambda: ours.generate("count"))
        assert waiting.wait(PATIENCE)
        ours.cancel()
        assert answer.result() == ""
        go_on.set()
    assert "/stop_gen" not in classic.paths()


def test_no_stop_is_sent_for_a_call_that_waits_for_its_retry(
    classic: LollmsStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    def overloaded(request: Any, body: object) -> None:
        request._json({"error": "overloaded"}, 503)

    monkeypatch.setitem(lollms_stub._CLASSIC, ("POST", "/lollms_generate"), overloaded)
    with client(classic, max_retries=1_000_000) as ours:
        answer = in_background(lambda: ours.generate("what is next?"))
        wait_until(lambda: classic.paths().count("/lollms_generate") >= 3 or answer.done(), "the third attempt")
        ours.cancel()
        assert answer.result() == ""
    assert "/stop_gen" not in classic.paths()


def test_a_server_that_does_not_stop_is_left(classic: LollmsStub) -> None:
    classic.answer = numbers()
    with client(classic) as ours:
        # Its flag is taken by nobody: the server has lost the request.
        stream = ours.stream("count")
        next(stream)
        classic.stop_flag = threading.Event()
        stubborn = classic.stop_flag
        stubborn.set = lambda: None  # type: ignore[method-assign]
        stream.close()
        assert classic.ended.wait(PATIENCE)
    assert classic.abandoned == 1


# --- an empty answer --------------------------------------------------------------------------------------------------


def test_an_empty_answer_is_asked_for_once_more(classic: LollmsStub) -> None:
    classic.lose_answers = 1
    with client(classic, max_retries=0) as ours:
        assert ours.generate("what is next?") == "all well"
    assert classic.paths().count("/lollms_generate") == 2


def test_somebody_elses_stop_is_survived(classic: LollmsStub) -> None:
    classic.stop_flag.set()
    with client(classic, max_retries=0) as ours:
        assert ours.generate("what is next?") == "all well"


def test_a_prompt_over_the_window_is_an_error(classic: LollmsStub) -> None:
    classic.window = 4
    with client(classic) as ours:
        with pytest.raises(LollmsError) as caught:
            ours.generate("what is the next word of this long prompt?")
    assert "nothing" in caught.value.message
    for cause in ("window", "model", "stopped"):
        assert cause in caught.value.hint
    assert classic.paths().count("/lollms_generate") == 2


def test_an_empty_answer_async(classic: LollmsStub) -> None:
    classic.lose_answers = 1

    async def main() -> object:
        async with client(classic, max_retries=0) as ours:
            return await ours.agenerate("what is next?")

    assert asyncio.run(main()) == "all well"


# --- no model, and which ----------------------------------------------------------------------------------------------


def ask_for_text(client: LollmsClient) -> None:
    client.generate("hi")


def ask_with_image(client: LollmsClient) -> None:
    client.generate_with_images("hi", [b"\x89PNG\r\n\x1a\n" + b"\0" * 30])


@pytest.mark.parametrize(
    "ask",
    [
        ask_for_text,
        ask_with_image,
        lambda client: client.tokenize("hi"),
        lambda client: client.detokenize([104]),
        lambda client: client.model_info(),
    ],
    ids=["text", "image", "tokenize", "detokenize", "model_info"],
)
def test_no_model_is_loaded(ask: Callable[[LollmsClient], None]) -> None:
    with LollmsStub(models=()) as stub, client(stub) as ours:
        with pytest.raises(ModelLoadError) as caught:
            ask(ours)
        assert "no model" in caught.value.message
        assert caught.value.hint
        posts = [request.path for request in stub.requests if request.method == "POST"]
        assert len(posts) <= 1, "it was asked again, though only a person can change it"


def test_which_model_is_active(classic: LollmsStub) -> None:
    classic.models.append("other")
    with client(classic) as ours:
        assert result_of(ours.model_info()).name == "stub-model"
        ours.generate("what is next?", model_name="other")
        info = result_of(ours.model_info())
        assert (info.name, info.metadata["active"]) == ("other", True)
        assert result_of(ours.model_info("stub-model")).metadata["active"] is False


class _Silent(BaseHTTPRequestHandler):
    """A classic server that takes its time to say which model is active."""

    def do_GET(self) -> None:
        if self.path == "/get_active_model":
            self.server.asked.set()  # type: ignore[attr-defined]
            self.server.over.wait(PATIENCE)  # type: ignore[attr-defined]
        with contextlib.suppress(OSError):  # whoever asked has gone
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"status": false}')

    def log_message(self, *_: object) -> None:
        """Nothing on stderr."""


def test_a_cancelled_question_about_a_model_is_not_answered() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Silent) as server:
        server.asked, server.over = threading.Event(), threading.Event()  # type: ignore[attr-defined]
        serving = in_background(lambda: server.serve_forever(poll_interval=0.02))
        ours = LollmsClient(host_address=f"http://127.0.0.1:{server.server_port}", raise_errors=True, timeouts=PATIENT)
        answer = in_background(lambda: ours.model_info("m"))
        assert server.asked.wait(PATIENCE)  # type: ignore[attr-defined]
        ours.cancel()
        with pytest.raises(CallCancelledError):
            answer.result()
        server.over.set()  # type: ignore[attr-defined]
        server.shutdown()
        serving.result()


def test_a_headless_server_has_no_lists() -> None:
    with LollmsStub(headless=True) as stub, client(stub) as ours:
        for ask in (ours.list_models, ours.listMountedPersonalities):
            with pytest.raises(UnsupportedError, match="headless"):
                ask()
        assert stub.paths().count("/list_models") == 1


# --- what does not reach the model is said ----------------------------------------------------------------------------


@pytest.mark.parametrize("option", [{"seed": 1}, {"n_threads": 2}, {"personality": 1}, {"json_schema": {}}])
@pytest.mark.parametrize("calls_before", [0, 1])
def test_what_a_classic_server_drops_is_said(classic: LollmsStub, option: Body, calls_before: int) -> None:
    with client(classic) as ours:
        for _ in range(calls_before):
            ours.generate("what is next?")
        with pytest.warns(UserWarning, match=next(iter(option))):
            try:
                ours.generate("what is next?", **option)
            except LollmsError:
                assert "json_schema" in option  # the answer is not JSON


@pytest.mark.parametrize("option", [{"seed": 1}, {"top_p": 0.5}, {"top_k": 2}, {"json_schema": {}}])
@pytest.mark.parametrize("calls_before", [0, 1])
def test_what_a_current_server_drops_is_said(current: LollmsStub, option: Body, calls_before: int) -> None:
    with client(current) as ours:
        for _ in range(calls_before):
            ours.generate("hi")
        with pytest.warns(UserWarning, match=next(iter(option))):
            try:
                ours.generate("hi", **option)
            except LollmsError:
                assert "json_schema" in option


def test_stop_sequences_hold_on_both(classic: LollmsStub, current: LollmsStub) -> None:
    current.answer = lambda body: ["a ", "b ", "c"]
    with client(current) as ours:
        assert ours.generate("hi", stop="b") == "a "
    with client(classic) as ours:
        assert ours.generate("what is next?", stop="well") == "all "


@pytest.mark.parametrize(
    ("option", "reaches"),
    [
        ({"temperature": 0}, lambda seen: 0 < seen["temperature"] < 0.01),
        ({"top_k": 0}, lambda seen: seen["top_k"] >= 100_000),
        ({"top_p": 0}, lambda seen: 0 < seen["top_p"] < 0.001),
        ({"repeat_last_n": 0}, lambda seen: seen["repeat_penalty"] == 1.0),
    ],
)
def test_zero_means_zero_on_a_classic_server(
    classic: LollmsStub, option: Body, reaches: Callable[[Body], bool]
) -> None:
    with client(classic) as ours:
        ours.generate("what is next?", **option)
    assert reaches(classic.sampled[-1]), classic.sampled[-1]


def test_what_images_drop_is_said(classic: LollmsStub) -> None:
    image = b"\x89PNG\r\n\x1a\n" + b"\0" * 30
    with client(classic) as ours, pytest.warns(UserWarning, match="for images, does not honour: n_predict, top_k"):
        ours.generate_with_images("what is next?", [image], n_predict=5, top_k=3, temperature=0.5)


# --- the current server -----------------------------------------------------------------------------------------------


def test_done_without_a_finish_reason_is_a_cut_answer(current: LollmsStub) -> None:
    go_on = threading.Event()

    def answer(body: Body) -> Iterator[str]:
        if "quick" in str(body):
            yield "done"
            return
        yield "begun "
        go_on.wait(PATIENCE)
        yield "never read"

    current.answer = answer
    with client(current) as ours, client(current) as others:
        stream = ours.stream("slow")
        assert next(stream).text == "begun "
        assert others.generate("quick") == "done"
        go_on.set()
        with pytest.raises(IncompleteStreamError) as caught:
            list(stream)
    assert caught.value.retryable
    assert caught.value.partial_text == "begun "


@pytest.mark.parametrize("times", range(3))
def test_ten_threads_on_one_client(current: LollmsStub, times: int) -> None:
    current.answer = lambda body: (f"{word} " for word in body["messages"][-1]["content"].split())
    prompts = [f"the answer of thread {number} is whole" for number in range(10)]
    with client(current, max_retries=0) as ours, ThreadPoolExecutor(10) as pool:
        assert list(pool.map(ours.generate, prompts)) == [f"{prompt} " for prompt in prompts]


def test_ten_tasks_on_one_client(current: LollmsStub) -> None:
    current.answer = lambda body: (f"{word} " for word in body["messages"][-1]["content"].split())
    prompts = [f"the answer of task {number} is whole" for number in range(10)]

    async def main() -> list[object]:
        async with client(current, max_retries=0) as ours:
            return list(await asyncio.gather(*(ours.agenerate(prompt) for prompt in prompts)))

    assert asyncio.run(main()) == [f"{prompt} " for prompt in prompts]


def test_a_call_that_would_wait_for_itself_says_so(current: LollmsStub) -> None:
    with client(current) as ours:
        stream = ours.stream("one two three")
        next(stream)
        with pytest.raises(InvalidRequestError, match="still open") as caught:
            ours.generate("hi")
        assert "close it" in caught.value.hint
        stream.close()
        assert ours.generate("hi") == "hi "


def test_a_sync_call_that_would_keep_a_task_waiting_says_so(current: LollmsStub) -> None:
    async def main() -> None:
        async with client(current) as ours:
            stream = ours.astream("one two three")
            await anext(stream)
            with pytest.raises(InvalidRequestError, match="still open"):
                ours.generate("hi")
            await stream.aclose()

    asyncio.run(main())


def test_a_task_that_would_wait_for_itself_says_so(current: LollmsStub) -> None:
    async def main() -> None:
        async with client(current) as ours:
            stream = ours.astream("one two three")
            await anext(stream)
            with pytest.raises(InvalidRequestError, match="still open"):
                await ours.agenerate("hi")
            await stream.aclose()
            assert await ours.agenerate("hi") == "hi "

    asyncio.run(main())


def test_a_call_that_waits_for_its_turn_can_be_cancelled(current: LollmsStub) -> None:
    with client(current) as ours:
        stream = ours.stream("one two three")
        next(stream)
        answer = in_background(lambda: ours.generate("hi"))
        wait_until(lambda: len(ours._running) == 2, "the second call to begin")
        time.sleep(0.05)  # it need not wait yet: the cancel must hold either way
        ours.cancel()
        assert answer.result() == ""
        stream.close()
        assert ours.generate("hi") == "hi "


def test_an_empty_stream_is_asked_for_again_so_that_the_reason_is_told(current: LollmsStub) -> None:
    def broken(body: Body) -> Iterator[str]:
        raise RuntimeError("CUDA out of memory")

    current.answer = broken
    with client(current, max_retries=0) as ours:
        with pytest.raises(ServerError, match="CUDA out of memory"):
            ours.generate("hi")
    streamed = [request.body["stream"] for request in current.requests if request.path == "/v1/chat/completions"]
    assert streamed == [True, False]


def test_a_switched_off_api_says_which_switch() -> None:
    with LollmsStub("current", enabled=False) as stub, client(stub) as ours:
        with pytest.raises(PermissionDeniedError) as caught:
            ours.generate("hi")
        assert "settings" in caught.value.hint
        assert "key is not to blame" in caught.value.hint


def test_the_kind_of_a_server_that_is_starting_is_asked_again() -> None:
    with LollmsStub("current") as stub, client(stub, max_retries=0) as ours:
        stub.flavour = "classic"  # a gateway that knows none of the routes yet: 405 to a POST, 500 to a GET
        stub.key = "not yet"
        with pytest.raises(LollmsError):
            ours.generate("hi")
        stub.flavour, stub.key = "current", None
        assert ours.generate("hi") == "hi "


# --- a stream that hangs ----------------------------------------------------------------------------------------------


def test_a_stream_that_hangs_ends_at_the_idle_limit_with_the_text_so_far(classic: LollmsStub) -> None:
    def hangs(body: Body) -> Iterator[str]:
        yield "so far so good"
        raise RuntimeError("in mid-stream")

    classic.answer = hangs
    with client(classic, timeouts=replace(PATIENT, idle=0.3)) as ours, pytest.raises(APITimeoutError) as caught:
        ours.generate("hi")
    assert caught.value.partial_text == "so far so good"


class _Resets(SocketServer):
    """A classic server behind HTTP/1.0, where the end of the connection is that of the answer; it breaks."""

    def __init__(self) -> None:
        self.read = threading.Event()

    def talk(self, sock: socket.socket) -> None:
        if b"/lollms_generate" not in Incoming(sock).until(b"\r\n\r\n"):
            sock.sendall(b"HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n" + b'{"status": false}')
            return
        sock.sendall(b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nThe capital ")
        self.read.wait(PATIENCE)
        reset_when_closed(sock)


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
def test_a_connection_that_breaks_is_no_end_of_an_answer(asynchronous: bool) -> None:
    with _Resets() as server, LollmsClient(f"http://127.0.0.1:{server.port}", timeouts=PATIENT, max_retries=0) as ours:

        def show(*_: object) -> None:
            server.read.set()

        if asynchronous:
            answer = asyncio.run(ours.agenerate("what?", streaming_callback=show))
        else:
            answer = ours.generate("what?", streaming_callback=show)
    assert isinstance(answer, dict)
    assert (answer["type"], answer["partial_text"]) == ("IncompleteStreamError", "The capital ")


async def _fails_beside_its_stream(lollms: LollmsClient) -> None:
    chunks = lollms.astream("count")
    await anext(chunks)
    raise ConnectionResetError("the browser has gone")


async def _waits_beside_its_stream(lollms: LollmsClient) -> None:
    chunks = lollms.astream("count")
    await anext(chunks)
    await asyncio.sleep(PATIENCE)


@pytest.mark.parametrize("begin", [_fails_beside_its_stream, _waits_beside_its_stream])
async def test_a_task_that_is_over_gives_its_turn_back(current: LollmsStub, begin: Any) -> None:
    """Its exception holds its frames, and they the stream: nothing but the line may hold the task."""
    current.answer = first_counts
    async with client(current) as lollms:
        task = asyncio.create_task(begin(lollms))
        await asyncio.wait({task}, timeout=0.3)
        task.cancel()
        with contextlib.suppress(ConnectionResetError, asyncio.CancelledError):
            await task
        del task
        gc.collect()
        await asyncio.sleep(0.05)
        assert await asyncio.wait_for(lollms.agenerate("next?"), PATIENCE)


def test_a_paused_stream_that_is_cancelled_gives_its_turn_back(current: LollmsStub) -> None:
    current.answer = first_counts
    with client(current) as lollms:
        chunks = lollms.stream("count")
        next(chunks)
        lollms.cancel()
        assert in_background(lambda: lollms.generate("next?")).result()
        assert lollms.generate("next?")
        del chunks
