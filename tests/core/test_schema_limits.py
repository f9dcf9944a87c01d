"""Checking an answer ends in time, whatever the schema, and what is said of a wrong one names the right place."""

from __future__ import annotations

import json
from typing import Any, Union

import pytest
from pydantic import BaseModel, field_validator

from lollms_core import (
    CallCancelledError,
    CancelToken,
    Chunk,
    Completion,
    InvalidAnswerError,
    Timings,
    ToolCall,
    ask_until_valid,
)
from lollms_core._client.pipeline import Pipeline
from lollms_core.testing import within
from lollms_core.text._json_schema import as_schema, model_checker, schema_checker
from tests.support.waiting import PATIENCE


def _node(op: str) -> dict[str, Any]:
    part = {"op": {"const": op}, "arg": {"$ref": "#/$defs/e"}}
    return {"type": "object", "properties": part, "required": ["op", "arg"], "additionalProperties": False}


OPERATORS = ("not", "neg", "abs", "sqrt")
LEAF = {"type": "object", "properties": {"value": {"type": "integer"}}, "required": ["value"]}
EXPRESSION: dict[str, Any] = {
    "$ref": "#/$defs/e",
    "$defs": {
        "e": {"anyOf": [*({"$ref": f"#/$defs/{op}"} for op in OPERATORS), LEAF]},
        **{op: _node(op) for op in OPERATORS},
    },
}


def _of(model):
    return model_checker(model, as_schema(model))


def _nested(depth: int, leaf: str) -> str:
    return '{"op":"not","arg":' * depth + leaf + "}" * depth


def test_a_wrong_leaf_in_deep_alternatives_is_told_at_once():
    check = schema_checker(EXPRESSION)
    with pytest.raises(ValueError, match="too many alternatives to say where"):
        within(PATIENCE, lambda: check(_nested(40, '{"value": "x"}')))
    assert check(_nested(40, '{"value": 1}')) == json.loads(_nested(40, '{"value": 1}'))
    with pytest.raises(ValueError, match="value"):
        check('{"value": "x"}')


def test_alternatives_without_constants_are_refused_not_followed():
    same = {"type": "object", "properties": {"arg": {"$ref": "#"}}, "required": ["arg"]}
    check = schema_checker({"anyOf": [same, {**same, "title": "b"}, {"type": "integer"}]})
    with pytest.raises(ValueError, match="cannot be checked in time"):
        within(PATIENCE, lambda: check('{"arg":' * 60 + '"x"' + "}" * 60))


class Not(BaseModel):
    arg: Expression


class Neg(BaseModel):
    arg: Expression


class Leaf(BaseModel):
    value: int


Expression = Union[Not, Neg, Leaf]  # noqa: UP007  # evaluated by pydantic, on Python 3.10 too
Not.model_rebuild()
Neg.model_rebuild()


def test_unions_of_classes_that_double_with_each_level_are_refused():
    with pytest.raises(ValueError, match="discriminator"):
        within(PATIENCE, lambda: _of(Not)('{"arg":' * 40 + '{"value": "x"}' + "}" * 40))


class Cat(BaseModel):
    lives: int


class Dog(BaseModel):
    barks: int


class Home(BaseModel):
    pet: Union[Cat, Dog]  # noqa: UP007


def test_of_a_union_what_is_there_and_wrong_is_named_by_its_place_in_the_json():
    with pytest.raises(ValueError, match=r"^\$\.pet\.barks: Input should be a valid integer"):
        _of(Home)('{"pet": {"barks": "many"}}')
    with pytest.raises(ValueError, match=r"^\$\.pet\.lives: Field required"):
        _of(Home)('{"pet": {}}')


class Confused(BaseModel):
    city: str

    @field_validator("city")
    @classmethod
    def _known(cls, city: str) -> str:
        return {"Rome": "Rome"}[city]


def test_a_validator_that_breaks_is_an_invalid_answer():
    with pytest.raises(ValueError, match="KeyError"):
        _of(Confused)('{"city": "Paris"}')


def test_json_in_a_code_block_is_named():
    with pytest.raises(ValueError, match="inside a code block"):
        schema_checker({"type": "object"})('```json\n{"a": 1}\n```')


@pytest.mark.parametrize("finish", ["tool_calls", "stop", "length"])
def test_a_call_of_a_tool_is_no_wrong_answer(finish):
    """Many servers say `stop` after one."""
    call = ToolCall(id="1", name="look")
    pipeline = Pipeline((), CancelToken(), "echo", schema_checker({"type": "object"}))
    for chunk in (Chunk("", part=call), Chunk("", finish_reason=finish)):
        pipeline.feed(chunk)
    (closing,) = pipeline.end()
    assert closing.finish_reason == finish
    assert pipeline.completion().tool_calls == (call,)


def test_a_cancelled_dialogue_is_no_valid_answer():
    dialogue = ask_until_valid("x", {"type": "object"})
    next(dialogue)
    with pytest.raises(CallCancelledError) as caught:
        dialogue.send(Completion(text="{", finish_reason="cancelled", timings=Timings(total=0.0)))
    assert caught.value.partial_text == "{"


def test_the_model_is_shown_the_schema_when_it_is_asked_again():
    dialogue = ask_until_valid("x", {"type": "object", "title": "City"})
    next(dialogue)
    error = InvalidAnswerError("no", partial_text="Paris")
    error.problem = "it is not JSON"
    content = dialogue.throw(error).content
    assert not isinstance(content, str)
    messages = list(content)
    assert '"title": "City"' in messages[-1].text


def test_a_long_answer_to_a_plain_schema_is_checked():
    check = schema_checker({"type": "array", "items": {"type": "integer"}})
    numbers = [number % 10 for number in range(300_000)]
    assert check(json.dumps(numbers)) == numbers
    with pytest.raises(ValueError, match=r"^\$\[299999\]: "):
        check(json.dumps([*numbers[:-1], "x"]))


def test_a_discriminator_is_pydantics_not_the_validators():
    schema = {**EXPRESSION, "$defs": {**EXPRESSION["$defs"]}}
    schema["$defs"]["e"] = {**schema["$defs"]["e"], "discriminator": {"propertyName": "op"}}
    with pytest.raises(ValueError, match="too many alternatives to say where"):
        within(PATIENCE, lambda: schema_checker(schema)(_nested(40, '{"value": "x"}')))
