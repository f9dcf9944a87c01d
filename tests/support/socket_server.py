"""The listening half of a test server: bare sockets, a thread for every connection, and none of them left behind."""

from __future__ import annotations

import socket
import ssl
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from lollms_core.testing._requirements import eventually
from tests.support.waiting import PATIENCE

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["ClientGoneError", "SocketServer"]


class ClientGoneError(Exception):
    """The client has closed the connection."""


class SocketServer:
    """Listens on 127.0.0.1 until the block ends. A subclass says in `talk` what happens on each connection."""

    tls: ssl.SSLContext | None = None
    accepted = 0
    """How many connections there have been so far."""

    def talk(self, sock: socket.socket) -> None:
        """Serve one connection, in a thread of its own; it is closed afterwards."""
        raise NotImplementedError

    def listen(self) -> socket.socket:
        """The socket that listens."""
        return socket.create_server(("127.0.0.1", 0), backlog=512)

    def __enter__(self) -> Self:
        self._listener = self.listen()
        self.port: int = self._listener.getsockname()[1]
        self._peers: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._acceptor = threading.Thread(target=self._accept, name="test-server")
        self._acceptor.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._acceptor.join()
        self._listener.close()
        self.hang_up()
        for thread in self._threads:
            thread.join()

    @property
    def connections(self) -> int:
        """How many connections are open."""
        with self._lock:
            return len(self._peers)

    def wait_for_connections(self, count: int) -> bool:
        """Whether the number of open connections comes down to `count`."""
        return eventually(lambda: self.connections <= count, PATIENCE)

    def hang_up(self) -> None:
        """Close every connection. Over loopback the clients have heard of it when this returns."""
        with self._lock:
            for sock in self._peers:
                with suppress(OSError):
                    # Not SSLSocket's own: that one takes the TLS state away under the thread that reads.
                    socket.socket.shutdown(sock, socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(sock,), name="test-server-peer")
            with self._lock:
                self.accepted += 1
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
                    self._peers ^= {raw, sock}
            self.talk(sock)
        except (ClientGoneError, OSError):
            pass
        finally:
            sock.close()
            with self._lock:
                self._peers -= {raw, sock}
