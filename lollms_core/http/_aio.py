"""The native async transport, over aiohttp (the extra `lollms-core[async]`).

Sessions are kept by event loop: a client may be used from one loop after another, and from several at once. A session
closes with its loop when that ends as `asyncio.run` ends one, and in any case with the client.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import socket
import ssl
import threading
import time
import weakref
from collections.abc import AsyncGenerator, Callable
from typing import Any

import aiohttp
import aiohttp.client_proto  # by name: an import that was interrupted once leaves it out of the package

from lollms_core._bridges import processes
from lollms_core.contract.errors import ClientClosedError
from lollms_core.contract.types import Timeouts
from lollms_core.http import _sockets as sockets
from lollms_core.http._address import Address
from lollms_core.http._aio_call import TURNS_TO_LEAVE, AsyncCall, NoTunnel
from lollms_core.http._aio_response import Answer
from lollms_core.http._environment import Environment
from lollms_core.http._stops import STOP_LIMIT, Stops
from lollms_core.http._wire import prepared_headers

__all__ = ["AsyncTransport"]

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
        stops: Stops,
        unreachable_hint: str = "",
    ) -> None:
        self.address = address
        self.timeouts = timeouts
        self.stops = stops
        self.unreachable_hint = unreachable_hint
        self.proxy = environment.proxy
        self.headers: dict[str, str] = {}
        self.body_headers: dict[str, str] = {}
        self._environment = environment
        self._make_headers = headers
        self._tls: ssl.SSLContext | bool = True
        self._ready = False
        self._closed = False
        self._lock = processes.Lock()
        self._process = processes.current
        self._sessions: dict[asyncio.AbstractEventLoop, _Session] = {}
        self._stopping: set[AsyncCall] = set()

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
            for other in [other for other in self._sessions if other.is_closed()]:
                self._sessions.pop(other).close()
            kept = _Session(loop, self._tls, self._stopping)
            self._sessions[loop] = kept
        await kept.keep()
        return kept.session

    def _forget_parents(self) -> None:
        processes.keep_for_good(self._sessions)
        self._sessions = {}
        self._stopping = set()
        self._process = processes.current

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

    def abort(self, opening: asyncio.Task[Any]) -> None:
        """Close the connection that a request of the running loop uses, whatever is on its way to the server."""
        session = self._sessions.get(asyncio.get_running_loop())
        if session is not None:
            session.connector.abort(opening)

    def connected(self, opening: asyncio.Task[Any], begun: float) -> float:
        """When a request of the running loop got its connection, in the loop's time: now if it has none yet."""
        loop = asyncio.get_running_loop()
        session = self._sessions.get(loop)
        if session is None:
            return begun
        since = session.connector.since(opening)
        return loop.time() if since is None else since

    def close(self) -> None:
        """Close every session, each in its own loop. From any thread. Waits until servers are asked to stop."""
        if self._process != processes.current:
            self._forget_parents()
        with self._lock:
            self._closed = True
            in_use = {call.loop for call in list(self._stopping) if call.loop.is_running()}
            unused = [self._sessions.pop(loop) for loop in list(self._sessions) if loop not in in_use]
        for session in unused:
            session.close()
        deadline = time.monotonic() + 4 * STOP_LIMIT
        while time.monotonic() < deadline and any(call.goes_on_elsewhere() for call in list(self._stopping)):
            time.sleep(0.01)

    def wait_for(self, call: AsyncCall) -> None:
        """Keep the session that `call` uses, also if this is closed: the server is to be asked to stop."""
        self._stopping.add(call)
        self.stops.began(call)

    def wait_for_no_more(self, call: AsyncCall) -> None:
        """`call` has ended, in its own loop."""
        self._stopping.discard(call)
        self.stops.done(call)
        if self._closed and all(other.loop is not call.loop for other in list(self._stopping)):
            session = self._sessions.pop(call.loop, None)
            if session is not None:
                session.close()


class _Handler(aiohttp.client_proto.ResponseHandler):
    """Takes a head apart from what comes in one piece with it: an error behind it must not cost the answer so far."""

    _in_head = False
    broken = False
    """What came is no HTTP, so that aiohttp has closed the connection."""

    def set_exception(self, exc: Any, *args: Any) -> None:
        self.broken = self.broken or isinstance(exc, aiohttp.http_exceptions.HttpProcessingError)
        self._read_what_is_left(exc)
        super().set_exception(exc, *args)

    def set_response_params(self, **parameters: Any) -> None:
        self._in_head = True
        super().set_response_params(**parameters)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._read_what_is_left(exc)
        super().connection_lost(exc)

    def _read_what_is_left(self, exc: BaseException | None) -> None:
        """Take the answer of a server that refuses a large request, and resets the connection when it has said so.

        asyncio meets the reset when it writes, and then reads no more.
        """
        transport = self.transport
        if transport is None or not isinstance(exc, OSError) or transport.get_extra_info("ssl_object") is not None:
            return
        if data := sockets.what_is_left(transport.get_extra_info("socket")):
            self.data_received(data)

    def data_received(self, data: bytes) -> None:
        while self._in_head and (end := data.find(b"\r\n\r\n") + 4) > 3:
            self._in_head = data[8:10] == b" 1"  # what comes before the answer has a head, too
            super().data_received(data[:end])
            data = data[end:]
            if not data:
                return
        super().data_received(data)


class _Connector(aiohttp.TCPConnector):
    """Uses a connection again only if nothing has come over it since: that would be taken for the next answer.

    And it knows which task asked for which connection, so that one can be closed at once. As aiohttp closes it, it
    stays open until the server has taken what is on its way there.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._factory = functools.partial(_Handler, loop=self._loop)  # type: ignore[assignment]
        self._known: weakref.WeakSet[Any] = weakref.WeakSet()
        self._uses: weakref.WeakKeyDictionary[Any, tuple[asyncio.Transport, float]] = weakref.WeakKeyDictionary()

    async def connect(self, *args: Any, **kwargs: Any) -> Any:
        while True:
            try:
                connection: Any = await super().connect(*args, **kwargs)
            except (aiohttp.ClientHttpProxyError, aiohttp.ClientConnectorError):
                raise
            except (aiohttp.ServerDisconnectedError, aiohttp.ClientResponseError, aiohttp.ClientOSError) as error:
                raise NoTunnel(error) from error  # the only answer to wait for before there is a connection
            protocol, transport = connection.protocol, connection.transport
            fresh = protocol not in self._known
            if fresh or not (protocol.should_close or sockets.is_readable(transport.get_extra_info("socket"))):
                self._known.add(protocol)
                self._uses[asyncio.current_task()] = transport, self._loop.time()
                return connection
            connection.close()

    def since(self, task: asyncio.Task[Any]) -> float | None:
        """When `task` got its connection, in the loop's time; `None` if it has none."""
        use = self._uses.get(task)
        return None if use is None else use[1]

    def close_at_once(self) -> None:
        """Close all connections, without a task that waits for it."""
        self._close(abort_ssl=True)

    def abort(self, task: asyncio.Task[Any]) -> None:
        """Close the connection that `task` asked for, whatever is on its way there."""
        if (use := self._uses.pop(task, None)) is not None:
            transport, _ = use
            if (lost := getattr(transport.get_protocol(), "closed", None)) is not None:
                # Looked at, or asyncio complains that nobody did.
                lost.add_done_callback(lambda done: done.cancelled() or done.exception())
            sockets.abort(transport)


class _Session:
    """A session and the event loop it belongs to."""

    def __init__(self, loop: asyncio.AbstractEventLoop, tls: ssl.SSLContext | bool, stopping: set[AsyncCall]) -> None:
        self._loop = loop
        self._stopping = stopping
        self._at_once = False
        self._thread = threading.current_thread()
        self._sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self.connector = _Connector(limit=0, ssl=tls, socket_factory=self._socket)
        self.session = aiohttp.ClientSession(
            connector=self.connector,
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            max_field_size=_MAX_LINE,
            max_line_size=_MAX_LINE,
            # Without a name for it, aiohttp would add its own.
            skip_auto_headers=("User-Agent", "Accept-Encoding", "Content-Type"),
            response_class=Answer,
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
            # A loop that ends closes all its generators at the same time, those of answers among them.
            deadline = time.monotonic() + 2 * STOP_LIMIT
            turns = TURNS_TO_LEAVE
            while not self._at_once and (turns or (self._is_stopping() and time.monotonic() < deadline)):
                await asyncio.sleep(0 if turns else 0.01)
                turns = max(0, turns - 1)
            await self.session.close()

    def _is_stopping(self) -> bool:
        return any(call.loop is self._loop for call in list(self._stopping))

    def close(self) -> None:
        """Close the session: here if its loop is closed, or stands still and is this thread's; else when it runs on."""
        loop = self._loop
        if loop.is_closed():
            self._close_without_waiting()  # if the loop ended well, there is nothing left to close
            self._hang_up()
            return
        if loop.is_running() or (self._thread is not threading.current_thread() and self._thread.is_alive()):
            # Who may run a loop that stands still is its own thread, which may do so at this very moment.
            with contextlib.suppress(RuntimeError):  # closed meanwhile
                loop.call_soon_threadsafe(self._close_without_waiting)
            if not loop.is_running():
                self._hang_up()
            return
        closing = self._keeper.aclose()
        try:
            loop.run_until_complete(closing)
        except RuntimeError:
            # Another loop runs in this thread, so that this one cannot. The server is to know all the same.
            closing.close()
            self.session.detach()
            self._hang_up()

    def _hang_up(self) -> None:
        for sock in list(self._sockets):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def _close_without_waiting(self) -> None:
        self._at_once = True
        self.connector.close_at_once()
        self.session.detach()
        closing = self._keeper.aclose()
        with contextlib.suppress(StopIteration, RuntimeError):  # the loop may be at it itself
            closing.send(None)
        closing.close()


def _tls_context(verify: bool | str) -> ssl.SSLContext | bool:
    if verify is False:
        return False
    if isinstance(verify, str):
        if os.path.isdir(verify):
            return ssl.create_default_context(capath=verify)
        return ssl.create_default_context(cafile=verify)
    import requests  # and not `requests.utils`: see `Environment.find`

    return ssl.create_default_context(cafile=requests.utils.DEFAULT_CA_BUNDLE_PATH)
