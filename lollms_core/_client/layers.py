"""The extensions of a client as layers around what its backend does.

A hook that extensions go around is a nest of promises: each layer is called when whoever stands outside of it iterates,
waits for or awaits what it was promised, in the world that this one lives in. So a backend and an extension may each be
written for either world, and neither need know of the other, nor of the caller.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import inspect
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator, Iterable, Iterator, Sequence
from typing import Any, Literal, NamedTuple, Protocol

from lollms_core._bridges.loop_thread import LoopThread
from lollms_core._bridges.signals import raised_by_handler
from lollms_core._bridges.tasks import await_unless_cancelled, iterate_in_loop, iterate_unless_cancelled
from lollms_core._bridges.threads import iterate_in_thread, run_in_thread
from lollms_core._client.hook_checks import chunk_problem, value_problem
from lollms_core._client.pipeline import Pipeline, as_lollms_error
from lollms_core._client.requests import request_problem
from lollms_core._client.streams import Unlisted, close_stream, close_stream_async, returning_nothing
from lollms_core.contract.backend import is_promised
from lollms_core.contract.errors import (
    ContractError,
    ExtensionError,
    ExtensionWarning,
    LollmsError,
    a_kind,
    described,
    warn_caller,
)
from lollms_core.contract.extension import EXTENSION_HOOKS, End, Extension
from lollms_core.contract.pending import Pending
from lollms_core.contract.types import CancelToken, Chunk, GenerationRequest

__all__ = ["ActiveExtension", "Bottom", "Layers", "Stream"]

logger = logging.getLogger("lollms")

_AUTHOR = "This is a fault of the extension's package: tell its author."


class Bottom(Protocol):
    """What lies below all layers: the backend, asked in either world. Errors are `LollmsError`s that name it."""

    def open_sync(self, request: GenerationRequest) -> Iterable[Chunk]: ...
    async def open_async(self, request: GenerationRequest) -> AsyncIterator[Chunk]: ...
    def ask_sync(self, hook: str, request: Any) -> Any: ...
    async def ask_async(self, hook: str, request: Any) -> Any: ...
    def known(self, error: BaseException) -> LollmsError: ...

    def complain(self, problem: str) -> ContractError: ...

    @property
    def portal(self) -> LoopThread:
        """Where coroutines of extensions run for sync callers."""

    @property
    def format(self) -> str: ...
    @property
    def looks_for_stops(self) -> bool: ...
    def fitted(self, request: GenerationRequest) -> GenerationRequest:
        """The request as the backend can take it."""


@dataclasses.dataclass(frozen=True, slots=True)
class ActiveExtension:
    """An extension of one client, and whom to name when it fails."""

    extension: Extension
    name: str
    package: str

    def __str__(self) -> str:
        return f"the extension {self.name!r} of {self.package}"

    @property
    def hooks(self) -> frozenset[str]:
        """The hooks that it goes around."""
        return frozenset(hook for hook in EXTENSION_HOOKS if hasattr(self.extension, hook))

    def returns_at_once(self, hook: str) -> bool:
        """Whether an event loop may call it."""
        method = getattr(self.extension, hook)
        return (
            is_promised(self.extension, hook)
            or inspect.isgeneratorfunction(method)
            or inspect.iscoroutinefunction(method)
            or inspect.isasyncgenfunction(method)
        )

    def failed(self, error: BaseException) -> LollmsError:
        """The error to raise for one of the extension's: itself if it is ours, for example the backend's."""
        if isinstance(error, LollmsError):
            return error
        if isinstance(error, Warning) or raised_by_handler(error):
            raise error
        known = ExtensionError(f"{self} failed: {described(error)}")
        known.__cause__ = error
        return known

    def complain(self, problem: str) -> ContractError:
        """The error for a breach of the contract."""
        return ContractError(f"{self} {problem}", hint=_AUTHOR)


class Stream:
    """The chunks of an answer, for `for` and for `async for`. Nothing is asked before; it can be iterated once.

    Closing or dropping an iteration stops the generation.
    """

    def __init__(
        self,
        sync: Callable[[], Generator[Chunk, None, None]],
        asynchronous: Callable[[], AsyncGenerator[Chunk, None]],
        record: Callable[[], Pipeline],
        owner: ActiveExtension | None,
        portal: LoopThread,
    ) -> None:
        """A stream.

        Args:
            sync: begins it for `for`.
            asynchronous: begins it for `async for`.
            record: makes what collects it.
            owner: the extension that has got it from `proceed`; `None` for the client.
            portal: where coroutines run for sync callers.
        """
        self._owner = owner
        self._portal = portal
        self._sync = sync
        self._async = asynchronous
        self._record = record

    def __iter__(self) -> Generator[Chunk, None, None]:
        _refuse_in_coroutine(self._portal, self._owner, "generate", "`async for`")
        return self._sync()

    def __aiter__(self) -> AsyncGenerator[Chunk, None]:
        return self._async()

    def through(self, function: Callable[[Chunk], Chunk | None]) -> Stream:
        """The stream with every chunk passed through a function; it returns `None` for one to leave out.

        The function must return at once: async callers run it in their event loop.
        """
        _refuse_postponed(function, self._owner, "through")
        return Stream(
            lambda: _through(self, _Passage(function, self._owner)),
            lambda: _athrough(self, _Passage(function, self._owner)),
            self._record,
            self._owner,
            self._portal,
        )

    def at_end(self, function: Callable[[End], object]) -> Stream:
        """The stream; `function` is called once when it has begun and ends, however that is.

        A stream that nobody iterates to its end was cancelled. What the function raises is a warning: the answer is
        there. It must return at once: async callers run it in their event loop.
        """
        _refuse_postponed(function, self._owner, "at_end")
        return Stream(
            lambda: _watched(self, _Watcher(self._record(), function, self._owner)),
            lambda: _awatched(self, _Watcher(self._record(), function, self._owner)),
            self._record,
            self._owner,
            self._portal,
        )


class _Passage:
    """Passes chunks through an extension's function, and looks at what comes out."""

    def __init__(self, function: Callable[[Chunk], Chunk | None], owner: ActiveExtension | None) -> None:
        self._function = function
        self._owner = owner
        self._ended = False

    def __call__(self, chunk: Chunk) -> Chunk | None:
        try:
            passed = self._function(chunk)
        except Exception as error:
            if self._owner is None:
                raise
            failure = self._owner.failed(error)
            raise failure from failure.__cause__
        if passed is None:
            return None
        if self._owner is not None and (problem := chunk_problem(passed, ended=self._ended)):
            raise self._owner.complain(problem)
        self._ended = self._ended or passed.finish_reason is not None
        return passed


def _through(stream: Stream, passage: _Passage) -> Generator[Chunk, None, None]:
    with contextlib.closing(iter(stream)) as chunks:
        for chunk in chunks:
            if (passed := passage(chunk)) is not None:
                yield passed


async def _athrough(stream: Stream, passage: _Passage) -> AsyncGenerator[Chunk, None]:
    async with contextlib.aclosing(Unlisted(aiter(stream))) as chunks:
        async for chunk in chunks:
            if (passed := passage(chunk)) is not None:
                yield passed


def _refuse_postponed(function: object, owner: ActiveExtension | None, method: str) -> None:
    if owner is None:
        return
    if inspect.iscoroutinefunction(function):
        raise owner.complain(f"gives `{method}` an async function, which nobody would await: it must return at once")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise owner.complain(
            f"gives `{method}` a function with a `yield`, which would never run: it must return at once"
        )


def _refuse_in_coroutine(portal: LoopThread, owner: ActiveExtension | None, hook: str, instead: str) -> None:
    """Refuse to wait, in the thread of an event loop, for what that very loop is to do."""
    if owner is not None and portal.is_this_thread():
        raise owner.complain(f"waits for what it proceeds with in its coroutine `{hook}`: use {instead} there")


class _Watcher:
    """Collects what passes by, and tells once how it ended."""

    def __init__(self, record: Pipeline, function: Callable[[End], object], owner: ActiveExtension | None) -> None:
        self._record = record
        self._tell = function
        self._owner = owner

    def seen(self, chunk: Chunk) -> None:
        self._record.feed(chunk)

    def ended(self) -> None:
        self._end("cancelled" if self._record.cancel.cancelled else "completed")

    def failed(self, error: Exception) -> None:
        if self._record.cancel.cancelled:
            self._end("cancelled")
        else:
            # What is no error of ours was raised by something else than what lies further in: a warning, a handler.
            self._end("failed", as_lollms_error(error, self._record.format))

    def left(self) -> None:
        """Nobody reads on: the caller has gone, or a stop sequence was found, for which the client itself looks."""
        self._end("completed" if self._record.ended else "cancelled")

    def _end(self, status: Literal["completed", "failed", "cancelled"], error: LollmsError | None = None) -> None:
        self._record.flush()
        completion = self._record.completion()
        if status == "cancelled":
            completion = dataclasses.replace(completion, finish_reason="cancelled")
        try:
            given = self._tell(End(status=status, completion=completion, error=error))
            if inspect.iscoroutine(given) or inspect.isgenerator(given):
                given.close()
                raise TypeError(
                    f"the function for the end gives {a_kind(given)}, which never runs: it must return at once"
                )
        except Exception as failure:
            if isinstance(failure, Warning) or raised_by_handler(failure):
                raise
            logger.debug("%s failed at the end of an answer", self._owner, exc_info=True)
            warn_caller(f"{self._owner} failed at the end of an answer: {described(failure)}", ExtensionWarning)


def _watched(stream: Stream, watcher: _Watcher) -> Generator[Chunk, None, None]:
    with contextlib.closing(iter(stream)) as chunks:
        try:
            for chunk in chunks:
                watcher.seen(chunk)
                yield chunk
        except Exception as error:
            watcher.failed(error)
            raise
        except BaseException:
            watcher.left()
            raise
        else:
            watcher.ended()


async def _awatched(stream: Stream, watcher: _Watcher) -> AsyncGenerator[Chunk, None]:
    async with contextlib.aclosing(Unlisted(aiter(stream))) as chunks:
        try:
            async for chunk in chunks:
                watcher.seen(chunk)
                yield chunk
        except Exception as error:
            watcher.failed(error)
            raise
        except BaseException:
            watcher.left()
            raise
        else:
            watcher.ended()


class Layers:
    """The active extensions of one client, the first one outermost.

    Args:
        extensions: in the caller's order.
        bottom: the backend.
    """

    def __init__(self, extensions: Sequence[ActiveExtension], bottom: Bottom) -> None:
        self._bottom = bottom
        self.extensions = tuple(extensions)
        # Where no extension goes around a hook, the backend is asked as if there were none.
        self._around = {
            hook: layers
            for hook in EXTENSION_HOOKS
            if (layers := tuple(each for each in self.extensions if hook in each.hooks))
        }

    def are_around(self, hook: str) -> bool:
        """Whether an extension goes around a hook."""
        return hook in self._around

    def open_sync(self, request: GenerationRequest) -> Iterable[Chunk]:
        """The answer's stream as a sync iterable."""
        return self._stream(0, request, None) if "generate" in self._around else self._bottom.open_sync(request)

    async def open_async(self, request: GenerationRequest) -> AsyncIterator[Chunk]:
        """The answer's stream as an async iterator."""
        if "generate" in self._around:
            return aiter(self._stream(0, request, None))
        return await self._bottom.open_async(request)

    def ask_sync(self, hook: str, request: Any) -> Any:
        """The value of a hook; `None` if the backend does not have it."""
        if hook in self._around:
            return self._value(hook, 0, request).wait()
        return self._bottom.ask_sync(hook, request)

    async def ask_async(self, hook: str, request: Any) -> Any:
        """The twin of `ask_sync`."""
        if hook in self._around:
            return await self._value(hook, 0, request)
        return await self._bottom.ask_async(hook, request)

    # --- answers ------------------------------------------------------------------------------------------------

    def _stream(self, index: int, request: GenerationRequest, owner: ActiveExtension | None) -> Stream:
        layers = self._around["generate"]

        def record() -> Pipeline:
            stop = () if self._bottom.looks_for_stops else request.sampling.stop
            return Pipeline(stop, request.cancel, self._bottom.format, model=request.model)

        if index == len(layers):
            return Stream(
                lambda: self._answer(request, record()),
                lambda: self._aanswer(request, record()),
                record,
                owner,
                self._bottom.portal,
            )
        layer = layers[index]
        blame = _Blame(layer.failed, layer.complain)
        return Stream(
            lambda: _guarded(lambda: self._open_sync(layer, index, _apart(request)), blame),
            lambda: _aguarded(lambda: self._open_async(layer, index, _apart(request)), blame),
            record,
            owner,
            self._bottom.portal,
        )

    def _answer(self, request: GenerationRequest, reader: Pipeline) -> Generator[Chunk, None, None]:
        """The backend's answer as a client without extensions gives it: reasoning apart, cut at stop sequences."""
        bottom, apart = self._bottom, _apart(request)
        blame = _Blame(bottom.known, bottom.complain)
        return _read(_guarded(lambda: bottom.open_sync(bottom.fitted(apart)), blame), reader)

    def _aanswer(self, request: GenerationRequest, reader: Pipeline) -> AsyncGenerator[Chunk, None]:
        """The twin of `_answer`."""
        bottom, apart = self._bottom, _apart(request)
        blame = _Blame(bottom.known, bottom.complain)
        return _aread(_aguarded(lambda: bottom.open_async(bottom.fitted(apart)), blame), reader)

    def _within(self, layer: ActiveExtension, index: int, request: GenerationRequest) -> Callable[..., Any]:
        """What a layer proceeds with."""
        return self._proceed(layer, request, lambda other: self._stream(index + 1, other, layer))

    def _open_sync(self, layer: ActiveExtension, index: int, request: GenerationRequest) -> Iterable[Chunk]:
        stream = layer.extension.generate(request, self._within(layer, index, request))  # type: ignore[attr-defined]
        if _is_iterable(stream):
            return _pieces(layer, stream)
        return iterate_in_loop(lambda: _aiter(layer, stream, request.cancel), self._bottom.portal, request.cancel)

    async def _open_async(self, layer: ActiveExtension, index: int, request: GenerationRequest) -> AsyncIterator[Chunk]:
        stream = await self._call_async(layer, "generate", request, self._within(layer, index, request))
        if isinstance(stream, Stream):
            return Unlisted(aiter(stream))
        if inspect.isawaitable(stream) or hasattr(stream, "__aiter__"):
            return Unlisted(iterate_unless_cancelled(lambda: _aiter(layer, stream, request.cancel), request.cancel))
        return Unlisted(await _aiter(layer, stream, request.cancel))

    # --- values -------------------------------------------------------------------------------------------------

    def _value(self, hook: str, index: int, request: Any, owner: ActiveExtension | None = None) -> _Promise:
        layers = self._around[hook]
        refuse = functools.partial(_refuse_in_coroutine, self._bottom.portal, owner, hook, "`await`")
        if index == len(layers):
            return _Promise(lambda: self._ask_bottom(hook, request), lambda: self._aask_bottom(hook, request), refuse)
        asked = _Asked(self, layers[index], hook, index, request)
        return _Promise(lambda: self._ask(asked), lambda: self._aask(asked), refuse)

    def _ask_bottom(self, hook: str, request: Any) -> Any:
        try:
            return self._bottom.ask_sync(hook, request)
        except (Exception, asyncio.CancelledError) as error:  # in a sync call, not one of the caller's
            known = self._bottom.known(error)
            raise known from known.__cause__

    async def _aask_bottom(self, hook: str, request: Any) -> Any:
        try:
            return await self._bottom.ask_async(hook, request)
        except Exception as error:
            known = self._bottom.known(error)
            raise known from known.__cause__

    def _ask(self, asked: _Asked) -> Any:
        try:
            value = getattr(asked.layer.extension, asked.hook)(asked.request, asked.proceed)
            if inspect.isawaitable(value) and not isinstance(value, Pending):
                value = self._bottom.portal.run(value, asked.request.cancel)
            if isinstance(value, Pending):
                value = value.wait()
        except (Exception, asyncio.CancelledError) as error:  # in a sync call, not one of the caller's
            known = asked.layer.failed(error)
            raise known from known.__cause__
        return asked.checked(value)

    async def _aask(self, asked: _Asked) -> Any:
        try:
            value = await self._call_async(asked.layer, asked.hook, asked.request, asked.proceed)
            if inspect.isawaitable(value) and not isinstance(value, Pending):
                value = await await_unless_cancelled(value, asked.request.cancel)
            if isinstance(value, Pending):
                value = await value
        except Exception as error:
            known = asked.layer.failed(error)
            raise known from known.__cause__
        return asked.checked(value)

    # --- both ---------------------------------------------------------------------------------------------------

    async def _call_async(self, layer: ActiveExtension, hook: str, request: Any, inner: Callable[..., Any]) -> Any:
        method = getattr(layer.extension, hook)
        if layer.returns_at_once(hook):
            return method(request, inner)
        return await run_in_thread(lambda: method(request, inner), cancel=request.cancel)

    def _proceed(self, layer: ActiveExtension, request: Any, further: Callable[[Any], Any]) -> Callable[..., Any]:
        def proceed(other: Any = request) -> Any:
            if type(other) is not type(request):
                raise layer.complain(f"proceeds with {a_kind(other)}, not with {a_kind(request)}")
            if other is not request and (problem := request_problem(other)):
                raise layer.complain(f"proceeds with a request {problem}")
            return further(_apart(dataclasses.replace(other, cancel=request.cancel)))

        return proceed


class _Promise(Pending[Any]):
    def __init__(
        self, wait: Callable[[], Any], asynchronous: Callable[[], Awaitable[Any]], refuse: Callable[[], None]
    ) -> None:
        self._wait = wait
        self._async = asynchronous
        self._refuse = refuse
        self.missing = False
        """The backend does not have the hook."""

    def wait(self) -> Any:
        self._refuse()
        value = self._wait()
        self.missing = value is None
        return value

    def __await__(self) -> Generator[Any, None, Any]:
        value = yield from self._async().__await__()
        self.missing = value is None
        return value

    def then(self, function: Callable[[Any], Any]) -> Pending[Any]:
        """What `function` makes of the value. It is not called where the backend does not have the hook."""
        return _Further(self, function)


class _Further(Pending[Any]):
    """What a function makes of a value; of none, nothing."""

    def __init__(self, first: Pending[Any], function: Callable[[Any], Any]) -> None:
        self._first = first
        self._function = function

    def wait(self) -> Any:
        value = self._first.wait()
        return None if value is None else self._function(value)

    def __await__(self) -> Generator[Any, None, Any]:
        value = yield from self._first.__await__()
        return None if value is None else self._function(value)

    def then(self, function: Callable[[Any], Any]) -> Pending[Any]:
        return _Further(self, function)


class _Asked:
    """A layer that is asked for a value."""

    def __init__(self, layers: Layers, layer: ActiveExtension, hook: str, index: int, request: Any) -> None:
        self.layer = layer
        self.hook = hook
        self.request = request
        self._promises: list[_Promise] = []

        def further(other: Any) -> _Promise:
            promise = layers._value(hook, index + 1, other, layer)
            self._promises.append(promise)
            return promise

        self.proceed = layers._proceed(layer, request, further)

    def checked(self, value: Any) -> Any:
        """The value. Nothing is one only where the layer has learnt that the backend does not have the hook."""
        problem = value_problem(self.hook, self.request, value)
        if value is None and not any(promise.missing for promise in self._promises):
            problem = "gave nothing: it must return a value, or what `proceed` gives"
        if problem:
            raise ContractError(f"`{self.hook}` of {self.layer} {problem}", hint=_AUTHOR)
        return value


class _Blame(NamedTuple):
    """Whose fault it is."""

    failed: Callable[[BaseException], LollmsError]
    complain: Callable[[str], ContractError]


def _guarded(begin: Callable[[], Iterable[Chunk]], blame: _Blame) -> Generator[Chunk, None, None]:
    """The chunks of a stream, each checked; what goes wrong is blamed on whom it belongs to."""
    iterator: Iterator[Chunk] | None = None
    ended = False
    try:
        iterator = iter(begin())
        for chunk in iterator:
            if problem := chunk_problem(chunk, ended=ended):
                raise blame.complain(problem)
            ended = ended or chunk.finish_reason is not None
            yield chunk
    except (Exception, asyncio.CancelledError) as error:  # in a sync call, not one of the caller's
        failure = blame.failed(error)
        raise failure from failure.__cause__
    finally:
        close_stream(iterator)


async def _aguarded(begin: Callable[[], Awaitable[AsyncIterator[Chunk]]], blame: _Blame) -> AsyncGenerator[Chunk, None]:
    stream: AsyncIterator[Chunk] | None = None
    ended = False
    try:
        stream = await begin()
        async for chunk in stream:
            if problem := chunk_problem(chunk, ended=ended):
                raise blame.complain(problem)
            ended = ended or chunk.finish_reason is not None
            yield chunk
    except Exception as error:
        failure = blame.failed(error)
        raise failure from failure.__cause__
    finally:
        await close_stream_async(stream)


def _read(chunks: Generator[Chunk, None, None], reader: Pipeline) -> Generator[Chunk, None, None]:
    """What a reader makes of an answer, its end included."""
    with contextlib.closing(chunks):
        try:
            for chunk in chunks:
                yield from reader.feed(chunk)
                if reader.ended:
                    break
        except LollmsError:
            yield from reader.flush()
            raise
    yield from reader.flush()
    yield reader.closing()


async def _aread(chunks: AsyncGenerator[Chunk, None], reader: Pipeline) -> AsyncGenerator[Chunk, None]:
    async with contextlib.aclosing(Unlisted(chunks)) as stream:
        try:
            async for chunk in stream:
                for out in reader.feed(chunk):
                    yield out
                if reader.ended:
                    break
        except LollmsError:
            for out in reader.flush():
                yield out
            raise
    for out in reader.flush():
        yield out
    yield reader.closing()


def _is_iterable(stream: Any) -> bool:
    return hasattr(stream, "__iter__") and not isinstance(stream, (str, bytes, dict, Chunk, type))


def _pieces(layer: ActiveExtension, stream: Any) -> Iterable[Chunk]:
    pieces: Iterable[Chunk] = stream
    if not inspect.isgenerator(stream):
        return pieces
    return returning_nothing(stream, lambda problem: layer.complain(f"{problem} (in its `generate`)"))


async def _aiter(layer: ActiveExtension, stream: Any, cancel: CancelToken) -> AsyncGenerator[Chunk, None]:
    if inspect.isawaitable(stream):
        stream = await stream
    if hasattr(stream, "__aiter__"):
        chunks: AsyncGenerator[Chunk, None] = aiter(stream)
        return chunks
    if not _is_iterable(stream):
        raise layer.complain(f"gave {a_kind(stream)} for `generate`, which is not a stream of chunks")
    if isinstance(stream, (list, tuple)):
        return _each(stream)
    return iterate_in_thread(lambda: _pieces(layer, stream), cancel)


def _apart(request: Any) -> Any:
    """The request with a token of its own below its own: who reads no further in there does not end the call."""
    token = CancelToken()
    request.cancel.on_cancel(token.cancel)
    return dataclasses.replace(request, cancel=token)


async def _each(chunks: Iterable[Chunk]) -> AsyncGenerator[Chunk, None]:
    for chunk in chunks:
        yield chunk
