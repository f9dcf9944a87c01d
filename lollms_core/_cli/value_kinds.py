"""The kinds of values that settings have: how each is read from text and from TOML."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

__all__ = [
    "FLAG",
    "FLAG_OR_LEVEL",
    "FLAG_OR_PATH",
    "INTEGER",
    "INTEGER_OR_TEXT",
    "NAMES",
    "NUMBER",
    "TEXT",
    "Kind",
    "any_value",
    "is_secret_name",
]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of value.

    Attributes:
        name: for messages, with its article.
        types: what TOML gives for it.
        from_text: reads it from an environment variable or an argument; raises `ValueError`.
    """

    name: str
    types: tuple[type, ...]
    from_text: Callable[[str], Any]

    def accepts(self, value: object) -> bool:
        """Whether a value from a TOML file is of this kind. `true` is not a number."""
        if isinstance(value, list):
            return list in self.types and all(isinstance(each, str) for each in value)
        return isinstance(value, self.types) and (not isinstance(value, bool) or bool in self.types)


_FLAGS = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}


def _flag(text: str) -> bool:
    try:
        return _FLAGS[text.strip().lower()]
    except KeyError:
        raise ValueError(text) from None


def _flag_or_path(text: str) -> bool | str:
    return _FLAGS.get(text.strip().lower(), text)


def _integer_or_text(text: str) -> int | str:
    try:
        return int(text)
    except ValueError:
        return text


def _names(text: str) -> list[str]:
    plain = text.strip().removeprefix("[").removesuffix("]")
    names = [name for each in plain.split(",") if (name := each.strip().strip("'\""))]
    return [] if names == ["none"] else names


TEXT = Kind("text", (str,), str)
INTEGER = Kind("an integer", (int,), int)
INTEGER_OR_TEXT = Kind("an integer or text", (int, str), _integer_or_text)
NUMBER = Kind("a number", (int, float), float)
NAMES = Kind("a list of names", (list,), _names)
FLAG = Kind("true or false", (bool,), _flag)
FLAG_OR_LEVEL = Kind("true, false or a level", (bool, str), _flag_or_path)
FLAG_OR_PATH = Kind("true, false or a path", (bool, str), _flag_or_path)


def any_value(text: str) -> Any:
    """A value of unknown kind: JSON where it is JSON, else the text itself."""
    try:
        return json.loads(text)
    except ValueError:
        return text


_SECRET_NAMES = frozenset({"authorization", "cookie", "key", "password", "proxy_authorization", "secret", "token"})
_SECRET_ENDINGS = ("api_key", "apikey", "service_key", "secret_key", "access_key", "_password", "_secret", "_token")
_NOT_SECRET = frozenset({"bos_token", "eos_token", "pad_token", "unk_token", "image_token"})


def is_secret_name(name: str) -> bool:
    """Whether a value of this name is probably a key, a password or the like."""
    plain = name.lower().replace("-", "_")
    return plain not in _NOT_SECRET and (plain in _SECRET_NAMES or plain.endswith(_SECRET_ENDINGS))
