"""An event loop in a thread of its own: for async backends that sync callers use, and for engines that live in one."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import os
import select
import selectors
import threading
import weakref
from collections.abc import Awaitable, Coroutine
from typing import Any, TypeVar

from lollms_core._bridges import processes
from lollms_core.contract.errors import BackendError, CallCancelledError, ContractError, a_kind
from lollms_core.contract.types import CancelToken

__all__ = ["LoopThread"]

T = TypeVar("T")

_LONGEST_END = 5.0
"""Seconds that `close` waits for the tasks of the loop; one that does not end when it is cancelled must not hang it."""


class LoopThread:
    """Made on first use; ends with `close`, with its last reference, or with the program. Thread-safe.

    After a fork the child's first use makes a new one.
    """

    def __init__(self, name: str = "lollms-loop") -> None:
        """`name`: of the thread."""
        self._name = name
        self._lock = threading.RLock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._selector: selectors.BaseSelector | None = None
        self._thread: threading.Thread | None = None
        self._end: weakref.finalize[..., LoopThread] | None = None
        processes.renewed_in_child(self)

    def renew(self) -> None:
        """Let go of the thread and the loop, which are a forked child's parent's; so may be whoever holds the lock."""
        if self._selector is not None:
            _part_with(self._selector)
        processes.keep_for_good((self._loop, self._thread))
        if self._end is not None:
            self._end.detach()
        self._lock = threading.RLock()
        self._loop = self._selector = self._thread = self._end = None

    def loop(self) -> asyncio.AbstractEventLoop:
        """The running loop."""
        with self._lock:
            if self._loop is None or self._loop.is_closed():
                self._loop, self._selector = _new_loop()
                self._thread = threading.Thread(target=_run, args=(self._loop,), name=self._name, daemon=True)
                self._end = weakref.finalize(self, _stop, self._loop)
                self._thread.start()
            return self._loop

    def is_alive(self) -> bool:
        """Whether the thread runs."""
        thread = self._thread
        return thread is not None and thread.is_alive()

    def is_this_thread(self) -> bool:
        """Whether the caller runs in the loop, which stands still while it waits for anything."""
        return self._thread is threading.current_thread()

    def refuse_to_wait_for_itself(self) -> None:
        """Raise `BackendError` where the caller runs in the loop."""
        if self.is_this_thread():
            raise BackendError(
                "a coroutine that runs in the client's event loop makes a sync call, which needs this very loop",
                hint="This is a fault of the backend's or extension's package: the call's async twin belongs there.",
            )

    def submit(self, work: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        """Begin a coroutine in the loop. Cancelling the future cancels its task.

        Raises:
            ContractError: `work` is no coroutine, such as the function itself that would make one.
        """
        given: Any = work  # whatever its type says
        if not asyncio.iscoroutine(given):
            raise ContractError(
                f"`submit` of the LoopThread {self._name!r} was given {a_kind(given)} where a coroutine is due, "
                "which is what calling an `async def` function gives"
            )
        return asyncio.run_coroutine_threadsafe(work, self.loop())

    def run(self, awaitable: Awaitable[T], cancel: CancelToken) -> T:
        """The result of a coroutine that runs in the loop, in the caller's context. Ends early when cancelled.

        Raises:
            CallCancelledError: it was cancelled before it had a result.
            BackendError: the caller runs in the loop, and would wait for itself.
        """
        try:
            self.refuse_to_wait_for_itself()
        except BackendError:
            if asyncio.iscoroutine(awaitable):
                awaitable.close()
            raise
        future = self.submit(_awaited(awaitable))
        unregister = cancel.on_cancel(future.cancel)
        try:
            return future.result()
        except concurrent.futures.CancelledError:
            raise CallCancelledError("the call was cancelled") from None
        except BaseException:
            future.cancel()  # Ctrl-C: nobody waits for it any more
            raise
        finally:
            unregister()

    def close(self) -> None:
        """End the loop's tasks, the loop and its thread. May be called more than once."""
        with self._lock:
            thread, end = self._thread, self._end
            self._loop = self._selector = self._thread = self._end = None
        if end is None:
            return
        end()
        if thread is not None and thread is not threading.current_thread():
            thread.join(_LONGEST_END)
            if thread.is_alive():
                raise BackendError(
                    f"a task of the backend did not end within {_LONGEST_END:g} seconds of being cancelled",
                    hint="Its coroutine must let `asyncio.CancelledError` through.",
                )


def _new_loop() -> tuple[asyncio.AbstractEventLoop, selectors.BaseSelector | None]:
    """A loop and, where there are forks, the selector that it waits with."""
    if not hasattr(os, "fork"):
        return asyncio.new_event_loop(), None
    selector = selectors.DefaultSelector()
    return asyncio.SelectorEventLoop(selector), selector


def _part_with(selector: selectors.BaseSelector) -> None:
    """Give a forked child's copy of a selector an epoll object of its own.

    The two share one otherwise, and what ends with the child would be taken out of the parent's, who would then wait
    for ever for its answers.
    """
    if hasattr(select, "epoll") and isinstance(selector, selectors.EpollSelector):
        with contextlib.suppress(OSError), select.epoll() as own:
            os.dup2(own.fileno(), selector.fileno(), inheritable=False)


async def _awaited(awaitable: Awaitable[T]) -> T:
    return await awaitable


def _run(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        while True:
            try:
                loop.run_forever()
                break
            except (SystemExit, KeyboardInterrupt):
                continue  # raised by one task, whose caller gets it; the others go on
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())
    finally:
        loop.close()


def _stop(loop: asyncio.AbstractEventLoop) -> None:
    with contextlib.suppress(RuntimeError):  # it is closed already
        loop.call_soon_threadsafe(loop.stop)
