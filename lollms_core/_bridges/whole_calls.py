"""Which threads run a call from its beginning to its end: whatever it calls back runs inside of it."""

from __future__ import annotations

import threading
from types import TracebackType

__all__ = ["WholeCall", "runs_whole"]


class _Depth(threading.local):
    value = 0


_depth = _Depth()


class WholeCall:
    """A context in which this thread reads an answer to its end."""

    __slots__ = ()

    def __enter__(self) -> None:
        _depth.value += 1

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        _depth.value -= 1


def runs_whole() -> bool:
    """Whether this thread is in such a context."""
    return _depth.value > 0
