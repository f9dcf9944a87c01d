"""Exceptions that a signal handler of the program raised: they are the caller's, whatever they interrupted.

A time limit by `SIGALRM`, or Celery's soft limit, raises in the middle of whatever runs. What it raises may well be an
`OSError`, as in the example of Python's own `signal` module, and is no failure of a connection all the same.
"""

from __future__ import annotations

import functools
import inspect
import itertools
import signal
import threading
import traceback
from types import CodeType, FrameType

__all__ = ["raised_by_handler"]


def raised_by_handler(error: BaseException) -> bool:
    """Whether a signal handler raised it. Only the main thread runs those."""
    if threading.current_thread() is not threading.main_thread():
        return False
    handlers = _codes()
    return any(
        frame.f_code in handlers or _called_as_handler(frame) for frame, _ in traceback.walk_tb(error.__traceback__)
    )


def _called_as_handler(frame: FrameType) -> bool:
    """Whether a function was given a signal and a frame, as one that is not installed any more has been."""
    code = frame.f_code
    count = code.co_argcount + code.co_kwonlyargcount + bool(code.co_flags & inspect.CO_VARARGS)
    if not count:
        return False
    values = [frame.f_locals.get(name) for name in code.co_varnames[:count]]
    given = [*values, *itertools.chain.from_iterable(value for value in values if isinstance(value, tuple))]
    return any(isinstance(value, FrameType) for value in given) and any(
        isinstance(value, int) and value in signal.valid_signals() for value in given
    )


def _codes() -> set[CodeType]:
    found = set()
    for number in signal.valid_signals():
        handler = signal.getsignal(number)
        while isinstance(handler, functools.partial):
            handler = handler.func
        if callable(handler) and handler is not signal.default_int_handler:
            for function in (handler, getattr(handler, "__func__", None), vars(type(handler)).get("__call__")):
                if isinstance(code := getattr(function, "__code__", None), CodeType):
                    found.add(code)
    return found
