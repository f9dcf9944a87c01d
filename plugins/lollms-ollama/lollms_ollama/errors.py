"""Ollama's error answers as lollms errors."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from lollms_core import (
    BackendError,
    ContextWindowError,
    InvalidRequestError,
    LollmsError,
    ModelLoadError,
    ModelNotFoundError,
    UnsupportedError,
    UnsupportedOptionError,
)

__all__ = ["looping", "plain", "plain_body", "pull_hint", "recognised", "recognised_embedding"]

_MISSING = re.compile(r"model [\"'](?P<name>[^\"']+)[\"'] not found")
_LACKS = re.compile(r"does not support (?P<what>[a-z]+)")
_NOT_LOADED = re.compile(
    r"requires more system memory|(?:unable|failed) to load model|error loading model", re.IGNORECASE
)
_WRONG_TYPE = re.compile(r"\boption \S+ must be of ")
_TOO_LONG = re.compile(
    r"input .{0,40}too (?:long|large)|exceeds the (?:context|batch)|physical batch size", re.IGNORECASE
)
"""What the engine says of a text to embed, under a status that would mean another kind of fault."""
_GAVE_UP = re.compile(r"token repeat limit reached")
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
    if _WRONG_TYPE.search(message):
        # The server says 500. It would say so again.
        hint = "Correct it in model_options, or in extra['options'] of the call."
        return InvalidRequestError(message, status_code=status, hint=hint)
    if _GAVE_UP.search(message):
        return looping(message, status)
    if isinstance(error, ContextWindowError):
        hint = "Shorten the prompt, or set a larger ctx_size if the model has one (see model_info)."
        return ContextWindowError(message, status_code=status, hint=hint)
    return error


def looping(message: str, status: int | None = None) -> LollmsError:
    """The error for an answer that the server ended because the model said the same again and again."""
    hint = "Set repeat_penalty to 1.1 or more, or raise the temperature: asked as before, it will do the same."
    return BackendError(message, status_code=status, hint=hint)


def recognised_embedding(error: LollmsError, model: str) -> LollmsError:
    """The same as `recognised` for what went wrong with an embedding, where the server's own advice is no use."""
    status = error.status_code
    if status == 501 or "does not support embeddings" in error.message:
        # The engine behind the server says: start it with `--embeddings`.
        hint = f"Choose a model made for it, such as nomic-embed-text. {pull_hint('nomic-embed-text')}"
        return UnsupportedError(f"the model {model} does not support embeddings", status_code=status, hint=hint)
    if isinstance(error, ContextWindowError) or _TOO_LONG.search(error.message):
        hint = (
            "A text to embed must fit into one batch (num_batch), which is 2048 tokens unless it is set, and into the "
            "window. Split the text, or set model_options={'num_batch': …} to as much as the window (ctx_size)."
        )
        return ContextWindowError(error.message, status_code=status, hint=hint)
    return error


def pull_hint(name: str) -> str:
    """How to get a model that the server does not have. The tag `latest`, which servers add, goes without saying."""
    name = name.removesuffix(":latest")
    return f"`client.pull_model('{name}')` downloads it; `client.list_models()` lists the installed models."


def _lacking(what: str, message: str, status: int | None) -> LollmsError:
    if what in ("thinking", "think"):
        hint = "Leave think out, or choose a model whose capabilities (model_info) name thinking."
        return UnsupportedOptionError(message, status_code=status, hint=hint)
    if what in ("chat", "generate", "completion"):
        hint = "It does not write text. Choose a model whose capabilities (model_info) name completion."
    else:
        hint = "Choose a model whose capabilities (model_info) name what you need."
    return UnsupportedError(message, status_code=status, hint=hint)
