"""A small HTTP proxy: it forwards requests that name a whole URL, and opens tunnels for `CONNECT`.

    with ProxyServer(elsewhere=server.port, credentials="me:secret") as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://me:secret@127.0.0.1:{proxy.port}")

Whatever host a client asks for, it is connected to the port `elsewhere` of this machine: a name that nobody can look
up is reached through the proxy or not at all.
"""

from __future__ import annotations

import base64
import contextlib
import select
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from tests.support.framing_server import Incoming, send_apart
from tests.support.socket_server import ClientGoneError, SocketServer

__all__ = ["ESTABLISHED", "Proxied", "ProxyServer", "pass_on"]

ESTABLISHED: Mapping[str, tuple[bytes, ...]] = {
    "usual": (b"HTTP/1.1 200 Connection established\r\n\r\n",),
    "1.0": (b"HTTP/1.0 200 OK\r\n\r\n",),
    "no-reason": (b"HTTP/1.1 200\r\n\r\n",),
    "headers": (b"HTTP/1.1 200 OK\r\nVia: 1.1 tests\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\n\r\n",),
    "in-pieces": (b"HTTP/1.1 2", b"00 Connection estab", b"lished\r\nProxy-Agent: tests\r\n", b"\r\n"),
}
"""How proxies say that a tunnel is open, by what is special about it."""
_FOR_THE_PROXY = (b"proxy-authorization:", b"proxy-connection:")


@dataclass(frozen=True)
class Proxied:
    """What the proxy was asked, as it arrived."""

    method: str
    target: str
    head: bytes
    """The request line and the headers."""
    body: bytes = b""

    @property
    def host(self) -> str:
        return self.target if self.method == "CONNECT" else urlsplit(self.target).netloc


class ProxyServer(SocketServer):
    """Serves until the block ends.

    Args:
        elsewhere: the port that every host stands for.
        credentials: `user:password` to ask for; `None`: anyone may pass.
        established: the answer to `CONNECT`, each part in a send of its own.
    """

    def __init__(
        self, elsewhere: int, credentials: str | None = None, established: tuple[bytes, ...] = ESTABLISHED["usual"]
    ) -> None:
        self.requests: list[Proxied] = []
        self.tunnels = 0
        """How many have been opened."""
        self._elsewhere = elsewhere
        self._credentials = credentials
        self._established = established

    def url(self, credentials: str = "", scheme: str = "http://") -> str:
        """What users write into `HTTP_PROXY`; `credentials` as they stand in a URL."""
        return f"{scheme}{credentials and credentials + '@'}127.0.0.1:{self.port}"

    def talk(self, sock: socket.socket) -> None:
        incoming = Incoming(sock)
        with contextlib.ExitStack() as stack:
            server: socket.socket | None = None
            while True:
                request = self._read(incoming)
                self.requests.append(request)
                if not self._may_pass(request.head):
                    sock.sendall(_REFUSAL)
                    return
                if server is None:
                    server = stack.enter_context(socket.create_connection(("127.0.0.1", self._elsewhere)))
                    server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if request.method == "CONNECT":
                    self.tunnels += 1
                    send_apart(sock, self._established)
                    pass_on(sock, server, until_request=False)
                    return
                server.sendall(_forwarded(request))
                pass_on(sock, server, until_request=True)

    def _read(self, incoming: Incoming) -> Proxied:
        head = incoming.until(b"\r\n\r\n")
        method, target, _ = head.split(b"\r\n", 1)[0].decode().split(" ")
        return Proxied(method, target, head, incoming.exactly(int(_header(head, b"content-length") or 0)))

    def _may_pass(self, head: bytes) -> bool:
        if self._credentials is None:
            return True
        wanted = b"Basic " + base64.b64encode(self._credentials.encode())
        return _header(head, b"proxy-authorization") == wanted


_PAGE = b"<html><body><h1>Cache Access Denied</h1></body></html>"
_REFUSAL = b"\r\n".join(
    [
        b"HTTP/1.1 407 Proxy Authentication Required",
        b'Proxy-Authenticate: Basic realm="tests"',
        b"Content-Type: text/html",
        b"Content-Length: %d" % len(_PAGE),
        b"Connection: close",
        b"",
        _PAGE,
    ]
)


def _header(head: bytes, name: bytes) -> bytes:
    for line in head.split(b"\r\n")[1:]:
        found, _, value = line.partition(b":")
        if found.lower() == name:
            return value.strip()
    return b""


def _forwarded(request: Proxied) -> bytes:
    """The request as its server shall see it: of the URL the path, and nothing that was meant for the proxy."""
    url = urlsplit(request.target)
    path = url.path + (f"?{url.query}" if url.query else "")
    kept = [line for line in request.head.split(b"\r\n")[1:] if not line.lower().startswith(_FOR_THE_PROXY)]
    return b"\r\n".join([f"{request.method} {path} HTTP/1.1".encode(), *kept]) + request.body


def pass_on(client: socket.socket, server: socket.socket, *, until_request: bool) -> None:
    """Pass bytes on in both directions until one side closes, or, where asked for, until the client speaks again."""
    while True:
        readable, _, _ = select.select([client, server], [], [])
        if server in readable:
            data = server.recv(65536)
            if not data:
                raise ClientGoneError
            client.sendall(data)
        if client in readable:
            if until_request:
                return
            data = client.recv(65536)
            if not data:
                raise ClientGoneError
            server.sendall(data)
