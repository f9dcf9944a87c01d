"""urllib3 connections that can be aborted from another thread, and whose bodies are read in large pieces.

Imported on the first call only: urllib3 is not needed to import lollms.

What is used below urllib3's public face, why, and what fails when it changes (`tests/http/test_below_urllib3.py`):

- `_new_conn` and `_dns_host`: connecting to all addresses of a host within one limit, and cancelling that and the TLS
  handshake after it. urllib3 gives each address the whole limit, one after the other.
- `http.client`'s `response_class`, for `BulkResponse`. With the standard one, urllib3's `read1` gives a stream at 1.98
  times the cost of raw `http.client` and `json` for each chunk, and at 1.04 times with this one, measured in one run of
  `benchmarks/overhead.py`; the bar is 1.5. Its `fp` is replaced, so that a head which trickles in is bound by the
  limit as a whole (`tests/http/test_heads.py`): `http.client` has it anew for each piece.
"""

from __future__ import annotations

import contextlib
import email.errors
import errno
import http.client
import io
import itertools
import os
import queue
import re
import selectors
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import urllib3.connection
import urllib3.exceptions

from lollms_core.http import _sockets as sockets
from lollms_core.http._wire import UPLOAD_SIZE

if TYPE_CHECKING:
    _Base = urllib3.connection.HTTPConnection
else:
    _Base = object

__all__ = [
    "READ_SIZE",
    "BulkResponse",
    "PlainConnection",
    "TLSConnection",
    "UploadTimeout",
    "Watch",
    "connect",
    "watched",
]

READ_SIZE = 65536
_MAX_LINE = 65536
_HEX = re.compile(rb"[0-9A-Fa-f]{1,15}")
_REST = 2.0
"""Seconds for each piece of an answer that nobody wants any more."""
_NEXT_ADDRESS = 0.25
"""Seconds that an address has before the next one is tried beside it (RFC 8305, section 5)."""


class UploadTimeout(TimeoutError):
    """The server stopped taking the request."""


class Watch:
    """The socket that one call is using, so that another thread can end whatever it waits for.

    `abort` may come at any moment, also in a signal handler: while connecting, while waiting for the answer, between
    two reads, after the end. Looking up a host name is the one wait that it cannot end.
    """

    __slots__ = ("_lock", "_news", "_socket", "aborted", "connected", "cut", "sent", "upload_limit")

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._socket: socket.socket | None = None
        # Unlike an Event's, its `put` may interrupt a `get` of the same thread.
        self._news: queue.SimpleQueue[None] = queue.SimpleQueue()
        self.aborted = False
        self.connected = False
        self.cut = False
        """The server answered before it had the whole request, the rest of which will not be sent."""
        self.sent = 0.0
        """When the last piece of the request left."""
        self.upload_limit: float | None = None
        """Seconds in which each piece of the request must leave."""

    def hold(self, sock: Any) -> None:
        """This call now uses `sock`. Raises `ConnectionAbortedError` if it has been aborted meanwhile."""
        with self._lock:
            # A TLS connection through a TLS proxy has a wrapper in place of a socket.
            self._socket = getattr(sock, "socket", sock)
        if self.aborted:
            raise ConnectionAbortedError("cancelled")

    def set_timeout(self, seconds: float | None) -> None:
        """Limit each read on the socket from now on."""
        if self._socket is not None:
            # A server that closes the connection after its answer may have done so already.
            with contextlib.suppress(OSError):
                self._socket.settimeout(seconds)

    def is_readable(self, within: float) -> bool:
        """Whether something comes over the socket within so many seconds, its end included."""
        sock = self._socket
        if sock is None or (isinstance(sock, ssl.SSLSocket) and sock.pending()):
            return True
        try:
            readable = sockets.is_readable(sock, within)
        except (OSError, ValueError):  # closed
            return True
        if readable:
            self.set_timeout(_REST)  # of what has begun to come
        return readable

    def release(self) -> None:
        """The socket goes back to the pool: it is another call's from now on."""
        with self._lock:
            self._socket = None

    def wake(self) -> None:
        """End the wait that is going on, or the next one. From any thread."""
        self._news.put(None)

    def wait(self, seconds: float | None) -> bool:
        """Do nothing for some time, or until `wake` or `abort`; whether one of these came."""
        try:
            self._news.get(timeout=seconds)
        except queue.Empty:
            return False
        return True

    def abort(self) -> None:
        """End every wait of the call, now and later. From any thread, any number of times."""
        with self._lock:
            self.aborted = True
            if self._socket is not None:
                with contextlib.suppress(OSError):  # it may not be connected, or no longer
                    # Not SSLSocket's own: that one takes the TLS state away under the reading thread.
                    socket.socket.shutdown(self._socket, socket.SHUT_RDWR)
        self.wake()


class _Current(threading.local):
    watch: Watch | None = None


current = _Current()
"""`current.watch` is the `Watch` of the call that this thread is opening: urllib3 has no other way to pass it down."""


class BulkResponse(http.client.HTTPResponse):
    """`http.client`'s response, except that a read gives everything that has arrived and notices a body cut short.

    The standard `read1` gives one HTTP chunk at a time, for several microseconds each; a server that sends a token
    per chunk makes that the largest cost of reading it.
    """

    _rest = b""
    """Bytes that have been received and not yet taken apart."""
    _left = 0
    """Bytes of the current HTTP chunk still to come, with the two of its line end; 0: a size line comes next."""
    _trailer = False
    _broken = False
    """The chunked encoding is wrong after what has been given so far."""

    def __init__(self, sock: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self._sock = sock
        self._raw = _Raw(self.fp.detach(), sock)
        self.fp = io.BufferedReader(self._raw)
        # For the whole head. A proxy's answer to CONNECT is read without `begin`, and then thrown away.
        self._raw.limit(time.monotonic())

    def begin(self) -> None:
        """Read the headers. Interim responses come before the answer and are none (RFC 9110, section 15.2).

        Raises:
            TimeoutError: not all of it came within the socket's limit, however often something came.
        """
        try:
            self._begin()
        finally:
            self._raw.unlimit()

    def _begin(self) -> None:
        super().begin()
        if self._raw.ended:
            # To the standard one, the end of the connection is as good as the line that ends a head.
            raise http.client.RemoteDisconnected("the connection ended within the head of the answer")
        if any(isinstance(defect, email.errors.MissingHeaderBodySeparatorDefect) for defect in self.headers.defects):
            # All that stands behind such a line, the length of the answer too, would be taken for no header.
            raise http.client.HTTPException("a line of the head is no header")
        if not self.chunked and self.headers.get("transfer-encoding", "").strip().lower() == "chunked":
            # White space may follow a header's value (RFC 9112, section 5), which the standard one keeps.
            self.chunked, self.chunk_left, self.length = True, None, None
            self.will_close = "close" in self.headers.get("connection", "").lower() or self.version < 11
        if current.watch is not None and current.watch.cut:
            self.will_close = True

    def _read_status(self) -> tuple[str, int, str]:
        while True:
            version, status, reason = super()._read_status()  # type: ignore[misc]
            if not 100 <= status < 200 or status == http.client.SWITCHING_PROTOCOLS:
                return version, status, reason
            http.client.parse_headers(self.fp)

    def read1(self, n: int = -1) -> bytes:
        """What has arrived of the body, at least one byte; `b""` at its end.

        Raises:
            http.client.IncompleteRead: the connection ended before the body did.
            http.client.HTTPException: the chunked encoding is wrong.
            TimeoutError: nothing of the body came within the socket's limit, whatever else did.
        """
        if self.isclosed():
            return b""
        if not self.chunked:
            wanted = READ_SIZE if self.length is None else min(READ_SIZE, self.length)
            data = self.fp.read1(wanted) if wanted else b""
            if self.length is not None:
                if wanted and not data:
                    raise http.client.IncompleteRead(b"", self.length)
                self.length -= len(data)
            if not data or self.length == 0:
                self.close()
            return data
        begun = time.monotonic()
        data = self._next()
        if data or self.isclosed():
            return data
        # Sizes, extensions and trailers are not the body, and must not keep its reader waiting for ever.
        self._raw.limit(begun)
        try:
            while not (data or self.isclosed()):
                data = self._next()
        finally:
            self._raw.unlimit()
        return data

    def _next(self) -> bytes:
        """One read's part of the body, which may be none."""
        if self._broken:
            raise http.client.HTTPException("the chunked encoding of the answer is broken")
        received = self.fp.read1(READ_SIZE)
        if not received:
            raise http.client.IncompleteRead(b"")
        return self._take_apart(self._rest + received if self._rest else received)

    def _take_apart(self, received: bytes) -> bytes:
        pieces = []
        position, end = 0, len(received)
        left = self._left
        while position < end:
            if left:
                available = min(left, end - position)
                content = min(available, left - 2)  # without the line end that follows the chunk
                line_end = position
                if content > 0:
                    line_end += content
                    pieces.append(received[position:line_end])
                position += available
                ending = received[line_end:position]
                if ending != b"\r\n" and not b"\r\n"[-left:].startswith(ending):
                    self._broken = True
                    break
                left -= available
                continue
            line_end = received.find(b"\n", position)
            if line_end < 0:
                break
            line = received[position:line_end]
            position = line_end + 1
            if self._trailer:
                if not line.strip():
                    if position < end:
                        # Bytes after the end belong to no request: this connection must not be used again.
                        with contextlib.suppress(OSError):
                            self._sock.shutdown(socket.SHUT_RDWR)
                    self.close()
                    break
                continue
            size = _chunk_size(line)
            if size < 0:
                self._broken = True
                break
            self._trailer = size == 0
            left = size + 2 if size else 0
        self._left = left
        self._rest = received[position:]
        self._broken = self._broken or len(self._rest) > _MAX_LINE
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)


class _Raw(io.RawIOBase):
    """A socket's bytes. Between `limit` and `unlimit`, all reads together have the time that each has otherwise."""

    _SLACK = 0.05
    """Seconds that are not worth the call which takes them off the limit."""

    def __init__(self, raw: io.RawIOBase, sock: Any) -> None:
        self._raw = raw
        self._sock = sock
        self._limit: float | None = None
        self._deadline: float | None = None
        self._changed = False
        self.ended = False

    def limit(self, begun: float) -> None:
        self._limit = self._sock.gettimeout()
        self._deadline = None if self._limit is None else begun + self._limit

    def unlimit(self) -> None:
        self._deadline = None
        if self._changed:
            self._changed = False
            self._set(self._limit)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        if self._deadline is not None and self._limit is not None:
            left = self._deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError("timed out")
            if left < self._limit - self._SLACK:
                self._changed = True
                self._set(left)
        count = self._raw.readinto(buffer)
        self.ended = count == 0
        return count

    def _set(self, seconds: float | None) -> None:
        with contextlib.suppress(OSError):  # closed from another thread: the read says so
            self._sock.settimeout(seconds)

    def close(self) -> None:
        self._raw.close()
        super().close()


def _chunk_size(line: bytes) -> int:
    """The size that a line of the chunked encoding gives (RFC 9112, section 7.1); -1 if it gives none."""
    digits = line.split(b";", 1)[0].strip()
    # `int` alone would take a sign, underscores and a prefix as well.
    return int(digits, 16) if _HEX.fullmatch(digits) else -1


class _Held(_Base):
    """Tells the thread's `Watch` which socket is in use, and limits the upload piece by piece."""

    response_class = BulkResponse
    _outgoing: list[bytes] | None = None
    _twin: socket.socket | None = None

    def connect(self) -> None:
        try:
            super().connect()
            sockets.remember(self.sock)
            watch: Watch | None = current.watch
            if watch is not None:
                watch.connected = True
                watch.hold(self.sock)
        finally:
            if self._twin is not None:
                self._twin.close()
                self._twin = None

    def _new_conn(self) -> socket.socket:
        sock = self._connected()
        if current.watch is not None and isinstance(self, urllib3.connection.HTTPSConnection):
            # TLS takes the socket away, and gives its own only when the server has answered. This one stays.
            self._twin = sock.dup()
            current.watch.hold(self._twin)
        return sock

    def _connected(self) -> socket.socket:
        return super()._new_conn()

    def request(self, *args: Any, **kwargs: Any) -> None:
        watch: Watch | None = current.watch
        if self.sock is None:
            self.connect()
        elif watch is not None:
            watch.connected = True
            watch.hold(self.sock)
        # Headers and body leave in one packet: with two, the server wakes up twice.
        outgoing: list[bytes] = []
        self._outgoing = outgoing
        try:
            super().request(*args, **kwargs)
        finally:
            self._outgoing = None
        data = b"".join(outgoing)
        # urllib3 has set the limit for connecting.
        limit = None if watch is None else watch.upload_limit
        self.sock.settimeout(limit)
        try:
            if len(data) <= UPLOAD_SIZE:
                super().send(data)
            elif _upload(self.sock, data, limit) < len(data) and watch is not None:
                watch.cut = True
                sockets.reset_when_closed(self.sock)
        except TimeoutError as error:
            raise UploadTimeout from error
        finally:
            if watch is not None:
                watch.sent = time.monotonic()

    def send(self, data: Any) -> None:
        if self._outgoing is None:
            super().send(data)
        else:
            self._outgoing.append(data)


def _upload(sock: Any, data: bytes, limit: float | None) -> int:
    """Send a large request piece by piece, each within `limit` seconds; how much of it the server wanted.

    `sendall` counts its limit for all that it is given. A server may answer before it has everything, and read no more
    (RFC 9112, section 9.5). Over TLS, bytes that arrive need not be an answer: it is looked for when nothing more can
    be sent.

    Raises:
        TimeoutError: nothing left within `limit`.
    """
    view = memoryview(data)
    if isinstance(sock, ssl.SSLSocket) or not isinstance(sock, socket.socket):
        for start in range(0, len(view), UPLOAD_SIZE):
            try:
                sock.sendall(view[start : start + UPLOAD_SIZE])
            except TimeoutError:
                if sockets.is_readable(sock):
                    return start
                raise
            except (ssl.SSLError, ConnectionError):  # closed; perhaps it has said why
                return start
        return len(view)
    sent = 0
    sock.setblocking(False)
    try:
        with selectors.DefaultSelector() as selector:
            selector.register(sock, selectors.EVENT_READ | selectors.EVENT_WRITE)
            while sent < len(view):
                ready = selector.select(limit)
                if not ready:
                    raise TimeoutError("timed out")
                if ready[0][1] & selectors.EVENT_READ:
                    break
                sent += sock.send(view[sent : sent + UPLOAD_SIZE])
    finally:
        sock.settimeout(limit)
    return sent


class _Interruptible(_Held):
    """Connects to all addresses of the host within one limit, and can be interrupted meanwhile."""

    def _connected(self) -> socket.socket:
        try:
            return connect(self._dns_host, self.port, self.timeout, self.socket_options, current.watch)
        except socket.gaierror as error:
            raise urllib3.exceptions.NameResolutionError(self.host, self, error) from error
        except TimeoutError as error:
            raise urllib3.exceptions.ConnectTimeoutError(self, "timed out") from error
        except OSError as error:
            raise urllib3.exceptions.NewConnectionError(self, str(error)) from error


class PlainConnection(_Interruptible, urllib3.connection.HTTPConnection):
    """An `http://` connection."""


class TLSConnection(_Interruptible, urllib3.connection.HTTPSConnection):
    """An `https://` connection."""


def watched(standard: type) -> type:
    """The connection class to use in place of a pool's own one."""
    for ours, theirs in (
        (PlainConnection, urllib3.connection.HTTPConnection),
        (TLSConnection, urllib3.connection.HTTPSConnection),
    ):
        if standard is theirs:
            return ours
    return type(standard.__name__, (_Held, standard), {})  # SOCKS has its own way of connecting


# --- connecting -----------------------------------------------------------------------------------------------------


def connect(host: str, port: int, timeout: float | None, options: Any, watch: Watch | None) -> socket.socket:
    """Connect to the first address of `host` that accepts ("happy eyeballs", RFC 8305), all of them within `timeout`.

    Addresses of both families take turns; each has a quarter of a second before the next one is tried beside it.

    Raises:
        TimeoutError: no address accepted within `timeout`.
        OSError: every address refused; the first refusal.
    """
    addresses = deque(_by_turns(socket.getaddrinfo(host.strip("[]"), port, 0, socket.SOCK_STREAM)))
    deadline = float("inf") if timeout is None else time.monotonic() + timeout
    next_attempt = 0.0
    failures: list[OSError] = []
    with selectors.DefaultSelector() as selector:
        try:
            while addresses or selector.get_map():
                if watch is not None and watch.aborted:
                    raise ConnectionAbortedError("cancelled")
                now = time.monotonic()
                if now >= deadline:
                    raise TimeoutError("timed out")
                if addresses and (now >= next_attempt or not selector.get_map()):
                    next_attempt = now + _NEXT_ADDRESS
                    try:
                        selector.register(_begun(addresses.popleft(), options, watch), selectors.EVENT_WRITE)
                    except OSError as error:
                        failures.append(error)
                    continue
                for key, _ in selector.select(min(deadline - now, max(0.0, next_attempt - now) or _NEXT_ADDRESS)):
                    selector.unregister(key.fileobj)
                    sock: socket.socket = key.fileobj  # type: ignore[assignment]
                    number = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                    if number == 0:
                        sock.settimeout(timeout)
                        return sock
                    sock.close()
                    failures.append(OSError(number, os.strerror(number)))
            raise failures[0] if failures else OSError("the host name has no address")
        finally:
            for key in list(selector.get_map().values()):
                key.fileobj.close()  # type: ignore[union-attr]


def _by_turns(found: list[Any]) -> Iterator[Any]:
    """The addresses in the system's order, but a family that has come is followed by the other one."""
    families = list(dict.fromkeys(address[0] for address in found))
    columns = [[address for address in found if address[0] == family] for family in families]
    for row in itertools.zip_longest(*columns):
        yield from (address for address in row if address is not None)


def _begun(address: Any, options: Any, watch: Watch | None) -> socket.socket:
    """A socket that is connecting. Raises `OSError` if that has failed already."""
    family, kind, protocol, _, where = address
    sock = socket.socket(family, kind, protocol)
    try:
        for option in options or ():
            sock.setsockopt(*option)
        sock.setblocking(False)
        if watch is not None:
            watch.hold(sock)
        number = sock.connect_ex(where)
        if number not in (0, errno.EINPROGRESS, errno.EWOULDBLOCK):
            raise OSError(number, os.strerror(number))
    except BaseException:
        sock.close()
        raise
    return sock
