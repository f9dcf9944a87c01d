"""Whether an answer is what a JSON Schema, or a pydantic model, asks for.

Servers promise to follow a schema and some leave it out for some models without a word (ollama/ollama#14645, #15260,
#10929, #17183; pydantic/pydantic-ai#4917). So the answer is looked at, by `jsonschema-rs` or by pydantic itself.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from lollms_core.text.reasoning import remove_thinking_blocks

if TYPE_CHECKING:
    from pydantic import BaseModel

__all__ = ["checker", "model_checker", "schema_checker"]

_MOST = 20_000
"""How many schemas may apply to one value. The validator looks at each, and nothing could end it early."""
_LONGEST = 200


def checker(asked: Mapping[str, Any] | type[BaseModel] | None) -> Callable[[str], Any] | None:
    """What checks an answer for what was asked: gives the value in it, or raises `ValueError` that says what is wrong.

    Raises `ValueError` for a schema that is none.
    """
    if asked is None:
        return None
    return schema_checker(asked) if isinstance(asked, Mapping) else model_checker(asked)


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
        if _cost(schema, schema, {}) > _MOST:
            raise ValueError(f"more than {_MOST} schemas apply to one value")
        validator = jsonschema_rs.validator_for(dict(schema), offline=True)  # what it refers to is never fetched
    except jsonschema_rs.ValidationError as error:
        raise ValueError(_said(error)) from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None

    def check(text: str) -> Any:
        value = _value_in(text)
        error = next(validator.iter_errors(value), None)
        if error is not None:
            raise ValueError(_said(error))
        return value

    return check


def model_checker(model: type[BaseModel]) -> Callable[[str], Any]:
    """What makes an object of a pydantic class of a text. Its `ValueError` says what is wrong first."""
    from pydantic import ValidationError

    def check(text: str) -> Any:
        _value_in(text)
        try:
            return model.model_validate_json(text)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            raise ValueError(f"{_place(first['loc'])}{first['msg']}") from None

    return check


def _value_in(text: str) -> Any:
    try:
        return _parsed(text)
    except (ValueError, RecursionError):
        raise ValueError(_why_not_json(text)) from None


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


def _cost(schema: Any, root: Mapping[str, Any], known: dict[int, int]) -> int:
    """How many schemas apply to a value besides those that apply to its parts. References are followed."""
    if not isinstance(schema, Mapping):
        return 1
    if id(schema) not in known:
        known[id(schema)] = 0  # a circle comes to nothing: the validator notices it
        known[id(schema)] = 1 + sum(_cost(inner, root, known) for inner in _beside(schema, root))
    return known[id(schema)]


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
    reference = schema.get("$ref")
    if isinstance(reference, str) and reference.startswith("#"):
        yield _at(root, reference[1:])


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
