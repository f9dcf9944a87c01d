"""What every behaviour is built from: a requirement that explains itself, and a limit on how long a test may hang."""

from __future__ import annotations

import contextvars
import functools
import os
import sys
import sysconfig
import threading
import time
import traceback
from collections.abc import Callable
from types import FrameType
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from lollms_core import LollmsError

__all__ = ["Hung", "behaviour", "eventually", "require", "within"]

T = TypeVar("T")
P = ParamSpec("P")


class Hung(AssertionError):
    """A call did not come back in time."""


def require(condition: object, what: str, why: str) -> None:
    """Fail unless `condition` holds. Works under `python -O` too, unlike `assert`.

    Args:
        condition: taken as true or false.
        what: what is wrong, with the values seen.
        why: what a user of the backend suffers from it.

    Raises:
        AssertionError: with both texts.
    """
    __tracebackhide__ = True
    if not condition:
        raise AssertionError(f"{what}\nWhy it matters: {why}")


def within(seconds: float, work: Callable[[], T]) -> T:
    """Run `work` in a thread and give its result, or its exception.

    Raises:
        Hung: it has not ended after that many seconds; the message shows where it was.
    """
    __tracebackhide__ = True
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:  # also what pytest raises to skip
            errors.append(error)

    thread = threading.Thread(target=contextvars.copy_context().run, args=(run,), name="conformance", daemon=True)
    thread.start()
    thread.join(seconds)
    if not results and not errors:
        frame = sys._current_frames().get(thread.ident or 0)
        where = "".join(traceback.format_stack(frame)[-8:]) if frame else ""
        raise Hung(
            f"this did not end within {seconds:g} s{_in_strangers_code(frame)}; it was here:\n{where}"
            "Why it matters: a program that waits for ever can only be killed, and what it held is lost."
        )
    if errors:
        try:
            raise errors.pop()
        finally:
            # An error kept in this frame, which its own traceback refers to, would keep streams alive.
            del errors
    return results[0]


def _in_strangers_code(frame: FrameType | None) -> str:
    """Where a thread is in code that is neither ours nor Python's: the backend's, most likely."""
    ours = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    python = sysconfig.get_path("stdlib")
    while frame is not None:
        name = frame.f_code.co_filename
        if not name.startswith((ours, python, "<")):
            return f", in {frame.f_code.co_name} ({name}, line {frame.f_lineno})"
        frame = frame.f_back
    return ""


def eventually(condition: Callable[[], bool], seconds: float) -> bool:
    """Whether `condition` comes true within that many seconds; asked again and again, so the usual case is quick."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


class _Patient(Protocol):
    patience: float

    def abandon_client(self) -> None: ...
    def note_failure(self, name: str) -> None: ...


S = TypeVar("S", bound=_Patient)


def behaviour(test: Callable[Concatenate[S, P], None]) -> Callable[Concatenate[S, P], None]:
    """Marks a method of the kit: it runs under the limit of the class's `patience`."""

    @functools.wraps(test)
    def guarded(self: S, /, *args: P.args, **kwargs: P.kwargs) -> None:
        __tracebackhide__ = True
        try:
            within(self.patience, lambda: test(self, *args, **kwargs))
        except Hung:
            # The client that hangs would take the next behaviours with it.
            self.note_failure(test.__name__)
            self.abandon_client()
            raise
        except AssertionError:
            self.note_failure(test.__name__)
            raise
        except LollmsError as error:
            self.note_failure(test.__name__)
            raise AssertionError(
                f"{error.type} where none is due: {error}\nWhy it matters: a user who does the same gets this error."
            ) from error

    guarded.is_behaviour = True  # type: ignore[attr-defined]
    return guarded


def is_behaviour(value: Any) -> bool:
    """Whether this is a method that `behaviour` has marked."""
    return getattr(value, "is_behaviour", False) is True
