"""The native async transport, over aiohttp (the extra `lollms-core[async]`).

Sessions are kept by event loop: a client may be used from one loop after another, and from several at once. A session
closes with its loop when that ends as `asyncio.run` ends one, and in any case with the client.

What is used below aiohttp's documented face, why, and the test that fails when it changes (all in
`tests/http/test_below_aiohttp.py`):

- `StreamReader.set_exception(None)` in `AsyncResponse._rescued`: aiohttp drops what has arrived once a connection has
  failed.
- `Connection.protocol.closed`: a reader of a body whose chunked encoding is wrong is not told; aiohttp only closes the
  connection.
- `ClientResponse.start` and `Connection.transport` in `_Answer`: a server that answers before it has read the request
  keeps the connection open until it has.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
import threading
import weakref
from collections.abc import AsyncGenerator, Callable
from dataclasses import replace
from typing import Any

import aiohttp

from lollms_core.bridges import processes
from lollms_core.errors import CallCancelledError, ClientClosedError, IncompleteStreamError, LollmsError, ProtocolError
from lollms_core.http import sockets
from lollms_core.http.address import Address, mask
from lollms_core.http.environment import Environment
from lollms_core.http.failures import (
    connection_error,
    not_http_error,
    own_turn_error,
    proxy_error,
    timeout_error,
    tunnel_error,
)
from lollms_core.http.messages import Headers, HTTPRequest
from lollms_core.http.turns import Turns
from lollms_core.http.wire import (
    BRIEF,
    DRAIN_SECONDS,
    DRAIN_SIZE,
    MAX_BODY,
    STOP_LIMIT,
    UPLOAD_SIZE,
    decompressor,
    dump_json,
    prepared_headers,
)
from lollms_core.types import Timeouts

__all__ = ["AsyncCall", "AsyncResponse", "AsyncTransport"]

_MAX_LINE = 65536
"""Bytes of a header's line: what the sync transport takes; aiohttp by itself takes an eighth of it."""


class AsyncTransport:
    """The connections of one client to one server, from any number of event loops. Makes nothing before it is used.

    The arguments are those of `SyncTransport`.
    """

    def __init__(
        self,
        address: Address,
        *,
        environment: Environment,
        headers: Callable[[], dict[str, str]],
        timeouts: Timeouts,
        unreachable_hint: str = "",
    ) -> None:
        self.address = address
        self.timeouts = timeouts
        self.unreachable_hint = unreachable_hint
        self.proxy = environment.proxy
        self.headers: dict[str, str] = {}
        self.body_headers: dict[str, str] = {}
        self._environment = environment
        self._make_headers = headers
        self._tls: ssl.SSLContext | bool = True
        self._ready = False
        self._closed = False
        self._lock = threading.Lock()
        self._process = processes.current
        self._sessions: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Session] = weakref.WeakKeyDictionary()

    async def session(self) -> aiohttp.ClientSession:
        """The session of the running loop, made on first use."""
        loop = asyncio.get_running_loop()
        if self._process != processes.current:
            self._forget_parents()
        kept = self._sessions.get(loop)
        if kept is not None and not kept.session.closed:
            return kept.session
        with self._lock:
            if self._closed:
                raise ClientClosedError("this client has been closed")
            self._prepare()
            kept = _Session(loop, self._tls)
            self._sessions[loop] = kept
        await kept.keep()
        return kept.session

    def _forget_parents(self) -> None:
        for loop, session in list(self._sessions.items()):
            processes.keep_for_good((loop, session))
        self._sessions = weakref.WeakKeyDictionary()
        self._process, self._lock = processes.current, threading.Lock()

    def _prepare(self) -> None:
        if self._ready:
            return
        headers = prepared_headers(self._make_headers())
        authorization = self._environment.authorization
        if authorization is not None and not any(name.lower() == "authorization" for name in headers):
            headers["Authorization"] = authorization
        self.headers = headers
        self.body_headers = {**headers, "Content-Type": "application/json"}
        if self.address.scheme == "https":
            self._tls = _tls_context(self._environment.verify)
        self._ready = True

    def call(self) -> AsyncCall:
        """The beginning of one call, in the running loop."""
        return AsyncCall(self)

    def close(self) -> None:
        """Close every session, each in its own loop. From any thread."""
        if self._process != processes.current:
            self._forget_parents()
        with self._lock:
            self._closed = True
            kept = list(self._sessions.values())
            self._sessions.clear()
        for session in kept:
            session.close()


class _Session:
    """A session and the event loop it belongs to."""

    def __init__(self, loop: asyncio.AbstractEventLoop, tls: ssl.SSLContext | bool) -> None:
        self._loop = weakref.ref(loop)
        self._closing: asyncio.Task[None] | None = None
        self._sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self.session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=tls, socket_factory=self._socket),
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            max_field_size=_MAX_LINE,
            max_line_size=_MAX_LINE,
            # Without a name for it, aiohttp would add its own.
            skip_auto_headers=("User-Agent", "Accept-Encoding", "Content-Type"),
            response_class=_Answer,
        )
        self._keeper = self._close_with_loop()

    def _socket(self, address: Any) -> socket.socket:
        family, kind, protocol, _, _ = address
        sock = socket.socket(family, kind, protocol)
        self._sockets.add(sock)
        sockets.remember(sock)
        return sock

    async def keep(self) -> None:
        """Let the loop close the session: on its way out, a loop closes the async generators that are still open."""
        await anext(self._keeper)

    async def _close_with_loop(self) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            await self.session.close()

    def close(self) -> None:
        """Close the session: here if its loop stands still, else as soon as that comes to it."""
        loop = self._loop()
        if loop is None or loop.is_closed():
            return
        if loop.is_running():
            loop.call_soon_threadsafe(self._close_in_loop, loop)
            return
        closing = self._keeper.aclose()
        try:
            loop.run_until_complete(closing)
        except RuntimeError:
            # Another loop runs in this thread, so that this one cannot. The server is to know all the same.
            closing.close()
            self.session.detach()
            for sock in list(self._sockets):
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)

    def _close_in_loop(self, loop: asyncio.AbstractEventLoop) -> None:
        self._closing = loop.create_task(self._keeper.aclose())


class _Answer(aiohttp.ClientResponse):
    """A response that knows whether it came before the server had the whole request."""

    _cut: asyncio.Transport | None = None

    async def start(self, connection: Any) -> aiohttp.ClientResponse:
        protocol, transport = connection.protocol, connection.transport
        await super().start(connection)
        if transport is not None and transport.get_write_buffer_size():
            self._cut = transport
            protocol.force_close()
            if self.content.is_eof():  # the connection may be in the pool already
                self.reset()
        return self

    def reset(self) -> None:
        """Close a connection over which the server has no more to say. Closed as usual, it would stay open until the
        server has taken what is not sent.
        """
        if self._cut is not None:
            sockets.reset_when_closed(self._cut.get_extra_info("socket"))
            self._cut.abort()


class AsyncCall:
    """One call: it sends requests one after another, and can be aborted from another thread. See `SyncCall`."""

    __slots__ = (
        "_loop", "_news", "_over", "_process", "_stopper", "_transport", "_turn", "_waiting", "aborted", "began",
        "response", "running", "stopping", "streaming",
    )  # fmt: skip

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._process = processes.current
        self._waiting: asyncio.Future[None] | asyncio.Task[aiohttp.ClientResponse] | None = None
        self._stopper: asyncio.Task[None] | None = None
        self._news: asyncio.Event | None = None
        self._turn: asyncio.Future[None] | None = None
        self._over = False
        self.response: AsyncResponse | None = None
        self.aborted = False
        self.began = False
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
            upload = _Upload(body, self._loop)
            body = upload.pieces()
        opening: asyncio.Task[aiohttp.ClientResponse] = self._loop.create_task(
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
            self.response = AsyncResponse(self._loop, answer, timeouts, left, self.where)
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
                stands_still = limit is not None and upload.progress == begun and self._loop.time() >= begun + limit
                if stands_still and not (opening.done() or upload.done):
                    raise timeout_error("upload", limit, self.where)
        started = self._loop.time() if upload is None else upload.progress
        limit = timeouts.first_token
        if limit is not None:
            limit = max(0.001, started + limit - self._loop.time())
        if not opening.done():
            await asyncio.wait({opening}, timeout=limit)
        if not opening.done():
            raise timeout_error("first_token", timeouts.first_token, self.where)
        return None if timeouts.first_token is None else started + timeouts.first_token - self._loop.time()

    def _raise_if_stopping(self) -> None:
        if self.stopping:
            self.close()
            raise CallCancelledError("cancelled")

    async def wait(self, seconds: float) -> None:
        """Do nothing for some time, unless the call is stopped."""
        if self.stopping:
            return
        self._waiting = self._loop.create_future()
        try:
            await asyncio.wait({self._waiting}, timeout=seconds)
        finally:
            self._waiting = None

    async def take_turn(self, turns: Turns) -> None:
        """Wait until no other call of these turns is under way. Errors as `SyncCall.take_turn`."""
        limit = self._transport.timeouts.first_token
        self._turn = self._waiting = self._loop.create_future()
        try:
            if not turns.join(self, asyncio.current_task(), self._give_turn):
                raise own_turn_error(self.where)
            done, _ = await asyncio.wait({self._turn}, timeout=limit)
            if self.stopping:
                raise CallCancelledError("cancelled")
            if not done:
                raise timeout_error("turn", limit, self.where)
        finally:
            self._waiting = None

    def _give_turn(self) -> None:
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._take_turn)

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
        with contextlib.suppress(RuntimeError):  # if the loop is closed, so is everything in it
            self._loop.call_soon_threadsafe(self._begin_to_stop, last_word)

    def _begin_to_stop(self, last_word: HTTPRequest) -> None:
        self._news = asyncio.Event()
        self._stopper = self._loop.create_task(self._ask_to_stop(last_word))

    async def _ask_to_stop(self, last_word: HTTPRequest) -> None:
        # An answer of which nothing has come may not be running: a server may take the word for the next one's.
        if await self._comes(lambda: self.running or self._over):
            if not self._over:
                await self._tell(last_word)
            if await self._comes(lambda: self._over):
                return
        self.abort()

    async def _comes(self, event: Callable[[], bool]) -> bool:
        """Wait for an event of which `noticed` or `end` tell; whether it came within the limit."""
        assert self._news is not None
        deadline = self._loop.time() + STOP_LIMIT
        while not event():
            self._news.clear()
            try:
                await asyncio.wait_for(self._news.wait(), max(0.0, deadline - self._loop.time()))
            except (asyncio.TimeoutError, TimeoutError):
                return event()
        return True

    def noticed(self) -> None:
        """A piece of the answer has come since the call was stopped."""
        if self._news is not None:
            self._news.set()

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
        if self._stopper is not None:
            await asyncio.wait({self._stopper})

    def abort(self) -> None:
        """End whatever the call waits for, at once. From any thread."""
        self.stopping = self.aborted = True
        with contextlib.suppress(RuntimeError):  # if the loop is closed, so is everything in it
            self._loop.call_soon_threadsafe(self._abort)

    def _abort(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
        if self.response is not None:
            self.response.abort()

    def close(self) -> None:
        """Give back or close the connection of the last request."""
        self.running = self.streaming = False
        if self.response is not None:
            self.response.close()
            self.response = None

    def end(self) -> None:
        """The call is over: close, and let whoever asked the server to stop know."""
        self._over = True
        self.close()
        self.noticed()

    def _failure(self, error: Exception, timeouts: Timeouts) -> LollmsError:
        cause = _root(error)
        proxy = self._transport.proxy
        if proxy is not None:
            if isinstance(error, aiohttp.ClientHttpProxyError):
                return tunnel_error(error.status, f"the proxy {mask(proxy)}")
            connecting = isinstance(error, aiohttp.ClientConnectorError | TimeoutError | asyncio.TimeoutError)
            if connecting and (failure := proxy_error(cause, proxy, connected=False)):
                return failure
        if isinstance(error, TimeoutError | asyncio.TimeoutError):
            return timeout_error("connect", timeouts.connect, self.where)
        if isinstance(cause, aiohttp.ServerDisconnectedError):
            return connection_error(ConnectionResetError(), self.where)
        if isinstance(cause, aiohttp.ClientResponseError | ValueError) and not isinstance(cause, OSError):
            return not_http_error(str(getattr(cause, "message", cause)), self.where)
        return connection_error(cause, self.where, hint=self._transport.unreachable_hint)


_PATIENCE = 1.0
"""Seconds between two looks at an upload."""


class _Upload:
    """A body that leaves in pieces, so that one that stands still can be told from one that takes its time."""

    def __init__(self, body: bytes, loop: asyncio.AbstractEventLoop) -> None:
        self._body = body
        self._loop = loop
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
            self.progress = self._loop.time()
            yield body[start : start + UPLOAD_SIZE]
        self.progress = self._loop.time()
        self.done = True


class AsyncResponse:
    """A response whose body is read in pieces."""

    __slots__ = (
        "_answer", "_content", "_deadline", "_decompress", "_loop", "_lost", "_started", "_timed_out", "_timeouts",
        "_timer", "_where", "headers", "status",
    )  # fmt: skip

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        answer: aiohttp.ClientResponse,
        timeouts: Timeouts,
        first_token: float | None,
        where: str,
    ) -> None:
        self.status = answer.status
        self.headers = Headers(answer.headers.items())
        self._loop = loop
        self._answer = answer
        self._content = answer.content
        self._timeouts = timeouts
        self._where = where
        self._started = False
        self._timed_out = False
        self._deadline: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._decompress: Callable[[bytes], bytes] | None = None
        protocol = None if answer.connection is None else answer.connection.protocol
        self._lost: asyncio.Future[None] | None = getattr(protocol, "closed", None)
        if self._lost is not None:
            self._lost.add_done_callback(self._on_lost)
        if first_token is not None:
            self._arm(max(0.001, first_token))

    async def read(self) -> bytes:
        """What has arrived of the body; `b""` at its end. Errors as `SyncResponse.read`."""
        try:
            if not self._started:
                self._decompress = decompressor(self.headers)
            data = await self._next()
            if self._decompress is not None:
                while not (text := self._decompress(data)) and data:
                    data = await self._next()
                data = text
        except (aiohttp.ClientError, OSError, ValueError) as error:
            self.close()
            raise self._failure(error) from error
        except LollmsError:
            self.close()
            raise
        if not data:
            self._disarm()
        return data

    async def _next(self) -> bytes:
        idle = self._timeouts.idle
        if self._started and idle is not None:
            self._deadline = self._loop.time() + idle
            if self._timer is None:
                self._arm(idle)
        try:
            data = await self._content.readany()
        except (aiohttp.ClientError, OSError) as error:
            data = self._rescued(error)
        self._deadline = None  # the time that the caller takes for what it got does not count
        if not self._started:
            self._started = True
            self._stop_timer()
        return data

    def _rescued(self, error: Exception) -> bytes:
        """What had arrived before the failure, which aiohttp would drop. The next read meets the failure again."""
        self._content.set_exception(None)  # type: ignore[arg-type]
        data = self._content.read_nowait()
        self._content.set_exception(error)
        if not data:
            raise error
        return data

    def _on_lost(self, lost: asyncio.Future[None]) -> None:
        _seen(lost)  # it reaches the reader by its own way
        if not self._content.is_eof() and self._content.exception() is None:
            self._content.set_exception(aiohttp.ClientPayloadError("the connection was lost"))

    def _disarm(self) -> None:
        self._stop_timer()
        if self._lost is not None:
            self._lost.remove_done_callback(self._on_lost)
            if self._lost.done():
                _seen(self._lost)
            else:
                # The connection may break in the pool, too. It serves many responses, and is to hold this only once.
                self._lost.remove_done_callback(_seen)
                self._lost.add_done_callback(_seen)
            self._lost = None

    # One timer serves a whole stream: setting one for each read would cost more than the read.

    def _arm(self, seconds: float) -> None:
        self._deadline = self._loop.time() + seconds
        self._timer = self._loop.call_at(self._deadline, self._check)

    def _check(self) -> None:
        self._timer = None
        now = self._loop.time()
        if self._deadline is None:
            return
        if now < self._deadline:
            self._timer = self._loop.call_at(self._deadline, self._check)
        else:
            self._timed_out = True
            self.abort()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def read_all(self, limit: int = MAX_BODY) -> bytes:
        """The whole body. Raises `ProtocolError` if it is larger than `limit` bytes."""
        pieces, size = [], 0
        while data := await self.read():
            pieces.append(data)
            size += len(data)
            if size > limit:
                self.close()
                raise ProtocolError(f"{self._where} sent an answer larger than {limit} bytes")
        return b"".join(pieces)

    async def read_some(self, limit: int) -> bytes:
        """The beginning of the body, as much as comes without an error, at most about `limit` bytes. Then it closes."""
        pieces, size = [], 0
        try:
            while size < limit and (data := await self.read()):
                pieces.append(data)
                size += len(data)
        except LollmsError:
            pass  # what has come must do: the caller wants it for a message
        finally:
            self.close()
        return b"".join(pieces)

    async def drain(self) -> None:
        """The end mark has come: read the little that may follow, so that the connection can be used again."""
        self._deadline = None
        with contextlib.suppress(aiohttp.ClientError, OSError, ValueError, asyncio.TimeoutError):
            await asyncio.wait_for(self._drain(), DRAIN_SECONDS)
        self.close()

    async def _drain(self) -> None:
        size = 0
        while size < DRAIN_SIZE and (data := await self._content.readany()):
            size += len(data)

    def abort(self) -> None:
        """Close the connection under a reader, who gets the end of it as an error."""
        self._answer.close()
        if isinstance(self._answer, _Answer):
            self._answer.reset()

    def close(self) -> None:
        """Close the connection, unless the body was read to its end and it has been given back."""
        self._disarm()
        self.abort()

    def _failure(self, error: Exception) -> LollmsError:
        if self._timed_out:
            kind = "idle" if self._started else "first_token"
            return timeout_error(kind, getattr(self._timeouts, kind), self._where)
        return IncompleteStreamError(f"{self._where} closed the connection before its answer was complete")


def _seen(lost: asyncio.Future[None]) -> None:
    """Look at the exception, so that asyncio does not complain that nobody did."""
    if not lost.cancelled():
        lost.exception()


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


def _tls_context(verify: bool | str) -> ssl.SSLContext | bool:
    if verify is False:
        return False
    if isinstance(verify, str):
        if os.path.isdir(verify):
            return ssl.create_default_context(capath=verify)
        return ssl.create_default_context(cafile=verify)
    import requests.utils

    return ssl.create_default_context(cafile=requests.utils.DEFAULT_CA_BUNDLE_PATH)
