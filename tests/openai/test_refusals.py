"""Reading refusals, as servers of several kinds write them."""

from __future__ import annotations

import json

import pytest
from lollms_openai import OpenAIBackend
from pydantic import SecretStr

from lollms_core import BackendSettings
from lollms_core.protocols.refusals import LIMITS, OPTION_OF, Memory, Refusal, room_left


def openai_error(message: str, code: str | None = None, param: str | None = None) -> bytes:
    return json.dumps(
        {"error": {"message": message, "type": "invalid_request_error", "param": param, "code": code}}
    ).encode()


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (
            openai_error(
                "Unsupported parameter: 'max_tokens' is not supported here. Use 'max_completion_tokens' instead.",
                "unsupported_parameter",
                "max_tokens",
            ),
            "max_tokens",
        ),
        (
            openai_error(
                "Unsupported value: 'temperature' does not support 0.1. Only the default (1) value is supported.",
                "unsupported_value",
                "temperature",
            ),
            "temperature",
        ),
        (openai_error("Unrecognized request argument supplied: top_k"), "top_k"),
        (openai_error("Unknown parameter: 'min_p'.", "unknown_parameter", "min_p"), "min_p"),
        (openai_error("`temperature` and `top_p` cannot both be specified for this model."), "temperature"),
        (openai_error("'stop' is not supported with this model.", "unsupported_parameter"), "stop"),
        (openai_error("stream_options is not supported by this server"), "stream_options"),
        (
            b'{"detail":[{"type":"extra_forbidden","loc":["body","top_k"],"msg":"Extra inputs are not permitted"}]}',
            "top_k",
        ),
        # About something else: nothing may be dropped.
        (openai_error("Invalid 'temperature': must be between 0 and 2.", "invalid_value", "temperature"), None),
        (openai_error("Unsupported parameter: 'tools'", "unsupported_parameter", "tools"), None),
        (openai_error("The image format is not supported; please stop sending it."), None),
        (b"<html>Bad Request</html>", None),
        (b"[1, 2]", None),
    ],
)
def test_which_field_is_refused(body: bytes, field: str | None) -> None:
    assert Refusal.read(body).field(tuple(OPTION_OF)) == field


def test_of_several_named_fields_the_one_that_nobody_chose() -> None:
    refusal = Refusal.read(openai_error("`temperature` and `top_p` cannot both be specified for this model."))
    assert refusal.field(["temperature", "top_p"], spare=["top_p"]) == "top_p"


@pytest.mark.parametrize(
    ("message", "room"),
    [
        (
            "This model's maximum context length is 4097 tokens, however you requested 4106 tokens (10 in your prompt; "
            "4096 for the completion). Please reduce your prompt; or completion length.",
            4087,
        ),
        (
            "This model's maximum context length is 2048 tokens. However, your request has 38 input tokens. Please "
            "reduce the length of the input messages.",
            2010,
        ),
        ("This model's maximum context length is 100 tokens. However, your prompt contains 200 input tokens", -100),
        ("context_length_exceeded", None),
        ("the maximum context length is 12 tokens", None),
    ],
)
def test_how_much_room_a_message_says_there_is(message: str, room: int | None) -> None:
    assert room_left(message) == room


def test_memory_is_for_each_model_and_of_words_for_each_word() -> None:
    memory = Memory()
    memory.drop("a", "temperature", 0.1)
    memory.drop("a", "reasoning_effort", "minimal")
    body = {"temperature": 0.9, "reasoning_effort": "low", "seed": 1}
    assert memory.strip("a", body) == ["temperature"]
    assert body == {"reasoning_effort": "low", "seed": 1}
    assert memory.strip("a", {"reasoning_effort": "minimal"}) == ["reasoning_effort"]
    assert memory.strip("b", {"temperature": 0.9}) == []
    assert memory.strip("a", {"temperature": 0.9}, keep={"temperature"}) == []


def test_the_limit_is_renamed_once() -> None:
    memory = Memory()
    assert memory.limit_name("a", LIMITS[1]) == "max_tokens"
    assert memory.rename_limit("a", "max_tokens") == "max_completion_tokens"
    assert memory.limit_name("a", LIMITS[1]) == "max_completion_tokens"
    # As for another call that was refused at the same time.
    assert memory.rename_limit("a", "max_tokens") == "max_completion_tokens"
    assert memory.rename_limit("a", "max_completion_tokens") is None


def test_an_error_does_not_carry_what_the_server_said() -> None:
    settings = BackendSettings(format="openai", host_address="http://localhost:1", api_key=SecretStr("sk-12345678"))
    error = OpenAIBackend(settings).error_from(400, {}, b'{"error": {"message": "the key sk-12345678 is wrong"}}')
    assert "sk-12345678" not in repr([value for name, value in vars(error).items() if name != "message"])
