"""Which process this is, without asking the system for each call, and what a forked child must not touch."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
import weakref
from typing import Any, Protocol

__all__ = [
    "Lock",
    "current",
    "exiting",
    "keep_for_good",
    "last_moment",
    "renewed_in_child",
    "say_exiting",
    "wait_at_the_end",
    "waited_for",
]

current = 0
"""How many forks lie between this process and the one that imported this module first."""

_inherited: list[Any] = []

_last_moment = float("inf")
_AT_THE_END = 4.0
"""Seconds that the end of a program may wait for servers, all of them together."""


def say_exiting() -> None:
    """The program ends: from now on nothing is left to a thread."""
    global _last_moment
    _last_moment = time.monotonic() + _AT_THE_END


def exiting() -> bool:
    """Whether the program ends. A thread that were started now would not run."""
    return _last_moment < float("inf") or sys.is_finalizing()


def last_moment() -> float:
    """When to wait no more (`time.monotonic`); infinite as long as the program does not end."""
    return _last_moment


def keep_for_good(thing: Any) -> None:
    """Keep what a child has inherited from ever being collected.

    An event loop, or what belongs to one, that ends in the child takes its entries out of an epoll object that the
    child shares with its parent, who would then wait for ever.
    """
    _inherited.append(thing)


class _Busy(Protocol):
    def is_busy(self) -> bool: ...


_waited_for: weakref.WeakSet[_Busy] = weakref.WeakSet()


def waited_for(thing: _Busy) -> None:
    """Let the end of the program wait as long as `thing.is_busy()`, until `last_moment()`."""
    _waited_for.add(thing)


def wait_at_the_end() -> None:
    """Wait for whatever other threads are still about to tell a server."""
    while time.monotonic() < _last_moment and any(thing.is_busy() for thing in list(_waited_for)):
        time.sleep(0.01)


class _Renewable(Protocol):
    def renew(self) -> None: ...


_renewable: weakref.WeakSet[_Renewable] = weakref.WeakSet()


def renewed_in_child(thing: _Renewable) -> None:
    """Have a forked child call `thing.renew()` before it does anything else."""
    _renewable.add(thing)


class Lock:
    """A reentrant lock that is free in a forked child, whoever held it in the parent: that thread is not there."""

    def __init__(self) -> None:
        self.renew()
        renewed_in_child(self)

    def renew(self) -> None:
        """Be free."""
        self._lock = threading.RLock()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(RuntimeError):  # the holder has forked, and this is the child
            self._lock.release()


def _forked() -> None:
    global current
    current += 1
    for thing in list(_renewable):
        thing.renew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
