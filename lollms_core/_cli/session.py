"""From the command line to a client."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import click

from lollms_core import (
    APIConnectionError,
    LollmsError,
    UnsupportedOptionError,
)
from lollms_core._cli import config_file
from lollms_core._cli.clients import client_arguments, made_client
from lollms_core._cli.interrupts import finish
from lollms_core._cli.settings import Resolved, resolve
from lollms_core._cli.value_kinds import is_secret_name

if TYPE_CHECKING:
    from lollms_core import LollmsClient

__all__ = ["Session", "call_options", "open_session", "resolved_settings"]


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


def call_options(settings: Resolved) -> dict[str, Any]:
    """The options of every call that settings give: `system_prompt` and `think`."""
    found = {"system_prompt": settings.get("system") or None, "think": settings.get("think")}
    return {name: value for name, value in found.items() if value is not None}


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
