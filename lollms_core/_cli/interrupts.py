"""Ctrl-C while a command works: it is answered at once, and whoever presses it again is let go at once.

Python notices Ctrl-C quickly, but then a model that is being loaded, or a package that is being imported, may take
many seconds to come to an end. Nobody shall wonder in the meantime whether the key was noticed.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, NoReturn

from lollms_core._cli.screen import write_at_once
from lollms_core._cli.state import current_state
from lollms_core._cli.status_line import status_line

__all__ = ["INTERRUPTED", "announced", "finish", "leave", "unannounced"]

INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells have it: 128 and the number of SIGINT."""
_PATIENCE = 2.0
"""Seconds that the clean end of something may take when somebody wants to leave."""


@contextlib.contextmanager
def announced() -> Iterator[None]:
    """Inside, the first Ctrl-C says "Stopping…" and raises `KeyboardInterrupt`; the second ends the process."""
    with _handler(_first), _ending_in_order():
        yield


@contextlib.contextmanager
def unannounced() -> Iterator[None]:
    """Inside, Ctrl-C raises `KeyboardInterrupt`, as Python has it: for whoever says something of their own."""
    with _handler(signal.default_int_handler):
        yield


@contextlib.contextmanager
def _handler(handler: Callable[[int, FrameType | None], Any]) -> Iterator[None]:
    known = (signal.default_int_handler, _first, _second)
    before = signal.getsignal(signal.SIGINT)
    # A shell gives background jobs a SIGINT that is ignored, and a program that calls us may have a handler.
    if threading.current_thread() is not threading.main_thread() or before not in known:
        yield
        return
    signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def _ending_in_order() -> Iterator[None]:
    """Inside, a process that is asked to end, or whose terminal closes, stops the answer first."""
    ours = []
    if threading.current_thread() is threading.main_thread():
        for name in ("SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)  # Windows has one of them
            if number is not None and signal.getsignal(number) is signal.SIG_DFL:
                signal.signal(number, _end)
                ours.append(number)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)


def _end(number: int, _: FrameType | None) -> NoReturn:
    signal.signal(number, signal.SIG_DFL)
    current_state().hurry = True
    raise SystemExit(128 + number)


def _first(_: int, __: FrameType | None) -> NoReturn:
    signal.signal(signal.SIGINT, _second)
    current_state().hurry = True
    new_line = "" if status_line.end() else "\n"
    with contextlib.suppress(OSError, ValueError):
        write_at_once(f"{new_line}Stopping…\n")
    raise KeyboardInterrupt


def _second(_: int, __: FrameType | None) -> NoReturn:
    leave(INTERRUPTED)


def finish(work: Callable[[], object]) -> None:
    """Do what belongs to a clean end, but do not wait long for it if somebody wants to leave."""
    if not current_state().hurry:
        work()
        return
    thread = threading.Thread(target=_quietly, args=(work,), name="finish", daemon=True)
    thread.start()
    thread.join(_PATIENCE)


def _quietly(work: Callable[[], object]) -> None:
    with contextlib.suppress(Exception):
        work()


def leave(status: int) -> NoReturn:
    """End the process without waiting for any thread."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, RuntimeError, AttributeError):
            stream.flush()
    # Children that a library has started, such as an engine, would be ended by Python's own exit.
    if "multiprocessing" in sys.modules:
        import multiprocessing

        for child in multiprocessing.active_children():
            child.terminate()
    os._exit(status)
