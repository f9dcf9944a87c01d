"""A server that answers well, and puts its answers on the wire byte by byte as a *framing* tells it.

What it says comes from a dialect; how that is framed, and what goes out in one send, from the first part of the path:

    with FramingServer(OPENAI, FRAMINGS) as server:
        client = LollmsClient(server.address("chunked-trailers"), ...)

Between two sends it waits until the client has read the first, so that what is sent apart also arrives apart.
"""

from __future__ import annotations

import json
import socket
import ssl
import struct
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from tests.support.dialects import Dialect
from tests.support.socket_server import ClientGoneError, SocketServer

__all__ = ["TEXT", "WHOLE", "Answer", "Framing", "FramingServer", "Incoming", "Received", "send_apart"]

TEXT = ("Wörter\n", "und 😀, dazu ein längeres Stück", " !")
"""The pieces of the answer, with characters of several bytes and more than fifteen bytes in one piece."""
WHOLE = "".join(TEXT)


@dataclass(frozen=True)
class Answer:
    """What is to be said."""

    content_type: str
    pieces: tuple[bytes, ...]
    """The body, in the pieces in which a server would come to know it."""
    status: str = "200 OK"
    headers: tuple[str, ...] = ()
    """Header lines beside the content type and those of the framing itself."""

    @property
    def body(self) -> bytes:
        return b"".join(self.pieces)


class Framing(Protocol):
    """How answers are put on the wire."""

    @property
    def after(self) -> Literal["keeps", "closes", "waits"]:
        """What the server does with the connection after an answer; `waits`: it leaves closing to the client."""

    def sends(self, answer: Answer) -> Iterable[bytes]:
        """What goes out, each item in a send of its own."""


@dataclass(frozen=True)
class Received:
    """A request as it arrived."""

    method: str
    path: str
    """Without the name of the framing."""
    framing: str
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Incoming:
    """What a client sends, taken apart."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.buffer = bytearray()

    def until(self, mark: bytes) -> bytes:
        """All up to and with `mark`. Raises `ClientGoneError` if the client goes before that."""
        while mark not in self.buffer:
            self.more()
        return self.take(self.buffer.index(mark) + len(mark))

    def exactly(self, size: int) -> bytes:
        """That many bytes. Raises `ClientGoneError` if the client goes before that."""
        while len(self.buffer) < size:
            self.more()
        return self.take(size)

    def more(self, size: int = 65536) -> None:
        data = self.sock.recv(size)
        if not data:
            raise ClientGoneError
        self.buffer += data

    def take(self, size: int) -> bytes:
        taken = bytes(self.buffer[:size])
        del self.buffer[:size]
        return taken


class FramingServer(SocketServer):
    """Serves until the block ends.

    Args:
        dialect: whose words it uses.
        framings: by the name that stands in its addresses.
        texts: the pieces of its answer.
        tls: with this certificate; `None`: without TLS.
    """

    def __init__(
        self,
        dialect: Dialect,
        framings: Mapping[str, Framing],
        *,
        texts: tuple[str, ...] = TEXT,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.dialect = dialect
        self.tls = tls
        self.requests: list[Received] = []
        self.framings = framings
        self._texts = texts

    def address(self, framing: str, host: str = "127.0.0.1") -> str:
        assert framing in self.framings, framing
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}/{framing}"

    @property
    def generations(self) -> list[Received]:
        """The requests that asked for an answer of the model."""
        return [request for request in self.requests if request.path.endswith(self.dialect.generation_paths)]

    def talk(self, sock: socket.socket) -> None:
        incoming = Incoming(sock)
        while True:
            request = self._receive(incoming)
            self.requests.append(request)
            framing = self.framings.get(request.framing)
            if framing is None:
                # A target in a form that is for proxies (RFC 9112, section 3.2): many servers do not know it.
                sock.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                return
            send_apart(sock, framing.sends(self._answer(request)))
            if framing.after == "closes":
                return

    def read_body(self, incoming: Incoming, length: int) -> bytes:
        """The body of a request whose headers have been read."""
        return incoming.exactly(length)

    def _receive(self, incoming: Incoming) -> Received:
        first, *lines = incoming.until(b"\r\n\r\n").decode("latin-1").rstrip().split("\r\n")
        method, target, _ = first.split(" ")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        body = self.read_body(incoming, int(headers.get("content-length", 0)))
        _, framing, path = target.split("/", 2)
        return Received(method, f"/{path}", framing, headers, body)

    def _answer(self, request: Received) -> Answer:
        dialect = self.dialect
        if request.path.endswith(dialect.generation_paths):
            pieces = [*map(dialect.piece, self._texts), dialect.end]
            return Answer(dialect.content_type, tuple(filter(None, pieces)))
        for path, value in dialect.answers.items():
            if request.path.endswith(path):
                return _json(value)
        return _json({"detail": "Not Found"}, "404 Not Found")


def _json(value: Any, status: str = "200 OK") -> Answer:
    text = json.dumps(value).encode()
    third = len(text) // 3 + 1
    return Answer("application/json", tuple(text[i : i + third] for i in range(0, len(text), third)), status)


def send_apart(sock: socket.socket, parts: Iterable[bytes]) -> None:
    """Send each part once the one before it has been read at the other end. Raises `ClientGoneError`."""
    for number, part in enumerate(parts):
        if number:
            _wait_until_read(sock)
        try:
            sock.sendall(part)
        except OSError:
            raise ClientGoneError from None


def _wait_until_read(sock: socket.socket, seconds: float = 5) -> None:
    # A client that reads nothing more, because it has what it wants, is sent the rest all the same.
    end = time.monotonic() + seconds
    while _unread(sock.getpeername(), sock.getsockname()) and time.monotonic() < end:
        time.sleep(0.0001)


_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_ANY = 0xFFFFFFFF


def _unread(reader: tuple[str, int], writer: tuple[str, int]) -> int:
    """How many bytes from `writer` lie in the socket of `reader`, by the kernel's own count (see sock_diag(7)).

    0 where the kernel cannot be asked, which is anywhere but on Linux: what is sent apart may then arrive together.
    """
    if not hasattr(socket, "AF_NETLINK"):
        return 0
    ends = struct.pack("!HH4s12x4s12x", reader[1], writer[1], *(socket.inet_aton(end[0]) for end in (reader, writer)))
    question = (
        struct.pack("=BBxxI", socket.AF_INET, socket.IPPROTO_TCP, _ANY) + ends + struct.pack("=3I", 0, _ANY, _ANY)
    )
    with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, _NETLINK_SOCK_DIAG) as kernel:
        kernel.send(struct.pack("=IHHII", 16 + len(question), _SOCK_DIAG_BY_FAMILY, 1, 0, 0) + question)
        answer = kernel.recv(4096)
    _, kind = struct.unpack_from("=IH", answer)
    # An answer of another kind is an error: there is no such socket any more, its owner has closed it.
    return int(struct.unpack_from("=I", answer, 16 + 56)[0]) if kind == _SOCK_DIAG_BY_FAMILY else 0
