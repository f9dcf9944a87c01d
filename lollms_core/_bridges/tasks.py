"""Async streams of backends that know nothing of tokens and threads: made to end when cancelled, and given to both."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, Generic, TypeVar

from lollms_core._bridges import processes
from lollms_core._bridges.loop_thread import LoopThread
from lollms_core.contract.errors import CallCancelledError, IncompleteStreamError
from lollms_core.contract.types import CancelToken

__all__ = ["FROM_WITHIN", "await_unless_cancelled", "iterate_in_loop", "iterate_unless_cancelled"]

T = TypeVar("T")

logger = logging.getLogger("lollms")

FROM_WITHIN = "the call was cancelled by what answers it, the backend or an extension, and not by whoever asked"

_AHEAD = 64
"""How many items a backend may be ahead of its reader."""
_LONGEST_END = 5.0
"""Seconds that a reader who has gone waits for a task that does not let its cancellation through."""


async def await_unless_cancelled(awaitable: Awaitable[T], cancel: CancelToken) -> T:
    """The result of a coroutine, in a task of its own that `cancel` and this task's cancellation end.

    Raises:
        CallCancelledError: `cancel` was cancelled before there was a result.
    """
    work = asyncio.ensure_future(awaitable)
    unregister = cancel.on_cancel(lambda: _in_loop(work.get_loop(), work.cancel))
    try:
        await asyncio.wait({work})
        if work.cancelled():
            raise CallCancelledError("the call was cancelled" if cancel.cancelled else FROM_WITHIN)
        return work.result()
    except asyncio.CancelledError:
        cancel.cancel()
        await _ended(work)
        raise
    finally:
        unregister()


async def _ended(work: asyncio.Future[Any]) -> None:
    """Cancel a task and see it end; one that does not is left alone after a while, and said so in the log."""
    work.cancel()
    done, _ = await asyncio.wait({work}, timeout=_LONGEST_END)
    if not done:
        logger.warning("a backend's task went on after it was cancelled; it is left alone")
    elif not work.cancelled():
        work.exception()  # looked at, so that asyncio does not complain that nobody did


class _Pump(Generic[T]):
    """Reads an async stream in a task of its own, which can be cancelled from any thread wherever it waits.

    Args:
        open_stream: gives the stream; called in the task.
        deliver: takes each item; called in the loop's thread.
    """

    def __init__(
        self, open_stream: Callable[[], AsyncIterator[T] | Awaitable[AsyncIterator[T]]], deliver: Callable[[T], None]
    ) -> None:
        self._open = open_stream
        self._deliver = deliver
        self._delivered = 0
        self._room: asyncio.Event | None = None
        self.taken = 0
        """How many items the reader has taken; it counts them here."""
        self.waiting = False
        """The pump waits for the reader; who has taken enough calls `resume` in the loop."""

    async def run(self) -> None:
        opened = self._open()
        stream = await opened if isinstance(opened, Awaitable) else opened
        try:
            async for item in stream:
                self._deliver(item)
                self._delivered += 1
                if self._delivered - self.taken >= _AHEAD:
                    await self._until_there_is_room()
        finally:
            aclose = getattr(stream, "aclose", None)
            if aclose is not None:
                await aclose()

    async def _until_there_is_room(self) -> None:
        if self._room is None:
            self._room = asyncio.Event()
        self._room.clear()
        self.waiting = True
        # Looked at again after saying that it waits: the reader may have taken the last one just before.
        while self._delivered - self.taken >= _AHEAD:
            await self._room.wait()
            self._room.clear()
        self.waiting = False

    @property
    def has_room(self) -> bool:
        """The reader has caught up far enough to be worth waking the pump."""
        return self._delivered - self.taken <= _AHEAD // 2

    def resume(self) -> None:
        """Go on; in the loop's thread."""
        if self._room is not None:
            self._room.set()


class _End:
    """The end of a pumped stream, with the exception that ended it."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


async def iterate_unless_cancelled(
    open_stream: Callable[[], AsyncIterator[T] | Awaitable[AsyncIterator[T]]], cancel: CancelToken
) -> AsyncGenerator[T, None]:
    """Iterate an async stream so that `cancel`, from any thread, ends it wherever it waits. A cancelled one just ends.

    Raises:
        CallCancelledError: what answers cancelled its own task.
    """
    items: asyncio.Queue[T | _End] = asyncio.Queue()
    pump: _Pump[T] = _Pump(open_stream, items.put_nowait)
    work = asyncio.get_running_loop().create_task(pump.run())
    work.add_done_callback(lambda done: items.put_nowait(_End(_outcome(done))))
    unregister = cancel.on_cancel(lambda: _in_loop(work.get_loop(), work.cancel))
    try:
        while not isinstance(item := await items.get(), _End):
            pump.taken += 1
            if pump.waiting and pump.has_room:
                pump.resume()
            yield item
        if isinstance(item.error, asyncio.CancelledError):
            if not cancel.cancelled:
                raise CallCancelledError(FROM_WITHIN)
        elif item.error is not None:
            raise item.error
    finally:
        unregister()
        if not work.done():
            cancel.cancel()
            await _ended(work)


def iterate_in_loop(
    open_stream: Callable[[], AsyncIterator[T] | Awaitable[AsyncIterator[T]]], portal: LoopThread, cancel: CancelToken
) -> Iterator[T]:
    """Iterate an async stream from sync code, in the caller's context. Nothing starts before the first `next`.

    Raises:
        CallCancelledError: what answers cancelled its own task.
        BackendError: the caller runs in the loop, and would wait for itself.
        IncompleteStreamError: the caller is a forked child, and the loop is its parent's.
    """
    portal.refuse_to_wait_for_itself()
    items: queue.SimpleQueue[T | _End] = queue.SimpleQueue()
    pump: _Pump[T] = _Pump(open_stream, items.put)
    loop, born = portal.loop(), processes.current
    tasks: list[asyncio.Task[None]] = []

    def start() -> None:
        if cancel.cancelled:
            return  # whoever cancelled has put the end there
        work = loop.create_task(pump.run())
        work.add_done_callback(lambda done: items.put(_End(_outcome(done))))
        tasks.append(work)

    def stop() -> None:
        for work in tasks:
            work.cancel()
        if not tasks:
            items.put(_End(asyncio.CancelledError()))

    unregister = cancel.on_cancel(lambda: _in_loop(loop, stop))
    ended = False
    try:
        # In here, or Ctrl-C could come between: what has begun is to be ended.
        loop.call_soon_threadsafe(start)
        while not isinstance(item := _next(items, loop, born), _End):
            pump.taken += 1
            if pump.waiting and pump.has_room:
                _in_loop(loop, pump.resume)
            yield item
        ended = True
        if isinstance(item.error, asyncio.CancelledError):
            if not cancel.cancelled:
                raise CallCancelledError(FROM_WITHIN)
        elif item.error is not None:
            raise item.error
    finally:
        unregister()
        if not ended and processes.current == born:  # in a forked child there is nothing to end
            cancel.cancel()
            _in_loop(loop, stop)
            _wait_for_end(items)


def _outcome(work: asyncio.Task[None]) -> BaseException | None:
    return asyncio.CancelledError() if work.cancelled() else work.exception()


def _in_loop(loop: asyncio.AbstractEventLoop, function: Callable[[], object]) -> None:
    with contextlib.suppress(RuntimeError):  # the loop is closed, and so is everything in it
        loop.call_soon_threadsafe(function)


def _next(items: queue.SimpleQueue[T | _End], loop: asyncio.AbstractEventLoop, born: int) -> T | _End:
    while True:
        if processes.current != born:
            gone = "this process was forked from the one that reads the answer"
            return _End(IncompleteStreamError(gone, hint="Ask again in the child."))
        try:
            return items.get(timeout=1.0)  # bounded, so that Ctrl-C gets through on Windows too
        except queue.Empty:
            if loop.is_closed() and items.empty():
                return _End(asyncio.CancelledError())


def _wait_for_end(items: queue.SimpleQueue[Any]) -> None:
    try:
        while not isinstance(items.get(timeout=_LONGEST_END), _End):
            pass
    except queue.Empty:
        logger.warning("a backend's task went on after it was cancelled; it is left alone")
