"""The sync transport: connections of `requests`' adapter, used as directly as they can be.

`requests` decides what it is good at, once for a client: proxies, certificates, `.netrc`. The calls then go straight to
the pool behind its adapter; going through `Session.request` costs more than everything else of a short call.
"""

from __future__ import annotations

import contextlib
import functools
import http.client
import importlib.util
import logging
import queue
import ssl
import threading
import time
import weakref
from collections.abc import Callable, Generator, Mapping
from dataclasses import replace
from typing import Any

import requests
import requests.adapters
import urllib3
import urllib3.exceptions

from lollms_core._bridges import processes
from lollms_core._bridges.signals import raised_by_handler
from lollms_core.contract.errors import (
    CallCancelledError,
    ClientClosedError,
    IncompleteStreamError,
    LollmsError,
    MissingDependencyError,
    ProtocolError,
)
from lollms_core.contract.types import Timeouts
from lollms_core.http import _connection as connection
from lollms_core.http._address import Address
from lollms_core.http._compression import Decompressor
from lollms_core.http._connection import READ_SIZE, UploadTimeout, Watch
from lollms_core.http._driver import run
from lollms_core.http._environment import Environment
from lollms_core.http._exchange import Headers, HTTPRequest, excerpt
from lollms_core.http._failures import (
    connection_error,
    not_http_error,
    own_turn_error,
    proxy_error,
    through,
    timeout_error,
)
from lollms_core.http._stops import STOP_LIMIT, Stops, ask_to_stop
from lollms_core.http._turns import LOOK_AGAIN, Turns
from lollms_core.http._wire import (
    BRIEF,
    DRAIN_SECONDS,
    DRAIN_SIZE,
    ERROR_SECONDS,
    MAX_BODY,
    dump_json,
    prepared_headers,
)

__all__ = ["SyncCall", "SyncResponse", "SyncTransport"]

_POOL_SIZE = 64
"""Idle connections that are kept; more may be in use."""
_SOON = 0.02
_SLICE = 0.05
"""Seconds between two looks at what else may have happened."""
_reading = processes.Lock()
"""For deciding who reads on. Nobody waits while holding it."""


class _WithoutQueries(logging.Filter):
    """Keeps the queries of our addresses, which may have a key in them, out of what urllib3 logs of each request."""

    def __init__(self) -> None:
        super().__init__()
        self.urls: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(map(self._shown, record.args))
        return True

    def _shown(self, said: object) -> object:
        if isinstance(said, str) and any(said.endswith(url) for url in self.urls):
            return f"{said.partition('?')[0]}?…"
        return said


_without_queries = _WithoutQueries()
for _name in ("urllib3.connectionpool", "urllib3.connection"):
    logging.getLogger(_name).addFilter(_without_queries)


class SyncTransport:
    """The connections of one client to one server. Thread-safe; survives `os.fork`; makes nothing before it is used.

    Args:
        address: where the server is.
        environment: proxies, certificates and `.netrc` for that address.
        headers: called once, for the headers of every request.
        timeouts: of requests that bring none of their own.
        stops: shared with the client's other transport.
        unreachable_hint: what to do when nothing listens at the address.
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
        self.limits = _limits(timeouts)
        self.unreachable_hint = unreachable_hint
        self._environment = environment
        self._make_headers = headers
        self.stops = stops
        self.stoppers: weakref.WeakSet[threading.Thread] = weakref.WeakSet()
        """Those who ask the server to stop."""
        self._lock = processes.Lock()
        self._open: _Pool | None = None
        self._closed = False

    def pool(self) -> _Pool:
        """The connections, made on first use and made anew in a forked child."""
        pool = self._open
        if pool is not None and pool.process == processes.current:
            return pool
        with self._lock:
            if self._closed:
                raise ClientClosedError("this client has been closed")
            if self._open is None or self._open.process != processes.current:
                self._open = _Pool(self.address, self._environment, prepared_headers(self._make_headers()))
            return self._open

    def call(self) -> SyncCall:
        """The beginning of one call."""
        return SyncCall(self)

    @contextlib.contextmanager
    def usable(self) -> Generator[SyncTransport, None, None]:
        """This transport, or one like it if it has been closed: a server may have to be told so."""
        if not self._closed:
            yield self
            return
        other = SyncTransport(
            self.address,
            environment=self._environment,
            headers=self._make_headers,
            timeouts=self.timeouts,
            stops=self.stops,
        )
        try:
            yield other
        finally:
            other.close()

    def close(self) -> None:
        """Close the idle connections; those in use close when their calls end. Waits until servers are told to stop."""
        for stopper in list(self.stoppers):
            if stopper is not threading.current_thread():
                stopper.join(4 * STOP_LIMIT)
        with self._lock:
            self._closed = True
            pool, self._open = self._open, None
        if pool is not None and pool.process == processes.current:
            pool.close()


class _Pool:
    """The settings and connections of one process."""

    def __init__(self, address: Address, environment: Environment, headers: dict[str, str]) -> None:
        self.process = processes.current
        if environment.is_socks and importlib.util.find_spec("socks") is None:
            raise MissingDependencyError(
                "the environment names a SOCKS proxy, and the package for it is not installed",
                hint="pip install pysocks, or exempt this server with NO_PROXY.",
            )
        if environment.authorization is not None and not any(name.lower() == "authorization" for name in headers):
            headers = {**headers, "Authorization": environment.authorization}
        self.headers = headers
        self.body_headers = {**headers, "Content-Type": "application/json"}
        self.proxy = environment.proxy
        # A plain request through a proxy names the whole URL; through a tunnel and without a proxy, the path alone.
        forwards = environment.proxy is not None and not environment.is_socks and address.scheme == "http"
        self.prefix = str(address) if forwards else address.path
        self._adapter = requests.adapters.HTTPAdapter(pool_connections=1, pool_maxsize=_POOL_SIZE, max_retries=0)
        proxies = {address.scheme: environment.proxy} if environment.proxy else None
        request = requests.Request("GET", str(address)).prepare()
        pool: Any = self._adapter.get_connection_with_tls_context(request, environment.verify, proxies=proxies)
        pool.ConnectionCls = connection.watched(pool.ConnectionCls)
        self.connections = pool

    def close(self) -> None:
        self.connections.close()  # which the adapter leaves to the garbage collector
        self._adapter.close()


class SyncCall:
    """One call: it sends requests one after another, and can be aborted from another thread."""

    __slots__ = (
        "_asked", "_asker", "_news", "_process", "_taken", "_transport", "_turn", "_watch", "began", "over", "reading",
        "response", "running", "stopping", "streaming",
    )  # fmt: skip

    def __init__(self, transport: SyncTransport) -> None:
        self._transport = transport
        self._watch = Watch()
        self._process = processes.current
        self._asked: threading.Event | None = None
        """Set when the server has been asked to stop."""
        self._asker: int | None = None
        self._news: queue.SimpleQueue[None] | None = None
        self._taken = False
        """Whoever stops the call reads on, because its reader did not."""
        self._turn = False
        self.over = False
        self.response: SyncResponse | None = None
        self.began = False
        self.reading = False
        self.running = False
        self.stopping = False
        self.streaming = False

    @property
    def aborted(self) -> bool:
        """Nothing more is to be expected of its connection."""
        return self._watch.aborted

    @property
    def where(self) -> str:
        """The server's address, for messages."""
        return str(self._transport.address)

    def open(self, request: HTTPRequest) -> SyncResponse:
        """Send a request and wait for the headers of the response, whatever its status.

        Raises:
            APIConnectionError: no connection, or it broke. `APITimeoutError` if a limit passed.
            AuthenticationError: the proxy asks for a user name and a password.
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
        watch.connected = watch.cut = False
        watch.upload_limit = timeouts.idle
        # The garbage collector may end an abandoned stream right here, which may send a farewell through this very
        # function: what was there before must come back.
        outer, connection.current.watch = connection.current.watch, watch
        url = pool.prefix + request.path
        if "?" in url:
            _without_queries.urls.add(url)
        try:
            answer = pool.connections.urlopen(
                request.method.upper(),
                url,
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
            if raised_by_handler(cause := _root(error)):
                raise cause from None
            raise self._failure(error, timeouts, pool.proxy) from cause
        except BaseException:
            watch.release()
            raise
        finally:
            connection.current.watch = outer
        self.response = SyncResponse(answer, watch, timeouts, self.where)
        return self.response

    def wait(self, seconds: float) -> None:
        """Do nothing for some time, unless the call is stopped."""
        deadline = time.monotonic() + seconds
        # What wakes it may be the turn, told before it was waited for.
        while not self.stopping and (left := deadline - time.monotonic()) > 0:
            self._watch.wait(left)

    def take_turn(self, turns: Turns) -> None:
        """Wait until no other call of these turns is under way.

        Raises:
            APITimeoutError: the call in front took longer than the first-token limit.
            InvalidRequestError: the other call belongs to this very thread, which would wait for itself.
        """
        limit = self._transport.timeouts.first_token
        deadline = None if limit is None else time.monotonic() + limit
        if not turns.join(self, None, self._give_turn, lambda: True):
            raise own_turn_error(self.where)
        moves = turns.moves
        while not self._turn:
            if self.stopping:
                raise CallCancelledError("cancelled")
            if turns.moves != moves and limit is not None:  # the limit is for the one call in front
                moves, deadline = turns.moves, time.monotonic() + limit
            left = LOOK_AGAIN if deadline is None else deadline - time.monotonic()
            if left <= 0:
                raise timeout_error("turn", limit, self.where)
            if not self._watch.wait(min(left, LOOK_AGAIN)):
                turns.look()

    def let_others_leave(self) -> None:
        """Nothing: other calls are in threads of their own."""

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
        self._turn = True
        self._watch.wake()

    # --- the end ------------------------------------------------------------------------------------------------------

    def stop(self, last_word: HTTPRequest | None) -> None:
        """End the call: at once, or by asking the server to end the answer that is running. From any thread.

        Returns at once. Whoever reads should read on until the answer ends; it does so within a few seconds.

        Args:
            last_word: what asks the server to stop; without one, and where no answer is running, closing is enough.
        """
        if not self._begins_to_stop(last_word):
            return
        stopper = threading.Thread(target=self._ask_to_stop, args=(last_word,), name="lollms-stop", daemon=True)
        self._transport.stoppers.add(stopper)
        # A program that ends starts no thread any more: newer Pythons refuse to, older ones wait for it for ever.
        if processes.exiting() or not _started(stopper):
            self._transport.stoppers.discard(stopper)
            self._ask_to_stop(last_word)

    def _begins_to_stop(self, last_word: HTTPRequest | None) -> bool:
        """Whether the server is to be asked, which nobody has done before. Where that makes no sense, abort."""
        with _reading:
            if self.stopping:
                return False
            self.stopping = True
            asks = last_word is not None and self.streaming and self._process == processes.current
            if asks:
                self._news, self._asked = queue.SimpleQueue(), threading.Event()
                self._transport.stops.began(self)
        if not asks:
            self.abort()
        return asks

    def leave(self, last_word: HTTPRequest | None) -> Generator[Callable[[], None], Any, None]:
        """What the reader does when nobody wants more: it asks the server to stop, and reads on to the end."""
        yield functools.partial(self._leave, last_word)

    def _leave(self, last_word: HTTPRequest | None) -> None:
        with _reading:
            self.reading = False  # whoever stops the call already may go on with it
        if self.stopping:
            self.settled()
        elif self._begins_to_stop(last_word):
            self._ask_to_stop(last_word)

    def _ask_to_stop(self, last_word: HTTPRequest | None) -> None:
        assert last_word is not None
        assert self._asked is not None
        self._asker = threading.get_ident()
        cut = self.response is not None and self.response.interrupted
        tell = functools.partial(self._tell, last_word)
        try:
            run(ask_to_stop(self, self._transport.stops, tell, task=None, look=not cut))
        finally:
            self._transport.stops.done(self)
            self._asked.set()

    def may_read(self) -> bool:
        """Whether a call that is to stop is still for its reader to read on."""
        with _reading:
            if not self._taken:
                self.wake()
            return not self._taken

    def comes(self, event: Callable[[], bool], within: float) -> bool:
        """Wait for an event, reading on if nobody else does; whether it came within so many seconds."""
        deadline = min(time.monotonic() + within, processes.last_moment())
        assert self._news is not None
        while True:
            with _reading:
                if not self.reading and not self.over:
                    self._taken = self.reading = True
            if event():
                return True
            left = min(deadline - time.monotonic(), _SLICE)
            if left <= 0:
                return False
            if self._taken and not self.over:
                self._read_on(left)
            else:
                with contextlib.suppress(queue.Empty):
                    self._news.get(timeout=left)

    def _read_on(self, within: float) -> None:
        response = self.response
        try:
            if response is None or (response.is_readable(within) and not response.read()):
                self.end()
        except LollmsError:
            self.end()

    def wake(self) -> None:
        """Have `comes` look at its event again. From any thread."""
        if self._news is not None:
            self._news.put(None)

    def is_alive(self) -> bool:
        """Whether it can go on at all."""
        return True

    def goes_on_elsewhere(self) -> bool:
        """Whether it goes on while this thread waits."""
        return self._asker != threading.get_ident()

    def _tell(self, request: HTTPRequest) -> None:
        """Send one more request and ignore what comes of it. Waits about a second at most."""
        with self._transport.usable() as transport:
            other = transport.call()
            try:
                other.open(replace(request, timeouts=BRIEF)).drain()
            except LollmsError:
                pass  # it was a courtesy
            finally:
                other.end()

    def settled(self) -> None:
        """Wait until nothing is under way on behalf of this call."""
        if self._asked is not None and self._asker != threading.get_ident() and not processes.exiting():
            self._asked.wait()

    def abort(self) -> None:
        """End whatever the call waits for, at once. From any thread."""
        self.stopping = True
        self._watch.abort()

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
        self.wake()

    def _failure(self, error: Exception, timeouts: Timeouts, proxy: str | None) -> LollmsError:
        cause = _root(error)
        if proxy is not None and (failure := proxy_error(cause, proxy, connected=self._watch.connected)):
            return failure
        if isinstance(cause, ssl.SSLError) and self._watch.connected:  # TLS had begun well
            cause = ConnectionResetError()
        if isinstance(cause, UploadTimeout):
            return timeout_error("upload", timeouts.idle, self.where)
        if isinstance(cause, TimeoutError):
            kind = "first_token" if self._watch.connected else "connect"
            return timeout_error(kind, getattr(timeouts, kind), self.where)
        wrong = isinstance(cause, (http.client.HTTPException, urllib3.exceptions.InvalidHeader))
        where = through(self.where, proxy)
        if wrong and not isinstance(cause, ConnectionError):
            return not_http_error(str(cause), where, begins_well=not isinstance(cause, http.client.BadStatusLine))
        return connection_error(cause, where, hint=self._transport.unreachable_hint)


class SyncResponse:
    """A response whose body is read in pieces."""

    __slots__ = (
        "_answer", "_decompress", "_started", "_timeouts", "_watch", "_where", "headers", "interrupted", "status",
    )  # fmt: skip

    def __init__(self, answer: urllib3.BaseHTTPResponse, watch: Watch, timeouts: Timeouts, where: str) -> None:
        self.status = answer.status
        self.headers: Mapping[str, str] = Headers(answer.headers.iteritems())
        self._answer: urllib3.BaseHTTPResponse | None = answer
        self._watch = watch
        self._timeouts = timeouts
        self._where = where
        self._started = False
        self.interrupted = False
        # The first-token limit is for the headers and the first byte together.
        waited = time.monotonic() - watch.sent
        if timeouts.first_token is not None and waited > _SOON:
            watch.set_timeout(max(0.001, timeouts.first_token - waited))
        self._decompress: Decompressor | None = None

    def read(self) -> bytes:
        """What has arrived of the body; `b""` at its end.

        Raises:
            APITimeoutError: the first-token or the idle limit passed.
            IncompleteStreamError: the connection ended before the body.
            ProtocolError: the body's encoding is broken.
        """
        answer = self._answer
        if answer is None:
            return b""
        try:
            if not self._started:
                self._decompress = Decompressor.of(self.headers)
            data = answer.read1(READ_SIZE)
            if not self._started:
                self._started = True
                self._watch.set_timeout(self._timeouts.idle)
            if self._decompress is not None:
                while not (text := self._decompress(data)) and data:
                    data = answer.read1(READ_SIZE)
                data = text
        except (urllib3.exceptions.HTTPError, OSError, http.client.HTTPException, ValueError) as error:
            if raised_by_handler(cause := _root(error)):
                self.interrupted = True
                raise cause from None
            self.close()
            raise self._failure(error) from error
        except LollmsError:
            self.close()
            raise
        except BaseException:  # Ctrl-C, on which urllib3 closes the connection in the middle of the answer
            self.interrupted = True
            raise
        if not data:
            self._finish()
        return data

    def hurry(self, seconds: float) -> None:
        """All of the answer has come: what may follow is not waited for any longer than this."""
        if self._timeouts.idle is None or self._timeouts.idle > seconds:
            self._timeouts = replace(self._timeouts, idle=seconds)
            self._watch.set_timeout(seconds)

    def is_readable(self, within: float) -> bool:
        """Whether something comes within so many seconds, the end included; then a read does not wait for long."""
        return self._answer is None or self._answer.closed or self._watch.is_readable(within)

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
        """The beginning of the body: what comes soon and without an error, about `limit` bytes at most. Closes."""
        pieces, size = [], 0
        deadline = time.monotonic() + ERROR_SECONDS
        try:
            while size < limit and (left := deadline - time.monotonic()) > 0:
                self._watch.set_timeout(left)
                if not (data := self.read()):
                    break
                pieces.append(data)
                size += len(data)
        except LollmsError:
            pass  # what has come must do: the caller wants it for a message
        finally:
            self.close()
        return b"".join(pieces)

    def drain(self) -> None:
        """The end mark has come: read the little that may follow, so that the connection can be used again."""
        answer, size = self._answer, 0
        if answer is None:
            return
        deadline = time.monotonic() + DRAIN_SECONDS
        try:
            while size < DRAIN_SIZE and (left := deadline - time.monotonic()) > 0:
                self._watch.set_timeout(left)
                data = answer.read1(READ_SIZE)
                if not data:
                    self._finish()
                    return
                size += len(data)
        except (urllib3.exceptions.HTTPError, OSError, http.client.HTTPException, ValueError):
            pass
        self.close()

    def close(self) -> None:
        """Close the connection, unless the body was read to its end and it has been given back."""
        answer, self._answer = self._answer, None
        if answer is not None:
            self._watch.release()
            answer.close()

    def _finish(self) -> None:
        answer, self._answer = self._answer, None
        if answer is not None:
            self._watch.release()
            answer.release_conn()

    def _failure(self, error: Exception) -> LollmsError:
        cause = _root(error)
        if isinstance(cause, TimeoutError):
            kind = "idle" if self._started else "first_token"
            return timeout_error(kind, getattr(self._timeouts, kind), self._where)
        if isinstance(cause, http.client.HTTPException) and not isinstance(cause, http.client.IncompleteRead):
            return ProtocolError(f"{self._where}: {excerpt(str(cause))}")
        return IncompleteStreamError(f"{self._where} closed the connection before its answer was complete")


def _started(thread: threading.Thread) -> bool:
    try:
        thread.start()
    except RuntimeError:
        return False
    return True


def _limits(timeouts: Timeouts) -> urllib3.Timeout:
    return urllib3.Timeout(connect=timeouts.connect, read=timeouts.first_token)


def _root(error: BaseException) -> BaseException:
    """The exception of the operating system, of TLS or of `http.client` that urllib3 has wrapped."""
    while isinstance(error, urllib3.exceptions.HTTPError):
        inner = [part for part in error.args if isinstance(part, BaseException)]
        following = inner[-1] if inner else error.__cause__
        if following is None and isinstance(error, urllib3.exceptions.NewConnectionError):
            following = error.__context__  # of a SOCKS proxy
        if following is None:
            break
        error = following
    of_socks = getattr(error, "socket_err", None)
    return of_socks if isinstance(of_socks, BaseException) else error
