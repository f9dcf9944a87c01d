"""For backends that compute in a thread or a loop of their own: a stream fed from there, for threads and for tasks.

    @hookimpl
    def generate(self, request):
        def start(mailbox):
            self._jobs.put((request, mailbox))      # the thread: mailbox.put(Chunk(...)) while not mailbox.over
            unregister = request.cancel.on_cancel(mailbox.cancel_waiting)
            return unregister, self._thread.is_alive
        return MailboxStream(start)

A waiting task costs no thread, and abandoning the iterator in any way tells the producer.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable

from lollms_core.errors import BackendError
from lollms_core.types import Chunk

__all__ = ["Mailbox", "MailboxStream", "Start"]

_LIVENESS_CHECK = 1.0


class Mailbox:
    """Where a producer puts chunks and, at the end, a closing chunk or an exception. One producer, one consumer."""

    __slots__ = ("_admitted", "_ended", "_items", "_lock", "_ready", "_waiter", "abandoned")

    abandoned: bool
    """Nobody will read on."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ready = threading.Condition(self._lock)
        self._items: deque[Chunk | Exception] = deque()
        self._waiter: tuple[asyncio.AbstractEventLoop, asyncio.Future[None]] | None = None
        self._admitted = False
        self._ended = False
        self.abandoned = False

    def put(self, item: Chunk | Exception) -> None:
        """Hand an item to the consumer. The first exception or chunk with a finish reason is the last item."""
        with self._lock:
            if self._ended or self.abandoned:
                return
            self._ended = isinstance(item, Exception) or item.finish_reason is not None
            self._append(item)

    def admit(self) -> bool:
        """The producer takes the request up. `False`: it was cancelled or abandoned while it waited."""
        with self._lock:
            self._admitted = True
            return not (self._ended or self.abandoned)

    @property
    def over(self) -> bool:
        """The last item is in the box, or nobody will read it."""
        return self._ended or self.abandoned

    def cancel_waiting(self) -> None:
        """End at once a request that has not been taken up; one that runs is ended by its producer."""
        with self._lock:
            if not (self._admitted or self._ended):
                self._ended = True
                self._append(Chunk(finish_reason="cancelled"))

    def _append(self, item: Chunk | Exception) -> None:
        self._items.append(item)
        self._ready.notify()
        if self._waiter is None:
            return
        (loop, future), self._waiter = self._waiter, None
        try:
            loop.call_soon_threadsafe(_wake, future)
        except RuntimeError:  # the loop is closed, and its task with it
            self.abandoned = True

    def get(self, alive: Callable[[], bool]) -> Chunk | Exception:
        """The next item; waits for it."""
        with self._lock:
            while not self._items:
                # A bounded wait also lets Ctrl-C through on Windows.
                self._ready.wait(_LIVENESS_CHECK)
                if not self._items and not alive():
                    return BackendError("the thread that computes this answer is gone")
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


Start = Callable[[Mailbox], tuple[Callable[[], None], Callable[[], bool]]]
"""Begins the work that fills the mailbox. Returns a function that stops it and lets go of everything, called once at
the end however it comes, and one that says whether the producer is alive. Neither may refer to the stream."""


class MailboxStream:
    """Iterate it with `for` or with `async for`. Nothing happens before the first item is asked for."""

    def __init__(self, start: Start) -> None:
        self._start: Start | None = start
        self._mailbox = Mailbox()
        self._stop: Callable[[], None] | None = None
        self._alive: Callable[[], bool] = lambda: True
        self._done = False

    def __iter__(self) -> MailboxStream:
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

    def __aiter__(self) -> MailboxStream:
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
        self._mailbox.abandoned = True
        stop, self._stop = self._stop, None
        if stop is not None:
            stop()

    async def aclose(self) -> None:
        """`close` for tasks."""
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "_done"):
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
