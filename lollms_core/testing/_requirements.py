"""What every behaviour is built from: a requirement that explains itself, and a limit on how long a test may hang."""

from __future__ import annotations

import contextvars
import functools
import sys
import threading
import time
import traceback
from collections.abc import Callable, Collection
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from lollms_core import ExtensionWarning, LollmsError
from lollms_core.testing._whereabouts import whereabouts

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


def within(seconds: float, work: Callable[[], T], *, files: Callable[[], Collection[str]] = tuple) -> T:
    """Run `work` in a thread and give its result, or its exception.

    Args:
        seconds: how long it may take.
        work: takes nothing.
        files: gives the files in one of which it hangs, most likely, if it does.

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

    earlier = {each.ident for each in threading.enumerate()}
    thread = threading.Thread(target=contextvars.copy_context().run, args=(run,), name="conformance", daemon=True)
    thread.start()
    thread.join(seconds)
    if not results and not errors:
        frame = sys._current_frames().get(thread.ident or 0)
        where = "".join(traceback.format_stack(frame)[-8:]) if frame else ""
        raise Hung(
            f"this did not end within {seconds:g} s{whereabouts(thread, files(), earlier)}; it was here:\n{where}"
            "Why it matters: a program that waits for ever can only be killed, and what it held is lost."
        )
    if errors:
        try:
            raise errors.pop()
        finally:
            # An error kept in this frame, which its own traceback refers to, would keep streams alive.
            del errors
    return results[0]


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
    def note_failure(self, name: str, *, hung: bool = False) -> None: ...
    def authors_files(self) -> Collection[str]: ...


S = TypeVar("S", bound=_Patient)


def behaviour(test: Callable[Concatenate[S, P], None]) -> Callable[Concatenate[S, P], None]:
    """Marks a method of the kit: it runs under the limit of the class's `patience`."""

    @functools.wraps(test)
    def guarded(self: S, /, *args: P.args, **kwargs: P.kwargs) -> None:
        __tracebackhide__ = True
        try:
            within(self.patience, lambda: test(self, *args, **kwargs), files=self.authors_files)
        except Hung:
            # The client that hangs would take the next behaviours with it.
            self.note_failure(test.__name__, hung=True)
            self.abandon_client()
            raise
        except AssertionError:
            self.note_failure(test.__name__)
            raise
        except ExtensionWarning as warning:  # which the kit for extensions has made an error
            self.note_failure(test.__name__)
            raise AssertionError(
                f"{warning}\nWhy it matters: what is done at the end of an answer, such as keeping it, is lost."
            ) from warning
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
