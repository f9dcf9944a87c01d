"""Where a call hangs: the line of an author's code that it is in, whichever thread or coroutine runs that."""

from __future__ import annotations

import gc
import inspect
import os
import sys
import sysconfig
import threading
from collections.abc import Callable, Collection, Iterator
from types import AsyncGeneratorType, CodeType, CoroutineType, FrameType
from typing import Any

__all__ = ["files_of", "is_a_strangers", "whereabouts"]

_OURS = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_PYTHON = sysconfig.get_path("stdlib") + os.sep


def whereabouts(thread: threading.Thread, files: Collection[str], earlier: Collection[int | None] = ()) -> str:
    """What to say of the place where a call hangs; empty if it hangs in nobody's code but ours and Python's.

    Args:
        thread: the one that waits for the call.
        files: with the author's code, as far as they are known; else it is whatever is neither ours nor Python's.
        earlier: threads that were there before the call.
    """
    frames = sys._current_frames()
    own = [list(_outwards(frames.get(thread.ident or 0)))]
    # A thread that nobody but its author has started is not what the call waits in: there, ours calls a hook.
    others = {ident: stack for ident in frames if _calls_a_hook(stack := list(_outwards(frames[ident])))}
    since = own + [stack for ident, stack in others.items() if ident not in earlier]
    before = [stack for ident, stack in others.items() if ident in earlier]
    places = [
        *(_innermost(stack, lambda name: name in files) for stack in since),
        *_awaiting(files),
        *(_innermost(stack, lambda name: name in files) for stack in before),
        *(_innermost(stack, is_a_strangers) for stack in since),
    ]
    return next(filter(None, places), "")


def files_of(*subjects: object) -> frozenset[str]:
    """The files with the methods of objects or classes, ours aside."""
    found = set()
    for subject in subjects:
        for base in (subject if isinstance(subject, type) else type(subject)).__mro__:
            for method in vars(base).values():
                code = getattr(inspect.unwrap(method), "__code__", None) if callable(method) else None
                if isinstance(code, CodeType) and is_a_strangers(code.co_filename):
                    found.add(code.co_filename)
    return frozenset(found)


def _outwards(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


def _calls_a_hook(stack: list[FrameType]) -> bool:
    names = [frame.f_code.co_filename for frame in stack]
    first = next((number for number, name in enumerate(names) if is_a_strangers(name)), len(names))
    return any(name.startswith(_OURS) for name in names[first:])


def _innermost(stack: list[FrameType], is_theirs: Callable[[str], bool]) -> str:
    for frame in stack:
        if is_theirs(frame.f_code.co_filename):
            return _place(frame)
    return ""


def _awaiting(files: Collection[str]) -> Iterator[str]:
    """The places in some files where coroutines await something: these stand in no thread's stack."""
    for each in gc.get_objects() if files else ():
        frame: Any = None
        if type(each) is CoroutineType and each.cr_await is not None:
            frame = each.cr_frame
        elif type(each) is AsyncGeneratorType and each.ag_await is not None:
            frame = each.ag_frame
        if frame is not None and frame.f_code.co_filename in files:
            yield _place(frame)


def is_a_strangers(name: str) -> bool:
    """Whether a file is neither ours nor Python's."""
    if name.startswith(_PYTHON):
        return "-packages" + os.sep in name[len(_PYTHON) :]  # what is installed beside Python's own
    return not name.startswith((_OURS, "<"))


def _place(frame: FrameType) -> str:
    return f", in {frame.f_code.co_name} ({frame.f_code.co_filename}, line {frame.f_lineno})"
