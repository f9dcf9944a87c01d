"""Arguments of the engine: which there are, what a client's settings mean for them, and how the process is prepared."""

from __future__ import annotations

import ast
import difflib
import functools
import importlib.util
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lollms_core import BackendSettings, ConfigurationError

__all__ = ["argument_names", "engine_arguments", "near_misses", "set_environment"]

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


@functools.cache
def argument_names() -> frozenset[str]:
    """The arguments of the installed vLLM's engine; empty if there is none, or they cannot be found out.

    Read from its source: importing it takes too long for whoever only makes a client.
    """
    spec = importlib.util.find_spec("vllm")
    for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
        try:
            tree = ast.parse((Path(folder) / "engine" / "arg_utils.py").read_text("utf-8"))
        except (OSError, ValueError, SyntaxError):
            continue
        return frozenset(
            field.target.id
            for node in tree.body
            if isinstance(node, ast.ClassDef) and node.name in ("EngineArgs", "AsyncEngineArgs")
            for field in node.body
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        )
    return frozenset()


def engine_arguments(settings: BackendSettings, options: Mapping[str, Any]) -> Any:
    """vLLM's `AsyncEngineArgs` for a client. Imports vllm.

    Args:
        options: the keyword arguments of the client that are for the engine.

    Raises:
        ConfigurationError: one of them says what the client says in another way.
    """
    from vllm.engine.arg_utils import AsyncEngineArgs

    if "model" in options:
        raise ConfigurationError("the model is named by model_name, not by the engine argument model")
    arguments: dict[str, Any] = {"disable_log_stats": True, **options, "model": settings.model_name}
    if settings.ctx_size_chosen:
        if "max_model_len" in options:
            raise ConfigurationError("ctx_size and the engine argument max_model_len say the same: give one of them")
        arguments["max_model_len"] = settings.ctx_size
    return AsyncEngineArgs(**arguments)


def near_misses(name: str, known: Iterable[str]) -> str:
    """A hint that names what was probably meant."""
    close = difflib.get_close_matches(name, sorted(known), n=3, cutoff=0.6)
    if close:
        return f"Did you mean {' or '.join(map(repr, close))}?"
    return "See https://docs.vllm.ai/en/latest/configuration/engine_args.html for those that there are."
