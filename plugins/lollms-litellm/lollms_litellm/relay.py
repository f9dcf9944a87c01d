"""A stream in a task of its own: it can be cancelled from any thread and has time limits that mean what they say.

LiteLLM's own streams cannot be stopped while they wait, and its one `timeout` means different things for different
providers. A task can be cancelled at any await, whatever library waits below it, and that closes the connection. The
sync form of a call is this same coroutine on the core's loop thread: LiteLLM's sync functions block in places from
which no other thread can free them.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable

from lollms_core import APITimeoutError, CancelToken, Chunk, LollmsError

__all__ = ["Relay", "relay"]

_ROOM = 64
"""Chunks to hold for a slow consumer before the provider is made to wait."""


class Relay:
    """What the producing task talks to."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._buffer: deque[Chunk] = deque()
        self._ready = asyncio.Event()
        self._room = asyncio.Event()
        self._deadline: float | None = None
        self._limit: tuple[float, str] = (0.0, "")
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self.begun = False
        """Whether anything of the answer has arrived."""
        self.overdue: LollmsError | None = None

    def patience(self, seconds: float | None, what: str) -> None:
        """From now on, wait this long for the provider; `None` is for ever. `what` ends the sentence about it."""
        if seconds is None:
            self._deadline = None
            return
        self._deadline = self._loop.time() + seconds
        self._limit = (seconds, what)
        # One timer that looks at the deadline when it fires, in place of one for every chunk.
        if self._timer is None or self._timer.when() > self._deadline:
            self._arm(self._deadline)

    async def send(self, chunk: Chunk) -> None:
        """Hand a chunk over; waits while the consumer is far behind."""
        self.begun = True
        self._buffer.append(chunk)
        self._ready.set()
        if len(self._buffer) >= _ROOM:
            self._deadline = None  # it is not the provider that is slow
            self._room.clear()
            await self._room.wait()

    def start(self, produce: Callable[[Relay], Awaitable[None]]) -> asyncio.Task[None]:
        async def run() -> None:
            await produce(self)

        self._task = self._loop.create_task(run())
        self._task.add_done_callback(lambda _: self._ready.set())
        return self._task

    async def chunks(self, task: asyncio.Task[None]) -> AsyncGenerator[Chunk, None]:
        """What was sent, until the task is done."""
        while True:
            while self._buffer:
                yield self._buffer.popleft()
            self._room.set()
            if task.done() and not self._buffer:
                return
            self._ready.clear()
            await self._ready.wait()

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _arm(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(when, self._look)

    def _look(self) -> None:
        self._timer = None
        if self._deadline is None or self._task is None or self._task.done():
            return
        if self._loop.time() < self._deadline:
            self._arm(self._deadline)
            return
        seconds, what = self._limit
        self.overdue = APITimeoutError(f"the provider did not {what} within {seconds:g} s", format="litellm")
        self._task.cancel()


async def relay(produce: Callable[[Relay], Awaitable[None]], cancel: CancelToken) -> AsyncGenerator[Chunk, None]:
    """The chunks that `produce` sends.

    Cancelling, closing this generator, and running out of patience all cancel the task that runs `produce`, and wait
    until it has let go of its connection.
    """
    pipe = Relay()
    task = pipe.start(produce)
    loop = asyncio.get_running_loop()

    def halt() -> None:
        with contextlib.suppress(RuntimeError):  # the loop has been closed: nothing is left to stop
            loop.call_soon_threadsafe(task.cancel)

    unregister = cancel.on_cancel(halt)
    try:
        async for chunk in pipe.chunks(task):
            yield chunk
        if pipe.overdue is not None:
            raise pipe.overdue
        if task.cancelled():
            yield Chunk(finish_reason="cancelled")
            return
        error = task.exception()
        if error is not None and not cancel.cancelled:
            raise error
    finally:
        unregister()
        pipe.stop()
        if not task.done():
            task.cancel()
        # Gathered, not awaited: a failure of the task was raised above, or nobody wants it any more.
        await asyncio.gather(task, return_exceptions=True)
