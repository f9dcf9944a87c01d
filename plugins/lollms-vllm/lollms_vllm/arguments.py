"""Arguments of the engine: which there are, what a client's settings mean for them, and how the process is prepared."""

from __future__ import annotations

import dataclasses
import difflib
import os
from collections.abc import Iterable, Mapping
from typing import Any

from lollms_core import BackendSettings, ConfigurationError, UnsupportedOptionError

__all__ = ["engine_arguments", "near_misses", "set_environment"]

_ENVIRONMENT = {
    # The engine's process is started from a program that has threads, which must not be forked.
    "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
    # Its log, a dozen warnings on a CPU, would stand in the middle of an answer on a terminal.
    "VLLM_LOGGING_LEVEL": "ERROR",
    # Nothing leaves the machine.
    "VLLM_NO_USAGE_STATS": "1",
}


def set_environment() -> None:
    """Set what vLLM reads from the environment of this process and its children, where the user has not."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)


def engine_arguments(settings: BackendSettings, options: Mapping[str, Any]) -> Any:
    """vLLM's `AsyncEngineArgs` for a client. Imports vllm.

    Args:
        options: the keyword arguments of the client that are for the engine.

    Raises:
        UnsupportedOptionError: vLLM has no such argument; the hint names near misses.
        ConfigurationError: `model` is among them, or vLLM refuses a value.
    """
    from vllm.engine.arg_utils import AsyncEngineArgs

    known = {field.name for field in dataclasses.fields(AsyncEngineArgs)}
    for name in options:
        if name not in known:
            raise UnsupportedOptionError(
                f"vLLM's engine has no argument {name!r}", hint=near_misses(name, known), format=settings.format
            )
    if "model" in options:
        raise ConfigurationError("the model is named by model_name, not by the engine argument model")
    arguments: dict[str, Any] = {"disable_log_stats": True, **options, "model": settings.model_name}
    if settings.ctx_size_chosen and settings.ctx_size is not None:
        arguments.setdefault("max_model_len", settings.ctx_size)
    return AsyncEngineArgs(**arguments)


def near_misses(name: str, known: Iterable[str]) -> str:
    """A hint that names what was probably meant."""
    close = difflib.get_close_matches(name, sorted(known), n=3, cutoff=0.6)
    if close:
        return f"Did you mean {' or '.join(map(repr, close))}?"
    return "See https://docs.vllm.ai/en/latest/configuration/engine_args.html for those that there are."
