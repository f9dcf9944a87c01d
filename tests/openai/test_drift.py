"""Servers that do not take what others take: one thing is changed, once, remembered, and said if it was chosen."""

from __future__ import annotations

import itertools
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from lollms_core import (
    ELF_COMPLETION_FORMAT,
    ContextWindowError,
    InvalidRequestError,
    UnsupportedOptionError,
    UnsupportedOptionWarning,
)
from tests.openai.conftest import MakeClient
from tests.support.openai_stub import OpenAIStub, Reply, error
from tests.support.results import result_of
from tests.support.waiting import wait_until

INSTRUCT = ELF_COMPLETION_FORMAT.Instruct


def unsupported(name: str) -> Reply:
    text = f"Unsupported parameter: '{name}' is not supported with this model."
    return error(400, text, code="unsupported_parameter", param=name)


def test_stream_options_are_left_out_for_good_where_they_are_refused(client: MakeClient, stub: OpenAIStub) -> None:
    stub.refuse(error(400, "stream_options is not supported by this server"), lambda body: "stream_options" in body)
    one = client()
    assert one.generate("Hi?") == one.generate("Hi?") == "Hello from the stub."
    assert ["stream_options" in body for body in stub.bodies] == [True, False, False]
    assert result_of(one.complete("Hi?")).usage.completion_tokens is None


def test_a_default_that_is_refused_goes_without_a_word(openai_client: MakeClient, stub: OpenAIStub) -> None:
    stub.refuse(
        error(
            400,
            "Unsupported value: 'temperature' does not support 0.1. Only the default (1) value is supported.",
            code="unsupported_value",
            param="temperature",
        ),
        lambda body: "temperature" in body,
    )
    one = openai_client()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert one.generate("Hi?") == one.generate("Hi?") == "Hello from the stub."
    assert ["temperature" in body for body in stub.bodies] == [True, False, False]


def test_a_choice_that_is_refused_is_said_once(client: MakeClient, stub: OpenAIStub) -> None:
    stub.refuse(unsupported("top_k"), lambda body: "top_k" in body)
    one = client()
    with pytest.warns(UnsupportedOptionWarning, match="stub-model does not honour: top_k") as caught:
        assert one.generate("Hi?", top_k=3) == "Hello from the stub."
        assert one.generate("Hi?", top_k=3) == "Hello from the stub."
    assert len(caught) == 1
    assert ["top_k" in body for body in stub.bodies] == [True, False, False]


def test_under_strict_a_choice_that_is_refused_is_an_error(client: MakeClient, stub: OpenAIStub) -> None:
    stub.refuse(unsupported("top_k"), lambda body: "top_k" in body)
    one = client(strict=True)
    for _ in range(2):
        with pytest.raises(UnsupportedOptionError, match="top_k"):
            one.generate("Hi?", top_k=3)
    assert one.generate("Hi?") == "Hello from the stub."
    assert ["top_k" in body for body in stub.bodies] == [True, False]


def test_what_one_model_refuses_another_may_take(client: MakeClient, stub: OpenAIStub) -> None:
    stub.refuse(unsupported("seed"), lambda body: "seed" in body and body["model"] == "old")
    one = client()
    with pytest.warns(UnsupportedOptionWarning, match="seed"):
        one.generate("Hi?", seed=1, model_name="old")
    one.generate("Hi?", seed=1, model_name="new")
    assert ["seed" in body for body in stub.bodies] == [True, False, True]


def test_the_limit_is_renamed_and_stays(client: MakeClient, stub: OpenAIStub) -> None:
    stub.refuse(unsupported("max_tokens"), lambda body: "max_tokens" in body)
    one = client()
    assert one.generate("Hi?", 30) == one.generate("Hi?", 40) == "Hello from the stub."
    limits = [(body.get("max_tokens"), body.get("max_completion_tokens")) for body in stub.bodies]
    assert limits == [(30, None), (None, 30), (None, 40)]


def having(name: str) -> Callable[[dict[str, Any]], bool]:
    return lambda body: name in body


def test_several_refusals_one_after_another(client: MakeClient, stub: OpenAIStub) -> None:
    for name in ("stream_options", "temperature", "top_p", "max_tokens"):
        stub.refuse(unsupported(name), having(name))
    one = client()
    assert one.generate("Hi?") == "Hello from the stub."
    assert len(stub.requests) == 5
    assert one.generate("Hi?") == "Hello from the stub."
    assert len(stub.requests) == 6


async def test_async_learns_too(client: MakeClient, stub: OpenAIStub) -> None:
    stub.refuse(unsupported("top_p"), lambda body: "top_p" in body)
    one = client()
    assert await one.agenerate("Hi?") == await one.agenerate("Hi?") == "Hello from the stub."
    assert ["top_p" in body for body in stub.bodies] == [True, False, False]


def test_a_pydantic_server_that_forbids_extra_fields(client: MakeClient, stub: OpenAIStub) -> None:
    details = [{"type": "extra_forbidden", "loc": ["body", "min_p"], "msg": "Extra inputs are not permitted"}]
    stub.refuse(Reply({"detail": details}, 422), lambda body: "min_p" in body)
    with pytest.warns(UnsupportedOptionWarning, match="min_p"):
        assert client().generate("Hi?", min_p=0.1) == "Hello from the stub."


def test_a_field_that_the_caller_wrote_is_never_dropped(client: MakeClient, stub: OpenAIStub) -> None:
    stub.refuse(unsupported("top_k"), lambda body: "top_k" in body)
    with pytest.raises(InvalidRequestError, match="top_k"):
        client().generate("Hi?", extra={"top_k": 3})
    assert len(stub.requests) == 1


def test_a_wrong_value_is_an_error_and_not_a_missing_feature(client: MakeClient, stub: OpenAIStub) -> None:
    wrong = error(400, "Invalid 'temperature': must be at most 2.", code="decimal_above_max_value", param="temperature")
    stub.refuse(wrong, lambda body: body["temperature"] > 2)
    with pytest.raises(InvalidRequestError, match="at most 2"):
        client().generate("Hi?", temperature=3)
    assert len(stub.requests) == 1


def test_stop_sequences_that_the_server_refuses_still_stop(client: MakeClient, stub: OpenAIStub) -> None:
    stub.refuse(unsupported("stop"), lambda body: "stop" in body)
    stub.answer = ["one t", "wo th", "ree"]
    completion = result_of(client().complete("Count", stop=["three"]))
    assert (completion.text, completion.finish_reason) == ("one two ", "stop")


def test_stop_sequences_that_the_server_leaves_in_the_text(client: MakeClient, stub: OpenAIStub) -> None:
    stub.answer = ["one ", "two ", "three ", "four"]
    completion = result_of(client().complete("Count", stop=["three"]))
    assert (completion.text, completion.finish_reason) == ("one two ", "stop")
    assert stub.bodies[-1]["stop"] == ["three"]


def test_more_stop_sequences_than_openai_takes(openai_client: MakeClient, stub: OpenAIStub) -> None:
    stub.answer = ["a b c", " d e", " f"]
    assert openai_client().generate("Letters", stop=["v", "w", "x", "y", "e"]) == "a b c d "
    assert "stop" not in stub.bodies[0]


def test_an_endless_answer_is_left_at_the_stop_sequence(client: MakeClient, stub: OpenAIStub) -> None:
    """The server cannot stop it, so the connection must be closed: the server notices within moments."""
    hung_up: list[bool] = []

    def endless() -> Iterator[bytes]:
        try:
            for number in itertools.count():
                time.sleep(0.001)
                yield b'data: {"choices":[{"delta":{"content":"%d "},"finish_reason":null}]}\n\n' % number
        finally:
            hung_up.append(True)

    stub.refuse(unsupported("stop"), lambda body: "stop" in body)
    stub.rules.append(lambda _: Reply(endless(), content_type="text/event-stream"))
    one = client()
    assert one.generate("Count", stop=["7"]) == "0 1 2 3 4 5 6 "
    wait_until(lambda: hung_up, "the server to notice")


def window_error(window: int, prompt: int) -> str:
    return (
        f"This model's maximum context length is {window} tokens. However, you requested more "
        f"({prompt} in the messages). Please reduce the length of the messages or completion."
    )


def test_a_default_limit_that_does_not_fit_is_lowered(client: MakeClient, stub: OpenAIStub) -> None:
    reply = error(400, window_error(2048, 48), code="context_length_exceeded", param="messages")
    stub.refuse(reply, lambda body: body.get("max_tokens", 0) > 2000)
    assert client().generate("Hi?") == "Hello from the stub."
    assert [body.get("max_tokens") for body in stub.bodies] == [4096, 2000]


def test_a_default_limit_is_left_out_if_the_server_does_not_say_what_fits(client: MakeClient, stub: OpenAIStub) -> None:
    stub.refuse(error(400, "too long", code="context_length_exceeded"), lambda body: "max_tokens" in body)
    assert client().generate("Hi?") == "Hello from the stub."
    assert [body.get("max_tokens") for body in stub.bodies] == [4096, None]


def test_a_raw_prompt_keeps_some_limit(client: MakeClient, stub: OpenAIStub) -> None:
    """Without one, the completions route gives sixteen tokens."""
    stub.refuse(error(400, "too long", code="context_length_exceeded"), lambda body: body["max_tokens"] > 1500)
    assert client().generate("Hi?", completion_format=INSTRUCT) == "Hello from the stub."
    assert [body.get("max_tokens") for body in stub.bodies] == [4096, 2048, 1024]


def test_a_limit_above_what_a_model_can_write(client: MakeClient, stub: OpenAIStub) -> None:
    too_large = error(400, "max_tokens is too large: 4096.", code="invalid_value", param="max_tokens")
    stub.refuse(too_large, lambda body: "max_tokens" in body)
    assert client().generate("Hi?") == "Hello from the stub."
    with pytest.raises(InvalidRequestError, match="too large"):
        client().generate("Hi?", 4096)


def test_a_chosen_limit_that_does_not_fit_is_an_error(client: MakeClient, stub: OpenAIStub) -> None:
    stub.refuse(error(400, window_error(2048, 48)), lambda body: "max_tokens" in body)
    with pytest.raises(ContextWindowError, match="2048"):
        client().generate("Hi?", 4096)
    assert len(stub.requests) == 1


def test_a_prompt_that_is_too_long_is_asked_once(client: MakeClient, stub: OpenAIStub) -> None:
    stub.refuse(error(400, window_error(2048, 3000)), lambda body: True)
    with pytest.raises(ContextWindowError):
        client().generate("Hi?")
    assert len(stub.requests) == 1


def test_a_known_window_is_kept_to_beforehand(client: MakeClient, stub: OpenAIStub) -> None:
    stub.models = [{"id": "stub-model", "max_model_len": 2048}]
    one = client()
    assert result_of(one.model_info()).context_window == 2048
    one.generate("Hi?")
    one.generate("Hi?", 2000)
    one.generate("Hi?", completion_format=INSTRUCT)
    assert [body.get("max_tokens") for body in stub.bodies] == [None, 2000, 2047]
