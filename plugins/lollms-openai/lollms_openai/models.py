"""Lists of models, as servers of this protocol give them."""

from __future__ import annotations

from typing import Any

from lollms_core import ModelInfo, ProtocolError

__all__ = ["read_models"]

_WINDOWS = ("max_model_len", "context_length", "context_window", "max_context_length")
"""vLLM's, OpenRouter's and Together's, Groq's, and Mistral's word for the context window."""


def read_models(value: Any) -> list[ModelInfo]:
    """The models in the answer of `GET /v1/models`: `{"data": [...]}`, or a bare list.

    Raises:
        ProtocolError: it is neither.
    """
    entries = value.get("data") if isinstance(value, dict) else value
    if not isinstance(entries, list):
        raise ProtocolError("the server's list of models is not a list")
    return [_info(entry) for entry in entries if isinstance(entry, dict) and isinstance(entry.get("id"), str)]


def _info(entry: dict[str, Any]) -> ModelInfo:
    windows = (entry.get(name) for name in _WINDOWS)
    window = next((size for size in windows if isinstance(size, int) and size > 0), None)
    if entry.get("owned_by") == "vllm":
        # vLLM makes these anew for each request, so that the same model would never look the same.
        entry = {name: value for name, value in entry.items() if name not in ("created", "permission")}
    return ModelInfo(name=entry["id"], context_window=window, metadata=entry)
