"""For backends that compute in a thread or a loop of their own: a stream fed from there, for threads and for tasks.

    @hookimpl
    def generate(self, request):
        def start(mailbox):
            self._jobs.put((request, mailbox))      # the thread: mailbox.put(Chunk(...)) while not mailbox.over
            unregister = request.cancel.on_cancel(mailbox.cancel_waiting)
            return unregister, self._thread.is_alive
        return MailboxStream(start)

A waiting task costs no thread, and abandoning the iterator in any way tells the producer. `LoopThread` is a thread with
an event loop, for an engine that lives in one loop whoever calls.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import inspect
import queue
from collections.abc import Callable
from typing import Any

from lollms_core._bridges.loop_thread import LoopThread
from lollms_core._bridges.tasks import FROM_WITHIN
from lollms_core.contract.errors import (
    BackendError,
    CallCancelledError,
    ContractError,
    a_kind,
    described,
    warn_caller,
)
from lollms_core.contract.types import Chunk

__all__ = ["LoopThread", "Mailbox", "MailboxStream", "Start"]

_LIVENESS_CHECK = 1.0


class Mailbox:
    """Where a producer puts chunks and, at the end, a closing chunk or an exception. One producer, one consumer.

    Without a lock: `cancel_waiting` may run in a signal handler, in the middle of any of these methods. At worst a
    request is both taken up and ended; its consumer has gone then, which the producer sees.
    """

    __slots__ = ("_admitted", "_ended", "_items", "_name", "_waiter", "_whole", "abandoned")

    abandoned: bool
    """Nobody will read on."""

    def __init__(self, name: str = "a mailbox") -> None:
        """`name`: what errors call it."""
        self._name = name
        self._items: queue.SimpleQueue[Chunk | Exception] = queue.SimpleQueue()
        self._waiter: tuple[asyncio.AbstractEventLoop, asyncio.Future[None]] | None = None
        self._admitted = False
        self._ended = False
        self._whole = False
        self.abandoned = False

    def put(self, item: Chunk | Exception) -> None:
        """Hand an item to the consumer. The first exception or chunk with a finish reason is the last item.

        Raises:
            ContractError: it is neither. The consumer gets the same error.
        """
        if self.over:
            self._check_lost(item)
            return
        given: Any = item  # whatever its type says
        if not isinstance(given, (Chunk, Exception)):
            error = ContractError(f"{a_kind(given)} was put into {self._name}, which takes chunks and exceptions")
            self._ended = True
            self._append(error)
            raise error
        if isinstance(item, (StopIteration, StopAsyncIteration)):
            # To whoever iterates it would be the end of the answer (PEP 479).
            ended = RuntimeError(f"the producer raised {type(item).__name__}")
            ended.__cause__ = item
            item = ended
        self._whole = isinstance(item, Chunk) and item.finish_reason not in (None, "cancelled")
        self._ended = isinstance(item, Exception) or item.finish_reason is not None
        self._append(item)

    def _check_lost(self, item: Chunk | Exception) -> None:
        """Whoever has gone or cancelled misses nothing; but an answer that has ended was not to have more to it."""
        said = isinstance(item, Chunk) and (item.text or item.part is not None or item.usage is not None)
        if said and self._whole:
            warn_caller(
                f"something was put into {self._name} after the chunk that ended its answer, and is lost: the chunk "
                "with the finish reason is the last one, and has the usage in it",
                RuntimeWarning,
            )

    def fed_by(self, work: concurrent.futures.Future[Any]) -> None:
        """See to it that the answer ends when its work does: what that raises reaches the consumer.

        Work that is cancelled though nobody cancelled the request has failed: the answer is not whole.

        For `LoopThread.submit` and `ThreadPoolExecutor.submit`, whose futures keep to themselves what went wrong.

        Raises:
            ContractError: `work` is no future.
        """
        if not hasattr(work, "add_done_callback"):
            raise ContractError(
                f"`fed_by` of {self._name} was given {a_kind(work)} where a future is due, such as "
                "`LoopThread.submit` and `ThreadPoolExecutor.submit` give"
            )
        work.add_done_callback(self._work_ended)

    def _work_ended(self, work: concurrent.futures.Future[Any]) -> None:
        if self.over:
            return
        if work.cancelled():
            self.put(CallCancelledError(FROM_WITHIN))  # of a request that was cancelled it is no error
            return
        error = work.exception()
        if error is None:
            self.put(ContractError(f"the work behind {self._name} has ended, but not its answer", hint=_LAST))
        elif isinstance(error, Exception):
            self.put(error)
        else:
            ended = BackendError(f"the work behind {self._name} has ended: {described(error)}")
            ended.__cause__ = error
            self.put(ended)

    def admit(self) -> bool:
        """The producer takes the request up. `False`: it was cancelled or abandoned while it waited."""
        self._admitted = True
        return not self.over

    @property
    def over(self) -> bool:
        """The last item is in the box, or nobody will read it."""
        return self._ended or self.abandoned

    def cancel_waiting(self) -> None:
        """End at once a request that has not been taken up; one that runs is ended by its producer."""
        if not (self._admitted or self._ended):
            self._ended = True
            self._append(Chunk(finish_reason="cancelled"))

    def _append(self, item: Chunk | Exception) -> None:
        self._items.put(item)
        waiter, self._waiter = self._waiter, None
        if waiter is None:
            return
        loop, future = waiter
        try:
            loop.call_soon_threadsafe(_wake, future)
        except RuntimeError:  # the loop is closed, and its task with it
            self.abandoned = True

    def get(self, alive: Callable[[], bool]) -> Chunk | Exception:
        """The next item; waits for it. An error if the producer is gone."""
        while True:
            try:
                # A bounded wait also lets Ctrl-C through on Windows.
                return self._items.get(timeout=_LIVENESS_CHECK)
            except queue.Empty:
                if not alive() and self._items.empty():
                    return _gone()

    async def aget(self, alive: Callable[[], bool]) -> Chunk | Exception:
        """The next item; waits for it without blocking the loop. An error if the producer is gone."""
        loop = asyncio.get_running_loop()
        while True:
            with contextlib.suppress(queue.Empty):
                return self._items.get_nowait()
            future: asyncio.Future[None] = loop.create_future()
            self._waiter = (loop, future)
            if not self._items.empty():  # it came before whoever put it could see that somebody waits
                continue
            look = loop.call_later(_LIVENESS_CHECK, _wake, future)
            try:
                await future
            finally:
                look.cancel()
            if self._items.empty() and not alive():
                return _gone()


_LAST = "The last item that a backend puts into a mailbox is a chunk with a finish reason, or an exception."


def _gone() -> BackendError:
    return BackendError("the thread that computes this answer is gone", hint=_LAST)


def _place(start: Any) -> str:
    """Where the function that begins the work is defined, for errors: its module, and what is around it."""
    function = getattr(start, "func", start)  # of a functools.partial
    name = getattr(function, "__qualname__", type(function).__qualname__)
    return f"`{function.__module__}.{name}`".replace("<locals>.", "")


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


Start = Callable[[Mailbox], tuple[Callable[[], None], Callable[[], bool]]]
"""Begins the work that fills the mailbox. Returns a function that stops it and lets go of everything, called once at
the end however it comes, and one that says whether the producer is alive. Neither may refer to the stream."""


class MailboxStream:
    """Iterate it with `for` or with `async for`. Nothing happens before the first item is asked for."""

    ends_when_cancelled = True

    def __init__(self, start: Start) -> None:
        """A stream. Raises `ContractError` for a `start` that cannot be called."""
        if not callable(start):
            raise ContractError(f"MailboxStream was given {a_kind(start)}, not the function that begins the work")
        self._start: Start | None = start
        self._place = _place(start)
        self._mailbox = Mailbox(f"the mailbox of {self._place}")
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
            item = await self._mailbox.aget(self._alive)
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
            begun = start(self._mailbox)
            if not (isinstance(begun, tuple) and len(begun) == 2 and all(map(callable, begun))):
                raise ContractError(
                    f"{self._place} must return two functions to its MailboxStream: one that stops the work, and one "
                    "that says whether it is alive"
                )
            for function in begun:
                if inspect.iscoroutinefunction(function):
                    raise ContractError(
                        f"{self._place} must not return `{function.__qualname__}` to its MailboxStream, because nobody "
                        "would await an `async def`"
                    )
            self._stop, self._alive = begun

    def _deliver(self, item: Chunk | Exception) -> Chunk:
        if isinstance(item, Exception):
            self.close()
            raise item
        if item.finish_reason is not None:
            self.close()
        return item
