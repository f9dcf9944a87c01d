"""What is worth knowing about the surroundings: misspelt variables, open secrets, folders that cannot be written."""

from __future__ import annotations

import contextlib
import difflib
import os
from collections.abc import Iterator

from lollms_core import installed_formats
from lollms_core._cli.config_file import ConfigFile
from lollms_core._cli.history import history_path
from lollms_core._cli.known_settings import NAMES_ELSEWHERE, SETTINGS
from lollms_core._cli.packages import duplicates
from lollms_core._client.registry import OFFICIAL_PACKAGES, unreadable_packages

__all__ = ["remarks"]

_OTHER_VARIABLES = {"LOLLMS_ALLOW_DOWNLOADS", "LOLLMS_CACHE_DIR", "LOLLMS_CONFIG_FILE", "LOLLMS_DEBUG", "LOLLMS_LOG"}


def remarks(config: ConfigFile) -> list[str]:
    """What somebody who looks for a reason would like to know."""
    return [
        *_misspelt_variables(),
        *_unknown_formats(config),
        *_open_keys(config),
        *_duplicates(),
        *unreadable_packages(),
        *_unwritable(config),
    ]


def _misspelt_variables() -> Iterator[str]:
    known = {setting.variable for setting in SETTINGS.values()} | _OTHER_VARIABLES
    for name in os.environ:
        if not name.startswith("LOLLMS_") or name in known:
            continue
        given = name.removeprefix("LOLLMS_")
        # Without the prefix, which all of them share.
        close = difflib.get_close_matches(given, [each.removeprefix("LOLLMS_") for each in known], 1, 0.75)
        elsewhere = "config_file" if given == "CONFIG" else NAMES_ELSEWHERE.get(given.lower(), "")
        if meant := elsewhere.upper() or (close[0] if close else ""):
            yield f"the variable {name} is not known; did you mean LOLLMS_{meant}?"


def _unknown_formats(config: ConfigFile) -> Iterator[str]:
    known = {*(name.lower() for name in installed_formats()), *OFFICIAL_PACKAGES}
    for name in config.formats:
        if name not in known:
            close = difflib.get_close_matches(name, known, 1)
            meant = f"; did you mean {close[0]}?" if close else ""
            yield f"[formats.{name}] in the configuration file: there is no such format{meant}"


def _open_keys(config: ConfigFile) -> Iterator[str]:
    holds_key = any("api_key" in table or "headers" in table for table in (config.values, *config.formats.values()))
    if os.name == "posix" and holds_key:
        with contextlib.suppress(OSError):
            if config.path.stat().st_mode & 0o077:
                yield f"{config.path} may hold a key and others can read it: chmod 600 {config.path}"


def _duplicates() -> Iterator[str]:
    for format, (first, *others) in duplicates().items():
        yield f"{first} and {' and '.join(others)} both provide the format {format}; that of {first} is used"


def _unwritable(config: ConfigFile) -> Iterator[str]:
    for path, loss in (
        (config.path, "the configuration cannot be changed"),
        (history_path(), "chats are not remembered"),
    ):
        folder = next((parent for parent in path.parents if parent.exists()), path.parent)
        if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
            yield f"{folder} is not a folder that can be written: {loss}"
