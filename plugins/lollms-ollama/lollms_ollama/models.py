"""What `/api/show`, `/api/tags` and `/api/ps` say about models. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lollms_core import ModelInfo, ProtocolError
from lollms_core.http import answer_error, not_due, shown
from lollms_ollama.errors import plain, recognised

__all__ = ["UNKNOWN", "Shown", "listed_models", "loaded_window", "parameter_count", "same_model", "shown_model"]

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}
_COUNT = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([KMBT]?)\s*", re.IGNORECASE)
_NUM_CTX = re.compile(r"^num_ctx\s+(\d+)\s*$", re.MULTILINE)
_OF_A_MODEL = frozenset({"capabilities", "details", "model_info", "modelfile", "parameters", "template"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What a request must know about a model. `None`: the server does not say."""

    context_length: int | None = None
    """The window that the model was trained for; a server does not go beyond it."""
    own_num_ctx: int | None = None
    """The `num_ctx` that whoever made the model set for it (`PARAMETER num_ctx` in its Modelfile)."""
    capabilities: frozenset[str] | None = None
    """Such as `completion`, `vision`, `thinking`, `tools`, `embedding`."""
    vocabulary: int | None = None
    """How many tokens the model knows."""
    remote: bool = False
    """The server passes requests on to another host, which has its own memory."""


UNKNOWN = Shown()
"""A model about which the server says nothing."""


def shown_model(name: str, value: Any) -> tuple[Shown, ModelInfo]:
    """The answer of `/api/show`. Raises `ProtocolError` if it is no object, and what it says if it is an error."""
    if not isinstance(value, Mapping):
        raise ProtocolError("/api/show answered with something else than an object")
    failed = (value.get("detail") or value.get("message")) and not value.keys() & _OF_A_MODEL
    if value.get("error") or failed:
        raise recognised(answer_error(plain(value), where="/api/show"))
    details = _mapping(value.get("details"))
    facts = _mapping(value.get("model_info"))
    capabilities = value.get("capabilities")
    known = tuple(str(item) for item in capabilities) if isinstance(capabilities, list) else None
    own = _NUM_CTX.search(str(value.get("parameters") or ""))
    shown = Shown(
        context_length=_fact(facts, "context_length"),
        own_num_ctx=int(own[1]) or None if own else None,
        capabilities=None if known is None else frozenset(known),
        vocabulary=_fact(facts, "vocab_size"),
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
    """The answer of `/api/tags`. Raises `ProtocolError` if it is no list of models, or one of them has no name.

    `context_window` is the one that the model was trained for. The capabilities can be others than those of
    `/api/show`, which knows better.
    """
    return [_listed(model, place) for place, model in enumerate(_models(value, "/api/tags"), 1)]


def loaded_window(value: Any, name: str) -> int | None:
    """The window that a model is loaded with, by the answer of `/api/ps`; `None` if it is not loaded.

    Raises `ProtocolError` if the answer is no list of models.
    """
    for model in _models(value, "/api/ps"):
        if any(same_model(str(model.get(field)), name) for field in ("name", "model")):
            return _positive(model.get("context_length"))
    return None


def same_model(name: str, other: str) -> bool:
    """Whether two names mean one model: the tag `latest` is implied, and case does not matter.

    >>> same_model("llama3.2", "Llama3.2:latest"), same_model("localhost:5000/me/a", "localhost:5000/me/a:7b")
    (True, False)
    """
    return _full(name) == _full(other)


def _full(name: str) -> str:
    return (name if ":" in name.rpartition("/")[2] else f"{name}:latest").lower()


def _models(value: Any, path: str) -> list[Mapping[str, Any]]:
    models = value.get("models") if isinstance(value, Mapping) else None
    if models is None and isinstance(value, Mapping) and "models" in value:
        return []  # a server without models may say null
    if not isinstance(models, list) or not all(isinstance(model, Mapping) for model in models):
        raise recognised(
            not_due(plain(value), f"{path} answered with something else than a list of models", where=path)
        )
    return models


def _listed(model: Mapping[str, Any], place: int) -> ModelInfo:
    name = model.get("name") or model.get("model")
    if not name:
        raise ProtocolError(f"model {place} in the list of /api/tags has no name")
    if not isinstance(name, str):
        raise ProtocolError(f"the name of model {place} in the list of /api/tags is {shown(name)}")
    details = _mapping(model.get("details"))
    capabilities = model.get("capabilities")
    return ModelInfo(
        name=name,
        context_window=_positive(details.get("context_length")),
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
    count = float(match[1]) * _UNITS[match[2].upper()] if match else 0.0
    return round(count) or None if count < float("inf") else None


def _fact(facts: Mapping[str, Any], name: str) -> int | None:
    """A number that stands below the model's architecture: `llama.context_length`."""
    found = _positive(facts.get(f"{facts.get('general.architecture')}.{name}"))
    if found is None:
        values = [facts[key] for key in facts if str(key).endswith(f".{name}") and str(key).count(".") == 1]
        found = _positive(values[0]) if len(values) == 1 else None
    return found


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _positive(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
