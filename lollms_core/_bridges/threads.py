"""Blocking work on behalf of async callers: in a thread of its own, which the caller's loop never waits for in vain."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import threading
from collections.abc import AsyncGenerator, Callable, Iterable
from typing import Any, TypeVar

from lollms_core._bridges.limits import wait_for
from lollms_core._bridges.tasks import FROM_WITHIN
from lollms_core.contract.errors import CallCancelledError
from lollms_core.contract.types import CancelToken

__all__ = ["iterate_in_thread", "run_in_thread"]

T = TypeVar("T")

logger = logging.getLogger("lollms")

_AHEAD = 64
"""How many items the thread may be ahead of its reader."""
_LONGEST_END = 2.0
"""Seconds that a reader who has gone waits for a thread that does not look at its token; then it is left alone."""


async def run_in_thread(function: Callable[..., T], *args: Any, cancel: CancelToken) -> T:
    """`function(*args)` in a thread of its own, in the caller's context.

    Not in asyncio's pool: `asyncio.run` waits for that to be idle, however long somebody blocks it. When the task or
    `cancel` is cancelled this ends at once; the thread is asked, by the token, to do the same.

    Raises:
        CallCancelledError: `cancel` was cancelled before there was a result.
    """
    loop = asyncio.get_running_loop()
    result: asyncio.Future[T] = loop.create_future()
    context = contextvars.copy_context()

    def settle(outcome: T | None, error: BaseException | None) -> None:
        if result.done():
            return
        if error is not None:
            result.set_exception(error)
        else:
            result.set_result(outcome)  # type: ignore[arg-type]

    def work() -> None:
        try:
            outcome, failure = context.run(function, *args), None
        except BaseException as error:
            outcome, failure = None, _not_the_readers(error)
        if isinstance(failure, StopIteration):  # which a future refuses
            failure = RuntimeError(f"StopIteration: {failure.value!r}")
        _tell(loop, settle, outcome, failure)

    def cancelled() -> None:
        _tell(loop, settle, None, CallCancelledError("the call was cancelled"))

    unregister = cancel.on_cancel(cancelled)
    threading.Thread(target=work, name="lollms-call", daemon=True).start()
    try:
        return await result
    except asyncio.CancelledError:
        cancel.cancel()
        raise
    finally:
        unregister()


def _not_the_readers(error: BaseException) -> BaseException:
    """What blocking work has raised. Its cancellation of something of its own must not look like that of the reader."""
    if not isinstance(error, asyncio.CancelledError):
        return error
    known = CallCancelledError(FROM_WITHIN)
    known.__cause__ = error
    return known


def _tell(loop: asyncio.AbstractEventLoop, function: Callable[..., None], *args: Any) -> bool:
    """Run something in the loop; whether there still is one."""
    try:
        loop.call_soon_threadsafe(function, *args)
    except RuntimeError:
        return False
    return True


async def iterate_in_thread(open_stream: Callable[[], Iterable[T]], cancel: CancelToken) -> AsyncGenerator[T, None]:
    """Iterate a blocking stream in a thread of its own, in the caller's context, and hand each item to the loop.

    When this generator has ended, so has the thread, unless it does not look at its token: then it is left behind
    after two seconds, and said so in the log. Cancelling `cancel`, the task, or closing this generator ends it.
    """
    loop = asyncio.get_running_loop()
    items: asyncio.Queue[tuple[str, Any]] = asyncio.Queue()
    room = threading.Semaphore(_AHEAD)
    unwanted = threading.Event()
    context = contextvars.copy_context()

    def put(kind: str, item: Any = None) -> None:
        if not _tell(loop, items.put_nowait, (kind, item)):
            unwanted.set()  # nobody is left to read

    def work() -> None:
        iterator = None
        try:
            iterator = iter(open_stream())
            for item in iterator:
                room.acquire()
                if unwanted.is_set():
                    break
                put("item", item)
        except BaseException as error:
            put("error", _not_the_readers(error))
        else:
            put("end")
        finally:
            close = getattr(iterator, "close", None)
            if close is not None:
                try:
                    close()
                except Exception:
                    logger.warning("closing a backend's stream failed", exc_info=True)
            put("done")

    thread = threading.Thread(target=context.run, args=(work,), name="lollms-stream", daemon=True)
    unregister = cancel.on_cancel(lambda: put("cancelled"))
    thread.start()
    ended = False
    try:
        while True:
            kind, item = await items.get()
            if kind == "item":
                room.release()
                yield item
                continue
            ended = kind in ("end", "error")
            if kind == "error":
                raise item
            return
    finally:
        unregister()
        unwanted.set()
        room.release()
        if not ended:
            cancel.cancel()
        try:
            await wait_for(_until_done(items), _LONGEST_END)
            thread.join()
        except (asyncio.TimeoutError, TimeoutError):
            logger.warning("a backend's stream went on after it was cancelled; its thread is left behind")


async def _until_done(items: asyncio.Queue[tuple[str, Any]]) -> None:
    while (await items.get())[0] != "done":
        pass
