"""A small SOCKS5 proxy (RFC 1928, passwords: RFC 1929) for which every host is one port of this machine."""

from __future__ import annotations

import contextlib
import socket
import struct

from tests.support.framing_server import Incoming
from tests.support.proxy_server import pass_on
from tests.support.socket_server import ClientGoneError, SocketServer

__all__ = ["SocksServer"]

_OPEN, _PASSWORD, _NEITHER = b"\x00", b"\x02", b"\xff"


class SocksServer(SocketServer):
    """Serves until the block ends.

    Args:
        elsewhere: the port that every host stands for.
        credentials: user name and password to ask for; `None`: anyone may pass.
    """

    def __init__(self, elsewhere: int, credentials: tuple[str, str] | None = None) -> None:
        self.hosts: list[str] = []
        """What it was asked for: a name where the proxy is to look it up, else an address."""
        self._elsewhere = elsewhere
        self._credentials = credentials

    def talk(self, sock: socket.socket) -> None:
        incoming = Incoming(sock)
        _, count = incoming.exactly(2)
        wanted = _OPEN if self._credentials is None else _PASSWORD
        method = wanted if wanted in incoming.exactly(count) else _NEITHER
        sock.sendall(b"\x05" + method)
        if method == _NEITHER:
            raise ClientGoneError
        if method == _PASSWORD:
            incoming.exactly(1)
            good = (_text(incoming), _text(incoming)) == self._credentials
            sock.sendall(b"\x01" + (b"\x00" if good else b"\x01"))
            if not good:
                raise ClientGoneError
        _, _, _, kind = incoming.exactly(4)
        self.hosts.append(_text(incoming) if kind == 3 else socket.inet_ntoa(incoming.exactly(4)))
        incoming.exactly(2)
        with contextlib.closing(socket.create_connection(("127.0.0.1", self._elsewhere))) as server:
            server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.sendall(b"\x05\x00\x00\x01" + struct.pack("!4sH", socket.inet_aton("127.0.0.1"), self._elsewhere))
            pass_on(sock, server, until_request=False)


def _text(incoming: Incoming) -> str:
    return incoming.exactly(incoming.exactly(1)[0]).decode()
