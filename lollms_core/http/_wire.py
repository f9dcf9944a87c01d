"""What both drivers put on the wire, and read off it, in the same way."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from lollms_core.contract.errors import ConfigurationError, InvalidRequestError
from lollms_core.contract.types import Timeouts

__all__ = [
    "BRIEF",
    "DRAIN_SECONDS",
    "DRAIN_SIZE",
    "ERROR_SECONDS",
    "MAX_BODY",
    "UPLOAD_SIZE",
    "dump_json",
    "prepared_headers",
]

MAX_BODY = 256 * 1024 * 1024
"""Bytes of a whole, not streamed, response, after decompression."""
UPLOAD_SIZE = 65536
"""Bytes of a request that must leave within the idle limit."""
DRAIN_SIZE = 65536
"""Bytes that may follow an end mark before the connection is closed rather than used again."""
DRAIN_SECONDS = 0.5
"""The same in seconds, in all."""
ERROR_SECONDS = 2.0
"""Seconds for the body of a refusal, whose status says most, or of what is no answer."""
BRIEF = Timeouts(connect=1.0, first_token=1.0, idle=1.0)
"""For a request whose answer is of no interest."""

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode


def dump_json(value: Any) -> bytes:
    """`value` as compact JSON.

    Raises:
        InvalidRequestError: it contains NaN, an infinity, half of a surrogate pair, or what JSON has no word for.
    """
    try:
        return _encode(value).encode()
    except UnicodeEncodeError:
        raise InvalidRequestError("the text contains half of a surrogate pair (U+D800 to U+DFFF)") from None
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidRequestError(f"the request cannot be written as JSON: {error}") from None


def prepared_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """`headers` with those that every request has; of two spellings of one name the later wins.

    Raises:
        ConfigurationError: a name or a value cannot stand in HTTP. The value, which may be a key, is not shown.
    """
    prepared = {
        "Accept-Encoding": "identity",  # a compressed stream arrives late: the compressor waits for more text
        "User-Agent": _user_agent(),
    }
    spellings = {name.lower(): name for name in prepared}
    for name, value in headers.items():
        if not isinstance(value, str) or not _NAME.fullmatch(name):
            raise ConfigurationError(f"{name!r} cannot be an HTTP header: names are tokens, values are text")
        clean = value.strip()
        if not clean.isprintable() or not _latin(clean):
            raise ConfigurationError(
                f"the value of the header {name} contains a line break or a character that HTTP cannot carry",
                hint="Was the key copied with something around it?",
            )
        prepared.pop(spellings.get(name.lower(), ""), None)
        spellings[name.lower()] = name
        prepared[name] = clean
    return prepared


def _latin(value: str) -> bool:
    try:
        value.encode("latin-1")
    except UnicodeEncodeError:
        return False
    return True


def _user_agent() -> str:
    from lollms_core import __version__

    return f"lollms-core/{__version__}"
