"""Whether what a caller gives is of the right type and makes sense."""

from __future__ import annotations

import operator
import os
from collections.abc import Iterable, Mapping
from typing import Any

from lollms_core.contract._parameters import PARAMETERS
from lollms_core.contract.errors import ConfigurationError, InvalidRequestError
from lollms_core.contract.types import ELF_COMPLETION_FORMAT, Timeouts

__all__ = [
    "check_settings", "check_text", "check_tokens", "checked_completion_format", "checked_extra", "checked_number",
    "checked_personality", "checked_think",
]  # fmt: skip

_LARGEST = 2**64


def checked_number(name: str, value: Any) -> int | float:
    """A parameter's value as a number within its limits. Raises `TypeError` or `InvalidRequestError`."""
    if isinstance(value, bool):
        raise TypeError(f"{name} must be a number, not bool")
    parameter = PARAMETERS.get(name)
    if parameter is None or parameter.kind is int:
        try:
            number: int | float = operator.index(value)
        except TypeError:
            raise TypeError(f"{name} must be an integer, not {type(value).__name__}") from None
        if not -_LARGEST <= number < _LARGEST:
            raise InvalidRequestError(f"{name} is a number that no computer counts to")
    else:
        try:
            if isinstance(value, str):
                raise TypeError
            number = float(value)
        except (TypeError, ValueError):
            raise TypeError(f"{name} must be a number, not {type(value).__name__}") from None
        except OverflowError:
            number = float("inf")
        if number != number or number in (float("inf"), float("-inf")):
            raise InvalidRequestError(f"{name} must be a finite number, not {number}")
    if parameter is not None and (problem := parameter.problem(number)):
        neutral = "" if parameter.neutral is None else f"{float(parameter.neutral)} is neutral."
        raise InvalidRequestError(problem, hint=neutral if parameter.above else None)
    return number


def check_settings(
    *, timeouts: Any, max_retries: Any, verify_ssl_certificate: Any, headers: Any, texts: Mapping[str, Any]
) -> None:
    """See to it that what a client is made with has the right types.

    Args:
        texts: the arguments that must be text or `None`, by name.

    Raises:
        TypeError: it has not. The value is not shown: it may be a key in the wrong place.
        InvalidRequestError: a number of retries below 0.
        ConfigurationError: an empty address.
    """
    if timeouts is not None and not isinstance(timeouts, Timeouts):
        raise TypeError(
            f"timeouts must be a Timeouts, not {type(timeouts).__name__}; "
            "for example Timeouts(connect=5, first_token=60, idle=30), in seconds"
        )
    if isinstance(max_retries, bool) or not isinstance(max_retries, int):
        raise TypeError(f"max_retries must be an int, not {type(max_retries).__name__}")
    if max_retries < 0:
        raise InvalidRequestError(f"max_retries must be at least 0, not {max_retries}")
    if not isinstance(verify_ssl_certificate, (bool, str, os.PathLike)):
        raise TypeError(
            "verify_ssl_certificate must be True, False or the path of a CA bundle, "
            f"not {type(verify_ssl_certificate).__name__}"
        )
    if headers is not None and not isinstance(headers, Mapping):
        raise TypeError(f"headers must be a dictionary of names and values, not {type(headers).__name__}")
    for name, value in (headers or {}).items():
        if not isinstance(name, str):
            raise TypeError(f"the names of headers must be str, not {type(name).__name__}")
        if not isinstance(value, str):
            raise TypeError(f"the header {name} must be a str, not {type(value).__name__}")
    for name, value in texts.items():
        if value is not None and not isinstance(value, str):
            raise TypeError(f"{name} must be a str, not {type(value).__name__}")
    if (address := texts.get("host_address")) is not None and not address.strip():
        # Whoever gave one meant a server of theirs: the prompt and the key are not to go to somebody else's.
        raise ConfigurationError("host_address is empty", hint="Leave it out to ask the format's usual server.")


def checked_personality(value: Any) -> int | str | None:
    """A personality's index, name or id. Raises `TypeError`."""
    if isinstance(value, bool) or not isinstance(value, (int, str, type(None))):
        raise TypeError(f"personality must be an index, a name or an id, not {type(value).__name__}")
    return value


def checked_completion_format(value: Any) -> ELF_COMPLETION_FORMAT:
    """The format, of itself or its name; `Chat` for `None`. Raises `TypeError` or `InvalidRequestError`."""
    if value is None:
        return ELF_COMPLETION_FORMAT.Chat
    if isinstance(value, str):
        try:
            return ELF_COMPLETION_FORMAT.from_string(value)
        except ValueError as error:
            raise InvalidRequestError(str(error)) from None
    if not isinstance(value, ELF_COMPLETION_FORMAT):
        raise TypeError(f"completion_format must be an ELF_COMPLETION_FORMAT, not {type(value).__name__}")
    return value


def checked_think(value: Any) -> bool | str | None:
    """Whether to reason, or how much. Raises `TypeError`."""
    if not isinstance(value, (bool, str, type(None))):
        raise TypeError(f"think must be True, False or a level such as 'high', not {type(value).__name__}")
    return value


def checked_extra(value: Any) -> Mapping[str, Any]:
    """Further fields of a request; empty for `None`. Raises `TypeError`."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise TypeError(f"extra must be a dictionary of fields, not {type(value).__name__}")
    return value


def check_text(text: str, what: str) -> str:
    """The text, if it can be sent anywhere.

    Raises:
        TypeError: not a string.
        InvalidRequestError: a lone surrogate, which no encoding can carry, or a NUL character, at which servers
            written in C cut the text in silence.
    """
    if not isinstance(text, str):
        raise TypeError(f"{what} must be a str, not {type(text).__name__}")
    if "\0" in text:
        raise InvalidRequestError(
            f"{what} contains a NUL character at position {text.index(chr(0))}",
            hint="Remove it: some servers would cut the text there without a word.",
        )
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise InvalidRequestError(
                f"{what} contains a lone surrogate (U+{ord(text[error.start]):04X}) at position {error.start}",
                hint="The text was decoded wrongly: read it as UTF-8, or with errors='replace'.",
            ) from None
    return text


def check_tokens(tokens: Iterable[int]) -> tuple[int, ...]:
    """Token ids as a tuple. Raises `TypeError` for anything but integers, `InvalidRequestError` for negative ones."""
    if isinstance(tokens, (str, bytes)) or not isinstance(tokens, Iterable):
        raise TypeError(f"tokens must be a list of integers, not {type(tokens).__name__}")
    checked = []
    for token in tokens:
        if isinstance(token, bool):
            raise TypeError("tokens must be integers, not bool")
        try:
            checked.append(operator.index(token))
        except TypeError:
            raise TypeError(f"tokens must be integers, not {type(token).__name__}") from None
    if checked and min(checked) < 0:
        raise InvalidRequestError(f"{min(checked)} is not a token: token ids are not negative")
    return tuple(checked)
