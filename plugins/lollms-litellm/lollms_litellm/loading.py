"""Importing LiteLLM: late, once, and without its side effects.

LiteLLM takes seconds and well over a hundred megabytes to import, fetches a price list from the network, reads `.env`
files, and hangs a printing handler on its logger. Nothing of that happens to somebody who only installed this format.
"""

from __future__ import annotations

import importlib
import logging
import os
import re
import sys
import threading
import warnings
from typing import Any

from lollms_core import MissingDependencyError

__all__ = ["litellm", "module"]

_ENVIRONMENT = {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # the price list inside the package, not the one on the network
    "LITELLM_MODE": "PRODUCTION",  # no `.env` file of the working directory
    "LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS": "True",
    "LITELLM_LOCAL_BLOG_POSTS": "True",
}
_LOGGERS = ("LiteLLM", "LiteLLM Router", "LiteLLM Proxy")

_IGNORED: tuple[tuple[str, type[Warning], str], ...] = (
    (r"Accessing the 'model_", DeprecationWarning, r"litellm\."),
    (r"Items? .* on TypedDict class .* using the `ReadOnly` qualifier", UserWarning, r"pydantic\."),
)
"""What pydantic has to say about LiteLLM's code: start of the message, category, module."""

_lock = threading.Lock()
_module: Any = None


def litellm() -> Any:
    """The `litellm` module, imported and made quiet on the first call. Thread-safe.

    Raises:
        MissingDependencyError: LiteLLM cannot be imported; the cause says why.
    """
    global _module
    _ignore_its_warnings()
    if _module is None:
        with _lock:
            if _module is None:
                _module = _imported()
    return _module


def module(name: str) -> Any:
    """A module of LiteLLM's, or of a library below it, by its full name. Untyped, as its names are not promised."""
    litellm()
    return importlib.import_module(name)


def _imported() -> Any:
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        library: Any = importlib.import_module("litellm")
    except ImportError as error:
        raise MissingDependencyError(
            f"LiteLLM cannot be imported: {error}",
            hint="pip install --upgrade lollms-litellm",
            format="litellm",
        ) from error
    # Costs CPU for every chunk, for log records that nobody asked for.
    library.disable_streaming_logging = True
    # Otherwise every error prints an advertisement to the terminal.
    library.suppress_debug_info = True
    # Otherwise an answer with a hundred equal pieces, such as a table of zeros, is a failure of the server.
    if "REPEATED_STREAMING_CHUNK_LIMIT" not in os.environ:
        library.REPEATED_STREAMING_CHUNK_LIMIT = sys.maxsize
    # Estimating the usage of a model whose name contains "llama-3" would otherwise download its tokenizer.
    library.disable_hf_tokenizer_download = True
    library.telemetry = False  # read by old versions; newer ones have none
    if "LITELLM_LOG" not in os.environ:
        _silence_loggers()
    return library


def _ignore_its_warnings() -> None:
    """Let pydantic's reproaches to LiteLLM's code pass: a program that makes warnings errors could not use it at all.

    Once is not enough. LiteLLM imports modules and builds models as late as in its calls, with these warnings, and a
    program, and pytest for every test, may have set the filters anew by then. The filters are looked at, not set again,
    since that would make the whole process forget which warnings it has shown.
    """
    held = {(known[1].pattern, known[2]) for known in warnings.filters if isinstance(known[1], re.Pattern)}
    for message, category, module_name in _IGNORED:
        if (message, category) not in held:
            warnings.filterwarnings("ignore", message, category, module_name)


def _silence_loggers() -> None:
    """Leave LiteLLM's log records to the program's own logging set-up in place of its printing handler."""
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        logger.handlers = [logging.NullHandler()]
        logger.propagate = True
