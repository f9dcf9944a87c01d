"""A server that fails in every way that servers fail, over real sockets. The first part of the path says how:

    with FaultServer(LOLLMS) as server:
        backend = make(host_address=server.address("stall"))

It speaks HTTP itself, byte by byte, because no HTTP library would produce most of this. Requests that do not ask for an
answer of the model get the dialect's good answers whatever the fault.
"""

from __future__ import annotations

import gzip
import json
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from lollms_core.testing._requirements import eventually
from tests.support.dialects import Dialect
from tests.support.waiting import PATIENCE

__all__ = ["FAULTS", "TEXT", "FaultServer", "Received", "refused_address"]

TEXT = ("Wörter\n", "und 😀", " !")
"""The pieces of the answer; a fault in mid-stream comes after the second."""
HUGE = "x" * 10_000_000


@dataclass
class Received:
    """A request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    fault: str

    def json(self) -> Any:
        return json.loads(self.body)


class ClientGoneError(Exception):
    """The client has closed the connection."""


@dataclass
class Peer:
    """One connection."""

    sock: socket.socket
    server: FaultServer
    buffer: bytes = b""

    def send(self, data: bytes) -> None:
        try:
            self.sock.sendall(data)
        except OSError:
            raise ClientGoneError from None

    def chunk(self, data: bytes) -> None:
        if data:
            self.send(b"%x\r\n%s\r\n" % (len(data), data))

    def head(self, status: str = "200 OK", *headers: str) -> None:
        self.send("\r\n".join([f"HTTP/1.1 {status}", *headers, "", ""]).encode("latin-1"))

    def whole(self, body: bytes, status: str = "200 OK", content_type: str = "application/json", *more: str) -> None:
        self.head(status, f"content-type: {content_type}", f"content-length: {len(body)}", *more)
        self.send(body)

    def begin_stream(self, content_type: str | None = None) -> None:
        self.head(
            "200 OK", f"content-type: {content_type or self.server.dialect.content_type}", "transfer-encoding: chunked"
        )

    def pieces(self, texts: tuple[str, ...] = TEXT) -> None:
        for text in texts:
            self.chunk(self.server.dialect.piece(text))

    def so_far(self) -> None:
        """The first two pieces, in one send: a client that has read one has the other, however slow either side is."""
        dialect = self.server.dialect
        pieces = [dialect.piece(text) for text in TEXT[:2]]
        self.send(b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces))

    def end_stream(self) -> None:
        self.chunk(self.server.dialect.end)
        self.send(b"0\r\n\r\n")

    def wait_until_gone(self) -> None:
        """Say nothing more. Ends when the client closes the connection."""
        self.server.waiting.set()
        while True:
            try:
                if not self.sock.recv(65536):
                    break
            except OSError:
                break
        self.server.gone.set()
        raise ClientGoneError

    def reset(self) -> None:
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()
        raise ClientGoneError

    def hang_up(self) -> None:
        self.sock.close()
        raise ClientGoneError


def ok(peer: Peer) -> None:
    peer.begin_stream()
    peer.pieces()
    peer.end_stream()


def slow_headers(peer: Peer) -> None:
    peer.wait_until_gone()


def slow_body(peer: Peer) -> None:
    peer.begin_stream()
    peer.wait_until_gone()


def stall(peer: Peer) -> None:
    peer.begin_stream()
    peer.so_far()
    peer.wait_until_gone()


def cut(peer: Peer) -> None:
    peer.begin_stream()
    peer.so_far()
    peer.hang_up()


def cut_in_chunk(peer: Peer) -> None:
    peer.begin_stream()
    peer.so_far()
    peer.send(b"ffff\r\n")
    peer.hang_up()


def no_end_mark(peer: Peer) -> None:
    """Complete for HTTP, not for the protocol."""
    peer.begin_stream()
    peer.so_far()
    peer.send(b"0\r\n\r\n")


def short_length(peer: Peer) -> None:
    peer.head("200 OK", f"content-type: {peer.server.dialect.content_type}", "content-length: 100000")
    for text in TEXT[:2]:
        peer.send(peer.server.dialect.piece(text))
    peer.hang_up()


def reset(peer: Peer) -> None:
    peer.reset()


def reset_in_stream(peer: Peer) -> None:
    peer.begin_stream()
    peer.so_far()
    peer.server.read_by_client.wait(PATIENCE)
    peer.reset()


def invalid_json(peer: Peer) -> None:
    peer.begin_stream()
    peer.so_far()
    peer.chunk(peer.server.dialect.broken)
    peer.end_stream()


def error_in_stream(peer: Peer) -> None:
    peer.begin_stream()
    peer.so_far()
    peer.chunk(peer.server.dialect.error_event)
    peer.end_stream()


def error_under_200(peer: Peer) -> None:
    peer.whole(peer.server.dialect.error)


def error_as_stream(peer: Peer) -> None:
    """The error object in pieces, labelled as a stream."""
    peer.begin_stream()
    for byte in peer.server.dialect.error:
        peer.chunk(bytes([byte]))
    peer.send(b"0\r\n\r\n")


def huge_line(peer: Peer) -> None:
    peer.begin_stream()
    peer.pieces((HUGE,))
    peer.end_stream()


def split_character(peer: Peer) -> None:
    """One byte in each chunk."""
    peer.begin_stream()
    for text in TEXT:
        for byte in peer.server.dialect.piece(text):
            peer.chunk(bytes([byte]))
    peer.end_stream()


def empty(peer: Peer) -> None:
    peer.whole(b"")


def html_page(peer: Peer) -> None:
    peer.whole(b"<!DOCTYPE html><html><body><h1>Welcome to nginx</h1></body></html>", "200 OK", "text/html")


def html_error(peer: Peer) -> None:
    page = b"<html><head><style>b{}</style></head><body><h1>502 Bad Gateway</h1></body></html>"
    peer.whole(page, "502 Bad Gateway", "text/html; charset=utf-8")


def redirect(peer: Peer) -> None:
    peer.whole(b"", "307 Temporary Redirect", "text/plain", f"location: {peer.server.elsewhere}")


def not_http(peer: Peer) -> None:
    peer.send(b"SSH-2.0-OpenSSH_9.9\r\n")
    peer.hang_up()


def bad_chunks(peer: Peer) -> None:
    peer.begin_stream()
    peer.so_far()
    # Not in one packet with the headers: aiohttp's parser would give neither.
    peer.server.read_by_client.wait(PATIENCE)
    peer.send(b"zz\r\nrubbish\r\n")
    peer.hang_up()


def compressed(peer: Peer) -> None:
    dialect = peer.server.dialect
    body = gzip.compress(b"".join(dialect.piece(text) for text in TEXT) + dialect.end)
    peer.head("200 OK", f"content-type: {dialect.content_type}", "content-encoding: gzip", "transfer-encoding: chunked")
    for start in range(0, len(body), 7):
        peer.chunk(body[start : start + 7])
    peer.send(b"0\r\n\r\n")


def until_close(peer: Peer) -> None:
    """HTTP/1.0: the end of the connection is the end of the answer."""
    dialect = peer.server.dialect
    peer.send(f"HTTP/1.0 200 OK\r\ncontent-type: {dialect.content_type}\r\n\r\n".encode())
    peer.send(b"".join(dialect.piece(text) for text in TEXT) + dialect.end)
    peer.hang_up()


def lingering(peer: Peer) -> None:
    """The end mark, and then a connection that stays open without the end of the body."""
    peer.begin_stream()
    peer.pieces()
    peer.chunk(peer.server.dialect.end)
    peer.wait_until_gone()


def status(line: str, message: str, *headers: str) -> Callable[[Peer], None]:
    def fault(peer: Peer) -> None:
        peer.whole(json.dumps({"error": {"message": message}}).encode(), line, "application/json", *headers)

    return fault


def first_fails(line: str, *headers: str) -> Callable[[Peer], None]:
    """A status the first time, a good answer from then on."""
    refuse = status(line, "not now", *headers)

    def fault(peer: Peer) -> None:
        if peer.server.count() == 1:
            refuse(peer)
        else:
            ok(peer)

    return fault


def first_resets(peer: Peer) -> None:
    if peer.server.count() == 1:
        peer.reset()
    ok(peer)


FAULTS: dict[str, Callable[[Peer], None]] = {
    **{
        handler.__name__: handler
        for handler in (
            ok, slow_headers, slow_body, stall, cut, cut_in_chunk, no_end_mark, short_length, reset, reset_in_stream,
            invalid_json, error_in_stream, error_under_200, error_as_stream, huge_line, split_character, empty,
            html_page, html_error, redirect, not_http, bad_chunks, compressed, until_close, lingering, first_resets,
        )
    },
    "400": status("400 Bad Request", "top_k is not allowed"),
    "window": status("400 Bad Request", "This model's maximum context length is 2048 tokens"),
    "401": status("401 Unauthorized", "invalid key"),
    "403": status("403 Forbidden", "not for you"),
    "404": status("404 Not Found", "the model 'm' does not exist"),
    "404-route": status("404 Not Found", "no such route"),
    "408": status("408 Request Timeout", "too slow"),
    "413": status("413 Content Too Large", "too much"),
    "422": status("422 Unprocessable Content", "bad field"),
    "429": status("429 Too Many Requests", "slow down", "retry-after: 7200"),
    "500": status("500 Internal Server Error", "it broke"),
    "503": status("503 Service Unavailable", "loading", "retry-after: 0"),
    "first-503": first_fails("503 Service Unavailable", "retry-after: 0"),
    "first-429": first_fails("429 Too Many Requests", "retry-after: Wed, 21 Oct 2015 07:28:00 GMT"),
    "first-500": first_fails("500 Internal Server Error"),
}  # fmt: skip


@dataclass
class FaultServer:
    """Serves until the block ends; every connection in a thread of its own."""

    dialect: Dialect
    tls: ssl.SSLContext | None = None
    elsewhere: str = "http://elsewhere.invalid/steal"
    requests: list[Received] = field(default_factory=list)
    waiting: threading.Event = field(default_factory=threading.Event)
    """A fault waits for the client to go."""
    gone: threading.Event = field(default_factory=threading.Event)
    """The client that was waited for has gone."""
    read_by_client: threading.Event = field(default_factory=threading.Event)
    """Set by a test once the client has what was sent so far."""

    def __enter__(self) -> FaultServer:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port = self._listener.getsockname()[1]
        self._peers: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._closing = False
        self._acceptor = threading.Thread(target=self._accept, name="fault-server")
        self._acceptor.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing = True
        self.read_by_client.set()  # or a test that failed would be waited for
        self._listener.shutdown(socket.SHUT_RDWR)
        self._acceptor.join()
        self._listener.close()
        with self._lock:
            peers, threads = list(self._peers), list(self._threads)
        for sock in peers:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join()

    def address(self, fault: str) -> str:
        assert fault in FAULTS, fault
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}/{fault}"

    @property
    def generations(self) -> list[Received]:
        """The requests that asked for an answer."""
        return [request for request in self.requests if request.path.endswith(self.dialect.generation_paths)]

    def count(self) -> int:
        return len(self.generations)

    @property
    def connections(self) -> int:
        """How many connections are open."""
        with self._lock:
            return len(self._peers)

    def wait_for_connections(self, count: int) -> bool:
        """Whether the number of open connections comes down to `count`."""
        return eventually(lambda: self.connections <= count, PATIENCE)

    def _accept(self) -> None:
        while not self._closing:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(sock,), name="fault-peer")
            with self._lock:
                self._peers.add(sock)
                self._threads = [running for running in self._threads if running.is_alive()] + [thread]
                thread.start()

    def _serve(self, raw: socket.socket) -> None:
        sock = raw
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.tls is not None:
                sock = self.tls.wrap_socket(raw, server_side=True)
                with self._lock:
                    self._peers.discard(raw)
                    self._peers.add(sock)
            peer = Peer(sock, self)
            for request in self._read(peer):
                self.requests.append(request)
                self._answer(peer, request)
        except (ClientGoneError, OSError):
            pass
        finally:
            # First closed, then forgotten: who counts this process's sockets waits until none is left here.
            sock.close()
            with self._lock:
                self._peers.discard(sock)
                self._peers.discard(raw)

    def _read(self, peer: Peer) -> Iterator[Received]:
        while True:
            while b"\r\n\r\n" not in peer.buffer:
                data = peer.sock.recv(65536)
                if not data:
                    return
                peer.buffer += data
                if peer.buffer.startswith(b"\x16\x03"):
                    # TLS where none is spoken: what web servers say then.
                    peer.whole(b"", "400 Bad Request")
                    return
            head, _, rest = peer.buffer.partition(b"\r\n\r\n")
            first, *lines = head.decode("latin-1").split("\r\n")
            method, target, _ = first.split(" ")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
            length = int(headers.get("content-length", 0))
            while len(rest) < length:
                data = peer.sock.recv(65536)
                if not data:
                    return
                rest += data
            peer.buffer = rest[length:]
            _, fault, path = target.split("/", 2)
            yield Received(method, f"/{path}", headers, rest[:length], fault)

    def _answer(self, peer: Peer, request: Received) -> None:
        if request.path.endswith(self.dialect.generation_paths):
            FAULTS[request.fault](peer)
            return
        for path, value in self.dialect.answers.items():
            if request.path.endswith(path):
                peer.whole(json.dumps(value).encode())
                return
        peer.whole(b'{"detail": "Not Found"}', "404 Not Found")


@contextmanager
def refused_address() -> Iterator[str]:
    """An address where nothing listens, and nothing else will while the block runs."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"
