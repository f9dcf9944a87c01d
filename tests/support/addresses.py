"""Addresses of one host, some of which are dead, and a name that stands for all of them."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

__all__ = ["host_with", "silent"]


@contextmanager
def silent(host: str, port: int) -> Iterator[None]:
    """Nobody answers at this address, not even with a refusal, while the block runs: connecting to it hangs.

    Something does listen, but accepts nobody: once its queue is full, the kernel drops what else arrives.
    """
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind((host, port))
        listener.listen(0)
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex((host, port))
        yield


def host_with(monkeypatch: pytest.MonkeyPatch, name: str, hosts: Sequence[str]) -> None:
    """Make `name` a host with these addresses, in this order, for everybody in this process."""
    look_up = socket.getaddrinfo

    def getaddrinfo(host: Any, port: Any, *args: Any, **kwargs: Any) -> list[Any]:
        if host not in (name, name.encode()):
            return look_up(host, port, *args, **kwargs)
        return [found for each in hosts for found in look_up(each, port, *args, **kwargs)]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
