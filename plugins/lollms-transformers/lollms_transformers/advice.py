"""Keeping the libraries' own warnings from users: what they deprecate is for this package to follow.

`warnings.catch_warnings` exchanges the filters of the whole process and is not safe among threads. While a model loads
or answers, it would swallow what other threads of the program warn of, or put back filters that they have changed. So
one filter lies in front for good; its category asks which thread warns, and matches only inside `advice_withheld`.

The threads of transformers' own pool, which copy tensors while a model loads and do nothing else, are not covered.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import warnings
from collections.abc import Iterator

from lollms_core import UnsupportedOptionWarning

__all__ = ["advice_withheld", "without_advice"]

_WITHHELD = (DeprecationWarning, PendingDeprecationWarning, FutureWarning, UserWarning)
"""Not `ResourceWarning` and `RuntimeWarning`, which the garbage collector gives in any thread for anybody's objects."""

_here = threading.local()


class _OnlyHere(type):
    def __subclasscheck__(cls, category: type) -> bool:
        return _withholding() and issubclass(category, _WITHHELD) and not issubclass(category, UnsupportedOptionWarning)


class _Advice(Warning, metaclass=_OnlyHere):
    """The category of the filter. Never raised."""


@contextlib.contextmanager
def advice_withheld() -> Iterator[None]:
    """Withhold what the libraries warn of in this thread: from terminals, and from programs that make warnings errors.

    Warnings of other threads, and ours (`UnsupportedOptionWarning`), take the way that the program has laid for them.
    """
    _put_filter_in_front()
    _here.depth = getattr(_here, "depth", 0) + 1
    try:
        yield
    finally:
        _here.depth -= 1


def without_advice(record: logging.LogRecord) -> bool:
    """For `logging.Handler.addFilter`: lets pass what is an error, or comes from elsewhere."""
    return record.levelno >= logging.ERROR or not _withholding()


def _withholding() -> bool:
    return getattr(_here, "depth", 0) > 0


def _put_filter_in_front() -> None:
    """Programs, and pytest for every test, put their own filters in front, so this is looked at again each time.

    Only looked at where it is in place: a change of the filters makes Python show again what it has shown once.
    """
    if not warnings.filters or warnings.filters[0][2] is not _Advice:
        warnings.simplefilter("ignore", _Advice)
