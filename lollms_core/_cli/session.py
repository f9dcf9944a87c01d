"""From the command line to a client."""

from __future__ import annotations

import contextlib
import os
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click

from lollms_core import (
    APIConnectionError,
    ConfigurationError,
    LollmsError,
    UnknownFormatError,
    UnsupportedOptionError,
)
from lollms_core._cli import config_file
from lollms_core._cli.interrupts import finish
from lollms_core._cli.known_settings import SETTINGS
from lollms_core._cli.providers import suggestion
from lollms_core._cli.settings import Resolved, resolve
from lollms_core._cli.state import current_state
from lollms_core._cli.value_kinds import is_secret_name
from lollms_core.contract._parameters import PARAMETERS

if TYPE_CHECKING:
    from lollms_core import LollmsClient, Timeouts

__all__ = ["Session", "call_options", "client_arguments", "made_client", "open_session", "resolved_settings"]

_BY_NAME = (*PARAMETERS, "personality", "strict", "max_retries", "verify_ssl_certificate")
"""The settings that the client's constructor has under the same name."""


class Session:
    """A client, and the settings it was made from."""

    def __init__(self, client: LollmsClient, settings: Resolved) -> None:
        self.client = client
        self.settings = settings

    @property
    def subject(self) -> str:
        """What answers, for messages."""
        model = self.client.model_name
        return f"{model} ({self.client.format})" if model else self.client.format

    def look_for_default(self) -> None:
        """Where nobody has chosen anything yet, look for the server that will be asked, before somebody writes to it.

        Raises:
            APIConnectionError: it is not there.
        """
        if self.settings.nobody_chose:
            try:
                self.client.list_models()
            except APIConnectionError:
                raise
            except LollmsError:
                return  # it is there; what it does not like is told when it matters

    def explained(self, error: LollmsError) -> LollmsError:
        """The error; or, where nobody has chosen anything yet and there is no server, what could be chosen.

        Strictness that the command line does not ask for says where it comes from.
        """
        strict = self.settings.values.get("strict")
        if isinstance(error, UnsupportedOptionError) and strict is not None and not strict.is_option:
            error.hint = f"{error.hint} Strictness is set by: {strict.source}.".strip()
        if not isinstance(error, APIConnectionError) or error.partial_text or not self.settings.nobody_chose:
            return error
        from lollms_core._cli.offers import nothing_chosen

        return nothing_chosen(error)


def resolved_settings(choices: Mapping[str, Any]) -> Resolved:
    """The settings that hold, from options, environment and file."""
    return resolve(choices, os.environ, config_file.load())


@contextlib.contextmanager
def open_session(choices: Mapping[str, Any]) -> Iterator[Session]:
    """A client for what the command line and the configuration say; closed at the end.

    Raises:
        LollmsError: the settings cannot work, or the format is not installed or broken.
        click.UsageError: an option that does not belong on the command line.
    """
    settings = resolved_settings(choices)
    client = made_client(client_arguments(settings))
    session = Session(client, settings)
    try:
        _refuse_secret_options(client, choices)
        yield session
    except LollmsError as error:
        explained = session.explained(error)
        raise explained from explained.__cause__
    finally:
        finish(client.close)


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
    named = current_state().sources.get("extensions")
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
    if address := settings.get("host_address"):
        arguments["host_address"] = address
    if key := _api_key(settings):
        arguments["service_key"] = key
    _remember_secrets(settings, key)
    current_state().sources = {name: each.source for name, each in settings.values.items() if not each.is_option}
    current_state().where = "".join(
        f" {SETTINGS[name].option} {shlex.quote(str(found.value))}"
        for name in ("host_address", "api_key_file")
        if (found := settings.values.get(name)) is not None and found.is_option
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


def call_options(settings: Resolved) -> dict[str, Any]:
    """The options of every call that settings give: `system_prompt` and `think`."""
    found = {"system_prompt": settings.get("system") or None, "think": settings.get("think")}
    return {name: value for name, value in found.items() if value is not None}


def _timeouts(settings: Resolved) -> Timeouts:
    from lollms_core import Timeouts

    # 0 in the configuration is no limit: TOML has no null.
    given = {name: settings.get(f"{name}_timeout") for name in ("connect", "first_token", "idle")}
    return Timeouts(**{name: value or None for name, value in given.items() if value is not None})


def _api_key(settings: Resolved) -> str | None:
    direct, from_file = settings.values.get("api_key"), settings.values.get("api_key_file")
    if from_file is not None and (direct is None or from_file.rank < direct.rank):
        path = Path(from_file.value).expanduser()
        try:
            key = path.read_text(encoding="utf-8").strip()
        except UnicodeDecodeError:
            raise ConfigurationError(f"the file with the API key, {path}, is not text") from None
        except (OSError, ValueError) as error:  # or no name that a file can have
            raise ConfigurationError(
                f"the file with the API key, {path}, cannot be read: {getattr(error, 'strerror', error)}",
                hint=f"Where it is named: {from_file.source}.",
            ) from None
        if not key:
            raise ConfigurationError(f"the file with the API key, {path}, is empty")
        return key
    return None if direct is None else str(direct.value)


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


def _refuse_secret_options(client: LollmsClient, choices: Mapping[str, Any]) -> None:
    """Any user of the machine can read the arguments of a process: keys do not belong there."""
    fields = client.backend.Options.model_fields if client.backend.Options is not None else {}
    for name in choices.get("options") or {}:
        declared = name in fields and "Secret" in str(fields[name].annotation)
        if declared or is_secret_name(name):
            raise click.UsageError(
                f"{name} is a secret, and arguments can be read by every user of this machine. "
                f"Put it into the configuration file: `lollms config set formats.{client.format}.options.{name}`."
            )
