"""The configuration file: where it is, reading it, and checking what it says."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lollms_core import ConfigurationError
from lollms_core.cli.kinds import FLAG, FLAG_OR_PATH, INTEGER, INTEGER_OR_TEXT, NUMBER, TEXT, Kind

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["SETTINGS", "ConfigFile", "Setting", "check", "config_path", "load", "parse", "read"]


@dataclass(frozen=True, slots=True)
class Setting:
    """Something that can be set: by an option, by an environment variable, and in the file."""

    name: str
    kind: Kind
    option: str | None = None
    """How the command line has it."""
    bound: bool = False
    """It means something to one format only: a model's name, an address, a key."""
    secret: bool = False

    @property
    def variable(self) -> str:
        """The environment variable."""
        return f"LOLLMS_{self.name.upper()}"


_ALL = (
    Setting("format", TEXT, "--format"),
    Setting("model", TEXT, "--model", bound=True),
    Setting("host_address", TEXT, "--host-address", bound=True),
    Setting("api_key", TEXT, bound=True, secret=True),
    Setting("api_key_file", TEXT, "--api-key-file", bound=True),
    Setting("verify_ssl_certificate", FLAG_OR_PATH, "--insecure", bound=True),
    Setting("personality", INTEGER_OR_TEXT, "--personality", bound=True),
    Setting("system", TEXT, "--system"),
    Setting("n_predict", INTEGER, "--n-predict"),
    Setting("ctx_size", INTEGER, "--ctx-size"),
    Setting("temperature", NUMBER, "--temperature"),
    Setting("top_k", INTEGER, "--top-k"),
    Setting("top_p", NUMBER, "--top-p"),
    Setting("min_p", NUMBER, "--min-p"),
    Setting("repeat_penalty", NUMBER, "--repeat-penalty"),
    Setting("repeat_last_n", INTEGER, "--repeat-last-n"),
    Setting("seed", INTEGER, "--seed"),
    Setting("n_threads", INTEGER, "--n-threads"),
    Setting("strict", FLAG, "--strict"),
    Setting("max_retries", INTEGER),
    Setting("connect_timeout", NUMBER),
    Setting("first_token_timeout", NUMBER),
    Setting("idle_timeout", NUMBER),
)

SETTINGS: Mapping[str, Setting] = {setting.name: setting for setting in _ALL}
"""Every setting by name."""

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


def config_path(environ: Mapping[str, str] = os.environ) -> Path:
    """Where the file is: `LOLLMS_CONFIG_FILE`, else `config.toml` in the user's configuration directory."""
    if named := environ.get("LOLLMS_CONFIG_FILE"):
        return Path(named)
    import platformdirs

    return platformdirs.user_config_path("lollms", appauthor=False) / "config.toml"


def load(environ: Mapping[str, str] = os.environ) -> ConfigFile:
    """The configuration; an empty one if there is no file.

    Raises:
        ConfigurationError: the file cannot be read, is not TOML, or says something that is not known; or the one
            that `LOLLMS_CONFIG_FILE` names is not there.
    """
    path = config_path(environ)
    text = read(path)
    if text is None:
        if environ.get("LOLLMS_CONFIG_FILE"):
            raise ConfigurationError(
                f"LOLLMS_CONFIG_FILE names {path}, which is not there",
                hint="Correct the variable, or make the file with `lollms config set`.",
            )
        return ConfigFile(path)
    return check(parse(text, path), path)


def read(path: Path) -> str | None:
    """The file's text, `None` if there is none. Raises `ConfigurationError` if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"the configuration file {path} cannot be read: {error}") from error


def parse(text: str, path: Path) -> dict[str, Any]:
    """The file's content. Raises `ConfigurationError` if it is not TOML."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"the configuration file {path} is not valid TOML: {error}") from None


def check(content: Mapping[str, Any], path: Path) -> ConfigFile:
    """The content as a `ConfigFile`. Raises `ConfigurationError` for a key that is not known or a wrong value."""
    values = dict(content)
    formats = values.pop("formats", {})
    _check_settings(values, "", path, SETTINGS)
    if not isinstance(formats, dict):
        raise _wrong(path, "formats", "a table of tables, such as [formats.openai]")
    of_formats = {name: setting for name, setting in SETTINGS.items() if name != "format"}
    for name, table in formats.items():
        if not isinstance(table, dict):
            raise _wrong(path, f"formats.{name}", f"a table: [formats.{name}]")
        for inner in _TABLES:
            if not isinstance(table.get(inner, {}), dict):
                raise _wrong(path, f"formats.{name}.{inner}", f"a table: [formats.{name}.{inner}]")
        for header, value in table.get("headers", {}).items():
            if not isinstance(value, str):
                raise _wrong(path, f"formats.{name}.headers.{header}", TEXT.name)
        settings = {key: value for key, value in table.items() if key not in _TABLES}
        _check_settings(settings, f"formats.{name}.", path, of_formats)
    return ConfigFile(path, values, {name.lower(): table for name, table in formats.items()})


def _check_settings(values: Mapping[str, Any], prefix: str, path: Path, known: Mapping[str, Setting]) -> None:
    for key, value in values.items():
        if key not in known:
            raise ConfigurationError(
                f"the configuration file {path} has an unknown key {prefix + key!r}",
                hint=_suggest(key, [*known, *(_TABLES if prefix else ("formats",))]),
            )
        if not known[key].kind.accepts(value):
            raise _wrong(path, prefix + key, known[key].kind.name)


def _suggest(key: str, known: list[str]) -> str:
    import difflib

    close = difflib.get_close_matches(key, known, n=2)
    meant = f"Did you mean {' or '.join(map(repr, close))}? " if close else ""
    return f"{meant}Options of a backend belong into [formats.NAME.options]. Known keys: {', '.join(known)}."


def _wrong(path: Path, key: str, expected: str) -> ConfigurationError:
    return ConfigurationError(f"the configuration file {path}: {key} must be {expected}")
