"""Running a reader over a backend's stream, sync or async: an answer's `Pipeline`, or a `Download`.

The stream is closed on every path, and errors carry the text so far. The two loops stand beside each other: a generator
between them, which says what is to be done next, would need runners that are as long as the loops are.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator, Iterable, Iterator
from typing import Any, Protocol, TypeVar

from lollms_core._bridges.signals import raised_by_handler
from lollms_core.contract.errors import LollmsError, a_kind
from lollms_core.contract.types import CancelToken

__all__ = ["Reader", "Unlisted", "adrive", "close_stream", "close_stream_async", "drive", "returning_nothing"]

T = TypeVar("T")

logger = logging.getLogger("lollms")


class Reader(Protocol[T]):
    """What reads a stream of pieces of one kind, without IO."""

    cancel: CancelToken
    ended: bool
    """Nothing that follows counts."""

    def feed(self, piece: T, /) -> Iterable[T]:
        """The caller's pieces for one of the backend's."""

    def flush(self) -> Iterable[T]:
        """What was held back, at the end of the stream or before an error."""

    def failed(self, error: BaseException, /) -> LollmsError:
        """The error to raise for one that came out of the stream."""

    def end(self) -> Iterable[T]:
        """The last pieces, after a stream that ended, or was cancelled."""


def returning_nothing(stream: Any, complain: Callable[[str], LollmsError]) -> Iterator[Any]:
    """A generator's pieces. What it returns at its end nobody would see: that is told."""
    value = yield from stream
    if value is not None:
        if inspect.iscoroutine(value):
            value.close()
        raise complain(
            f"returns {a_kind(value)} from a function with a `yield`, where it is lost: yield what it gives, with "
            "`yield from`"
        )


def drive(
    open_stream: Callable[[], Iterable[T]], reader: Reader[T], running: dict[CancelToken, object]
) -> Generator[T, None, None]:
    """The caller's pieces of a sync stream, the closing record of an answer last. Closes the stream on every path.

    Args:
        running: where the stream is, by its token, while it is under way. A stream that was left behind in a circle of
            references is then ended by this generator, and not by the garbage collector, which knows no order.
    """
    cancel = reader.cancel
    feed = reader.feed
    iterator: Iterator[T] | None = None
    running[cancel] = None
    with_caller = False
    try:
        try:
            running[cancel] = iterator = iter(open_stream())
            for piece in iterator:
                out = feed(piece)
                with_caller = True  # what is raised at a `yield` was thrown in there
                yield from out
                with_caller = False
                if reader.ended or cancel.cancelled:
                    break
        # In a sync call no task of the caller can have been cancelled, only one of the backend.
        except (Exception, asyncio.CancelledError) as error:
            if with_caller or raised_by_handler(error):
                cancel.cancel()
                raise
            yield from reader.flush()
            # Whoever shut the connection down asked for the end, not for an error.
            if not cancel.cancelled:
                failure = reader.failed(error)
                raise failure from failure.__cause__
        else:
            yield from reader.flush()
        yield from reader.end()
    except Exception:
        raise
    except BaseException:
        # The caller has gone: those who wait on the token must know before the stream is closed.
        cancel.cancel()
        raise
    finally:
        close_stream(iterator)
        running.pop(cancel, None)


async def adrive(
    open_stream: Callable[[], Awaitable[AsyncIterator[T]]], reader: Reader[T], running: dict[CancelToken, object]
) -> AsyncGenerator[T, None]:
    """What `drive` does, for an async stream."""
    # One generator and not one inside another: a loop that ends closes each of them by itself.
    cancel = reader.cancel
    feed = reader.feed
    stream: AsyncIterator[T] | None = None
    running[cancel] = None
    with_caller = False
    try:
        try:
            stream = await open_stream()
            if isinstance(stream, AsyncGenerator):
                stream = Unlisted(stream)
            running[cancel] = stream
            async for piece in stream:
                for out in feed(piece):
                    with_caller = True
                    yield out
                    with_caller = False
                if reader.ended or cancel.cancelled:
                    break
        except Exception as error:
            if with_caller:
                cancel.cancel()
                raise
            for out in reader.flush():
                yield out
            if not cancel.cancelled:
                failure = reader.failed(error)
                raise failure from failure.__cause__
        else:
            for out in reader.flush():
                yield out
        for out in reader.end():
            yield out
    except Exception:
        raise
    except BaseException:
        cancel.cancel()
        raise
    finally:
        await close_stream_async(stream)
        running.pop(cancel, None)


def close_stream(iterator: object) -> None:
    """Close an iterator that can be closed."""
    close = getattr(iterator, "close", None)
    if close is not None:
        try:
            close()
        except Exception:  # the answer is there, or its error under way: neither must be lost for this one
            logger.warning("closing a backend's stream failed", exc_info=True)


async def close_stream_async(stream: object) -> None:
    """Close an async iterator that can be closed."""
    aclose = getattr(stream, "aclose", None)
    if aclose is not None:
        try:
            await aclose()
        except Exception:
            logger.warning("closing a backend's stream failed", exc_info=True)


class Unlisted(AsyncIterator[T]):
    """An async generator that the loop does not know of: whoever iterates it closes it.

    A loop that ends closes all generators that it knows at once, the inner beside the outer, and complains of those
    which are being closed already.
    """

    def __init__(self, generator: AsyncGenerator[T, None]) -> None:
        self.aclose = generator.aclose
        self._next = generator.__anext__
        self._begun = False

    def __anext__(self) -> Awaitable[T]:
        if self._begun:
            return self._next()
        self._begun = True
        hooks = sys.get_asyncgen_hooks()
        sys.set_asyncgen_hooks(None, None)  # by which the loop learns of a generator, when that is first asked
        try:
            return self._next()
        finally:
            sys.set_asyncgen_hooks(*hooks)
