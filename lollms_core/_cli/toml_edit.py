"""Setting one value in a TOML text, with everything else, comments too, left as it is.

tomlkit does that. What it gives is parsed again and compared with what it should say; a file for which that fails is
refused, never damaged.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import MutableMapping
from typing import Any

import tomlkit
import tomlkit.container
import tomlkit.exceptions
import tomlkit.items

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["EditError", "set_value", "to_toml", "unset_value"]


class EditError(ValueError):
    """The text cannot be edited safely."""


def to_toml(value: Any) -> str:
    """A value as TOML has it, on one line. Raises `EditError` for what TOML cannot say, such as null."""
    try:
        return str(_item(value).as_string())
    except (TypeError, ValueError, tomlkit.exceptions.TOMLKitError):
        raise EditError(f"TOML has no {type(value).__name__}") from None


def _item(value: Any) -> Any:
    """A value for one line: tables in it are inline ones."""
    if isinstance(value, dict):
        table = tomlkit.inline_table()
        for key, each in value.items():
            table.append(key, _item(each))
        return table
    if isinstance(value, list):
        array = tomlkit.array()
        array.extend(map(_item, value))
        return array
    return tomlkit.item(value)


def set_value(text: str, path: tuple[str, ...], value: Any) -> str:
    """The text with `path` set: tables' names, then the key's. A table that is not there is added at the end."""
    expected = copy.deepcopy(tomllib.loads(text))
    document = _document(text)
    try:
        _put(expected, path, value)
        _put(document, path, _item_or_error(value))
        return _verified(document, expected)
    except tomlkit.exceptions.TOMLKitError as error:
        raise EditError(str(error)) from None


def _put(table: Any, path: tuple[str, ...], item: Any) -> None:
    for number, name in enumerate(path[:-1]):
        if name not in table:
            table[name] = _new_table(table, has_keys=number == len(path) - 2)
        table = table[name]
        if not isinstance(table, MutableMapping):
            raise EditError(f"{name} is not a table")
    table[path[-1]] = item


def _item_or_error(value: Any) -> Any:
    to_toml(value)
    return _item(value)


def _new_table(outer: Any, *, has_keys: bool) -> Any:
    if isinstance(outer, tomlkit.items.InlineTable):
        return tomlkit.inline_table()
    if isinstance(outer, (tomlkit.TOMLDocument, tomlkit.items.Table, tomlkit.container.OutOfOrderTableProxy)):
        return tomlkit.table(is_super_table=not has_keys)
    return {}


def unset_value(text: str, path: tuple[str, ...]) -> str:
    """The text without `path`. Raises `KeyError` if it is not there."""
    expected = copy.deepcopy(tomllib.loads(text))
    document = _document(text)
    for content in (expected, document):
        table: Any = content
        for name in path[:-1]:
            table = table[name]
        del table[path[-1]]
    return _verified(document, expected, empty_tables_may_go=True)


def _document(text: str) -> Any:
    try:
        return tomlkit.parse(text)
    except tomlkit.exceptions.TOMLKitError as error:
        raise EditError(str(error)) from None


def _verified(document: Any, expected: dict[str, Any], *, empty_tables_may_go: bool = False) -> str:
    text = tomlkit.dumps(document)
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        content = None
    if empty_tables_may_go and content is not None:
        content, expected = _without_empty(content), _without_empty(expected)
    if repr(content) != repr(expected) and content != expected:  # a nan does not equal itself
        raise EditError("it is written in a way that is not understood here")
    return text


def _without_empty(table: dict[str, Any]) -> dict[str, Any]:
    """A table without the empty ones in it: a dotted key and a header above others make such as by the way."""
    inner = {key: _without_empty(value) if isinstance(value, dict) else value for key, value in table.items()}
    return {key: value for key, value in inner.items() if value != {}}
