"""Whether an answer has the shape that a JSON Schema asks for."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lollms_core import LollmsClient
from lollms_core.text.json_schema import schema_problem

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
PART = {"anyOf": [{"const": 1}, {"type": "null"}]}
LIST = {"type": "array", "items": {"$ref": "#/$defs/part"}, "minItems": 1, "$defs": {"part": PART}}

NUMBERS = {"type": ["integer", "object"], "additionalProperties": {"$ref": "#"}}


@pytest.mark.parametrize(
    ("text", "schema", "wrong"),
    [
        ('{"city": "Rome"}', SCHEMA, None),
        ('<think>{</think>\n{"city": "Rome"}', SCHEMA, "there is reasoning beside the JSON"),
        ('{"city": "Rome"}<think>x</think>', SCHEMA, "there is reasoning beside the JSON"),
        ("<think>Rome</think>Rome", SCHEMA, "it is not JSON"),
        ('{"city": "<think>", "x": "</think>"}', SCHEMA | {"required": ["city", "x"]}, None),
        ("[NaN]", {}, "it is not JSON"),
        ("[-Infinity]", {}, "it is not JSON"),
        ("<think>x</think>Infinity", {}, "it is not JSON"),
        ('{"a.b": 1, "a": {"b": "wrong"}}', NUMBERS, "$.a.b is not integer or object"),
        ('{"a": {"b": 1}, "a.b": "wrong"}', NUMBERS, "$['a.b'] is not integer or object"),
        ("Rome", SCHEMA, "it is not JSON"),
        ("{}", SCHEMA, "$ lacks 'city'"),
        ('{"city": 3}', SCHEMA, "$.city is not string"),
        ('{"city": "R", "x": 1}', SCHEMA | {"additionalProperties": False}, "$.x must not be there"),
        ("[1, null]", LIST, None),
        ("[2]", LIST, "$[0] is not 1"),
        ("[true]", LIST, "$[0] is not 1"),
        ("[]", LIST, "$ has fewer than 1 items"),
        ("1.0", {"type": "integer"}, None),
        ("true", {"type": "integer"}, "$ is not integer"),
        ("null", {"type": ["string", "null"]}, None),
        ('"c"', {"enum": ["a", "b"]}, "$ is none of ['a', 'b']"),
        ("1", {"allOf": [{"type": "integer"}, {"const": 2}]}, "$ is not 2"),
        ("[1, 2]", {"prefixItems": [{"type": "string"}]}, "$[0] is not string"),
        ("1", {"$ref": "#/nowhere"}, None),
        ("1", {"$ref": "#"}, None),
        ("1", {"type": "unheard-of"}, None),
    ],
)
def test_problems(text, schema, wrong):
    assert schema_problem(text, schema) == wrong


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
    found = schema_problem(json.dumps(value), schema)
    assert found is None or isinstance(found, str)
