"""From settings to a client."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from lollms_core import ConfigurationError, LollmsError, UnknownFormatError
from lollms_core._cli import whole_files
from lollms_core._cli.config_file import config_path
from lollms_core._cli.known_settings import SETTINGS
from lollms_core._cli.providers import suggestion
from lollms_core._cli.settings import Resolved
from lollms_core._cli.state import Origins, current_origins, current_state
from lollms_core._cli.value_kinds import is_secret_name
from lollms_core.contract._parameters import PARAMETERS

if TYPE_CHECKING:
    from lollms_core import LollmsClient, Timeouts

__all__ = ["client_arguments", "made_client"]

_BY_NAME = (*PARAMETERS, "personality", "strict", "max_retries", "verify_ssl_certificate")
"""The settings that the client's constructor has under the same name."""


def made_client(arguments: Mapping[str, Any]) -> LollmsClient:
    """A client. For a format that is not installed the error says what the user may have meant."""
    from lollms_core import LollmsClient

    try:
        return LollmsClient(**arguments)
    except UnknownFormatError as error:
        error.hint = suggestion(error.format or "") or error.hint
        raise
    except LollmsError as error:
        if error.message.startswith(("the extension ", "no extension ")):
            error.hint = f"{error.hint} {_of_extensions(arguments)}".strip()
        raise


def _of_extensions(arguments: Mapping[str, Any]) -> str:
    named = current_origins().sources.get("extensions")
    where = f"It is used because of: {named}. " if named else ""
    options = any(each for item in arguments.get("extensions", ()) for each in item.values())
    return (
        f"{where}{'Its options are in the table [extension.NAME] of the file. ' if options else ''}`-x none` uses none."
    )


def client_arguments(settings: Resolved, timeouts: Timeouts | None = None) -> dict[str, Any]:
    """The keyword arguments of `LollmsClient` for these settings.

    Args:
        settings: the settings.
        timeouts: limits to use in place of the configured ones.

    Raises:
        ConfigurationError: the file with the key cannot be read, or an option of the backend has the name of a setting.
    """
    import inspect

    from lollms_core import LollmsClient

    parameters = inspect.signature(LollmsClient).parameters
    for name in settings.options:
        if name in parameters or name == "self":
            raise ConfigurationError(f"{name} is not an option of a backend", hint=_place_of(name))
    arguments: dict[str, Any] = {name: settings.values[name].value for name in _BY_NAME if name in settings.values}
    arguments |= {name: option.value for name, option in settings.options.items()}
    arguments["default_generation_mode"] = settings.format.value
    arguments["raise_errors"] = True
    arguments["timeouts"] = timeouts or _timeouts(settings)
    arguments["headers"] = dict(settings.headers)
    if names := settings.get("extensions"):
        arguments["extensions"] = [{name: settings.extension_options.get(name, {})} for name in names]
    if model := settings.get("model"):
        arguments["model_name"] = model
    if (address := settings.get("host_address")) is not None:
        arguments["host_address"] = address
    key, key_place = _api_key(settings)
    if key:
        arguments["service_key"] = key
    _remember_secrets(settings, key)
    current_state().origins = Origins(
        key_place,
        {name: each.source for name, each in settings.values.items() if not each.is_option},
        "".join(
            f" {SETTINGS[name].option} {shlex.quote(str(found.value))}"
            for name in ("host_address", "api_key_file")
            if (found := settings.values.get(name)) is not None and found.is_option
        ),
    )
    return arguments


_OTHER_NAMES = {
    "default_generation_mode": "format",
    "model_name": "model",
    "service_key": "api_key",
    "system_prompt": "system",
    "timeouts": "idle_timeout",
}
"""Names of the client's parameters that settings do not share."""


def _place_of(parameter: str) -> str:
    """Where a parameter of the client is set at the terminal."""
    known = SETTINGS.get(_OTHER_NAMES.get(parameter, parameter))
    if known is None:
        return "Headers belong in [formats.NAME.headers] of the configuration file." if parameter == "headers" else ""
    option = "--api-key-file" if known.secret else known.option
    return f"Use {option + ', ' if option else ''}{known.variable} or {known.name} in the configuration file."


def _timeouts(settings: Resolved) -> Timeouts:
    from lollms_core import Timeouts

    # 0 in the configuration is no limit: TOML has no null.
    given = {name: settings.get(f"{name}_timeout") for name in ("connect", "first_token", "idle")}
    return Timeouts(**{name: value or None for name, value in given.items() if value is not None})


def _api_key(settings: Resolved) -> tuple[str | None, str]:
    """The key, and where it comes from."""
    direct, from_file = settings.values.get("api_key"), settings.values.get("api_key_file")
    if from_file is not None and (direct is None or from_file.rank < direct.rank):
        path = Path(from_file.value).expanduser()
        try:
            key = whole_files.read(path).strip()
        except UnicodeDecodeError:
            raise ConfigurationError(f"the file with the API key, {path}, is not text") from None
        except (OSError, ValueError) as error:  # or no name that a file can have
            raise ConfigurationError(
                f"the file with the API key, {path}, cannot be read: {getattr(error, 'strerror', error)}",
                hint=_named_in(from_file.source),
            ) from None
        if not key:
            raise ConfigurationError(f"the file with the API key, {path}, is empty", hint=_named_in(from_file.source))
        if len(key.splitlines()) > 1:
            raise ConfigurationError(
                f"the file with the API key, {path}, has several lines", hint="It must hold the key and nothing else."
            )
        return key, f"{path} ({from_file.source})"
    return (None, "") if direct is None else (str(direct.value), direct.source)


def _named_in(source: str) -> str:
    """Where the name of a file comes from, for somebody who has not just typed it."""
    kind, _, where = source.partition(" ")
    if kind.startswith("file"):
        return f"{config_path()} names it."
    return f"{where} names it." if kind != "option" else ""


def _remember_secrets(settings: Resolved, key: str | None) -> None:
    secrets = current_state().secrets
    found = [key, *(value for name, value in settings.headers.items() if is_secret_name(name))]
    found += [option.value for name, option in settings.options.items() if is_secret_name(name)]
    for options in settings.extension_options.values():
        found += [value for name, value in options.items() if is_secret_name(name)]
    address = str(settings.get("host_address") or "")
    with contextlib.suppress(ValueError):
        found.append(urlsplit(address).password)
    secrets.update(text for text in found if isinstance(text, str) and len(text) >= 4)
