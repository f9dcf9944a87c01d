"""Whether what a hook gives or yields keeps the contract: the problem as the rest of a sentence, empty if none."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, get_args

from lollms_core.contract.errors import a_kind
from lollms_core.contract.types import (
    MSG_TYPE,
    Chunk,
    FinishReason,
    Image,
    ModelInfo,
    Personality,
    ProviderPart,
    PullProgress,
    TokenCount,
    ToolCall,
    ToolResult,
    Usage,
)

__all__ = ["chunk_problem", "step_problem", "value_problem"]

_FINISH_REASONS = frozenset(get_args(FinishReason))
_TEXT = MSG_TYPE.MSG_TYPE_CHUNK
_REASONING = MSG_TYPE.MSG_TYPE_REASONING


def chunk_problem(chunk: Any, *, ended: bool) -> str:
    """What is wrong with what a stream has yielded, as the rest of a sentence; empty if nothing is.

    Args:
        chunk: whatever it is.
        ended: the closing record has come already.
    """
    if type(chunk) is not Chunk:
        return f"yielded {a_kind(chunk)} where a Chunk is due"
    whole: tuple[Any, ...] = chunk  # what is in it may be anything
    text, kind, finish, usage, metadata, part = whole
    if type(text) is not str:
        return f"yielded a Chunk whose text is {a_kind(text)}, not a str"
    if kind != _TEXT and kind != _REASONING:
        return f"yielded a Chunk whose type is {kind!r}, which is neither text nor reasoning"
    if (text or part is not None) and ended:
        return "yielded text after the chunk that ended its answer"
    if finish is not None and (not isinstance(finish, str) or finish not in _FINISH_REASONS):
        known = ", ".join(sorted(_FINISH_REASONS))
        return f"ended its answer with the finish reason {finish!r}, which is not one of {known}"
    if usage is not None and not isinstance(usage, Usage):
        return f"yielded a Chunk whose usage is {a_kind(usage)}, not a Usage"
    if usage is not None and (problem := _fields_problem(usage)):
        return problem
    if metadata and not isinstance(metadata, Mapping):
        return f"yielded a Chunk whose metadata is {a_kind(metadata)}, not a mapping"
    if part is not None and (text or not isinstance(part, (Image, ToolCall, ToolResult, ProviderPart))):
        return f"yielded a Chunk whose part is {a_kind(part)}" + (" beside a text" if text else "")
    return ""


def step_problem(step: Any) -> str:
    """What is wrong with a step of a download."""
    return _fields_problem(step) if isinstance(step, PullProgress) else _not_due(step, "a PullProgress")


def value_problem(hook: str, request: Any, value: Any) -> str:
    """What is wrong with a hook's value, as the rest of a sentence; empty if nothing is. `None`: not implemented."""
    if value is None:
        return ""
    if hook in _KINDS:
        kind = _KINDS[hook]
        return _fields_problem(value) if isinstance(value, kind) else _not_due(value, f"a {kind.__name__}")
    if hook in _ITEMS:
        item, due = _ITEMS[hook]
        if not _is_list(value, item):
            return _not_due(value, f"a list of {due}")
        return "" if item is int else next(filter(None, map(_fields_problem, value)), "")
    if hook == "embed":
        if not _is_list(value, (list, tuple)):
            return _not_due(value, "a list of lists of numbers")
        for vector in value:
            if not _is_list(vector, (int, float)):
                return _not_due(vector, "a list of numbers for each text")
        if len(value) != len(request.texts):
            return f"gave {len(value)} embeddings for {len(request.texts)} texts"
        if len(sizes := sorted({len(vector) for vector in value})) > 1:
            return f"gave embeddings of different lengths: {', '.join(map(str, sizes))}"
        if sizes == [0]:
            return "gave embeddings without numbers"
        # A sum is quick, and is no number where one of its parts is none.
        if not all(math.isfinite(sum(vector)) for vector in value):
            return "gave an embedding in which a number is infinite or NaN"
    return ""


_KINDS: Mapping[str, type] = {"count_tokens": TokenCount, "detokenize": str, "model_info": ModelInfo}
_ITEMS: Mapping[str, tuple[type, str]] = {
    "tokenize": (int, "int"),
    "list_models": (ModelInfo, "ModelInfo"),
    "list_personalities": (Personality, "Personality"),
}


def _is_list(value: Any, kind: type | tuple[type, ...]) -> bool:
    """Whether it is a list of nothing else. Its types are looked at, not its items: a text has thousands of tokens."""
    return isinstance(value, (list, tuple)) and all(issubclass(each, kind) for each in {*map(type, value)})


def _not_due(value: Any, due: str) -> str:
    said = a_kind(value)
    if isinstance(value, (list, tuple)) and value:
        said += f" of {', '.join(sorted({each.__name__ for each in map(type, value)}))}"
    return f"gave {said} where {due} is due"


_NUMBER, _TEXT_OR_NONE = (int, type(None)), (str, type(None))
_FIELDS: Mapping[type, Mapping[str, tuple[type, ...]]] = {
    ModelInfo: {
        "name": (str,),
        "context_window": _NUMBER,
        "parameters": _NUMBER,
        "size_bytes": _NUMBER,
        "dtype": _TEXT_OR_NONE,
        "device": _TEXT_OR_NONE,
        "capabilities": (tuple, list),
        "metadata": (Mapping,),
    },
    Personality: {"id": (int, str), "name": (str,), "category": _TEXT_OR_NONE},
    PullProgress: {"status": (str,), "completed": _NUMBER, "total": _NUMBER},
    Usage: dict.fromkeys(("prompt_tokens", "completion_tokens", "reasoning_tokens", "cached_tokens"), _NUMBER),
}


def _fields_problem(value: Any) -> str:
    """What is wrong inside of a value of ours: a dataclass takes whatever it is given."""
    for name, kinds in _FIELDS.get(type(value), {}).items():
        found = getattr(value, name)
        if not isinstance(found, kinds):
            due = " or ".join("None" if kind is type(None) else kind.__name__ for kind in kinds)
            return f"gave a {type(value).__name__} whose {name} is {a_kind(found)}, not {due}"
    return ""
