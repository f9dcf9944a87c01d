"""What a call came to, as the type that the test knows it to have.

A client may return an error in place of a result, as a dictionary, and a backend may not say all that there is to say.
The types of both name the other case, which is a failure wherever these are called.
"""

from __future__ import annotations

from typing import TypeVar, cast

from lollms_core import ErrorDict

__all__ = ["error_of", "known", "result_of"]

T = TypeVar("T")


def result_of(result: T | ErrorDict) -> T:
    """A result that is no error."""
    __tracebackhide__ = True
    assert not (isinstance(result, dict) and result.get("status") is False), f"an error: {result}"
    return cast(T, result)


def error_of(result: object) -> ErrorDict:
    """An error that was returned as a dictionary."""
    __tracebackhide__ = True
    assert isinstance(result, dict), f"no error: {result!r}"
    return cast(ErrorDict, result)


def known(value: T | None) -> T:
    """A value that is said."""
    __tracebackhide__ = True
    assert value is not None
    return value
