"""The answer as its consumer sees it: an iterator for threads and for tasks, fed by the engine's thread.

A waiting task costs no thread, and abandoning the iterator in any way stops the work within a token.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from lollms_core import BackendError, CancelToken, Chunk

__all__ = ["Mailbox", "TokenStream"]

_LIVENESS_CHECK = 1.0


class Mailbox:
    """Where the engine puts chunks and, at the end, a closing chunk or an exception. One producer, one consumer."""

    __slots__ = ("_admitted", "_ended", "_items", "_lock", "_ready", "_waiter", "abandoned")

    abandoned: bool
    """Nobody will read on; the engine drops the row at its next token."""

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
            if self._ended:
                return
            self._ended = isinstance(item, Exception) or item.finish_reason is not None
            self._append(item)

    def admit(self) -> bool:
        """The engine takes the request up. `False`: it was cancelled or abandoned while it waited."""
        with self._lock:
            self._admitted = True
            return not (self._ended or self.abandoned)

    @property
    def over(self) -> bool:
        """The last item is in the box, or nobody will read it."""
        return self._ended or self.abandoned

    def cancel_waiting(self) -> None:
        """End at once a request that the engine has not taken up; one that runs is ended by the engine."""
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


class TokenStream:
    """Iterate it with `for` or with `async for`. Nothing happens before the first item is asked for.

    Args:
        start: submits the request; returns a function that says whether its engine is alive.
        cancel: the request's token.
    """

    def __init__(self, start: Callable[[Mailbox], Callable[[], bool]], cancel: CancelToken) -> None:
        self._start: Callable[[Mailbox], Callable[[], bool]] | None = start
        self._cancel = cancel
        self._mailbox = Mailbox()
        self._alive: Callable[[], bool] = lambda: True
        self._unregister: Callable[[], None] = lambda: None
        self._done = False

    def __iter__(self) -> TokenStream:
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

    def __aiter__(self) -> TokenStream:
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
        """Stop the work, within a token. Further iteration ends at once."""
        self._done = True
        self._start = None
        self._mailbox.abandoned = True
        self._unregister()

    async def aclose(self) -> None:
        """`close` for tasks."""
        self.close()

    def __del__(self) -> None:
        mailbox = getattr(self, "_mailbox", None)
        if mailbox is not None:
            mailbox.abandoned = True

    def __enter__(self) -> TokenStream:
        return self

    def __exit__(self, *exc: Any) -> None:
        self.close()

    def _begin(self) -> None:
        if self._start is None:
            return
        start, self._start = self._start, None
        # Bound to the mailbox, not to the stream: an abandoned stream must be collectable.
        self._unregister = self._cancel.on_cancel(self._mailbox.cancel_waiting)
        self._alive = start(self._mailbox)

    def _deliver(self, item: Chunk | Exception) -> Chunk:
        if isinstance(item, Exception):
            self.close()
            raise item
        if item.finish_reason is not None:
            self.close()
        return item
