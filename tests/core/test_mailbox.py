"""Streams that a thread of a backend feeds."""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

from lollms_core import (
    Backend,
    BackendError,
    CallCancelledError,
    CancelToken,
    Chunk,
    ContractError,
    GenerationRequest,
    LollmsClient,
    ServerError,
    Usage,
    hookimpl,
)
from lollms_core.mailbox import LoopThread, Mailbox, MailboxStream
from tests.support.waiting import PATIENCE, await_until

END = Chunk(finish_reason="stop")


def stream_of(*items: Chunk | Exception, alive: bool = True) -> tuple[MailboxStream, list[str]]:
    """A stream whose items come from another thread, and the record of what its work was told."""
    told: list[str] = []

    def start(mailbox: Mailbox) -> tuple[Callable[[], None], Callable[[], bool]]:
        told.append("start")

        def put_all() -> None:
            for item in items:
                mailbox.put(item)

        thread = threading.Thread(target=put_all)
        thread.start()
        if not alive:
            thread.join()
        return lambda: told.append("stop"), lambda: alive

    return MailboxStream(start), told


def test_a_stream_in_a_thread() -> None:
    stream, told = stream_of(Chunk("a"), Chunk("b"), END)
    assert told == []
    assert list(stream) == [Chunk("a"), Chunk("b"), END]
    assert told == ["start", "stop"]
    assert list(stream) == []


async def test_a_stream_in_a_task() -> None:
    stream, told = stream_of(Chunk("a"), Chunk("b"), END)
    assert [chunk async for chunk in stream] == [Chunk("a"), Chunk("b"), END]
    assert told == ["start", "stop"]


def test_an_error_comes_after_what_came_before_it() -> None:
    stream, told = stream_of(Chunk("a"), ServerError("died"))
    assert next(stream) == Chunk("a")
    with pytest.raises(ServerError, match="died"):
        next(stream)
    assert told == ["start", "stop"]


@pytest.mark.parametrize("leave", [lambda stream: stream.close(), lambda stream: stream.__del__()])
def test_leaving_a_stream_stops_its_work(leave: Callable[[MailboxStream], None]) -> None:
    stream, told = stream_of(Chunk("a"), Chunk("b"))
    assert next(stream) == Chunk("a")
    leave(stream)
    assert told == ["start", "stop"]
    assert list(stream) == []


def test_a_stream_that_nobody_read_starts_nothing() -> None:
    stream, told = stream_of(END)
    stream.close()
    assert list(stream) == []
    assert told == []


async def test_cancelling_the_task_that_waits_stops_the_work() -> None:
    stream, told = stream_of()
    task = asyncio.ensure_future(stream.__anext__())
    await await_until(lambda: "start" in told, "the work to start")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, PATIENCE)
    assert told == ["start", "stop"]


def test_a_dead_thread_is_noticed() -> None:
    stream, _ = stream_of(alive=False)
    with pytest.raises(BackendError, match="gone"):
        next(stream)


def test_a_request_that_waits_is_cancelled_at_once_and_one_that_runs_by_its_producer() -> None:
    for taken_up in (False, True):
        mailbox, cancel = Mailbox(), CancelToken()
        if taken_up:
            assert mailbox.admit()
        cancel.on_cancel(mailbox.cancel_waiting)
        cancel.cancel()
        assert mailbox.over is not taken_up
        assert mailbox.admit() is taken_up


def test_a_dead_producer_is_told_to_a_thread_and_to_a_task() -> None:
    import lollms_core.mailbox as module

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_LIVENESS_CHECK", 0.01)
        stream, _ = stream_of(Chunk("a"), alive=False)
        assert next(stream) == Chunk("a")
        with pytest.raises(BackendError, match="is gone"):
            next(stream)

        async def read() -> None:
            stream, _ = stream_of(Chunk("a"), alive=False)
            assert await anext(stream) == Chunk("a")
            with pytest.raises(BackendError, match="is gone"):
                await asyncio.wait_for(anext(stream), PATIENCE)

        asyncio.run(read())


def test_an_engine_that_lives_in_one_loop() -> None:
    thread = LoopThread("engine")
    assert not thread.is_alive()

    def start(mailbox: Mailbox) -> tuple[Callable[[], None], Callable[[], bool]]:
        async def answer() -> None:
            mailbox.put(Chunk(threading.current_thread().name))
            try:
                await asyncio.sleep(PATIENCE)
            finally:
                stopped.set()

        work = thread.submit(answer())
        return lambda: (work.cancel(), None)[1], thread.is_alive

    async def from_a_task() -> Chunk:
        stream = MailboxStream(start)
        chunk = await anext(stream)
        await stream.aclose()
        return chunk

    for ask in (lambda: next(MailboxStream(start)), lambda: asyncio.run(from_a_task())):
        stopped = threading.Event()
        assert ask() == Chunk("engine")
        assert stopped.wait(PATIENCE)
    thread.close()
    assert not thread.is_alive()


def test_what_runs_in_a_loop_is_cancelled_when_it_is_closed() -> None:
    thread = LoopThread()
    begun = threading.Event()

    async def work() -> None:
        begun.set()
        await asyncio.sleep(PATIENCE)

    future = thread.submit(work())
    assert begun.wait(PATIENCE)
    thread.close()
    assert future.cancelled()


@pytest.mark.parametrize("item", ["a text", KeyboardInterrupt(), None])
def test_what_does_not_belong_into_a_mailbox(item: Any) -> None:
    refused: list[Exception] = []

    def start(mailbox: Mailbox) -> tuple[Callable[[], None], Callable[[], bool]]:
        try:
            mailbox.put(item)
        except ContractError as error:
            refused.append(error)
        return lambda: None, lambda: True

    said = (
        r"was put into the mailbox of `tests\.core\.test_mailbox\.test_\w+\.start`, which takes chunks and exceptions"
    )
    with pytest.raises(ContractError, match=said):
        next(MailboxStream(start))
    assert len(refused) == 1


@pytest.mark.parametrize("begun", [None, lambda: None, (1, 2)])
def test_a_start_that_returns_something_else(begun: Any) -> None:
    said = r"`tests\.core\.test_mailbox\.test_\w+\.<lambda>` must return two functions to its MailboxStream"
    with pytest.raises(ContractError, match=said):
        next(MailboxStream(lambda mailbox: begun))


class Engine:
    """One whose `start` is no function inside of a hook."""

    def start(self, request: str, mailbox: Mailbox) -> Any:
        return None

    def __call__(self, mailbox: Mailbox) -> Any:
        return None


@pytest.mark.parametrize(
    ("start", "named"), [(functools.partial(Engine().start, "x"), r"Engine\.start"), (Engine(), "Engine")]
)
def test_whatever_begins_the_work_is_named(start: Any, named: str) -> None:
    with pytest.raises(ContractError, match=rf"`tests\.core\.test_mailbox\.{named}` must return two functions"):
        next(MailboxStream(start))


@pytest.mark.parametrize("given", [threading.Thread(), lambda: None, None])
def test_only_a_future_feeds_a_mailbox(given: Any) -> None:
    def start(mailbox: Mailbox) -> Any:
        mailbox.fed_by(given)

    with pytest.raises(
        ContractError, match=r"`fed_by` of the mailbox of `.*start` was given a \w+ where a future is due"
    ):
        next(MailboxStream(start))


async def sleep() -> None:
    await asyncio.sleep(0)


@pytest.mark.parametrize("given", [sleep, lambda: None, None])
def test_a_loop_runs_nothing_but_coroutines(given: Any) -> None:
    engine = LoopThread("engine")
    said = r"`submit` of the LoopThread 'engine' was given a \w+ where a coroutine is due, .* `async def`"
    with pytest.raises(ContractError, match=said):
        engine.submit(given)
    assert not engine.is_alive()


def test_a_thread_that_ends_without_a_last_item() -> None:
    stream, _ = stream_of(alive=False)
    with pytest.raises(BackendError) as caught:
        next(stream)
    assert "The last item" in caught.value.hint


@pytest.mark.parametrize("end", [StopIteration("x"), StopAsyncIteration()])
def test_an_end_of_something_elses_is_none_of_the_answers(end: Exception) -> None:
    stream, _ = stream_of(Chunk("a"), end)
    with pytest.raises(RuntimeError, match="the producer raised Stop"):
        list(stream)

    async def read() -> None:
        stream, _ = stream_of(Chunk("a"), end)
        with pytest.raises(RuntimeError, match="the producer raised Stop"):
            [chunk async for chunk in stream]

    asyncio.run(read())


def test_what_begins_no_work_is_refused_at_once() -> None:
    nothing: Any = None
    with pytest.raises(ContractError, match="MailboxStream was given a NoneType, not the function"):
        MailboxStream(nothing)


@pytest.mark.parametrize("how", ["raises", "exits", "ends", "is cancelled"])
def test_work_that_ends_without_a_last_item_ends_the_answer(how: str) -> None:
    engine = LoopThread()

    async def work(mailbox: Mailbox) -> None:
        mailbox.put(Chunk("a"))
        if how == "raises":
            raise ServerError("boo")
        if how == "is cancelled":
            raise asyncio.CancelledError

    def start(mailbox: Mailbox) -> tuple[Callable[[], None], Callable[[], bool]]:
        if how == "exits":
            future: concurrent.futures.Future[None] = concurrent.futures.Future()
            mailbox.put(Chunk("a"))
            future.set_exception(SystemExit("no key"))
        else:
            future = engine.submit(work(mailbox))
        mailbox.fed_by(future)
        return lambda: None, engine.is_alive

    stream = MailboxStream(start)
    assert next(stream) == Chunk("a")
    kind, said = {
        "raises": (ServerError, "boo"),
        "exits": (BackendError, r"the work behind the mailbox of `.*start` has ended: SystemExit: no key"),
        "ends": (ContractError, r"the work behind the mailbox of `.*start` has ended, but not its answer"),
        "is cancelled": (CallCancelledError, "cancelled by what answers it"),
    }[how]
    with pytest.raises(kind, match=said):
        next(stream)
    engine.close()


@pytest.mark.parametrize("whoever", ["a thread", "a task"])
def test_an_engine_that_gives_an_answer_up_has_not_answered(whoever: str) -> None:
    class GivesUp(Backend):
        engine = LoopThread("engine")

        async def work(self, mailbox: Mailbox) -> None:
            mailbox.put(Chunk("so far"))
            raise asyncio.CancelledError

        @hookimpl
        def generate(self, request: GenerationRequest) -> MailboxStream:
            def start(mailbox: Mailbox) -> tuple[Callable[[], None], Callable[[], bool]]:
                work = self.engine.submit(self.work(mailbox))
                mailbox.fed_by(work)
                return lambda: None, self.engine.is_alive

            return MailboxStream(start)

    with LollmsClient(default_generation_mode=GivesUp, raise_errors=True) as client:
        with pytest.raises(CallCancelledError, match="cancelled by what answers it") as caught:
            client.generate("hi") if whoever == "a thread" else asyncio.run(client.agenerate("hi"))
    assert caught.value.partial_text == "so far"
    GivesUp.engine.close()


@pytest.mark.parametrize("place", [0, 1])
def test_functions_that_nobody_would_await_are_refused(place: int) -> None:
    async def later() -> bool:
        return True

    functions: list[Any] = [lambda: None, lambda: True]
    functions[place] = later
    with pytest.raises(ContractError, match=r"must not return `.*later` to its MailboxStream"):
        next(MailboxStream(lambda mailbox: (functions[0], functions[1])))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks on this system")
def test_a_child_that_ends_as_programs_do_leaves_its_parents_loop_alone() -> None:
    program = """
import asyncio, os, sys, warnings
warnings.simplefilter("ignore")  # newer Pythons warn of forks beside threads
from lollms_core.mailbox import LoopThread
thread = LoopThread()

async def serve(reader, writer):
    writer.write(b"a")
    await reader.read(1)
    writer.write(b"b")

async def connected():
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    return *await asyncio.open_connection(*server.sockets[0].getsockname()), server

async def asked():
    writer.write(b"?")
    return await asyncio.wait_for(reader.read(1), 5)

reader, writer, server = thread.submit(connected()).result()
print(thread.submit(reader.read(1)).result())
child = os.fork()
if not child:
    writer.transport.close()
    sys.exit(0)
os.waitpid(child, 0)
print(thread.submit(asked()).result())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=PATIENCE, check=True)
    assert done.stdout.split() == ["b'a'", "b'b'"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks on this system")
@pytest.mark.parametrize("what", ["list(stream)", "stream.close()"])
def test_a_child_does_not_wait_for_its_parents_loop(what: str) -> None:
    program = f"""
import asyncio, os, sys, warnings
warnings.simplefilter("ignore")
from lollms_core import Backend, Chunk, IncompleteStreamError, LollmsClient, hookimpl

class Slow(Backend):
    contract_version = 1

    @hookimpl
    async def generate(self, request):
        for word in ("a ", "b ", "c"):
            yield Chunk(word)
            await asyncio.sleep(0.05)

client = LollmsClient(default_generation_mode=Slow, raise_errors=True)
stream = client.stream("x")
next(stream)
child = os.fork()
if not child:
    try:
        {what}
    except IncompleteStreamError as error:
        print(error, flush=True)
    os._exit(7)
status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
print(status, "".join(chunk.text for chunk in stream))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=PATIENCE, check=True)
    assert done.stdout.splitlines()[-1] == "7 b c"
    assert ("this process was forked" in done.stdout) == ("list" in what)


@pytest.mark.parametrize("late", [Chunk("more"), Chunk(usage=Usage(completion_tokens=3))])
@pytest.mark.parametrize("taken", [True, False])
def test_what_comes_after_the_end_is_not_lost_in_silence(late: Chunk, taken: bool) -> None:
    boxes: list[Mailbox] = []

    def start(mailbox: Mailbox) -> tuple[Callable[[], None], Callable[[], bool]]:
        boxes.append(mailbox)
        mailbox.put(END)
        return lambda: None, lambda: True

    stream = MailboxStream(start)
    assert next(stream) == END
    if taken:
        assert list(stream) == []
    with pytest.warns(RuntimeWarning, match="after the chunk that ended its answer"):
        boxes[0].put(late)
    assert list(stream) == []
    boxes[0].put(Chunk(finish_reason="stop"))  # says nothing
    boxes[0].put(ServerError("late"))


def test_what_comes_after_a_cancel_is_not_missed() -> None:
    mailbox = Mailbox()
    mailbox.cancel_waiting()
    mailbox.put(Chunk("more"))
