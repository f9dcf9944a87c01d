"""Lists of models, as servers of this protocol give them."""

from __future__ import annotations

from typing import Any

from lollms_core import ModelInfo, ProtocolError
from lollms_core.http import answer_error, not_due, shown
from lollms_core.protocols.openai import told_error

__all__ = ["read_models"]

_WINDOWS = ("max_model_len", "context_length", "context_window", "max_context_length")
"""vLLM's, OpenRouter's and Together's, Groq's, and Mistral's word for the context window."""


def read_models(value: Any) -> list[ModelInfo]:
    """The models in the answer of `GET /v1/models`: `{"data": [...]}`, or a bare list.

    Raises:
        LollmsError: it is an error that the server tells under a status of success.
        ProtocolError: it is neither, or an entry has no id.
    """
    entries = value.get("data") if isinstance(value, dict) else value
    if isinstance(value, dict) and (error := told_error(value)) is not None:
        raise answer_error(error)
    if isinstance(value, dict) and "data" in value and entries is None:
        entries = []  # as Go writes a list without entries
    if not isinstance(entries, list):
        raise not_due(value, "the server's list of models is not a list")
    for place, entry in enumerate(entries, 1):
        if fault := _fault(place, entry):
            raise ProtocolError(f"the server's list of models has {len(entries)} entries, and {fault}")
    return [_info(entry) for entry in entries]


def _fault(place: int, entry: Any) -> str:
    """What is wrong with an entry; empty if nothing is."""
    if not isinstance(entry, dict):
        return f"entry {place} is {shown(entry)}"
    if "id" not in entry:
        return f"entry {place} has no id"
    name = entry["id"]
    if not isinstance(name, str):
        return f"the id of entry {place} is {shown(name)}"
    return "" if name.strip() else f"the id of entry {place} is empty"


def _info(entry: dict[str, Any]) -> ModelInfo:
    windows = (entry.get(name) for name in _WINDOWS)
    window = next((size for size in windows if type(size) is int and size > 0), None)
    if entry.get("owned_by") == "vllm":
        # vLLM makes these anew for each request, so that the same model would never look the same.
        entry = {name: value for name, value in entry.items() if name not in ("created", "permission")}
    return ModelInfo(name=entry["id"], context_window=window, metadata=entry)
