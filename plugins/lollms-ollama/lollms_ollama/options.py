"""The options of the `ollama` format, and the names that Ollama has for lollms' own."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

__all__ = ["OLLAMA_NAMES", "OllamaOptions", "duration"]

OLLAMA_NAMES: Mapping[str, str] = {
    "n_predict": "num_predict",
    "temperature": "temperature",
    "top_k": "top_k",
    "top_p": "top_p",
    "min_p": "min_p",
    "repeat_penalty": "repeat_penalty",
    "repeat_last_n": "repeat_last_n",
    "seed": "seed",
    "n_threads": "num_thread",
    "stop": "stop",
    "ctx_size": "num_ctx",
}
"""The field of Ollama's `options` for each parameter of lollms."""


class OllamaOptions(BaseModel):
    """What `LollmsClient(default_generation_mode="ollama", …)` takes besides its own arguments."""

    model_config = ConfigDict(extra="forbid")

    keep_alive: str | int | float | None = None
    """How long the model stays loaded after an answer: `"10m"`, `"24h"`, or seconds; 0 unloads it at once, a negative
    number keeps it for good. `None` leaves it to the server (five minutes unless it is told otherwise)."""
    truncate: bool | None = None
    """Whether the server may cut text that is longer than the window. `None`: prompts yes, with a
    `TruncatedPromptWarning` where it is noticed; texts to embed no, because there it could not be noticed. `False` is
    sent as `truncate` and makes servers that know the field refuse such a prompt (`ContextWindowError`)."""
    model_options: dict[str, Any] = Field(default_factory=dict)
    """Further fields of Ollama's `options` for every request, such as `num_gpu`, `num_batch` or `main_gpu`. Their types
    are checked by the backend, which raises `InvalidRequestError`."""

    @field_validator("keep_alive", mode="before")
    @classmethod
    def _a_time(cls, value: Any) -> Any:
        if isinstance(value, bool) or (isinstance(value, float) and not math.isfinite(value)):
            raise ValueError("a time is a text such as '10m' or a number of seconds; a negative one is for good")
        return value

    @field_validator("model_options")
    @classmethod
    def _not_ours(cls, value: dict[str, Any]) -> dict[str, Any]:
        for ours, theirs in OLLAMA_NAMES.items():
            if theirs in value:
                raise ValueError(f"{theirs} is set with the argument {ours}")
        return value


def duration(value: str | int | float) -> str:
    """A time as Ollama reads it in every request. A number is seconds.

    `/api/embed` takes text alone, so numbers are always written out.
    """
    return value if isinstance(value, str) else f"{f'{value:f}'.rstrip('0').rstrip('.')}s"  # Go knows no exponents
