"""Setting one value in a TOML text, with everything else, comments too, left as it is.

The edit is by lines. What it gives is parsed again and compared with what it should say; a file that is written in a
way that this does not understand is refused, never damaged.
"""

from __future__ import annotations

import copy
import json
import re
import sys
from collections.abc import Mapping
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["EditError", "set_value", "to_toml", "unset_value"]

_HEADER = re.compile(r"\s*\[[^\[].*\]\s*(#.*)?")
_BARE = re.compile(r"[A-Za-z0-9_-]+")


class EditError(ValueError):
    """The text cannot be edited safely."""


def to_toml(value: Any) -> str:
    """A value as TOML has it, on one line. Raises `EditError` for what TOML cannot say, such as null."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, str):
        # JSON's strings are TOML's basic strings, but for DEL, which TOML wants escaped.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, list):
        return f"[{', '.join(map(to_toml, value))}]"
    if isinstance(value, dict):
        inner = ", ".join(f"{_key(str(key))} = {to_toml(each)}" for key, each in value.items())
        return f"{{ {inner} }}" if inner else "{}"
    raise EditError(f"TOML has no {type(value).__name__}")


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else to_toml(name)


def set_value(text: str, path: tuple[str, ...], value: Any) -> str:
    """The text with `path` set: tables' names, then the key's. A table that is not there is added at the end."""
    expected = copy.deepcopy(tomllib.loads(text))
    table = expected
    for name in path[:-1]:
        table = table.setdefault(name, {})
        if not isinstance(table, dict):
            raise EditError(f"{name} is not a table")
    table[path[-1]] = value
    line = f"{_key(path[-1])} = {to_toml(value)}"
    lines = _lines(text)
    start, end = _section(lines, path[:-1])
    if start is None:
        lines += ["", f"[{'.'.join(map(_key, path[:-1]))}]", line]
    elif (place := _find(lines, start, end, path[-1])) is not None:
        lines[place] = line + _comment(lines[place])
    else:
        while end > start and not lines[end - 1].strip():
            end -= 1
        lines[end:end] = [line] if path[:-1] or end == len(lines) or end > start else [line, ""]
    return _verified(lines, expected)


def unset_value(text: str, path: tuple[str, ...]) -> str:
    """The text without `path`. Raises `KeyError` if it is not there."""
    expected = copy.deepcopy(tomllib.loads(text))
    table = expected
    for name in path[:-1]:
        table = table[name]
    del table[path[-1]]
    lines = _lines(text)
    start, end = _section(lines, path[:-1])
    place = None if start is None else _find(lines, start, end, path[-1])
    if place is None:
        raise EditError("it is written in a way that is not understood here")
    del lines[place]
    return _verified(lines, expected)


def _lines(text: str) -> list[str]:
    # Not `splitlines`, for which a string's U+0085 ends a line too.
    return text.removesuffix("\n").split("\n") if text else []


def _section(lines: list[str], table: tuple[str, ...]) -> tuple[int | None, int]:
    """Where the lines of a table are: from its header's successor to the next header. The top level has no header."""
    start: int | None = None if table else 0
    for number, line in enumerate(lines):
        if not _is_header(line) or not _is_statement(lines, number):
            continue
        if start is not None:
            return start, number
        if _header_path(line) == table:
            start = number + 1
    return start, len(lines)


def _is_header(line: str) -> bool:
    if not _HEADER.fullmatch(line) and not line.lstrip().startswith("[["):
        return False
    try:
        tomllib.loads(line)
    except tomllib.TOMLDecodeError:
        return False
    return True


def _is_statement(lines: list[str], number: int) -> bool:
    """Whether a new statement begins with a line: it is not inside a text or a list of several lines."""
    try:
        tomllib.loads("\n".join(lines[:number]))
    except tomllib.TOMLDecodeError:
        return False
    return True


def _header_path(line: str) -> tuple[str, ...] | None:
    content: Any = tomllib.loads(line)
    names = []
    while isinstance(content, dict) and content:
        name, content = next(iter(content.items()))
        names.append(name)
    return tuple(names) if isinstance(content, dict) else None


def _find(lines: list[str], start: int, end: int, key: str) -> int | None:
    for number in range(start, end):
        if _parsed_key(lines[number]) == key and _is_statement(lines, number):
            return number
    return None


def _parsed_key(line: str) -> str | None:
    """The key of a line that is a whole `key = value`."""
    try:
        content: Mapping[str, Any] = tomllib.loads(line)
    except tomllib.TOMLDecodeError:
        return None
    return next(iter(content), None)


def _comment(line: str) -> str:
    """The comment at the end of a `key = value` line, with the space before it."""
    whole = tomllib.loads(line)
    for place in range(len(line)):
        if line[place] == "#":
            try:
                same = tomllib.loads(line[:place]) == whole
            except tomllib.TOMLDecodeError:
                continue
            if same:
                return "  " + line[place:]
    return ""


def _verified(lines: list[str], expected: dict[str, Any]) -> str:
    text = "\n".join(lines).lstrip("\n") + "\n"
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        content = None
    if content != expected:
        raise EditError("it is written in a way that is not understood here")
    return text
