"""One call over aiohttp."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import aiohttp

from lollms_core._bridges import processes
from lollms_core._bridges.limits import wait_for
from lollms_core.contract.errors import CallCancelledError, LollmsError
from lollms_core.contract.types import Timeouts
from lollms_core.http._address import mask
from lollms_core.http._aio_response import AsyncResponse
from lollms_core.http._driver import MOST_CANCELS, again_if_unwanted, arun
from lollms_core.http._exchange import HTTPRequest
from lollms_core.http._failures import (
    connection_error,
    not_http_error,
    own_turn_error,
    proxy_error,
    through,
    timeout_error,
    tunnel_error,
)
from lollms_core.http._stops import ask_to_stop
from lollms_core.http._turns import LOOK_AGAIN, Turns
from lollms_core.http._wire import BRIEF, UPLOAD_SIZE, dump_json, prepared_headers

if TYPE_CHECKING:
    from lollms_core.http._aio import AsyncTransport

__all__ = ["TURNS_TO_LEAVE", "AsyncCall", "NoTunnel"]


class AsyncCall:
    """One call: it sends requests one after another, and can be aborted from another thread. See `SyncCall`."""

    __slots__ = (
        "_news", "_process", "_stopper", "_taken", "_transport", "_turn", "_waiting", "aborted", "began", "loop",
        "over", "reading", "response", "running", "stopping", "streaming",
    )  # fmt: skip

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport
        self.loop = asyncio.get_running_loop()
        self._process = processes.current
        self._waiting: asyncio.Future[None] | asyncio.Task[aiohttp.ClientResponse] | None = None
        self._stopper: asyncio.Task[None] | None = None
        self._news: asyncio.Event | None = None
        self._turn: asyncio.Future[None] | None = None
        self._taken: asyncio.Task[None] | None = None
        """Reads on, because the reader did not when the call was stopped."""
        self.over = False
        self.response: AsyncResponse | None = None
        self.aborted = False
        self.began = False
        self.reading = False
        self.running = False
        self.stopping = False
        self.streaming = False

    @property
    def where(self) -> str:
        """The server's address, for messages."""
        return str(self._transport.address)

    async def open(self, request: HTTPRequest) -> AsyncResponse:
        """Send a request and wait for the headers of the response, whatever its status. Errors as `SyncCall.open`."""
        self.close()
        transport = self._transport
        session = await transport.session()
        self._raise_if_stopping()
        timeouts = request.timeouts or transport.timeouts
        headers = transport.headers
        upload = None
        body: bytes | AsyncGenerator[memoryview, None] | None = None
        if request.json is not None:
            headers = transport.body_headers
            body = dump_json(request.json)
        if request.headers:
            headers = {**headers, **prepared_headers(request.headers)}
        if isinstance(body, bytes) and len(body) > UPLOAD_SIZE:
            headers = {**headers, "Content-Length": str(len(body))}
            upload = _Upload(body, self.loop)
            body = upload.pieces()
        opening: asyncio.Task[aiohttp.ClientResponse] = self.loop.create_task(
            session.request(
                request.method,
                str(transport.address) + request.path,
                data=body,
                headers=headers,
                allow_redirects=False,
                proxy=transport.proxy,
                timeout=aiohttp.ClientTimeout(total=None, connect=timeouts.connect),
            )
        )
        self._waiting = opening
        try:
            left = await self._until_open(opening, upload, timeouts)
            if opening.cancelled():
                raise CallCancelledError("cancelled")
            answer = opening.result()
            self.response = AsyncResponse(self.loop, answer, timeouts, left, self.where)
            if upload is not None:
                upload.done = True
        except (aiohttp.ClientError, OSError, ValueError) as error:
            cause = _root(error)
            # What aiohttp says of a proxy contains the password in its address.
            raise self._failure(error, timeouts) from (cause if isinstance(cause, OSError) else None)
        finally:
            self._waiting = None
            if self.response is None:
                opening.cancel()
                opening.add_done_callback(_dispose)
                if upload is not None:
                    transport.abort(opening)
        # A stop may have come while the response was on its way here, where `_abort` could not see it.
        self._raise_if_stopping()
        return self.response

    async def _until_open(self, opening: asyncio.Task[Any], upload: _Upload | None, timeouts: Timeouts) -> float | None:
        """Wait for the headers; how much of the first-token limit is left then. Raises `APITimeoutError`."""
        if upload is not None:
            while not (opening.done() or upload.done):
                # Connecting has a limit of its own, and comes before the first piece.
                begun, limit = upload.progress, timeouts.idle if upload.begun else None
                await asyncio.wait({opening}, timeout=_PATIENCE if limit is None else min(limit, _PATIENCE))
                stands_still = limit is not None and upload.progress == begun and self.loop.time() >= begun + limit
                if stands_still and not (opening.done() or upload.done):
                    raise timeout_error("upload", limit, self.where)
        limit = timeouts.first_token
        if limit is None:
            await asyncio.wait({opening})
            return None
        started = self.loop.time() if upload is None else upload.progress
        while not opening.done() and (left := started + limit - self.loop.time()) > 0:
            await asyncio.wait({opening}, timeout=max(0.001, left))
            if upload is None and not opening.done():
                # Connecting has a limit of its own; the answer is waited for from then on.
                started = self._transport.connected(opening, started)
        if not opening.done():
            raise timeout_error("first_token", limit, self.where)
        if upload is None:
            started = self._transport.connected(opening, started)
        return started + limit - self.loop.time()

    def _raise_if_stopping(self) -> None:
        if self.stopping:
            self.close()
            raise CallCancelledError("cancelled")

    async def wait(self, seconds: float) -> None:
        """Do nothing for some time, unless the call is stopped."""
        if self.stopping:
            return
        self._waiting = self.loop.create_future()
        try:
            await asyncio.wait({self._waiting}, timeout=seconds)
        finally:
            self._waiting = None

    async def take_turn(self, turns: Turns) -> None:
        """Wait until no other call of these turns is under way. Errors as `SyncCall.take_turn`."""
        limit = self._transport.timeouts.first_token
        deadline = None if limit is None else self.loop.time() + limit
        self._turn = self._waiting = self.loop.create_future()
        try:
            if not turns.join(self, asyncio.current_task(), self._give_turn, lambda: not self.loop.is_closed()):
                raise own_turn_error(self.where)
            moves = turns.moves
            while not self._turn.done():
                if turns.moves != moves and limit is not None:
                    moves, deadline = turns.moves, self.loop.time() + limit
                left = LOOK_AGAIN if deadline is None else deadline - self.loop.time()
                if left <= 0:
                    raise timeout_error("turn", limit, self.where)
                done, _ = await asyncio.wait({self._turn}, timeout=min(left, LOOK_AGAIN))
                if not done:
                    turns.look()
            if self.stopping:
                raise CallCancelledError("cancelled")
        finally:
            self._waiting = None

    async def let_others_leave(self) -> None:
        """Let tasks that were cancelled before this call say so: their answers are to end before it is asked."""
        for _ in range(TURNS_TO_LEAVE):
            await asyncio.sleep(0)

    def asks(self) -> None:
        """An answer is going to be asked for."""
        self._transport.stops.asks(self)

    def waits(self) -> None:
        """It is not asked for yet, after all."""
        self._transport.stops.over(self)

    def patience(self) -> float:
        """Seconds to wait at most before a question, so that other answers can end."""
        return self._transport.stops.patience()

    def _give_turn(self) -> None:
        with contextlib.suppress(RuntimeError):
            self.loop.call_soon_threadsafe(self._take_turn)

    def _take_turn(self) -> None:
        if self._turn is not None and not self._turn.done():
            self._turn.set_result(None)

    # --- the end ------------------------------------------------------------------------------------------------------

    def stop(self, last_word: HTTPRequest | None) -> None:
        """End the call: at once, or by asking the server to end the answer that is running. As `SyncCall.stop`."""
        if self.stopping:
            return
        self.stopping = True
        if self._process != processes.current:
            self.aborted = True
            return
        if last_word is None or not self.streaming:
            self.abort()
            return
        self._transport.wait_for(self)
        try:
            self.loop.call_soon_threadsafe(self._begin_to_stop, last_word)
        except RuntimeError:  # if the loop is closed, so is everything in it
            self._transport.wait_for_no_more(self)

    def _begin_to_stop(self, last_word: HTTPRequest, times: int = MOST_CANCELS) -> None:
        self._news = asyncio.Event()
        self._stopper = self.loop.create_task(self._ask_to_stop(last_word))

        def ended(stopper: asyncio.Task[None]) -> None:
            if not stopper.cancelled() or self.over:
                self._transport.wait_for_no_more(self)
            elif times > 0:
                # A loop that ends cancels its tasks, and waits for the one that reads: that one waits for the answer.
                self._begin_to_stop(last_word, times - 1)
            else:
                self.abort()
                self._transport.wait_for_no_more(self)

        self._stopper.add_done_callback(ended)

    async def _ask_to_stop(self, last_word: HTTPRequest) -> None:
        tell = functools.partial(self._tell, last_word)
        await arun(ask_to_stop(self, self._transport.stops, tell, task=asyncio.current_task()))

    def leave(self, last_word: HTTPRequest | None) -> Generator[Callable[[], Awaitable[Any]], Any, None]:
        """What the reader does when nobody wants more: it has the server asked to stop, and reads on to the end."""
        self.reading = True
        self.stop(last_word)
        if self._taken is None:
            try:
                if not self.aborted and (response := self.response) is not None:
                    self.noticed()
                    while (yield from again_if_unwanted(response.read)):
                        self.running = True
                        self.noticed()
            except LollmsError:
                pass
            self.end()
        if not self.aborted:
            yield self.settled

    def may_read(self) -> bool:
        """Whether a call that is to stop is still for its reader to read on."""
        self.noticed()
        return self._taken is None

    async def comes(self, event: Callable[[], bool], within: float) -> bool:
        """Wait for an event, reading on if nobody else does; whether it came within so many seconds."""
        assert self._news is not None
        deadline = self.loop.time() + within
        while True:
            if not self.reading and not self.over:
                self.reading = True
                self._taken = self.loop.create_task(self._read_on())
            if event():
                return True
            left = min(deadline - self.loop.time(), _SLICE)
            if left <= 0:
                return False
            self._news.clear()
            with contextlib.suppress(asyncio.TimeoutError, TimeoutError):
                await wait_for(self._news.wait(), left)

    async def _read_on(self) -> None:
        for count in range(MOST_CANCELS + 1):
            try:
                while self.response is not None and await self.response.read():
                    self.noticed()
                break
            except LollmsError:
                break
            except asyncio.CancelledError:  # by a loop that ends, which waits for this
                if count == MOST_CANCELS:
                    raise
        self.end()

    def noticed(self) -> None:
        """Something has happened that the stop may wait for: the reader reads on, or an answer has ended."""
        if self._news is not None:
            self._news.set()

    def wake(self) -> None:
        """As `noticed`, from any thread."""
        with contextlib.suppress(RuntimeError):  # if the loop is closed, nobody waits there
            self.loop.call_soon_threadsafe(self.noticed)

    def is_alive(self) -> bool:
        """Whether it can go on at all."""
        return not self.loop.is_closed()

    def goes_on_elsewhere(self) -> bool:
        """Whether it goes on while this thread waits."""
        try:
            return self.loop.is_running() and self.loop is not asyncio.get_running_loop()
        except RuntimeError:
            return True

    async def _tell(self, request: HTTPRequest) -> None:
        """Send one more request and ignore what comes of it. Waits about a second at most."""
        other = AsyncCall(self._transport)
        try:
            await (await other.open(replace(request, timeouts=BRIEF))).drain()
        except LollmsError:
            pass  # it was a courtesy
        finally:
            other.end()

    async def settled(self) -> None:
        """Wait until nothing is under way on behalf of this call."""
        while self._stopper is not None and not self._stopper.done():
            await asyncio.wait({self._stopper})

    def abort(self) -> None:
        """End whatever the call waits for, at once. From any thread."""
        self.stopping = self.aborted = True
        with contextlib.suppress(RuntimeError):  # if the loop is closed, so is everything in it
            self.loop.call_soon_threadsafe(self._abort)

    def _abort(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
        if self.response is not None:
            self.response.abort()

    def close(self) -> None:
        """Give back or close the connection of the last request."""
        was_streaming = self.streaming
        self.running = self.reading = self.streaming = False
        if self.response is not None:
            self.response.close()
            self.response = None
        if was_streaming:
            self._transport.stops.one_ended(self.stopping)

    def end(self) -> None:
        """The call is over: close, and let whoever asked the server to stop know."""
        self.over = True
        self._transport.stops.over(self)
        self.close()
        self.noticed()

    def _failure(self, error: Exception, timeouts: Timeouts) -> LollmsError:
        cause = _root(error)
        proxy = self._transport.proxy
        if proxy is not None:
            if isinstance(error, aiohttp.ClientHttpProxyError):
                return tunnel_error(error.status, f"the proxy {mask(proxy)}")
            if isinstance(error, NoTunnel):
                cause = error.cause
            connecting = isinstance(
                error, aiohttp.ClientConnectorError | NoTunnel | TimeoutError | asyncio.TimeoutError
            )
            if connecting and (failure := proxy_error(cause, proxy, connected=False)):
                return failure
        if isinstance(error, TimeoutError | asyncio.TimeoutError):
            return timeout_error("connect", timeouts.connect, self.where)
        where = through(self.where, proxy)
        if _is_closed(cause):
            return connection_error(ConnectionResetError(), where)
        if isinstance(cause, aiohttp.ClientResponseError | ValueError) and not isinstance(cause, OSError):
            said = str(getattr(cause, "message", cause))
            return not_http_error(said, where, begins_well="Bad status line" not in said)
        return connection_error(cause, where, hint=self._transport.unreachable_hint)


class NoTunnel(aiohttp.ClientError):
    """A proxy closed the connection, or did not speak HTTP, when it was asked for a tunnel."""

    def __init__(self, error: Exception) -> None:
        said = str(getattr(error, "message", error))
        other = error if isinstance(error, OSError) else ValueError(said)
        self.cause: Exception = ConnectionResetError() if _is_closed(error) else other
        super().__init__(said)


def _is_closed(error: BaseException) -> bool:
    """Whether the other side closed a connection that there was."""
    # What cuts off a request on its way out, aiohttp tells without a number.
    without_number = type(error) is aiohttp.ClientOSError and error.errno is None
    return without_number or isinstance(error, aiohttp.ServerDisconnectedError | ConnectionResetError | BrokenPipeError)


_SLICE = 0.05
"""Seconds between two looks at what else may have happened."""
TURNS_TO_LEAVE = 5
"""Turns of a loop until an answer has begun to stop whose task was cancelled, or whose generator the loop closes."""
_PATIENCE = 1.0
"""Seconds between two looks at an upload."""


class _Upload:
    """A body that leaves in pieces, so that one that stands still can be told from one that takes its time."""

    def __init__(self, body: bytes, loop: asyncio.AbstractEventLoop) -> None:
        self._body = body
        self.loop = loop
        self.progress = loop.time()
        """When the last piece was taken."""
        self.begun = False
        self.done = False

    async def pieces(self) -> AsyncGenerator[memoryview, None]:
        self.begun = True
        body = memoryview(self._body)
        for start in range(0, len(body), UPLOAD_SIZE):
            if self.done:  # the server has answered before it had everything
                return
            self.progress = self.loop.time()
            yield body[start : start + UPLOAD_SIZE]
        self.progress = self.loop.time()
        self.done = True


def _dispose(opening: asyncio.Task[aiohttp.ClientResponse]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        opening.result().close()


def _root(error: BaseException) -> BaseException:
    """The exception of the operating system or of TLS that aiohttp has wrapped."""
    for name in ("certificate_error", "os_error"):
        inner = getattr(error, name, None)
        if isinstance(inner, BaseException):
            return inner
    return error
