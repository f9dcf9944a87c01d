"""JSON values in words, for errors about a value that is not what is due."""

from __future__ import annotations

from typing import Any

from lollms_core.contract.errors import ProtocolError
from lollms_core.http._exchange import excerpt

__all__ = ["kind", "objects", "shown", "wrong_shape"]


def kind(value: Any) -> str:
    """What a JSON value is.

    >>> kind(None), kind(True), kind(1.5), kind("a"), kind([1]), kind({})
    ('null', 'true or false', 'a number', 'a text', 'a list', 'an object')
    """
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    names = {int: "a number", float: "a number", str: "a text", list: "a list", dict: "an object"}
    return names.get(type(value), f"a {type(value).__name__}")


def shown(value: Any) -> str:
    """The kind of a JSON value, and the value itself where it is short by nature.

    >>> shown("hello"), shown(["hello"])
    ("a text: 'hello'", 'a list')
    """
    if isinstance(value, str):
        return f"{kind(value)}: {excerpt(value)!r}"
    return f"{kind(value)}: {excerpt(str(value))}" if kind(value) == "a number" else kind(value)


def wrong_shape(value: Any, due: str) -> ProtocolError:
    """The error for a value in the place of something else.

    >>> str(wrong_shape("hello", "a list of choices"))
    "the server sent a text in place of a list of choices: 'hello'"
    """
    what, _, text = shown(value).partition(": ")
    return ProtocolError(f"the server sent {what} in place of {due}" + (f": {text}" if text else ""))


def objects(value: Any) -> list[dict[str, Any]]:
    """The objects in a list; none of what is no list."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
