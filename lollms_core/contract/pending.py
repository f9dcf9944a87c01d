"""A value that is asked for when somebody waits for it, in a thread or in a task, natively in either."""

from __future__ import annotations

import abc
import asyncio
import concurrent.futures
import contextlib
from collections.abc import Callable, Generator
from typing import Any, Generic, TypeVar, cast

from lollms_core.contract.errors import CallCancelledError, ContractError, a_kind
from lollms_core.contract.types import CancelToken

__all__ = ["FuturePending", "Pending", "Ready"]

T = TypeVar("T")
U = TypeVar("U")


class Pending(abc.ABC, Generic[T]):
    """What a hook may return in place of a value: `wait()` blocks for it, `await` does not.

    Nothing happens before one of the two; either may be used once.
    """

    @abc.abstractmethod
    def wait(self) -> T:
        """The value; blocks until it is there. Raises `CallCancelledError` if the request is cancelled meanwhile."""

    @abc.abstractmethod
    def __await__(self) -> Generator[Any, None, T]:
        """The value, without blocking the event loop. Raises as `wait` does."""

    def then(self, function: Callable[[T], U]) -> Pending[U]:
        """What `function` makes of the value. It must return at once: async callers run it in their event loop."""
        return _Then(self, function)


class _Then(Pending[U], Generic[T, U]):
    def __init__(self, first: Pending[T], function: Callable[[T], U]) -> None:
        self._first = first
        self._function = function

    def wait(self) -> U:
        return self._function(self._first.wait())

    def __await__(self) -> Generator[Any, None, U]:
        return self._function((yield from self._first.__await__()))


class Ready(Pending[T]):
    """A value that is there already, for a hook that otherwise has one to wait for."""

    def __init__(self, value: T) -> None:
        self._value = value

    def wait(self) -> T:
        return self._value

    def __await__(self) -> Generator[Any, None, T]:
        yield from ()
        return self._value


class FuturePending(Pending[T]):
    """A value that a backend's own thread or loop computes.

    Args:
        submit: begins the work, and returns the future that will have its value. Cancelling that future should stop
            the work, or keep it from beginning.
        cancel: the request's token.
    """

    def __init__(self, submit: Callable[[], concurrent.futures.Future[T]], cancel: CancelToken) -> None:
        if not callable(submit):
            raise ContractError(
                f"FuturePending was given {a_kind(submit)} where a function that begins the work is due"
            )
        if not isinstance(cast("Any", cancel), CancelToken):
            raise ContractError(f"FuturePending was given {a_kind(cancel)} where the request's `cancel` is due")
        self._submit = submit
        self._cancel = cancel

    def wait(self) -> T:
        future, unregister = self._begin()
        try:
            return future.result()
        except concurrent.futures.CancelledError:
            raise CallCancelledError("the call was cancelled") from None
        finally:
            unregister()
            future.cancel()  # whoever interrupts this wait does not want the value

    def __await__(self) -> Generator[Any, None, T]:
        return self._wait_in_task().__await__()

    async def _wait_in_task(self) -> T:
        future, unregister = self._begin()
        value = asyncio.wrap_future(future)
        try:
            await asyncio.wait({value})  # not `await value`: a cancelled task must be told from a cancelled future
            if value.cancelled():
                raise CallCancelledError("the call was cancelled")
            return value.result()
        finally:
            unregister()
            if not value.cancel() and not value.cancelled():
                value.exception()  # looked at, so that asyncio does not complain that nobody did

    def _begin(self) -> tuple[concurrent.futures.Future[T], Callable[[], None]]:
        if self._cancel.cancelled:
            raise CallCancelledError("the call was cancelled before it began")
        future: Any = self._submit()
        if not isinstance(future, concurrent.futures.Future):
            raise ContractError(f"what FuturePending was given began {a_kind(future)}, not a concurrent.futures.Future")
        return future, self._cancel.on_cancel(lambda: _cancelled(future))


def _cancelled(future: concurrent.futures.Future[Any]) -> None:
    """Cancel a future, also one whose work runs: nobody is to wait for that."""
    if not future.cancel() and not future.done():
        with contextlib.suppress(concurrent.futures.InvalidStateError):  # its value came in this moment
            future.set_exception(CallCancelledError("the call was cancelled"))
