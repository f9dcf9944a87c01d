"""The sockets of this process's transports, of which a forked child lets go.

A child shares the open sockets of its parent. Whatever it did to one, a TLS farewell, a shutdown, taking it out of an
epoll object that is shared as well, would reach the parent's calls; and as long as it holds them, no server notices
that the parent has closed one. So in the child their descriptors are made to refer to a dead socket at once.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import struct
import weakref
from typing import Any

__all__ = ["abort", "is_readable", "remember", "reset_when_closed", "what_is_left"]

_ours: weakref.WeakSet[socket.socket] = weakref.WeakSet()


def remember(sock: Any) -> None:
    """Have a forked child let go of `sock`."""
    _ours.add(sock)


def reset_when_closed(sock: Any) -> None:
    """Have `sock` closed with a reset, for a peer that reads no more: its end would wait behind what is not sent."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def abort(transport: Any) -> None:
    """Close an asyncio transport at once, with a reset, whatever is on its way there."""
    # That of TLS loses its protocol when it is closed for the second time, and then fails when it is asked.
    with contextlib.suppress(AttributeError):
        if (sock := transport.get_extra_info("socket")) is not None:
            reset_when_closed(sock)
    with contextlib.suppress(AttributeError):
        transport.abort()


def is_readable(sock: Any, within: float = 0) -> bool:
    """Whether something comes over `sock` within so many seconds that nobody has read, its end included."""
    if hasattr(select, "poll"):  # which takes any number of descriptors
        poll = select.poll()
        poll.register(sock, select.POLLIN)
        return bool(poll.poll(within * 1000))
    return bool(select.select([sock], [], [], within)[0])


def what_is_left(sock: Any) -> bytes:
    """What has come over a connection that is about to be closed, and nobody has read."""
    pieces = []
    with contextlib.suppress(OSError), socket.socket(fileno=os.dup(sock.fileno())) as again:
        again.setblocking(False)
        while data := again.recv(65536):
            pieces.append(data)
    return b"".join(pieces)


def _let_go() -> None:
    inherited = [sock.fileno() for sock in list(_ours)]
    _ours.clear()
    if not any(number >= 0 for number in inherited):
        return
    dead, other = socket.socketpair()
    other.close()
    with dead:
        for number in inherited:
            if number >= 0:
                with contextlib.suppress(OSError):
                    os.dup2(dead.fileno(), number, inheritable=False)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)
