"""The driver: it runs an exchange over a transport. Written once, as generators that yield what is to be done.

A step is a function of the transport without arguments: `response.read`, say. Two small runners carry the steps out,
one calls them, the other awaits what they return; everything that decides, retries, stops and closes stands here and is
the same for both. Whatever way an iteration ends, by the answer's end, an error, a cancel or because nobody reads on,
the connection has been given back or closed before the iterator is done.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, TypeVar

from lollms_core._bridges.signals import raised_by_handler
from lollms_core.contract.errors import APITimeoutError, CallCancelledError, ContractError, LollmsError
from lollms_core.contract.types import CancelToken, Chunk
from lollms_core.http._exchange import (
    Decoder,
    Exchange,
    HTTPRequest,
    HTTPResponse,
    StreamCall,
    checked_call,
    checked_request,
    wrong_value,
)
from lollms_core.http._failures import html_error
from lollms_core.http._retry import Retries
from lollms_core.http._turns import Turns

__all__ = [
    "MOST_CANCELS",
    "Call",
    "Generation",
    "Policy",
    "Response",
    "achunks",
    "again_if_unwanted",
    "answer",
    "arun",
    "carried_out",
    "chunks",
    "run",
]

T = TypeVar("T")

logger = logging.getLogger("lollms")

_ERROR_BODY = 256 * 1024
_AFTER_THE_END = 5.0
"""Seconds for what may follow a whole answer."""
MOST_CANCELS = 8
"""How often what ends an answer may be cancelled and goes on: a loop that ends cancels all its tasks."""
_LOOK = 0.02
"""Seconds between two looks at whether other answers have ended."""
_MAX_REVISIONS = 8
"""Enough for a server that refuses one parameter after another, and an end for one that is never content."""

Step: TypeAlias = Callable[[], Any]


class Response(Protocol):
    """A response whose body is read in pieces. What an async transport returns from a method must be awaited."""

    @property
    def status(self) -> int: ...
    @property
    def headers(self) -> Mapping[str, str]: ...
    def read(self) -> Any: ...
    def read_all(self) -> Any: ...
    def read_some(self, limit: int) -> Any: ...
    def drain(self) -> Any: ...
    def hurry(self, seconds: float) -> None: ...


class Call(Protocol):
    """One call of a transport: it sends requests one after another. See `SyncCall`."""

    began: bool
    """A chunk of the answer has been handed out."""
    streaming: bool
    """The body of an answer is being read."""
    running: bool
    """A piece of it has come."""
    reading: bool
    """More of it is waited for; otherwise what has come is with whoever wanted it."""
    stopping: bool
    """It has been asked to end."""

    @property
    def aborted(self) -> bool:
        """Nothing more is to be expected of its connection."""

    @property
    def response(self) -> Response | None: ...
    @property
    def where(self) -> str: ...

    def open(self, request: HTTPRequest) -> Any: ...
    def wait(self, seconds: float) -> Any: ...
    def take_turn(self, turns: Turns) -> Any: ...
    def let_others_leave(self) -> Any: ...
    def patience(self) -> float:
        """Seconds to wait at most before a question, so that other answers can end. See `Stops.patience`."""

    def asks(self) -> None:
        """An answer is going to be asked for. See `Stops.asks`."""

    def waits(self) -> None:
        """It is not asked for yet, after all."""

    def settled(self) -> Any: ...
    def stop(self, last_word: HTTPRequest | None) -> None: ...
    def leave(self, last_word: HTTPRequest | None) -> Generator[Step, Any, None]:
        """What to do when nobody wants more of the answer: as `stop`, and read on to its end."""

    def may_read(self) -> bool:
        """Whether a call that is to stop is still for its reader to read on."""

    def abort(self) -> None: ...
    def close(self) -> None: ...
    def end(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Policy:
    """How a backend wants its calls to be made."""

    retries: Callable[[], Retries]
    """The budget of repetitions of one call."""
    error_from: Callable[[int, Mapping[str, str], bytes], LollmsError]
    """The error for a response whose status is not a success."""
    format: str
    """Whose backend it is, for errors about what it gives."""


@dataclass(frozen=True, slots=True)
class Generation:
    """One generation, as the driver sees it."""

    cancel: CancelToken
    open: Callable[[], Exchange[StreamCall] | StreamCall]
    """What to ask."""
    revise: Callable[[StreamCall, LollmsError], Exchange[StreamCall | None] | StreamCall | None]
    """What to ask instead, after an error that came before the first chunk; `None` if nothing else can be tried."""
    farewell: Callable[[], HTTPRequest | None]
    """What makes the server end an answer that is no longer wanted; `None` if closing the connection does."""


class _Unwanted(BaseException):
    """Nobody reads on. Thrown into a generation, which then ends in its own order."""


def again_if_unwanted(step: Step) -> Generator[Step, Any, Any]:
    """The value of a step, taken again when it was cancelled: a loop that ends cancels what is cancelled already."""
    for _ in range(MOST_CANCELS):
        try:
            return (yield step)
        except _Unwanted:
            continue
    return (yield step)


# --- what is done -------------------------------------------------------------------------------------------------


def carried_out(exchange: Exchange[T], call: Call, policy: Policy, method: str) -> Generator[Step, Any, T]:
    """An exchange of whole responses, to its result. `method` of the backend gave it."""
    try:
        request = next(exchange)
        while True:
            checked_request(request, method, policy.format, did="yielded")
            try:
                response = yield from _fetch(request, call, policy)
            except LollmsError as error:
                if call.stopping or isinstance(error, ContractError):
                    raise  # it says nothing about what was asked
                request = exchange.throw(error)
            else:
                request = exchange.send(response)
    except StopIteration as end:
        result: T = end.value
        return result
    finally:
        exchange.close()


def _given(given: Any, call: Call, policy: Policy, method: str) -> Generator[Step, Any, Any]:
    """What `method` of the backend gave, or what the exchange that it gave comes to."""
    if not isinstance(given, Generator):
        return given
    return (yield from carried_out(given, call, policy, method))


def _fetch(request: HTTPRequest, call: Call, policy: Policy) -> Generator[Step, Any, HTTPResponse]:
    retries = policy.retries()
    while True:
        try:
            response = yield from _opened(request, call)
            if response.status >= 300:
                raise (yield from _refusal(policy, response))
            return HTTPResponse(response.status, response.headers, (yield response.read_all))
        except LollmsError as error:
            call.close()
            wait = None if call.stopping or error.status_code in request.final else retries.wait(error)
            if wait is None:
                raise
            _say_again(error, wait)
        yield functools.partial(call.wait, wait)


def _opened(request: HTTPRequest, call: Call) -> Generator[Step, Any, Any]:
    """The response to a request, and a line for the log: where it went, without a query, which may have a key in it."""
    if not logger.isEnabledFor(logging.DEBUG):
        return (yield functools.partial(call.open, request))
    began = time.perf_counter()
    what = f"{request.method} {call.where}{request.path.partition('?')[0]}"
    try:
        response = yield functools.partial(call.open, request)
    except LollmsError as error:
        logger.debug("%s: %s after %.3f s", what, error.type, time.perf_counter() - began)
        raise
    logger.debug("%s: status %d after %.3f s", what, response.status, time.perf_counter() - began)
    return response


def _say_again(error: LollmsError, wait: float) -> None:
    # Not what it says: its secrets are taken out later.
    status = f" (status {error.status_code})" if error.status_code else ""
    logger.debug("%s%s: asking again in %.1f s", error.type, status, wait)


def _refusal(policy: Policy, response: Response) -> Generator[Step, Any, LollmsError]:
    body = yield functools.partial(response.read_some, _ERROR_BODY)
    return policy.error_from(response.status, response.headers, body)


def answer(generation: Generation, call: Call, policy: Policy) -> Generator[Step | Chunk, Any, None]:
    """The chunks of one generation, between the steps that get them. A cancelled one ends with a chunk that says so."""
    turns: Turns | None = None

    def stop() -> None:
        last_word = None
        try:
            last_word = generation.farewell()
        finally:
            call.stop(last_word)
            if turns is not None:  # its reader may not come back for long
                turns.leave(call)

    unregister = generation.cancel.on_cancel(stop)
    try:
        plan = yield from _given(generation.open(), call, policy, "open_stream")
        checked_call(plan, "open_stream", policy.format)
        if plan.turns is not None:
            turns = plan.turns
            yield functools.partial(call.take_turn, turns)
        if generation.farewell() is not None:
            yield call.let_others_leave
        yield from _attempts(plan, generation, call, policy)
    except LollmsError:
        if not call.stopping:
            raise
    except _Unwanted:
        yield from call.leave(generation.farewell())
        return
    finally:
        # Ctrl-C may come between any two of these, and a turn that is not given back blocks the client for good.
        try:
            unregister()
        finally:
            try:
                call.end()
            finally:
                if turns is not None:
                    turns.leave(call)
    if call.stopping:
        yield from _settled(call)
        yield Chunk(finish_reason="cancelled")


def _settled(call: Call) -> Generator[Step, Any, None]:
    # Only where there is something to wait for: whoever closes a stream should not have to wait a turn of the loop.
    if not call.aborted:
        yield call.settled


def _attempts(
    plan: StreamCall, generation: Generation, call: Call, policy: Policy
) -> Generator[Step | Chunk, Any, None]:
    retries, revisions = policy.retries(), 0
    while True:
        held: list[Chunk] = []
        yield from _until_it_may_ask(call, plan.turns)
        try:
            yield from _read_answer(plan, call, policy, held)
            if plan.turns is not None:
                plan.turns.ended()
            return
        except LollmsError as error:
            if plan.turns is not None:
                if call.streaming or isinstance(error, APITimeoutError):
                    plan.turns.left()
                else:  # a server that has refused to answer, or whose connection is gone, is at nothing
                    plan.turns.ended()
            call.close()
            if call.began or call.stopping or isinstance(error, ContractError):
                yield from held
                raise
            failure = error
        revised = None
        if revisions < _MAX_REVISIONS:
            revisions += 1
            revised = yield from _given(generation.revise(plan, failure), call, policy, "revise")
        if revised is not None:
            plan = checked_call(revised, "revise", policy.format, due="a StreamCall or None")
            continue
        wait = None if failure.status_code in plan.request.final else retries.wait(failure)
        if wait is None:
            yield from held
            raise failure
        _say_again(failure, wait)
        yield functools.partial(call.wait, wait)


def _until_it_may_ask(call: Call, turns: Turns | None) -> Generator[Step, Any, None]:
    """Wait while something is under way that could end this answer, and see to it that nothing is from now on."""
    while turns is not None and not call.stopping and (rest := turns.rest()):
        yield functools.partial(call.wait, rest)
    if turns is not None:
        turns.asks()
    deadline = float("inf")
    while True:
        call.asks()  # first, so that one of the two sees the other: who is about to send a word, or who asks
        limit = call.patience()
        if not limit or call.stopping or time.monotonic() > deadline:
            return
        deadline = min(deadline, time.monotonic() + limit)
        call.waits()
        yield functools.partial(call.wait, _LOOK)


def _read_answer(plan: StreamCall, call: Call, policy: Policy, held: list[Chunk]) -> Generator[Step | Chunk, Any, None]:
    """`held` gets what a decoder had not given out yet when the answer broke."""
    response = yield from _opened(plan.request, call)
    if response.status >= 300:
        raise (yield from _refusal(policy, response))
    maybe_page = "text/html" in response.headers.get("content-type", "")
    decoder = _decoder(plan, response, policy)
    read, feed = response.read, decoder.feed
    ended = 0.0
    call.streaming = True
    while True:
        call.reading = True
        if call.stopping and not call.may_read():
            yield call.settled
            raise CallCancelledError("cancelled")
        try:
            data = yield read
        except LollmsError:
            if decoder.whole and not call.stopping:
                break
            held += _held_back(decoder)
            raise
        if not data:
            break
        if ended and not call.stopping and time.monotonic() > ended + _AFTER_THE_END:
            break
        call.running = True
        if plan.turns is not None:
            plan.turns.noticed_piece()
        if call.stopping:
            continue
        call.reading = False
        if maybe_page and data.strip():
            # Small servers call a stream so, too, by default: Flask's, for one.
            if data.lstrip()[:1] == b"<":
                raise html_error(data + (yield functools.partial(response.read_some, _ERROR_BODY)), call.where)
            maybe_page = False
        given = feed(data)
        for chunk in _pieces(given, decoder, "feed", policy):
            if chunk.__class__ is not Chunk:
                raise _no_chunk(chunk, given, decoder, "feed", policy)
            call.began = True
            yield chunk
        if decoder.finished:
            if not decoder.cut:
                yield response.drain
            return
        if decoder.whole and not ended:
            # What may still come is a usage and an end mark; a server that only shows that it is alive has no end.
            ended = time.monotonic()
            response.hurry(_AFTER_THE_END)
    if call.stopping:
        held += _held_back(decoder)
        raise CallCancelledError("cancelled")
    given = decoder.close()
    for chunk in _pieces(given, decoder, "close", policy):
        if chunk.__class__ is not Chunk:
            raise _no_chunk(chunk, given, decoder, "close", policy)
        call.began = True
        yield chunk


def _decoder(plan: StreamCall, response: Response, policy: Policy) -> Decoder:
    decoder: Any = plan.decoder(response.headers)
    if not isinstance(decoder, Decoder):
        raise wrong_value(decoder, "a Decoder", "StreamCall.decoder", policy.format)
    return decoder


def _pieces(given: Any, decoder: Decoder, method: str, policy: Policy) -> Iterator[Any]:
    """What a decoder's method gave, one by one. No generator, as this is done for every read."""
    try:
        return iter(given)
    except TypeError:
        raise _no_chunk(given, given, decoder, method, policy) from None


def _no_chunk(piece: Any, given: Any, decoder: Decoder, method: str, policy: Policy) -> ContractError:
    """The error for a decoder whose method gave something, of which a piece, or the whole, is not what is due."""
    name = f"{type(decoder).__name__}.{method}"
    if piece is given or isinstance(given, Chunk):  # a chunk is a tuple, and so can be iterated
        return wrong_value(given, "an iterable of Chunk", name, policy.format)
    return wrong_value(piece, "a Chunk", name, policy.format, did="yielded")


def _held_back(decoder: Decoder) -> Generator[Chunk, None, None]:
    """What of an answer that has no end a decoder would have given out with more to come."""
    with contextlib.suppress(Exception):  # what is told is how the answer broke
        for chunk in decoder.close():
            if chunk.__class__ is Chunk and chunk.text:
                yield chunk._replace(finish_reason=None)


# --- who does it ----------------------------------------------------------------------------------------------------


def run(plan: Generator[Step, Any, T]) -> T:
    """Carry out a plan over a sync transport."""
    try:
        step = next(plan)
        while True:
            try:
                value = step()
            except LollmsError as error:
                if raised_by_handler(error):
                    raise
                step = plan.throw(error)
            else:
                step = plan.send(value)
    except StopIteration as end:
        result: T = end.value
        return result
    finally:
        plan.close()


async def arun(plan: Generator[Callable[[], Awaitable[Any]], Any, T]) -> T:
    """The twin of `run`, over an async transport."""
    try:
        step = next(plan)
        while True:
            try:
                value = await step()
            except LollmsError as error:
                step = plan.throw(error)
            else:
                step = plan.send(value)
    except StopIteration as end:
        result: T = end.value
        return result
    finally:
        plan.close()


def chunks(
    plan: Generator[Step | Chunk, Any, None], advance: Callable[[], Any] | None = None
) -> Generator[Chunk, None, None]:
    """Carry out a generation over a sync transport, and hand out its chunks. `advance` is for itself alone."""
    advance = advance or plan.__next__
    try:
        while True:
            item: Any = advance()
            if item.__class__ is Chunk:
                yield item
                advance = plan.__next__
                continue
            try:
                value = item()
            except LollmsError as error:
                if raised_by_handler(error):
                    raise
                advance = functools.partial(plan.throw, error)
            else:
                advance = functools.partial(plan.send, value)
    except (StopIteration, _Unwanted):
        return
    except BaseException as error:
        if isinstance(error, LollmsError) and not raised_by_handler(error):
            raise
        # Closed, dropped, or Ctrl-C: the generation ends in its own order, and what it still gives is not wanted.
        with contextlib.suppress(LollmsError):
            for _ in chunks(plan, functools.partial(plan.throw, _Unwanted())):
                pass
        raise


async def achunks(plan: Generator[Step | Chunk, Any, None]) -> AsyncGenerator[Chunk, None]:
    """The twin of `chunks`, over an async transport."""
    advance: Callable[[], Any] = plan.__next__
    try:
        while True:
            try:
                item: Any = advance()
            except StopIteration:  # which must not leave a coroutine
                return
            if item.__class__ is Chunk:
                yield item
                advance = plan.__next__
                continue
            try:
                value = await item()
            except LollmsError as error:
                advance = functools.partial(plan.throw, error)
            else:
                advance = functools.partial(plan.send, value)
    except _Unwanted:
        return
    except LollmsError:
        raise
    except BaseException:
        if not _in_a_loop():  # it was left behind in one that was closed over it
            plan.close()
            raise
        await _ended(plan)
        raise


def _in_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


_endings: set[asyncio.Task[None]] = set()
"""What goes on when nobody waits for it. An event loop has weak references only."""


async def _ended(plan: Generator[Step | Chunk, Any, None]) -> None:
    """End a generation that nobody wants, in its own order."""
    try:
        step = plan.throw(_Unwanted())
    except (StopIteration, _Unwanted, LollmsError):
        return  # there is nothing to wait for
    # In a task of its own: whoever is cancelled may be cancelled again, anyio's tasks with every turn.
    await asyncio.shield(_Ending(plan, step).begin())


class _Ending:
    """The rest of a generation that nobody wants."""

    def __init__(self, plan: Generator[Step | Chunk, Any, None], step: Any) -> None:
        self._plan = plan
        self._step = step
        self._begun = False

    def begin(self) -> asyncio.Task[None]:
        ending = asyncio.get_running_loop().create_task(self._run())
        _endings.add(ending)
        ending.add_done_callback(self._over)
        return ending

    def _over(self, ending: asyncio.Task[None]) -> None:
        _endings.discard(ending)
        if ending.cancelled() and not self._begun:  # by a loop that ends, which goes on as long as it closes generators
            self.begin()

    async def _run(self) -> None:
        # No async generator: a loop that closes those that it knows warns of one that begins then.
        self._begun = True
        plan, step = self._plan, self._step
        try:
            while True:
                if step.__class__ is Chunk:
                    step = next(plan)
                    continue
                try:
                    value = await step()
                except LollmsError as error:
                    step = plan.throw(error)
                else:
                    step = plan.send(value)
        except (StopIteration, _Unwanted, LollmsError):
            return
        except BaseException:
            await _ended(plan)
            raise
