"""Whether a value can work, before it is written into the configuration file."""

from __future__ import annotations

from typing import Any

from lollms_core import ConfigurationError, InvalidRequestError, UnknownFormatError, installed_formats
from lollms_core._cli import config_file
from lollms_core._cli.clients import client_arguments, made_client
from lollms_core._cli.config_file import ConfigFile
from lollms_core._cli.known_settings import SETTINGS, out_of_range
from lollms_core._cli.messages import note
from lollms_core._cli.providers import suggestion
from lollms_core._cli.settings import resolve
from lollms_core._client.registry import OFFICIAL_PACKAGES, load_extension
from lollms_core.contract.backend import checked_options

__all__ = ["check_workable"]

_CHECKED_BY_FORMAT = ("host_address", "personality")


def check_workable(path: tuple[str, ...], value: Any) -> None:
    """Refuse what no format could work with: a format that nobody has, an option that it lacks, a number out of range.

    Args:
        path: where the value belongs in the file.

    Raises:
        ConfigurationError, InvalidRequestError, UnknownExtensionError: it cannot work.
    """
    name = path[-1]
    is_option = len(path) == 4 and path[2] == "options"
    if not is_option and name in SETTINGS and (problem := out_of_range(name, value)):
        raise InvalidRequestError(problem)
    if name == "extensions" or path[0] == "extension":
        _try_extensions(path, value)
        return
    if path == ("format",):
        _there(value)
    elif path[0] == "formats":
        if _there(path[1]) and (is_option or name in _CHECKED_BY_FORMAT):
            _try(path[1], {"options": {name: value}} if is_option else {name: value})
    elif name in _CHECKED_BY_FORMAT:
        chosen = resolve({}, {}, config_file.load_what_is_right()[0]).format.value
        if _there(chosen):
            _try(chosen, {name: value})


def _try_extensions(path: tuple[str, ...], value: Any) -> None:
    """Make what would be used, with the options that it has, and one more. Raises what that raises."""
    options = {name: dict(each) for name, each in config_file.load_what_is_right()[0].extensions.items()}
    names = [path[1]] if path[0] == "extension" else value
    if path[0] == "extension":
        options.setdefault(path[1], {})[path[2]] = value
    for name in names:
        _, kind = load_extension(name)
        given = options.get(name, {})
        known = {} if kind.Options is None else kind.Options.model_fields
        if path[0] == "extension" and any(each.is_required() and field not in given for field, each in known.items()):
            given = {field: each for field, each in given.items() if field not in known}  # more is to come
            if not given:
                continue
        checked_options(kind.Options, given, f"the extension {name!r}")


def _there(name: str) -> bool:
    """Whether a format is installed. Raises `UnknownFormatError` if it is not even one of the official ones."""
    name = name.strip().lower()
    formats = {known.lower() for known in installed_formats()}
    if name in formats:
        return True
    if name not in OFFICIAL_PACKAGES:
        from lollms_core.contract.backend import near_misses

        raise UnknownFormatError(
            f"no generation format {name!r} is installed",
            hint=suggestion(name) or near_misses(name, {*formats, *OFFICIAL_PACKAGES}, all_of_them="Known"),
        )
    note(f"{name} is not installed yet: `lollms install {name}`")
    return False


def _try(format: str, choices: dict[str, Any]) -> None:
    """Make a client with this value and nothing else: that touches neither the network nor a model."""
    try:
        settings = resolve({"format": format, **choices}, {}, ConfigFile(config_file.config_path()))
        with made_client(client_arguments(settings)) as client:
            getattr(client.backend, "address", None)  # an address is looked at when it is needed
    except TypeError as error:
        raise ConfigurationError(str(error)) from None
