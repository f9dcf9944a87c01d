"""The sync transport: connections of `requests`' adapter, used as directly as they can be.

`requests` decides what it is good at, once for a client: proxies, certificates, `.netrc`. The calls then go straight to
the pool behind its adapter; going through `Session.request` costs more than everything else of a short call.
"""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import requests
import requests.adapters
import urllib3
import urllib3.exceptions

from lollms_core.errors import ClientClosedError, IncompleteStreamError, LollmsError, ProtocolError
from lollms_core.http import connection, processes
from lollms_core.http.address import Address
from lollms_core.http.connection import READ_SIZE, Watch
from lollms_core.http.environment import Environment
from lollms_core.http.failures import connection_error, timeout_error
from lollms_core.http.messages import HTTPRequest, excerpt
from lollms_core.http.wire import MAX_BODY, decompressor, dump_json, prepared_headers
from lollms_core.types import Timeouts

__all__ = ["SyncCall", "SyncResponse", "SyncTransport"]

_POOL_SIZE = 64
"""Idle connections that are kept; more may be in use."""
_SOON = 0.02
_DRAIN_SIZE = 65536
_DRAIN_SECONDS = 0.5
_BRIEF = Timeouts(connect=1.0, first_token=1.0, idle=1.0)


class SyncTransport:
    """The connections of one client to one server. Thread-safe; survives `os.fork`; makes nothing before it is used.

    Args:
        address: where the server is.
        headers: called once, for the headers of every request.
        verify: `BackendSettings.verify_ssl_certificate`.
        timeouts: of requests that bring none of their own.
        unreachable_hint: what to do when nothing listens at the address.
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
        self.limits = _limits(timeouts)
        self.unreachable_hint = unreachable_hint
        self._make_headers = headers
        self._verify = verify
        self._lock = threading.Lock()
        self._open: _Pool | None = None
        self._closed = False

    def pool(self) -> _Pool:
        """The connections, made on first use and made anew in a forked child."""
        pool = self._open
        if pool is not None and pool.process == processes.current:
            return pool
        if pool is not None:
            # The child shares the parent's sockets: it lets go of them without a word to the server. The lock may have
            # been held by a thread that the child does not have.
            self._lock = threading.Lock()
        with self._lock:
            if self._closed:
                raise ClientClosedError("this client has been closed")
            if self._open is None or self._open.process != processes.current:
                self._open = _Pool(self.address, prepared_headers(self._make_headers()), self._verify)
            return self._open

    def call(self) -> SyncCall:
        """The beginning of one call."""
        return SyncCall(self)

    def close(self) -> None:
        """Close the idle connections; those in use close when their calls end."""
        with self._lock:
            self._closed = True
            pool, self._open = self._open, None
        if pool is not None and pool.process == processes.current:
            pool.close()


class _Pool:
    """The settings and connections of one process."""

    def __init__(self, address: Address, headers: dict[str, str], verify: bool | str) -> None:
        self.process = processes.current
        environment = Environment.find(address, verify)
        if environment.authorization is not None and not any(name.lower() == "authorization" for name in headers):
            headers = {**headers, "Authorization": environment.authorization}
        self.headers = headers
        self.body_headers = {**headers, "Content-Type": "application/json"}
        self.proxied = environment.proxy is not None
        # A plain request through a proxy names the whole URL; through a tunnel and without a proxy, the path alone.
        self.prefix = str(address) if self.proxied and address.scheme == "http" else address.path
        self._adapter = requests.adapters.HTTPAdapter(pool_connections=1, pool_maxsize=_POOL_SIZE, max_retries=0)
        proxies = {address.scheme: environment.proxy} if environment.proxy else None
        request = requests.Request("GET", str(address)).prepare()
        pool: Any = self._adapter.get_connection_with_tls_context(request, environment.verify, proxies=proxies)
        pool.ConnectionCls = connection.watched(pool.ConnectionCls)
        self.connections = pool

    def close(self) -> None:
        self._adapter.close()


class SyncCall:
    """One call: it sends requests one after another, and can be aborted from another thread."""

    __slots__ = ("_response", "_transport", "_watch")

    def __init__(self, transport: SyncTransport) -> None:
        self._transport = transport
        self._watch = Watch()
        self._response: SyncResponse | None = None

    def abort(self) -> None:
        """End whatever the call waits for, at once. From any thread."""
        self._watch.abort()

    def wait(self, seconds: float) -> None:
        """Do nothing for some time, unless the call is aborted."""
        self._watch.wait(seconds)

    @property
    def aborted(self) -> bool:
        return self._watch.aborted

    def open(self, request: HTTPRequest) -> SyncResponse:
        """Send a request and wait for the headers of the response, whatever its status.

        Raises:
            APIConnectionError: no connection, or it broke. `APITimeoutError` if a limit passed.
            ProtocolError: what answers there does not speak HTTP.
        """
        self.close()
        watch = self._watch
        pool = self._transport.pool()
        timeouts = request.timeouts or self._transport.timeouts
        headers = pool.headers
        body = None
        if request.json is not None:
            headers = pool.body_headers
            body = dump_json(request.json)
        if request.headers:
            headers = {**headers, **prepared_headers(request.headers)}
        started = time.monotonic()
        watch.connected = False
        watch.raw = None
        # The garbage collector may end an abandoned stream right here, which may send a farewell through this very
        # function: what was there before must come back.
        outer, connection.current.watch = connection.current.watch, watch
        try:
            answer = pool.connections.urlopen(
                request.method,
                pool.prefix + request.path,
                body,
                headers,
                retries=False,
                redirect=False,
                assert_same_host=False,
                timeout=self._transport.limits if request.timeouts is None else _limits(request.timeouts),
                preload_content=False,
                decode_content=False,
            )
        except (urllib3.exceptions.HTTPError, http.client.HTTPException, OSError) as error:
            watch.release()
            raise self._failure(error, timeouts, pool.proxied) from _root(error)
        finally:
            connection.current.watch = outer
        self._response = SyncResponse(answer, watch, timeouts, started, self.where)
        return self._response

    @property
    def where(self) -> str:
        return str(self._transport.address)

    def tell(self, request: HTTPRequest) -> None:
        """Send one more request and ignore what comes of it. Waits about a second at most."""
        other = SyncCall(self._transport)
        try:
            other.open(replace(request, timeouts=_BRIEF)).drain()
        except LollmsError:
            pass  # it was a courtesy
        finally:
            other.close()

    def close(self) -> None:
        """Give back or close the connection of the last request."""
        if self._response is not None:
            self._response.close()
            self._response = None

    def _failure(self, error: Exception, timeouts: Timeouts, proxied: bool) -> LollmsError:
        where = f"{self.where} (through a proxy)" if proxied else self.where
        cause = _root(error)
        if isinstance(cause, TimeoutError):
            kind = "first_token" if self._watch.connected else "connect"
            return timeout_error(kind, getattr(timeouts, kind), where)
        if isinstance(cause, http.client.HTTPException) and not isinstance(cause, ConnectionError):
            return ProtocolError(
                f"what answers at {where} does not speak HTTP: {excerpt(str(cause))}",
                hint="Does the server want https:// in place of http://, or another port?",
            )
        return connection_error(cause, where, hint=self._transport.unreachable_hint)


class SyncResponse:
    """A response whose body is read in pieces."""

    __slots__ = ("_answer", "_decompress", "_raw", "_started", "_timeouts", "_watch", "_where", "headers", "status")

    def __init__(
        self, answer: urllib3.BaseHTTPResponse, watch: Watch, timeouts: Timeouts, started: float, where: str
    ) -> None:
        self.status = answer.status
        self.headers: Mapping[str, str] = answer.headers
        self._answer: urllib3.BaseHTTPResponse | None = answer
        assert watch.raw is not None
        self._raw = watch.raw
        self._watch = watch
        self._timeouts = timeouts
        self._where = where
        self._started = False
        # The first-token limit is for the headers and the first byte together.
        waited = time.monotonic() - started
        if timeouts.first_token is not None and waited > _SOON:
            watch.set_timeout(max(0.001, timeouts.first_token - waited))
        self._decompress = decompressor(self.headers)

    def read(self) -> bytes:
        """What has arrived of the body; `b""` at its end.

        Raises:
            APITimeoutError: the first-token or the idle limit passed.
            IncompleteStreamError: the connection ended before the body.
            ProtocolError: the body's encoding is broken.
        """
        try:
            data = self._raw.read1(READ_SIZE)
            if not self._started:
                self._started = True
                self._watch.set_timeout(self._timeouts.idle)
            if self._decompress is not None:
                data = self._decompressed(data)
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.close()
            raise self._failure(error) from error
        except LollmsError:
            self.close()
            raise
        if not data:
            self._finish()
        return data

    def read_all(self, limit: int = MAX_BODY) -> bytes:
        """The whole body. Raises `ProtocolError` if it is larger than `limit` bytes."""
        pieces, size = [], 0
        while data := self.read():
            pieces.append(data)
            size += len(data)
            if size > limit:
                self.close()
                raise ProtocolError(f"{self._where} sent an answer larger than {limit} bytes")
        return b"".join(pieces)

    def read_some(self, limit: int) -> bytes:
        """The beginning of the body, as much as comes without an error, at most about `limit` bytes. Then it closes."""
        pieces, size = [], 0
        try:
            while size < limit and (data := self.read()):
                pieces.append(data)
                size += len(data)
        except LollmsError:
            pass  # what has come must do: the caller wants it for a message
        finally:
            self.close()
        return b"".join(pieces)

    def drain(self) -> None:
        """The end mark has come: read the little that may follow, so that the connection can be used again."""
        size = 0
        try:
            self._watch.set_timeout(_DRAIN_SECONDS)
            while size < _DRAIN_SIZE and (data := self._raw.read1(READ_SIZE)):
                size += len(data)
            if size < _DRAIN_SIZE:
                self._finish()
        except (OSError, http.client.HTTPException, ValueError):
            pass
        self.close()

    def close(self) -> None:
        """Close the connection, unless the body was read to its end and it has been given back."""
        answer, self._answer = self._answer, None
        if answer is not None:
            self._watch.release()
            answer.close()

    def _finish(self) -> None:
        if self._raw.will_close:
            self.close()
        answer, self._answer = self._answer, None
        if answer is not None:
            self._watch.release()
            answer.release_conn()

    def _decompressed(self, data: bytes) -> bytes:
        assert self._decompress is not None
        while not (text := self._decompress(data)) and data:
            data = self._raw.read1(READ_SIZE)
        return text

    def _failure(self, error: Exception) -> LollmsError:
        if isinstance(error, TimeoutError):
            kind = "idle" if self._started else "first_token"
            return timeout_error(kind, getattr(self._timeouts, kind), self._where)
        if isinstance(error, http.client.HTTPException) and not isinstance(error, http.client.IncompleteRead):
            return ProtocolError(f"{self._where}: {excerpt(str(error))}")
        return IncompleteStreamError(f"{self._where} closed the connection before its answer was complete")


def _limits(timeouts: Timeouts) -> urllib3.Timeout:
    return urllib3.Timeout(connect=timeouts.connect, read=timeouts.first_token)


def _root(error: BaseException) -> BaseException:
    """The exception of the operating system, of TLS or of `http.client` that urllib3 has wrapped."""
    while isinstance(error, urllib3.exceptions.HTTPError):
        inner = [part for part in error.args if isinstance(part, BaseException)]
        following = inner[-1] if inner else error.__cause__
        if following is None:
            break
        error = following
    return error
