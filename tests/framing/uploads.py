"""Servers that are in no hurry to read what is sent to them, or do not read it at all."""

from __future__ import annotations

import select
import socket
import time

from tests.framing.framings import FRAMINGS
from tests.support.dialects import Dialect
from tests.support.framing_server import FramingServer, Incoming
from tests.support.socket_server import ClientGoneError
from tests.support.waiting import PATIENCE

__all__ = ["ENDS", "LARGE", "DeafServer", "RoomyDeafServer", "SlowReader", "StuckServer"]

LARGE = 1_000_000
"""Bytes of a body that these servers treat in their own way; smaller ones they read like anyone."""
STEP = 64 * 1024


class _LittleRoom(FramingServer):
    """What it has not read waits at the client: its socket takes little, and tells the client's to take little."""

    def listen(self) -> socket.socket:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        # By the size of the segments Linux measures the client's send buffer.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 1000)
        listener.bind(("127.0.0.1", 0))
        listener.listen(512)
        return listener


class SlowReader(_LittleRoom):
    """Takes more than `seconds` to read a large body: 64 kB, a pause, 64 kB, a pause."""

    def __init__(self, dialect: Dialect, seconds: float) -> None:
        super().__init__(dialect, FRAMINGS)
        self.seconds = seconds

    def read_body(self, incoming: Incoming, length: int) -> bytes:
        pause = self.seconds * STEP / length if length >= LARGE else 0
        body = b""
        while len(body) < length:
            body += incoming.exactly(min(STEP, length - len(body)))
            time.sleep(pause)
        return body


_SAID = b'{"error": {"message": "at most a megabyte, please"}}'
_REFUSAL = b"HTTP/1.1 413 Content Too Large\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(_SAID), _SAID)


def drain(sock: socket.socket) -> None:
    """Read on and throw it away until the client closes, as nginx does."""
    sock.shutdown(socket.SHUT_WR)
    while sock.recv(STEP):
        pass


def reset(sock: socket.socket) -> None:
    """Close with unread bytes, which resets the connection."""
    # The answer must not be lost on the way: it is in the client's socket before the reset is sent.


def hold(sock: socket.socket) -> None:
    """Read nothing more and leave closing to the client, for so long as anyone would."""
    poll = select.poll()
    poll.register(sock, select.POLLRDHUP)
    poll.poll(PATIENCE * 1000)


ENDS = {end.__name__: end for end in (drain, reset, hold)}
"""What a server does with a client that it has answered, and that is still sending."""


class RoomyDeafServer(FramingServer):
    """Answers 413 to a large body as soon as it has seen its headers. Much of the body is on its way by then."""

    def __init__(self, dialect: Dialect, end: str) -> None:
        super().__init__(dialect, FRAMINGS)
        self._end = ENDS[end]

    def read_body(self, incoming: Incoming, length: int) -> bytes:
        if length < LARGE:
            return super().read_body(incoming, length)
        incoming.sock.sendall(_REFUSAL)
        self._end(incoming.sock)
        raise ClientGoneError


class DeafServer(RoomyDeafServer, _LittleRoom):
    """The same; next to nothing of the body has left the client by then."""


class StuckServer(_LittleRoom):
    """Reads the headers of a large request and nothing more, for so long as the client stays."""

    def read_body(self, incoming: Incoming, length: int) -> bytes:
        if length >= LARGE:
            hold(incoming.sock)
            raise ClientGoneError
        return super().read_body(incoming, length)
