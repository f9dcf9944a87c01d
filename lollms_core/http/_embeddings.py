"""Vectors of embeddings, checked: what a server gives in their place is an error, never a vector."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import Any

from lollms_core.contract.errors import ProtocolError
from lollms_core.http._shapes import shown, wrong_shape

__all__ = ["check_count", "checked_vectors", "one_length"]

_FLOATS = frozenset({float})
_NUMBERS = frozenset({float, int})


def checked_vectors(vectors: Any, count: int, *, first: int = 1) -> list[list[float]]:
    """Parsed JSON as vectors: for each of `count` texts a list of finite floats, all of the same length.

    Vectors that are that already are returned as they are, not as copies.

    Args:
        first: the number of the first text, for messages.

    Raises:
        ProtocolError: they are something else. The message says which vector, and what is wrong with it.

    >>> checked_vectors([[1, 0.5], [0.25, 2.0]], 2)
    [[1.0, 0.5], [0.25, 2.0]]
    """
    if not isinstance(vectors, list):
        raise wrong_shape(vectors, "a list of embeddings")
    check_count(len(vectors), count)
    checked = [_vector(vector, text) for text, vector in enumerate(vectors, first)]
    one_length(checked, first=first)
    return checked


def check_count(found: int, texts: int) -> None:
    """Raise `ProtocolError` unless each text has an embedding."""
    if found != texts:
        raise ProtocolError(f"the server gave {_counted(found, 'embedding')} for {_counted(texts, 'text')}")


def one_length(vectors: Sequence[Sequence[float]], *, first: int = 1) -> None:
    """Raise `ProtocolError` unless all vectors are of the same length."""
    if len(set(map(len, vectors))) < 2:
        return
    length = len(vectors[0])
    text, other = next((text, len(vector)) for text, vector in enumerate(vectors, first) if len(vector) != length)
    raise ProtocolError(
        f"the server gave embeddings of different lengths: that of text {first} has {_counted(length, 'number')}, "
        f"that of text {text} has {other}"
    )


def _vector(vector: Any, text: int) -> list[float]:
    if not isinstance(vector, list):
        raise ProtocolError(f"the embedding of text {text} is {shown(vector)}")
    if not vector:
        raise ProtocolError(f"the embedding of text {text} is empty")
    kinds = set(map(type, vector))
    try:
        if kinds == _FLOATS:
            numbers: list[float] = vector
        elif kinds <= _NUMBERS:
            numbers = list(map(float, vector))
        else:
            raise _fault(vector, text)
    except OverflowError:
        raise _fault(vector, text) from None
    # The sum is finite only if each number is, and is had sooner. It may be infinite where none of them is.
    if not isfinite(sum(numbers)) and not all(map(isfinite, numbers)):
        raise _fault(vector, text)
    return numbers


def _fault(vector: list[Any], text: int) -> ProtocolError:
    """The error that names the first value of a vector that is no finite number."""
    for place, value in enumerate(vector, 1):
        where = f"number {place} in the embedding of text {text}"
        if type(value) not in _NUMBERS:
            return ProtocolError(f"{where} is {shown(value)}")
        try:
            if not isfinite(value):
                return ProtocolError(f"{where} is not finite: {value}")
        except OverflowError:
            return ProtocolError(f"{where} is too large")
    raise AssertionError("a vector that was refused has nothing wrong with it")


def _counted(number: int, what: str) -> str:
    """A number of things, in words.

    >>> _counted(0, "text"), _counted(1, "text"), _counted(2, "text")
    ('no texts', '1 text', '2 texts')
    """
    return f"{number or 'no'} {what}{'' if number == 1 else 's'}"
