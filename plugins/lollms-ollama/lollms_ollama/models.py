"""What `/api/show` and `/api/tags` say about models. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lollms_core import ModelInfo, ProtocolError

__all__ = ["UNKNOWN", "Shown", "listed_models", "parameter_count", "shown_model"]

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}
_COUNT = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([KMBT]?)\s*", re.IGNORECASE)
_NUM_CTX = re.compile(r"^num_ctx\s+(\d+)\s*$", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What a request must know about a model. `None`: the server does not say."""

    context_length: int | None = None
    """The window that the model was trained for; a server does not go beyond it."""
    own_num_ctx: int | None = None
    """The `num_ctx` that whoever made the model set for it (`PARAMETER num_ctx` in its Modelfile)."""
    capabilities: frozenset[str] | None = None
    """Such as `completion`, `vision`, `thinking`, `tools`, `embedding`."""
    remote: bool = False
    """The server passes requests on to another host, which has its own memory."""


UNKNOWN = Shown()
"""A model about which the server says nothing."""


def shown_model(name: str, value: Any) -> tuple[Shown, ModelInfo]:
    """The answer of `/api/show`. Raises `ProtocolError` if it is no object."""
    if not isinstance(value, Mapping):
        raise ProtocolError("/api/show answered with something else than an object")
    details = _mapping(value.get("details"))
    facts = _mapping(value.get("model_info"))
    capabilities = value.get("capabilities")
    known = tuple(str(item) for item in capabilities) if isinstance(capabilities, list) else None
    own = _NUM_CTX.search(str(value.get("parameters") or ""))
    shown = Shown(
        context_length=_context_length(facts),
        own_num_ctx=int(own[1]) if own else None,
        capabilities=None if known is None else frozenset(known),
        remote=bool(value.get("remote_host")),
    )
    info = ModelInfo(
        name=name,
        context_window=shown.context_length,
        parameters=_positive(facts.get("general.parameter_count")) or parameter_count(details.get("parameter_size")),
        dtype=_text(details.get("quantization_level")),
        capabilities=known or (),
        metadata={key: item for key, item in value.items() if key not in ("license", "modelfile", "tensors")},
    )
    return shown, info


def listed_models(value: Any) -> list[ModelInfo]:
    """The answer of `/api/tags`. Raises `ProtocolError` if it is no list of models."""
    models = value.get("models") if isinstance(value, Mapping) else None
    if models is None and isinstance(value, Mapping) and "models" in value:
        return []  # a server without models may say null
    if not isinstance(models, list) or not all(isinstance(model, Mapping) for model in models):
        raise ProtocolError("/api/tags answered with something else than a list of models")
    return [_listed(model) for model in models]


def _listed(model: Mapping[str, Any]) -> ModelInfo:
    details = _mapping(model.get("details"))
    capabilities = model.get("capabilities")
    return ModelInfo(
        name=str(model.get("name") or model.get("model") or ""),
        parameters=parameter_count(details.get("parameter_size")),
        dtype=_text(details.get("quantization_level")),
        size_bytes=_positive(model.get("size")),
        capabilities=tuple(str(item) for item in capabilities) if isinstance(capabilities, list) else (),
        metadata=dict(model),
    )


def parameter_count(text: Any) -> int | None:
    """A size as Ollama writes it, as a number; `None` if it is none.

    >>> parameter_count("8.0B"), parameter_count("137M"), parameter_count("large")
    (8000000000, 137000000, None)
    """
    match = _COUNT.fullmatch(text) if isinstance(text, str) else None
    return round(float(match[1]) * _UNITS[match[2].upper()]) or None if match else None


def _context_length(facts: Mapping[str, Any]) -> int | None:
    found = _positive(facts.get(f"{facts.get('general.architecture')}.context_length"))
    if found is None:
        lengths = [facts[key] for key in facts if str(key).endswith(".context_length") and str(key).count(".") == 1]
        found = _positive(lengths[0]) if len(lengths) == 1 else None
    return found


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _positive(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
