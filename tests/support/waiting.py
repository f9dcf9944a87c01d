"""Waiting for what must happen, however slow the machine is, without waiting for ever if it does not.

A machine that is busy must fail no test, and a defect must not hang one. So every limit that only turns a hang into a
failure is `PATIENCE`, which no test waits out; and no test waits in a thread that could outlive it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

from lollms_core import Timeouts

__all__ = [
    "PATIENCE",
    "PATIENT",
    "Background",
    "await_until",
    "clock_waiting_for",
    "in_background",
    "program",
    "wait_until",
]

T = TypeVar("T")

PATIENCE = float(os.environ.get("LOLLMS_TESTS_PATIENCE", "300"))
"""Seconds after which what has not happened counts as hung. Whoever looks for a hang may set a shorter time."""

PATIENT = Timeouts(connect=PATIENCE, first_token=PATIENCE, idle=PATIENCE)
"""For clients of servers that do answer."""

_PAUSE = 0.005


def wait_until(condition: Callable[[], object], what: str) -> None:
    """Wait until `condition` holds.

    Raises:
        AssertionError: it has not come true in time; the message names `what` was waited for.
    """
    __tracebackhide__ = True
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited in vain for {what}, {PATIENCE:g} s")
        time.sleep(_PAUSE)


async def await_until(condition: Callable[[], object], what: str) -> None:
    """`wait_until`, for a condition that the running loop brings about."""
    __tracebackhide__ = True
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited in vain for {what}, {PATIENCE:g} s")
        await asyncio.sleep(_PAUSE)


class Background(Generic[T]):
    """Work in a thread. Not an executor's, whose threads are waited for in the end even if they hang."""

    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work
        self._values: list[T] = []
        self._errors: list[BaseException] = []
        self._thread = threading.Thread(target=self._run, name="background", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._values.append(self._work())
        except BaseException as error:
            self._errors.append(error)

    def done(self) -> bool:
        """Whether the thread has ended."""
        return not self._thread.is_alive()

    def result(self) -> T:
        """What the work came to, or its exception, once the thread has ended.

        Raises:
            AssertionError: it has not ended in time; the message shows where it is.
        """
        __tracebackhide__ = True
        self._thread.join(PATIENCE)
        if not self.done():
            frame = sys._current_frames().get(self._thread.ident or 0)
            where = "".join(traceback.format_stack(frame)[-8:]) if frame else ""
            raise AssertionError(f"this did not end, {PATIENCE:g} s; it is here:\n{where}")
        if self._errors:
            raise self._errors[0]
        return self._values[0]


def in_background(work: Callable[[], T]) -> Background[T]:
    """Begin to do `work` in a thread."""
    return Background(work)


@contextlib.contextmanager
def program(command: list[str], **options: Any) -> Iterator[subprocess.Popen[Any]]:
    """Another program, which does not outlive the block. `options` are those of `Popen`, which only waits."""
    with subprocess.Popen(command, **options) as process:
        try:
            yield process
        finally:
            process.kill()


@contextlib.contextmanager
def clock_waiting_for(event: threading.Event) -> Iterator[None]:
    """In the running loop no time passes before `event`.

    For a short limit on something that a server brings about: it cannot be over before the server has got that far.
    """
    loop = asyncio.get_running_loop()
    real = loop.time
    begun, held = real(), 0.0

    def time_since_the_event() -> float:
        nonlocal held
        now = real()
        if not event.is_set():
            held = now - begun
        return now - held

    loop.time = time_since_the_event  # type: ignore[method-assign]
    try:
        yield
    finally:
        del loop.time
