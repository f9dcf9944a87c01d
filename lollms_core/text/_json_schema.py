"""Whether an answer is what a JSON Schema, or a pydantic model, asks for.

Servers promise to follow a schema and some leave it out for some models without a word (ollama/ollama#14645, #15260,
#10929, #17183; pydantic/pydantic-ai#4917). So the answer is looked at, by `jsonschema-rs` or by pydantic itself.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from lollms_core.text._code_blocks import extract_code_blocks
from lollms_core.text._reasoning import remove_thinking_blocks

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError

__all__ = ["as_schema", "model_checker", "schema_checker"]

_MOST = 20_000
"""How many schemas may apply to one value. The validator looks at each, and nothing could end it early."""
_MOST_LOOKS = 200_000
"""How often parts of an answer may be held against a schema: half a second, and nothing could end it early.

A long answer to a plain schema has as many parts as it has; so ten for each character are free."""
_MOST_TOLD = 50_000
"""The same, where the validator also collects what is wrong, which is slower."""
_LONGEST = 200


def as_schema(asked: Mapping[str, Any] | type[BaseModel]) -> Mapping[str, Any]:
    """The JSON Schema itself. Raises `ValueError` for a class that pydantic can make none of."""
    if isinstance(asked, Mapping):
        return asked
    from pydantic.errors import PydanticUserError

    try:
        schema: Mapping[str, Any] = asked.model_json_schema()
    except (PydanticUserError, AttributeError) as error:  # of a class that is not defined to its end, or `BaseModel`
        problem = getattr(error, "message", None) or str(error)
        raise ValueError(f"pydantic makes no JSON Schema of {asked.__name__}: {problem}") from None
    return schema


def schema_checker(schema: Mapping[str, Any]) -> Callable[[str], Any]:
    """What checks whether a text is JSON that satisfies a schema, and gives the value.

    The text must be JSON as it is, so that whoever gets it can read it: reasoning in it is a fault.

    >>> schema_checker({"type": "object", "required": ["a"]})('{"a": 1}')
    {'a': 1}
    >>> schema_checker({"type": "object", "properties": {"a": {"minimum": 0}}})('{"a": -5}')
    Traceback (most recent call last):
        ...
    ValueError: $.a: -5 is less than the minimum of 0

    Raises:
        ValueError: it is no JSON Schema, refers to something that is not in it, or takes too long to check.
    """
    import jsonschema_rs

    try:
        if _looks(schema, None) > _MOST:
            raise ValueError(f"more than {_MOST} schemas apply to one value")
        validator = jsonschema_rs.validator_for(dict(schema), offline=True)  # what it refers to is never fetched
    except jsonschema_rs.ValidationError as error:
        raise ValueError(_said(error)) from None

    def check(text: str) -> Any:
        value = _value_in(text)
        free = 10 * len(text)
        if _looks(schema, value, leave=_other_constant) > _MOST_LOOKS + free:
            raise ValueError("it cannot be checked in time: too many alternatives of the schema lie within one another")
        if validator.is_valid(value):
            return value
        # To say what is wrong, the validator follows each alternative to its end.
        if _looks(schema, value) > _MOST_TOLD + free:
            raise ValueError("it does not fit, and the schema has too many alternatives to say where")
        raise ValueError(next(map(_said, validator.iter_errors(value)), "it does not fit"))

    return check


def model_checker(model: type[BaseModel], schema: Mapping[str, Any]) -> Callable[[str], Any]:
    """What makes an object of a pydantic class, of which `schema` is the schema, of a text. Raises `ValueError`."""
    from pydantic import ValidationError

    def check(text: str) -> Any:
        value = _value_in(text)
        if _looks(schema, value, discriminated=True) > _MOST_LOOKS + 10 * len(text):
            raise ValueError("it cannot be checked in time: give the unions of the class a discriminator")
        try:
            return model.model_validate_json(text)
        except ValidationError as error:
            raise ValueError(_first_fault(error, value)) from None
        except Exception as error:  # a validator of the caller's that a wrong answer has confused
            raise ValueError(f"checking it failed: {type(error).__name__}: {error}") from error

    return check


def _first_fault(error: ValidationError, value: Any) -> str:
    """What pydantic says, with the place in the JSON: it puts the members of unions among the keys.

    Of a union it reports what each member lacks. What is there and is wrong says more of what was meant.
    """
    faults = error.errors(include_url=False)
    fault = next((fault for fault in faults if fault["type"] != "missing"), faults[0])
    part: Any = value
    path, missing = list[int | str](), fault["type"] == "missing"
    step: Any
    for number, step in enumerate(fault["loc"], 1):
        if (isinstance(part, Mapping) and step in part) or (
            isinstance(part, list) and isinstance(step, int) and step in range(len(part))
        ):
            part = part[step]
        elif not (missing and number == len(fault["loc"])):
            continue
        path.append(step)
    return f"{_place(path)}{fault['msg']}"


def _value_in(text: str) -> Any:
    try:
        return _parsed(text)
    except (ValueError, RecursionError):
        raise ValueError(_why_not_json(text)) from None


def _parsed(text: str) -> Any:
    return json.loads(text, parse_constant=_refuse, parse_float=_finite)


def _finite(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise ValueError(f"{digits} is too large for a number")
    return number


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is Python's and not JSON's")


def _why_not_json(text: str) -> str:
    answer = remove_thinking_blocks(text)
    if answer != text and _is_json(answer):
        return "there is reasoning beside the JSON"
    blocks = extract_code_blocks(text)
    if len(blocks) == 1 and _is_json(blocks[0]["content"]):
        return "the JSON is inside a code block"
    return "it is not JSON"


def _is_json(text: str) -> bool:
    try:
        _parsed(text)
    except (ValueError, RecursionError):
        return False
    return True


def _said(error: Any) -> str:
    message = str(error.message)
    if len(message) > _LONGEST:  # it repeats the value
        message = f"{message[: _LONGEST // 2]} … {message[-_LONGEST // 2 :]}"
    return f"{_place(error.instance_path)}{message}"


def _place(path: Any) -> str:
    """Where in a value something is, before what is said of it; empty for the value as a whole."""
    place = ""
    for step in path:
        if isinstance(step, str) and step.isidentifier():
            place += f".{step}"
        else:
            place += f"[{step!r}]"
    return f"${place}: " if place else ""


def _looks(
    root: Mapping[str, Any],
    value: Any,
    *,
    leave: Callable[[Mapping[str, Any], Any], bool] = lambda *_: False,
    discriminated: bool = False,
) -> int:
    """How many times at most a value or a part of it is held against a schema. References are followed.

    Args:
        root: the whole schema.
        value: `None` counts what applies to any value by itself.
        leave: says of an alternative whether it is left as soon as it is looked at.
        discriminated: a discriminator says which alternative it is (OpenAPI 3.1, "Discriminator Object"): to pydantic.

    Raises:
        ValueError: the schema or the value is nested too deeply to count.
    """
    known: dict[tuple[int, int], int] = {}

    def looks(schema: Any, value: Any) -> int:
        if not isinstance(schema, Mapping):
            return 1
        key = id(schema), id(value)
        if key not in known:
            known[key] = int(leave(schema, value))  # 0: a circle comes to nothing, the validator notices it
            if not known[key]:
                beside = [looks(inner, value) for inner in _beside(schema, root)]
                counted = max(beside, default=0) if discriminated and "discriminator" in schema else sum(beside)
                known[key] = 1 + counted + sum(looks(inner, part) for inner, part in _within(schema, value))
        return known[key]

    try:
        return looks(root, value)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _other_constant(schema: Mapping[str, Any], value: Any) -> bool:
    """Whether a `const` of an object's properties is not met: all that a validator needs to say no."""
    properties = schema.get("properties")
    return (
        isinstance(properties, Mapping)
        and isinstance(value, Mapping)
        and any(
            isinstance(inner, Mapping) and "const" in inner and name in value and inner["const"] != value[name]
            for name, inner in properties.items()
        )
    )


def _within(schema: Mapping[str, Any], value: Any) -> Iterator[tuple[Any, Any]]:
    """The schemas that apply to the parts of a value, each with its part."""
    if isinstance(value, Mapping):
        properties = schema.get("properties")
        for name, part in value.items():
            if isinstance(properties, Mapping) and name in properties:
                yield properties[name], part
            for more in ("additionalProperties", "unevaluatedProperties"):
                if more in schema:
                    yield schema[more], part
            if isinstance(patterns := schema.get("patternProperties"), Mapping):
                for inner in patterns.values():
                    yield inner, part
    elif isinstance(value, list):
        first = schema.get("prefixItems")
        for number, part in enumerate(value):
            if isinstance(first, list) and number < len(first):
                yield first[number], part
            for more in ("items", "additionalItems", "unevaluatedItems", "contains"):
                if isinstance(inner := schema.get(more), Mapping):
                    yield inner, part
            if isinstance(tuples := schema.get("items"), list) and number < len(tuples):
                yield tuples[number], part


def _beside(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Iterator[Any]:
    """The schemas that apply to the same value."""
    for name in ("not", "if", "then", "else"):
        if name in schema:
            yield schema[name]
    for name in ("allOf", "anyOf", "oneOf"):
        if isinstance(inner := schema.get(name), list):
            yield from inner
    if isinstance(inner := schema.get("dependentSchemas"), Mapping):
        yield from inner.values()
    for name in ("$ref", "$dynamicRef", "$recursiveRef"):
        reference = schema.get(name)
        if isinstance(reference, str) and reference.startswith("#"):
            target = _at(root, reference[1:])
            yield root if target is None else target  # by an anchor: the whole is no less


def _at(root: Any, pointer: str) -> Any:
    """What a JSON pointer (RFC 6901) in a URL's fragment names; `None` if there is nothing."""
    for step in pointer.split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        if isinstance(root, Mapping):
            root = root.get(name)
        elif isinstance(root, list) and name.isdigit() and int(name) < len(root):
            root = root[int(name)]
        else:
            return None
    return root
