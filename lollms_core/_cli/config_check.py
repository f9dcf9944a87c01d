"""Checking what a configuration file says, key by key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lollms_core import ConfigurationError
from lollms_core._cli.known_settings import NAMES_ELSEWHERE, SETTINGS, Setting, out_of_range
from lollms_core._cli.value_kinds import TEXT

__all__ = ["ConfigFile", "sift"]

_TABLES = ("options", "headers")
"""The tables inside that of a format: options of its backend, and extra HTTP headers."""


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """What the file says, checked."""

    path: Path
    values: Mapping[str, Any] = field(default_factory=dict)
    """The settings outside of any table."""
    formats: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """The tables `[formats.NAME]`: settings, and perhaps `options` and `headers`."""
    extensions: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """The tables `[extension.NAME]`: options."""


def sift(content: Mapping[str, Any], path: Path) -> tuple[ConfigFile, list[ConfigurationError]]:
    """The content without what is wrong in it, and what that is."""
    sieve = _Sieve(path)
    rest = dict(content)
    formats = rest.pop("formats", {})
    extensions = sieve.tables("extension", rest.pop("extension", {}), "cache")
    values = sieve.settings(rest, "", SETTINGS)
    for name in formats if isinstance(formats, dict) else ():
        if name != name.lower() and name.lower() in formats:
            sieve.twice(name)
    tables = {
        name.lower(): sieve.format_table(name, table)
        for name, table in sieve.tables("formats", formats, "openai").items()
    }
    return ConfigFile(path, values, tables, extensions), sieve.problems


class _Sieve:
    """Lets pass what is right, and keeps what to say about the rest."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.problems: list[ConfigurationError] = []

    def wrong(self, key: str, expected: str) -> None:
        self.problems.append(ConfigurationError(f"the configuration file {self._path}: {key} must be {expected}"))

    def twice(self, name: str) -> None:
        """A format has two tables, of which one would be forgotten."""
        both = f"[formats.{name.lower()}] and [formats.{name}]"
        self.problems.append(
            ConfigurationError(
                f"the configuration file {self._path} has {both}, which are for one format",
                hint="Make one table of the two.",
            )
        )

    def tables(self, key: str, value: Any, example: str) -> dict[str, dict[str, Any]]:
        """The tables inside of one."""
        if not isinstance(value, dict):
            self.wrong(key, f"a table of tables, such as [{key}.{example}]")
            return {}
        for name, table in value.items():
            if not isinstance(table, dict):
                self.wrong(f"{key}.{name}", f"a table: [{key}.{name}]")
        return {name: table for name, table in value.items() if isinstance(table, dict)}

    def format_table(self, name: str, table: Mapping[str, Any]) -> dict[str, Any]:
        prefix = f"formats.{name}."
        inner = {}
        for key in _TABLES:
            if key in table and isinstance(table[key], dict):
                inner[key] = table[key]
            elif key in table:
                self.wrong(prefix + key, f"a table: [{prefix}{key}]")
        if "headers" in inner:
            for header, value in inner["headers"].items():
                if not isinstance(value, str):
                    self.wrong(f"{prefix}headers.{header}", TEXT.name)
            inner["headers"] = {name: value for name, value in inner["headers"].items() if isinstance(value, str)}
        settings = {key: value for key, value in table.items() if key not in _TABLES}
        return (
            self.settings(settings, prefix, {name: each for name, each in SETTINGS.items() if name != "format"}) | inner
        )

    def _table_for_another(self, key: str, value: dict[str, Any]) -> None:
        """What looks like a table of tables under the name of a setting is one under another name."""
        meant = {"format": "formats", "extensions": "extension"}[key]
        name = next((str(inner) for inner in value), "NAME")
        self.problems.append(
            ConfigurationError(
                f"the configuration file {self._path} has an unknown table [{key}.{name}]",
                hint=f"It is called [{meant}.{name}].",
            )
        )

    def settings(self, values: Mapping[str, Any], prefix: str, known: Mapping[str, Setting]) -> dict[str, Any]:
        right = {}
        for key, value in values.items():
            if key not in known:
                self._unknown(key, value, prefix, known)
            elif key in ("format", "extensions") and isinstance(value, dict):
                self._table_for_another(key, value)
            elif not known[key].kind.accepts(value):
                self.wrong(prefix + key, known[key].kind.name)
            elif problem := out_of_range(key, value):
                self.problems.append(ConfigurationError(f"the configuration file {self._path}: {prefix}{problem}"))
            else:
                right[key] = value
        return right

    def _unknown(self, key: str, value: Any, prefix: str, known: Mapping[str, Setting]) -> None:
        if isinstance(value, dict) and not prefix:
            message = f"the configuration file {self._path} has an unknown table [{key}]"
            hint = f"The table of a format is called [formats.{key}]."
        else:
            message = f"the configuration file {self._path} has an unknown key {prefix + key!r}"
            hint = _suggest(key, [*known, *(_TABLES if prefix else ("formats", "extension"))])
        self.problems.append(ConfigurationError(message, hint=hint))


def _suggest(key: str, known: list[str]) -> str:
    import difflib

    elsewhere = NAMES_ELSEWHERE.get(key, "")
    close = [elsewhere] if elsewhere in known else difflib.get_close_matches(key, known, n=2)
    meant = f"Did you mean {' or '.join(map(repr, close))}? " if close else ""
    return f"{meant}Options of a backend belong in [formats.NAME.options]. Known keys: {', '.join(known)}."
