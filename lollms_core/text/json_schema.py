"""Whether an answer satisfies the JSON Schema that was asked for.

Servers promise to follow a schema and some leave it out for some models without a word (ollama/ollama#14645, #15260,
#10929, #17183; pydantic/pydantic-ai#4917). So the answer is looked at. The look covers the keywords that say what
shape a value has; others are taken as satisfied. A validator that covers them all would bring four packages, one of
them compiled, into the core.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from lollms_core.text.reasoning import remove_thinking_blocks

__all__ = ["schema_problem"]

_DEEPEST = 100
_TYPES: Mapping[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "number": (int, float),
    "integer": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
}


def schema_problem(text: str, schema: Mapping[str, Any]) -> str | None:
    """What is wrong with the answer, in a few words; `None` if nothing is.

    The answer must be JSON as it is, so that whoever gets it can read it: reasoning in it is a fault.

    >>> schema_problem('{"a": 1}', {"type": "object", "required": ["a", "b"]})
    "$ lacks 'b'"
    >>> schema_problem("Sure! Here it is", {"type": "object"})
    'it is not JSON'
    """
    try:
        value = _parsed(text)
    except (ValueError, RecursionError):
        return _why_not_json(text)
    return _problem(value, schema, _Look(schema, {}), "$", _DEEPEST)


def _parsed(text: str) -> Any:
    return json.loads(text, parse_constant=_refuse)


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is Python's and not JSON's")


def _why_not_json(text: str) -> str:
    answer = remove_thinking_blocks(text)
    if answer != text:
        try:
            _parsed(answer)
        except (ValueError, RecursionError):
            pass
        else:
            return "there is reasoning beside the JSON"
    return "it is not JSON"


class _Look(NamedTuple):
    root: Mapping[str, Any]
    seen: dict[tuple[str, int], str | None]
    """What was found for a place and a part of the schema, by its identity: alternatives that refer to the same parts
    would be looked at again and again otherwise, twice as often with every level."""


def _problem(value: Any, schema: Any, look: _Look, at: str, depth: int) -> str | None:
    if schema is False:
        return f"{at} must not be there"
    if not isinstance(schema, Mapping) or not depth:
        return None
    key = at, id(schema)
    if key not in look.seen:
        look.seen[key] = None  # a part that refers to itself says nothing more
        look.seen[key] = _problem_here(value, schema, look, at, depth)
    return look.seen[key]


def _problem_here(value: Any, schema: Mapping[str, Any], look: _Look, at: str, depth: int) -> str | None:
    reference = schema.get("$ref")
    if isinstance(reference, str):
        return _problem(value, _resolved(reference, look.root), look, at, depth - 1)
    kinds = schema.get("type")
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if isinstance(kinds, list) and not any(_is(value, kind) for kind in kinds):
        return f"{at} is not {' or '.join(map(str, kinds))}"
    if "const" in schema and not _equal(value, schema["const"]):
        return f"{at} is not {schema['const']!r}"
    options = schema.get("enum")
    if isinstance(options, list) and not any(_equal(value, option) for option in options):
        return f"{at} is none of {options!r}"
    return (
        _in_combination(value, schema, look, at, depth - 1)
        or _in_object(value, schema, look, at, depth - 1)
        or _in_array(value, schema, look, at, depth - 1)
    )


def _is(value: Any, kind: Any) -> bool:
    if isinstance(value, bool):
        return bool(kind == "boolean")
    if kind == "integer" and isinstance(value, float):
        return value.is_integer()
    known = _TYPES.get(str(kind))
    return known is None or isinstance(value, known)


def _equal(value: Any, other: Any) -> bool:
    same: bool = value == other
    return same and isinstance(value, bool) is isinstance(other, bool)


def _in_combination(value: Any, schema: Mapping[str, Any], look: _Look, at: str, depth: int) -> str | None:
    for keyword in ("anyOf", "oneOf"):
        choices = schema.get(keyword)
        if isinstance(choices, list) and choices:
            found = [_problem(value, choice, look, at, depth) for choice in choices]
            if all(found):
                return found[0]
    for part in _list(schema.get("allOf")):
        if found_here := _problem(value, part, look, at, depth):
            return found_here
    return None


def _in_object(value: Any, schema: Mapping[str, Any], look: _Look, at: str, depth: int) -> str | None:
    if not isinstance(value, dict):
        return None
    for name in _list(schema.get("required")):
        if isinstance(name, str) and name not in value:
            return f"{at} lacks {name!r}"
    properties = schema.get("properties")
    properties = properties if isinstance(properties, Mapping) else {}
    others = schema.get("additionalProperties", True) if "patternProperties" not in schema else True
    for name, item in value.items():
        # Quoted where needed: places are told apart by their text.
        inner = f"{at}.{name}" if name.isidentifier() else f"{at}[{name!r}]"
        if found := _problem(item, properties.get(name, others), look, inner, depth):
            return found
    return None


def _in_array(value: Any, schema: Mapping[str, Any], look: _Look, at: str, depth: int) -> str | None:
    if not isinstance(value, list):
        return None
    least = schema.get("minItems")
    if isinstance(least, int) and len(value) < least:
        return f"{at} has fewer than {least} items"
    prefix = _list(schema.get("prefixItems"))
    for index, item in enumerate(value):
        part = prefix[index] if index < len(prefix) else schema.get("items")
        if found := _problem(item, part, look, f"{at}[{index}]", depth):
            return found
    return None


def _list(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else ()


def _resolved(reference: str, root: Mapping[str, Any]) -> Any:
    """The part of the schema that `#/$defs/Name` points to; what cannot be found says nothing."""
    part: Any = root
    for step in reference.lstrip("#").strip("/").split("/"):
        if not step:
            continue
        part = part.get(step.replace("~1", "/").replace("~0", "~")) if isinstance(part, Mapping) else None
    return part
