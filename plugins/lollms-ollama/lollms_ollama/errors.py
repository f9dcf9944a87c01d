"""Ollama's error answers as lollms errors."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from lollms_core import LollmsError, ModelLoadError, ModelNotFoundError, UnsupportedError, UnsupportedOptionError

__all__ = ["plain", "plain_body", "pull_hint", "recognised"]

_MISSING = re.compile(r"model [\"'](?P<name>[^\"']+)[\"'] not found")
_LACKS = re.compile(r"does not support (?P<what>[a-z]+)")
_NOT_LOADED = re.compile(
    r"requires more system memory|(?:unable|failed) to load model|error loading model", re.IGNORECASE
)
_NOT_IN_LIBRARY = re.compile(r"pull model manifest:.*(?:file does not exist|not found)", re.IGNORECASE)


def plain_body(body: bytes) -> bytes:
    """`plain` for the body of a response; what is no JSON stays as it is."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return body
    found = plain(value)
    return body if found is value else json.dumps(found).encode()


def plain(value: Any) -> Any:
    """An error object without wrapping: the engine's own error, which Ollama passes on as JSON inside of a string."""
    for _ in range(3):
        error = value.get("error") if isinstance(value, Mapping) else None
        if not isinstance(error, str) or not error.lstrip().startswith("{"):
            break
        try:
            inner = json.loads(error)
        except (ValueError, RecursionError):
            break
        if not isinstance(inner, dict) or "error" not in inner:
            break
        value = inner
    return value


def recognised(error: LollmsError) -> LollmsError:
    """The error itself, or one of a kind that says more, with a hint that names what to do."""
    message, status = error.message, error.status_code
    if match := _MISSING.search(message):
        return ModelNotFoundError(message, status_code=status, hint=pull_hint(match["name"]))
    if _NOT_IN_LIBRARY.search(message):
        hint = "Check the spelling: https://ollama.com/library lists the names."
        return ModelNotFoundError(message, status_code=status, hint=hint)
    if _NOT_LOADED.search(message):
        # A server error like any other by its status, but asking again would only load in vain again.
        hint = "Set a smaller ctx_size, or choose a smaller model or quantization; the server's log says more."
        return ModelLoadError(message, status_code=status, hint=hint)
    if match := _LACKS.search(message):
        return _lacking(match["what"], message, status)
    return error


def pull_hint(name: str) -> str:
    """How to get a model that the server does not have."""
    return f"Download it with `lollms models --pull {name} -f ollama`; `lollms models -f ollama` lists those there are."


def _lacking(what: str, message: str, status: int | None) -> LollmsError:
    if what in ("thinking", "think"):
        hint = "Leave think out, or choose a model whose capabilities (model_info) name thinking."
        return UnsupportedOptionError(message, status_code=status, hint=hint)
    hint = "Choose a model whose capabilities (model_info) name what you need."
    return UnsupportedError(message, status_code=status, hint=hint)
