"""Running a pipeline over a backend's stream, sync or async.

The stream is closed on every path, and errors carry the text so far.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator, Iterable, Iterator

from lollms_core._bridges.signals import raised_by_handler
from lollms_core._client.pipeline import Pipeline
from lollms_core.contract.types import CancelToken, Chunk

__all__ = ["Unlisted", "adrive", "close_stream", "close_stream_async", "drive"]

logger = logging.getLogger("lollms")


def drive(
    open_stream: Callable[[], Iterable[Chunk]], pipeline: Pipeline, running: dict[CancelToken, object]
) -> Generator[Chunk, None, None]:
    """The caller's chunks of a sync stream, the closing record last. Closes the stream on every path.

    Args:
        running: where the stream is, by its token, while it is under way. A stream that was left behind in a circle of
            references is then ended by this generator, and not by the garbage collector, which knows no order.
    """
    cancel = pipeline.cancel
    feed = pipeline.feed
    iterator: Iterator[Chunk] | None = None
    running[cancel] = None
    with_caller = False
    try:
        try:
            running[cancel] = iterator = iter(open_stream())
            for chunk in iterator:
                out = feed(chunk)
                with_caller = True  # what is raised at a `yield` was thrown in there
                yield from out
                with_caller = False
                if pipeline.ended or cancel.cancelled:
                    break
        # In a sync call no task of the caller can have been cancelled, only one of the backend.
        except (Exception, asyncio.CancelledError) as error:
            if with_caller or raised_by_handler(error):
                cancel.cancel()
                raise
            yield from pipeline.flush()
            # Whoever shut the connection down asked for the end, not for an error.
            if not cancel.cancelled:
                failure = pipeline.failed(error)
                raise failure from failure.__cause__
        else:
            yield from pipeline.flush()
        yield pipeline.closing()
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
    open_stream: Callable[[], Awaitable[AsyncIterator[Chunk]]], pipeline: Pipeline, running: dict[CancelToken, object]
) -> AsyncGenerator[Chunk, None]:
    """What `drive` does, for an async stream."""
    # One generator and not one inside another: a loop that ends closes each of them by itself.
    cancel = pipeline.cancel
    feed = pipeline.feed
    stream: AsyncIterator[Chunk] | None = None
    running[cancel] = None
    with_caller = False
    try:
        try:
            stream = await open_stream()
            if isinstance(stream, AsyncGenerator):
                stream = Unlisted(stream)
            running[cancel] = stream
            async for chunk in stream:
                for out in feed(chunk):
                    with_caller = True
                    yield out
                    with_caller = False
                if pipeline.ended or cancel.cancelled:
                    break
        except Exception as error:
            if with_caller:
                cancel.cancel()
                raise
            for out in pipeline.flush():
                yield out
            if not cancel.cancelled:
                failure = pipeline.failed(error)
                raise failure from failure.__cause__
        else:
            for out in pipeline.flush():
                yield out
        yield pipeline.closing()
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


class Unlisted(AsyncIterator[Chunk]):
    """An async generator that the loop does not know of: whoever iterates it closes it.

    A loop that ends closes all generators that it knows at once, the inner beside the outer, and complains of those
    which are being closed already.
    """

    def __init__(self, generator: AsyncGenerator[Chunk, None]) -> None:
        self.aclose = generator.aclose
        self._next = generator.__anext__
        self._begun = False

    def __anext__(self) -> Awaitable[Chunk]:
        if self._begun:
            return self._next()
        self._begun = True
        hooks = sys.get_asyncgen_hooks()
        sys.set_asyncgen_hooks(None, None)  # by which the loop learns of a generator, when that is first asked
        try:
            return self._next()
        finally:
            sys.set_asyncgen_hooks(*hooks)
