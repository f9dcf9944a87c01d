"""urllib3 connections that can be aborted from another thread and whose bodies are read in large pieces.

Imported on the first call only: urllib3 is not needed to import lollms.
"""

from __future__ import annotations

import contextlib
import http.client
import re
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

import urllib3.connection
import urllib3.exceptions

if TYPE_CHECKING:
    _Base = urllib3.connection.HTTPConnection
else:
    _Base = object

__all__ = ["BulkResponse", "PlainConnection", "TLSConnection", "Watch", "current", "watched"]

READ_SIZE = 65536
_MAX_LINE = 65536
_HEX = re.compile(rb"[0-9A-Fa-f]{1,15}")


class Watch:
    """The socket that one call is using, so that another thread can end whatever it waits for.

    `abort` may come at any moment: while connecting, while waiting for the answer, between two reads, after the end.
    Looking up a host name is the one wait that it cannot end.
    """

    __slots__ = ("_lock", "_socket", "_wake", "aborted", "connected", "raw")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._wake: threading.Event | None = None
        self.aborted = False
        self.connected = False
        self.raw: BulkResponse | None = None
        """The response that is being read."""

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
            self._socket.settimeout(seconds)

    def release(self) -> None:
        """The socket goes back to the pool: it is another call's from now on."""
        with self._lock:
            self._socket = None

    def wait(self, seconds: float) -> None:
        """Do nothing for some time, or until `abort`."""
        with self._lock:
            if self.aborted:
                return
            self._wake = threading.Event()
        self._wake.wait(seconds)

    def abort(self) -> None:
        """End every wait on the socket, now and later. From any thread, any number of times."""
        with self._lock:
            self.aborted = True
            if self._wake is not None:
                self._wake.set()
            if self._socket is not None:
                with contextlib.suppress(OSError):  # it may not be connected, or no longer
                    # Not SSLSocket's own: that one takes the TLS state away under the reading thread.
                    socket.socket.shutdown(self._socket, socket.SHUT_RDWR)


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

    def begin(self) -> None:
        watch = current.watch
        if watch is not None:
            watch.raw = self
        super().begin()

    def read1(self, n: int = -1) -> bytes:
        """What has arrived of the body, at least one byte; `b""` at its end.

        Raises:
            http.client.IncompleteRead: the connection ended before the body did.
            http.client.HTTPException: the chunked encoding is wrong.
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
        while not self.isclosed():
            if self._broken:
                raise http.client.HTTPException("the chunked encoding of the answer is broken")
            received = self.fp.read1(READ_SIZE)
            if not received:
                raise http.client.IncompleteRead(b"")
            data = self._take_apart(self._rest + received if self._rest else received)
            if data:
                return data
        return b""

    def _take_apart(self, received: bytes) -> bytes:
        pieces = []
        position, end = 0, len(received)
        left = self._left
        while position < end:
            if left:
                available = min(left, end - position)
                content = min(available, left - 2)  # without the line end that follows the chunk
                if content > 0:
                    pieces.append(received[position : position + content])
                position += available
                left -= available
                continue
            line_end = received.find(b"\n", position)
            if line_end < 0:
                break
            line = received[position:line_end]
            position = line_end + 1
            if self._trailer:
                if not line.strip():
                    # Bytes after the end belong to no request: this connection must not be used again.
                    self.will_close = self.will_close or position < end
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


def _chunk_size(line: bytes) -> int:
    """The size that a line of the chunked encoding gives (RFC 9112, section 7.1); -1 if it gives none."""
    digits = line.split(b";", 1)[0].strip()
    # `int` alone would take a sign, underscores and a prefix as well.
    return int(digits, 16) if _HEX.fullmatch(digits) else -1


class _Held(_Base):
    """Tells the thread's `Watch` which socket is in use."""

    response_class = BulkResponse
    _outgoing: list[bytes] | None = None

    def connect(self) -> None:
        super().connect()
        watch: Watch | None = current.watch
        if watch is not None:
            watch.connected = True
            watch.hold(self.sock)

    def request(self, *args: Any, **kwargs: Any) -> None:
        watch: Watch | None = current.watch
        if watch is not None and self.sock is not None:
            watch.connected = True
            watch.hold(self.sock)
        # Headers and body leave in one packet: with two, the server wakes up twice.
        outgoing: list[bytes] = []
        self._outgoing = outgoing
        try:
            super().request(*args, **kwargs)
        finally:
            self._outgoing = None
        self.send(b"".join(outgoing))

    def send(self, data: Any) -> None:
        if self._outgoing is None:
            super().send(data)
        else:
            self._outgoing.append(data)


class _Interruptible(_Held):
    """Tells it before it is connected, too, and connects to all addresses of the host within one limit."""

    def _new_conn(self) -> socket.socket:
        try:
            return _connect(self._dns_host, self.port, self.timeout, self.socket_options, current.watch)
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


def _connect(host: str, port: int, timeout: float | None, options: Any, watch: Watch | None) -> socket.socket:
    """Connect to the first address of `host` that accepts, all of them together within `timeout`."""
    deadline = None if timeout is None else time.monotonic() + timeout
    failure: OSError | None = None
    for family, kind, protocol, _, address in socket.getaddrinfo(host.strip("[]"), port, 0, socket.SOCK_STREAM):
        sock = socket.socket(family, kind, protocol)
        try:
            if watch is not None:
                watch.hold(sock)
            for option in options or ():
                sock.setsockopt(*option)
            if deadline is not None:
                remaining = deadline - time.monotonic()
                if remaining <= 0:
                    raise TimeoutError("timed out")
                sock.settimeout(remaining)
            sock.connect(address)
        except OSError as error:
            sock.close()
            failure = error
            if isinstance(error, TimeoutError) and deadline is not None and time.monotonic() >= deadline:
                break
            if watch is not None and watch.aborted:
                break
        except BaseException:
            sock.close()
            raise
        else:
            sock.settimeout(timeout)
            return sock
    raise failure or OSError("the host name has no address")
