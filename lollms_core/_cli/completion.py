"""What a shell offers after the Tab key: formats, models, keys of the configuration.

It never fails, and never waits long.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable
from typing import Any

import click

__all__ = [
    "complete_extensions",
    "complete_formats",
    "complete_keys",
    "complete_models",
    "complete_packages",
    "complete_values",
    "in_time",
    "options_of",
]

_PATIENCE = 2.0
"""Seconds for a server's answer. Somebody sits there and waits for the next key."""


def complete_formats(_: click.Context, __: click.Parameter, incomplete: str) -> list[str]:
    """The installed formats."""
    from lollms_core import installed_formats

    return _beginning(installed_formats(), incomplete)


def complete_extensions(_: click.Context, __: click.Parameter, incomplete: str) -> list[str]:
    """The installed extensions."""
    from lollms_core import installed_extensions

    return _beginning(installed_extensions(), incomplete)


def complete_packages(_: click.Context, __: click.Parameter, incomplete: str) -> list[str]:
    """The official formats that can be installed."""
    from lollms_core._client.registry import OFFICIAL_PACKAGES

    return _beginning(OFFICIAL_PACKAGES, incomplete)


def complete_models(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """The models of the format that is chosen, by the options before this one or by the configuration."""
    choices = {name: ctx.params.get(name) for name in ("format", "host_address", "api_key_file")}
    return _beginning(in_time(lambda: _models(choices)), incomplete)


def complete_keys(_: click.Context, __: click.Parameter, incomplete: str) -> list[str]:
    """The keys of the configuration; those of a format's table once its name is there."""
    from lollms_core import installed_formats
    from lollms_core._cli.known_settings import SETTINGS

    table, name, rest = (*incomplete.split(".", 2), "", "")[:3]
    if table != "formats" or "." not in incomplete:
        return _beginning([*SETTINGS, "formats.", "extension."], incomplete)
    if incomplete.count(".") == 1:
        return _beginning((f"formats.{format}." for format in installed_formats()), incomplete)
    prefix = f"formats.{name}."
    keys = [prefix + key for key in SETTINGS if key != "format"]
    if rest.startswith("options."):
        keys = [f"{prefix}options.{option}" for option in in_time(lambda: options_of(name))]
    return _beginning([*keys, f"{prefix}options.", f"{prefix}headers."], incomplete)


def complete_values(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[Any]:
    """Values for the key that `config set` was given."""
    from click.shell_completion import CompletionItem

    key = str(ctx.params.get("key") or "").rpartition(".")
    if key[2] == "format":
        return complete_formats(ctx, parameter, incomplete)
    if key[2] == "model":
        choices = {"format": key[0].removeprefix("formats.") or None}
        return _beginning(in_time(lambda: _models(choices)), incomplete)
    if key[2] == "extensions":
        return complete_extensions(ctx, parameter, incomplete)
    if key[2] in ("api_key_file", "verify_ssl_certificate"):
        return [CompletionItem(incomplete, type="file")]
    return []


def _models(choices: dict[str, Any]) -> Iterable[str]:
    from typing import cast

    from lollms_core import Timeouts
    from lollms_core._cli.clients import client_arguments, made_client
    from lollms_core._cli.session import resolved_settings

    limits = Timeouts(connect=_PATIENCE, first_token=_PATIENCE, idle=_PATIENCE)
    arguments = client_arguments(resolved_settings(choices), limits)
    with made_client(arguments | {"max_retries": 0}) as client:
        return cast("list[str]", client.list_models())


def options_of(format: str) -> Iterable[str]:
    """The options of a format's backend."""
    from lollms_core._client.registry import load_format

    options = load_format(format).Options
    return () if options is None else options.model_fields


def in_time(ask: Callable[[], Iterable[str]]) -> list[str]:
    """What `ask` returns, if it does so soon; nothing if it fails: a shell has no place for errors."""
    found: list[str] = []

    def run() -> None:
        with contextlib.suppress(Exception, SystemExit):
            found.extend(ask())

    thread = threading.Thread(target=run, name="completion", daemon=True)
    thread.start()
    thread.join(_PATIENCE)
    return list(found)


def _beginning(words: Iterable[str], incomplete: str) -> list[str]:
    return [word for word in words if word.startswith(incomplete)]
