"""Where each value comes from: an option, else the environment, else the configuration file, else the default.

A model, an address and a key belong to one format. One that was named together with another format is left out, so
that `--format openai` does not send the model, let alone the key, of the server that is configured for every day.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lollms_core import ConfigurationError
from lollms_core._cli.config_file import ConfigFile
from lollms_core._cli.known_settings import SETTINGS, Setting, out_of_range

__all__ = ["DEFAULT_FORMAT", "Resolved", "Value", "resolve", "without_bound", "wrong_variables"]

DEFAULT_FORMAT = "lollms"

_OPTION, _ENVIRONMENT, _FORMAT_TABLE, _FILE, _DEFAULT = range(5)


@dataclass(frozen=True, slots=True)
class Value:
    """A value, and where it comes from in words."""

    value: Any
    source: str
    rank: int
    """0 is the strongest source."""

    @property
    def is_option(self) -> bool:
        """Whether the command line says so."""
        return self.rank == _OPTION


@dataclass(frozen=True, slots=True)
class Resolved:
    """What holds for one call."""

    format: Value
    values: Mapping[str, Value]
    """The settings that have a value, without the format."""
    options: Mapping[str, Value]
    """The backend's options."""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    extension_options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, repr=False)
    """The options of extensions, by the extension's name."""
    ignored: tuple[str, ...] = ()
    """Sentences about values that belong to another format."""

    @property
    def nobody_chose(self) -> bool:
        """Whether the format is the default, and nothing points anywhere else."""
        return self.format_is_default and "host_address" not in self.values

    @property
    def format_is_default(self) -> bool:
        """Whether nobody named a format."""
        return self.format.rank == _DEFAULT

    def get(self, name: str) -> Any:
        """A setting's value; `None` if it has none."""
        found = self.values.get(name)
        return None if found is None else found.value


def resolve(choices: Mapping[str, Any], environ: Mapping[str, str], config: ConfigFile) -> Resolved:
    """Put the sources together.

    Args:
        choices: what the command line says, by setting's name; `None` is not said. `options` are the backend's.
        environ: the environment.
        config: the configuration file.

    Raises:
        ConfigurationError: a variable whose value is of the wrong kind.
    """
    environment = _from_environment(environ)
    format = _format(choices, environment, config)
    ignored: list[str] = []
    values = {}
    table = config.formats.get(format.value, {})
    of_environment = _plain(environment.get("format", format.value)) == format.value
    of_file = _plain(config.values.get("format", DEFAULT_FORMAT)) == format.value
    for name, setting in SETTINGS.items():
        if name == "format":
            continue
        candidates = []
        if choices.get(name) is not None:
            candidates.append(Value(choices[name], f"option {setting.option or '--ask-api-key'}", _OPTION))
        if name in environment:
            if of_environment or not setting.bound:
                candidates.append(Value(environment[name], f"environment {setting.variable}", _ENVIRONMENT))
            else:
                ignored.append(
                    f"{setting.variable} belongs to the format {_plain(environment['format'])}, as LOLLMS_FORMAT says"
                )
        if name in table:
            candidates.append(Value(table[name], f"file, [formats.{format.value}]", _FORMAT_TABLE))
        if name in config.values:
            if of_file or not setting.bound:
                candidates.append(Value(config.values[name], "file", _FILE))
            else:
                owner = _plain(config.values.get("format", DEFAULT_FORMAT))
                ignored.append(f"{name} in the file, outside of any table, belongs to the format {owner}")
        if candidates:
            values[name] = min(candidates, key=lambda candidate: candidate.rank)
    options = {
        name: Value(value, f"file, [formats.{format.value}.options]", _FORMAT_TABLE)
        for name, value in table.get("options", {}).items()
    }
    chosen = choices.get("options") or {}
    options.update({name: Value(value, "option --option", _OPTION) for name, value in chosen.items()})
    return Resolved(format, values, options, table.get("headers", {}), config.extensions, tuple(ignored))


def _format(choices: Mapping[str, Any], environment: Mapping[str, Any], config: ConfigFile) -> Value:
    if choices.get("format"):
        return Value(_plain(choices["format"]), "option --format", _OPTION)
    if "format" in environment:
        return Value(_plain(environment["format"]), "environment LOLLMS_FORMAT", _ENVIRONMENT)
    if config.values.get("format"):
        return Value(_plain(config.values["format"]), "file", _FILE)
    return Value(DEFAULT_FORMAT, "default", _DEFAULT)


def _plain(format: str) -> str:
    return format.strip().lower()


def _from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    """The settings that `LOLLMS_*` variables give. An empty variable is not set."""
    found = {}
    for name, setting in SETTINGS.items():
        text = environ.get(setting.variable)
        if text:
            found[name] = _read(setting, text)
    return found


def wrong_variables(environ: Mapping[str, str]) -> dict[str, ConfigurationError]:
    """The variables whose values cannot be used, and why."""
    found = {}
    for setting in SETTINGS.values():
        try:
            _from_environment({setting.variable: environ.get(setting.variable, "")})
        except ConfigurationError as error:
            found[setting.variable] = error
    return found


def _read(setting: Setting, text: str) -> Any:
    try:
        value = setting.kind.from_text(text)
    except ValueError:
        shown = "" if setting.secret else f", not {text!r}"
        raise ConfigurationError(f"{setting.variable} must be {setting.kind.name}{shown}") from None
    if problem := out_of_range(setting.name, value):
        raise ConfigurationError(problem.replace(setting.name, setting.variable, 1))
    return value


def without_bound(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment without what belongs to one format."""
    bound = {setting.variable for setting in SETTINGS.values() if setting.bound}
    return {name: value for name, value in environ.items() if name not in bound}
