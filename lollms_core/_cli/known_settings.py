"""Every setting that there is, and how each is called on the command line, in the environment and in the file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lollms_core._cli.value_kinds import (
    FLAG,
    FLAG_OR_LEVEL,
    FLAG_OR_PATH,
    INTEGER,
    INTEGER_OR_TEXT,
    NAMES,
    NUMBER,
    TEXT,
    Kind,
)
from lollms_core.contract._parameters import PARAMETERS

__all__ = ["NAMES_ELSEWHERE", "SETTINGS", "Setting", "out_of_range"]


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
    *(
        Setting(name, INTEGER if parameter.kind is int else NUMBER, f"--{name.replace('_', '-')}")
        for name, parameter in PARAMETERS.items()
    ),
    Setting("think", FLAG_OR_LEVEL, "--think"),
    Setting("strict", FLAG, "--strict"),
    Setting("extensions", NAMES, "--extension"),
    Setting("max_retries", INTEGER),
    Setting("connect_timeout", NUMBER),
    Setting("first_token_timeout", NUMBER),
    Setting("idle_timeout", NUMBER),
)

SETTINGS: Mapping[str, Setting] = {setting.name: setting for setting in _ALL}
"""Every setting by name."""

NAMES_ELSEWHERE: Mapping[str, str] = {
    "address": "host_address",
    "api_base": "host_address",
    "backend": "format",
    "base_url": "host_address",
    "default_generation_mode": "format",
    "host": "host_address",
    "key": "api_key",
    "max_new_tokens": "n_predict",
    "max_tokens": "n_predict",
    "model_name": "model",
    "provider": "format",
    "service_key": "api_key",
    "system_prompt": "system",
    "temp": "temperature",
    "timeout": "idle_timeout",
    "token": "api_key",
    "url": "host_address",
}
"""What other programs, or the library, call these settings."""


def out_of_range(name: str, value: Any) -> str:
    """What is wrong with the size of a number; empty if nothing is."""
    from lollms_core import InvalidRequestError
    from lollms_core._client.argument_checks import checked_number

    if isinstance(value, bool) or not isinstance(value, (int, float)) or SETTINGS[name].kind is INTEGER_OR_TEXT:
        return ""
    if name.endswith("_timeout") or name == "max_retries":
        if value == float("inf") and name != "max_retries":
            return f"{name} must be a finite number; 0 is no limit"
        return "" if 0 <= value < float("inf") else f"{name} must be at least 0, not {value:g}"
    try:
        checked_number(name, value)
    except InvalidRequestError as error:
        return error.message
    return ""
