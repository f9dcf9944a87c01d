"""Every call ends when it is asked to: by `cancel`, `close`, its task, or Ctrl-C; whatever its backend is like."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import Future
from typing import Any

import pytest

from lollms_core import (
    Backend,
    BackendError,
    CallCancelledError,
    Capabilities,
    Chunk,
    FuturePending,
    LollmsClient,
    ModelInfo,
    PullProgress,
    hookimpl,
)
from tests.http.backends import DIALECTS
from tests.support.fault_server import FaultServer
from tests.support.inline import Over, over
from tests.support.strangers import Strangers
from tests.support.waiting import PATIENCE, PATIENT, in_background, program, wait_until

__all__ = ["over"]

FOR_EVER = 600.0
"""Seconds. No test waits for them: what hangs is ended by the test's own limits."""


class AsyncBackend(Backend):
    """Async throughout, and knows nothing of tokens. Each hook says that it waits, and that it was let go."""

    capabilities = Capabilities(embeddings=True)

    def __init__(self, settings: Any) -> None:
        super().__init__(settings)
        self.waiting = threading.Event()
        self.let_go = threading.Event()

    async def _wait(self) -> None:
        self.waiting.set()
        try:
            await asyncio.sleep(FOR_EVER)
        finally:
            self.let_go.set()

    @hookimpl
    async def generate(self, request: Any) -> AsyncIterator[Chunk]:
        if request.prompt == "at once":
            yield Chunk("first ")
        await self._wait()
        yield Chunk("never")

    @hookimpl
    async def embed(self, request: Any) -> list[list[float]]:
        await self._wait()
        return []

    @hookimpl
    async def list_models(self, request: Any) -> list[ModelInfo]:
        await self._wait()
        return []

    @hookimpl
    async def model_info(self, request: Any) -> ModelInfo:
        await self._wait()
        return ModelInfo(name="m")

    @hookimpl
    async def tokenize(self, request: Any) -> list[int]:
        await self._wait()
        return []

    @hookimpl
    async def pull_model(self, request: Any) -> AsyncIterator[PullProgress]:
        yield PullProgress("begun")
        await self._wait()


class TokenBackend(Backend):
    """Plain functions that block, and look at their request's token."""

    capabilities = Capabilities(embeddings=True)

    def __init__(self, settings: Any) -> None:
        super().__init__(settings)
        self.waiting = threading.Event()
        self.let_go = threading.Event()

    def _wait(self, request: Any) -> None:
        woken = threading.Event()
        unregister = request.cancel.on_cancel(woken.set)
        self.waiting.set()
        woken.wait(FOR_EVER)
        unregister()
        self.let_go.set()

    @hookimpl
    def generate(self, request: Any) -> Iterator[Chunk]:
        if request.prompt == "at once":
            yield Chunk("first ")
        self._wait(request)

    @hookimpl
    def embed(self, request: Any) -> list[list[float]]:
        self._wait(request)
        return [[0.0]]

    @hookimpl
    def list_models(self, request: Any) -> list[ModelInfo]:
        self._wait(request)
        raise BackendError("interrupted")

    @hookimpl
    def model_info(self, request: Any) -> ModelInfo:
        self._wait(request)
        raise BackendError("interrupted")

    @hookimpl
    def tokenize(self, request: Any) -> list[int]:
        self._wait(request)
        raise BackendError("interrupted")

    @hookimpl
    def pull_model(self, request: Any) -> Iterator[PullProgress]:
        yield PullProgress("begun")
        self._wait(request)


class PendingBackend(TokenBackend):
    """Values computed by a thread of its own, as a local model's are."""

    nonblocking = frozenset({"embed", "list_models", "model_info", "tokenize"})

    def _pending(self, request: Any) -> FuturePending[Any]:
        future: Future[Any] = Future()
        future.add_done_callback(lambda done: self.let_go.set())

        def submit() -> Future[Any]:
            self.waiting.set()
            return future

        return FuturePending(submit, request.cancel)

    @hookimpl
    def embed(self, request: Any) -> Any:
        return self._pending(request)

    @hookimpl
    def list_models(self, request: Any) -> Any:
        return self._pending(request)

    @hookimpl
    def model_info(self, request: Any) -> Any:
        return self._pending(request)

    @hookimpl
    def tokenize(self, request: Any) -> Any:
        return self._pending(request)


BACKENDS = [AsyncBackend, TokenBackend, PendingBackend]
VALUES: dict[str, tuple[Callable[[LollmsClient], Any], Callable[[LollmsClient], Coroutine[Any, Any, Any]]]] = {
    "embed": (lambda c: c.embed("x"), lambda c: c.aembed("x")),
    "list_models": (lambda c: c.list_models(), lambda c: c.alist_models()),
    "model_info": (lambda c: c.model_info(), lambda c: c.amodel_info()),
    "tokenize": (lambda c: c.tokenize("x"), lambda c: c.atokenize("x")),
}
ENDS: dict[str, Callable[[LollmsClient], None]] = {"cancel": LollmsClient.cancel, "close": LollmsClient.close}


def backend_of(client: LollmsClient) -> AsyncBackend | TokenBackend:
    assert isinstance(client.backend, (AsyncBackend, TokenBackend))
    return client.backend


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("end", ENDS)
def test_a_value_call_ends(over: Over, backend: type[Backend], value: str, end: str) -> None:
    client = over(backend)
    call = in_background(lambda: VALUES[value][0](client))
    assert backend_of(client).waiting.wait(PATIENCE)
    ENDS[end](client)
    if backend is TokenBackend and value == "embed":
        assert call.result() == [0.0]  # what it has is not thrown away
    else:
        with pytest.raises(CallCancelledError):
            call.result()
    assert backend_of(client).let_go.wait(PATIENCE)
    assert not client._running


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("end", ENDS)
def test_an_async_value_call_ends(over: Over, backend: type[Backend], value: str, end: str) -> None:
    client = over(backend)

    async def main() -> None:
        call = asyncio.create_task(VALUES[value][1](client))
        assert await asyncio.to_thread(backend_of(client).waiting.wait, PATIENCE)
        await asyncio.to_thread(ENDS[end], client)
        with pytest.raises(CallCancelledError):
            await asyncio.wait_for(call, PATIENCE)

    asyncio.run(main())
    assert backend_of(client).let_go.wait(PATIENCE)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("value", VALUES)
def test_a_cancelled_task_holds_nobody(over: Over, backend: type[Backend], value: str) -> None:
    client = over(backend)

    async def main() -> None:
        call = asyncio.create_task(VALUES[value][1](client))
        assert await asyncio.to_thread(backend_of(client).waiting.wait, PATIENCE)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(call, PATIENCE)

    asyncio.run(main())  # which waits for the threads of its own pool
    assert backend_of(client).let_go.wait(PATIENCE)


class Deaf(Backend):
    """Plain functions that block and look at nothing, as a stranger may write them."""

    released = threading.Event()
    waiting = threading.Event()
    ended = threading.Event()

    def _wait(self) -> None:
        self.waiting.set()
        self.released.wait(PATIENCE)
        self.ended.set()

    @hookimpl
    def generate(self, request: Any) -> Iterator[Chunk]:
        yield Chunk("first ")
        self._wait()

    @hookimpl
    def list_models(self, request: Any) -> list[ModelInfo]:
        self._wait()
        return []


@pytest.fixture
def deaf() -> Iterator[type[Deaf]]:
    for event in (Deaf.released, Deaf.waiting, Deaf.ended):
        event.clear()
    yield Deaf
    Deaf.released.set()
    assert Deaf.ended.wait(PATIENCE)


@pytest.mark.parametrize("how", ["cancel", "task"])
def test_a_backend_that_looks_at_nothing_does_not_hold_the_event_loop(over: Over, deaf: type[Deaf], how: str) -> None:
    client = over(deaf)

    async def main() -> None:
        call = asyncio.create_task(client.alist_models())
        assert await asyncio.to_thread(deaf.waiting.wait, PATIENCE)
        if how == "cancel":
            client.cancel()
        else:
            call.cancel()
        with pytest.raises((CallCancelledError, asyncio.CancelledError)):
            await call
        assert not deaf.ended.is_set(), "the call waited for the backend"

    asyncio.run(main())
    assert not deaf.ended.is_set(), "asyncio.run waited for the backend"


def test_a_stream_that_looks_at_nothing_is_left_behind(over: Over, deaf: type[Deaf], caplog: Any) -> None:
    client = over(deaf)

    async def main() -> str:
        call = asyncio.create_task(client.agenerate("x"))
        assert await asyncio.to_thread(deaf.waiting.wait, PATIENCE)
        client.cancel()
        return str(await call)

    assert asyncio.run(main()) == "first "
    assert not deaf.ended.is_set(), "somebody waited for the backend"
    assert "left behind" in caplog.text


# --- generations of async backends ------------------------------------------------------------------------------------


@pytest.mark.parametrize("prompt", ["at once", "never"])
@pytest.mark.parametrize("end", ENDS)
def test_a_generation_of_an_async_backend_ends(over: Over, prompt: str, end: str) -> None:
    client = over(AsyncBackend)
    call = in_background(lambda: client.complete(prompt))
    assert backend_of(client).waiting.wait(PATIENCE)
    ENDS[end](client)
    completion: Any = call.result()
    assert (completion.text, completion.finish_reason) == ("first " if prompt == "at once" else "", "cancelled")
    assert backend_of(client).let_go.wait(PATIENCE)


@pytest.mark.parametrize("prompt", ["at once", "never"])
@pytest.mark.parametrize("end", ENDS)
def test_an_async_generation_of_an_async_backend_ends(over: Over, prompt: str, end: str) -> None:
    client = over(AsyncBackend)

    async def main() -> Any:
        call = asyncio.create_task(client.acomplete(prompt))
        assert await asyncio.to_thread(backend_of(client).waiting.wait, PATIENCE)
        await asyncio.to_thread(ENDS[end], client)
        return await asyncio.wait_for(call, PATIENCE)

    completion = asyncio.run(main())
    assert (completion.text, completion.finish_reason) == ("first " if prompt == "at once" else "", "cancelled")
    assert backend_of(client).let_go.wait(PATIENCE)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_download_ends(over: Over, backend: type[Backend]) -> None:
    client = over(backend)
    steps = in_background(lambda: [step.status for step in client.pull_model("m")])
    assert backend_of(client).waiting.wait(PATIENCE)
    client.cancel()
    assert steps.result() == ["begun"]
    assert backend_of(client).let_go.wait(PATIENCE)


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_async_download_ends(over: Over, backend: type[Backend]) -> None:
    client = over(backend)

    async def main() -> None:
        async def pull() -> list[str]:
            return [step.status async for step in client.apull_model("m")]

        steps = asyncio.create_task(pull())
        assert await asyncio.to_thread(backend_of(client).waiting.wait, PATIENCE)
        client.cancel()
        assert await asyncio.wait_for(steps, PATIENCE) == ["begun"]

    asyncio.run(main())
    assert backend_of(client).let_go.wait(PATIENCE)


# --- interrupts -------------------------------------------------------------------------------------------------------

CTRL_C = """
import asyncio, sys
from lollms_core import Backend, Chunk, LollmsClient, hookimpl
from lollms_core._client import base as client_base

class Slow(Backend):
    @hookimpl
    async def generate(self, request):
        print("waiting", flush=True)
        try:
            await asyncio.sleep(600)
        finally:
            print("let go", flush=True)
        yield Chunk("never")

client_base.load_format = lambda name: Slow
client = LollmsClient(default_generation_mode="slow")
try:
    print(client.generate("x"))
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


def test_ctrl_c_before_the_first_chunk_of_an_async_backend() -> None:
    with program([sys.executable, "-c", CTRL_C], stdout=-1, stderr=-1, text=True) as asking:
        assert asking.stdout is not None
        assert asking.stdout.readline() == "waiting\n"
        asking.send_signal(signal.SIGINT)
        out, err = asking.communicate(timeout=PATIENCE)
    assert out.splitlines() == ["let go", "interrupted"], err


SIGNALS = """
import signal
from lollms_core import LollmsClient

client = LollmsClient(default_generation_mode="echo", script=["a", "b", "c"])
handled = 0

def handler(*_):
    global handled
    handled += 1
    client.cancel()
    signal.setitimer(signal.ITIMER_REAL, 0.0005)  # not at an interval, which a slow machine would spend in here

signal.signal(signal.SIGALRM, handler)
signal.setitimer(signal.ITIMER_REAL, 0.0005)
while handled < 4000:
    client.generate("x")
    client.embed("x")
signal.setitimer(signal.ITIMER_REAL, 0)
print("alive")
"""


def test_cancel_in_a_signal_handler_deadlocks_nobody() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SIGNALS], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.stdout == "alive\n", done.stderr


def test_a_collection_in_the_middle_of_a_cancel_deadlocks_nobody(over: Over) -> None:
    """An abandoned stream is ended by the collector, which may run anywhere: also while another call is registered."""

    class Counting(Backend):
        @hookimpl
        def generate(self, request: Any) -> Iterator[Chunk]:
            for number in range(5):
                yield Chunk(str(number))

    client = over(Counting)
    gc.collect()
    old = gc.get_threshold()
    gc.set_threshold(1)
    try:
        for _ in range(200):
            cycle: list[Any] = [client.stream("x")]
            next(cycle[0])
            cycle.append(cycle)
            del cycle
            client.cancel()
            assert client.generate("x") == "01234"
    finally:
        gc.set_threshold(*old)


# --- backends that misbehave ------------------------------------------------------------------------------------------


def test_an_iter_that_raises_does_not_hang_async_callers(over: Over) -> None:
    class Broken(Backend):
        @hookimpl
        def generate(self, request: Any) -> Any:
            class Stream:
                def __iter__(self) -> Iterator[Chunk]:
                    raise RuntimeError("no stream today")

            return Stream()

    client = over(Broken)
    for ask in (lambda: client.generate("x"), lambda: asyncio.run(asyncio.wait_for(client.agenerate("x"), PATIENCE))):
        with pytest.raises(BackendError, match="no stream today"):
            ask()


def test_computing_before_the_first_chunk_does_not_block_the_loop(over: Over) -> None:
    class Thinker(Backend):
        proceed = threading.Event()

        @hookimpl
        def generate(self, request: Any) -> Iterator[Chunk]:
            assert self.proceed.wait(PATIENCE)
            return iter([Chunk("42")])

    client = over(Thinker)

    async def main() -> None:
        call = asyncio.create_task(client.agenerate("x"))
        await asyncio.sleep(0)
        Thinker.proceed.set()  # could not be reached by a loop that stands still
        assert await asyncio.wait_for(call, PATIENCE) == "42"

    asyncio.run(main())


def test_a_backend_that_fails_to_close_loses_no_answer(over: Over, caplog: Any) -> None:
    class Slippery(Backend):
        @hookimpl
        def generate(self, request: Any) -> Any:
            class Stream:
                def __init__(self) -> None:
                    self.chunks = iter([Chunk("whole "), Chunk("answer")])

                def __iter__(self) -> Any:
                    return self

                def __next__(self) -> Chunk:
                    return next(self.chunks)

                def close(self) -> None:
                    raise RuntimeError("cannot close")

            return Stream()

    client = over(Slippery)
    assert client.generate("x") == "whole answer"
    assert asyncio.run(client.agenerate("x")) == "whole answer"
    assert "cannot close" in caplog.text


# --- bridges ----------------------------------------------------------------------------------------------------------

number: contextvars.ContextVar[int] = contextvars.ContextVar("number", default=0)


class SyncReader(Backend):
    """Answers with a context variable of its caller."""

    @hookimpl
    def generate(self, request: Any) -> Iterator[Chunk]:
        yield Chunk(str(number.get()))

    @hookimpl
    def list_models(self, request: Any) -> list[ModelInfo]:
        return [ModelInfo(name=str(number.get()))]


class AsyncReader(Backend):
    @hookimpl
    async def generate(self, request: Any) -> AsyncIterator[Chunk]:
        yield Chunk(str(number.get()))

    @hookimpl
    async def list_models(self, request: Any) -> list[ModelInfo]:
        return [ModelInfo(name=str(number.get()))]


@pytest.mark.parametrize("backend", [SyncReader, AsyncReader])
def test_context_variables_cross_every_bridge(over: Over, backend: type[Backend]) -> None:
    client = over(backend)

    async def main() -> list[Any]:
        number.set(8)
        return [await client.agenerate("x"), await client.alist_models()]

    assert contextvars.copy_context().run(lambda: (number.set(7), client.generate("x"))[1]) == "7"
    assert contextvars.copy_context().run(lambda: (number.set(7), client.list_models())[1]) == ["7"]
    assert asyncio.run(main()) == ["8", ["8"]]


@pytest.mark.parametrize("world", ["sync", "async"])
def test_an_async_backend_does_not_run_ahead_of_its_reader(over: Over, world: str) -> None:
    made = 0

    class Endless(Backend):
        @hookimpl
        async def generate(self, request: Any) -> AsyncIterator[Chunk]:
            nonlocal made
            while True:
                made += 1
                yield Chunk("x" * 1000)
                await asyncio.sleep(0)

    client = over(Endless)

    def read_slowly() -> None:
        stream = client.stream("x")
        for _ in range(300):
            next(stream)
        settled = made
        time.sleep(0.3)  # what it could do in this time if nothing held it back, is thousands
        assert made - settled <= 64
        assert made <= 300 + 70
        stream.close()

    async def aread_slowly() -> None:
        stream = client.astream("x")
        for _ in range(300):
            await anext(stream)
        settled = made
        await asyncio.sleep(0.3)
        assert made - settled <= 64
        assert made <= 300 + 70
        await stream.aclose()

    read_slowly() if world == "sync" else asyncio.run(aread_slowly())


def test_a_client_that_is_never_closed_leaves_no_loop_thread(over: Over) -> None:
    class Quick(Backend):
        @hookimpl
        async def generate(self, request: Any) -> AsyncIterator[Chunk]:
            yield Chunk("x")

    def threads() -> set[threading.Thread]:
        return {thread for thread in threading.enumerate() if thread.name == "lollms-loop"}

    before = threads()
    portals = []
    for _ in range(5):
        client = over(Quick)
        client.generate("x")
        asked = client._asked
        portals.append(asked.portal)
        asked.portal = type(asked.portal)()  # as if the client had been dropped: its last reference goes
    del client
    assert len(threads() - before) == 5
    portals.clear()
    gc.collect()
    wait_until(lambda: threads() <= before, "the threads of the loops to end")


def test_an_async_callback_in_a_sync_call_is_refused(over: Over) -> None:
    async def callback(piece: str, kind: object) -> None:
        raise AssertionError("it cannot run here")

    client = over(SyncReader)
    with pytest.raises(TypeError, match="async twin"):
        client.generate("x", streaming_callback=callback)


# --- a cancellation that comes as a call ends -------------------------------------------------------------------------


def test_a_task_that_is_cancelled_as_its_call_ends_ends(strangers: Strangers) -> None:
    """Before Python 3.12 asyncio's own `wait_for` loses such a cancellation."""
    strangers.install(
        "from lollms_core import *\nclass B(Backend):\n    @hookimpl\n    def generate(self, request):\n"
        "        yield Chunk('a')\n",
        quick="B",
    )
    with LollmsClient(default_generation_mode="quick") as client:
        asyncio.run(cancelled_at_any_moment(client))


@pytest.mark.parametrize("format", ["openai", "lollms"])
def test_nor_does_one_over_http_go_on(format: str) -> None:
    with FaultServer(DIALECTS[format]) as server:
        settings: dict[str, Any] = {"model_name": "m", "service_key": "k", "timeouts": PATIENT}
        with LollmsClient(server.address("ok"), default_generation_mode=format, **settings) as client:
            asyncio.run(cancelled_at_any_moment(client))


async def cancelled_at_any_moment(client: LollmsClient) -> None:
    async def work() -> None:
        while True:
            await client.agenerate("x")

    await client.agenerate("x")
    for number in range(60):
        task = asyncio.create_task(work())
        await asyncio.sleep(0.004 + 0.0003 * number)
        task.cancel()
        done, _ = await asyncio.wait({task}, timeout=PATIENCE)
        assert done, number
