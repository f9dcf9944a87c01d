"""A blocking iterator, read by async code: what the async calls are without the extra `lollms-core[async]`."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TypeVar

__all__ = ["in_thread"]

T = TypeVar("T")

_AHEAD = 64
"""How many items the thread may be ahead of its reader."""


async def in_thread(make: Callable[[], Iterator[T]], abort: Callable[[], None]) -> AsyncIterator[T]:
    """Iterate in a thread of its own and hand each item over to the running loop.

    The thread has ended when this generator has: if nobody reads on, `abort` is called, which must make the blocking
    iterator return or raise soon.
    """
    loop = asyncio.get_running_loop()
    items: asyncio.Queue[tuple[str, T | BaseException | None]] = asyncio.Queue()
    room = threading.Semaphore(_AHEAD)
    unwanted = threading.Event()

    def put(kind: str, item: T | BaseException | None) -> None:
        try:
            loop.call_soon_threadsafe(items.put_nowait, (kind, item))
        except RuntimeError:
            unwanted.set()  # the loop has been closed: nobody is left to read

    def work() -> None:
        iterator = make()
        try:
            for item in iterator:
                room.acquire()
                if unwanted.is_set():
                    break
                put("item", item)
        except BaseException as error:
            put("error", error)
        else:
            put("end", None)
        finally:
            close = getattr(iterator, "close", None)
            if close is not None:
                close()
            put("done", None)

    thread = threading.Thread(target=work, name="lollms-stream", daemon=True)
    thread.start()
    ended = False
    try:
        while True:
            kind, item = await items.get()
            if kind == "item":
                room.release()
                yield item  # type: ignore[misc]
                continue
            ended = True
            if isinstance(item, BaseException):
                raise item
            return
    finally:
        unwanted.set()
        room.release()
        if not ended:
            abort()
        while (await items.get())[0] != "done":
            pass
        thread.join()
