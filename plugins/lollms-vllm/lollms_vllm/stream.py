"""The answer as its consumer sees it: an iterator for threads and for tasks, fed by the engine's loop."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable

from lollms_core import BackendError, Chunk

__all__ = ["EngineStream", "Mailbox"]

_LIVENESS_CHECK = 1.0


class Mailbox:
    """Where the engine's loop puts chunks and, at the end, a closing chunk or an exception.

    One producer, one consumer. The first exception or chunk with a finish reason is the last item.
    """

    __slots__ = ("_items", "_lock", "_ready", "_waiter", "ended")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ready = threading.Condition(self._lock)
        self._items: deque[Chunk | Exception] = deque()
        self._waiter: tuple[asyncio.AbstractEventLoop, asyncio.Future[None]] | None = None
        self.ended = False
        """Nothing more will be put, or wanted."""

    def put(self, item: Chunk | Exception) -> None:
        """Hand an item to the consumer."""
        with self._lock:
            if self.ended:
                return
            self.ended = isinstance(item, Exception) or item.finish_reason is not None
            self._items.append(item)
            self._ready.notify()
            if self._waiter is None:
                return
            (loop, future), self._waiter = self._waiter, None
        try:
            loop.call_soon_threadsafe(_wake, future)
        except RuntimeError:  # the consumer's loop is closed, and its task with it
            self.ended = True

    def get(self, alive: Callable[[], bool]) -> Chunk | Exception:
        """The next item; waits for it."""
        with self._lock:
            while not self._items:
                # A bounded wait also lets Ctrl-C through on Windows.
                self._ready.wait(_LIVENESS_CHECK)
                if not self._items and not alive():
                    return BackendError("the thread of the vLLM engine is gone")
            return self._items.popleft()

    async def aget(self) -> Chunk | Exception:
        """The next item; waits for it without blocking the loop."""
        while True:
            with self._lock:
                if self._items:
                    return self._items.popleft()
                loop = asyncio.get_running_loop()
                future: asyncio.Future[None] = loop.create_future()
                self._waiter = (loop, future)
            await future


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


class EngineStream:
    """Iterate it with `for` or with `async for`. Nothing happens before the first item is asked for.

    Args:
        start: begins the work, which fills the mailbox; returns a function that stops it, and one that says whether
            the engine's thread is alive.
    """

    def __init__(self, start: Callable[[Mailbox], tuple[Callable[[], None], Callable[[], bool]]]) -> None:
        self._start: Callable[[Mailbox], tuple[Callable[[], None], Callable[[], bool]]] | None = start
        self._mailbox = Mailbox()
        self._stop: Callable[[], None] | None = None
        self._alive: Callable[[], bool] = lambda: True
        self._done = False

    def __iter__(self) -> EngineStream:
        return self

    def __next__(self) -> Chunk:
        if self._done:
            raise StopIteration
        try:
            self._begin()
            item = self._mailbox.get(self._alive)
        except BaseException:  # KeyboardInterrupt too: nobody will come back for the rest
            self.close()
            raise
        return self._deliver(item)

    def __aiter__(self) -> EngineStream:
        return self

    async def __anext__(self) -> Chunk:
        if self._done:
            raise StopAsyncIteration
        try:
            self._begin()
            item = await self._mailbox.aget()
        except BaseException:  # the task was cancelled
            self.close()
            raise
        return self._deliver(item)

    def close(self) -> None:
        """Stop the work. Further iteration ends at once."""
        self._done = True
        self._start = None
        self._mailbox.ended = True
        stop, self._stop = self._stop, None
        if stop is not None:
            stop()

    async def aclose(self) -> None:
        """`close` for tasks."""
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_stop", None) is not None:
            self.close()

    def _begin(self) -> None:
        if self._start is not None:
            start, self._start = self._start, None
            self._stop, self._alive = start(self._mailbox)

    def _deliver(self, item: Chunk | Exception) -> Chunk:
        if isinstance(item, Exception):
            self.close()
            raise item
        if item.finish_reason is not None:
            self.close()
        return item
