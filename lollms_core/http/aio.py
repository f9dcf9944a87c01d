"""The native async transport, over aiohttp (the extra `lollms-core[async]`).

Sessions are kept by event loop: a client may be used from one loop after another, and from several at once. A session
closes with its loop when that ends as `asyncio.run` ends one, and in any case with the client.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
import threading
import weakref
from collections.abc import AsyncGenerator, Callable
from dataclasses import replace

import aiohttp

from lollms_core.errors import ClientClosedError, ConfigurationError, IncompleteStreamError, LollmsError, ProtocolError
from lollms_core.http import processes
from lollms_core.http.address import Address
from lollms_core.http.environment import Environment
from lollms_core.http.failures import connection_error, timeout_error
from lollms_core.http.messages import Headers, HTTPRequest, excerpt
from lollms_core.http.wire import MAX_BODY, decompressor, dump_json, prepared_headers
from lollms_core.types import Timeouts

__all__ = ["AsyncCall", "AsyncResponse", "AsyncTransport"]

_DRAIN_SIZE = 65536
_DRAIN_SECONDS = 0.5
_BRIEF = Timeouts(connect=1.0, first_token=1.0, idle=1.0)


class AsyncTransport:
    """The connections of one client to one server, from any number of event loops. Makes nothing before it is used.

    The arguments are those of `SyncTransport`.
    """

    def __init__(
        self,
        address: Address,
        *,
        headers: Callable[[], dict[str, str]],
        verify: bool | str,
        timeouts: Timeouts,
        unreachable_hint: str = "",
    ) -> None:
        self.address = address
        self.timeouts = timeouts
        self.unreachable_hint = unreachable_hint
        self.proxy: str | None = None
        self.headers: dict[str, str] = {}
        self.body_headers: dict[str, str] = {}
        self._make_headers = headers
        self._verify = verify
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
            # A forked child does not touch its parent's connections.
            self._process, self._lock = processes.current, threading.Lock()
            self._sessions = weakref.WeakKeyDictionary()
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

    def _prepare(self) -> None:
        if self._ready:
            return
        environment = Environment.find(self.address, self._verify)
        headers = prepared_headers(self._make_headers())
        if environment.authorization is not None and not any(name.lower() == "authorization" for name in headers):
            headers["Authorization"] = environment.authorization
        self.headers = headers
        self.body_headers = {**headers, "Content-Type": "application/json"}
        if environment.proxy is not None and environment.proxy.startswith("socks"):
            raise ConfigurationError(
                "async calls cannot go through a SOCKS proxy",
                hint="Use the sync calls, an HTTP proxy, or exempt this server with NO_PROXY.",
            )
        self.proxy = environment.proxy
        if self.address.scheme == "https":
            self._tls = _tls_context(environment.verify)
        self._ready = True

    def call(self) -> AsyncCall:
        """The beginning of one call, in the running loop."""
        return AsyncCall(self)

    def close(self) -> None:
        """Close every session, each in its own loop. From any thread."""
        with self._lock:
            self._closed = True
            kept = list(self._sessions.values())
            self._sessions.clear()
        if self._process == processes.current:
            for session in kept:
                session.close()


class _Session:
    """A session and the event loop it belongs to."""

    def __init__(self, loop: asyncio.AbstractEventLoop, tls: ssl.SSLContext | bool) -> None:
        self._loop = weakref.ref(loop)
        self.session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=tls),
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            # Without a name for it, aiohttp would add its own.
            skip_auto_headers=("User-Agent", "Accept-Encoding", "Content-Type"),
        )
        self._keeper = self._close_with_loop()

    async def keep(self) -> None:
        """Let the loop close the session: on its way out, a loop closes the async generators that are still open."""
        await anext(self._keeper)

    async def _close_with_loop(self) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            await self.session.close()

    def close(self) -> None:
        loop = self._loop()
        if loop is None or loop.is_closed():
            return
        try:
            running = asyncio.get_running_loop()
        except RuntimeError:
            running = None
        if running is loop:
            self._closing = loop.create_task(self._keeper.aclose())
        elif loop.is_running():
            asyncio.run_coroutine_threadsafe(self._keeper.aclose(), loop)
        else:
            loop.run_until_complete(self._keeper.aclose())


class AsyncCall:
    """One call: it sends requests one after another, and can be aborted from another thread."""

    __slots__ = ("_loop", "_response", "_stopped", "_transport", "_waiting", "aborted")

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._response: AsyncResponse | None = None
        self._waiting: asyncio.Future[None] | asyncio.Task[aiohttp.ClientResponse] | None = None
        self.aborted = False

    @property
    def where(self) -> str:
        return str(self._transport.address)

    def abort(self) -> None:
        """End whatever the call waits for, at once. From any thread."""
        self.aborted = True
        with contextlib.suppress(RuntimeError):  # if the loop is closed, so is everything in it
            self._loop.call_soon_threadsafe(self._abort)

    def _abort(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
        self.close()

    async def wait(self, seconds: float) -> None:
        """Do nothing for some time, unless the call is aborted."""
        if self.aborted:
            return
        self._waiting = self._loop.create_future()
        try:
            await asyncio.wait({self._waiting}, timeout=seconds)
        finally:
            self._waiting = None

    async def open(self, request: HTTPRequest) -> AsyncResponse:
        """Send a request and wait for the headers of the response, whatever its status. Errors as `SyncCall.open`."""
        self.close()
        transport = self._transport
        session = await transport.session()
        self._raise_if_aborted()
        timeouts = request.timeouts or transport.timeouts
        headers = transport.headers
        body = None
        if request.json is not None:
            headers = transport.body_headers
            body = dump_json(request.json)
        if request.headers:
            headers = {**headers, **prepared_headers(request.headers)}
        started = self._loop.time()
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
            await asyncio.wait({opening}, timeout=timeouts.first_token)
            if not opening.done():
                raise timeout_error("first_token", timeouts.first_token, self.where)
            if opening.cancelled():
                raise IncompleteStreamError("cancelled")
            answer = opening.result()
            left = None if timeouts.first_token is None else timeouts.first_token - (self._loop.time() - started)
            self._response = AsyncResponse(self._loop, answer, timeouts, left, self.where)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise self._failure(error, timeouts) from _root(error)
        finally:
            self._waiting = None
            if self._response is None:
                opening.cancel()
                opening.add_done_callback(_dispose)
        # An abort may have come while the response was on its way here, where `_abort` could not see it.
        self._raise_if_aborted()
        return self._response

    def _raise_if_aborted(self) -> None:
        if self.aborted:
            self.close()
            raise IncompleteStreamError("cancelled")

    async def tell(self, request: HTTPRequest) -> None:
        """Send one more request and ignore what comes of it. Waits about a second at most."""
        other = AsyncCall(self._transport)
        try:
            await (await other.open(replace(request, timeouts=_BRIEF))).drain()
        except LollmsError:
            pass  # it was a courtesy
        finally:
            other.close()

    def close(self) -> None:
        """Give back or close the connection of the last request."""
        if self._response is not None:
            self._response.close()
            self._response = None

    def _failure(self, error: Exception, timeouts: Timeouts) -> LollmsError:
        where = f"{self.where} (through a proxy)" if self._transport.proxy else self.where
        cause = _root(error)
        if isinstance(error, TimeoutError | asyncio.TimeoutError):
            return timeout_error("connect", timeouts.connect, where)
        if isinstance(cause, aiohttp.ServerDisconnectedError):
            return connection_error(ConnectionResetError(), where)
        if isinstance(cause, aiohttp.ClientResponseError | ValueError) and not isinstance(cause, OSError):
            return ProtocolError(
                f"what answers at {where} does not speak HTTP: {excerpt(str(getattr(cause, 'message', cause)))}",
                hint="Does the server want https:// in place of http://, or another port?",
            )
        return connection_error(cause, where, hint=self._transport.unreachable_hint)


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
        self._decompress = decompressor(self.headers)
        # aiohttp does not tell the reader of a body whose chunked encoding is wrong, it only closes the connection.
        protocol = None if answer.connection is None else answer.connection.protocol
        self._lost: asyncio.Future[None] | None = getattr(protocol, "closed", None)
        if self._lost is not None:
            self._lost.add_done_callback(self._on_lost)
        if first_token is not None:
            self._arm(max(0.001, first_token))

    async def read(self) -> bytes:
        """What has arrived of the body; `b""` at its end. Errors as `SyncResponse.read`."""
        try:
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
            self._answer.close()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

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
            await asyncio.wait_for(self._drain(), _DRAIN_SECONDS)
        self.close()

    async def _drain(self) -> None:
        size = 0
        while size < _DRAIN_SIZE and (data := await self._content.readany()):
            size += len(data)

    def close(self) -> None:
        """Close the connection, unless the body was read to its end and it has been given back."""
        self._disarm()
        self._answer.close()

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
