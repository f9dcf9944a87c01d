"""Whether an answer has the shape that a JSON Schema asks for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from lollms_core import BackendError, InvalidRequestError, LollmsClient
from lollms_core.text._json_schema import schema_checker
from tests.support.results import result_of

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
PART = {"anyOf": [{"const": 1}, {"type": "null"}]}
LIST = {"type": "array", "items": {"$ref": "#/$defs/part"}, "minItems": 1, "$defs": {"part": PART}}

NUMBERS = {"type": ["integer", "object"], "additionalProperties": {"$ref": "#"}}
POSITIVE = {"type": "object", "properties": {"a": {"minimum": 0}}}


def problem(text: str, schema: Mapping[str, Any]) -> str | None:
    try:
        schema_checker(schema)(text)
    except ValueError as error:
        return str(error)
    return None


@pytest.mark.parametrize(
    ("text", "schema", "wrong"),
    [
        ('{"city": "Rome"}', SCHEMA, None),
        ('<think>{</think>\n{"city": "Rome"}', SCHEMA, "there is reasoning beside the JSON"),
        ('{"city": "Rome"}<think>x</think>', SCHEMA, "there is reasoning beside the JSON"),
        ("<think>Rome</think>Rome", SCHEMA, "it is not JSON"),
        ('{"city": "<think>", "x": "</think>"}', SCHEMA | {"required": ["city", "x"]}, None),
        ("[NaN]", {}, "it is not JSON"),
        ("[1e999]", {}, "it is not JSON"),
        ("[-Infinity]", {}, "it is not JSON"),
        ("<think>x</think>Infinity", {}, "it is not JSON"),
        ('{"a.b": 1, "a": {"b": "wrong"}}', NUMBERS, '$.a.b: "wrong" is not of types "integer", "object"'),
        ('{"a": {"b": 1}, "a.b": "wrong"}', NUMBERS, '$[\'a.b\']: "wrong" is not of types "integer", "object"'),
        ("Rome", SCHEMA, "it is not JSON"),
        ("{}", SCHEMA, '"city" is a required property'),
        ('{"city": 3}', SCHEMA, '$.city: 3 is not of type "string"'),
        (
            '{"city": "R", "x": 1}',
            SCHEMA | {"additionalProperties": False},
            "Additional properties are not allowed ('x' was unexpected)",
        ),
        ("[1, null]", LIST, None),
        ("[]", LIST, "[] has less than 1 item"),
        ("1.0", {"type": "integer"}, None),
        ("true", {"type": "integer"}, 'true is not of type "integer"'),
        ("null", {"type": ["string", "null"]}, None),
        ("[1, 2]", {"prefixItems": [{"type": "string"}]}, '$[0]: 1 is not of type "string"'),
        ('{"a": -5}', POSITIVE, "$.a: -5 is less than the minimum of 0"),
        ('"ab"', {"pattern": "^b"}, '"ab" does not match "^b"'),
        ("1", {"$ref": "#"}, None),
    ],
)
def test_problems(text, schema, wrong):
    assert problem(text, schema) == wrong


def test_what_is_said_of_a_large_value_is_short() -> None:
    said = problem(json.dumps(["x" * 1000] * 100), {"type": "object"})
    assert said is not None
    assert len(said) < 250
    assert said.endswith('is not of type "object"')


@pytest.mark.parametrize(
    ("schema", "wrong"),
    [
        ({"type": "unheard-of"}, "is not valid"),
        ({"$ref": "#/nowhere"}, "does not exist"),
        ({"pattern": "("}, "regex"),
        ({"$ref": "http://127.0.0.1:1/schema.json"}, "127.0.0.1"),
        ({1: 2}, "must be str"),
        ({"const": object()}, "object"),
    ],
)
def test_a_schema_that_is_none_is_refused_before_anything_is_sent(schema: Any, wrong: str) -> None:
    with pytest.raises(ValueError, match=wrong):
        schema_checker(schema)
    with LollmsClient(default_generation_mode="echo", raise_errors=True) as client:
        with pytest.raises(InvalidRequestError, match="json_schema is not a valid JSON Schema: "):
            client.generate("x", json_schema=schema)


def test_one_that_is_nested_too_deeply_is_refused() -> None:
    schema: dict[str, Any] = {}
    for _ in range(100_000):
        schema = {"not": schema}
    with pytest.raises(ValueError, match="deeply"):
        schema_checker(schema)


class City(BaseModel):
    name: str
    people: int = Field(gt=0)


@pytest.mark.filterwarnings("ignore:the echo format does not honour")
def test_the_object_is_on_the_completion() -> None:
    with LollmsClient(default_generation_mode="echo", raise_errors=True) as client:
        city = result_of(client.complete('{"name": "Rome", "people": 3}', json_schema=City))
        assert city.parsed == City(name="Rome", people=3)
        assert result_of(client.complete('{"a": [1]}', json_schema={"type": "object"})).parsed == {"a": [1]}
        assert result_of(client.complete('{"a": [1]}')).parsed is None
        with pytest.raises(BackendError, match=r"JSON schema: \$\.people: Input should be greater than 0") as caught:
            client.complete('{"name": "Rome", "people": 0}', json_schema=City)
        assert caught.value.partial_text == '{"name": "Rome", "people": 0}'


@pytest.mark.filterwarnings("ignore:the echo format does not honour")
@given(
    st.text(st.sampled_from('{}[]":, a1'), max_size=12) | JSON.map(json.dumps),
    st.sampled_from(["", "<think>x</think>"]),
)
def test_what_is_handed_out_can_be_read(text, reasoning):
    for answer in (text + reasoning, reasoning + text, reasoning + reasoning + text):
        with LollmsClient(default_generation_mode="echo", script=[answer]) as client:
            answer = client.generate("x", json_schema={})
        if isinstance(answer, str):
            json.loads(answer)


KEYWORDS = st.sampled_from(
    ["type", "enum", "const", "required", "properties", "items", "anyOf", "$ref", "minItems", "allOf"]
)


@given(JSON, st.dictionaries(KEYWORDS, JSON | st.dictionaries(KEYWORDS, JSON, max_size=2), max_size=4))
def test_no_schema_breaks_the_look(value, schema):
    found = problem(json.dumps(value), schema)
    assert found is None or isinstance(found, str)
