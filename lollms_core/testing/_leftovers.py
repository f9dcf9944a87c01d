"""What a generation or a client leaves behind: threads, network connections, and failures in the log."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import sys
import threading
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

from lollms_core.testing._requirements import eventually

__all__ = ["Snapshot", "connections_are_visible", "logged_failures"]

_LOG = logging.getLogger("lollms")


def connections_are_visible() -> bool:
    """Whether this machine can say which connections the process holds: `psutil` is installed and may ask."""
    return _connections() is not None


def _connections() -> frozenset[Any] | None:
    try:
        import psutil
    except ImportError:
        return None
    try:
        found = psutil.Process(os.getpid()).net_connections(kind="inet")
    except (psutil.AccessDenied, NotImplementedError):
        return None
    return frozenset((c.laddr, c.raddr) for c in found if c.status != psutil.CONN_LISTEN and c.raddr)


@dataclass(frozen=True)
class Snapshot:
    """The threads and connections of this process at one moment."""

    threads: frozenset[threading.Thread]
    connections: frozenset[Any] | None

    @classmethod
    def take(cls) -> Snapshot:
        """What there is now, after garbage has been collected."""
        gc.collect()
        return cls(frozenset(each for each in threading.enumerate() if not _serves(each)), _connections())

    def threads_since(self, seconds: float) -> list[str]:
        """Names of threads that began since and still run after that many seconds.

        A thread that took the place of an earlier one is not counted: pools may renew theirs.
        """
        eventually(lambda: not self._more_threads(), seconds)
        return self._more_threads()

    def _more_threads(self) -> list[str]:
        gc.collect()
        alive = frozenset(thread for thread in threading.enumerate() if not _serves(thread))
        if len(alive) <= len(self.threads):
            return []
        return sorted(thread.name for thread in alive - self.threads)

    def connections_since(self, seconds: float) -> list[str] | None:
        """Connections opened since and still held after that many seconds; `None` where they cannot be seen."""
        eventually(lambda: not self._more_connections(), seconds)
        return self._more_connections()

    def _more_connections(self) -> list[str] | None:
        now = _connections()
        if now is None or self.connections is None:
            return None
        gc.collect()
        return sorted(f"{here[0]}:{here[1]} -> {there[0]}:{there[1]}" for here, there in now - self.connections)


class _Failures(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.seen: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.name == _LOG.name:
            error = record.exc_info[1] if record.exc_info else None
            self.seen.append(record.getMessage() + (f": {error!r}" if error is not None else ""))


@contextlib.contextmanager
def logged_failures() -> Generator[list[str], None, None]:
    """What the client logs while the block runs of failures that it keeps from its caller, as when it is closed."""
    handler, level = _Failures(), _LOG.level
    _LOG.addHandler(handler)
    if not _LOG.isEnabledFor(logging.WARNING):
        _LOG.setLevel(logging.WARNING)
    try:
        yield handler.seen
    finally:
        _LOG.removeHandler(handler)
        _LOG.setLevel(level)


def _serves(thread: threading.Thread) -> bool:
    """Whether a thread serves a request: it is one of a server that stands in for something, and not of the client."""
    frame = sys._current_frames().get(thread.ident or 0)
    while frame is not None:
        if frame.f_globals.get("__name__") == "socketserver":
            return True
        frame = frame.f_back
    return False
