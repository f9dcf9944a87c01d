"""The drivers: they run a conversation over a transport, once for sync callers and once for async ones.

Both do the same in the same order; read them side by side. Whatever way the iteration ends, by the answer's end, an
error, a cancel or because nobody reads on, the connection is given back or closed before the iterator is done.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Mapping
from typing import TYPE_CHECKING, Protocol, TypeVar

from lollms_core.errors import APIConnectionError, LollmsError
from lollms_core.http.failures import html_error
from lollms_core.http.messages import Exchange, HTTPRequest, HTTPResponse, StreamCall
from lollms_core.http.retry import Retries
from lollms_core.types import CancelToken, Chunk

if TYPE_CHECKING:
    from lollms_core.http.aio import AsyncCall, AsyncResponse
    from lollms_core.http.sync import SyncCall, SyncResponse

__all__ = ["Conversation", "Generation", "achunks", "arun", "chunks", "run"]

T = TypeVar("T")

_ERROR_BODY = 256 * 1024
_MAX_REVISIONS = 8
"""Enough for a server that refuses one parameter after another, and an end for one that is never content."""


class Conversation(Protocol):
    """What a driver asks of a backend."""

    def retries(self) -> Retries:
        """The budget of repetitions of one call."""

    def error_from(self, status: int, headers: Mapping[str, str], body: bytes) -> LollmsError:
        """The error for a response whose status is not a success."""


class Generation(Conversation, Protocol):
    """What a driver asks of a backend for one generation."""

    cancel: CancelToken

    def open(self) -> Exchange[StreamCall]:
        """What to ask."""

    def revise(self, call: StreamCall, error: LollmsError) -> Exchange[StreamCall | None]:
        """What to ask instead, after `error` came before the first chunk; `None` if nothing else can be tried."""

    def farewell(self) -> HTTPRequest | None:
        """What to tell the server when its answer is no longer wanted; sent once, and its answer is ignored."""


# --- sync ---------------------------------------------------------------------------------------------------------


def run(exchange: Exchange[T], call: SyncCall, talk: Conversation) -> T:
    """Run a conversation of whole responses to its result."""
    try:
        request = next(exchange)
        while True:
            try:
                response = _fetch(request, call, talk)
            except LollmsError as error:
                request = exchange.throw(error)
            else:
                request = exchange.send(response)
    except StopIteration as stop:
        result: T = stop.value
        return result
    finally:
        exchange.close()


def _fetch(request: HTTPRequest, call: SyncCall, talk: Conversation) -> HTTPResponse:
    retries = talk.retries()
    while True:
        try:
            response = call.open(request)
            if response.status >= 300:
                raise _refusal(talk, response)
            return HTTPResponse(response.status, response.headers, response.read_all())
        except LollmsError as error:
            call.close()
            wait = None if call.aborted else retries.wait(error)
            if wait is None:
                raise
        call.wait(wait)


def _refusal(talk: Conversation, response: SyncResponse) -> LollmsError:
    return talk.error_from(response.status, response.headers, response.read_some(_ERROR_BODY))


def chunks(talk: Generation, call: SyncCall) -> Iterator[Chunk]:
    """The chunks of one generation. A cancelled one ends with a chunk that says so."""
    unregister = talk.cancel.on_cancel(call.abort)
    wanted = False
    try:
        yield from _answer(talk, call)
        wanted = True
    except LollmsError:
        wanted = not call.aborted
        if wanted:
            raise
    finally:
        unregister()
        call.close()
        if not wanted and (last_word := talk.farewell()):
            call.tell(last_word)
    if not wanted:
        yield Chunk(finish_reason="cancelled")


def _answer(talk: Generation, call: SyncCall) -> Iterator[Chunk]:
    plan = run(talk.open(), call, talk)
    retries, revisions, started = talk.retries(), 0, False
    while True:
        try:
            response = call.open(plan.request)
            if response.status >= 300:
                raise _refusal(talk, response)
            if "text/html" in response.headers.get("content-type", ""):
                raise html_error(response.read_some(_ERROR_BODY), call.where)
            decoder = plan.decoder(response.headers)
            read, feed = response.read, decoder.feed
            while data := read():
                if call.aborted:
                    raise APIConnectionError("cancelled")
                for chunk in feed(data):
                    started = True
                    yield chunk
                if decoder.finished:
                    response.drain()
                    return
            if call.aborted:
                raise APIConnectionError("cancelled")
            yield from decoder.close()
            return
        except LollmsError as error:
            call.close()
            if started or call.aborted:
                raise
            failure = error
        revised = None
        if revisions < _MAX_REVISIONS:
            revisions += 1
            revised = run(talk.revise(plan, failure), call, talk)
        if revised is not None:
            plan = revised
            continue
        wait = retries.wait(failure)
        if wait is None:
            raise failure
        call.wait(wait)


# --- async --------------------------------------------------------------------------------------------------------


async def arun(exchange: Exchange[T], call: AsyncCall, talk: Conversation) -> T:
    """The twin of `run`."""
    try:
        request = next(exchange)
        while True:
            try:
                response = await _afetch(request, call, talk)
            except LollmsError as error:
                request = exchange.throw(error)
            else:
                request = exchange.send(response)
    except StopIteration as stop:
        result: T = stop.value
        return result
    finally:
        exchange.close()


async def _afetch(request: HTTPRequest, call: AsyncCall, talk: Conversation) -> HTTPResponse:
    retries = talk.retries()
    while True:
        try:
            response = await call.open(request)
            if response.status >= 300:
                raise await _arefusal(talk, response)
            return HTTPResponse(response.status, response.headers, await response.read_all())
        except LollmsError as error:
            call.close()
            wait = None if call.aborted else retries.wait(error)
            if wait is None:
                raise
        await call.wait(wait)


async def _arefusal(talk: Conversation, response: AsyncResponse) -> LollmsError:
    return talk.error_from(response.status, response.headers, await response.read_some(_ERROR_BODY))


async def achunks(talk: Generation, call: AsyncCall) -> AsyncGenerator[Chunk, None]:
    """The twin of `chunks`."""
    unregister = talk.cancel.on_cancel(call.abort)
    wanted = False
    answer = _aanswer(talk, call)
    try:
        async for chunk in answer:
            yield chunk
        wanted = True
    except LollmsError:
        wanted = not call.aborted
        if wanted:
            raise
    finally:
        unregister()
        call.close()
        if not wanted and (last_word := talk.farewell()):
            await call.tell(last_word)
    if not wanted:
        yield Chunk(finish_reason="cancelled")


async def _aanswer(talk: Generation, call: AsyncCall) -> AsyncGenerator[Chunk, None]:
    plan = await arun(talk.open(), call, talk)
    retries, revisions, started = talk.retries(), 0, False
    while True:
        try:
            response = await call.open(plan.request)
            if response.status >= 300:
                raise await _arefusal(talk, response)
            if "text/html" in response.headers.get("content-type", ""):
                raise html_error(await response.read_some(_ERROR_BODY), call.where)
            decoder = plan.decoder(response.headers)
            read, feed = response.read, decoder.feed
            while data := await read():
                if call.aborted:
                    raise APIConnectionError("cancelled")
                for chunk in feed(data):
                    started = True
                    yield chunk
                if decoder.finished:
                    await response.drain()
                    return
            if call.aborted:
                raise APIConnectionError("cancelled")
            for chunk in decoder.close():
                yield chunk
            return
        except LollmsError as error:
            call.close()
            if started or call.aborted:
                raise
            failure = error
        revised = None
        if revisions < _MAX_REVISIONS:
            revisions += 1
            revised = await arun(talk.revise(plan, failure), call, talk)
        if revised is not None:
            plan = revised
            continue
        wait = retries.wait(failure)
        if wait is None:
            raise failure
        await call.wait(wait)
