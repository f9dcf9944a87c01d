"""The configuration file: where it is, and reading it."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lollms_core import ConfigurationError
from lollms_core._cli import whole_files
from lollms_core._cli.config_check import ConfigFile, sift

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = [
    "ConfigFile",
    "config_path",
    "load",
    "load_what_is_right",
    "parse",
    "read",
]


def config_path(environ: Mapping[str, str] = os.environ) -> Path:
    """Where the file is: `LOLLMS_CONFIG_FILE`, else `config.toml` in the user's configuration directory."""
    if named := environ.get("LOLLMS_CONFIG_FILE"):
        return _at_home(Path(named))
    import platformdirs

    return platformdirs.user_config_path("lollms", appauthor=False) / "config.toml"


def _at_home(path: Path) -> Path:
    try:
        return path.expanduser()  # a shell leaves `~` alone where it is quoted
    except RuntimeError:  # nobody of that name has a home
        return path


def load(environ: Mapping[str, str] = os.environ) -> ConfigFile:
    """The configuration; an empty one if there is no file.

    Raises:
        ConfigurationError: the file cannot be read, is not TOML, or says something that is not known; or the one
            that `LOLLMS_CONFIG_FILE` names is not there.
    """
    config, problems = load_what_is_right(environ)
    if problems:
        raise problems[0]
    return config


def load_what_is_right(environ: Mapping[str, str] = os.environ) -> tuple[ConfigFile, list[ConfigurationError]]:
    """The configuration without what is wrong in it, and what that is."""
    path = config_path(environ)
    try:
        text = read(path)
        if text is None and environ.get("LOLLMS_CONFIG_FILE"):
            raise ConfigurationError(
                f"LOLLMS_CONFIG_FILE names {path}, which is not there",
                hint="Correct the variable, or make the file with `lollms config set`.",
            )
        content = parse(text or "", path)
    except ConfigurationError as error:
        return ConfigFile(path), [error]
    return sift(content, path)


def read(path: Path) -> str | None:
    """The file's text, `None` if there is none. Raises `ConfigurationError` if it cannot be read."""
    try:
        return whole_files.read(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except UnicodeDecodeError as error:
        raise ConfigurationError(
            f"the configuration file {path} is not UTF-8: {error.reason} at byte {error.start}",
            hint="Save it as UTF-8 in your editor.",
        ) from error
    except OSError as error:
        raise ConfigurationError(f"the configuration file {path} cannot be read: {error.strerror}") from error


def parse(text: str, path: Path) -> dict[str, Any]:
    """The file's content. Raises `ConfigurationError` if it is not TOML."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(
            f"the configuration file {path} is not valid TOML: {error}",
            hint='Lines look like model = "llama3.2", with quotes around texts; tables like [formats.ollama].',
        ) from None
    except (RecursionError, ValueError) as error:  # a number of thousands of digits, arrays in arrays in arrays
        raise ConfigurationError(f"the configuration file {path} cannot be read: {error}") from None
