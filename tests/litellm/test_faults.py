"""Errors over real HTTP, on each of LiteLLM's three kinds of route."""

from __future__ import annotations

import asyncio
import email.utils
import time
import traceback
from dataclasses import replace
from typing import Any

import pytest
from lollms_litellm.faults import scrubbed
from pydantic import SecretStr

from lollms_core import (
    ELF_COMPLETION_FORMAT,
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    AuthenticationError,
    CancelToken,
    ConfigurationError,
    ContextWindowError,
    Image,
    ImageError,
    IncompleteStreamError,
    InvalidRequestError,
    LollmsError,
    ModelNotFoundError,
    PermissionDeniedError,
    ProtocolError,
    RateLimitError,
    ServerError,
    UnsupportedOptionError,
    UnsupportedOptionWarning,
)
from lollms_core.testing._setting import png
from tests.litellm.conftest import KEY, Make, asking, collect
from tests.litellm.stub import answer, delta, serving, text
from tests.support.waiting import PATIENCE, PATIENT, clock_waiting_for, in_background

CHAT = ELF_COMPLETION_FORMAT.Chat
RAW = ELF_COMPLETION_FORMAT.Instruct
ROUTES = [("hosted_vllm/m", CHAT), ("openai/m", CHAT), ("hosted_vllm/m", RAW)]
routes = pytest.mark.parametrize(("model", "kind"), ROUTES)


def refusal(status: int, message: str = f"no, {KEY} will not do", **headers: str) -> tuple[int, dict[str, str], Any]:
    return status, headers, {"error": {"message": message, "type": "t", "code": "c"}}


def piece(kind: ELF_COMPLETION_FORMAT, content: str) -> dict[str, Any]:
    return delta(content=content) if kind is CHAT else text(content)


@routes
@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (400, InvalidRequestError),
        (401, AuthenticationError),
        (403, PermissionDeniedError),
        (404, ModelNotFoundError),
        (413, InvalidRequestError),
        (422, InvalidRequestError),
        (429, RateLimitError),
        (500, ServerError),
        (503, ServerError),
    ],
)
async def test_a_status_becomes_our_error_without_the_key(
    make: Make, model: str, kind: ELF_COMPLETION_FORMAT, status: int, expected: type[LollmsError]
) -> None:
    with serving(refusal(status)) as stub:
        with pytest.raises(expected) as caught:
            await collect(make(stub.address, model), asking(completion_format=kind))
        assert len(stub.requests) == 1
    error = caught.value
    assert error.status_code == status
    # A server names the model without its provider, if at all.
    asked = f"{model}: " if expected is ModelNotFoundError else ""
    assert error.message == f"{asked}no, *** will not do"
    assert KEY not in "".join(traceback.format_exception(error))
    assert error.__cause__ is None
    assert error.__context__ is None


@routes
async def test_a_window_that_is_too_small_for_what_was_chosen(
    make: Make, model: str, kind: ELF_COMPLETION_FORMAT
) -> None:
    with serving(refusal(400, "This model's maximum context length is 2048 tokens.")) as stub:
        with pytest.raises(ContextWindowError):
            await collect(make(stub.address, model), asking(completion_format=kind, n_predict=4096))
        assert len(stub.requests) == 1


async def test_a_default_limit_gives_way_to_a_small_window(make: Make) -> None:
    with serving(*[refusal(400, "maximum context length is 2048 tokens")] * 2, answer("x")) as stub:
        assert (await collect(make(stub.address), asking()))[0] == "x"
    assert [body["max_tokens"] for _, _, body in stub.requests] == [4096, 2048, 1024]


@pytest.mark.parametrize(
    "said",
    [
        # vLLM, in the order in which it looks
        "This model's maximum context length is 2048 tokens. However, your prompt contains 99000 characters (more than "
        "18432 characters, which is the upper bound for 1024 input tokens). Please reduce the length of the input "
        "prompt.",
        "This model's maximum context length is 2048 tokens. However, your prompt contains at least 2049 input tokens, "
        "which exceeds this limit even without any output tokens. Please reduce the length of the input prompt.",
        "The decoder prompt (length 5000) is longer than the maximum model length of 2048. Make sure that "
        "`max_model_len` is no smaller than the number of text tokens.",
        "The decoder prompt (length 2048) plus the number of requested output tokens (at least 1) is longer than the "
        "maximum model length of 2048. Make sure that `max_model_len` is no smaller than the number of text tokens "
        "(prompt + requested output tokens).",
        # vLLM before 0.11
        "This model's maximum context length is 2048 tokens. However, you requested 9096 tokens (5000 in the messages, "
        "4096 in the completion). Please reduce the length of the messages or completion.",
        # Anthropic
        "prompt is too long: 210000 tokens > 200000 maximum",
    ],
)
@routes
async def test_a_prompt_that_does_not_fit_at_all_is_asked_once(
    make: Make, model: str, kind: ELF_COMPLETION_FORMAT, said: str
) -> None:
    with serving(refusal(400, said)) as stub:
        with pytest.raises(ContextWindowError) as caught:
            await collect(make(stub.address, model), asking(completion_format=kind))
        assert len(stub.requests) == 1
    assert caught.value.message == said


@routes
@pytest.mark.parametrize("end", ["cut", "[DONE]"])
async def test_an_answer_that_was_cut_is_not_taken_for_one(
    make: Make, model: str, kind: ELF_COMPLETION_FORMAT, end: str
) -> None:
    if end == "[DONE]" and (model, kind) == ("hosted_vllm/m", CHAT):
        end = ""  # this route counts `[DONE]` as the end that it is
    events = [piece(kind, "half an ans"), *([end] if end else [])]
    with serving(events) as stub:
        stream = make(stub.address, model).generate(asking(completion_format=kind))
        assert (await anext(stream)).text == "half an ans"
        with pytest.raises(IncompleteStreamError, match="stream ended before the answer did"):
            await anext(stream)


@pytest.mark.parametrize("model", ["openai/m", "hosted_vllm/m", "deepseek/m", "azure_ai/m"])
@pytest.mark.parametrize("begun", [True, False])
async def test_an_error_event_of_an_older_server_is_told(make: Make, model: str, begun: bool) -> None:
    """LiteLLM drops what vLLM said before 0.7, and takes `[DONE]` for a reason on some routes."""
    error = {"object": "error", "message": "EngineCore died", "type": "InternalServerError", "param": None, "code": 500}
    events = [*([delta(role="assistant", content="half")] if begun else []), error, "[DONE]"]
    with serving(events) as stub, pytest.raises(ServerError, match="EngineCore died"):
        await collect(make(stub.address, model), asking())


@pytest.mark.parametrize("finish", ["abort", "error"])
async def test_raw_text_that_was_broken_off(make: Make, finish: str) -> None:
    with serving([text("half"), text("", finish), "[DONE]"]) as stub, pytest.raises(IncompleteStreamError):
        await collect(make(stub.address, "hosted_vllm/m"), asking(completion_format=RAW))


@routes
async def test_an_error_object_inside_a_good_status(make: Make, model: str, kind: ELF_COMPLETION_FORMAT) -> None:
    events = [piece(kind, "half"), {"error": {"message": "the engine died", "code": 500}}]
    with serving(events) as stub, pytest.raises(ServerError, match="the engine died"):
        await collect(make(stub.address, model), asking(completion_format=kind))


@pytest.mark.parametrize(("model", "kind"), [("anthropic/m", CHAT), ("gemini/m", CHAT), ("openai/m", RAW)])
@pytest.mark.parametrize("verify", [True, False])
async def test_a_key_in_a_header_of_its_own_follows_no_redirect(
    make: Make, model: str, kind: ELF_COMPLETION_FORMAT, verify: bool
) -> None:
    with serving(answer("x")) as elsewhere:
        target = elsewhere.address.replace("//", "//me:pw123456@")
        with serving((307, {"location": f"{target}?key=abc"}, "")) as stub:
            backend = make(stub.address, model, verify_ssl_certificate=verify)
            with pytest.raises(APIStatusError, match=r"redirects to http://\S+ \(status 307\): not followed") as caught:
                await collect(backend, asking(completion_format=kind))
        assert not elsewhere.requests
    assert caught.value.status_code == 307
    assert "pw123456" not in f"{caught.value}{caught.value.hint}"
    assert "abc" not in f"{caught.value}{caught.value.hint}"


@routes
async def test_an_empty_body(make: Make, model: str, kind: ELF_COMPLETION_FORMAT) -> None:
    with serving((200, {}, "")) as stub, pytest.raises(IncompleteStreamError):
        await collect(make(stub.address, model), asking(completion_format=kind))


@routes
async def test_what_is_not_json(make: Make, model: str, kind: ELF_COMPLETION_FORMAT) -> None:
    with serving(["{nope"]) as stub, pytest.raises((ProtocolError, IncompleteStreamError)):
        await collect(make(stub.address, model), asking(completion_format=kind))


@routes
async def test_nobody_listens(make: Make, model: str, kind: ELF_COMPLETION_FORMAT) -> None:
    with serving(answer("x")) as stub:
        address = stub.address
    with pytest.raises(APIConnectionError) as caught:
        await collect(make(address, model), asking(completion_format=kind))
    assert "host_address" in caught.value.hint
    assert caught.value.retryable


@routes
async def test_retries_are_bounded_and_heed_the_server(make: Make, model: str, kind: ELF_COMPLETION_FORMAT) -> None:
    with serving(refusal(429, **{"retry-after": "0"})) as stub:
        with pytest.raises(RateLimitError) as caught:
            await collect(make(stub.address, model, max_retries=2), asking(completion_format=kind))
        assert len(stub.requests) == 3
    assert caught.value.retry_after == 0


async def test_a_retry_that_helps(make: Make) -> None:
    with serving(refusal(503, **{"retry-after": "0"}), answer("x")) as stub:
        assert (await collect(make(stub.address, max_retries=1), asking()))[0] == "x"


async def test_no_retry_once_text_has_come(make: Make) -> None:
    with serving([delta(content="half"), "cut"]) as stub:
        with pytest.raises(IncompleteStreamError, match="stream ended before the answer did"):
            await collect(make(stub.address, max_retries=3), asking())
        assert len(stub.requests) == 1


@pytest.mark.parametrize("form", ["seconds", "date"])
async def test_a_wait_that_is_too_long_is_told_instead(make: Make, form: str) -> None:
    until = "3600" if form == "seconds" else email.utils.formatdate(time.time() + 3600, usegmt=True)
    with serving(refusal(429, **{"retry-after": until})) as stub:
        with pytest.raises(RateLimitError) as caught:
            await collect(make(stub.address, max_retries=3), asking())
        assert len(stub.requests) == 1
    assert caught.value.retry_after == pytest.approx(3600, abs=60)


async def test_an_option_that_the_model_refuses_is_given_up_and_remembered(make: Make) -> None:
    with serving(refusal(400, "Unsupported value: 'temperature' must be 1"), answer("x")) as stub:
        backend = make(stub.address, "openai/m")
        with pytest.warns(UnsupportedOptionWarning, match="temperature"):
            await collect(backend, asking(temperature=0.5))
        await collect(backend, asking(temperature=0.5))
    assert ["temperature" in body for _, _, body in stub.requests] == [True, False, False]


async def test_a_default_that_the_model_refuses_goes_without_a_word(make: Make) -> None:
    both = refusal(400, "`temperature` and `top_p` cannot both be given")
    with serving(both, answer("x")) as stub:
        await collect(make(stub.address, "openai/m"), asking(temperature=0.5))
    assert (stub.body.get("temperature"), stub.body.get("top_p")) == (0.5, None)


@pytest.mark.parametrize(
    ("said", "chosen"),
    [
        ("Your request was flagged: 'At which temperature does it boil?' is unsupported content", {}),
        ("temperature: Input should be less than or equal to 1", {"temperature": 1.5}),
        ("temperature must be between 0 and 1", {"temperature": 1.5}),
        ("max_tokens: 100000 > 8192, which is the maximum allowed number of output tokens", {"n_predict": 100000}),
    ],
)
async def test_what_is_no_refusal_of_an_option_costs_no_later_call_it(
    make: Make, said: str, chosen: dict[str, Any]
) -> None:
    with serving(refusal(400, said), answer("x")) as stub:
        backend = make(stub.address, "openai/m")
        with pytest.raises(InvalidRequestError):
            await collect(backend, asking(**chosen))
        assert len(stub.requests) == 1
        await collect(backend, asking(temperature=0.0, n_predict=5))
    assert (stub.body["temperature"], stub.body["max_tokens"]) == (0.0, 5)


async def test_a_default_that_was_refused_takes_no_choice_with_it_in_silence(make: Make) -> None:
    said = "Unsupported value: 'temperature' does not support 0.1 with this model. Only the default (1) is supported."
    with serving(refusal(400, said), answer("x")) as stub:
        backend = make(stub.address, "openai/m")
        with pytest.warns(UnsupportedOptionWarning, match="openai/m does not honour: temperature") as told:
            await collect(backend, asking())
            assert not [each for each in told if each.category is UnsupportedOptionWarning]
            await collect(backend, asking(temperature=0.0))


async def test_a_refused_option_is_an_error_of_a_strict_client_every_time(make: Make) -> None:
    with serving(refusal(400, "Unsupported value: 'temperature' must be 1"), answer("x")) as stub:
        backend = make(stub.address, "openai/m", strict=True)
        for _ in range(2):
            with pytest.raises(UnsupportedOptionError, match="openai/m does not honour: temperature"):
                await collect(backend, asking(temperature=0.5))
        assert len(stub.requests) == 1


async def test_a_limit_of_another_name_is_sent_under_that(make: Make) -> None:
    said = "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
    with serving(refusal(400, said), answer("x")) as stub:
        backend = make(stub.address, "openai/m")
        await collect(backend, asking(n_predict=5))
        await collect(backend, asking(n_predict=6))
    limits = [(body.get("max_tokens"), body.get("max_completion_tokens")) for _, _, body in stub.requests]
    assert limits == [(5, None), (None, 5), (None, 6)]


@pytest.mark.parametrize(
    "said",
    [
        "max_tokens: 4096 > 2048, which is the maximum allowed number of output tokens for m",
        # vLLM
        "max_tokens=4096 cannot be greater than max_model_len=2048. Please request fewer output tokens. "
        "(parameter=max_tokens, value=4096)",
        "Invalid max_tokens value, the valid range of max_tokens is [1, 2048]",
    ],
)
async def test_a_default_limit_that_is_too_large_is_lowered_once(make: Make, said: str) -> None:
    with serving(refusal(400, said), answer("x")) as stub:
        backend = make(stub.address, "openai/m")
        await collect(backend, asking())
        await collect(backend, asking())
    assert [body["max_tokens"] for _, _, body in stub.requests] == [4096, 2048, 2048]


@routes
@pytest.mark.parametrize("when", ["before the headers", "in mid-stream"])
async def test_cancel_from_another_thread_closes_the_connection(
    make: Make, model: str, kind: ELF_COMPLETION_FORMAT, when: str
) -> None:
    token = CancelToken()
    with serving([piece(kind, "one"), "hang"]) as stub:
        stub.before_headers = when == "before the headers"

        def stop() -> None:
            assert stub.waiting.wait(PATIENCE)
            token.cancel()

        stopping = in_background(stop)
        request = asking(completion_format=kind, cancel=token)
        chunks = [chunk async for chunk in make(stub.address, model).generate(request)]
        stopping.result()
        assert await asyncio.to_thread(stub.gone.wait, PATIENCE)
    assert chunks[-1].finish_reason == "cancelled"


@routes
async def test_leaving_a_stream_closes_the_connection(make: Make, model: str, kind: ELF_COMPLETION_FORMAT) -> None:
    with serving([piece(kind, "one"), "hang"]) as stub:
        stream = make(stub.address, model).generate(asking(completion_format=kind))
        assert (await anext(stream)).text == "one"
        await stream.aclose()
        assert await asyncio.to_thread(stub.gone.wait, PATIENCE)


@routes
@pytest.mark.parametrize("limit", ["first_token", "idle"])
async def test_time_limits(make: Make, model: str, kind: ELF_COMPLETION_FORMAT, limit: str) -> None:
    with serving([piece(kind, "one"), "hang"]) as stub:
        stub.before_headers = limit == "first_token"
        backend = make(stub.address, model, timeouts=replace(PATIENT, **{limit: 0.2}))
        # Else the limit for the answer could pass before LiteLLM, which takes its time, has asked for it.
        with clock_waiting_for(stub.waiting), pytest.raises(APITimeoutError, match=r"within 0\.2 s"):
            await collect(backend, asking(completion_format=kind))
        assert await asyncio.to_thread(stub.gone.wait, PATIENCE)


@pytest.mark.parametrize(
    "secret",
    [
        "Authorization: Bearer abc.def",
        "https://x.example/v1?key=AIzaSy0123456789",
        "Incorrect API key provided: sk-proj-0123456789abcdef",
    ],
)
def test_what_looks_like_a_key_is_not_told(secret: str) -> None:
    assert "***" in scrubbed(secret)
    assert secret.rpartition(" ")[2].rpartition("=")[2] not in scrubbed(secret)


async def test_a_refused_image_is_an_image_error(make: Make) -> None:
    refused = {"message": "m is not a multimodal model", "type": "BadRequestError", "code": 400}
    with serving((400, {}, {"error": refused})) as stub:
        backend = make(stub.address)
        with pytest.raises(ImageError, match="not a multimodal model"):
            await collect(backend, asking(images=(Image(data=png(1, 2, 3), media_type="image/png"),)))
        with pytest.raises(InvalidRequestError) as caught:
            await collect(backend, asking())
    assert type(caught.value) is InvalidRequestError


@pytest.mark.parametrize("way", ["environment", "extra", "header"])
async def test_a_key_that_came_another_way_is_not_told(make: Make, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    key = "mine0123456789abcdef"
    if way == "environment":
        monkeypatch.setenv("HOSTED_VLLM_API_KEY", key)
    headers = {"Authorization": f"Bearer {key}"} if way == "header" else {}
    extra = {"api_key": key} if way == "extra" else {}
    with serving(refusal(401, message=f"the key {key} is wrong")) as stub:
        with pytest.raises(AuthenticationError) as raised:
            await collect(make(stub.address, api_key=None, headers=headers), asking(extra=extra))
    assert "mine0123456789abcdef" not in "".join(traceback.format_exception(raised.value))
    assert "***" in raised.value.message


HIDDEN = "geh3im-12345678"


@pytest.mark.parametrize(
    "params",
    [
        {"extra_headers": {"X-Team-Auth": HIDDEN}},
        {"extra_headers": {"Proxy-Auth": f"Token {HIDDEN}"}},
        {"extra_body": {"api_key": HIDDEN}},
        {"extra_body": {"team_credentials": {"inner": [HIDDEN]}}},
    ],
)
@pytest.mark.parametrize("place", ["params", "extra"])
async def test_secrets_are_hidden_wherever_they_are_given(make: Make, params: dict[str, Any], place: str) -> None:
    with serving(refusal(400, f"bad request: {params} {HIDDEN}")) as stub:
        backend = make(stub.address, "openai/m", options={"params": params} if place == "params" else {})
        with pytest.raises(InvalidRequestError) as caught:
            await collect(backend, asking(extra=params if place == "extra" else {}))
    assert HIDDEN not in f"{caught.value!r}{caught.value}"


@pytest.mark.parametrize(
    ("address", "key", "said"),
    [
        (None, "sk-12345678\nabc", "a line break or a character"),
        (None, "sk-12345678\u4e16", "a line break or a character"),
        ("http://127.0.0.1:abc/v1", "k", "'http://127.0.0.1:abc/v1' is not a server address"),
        ("http://me:pw123456@127.0.0.1:1/v1", "k", "LiteLLM cannot send both"),
    ],
)
async def test_what_cannot_be_sent_is_told_before_it_is_tried(
    make: Make, address: str | None, key: str, said: str
) -> None:
    with pytest.raises(ConfigurationError, match=said) as caught:
        await collect(make(address, "openai/m", api_key=SecretStr(key)), asking())
    assert "sk-1234" not in str(caught.value)
    assert "pw123456" not in str(caught.value)


async def test_a_key_may_end_with_the_line_of_its_file(make: Make) -> None:
    with serving(answer("x")) as stub:
        assert (await collect(make(stub.address, "openai/m", api_key=SecretStr("sk-12345678\n")), asking()))[0] == "x"
        assert stub.requests[0][1]["authorization"] == "Bearer sk-12345678"
