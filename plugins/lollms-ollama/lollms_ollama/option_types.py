"""The types of Ollama's options. The server answers a wrong one with status 500, or takes it for another number."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from lollms_core import InvalidRequestError

__all__ = ["check_options"]

_INTEGERS = frozenset(
    {
        "num_batch", "num_gpu", "main_gpu", "num_thread", "num_keep", "num_predict", "draft_num_predict",
        "seed", "top_k", "repeat_last_n", "mirostat",
    }
)  # fmt: skip
_NUMBERS = frozenset(
    {
        "temperature", "top_p", "min_p", "typical_p", "tfs_z", "repeat_penalty", "presence_penalty",
        "frequency_penalty", "mirostat_tau", "mirostat_eta",
    }
)  # fmt: skip
_SWITCHES = frozenset(
    {"use_mmap", "use_mlock", "numa", "low_vram", "f16_kv", "logits_all", "vocab_only", "penalize_newline"}
)
"""Those of the struct `Options` in Ollama's api/types.go, and of its former versions."""
_SEEDS = (-1, 2**32 - 1)
"""The server takes seeds modulo 2**32. -1 is its own word for any."""


def check_options(options: Mapping[str, Any], where: str) -> None:
    """Raise `InvalidRequestError` for a value that Ollama would refuse, or take for another one.

    Args:
        options: by Ollama's names. One that is not known here passes: the server may be newer.
        where: what the caller knows them as, for the message.
    """
    for name, value in options.items():
        if wanted := _wanted(name, value):
            said = repr(value) if _is_number(value) else type(value).__name__
            raise InvalidRequestError(f"{name} in {where} must be {wanted}, not {said}")
        if name == "seed" and not _SEEDS[0] <= value <= _SEEDS[1]:
            raise InvalidRequestError(
                f"Ollama's seeds are between {_SEEDS[0]} and {_SEEDS[1]}, not {value}",
                hint="Ollama would wrap it around to another seed, and give that one's answers.",
            )


def _wanted(name: str, value: Any) -> str:
    """What the value of an option must be; empty if it is."""
    fits, wanted = True, ""
    if name == "num_ctx":
        fits, wanted = _is_integer(value) and value > 0, "an integer above 0"
    elif name in _INTEGERS:
        fits, wanted = _is_integer(value), "an integer"
    elif name in _NUMBERS:
        fits, wanted = _is_number(value) and (_is_integer(value) or math.isfinite(value)), "a finite number"
    elif name in _SWITCHES:
        fits, wanted = isinstance(value, bool), "true or false"
    elif name == "stop":
        fits = isinstance(value, (list, tuple)) and all(isinstance(text, str) for text in value)
        wanted = "a list of texts"
    return "" if fits else wanted


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return _is_integer(value) or isinstance(value, float)
