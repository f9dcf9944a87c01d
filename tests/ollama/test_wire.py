"""Exactly what is sent for what is asked."""

from __future__ import annotations

import base64
import contextlib
import json
import urllib.request
import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lollms_ollama import OllamaOptions
from lollms_ollama.bodies import answer_body
from lollms_ollama.option_types import check_options
from pydantic import BaseModel

from lollms_core import (
    ELF_COMPLETION_FORMAT,
    ConfigurationError,
    ContextWindowError,
    EmptyPromptError,
    GenerationRequest,
    ImageError,
    InvalidRequestError,
    Message,
    ModelRequiredError,
    SamplingParams,
    UnsupportedOptionError,
)
from lollms_core.testing import png
from tests.support.ollama_server import Reply

INSTRUCT = ELF_COMPLETION_FORMAT.Instruct
DEFAULTS = {"num_predict": 2048, "temperature": 0.1, "top_k": 50, "top_p": 0.95, "repeat_last_n": 40, "num_ctx": 2048}
RED = png(255, 0, 0)


def said(text):
    return {"role": "user", "content": text}


def test_plain_prompt(connect, server):
    connect().generate("Hello")
    assert server.bodies("/api/show") == [{"model": "tiny"}]
    assert server.bodies("/api/chat") == [
        {"model": "tiny", "messages": [said("Hello")], "stream": True, "options": DEFAULTS}
    ]
    assert [request.headers["Content-Type"] for request in server.requests] == ["application/json"] * 2


def test_every_sampling_option(connect, server):
    connect(ctx_size=1024).generate(
        "Hello", 7, temperature=0.0, top_k=0, top_p=0.5, min_p=0.1, repeat_penalty=1.2, repeat_last_n=-1, seed=0,
        n_threads=3, stop=["\n\n", "END"],
    )  # fmt: skip
    assert server.bodies("/api/chat")[0]["options"] == {
        "num_predict": 7, "temperature": 0.0, "top_k": 0, "top_p": 0.5, "min_p": 0.1, "repeat_penalty": 1.2,
        "repeat_last_n": -1, "seed": 0, "num_thread": 3, "stop": ["\n\n", "END"], "num_ctx": 1024,
    }  # fmt: skip


def test_values_of_the_client_are_sent_too(connect, server):
    connect(temperature=0.7, n_threads=2, repeat_penalty=1.1).generate("Hello")
    options = server.bodies("/api/chat")[0]["options"]
    assert options == DEFAULTS | {"temperature": 0.7, "num_thread": 2, "repeat_penalty": 1.1}


def test_system_prompt_and_conversation(connect, server):
    conversation = [Message("user", "I am Ada."), Message("assistant", "Hello Ada!"), Message("user", "Who am I?")]
    connect().chat(conversation, system_prompt="Be brief.")
    assert server.bodies("/api/chat")[0]["messages"] == [
        {"role": "system", "content": "Be brief."},
        said("I am Ada."),
        {"role": "assistant", "content": "Hello Ada!"},
        said("Who am I?"),
    ]


def test_raw_prompt(connect, server):
    connect().generate("Once upon a time", completion_format=INSTRUCT)
    assert server.bodies("/api/generate") == [
        {"model": "tiny", "prompt": "Once upon a time", "raw": True, "stream": True, "options": DEFAULTS}
    ]
    assert server.bodies("/api/chat") == []


def test_raw_text_has_no_roles(connect, server):
    client = connect()
    client.generate("Q: 1+1?\nA:", system_prompt="You add numbers.", completion_format=INSTRUCT)
    client.chat([Message("user", "a"), Message("assistant", "b")], completion_format=INSTRUCT)
    prompts = [body["prompt"] for body in server.bodies("/api/generate")]
    assert prompts == ["You add numbers.\n\nQ: 1+1?\nA:", "a\n\nb"]


def test_images_are_bare_base64_in_their_message(connect, server):
    client = connect()
    client.generate_with_images("What is this?", [RED])
    encoded = base64.b64encode(RED).decode()
    assert server.bodies("/api/chat")[0]["messages"] == [said("What is this?") | {"images": [encoded]}]
    client.chat([{"role": "user", "content": "And this?", "images": [RED]}, {"role": "assistant", "content": "Red."}])
    assert [message.get("images") for message in server.bodies("/api/chat")[1]["messages"]] == [[encoded], None]


def test_images_beside_a_conversation_belong_to_its_last_user_message(connect, server):
    conversation = [Message("user", "a"), Message("user", "b"), Message("assistant", "c")]
    connect().chat(conversation, images=[RED])
    assert [bool(m.get("images")) for m in server.bodies("/api/chat")[0]["messages"]] == [False, True, False]
    with pytest.raises(ImageError, match="user message"):
        connect().chat([Message("assistant", "c")], images=[RED])


@pytest.mark.parametrize(
    ("model", "images", "options", "message"),
    [
        ("tiny", ["http://example.com/cat.png"], {}, "http://example.com/cat.png is a URL"),
        ("tiny-text", [RED], {}, "the model tiny-text does not take images"),
        ("tiny", [RED], {"completion_format": INSTRUCT}, "images cannot be sent with raw text"),
    ],
)
def test_images_that_would_be_lost_are_errors(connect, server, model, images, options, message):
    with pytest.raises(ImageError, match=message):
        connect(model).generate_with_images("What is this?", images, **options)
    assert server.bodies("/api/chat") == server.bodies("/api/generate") == []


@pytest.mark.parametrize("think", [True, False, "low", "medium", "high", "max"])
def test_think(connect, server, think):
    connect().generate("Hello", think=think)
    assert server.bodies("/api/chat")[0]["think"] is think or server.bodies("/api/chat")[0]["think"] == think


def test_json_schema_is_the_format(connect, server):
    class City(BaseModel):
        name: str
        people: int

    client = connect()
    answer = client.generate("A city?", json_schema=City)
    assert City.model_validate_json(answer)
    assert server.bodies("/api/chat")[0]["format"] == City.model_json_schema()
    client.generate("A city:", json_schema=City.model_json_schema(), completion_format=INSTRUCT)
    assert server.bodies("/api/generate")[0]["format"] == City.model_json_schema()


@pytest.mark.parametrize(
    ("value", "sent"), [("10m", "10m"), (300, "300s"), (0, "0s"), (-1, "-1s"), (1.5, "1.5s"), (2592000, "2592000s")]
)
def test_keep_alive(connect, server, value, sent):
    client = connect(keep_alive=value)
    client.generate("Hello")
    client.embed("Hello")
    assert server.bodies("/api/chat")[0]["keep_alive"] == server.bodies("/api/embed")[0]["keep_alive"] == sent


@pytest.mark.parametrize("value", [True, float("inf"), float("nan")])
def test_a_keep_alive_that_is_no_time_is_refused(connect, value):
    with pytest.raises(ConfigurationError, match="keep_alive is wrong: a time is a text such as"):
        connect(keep_alive=value)


def test_truncate(connect, server):
    connect(truncate=False).generate("Hello")
    assert server.bodies("/api/chat")[0]["truncate"] is False


def test_model_options_join_every_request(connect, server):
    client = connect(model_options={"num_gpu": 12, "num_batch": 64})
    client.generate("Hello", extra={"options": {"num_gpu": 0, "mirostat": 1}})
    client.embed("Hello")
    assert server.bodies("/api/chat")[0]["options"] == DEFAULTS | {"num_gpu": 0, "num_batch": 64, "mirostat": 1}
    assert server.bodies("/api/embed")[0]["options"] == {"num_gpu": 12, "num_batch": 64, "num_ctx": 2048}


def test_extra_fields_are_passed_on(connect, server):
    connect().generate("Hello", extra={"logprobs": True, "keep_alive": "1h"})
    body = server.bodies("/api/chat")[0]
    assert (body["logprobs"], body["keep_alive"]) == (True, "1h")


@pytest.mark.parametrize("extra", [{"stream": False}, {"model": "x"}, {"messages": []}, {"raw": True}, {"options": 3}])
def test_extra_cannot_set_what_the_call_sets(connect, server, extra):
    with pytest.raises(InvalidRequestError, match=next(iter(extra))):
        connect().generate("Hello", extra=extra)
    assert server.bodies("/api/chat") == []


def test_options_that_are_wrong_are_refused_when_the_client_is_made(connect):
    with pytest.raises(UnsupportedOptionError, match="keep_alife"):
        connect(keep_alife="5m")
    with pytest.raises(ConfigurationError, match="num_ctx is set with the argument ctx_size"):
        connect(model_options={"num_ctx": 4096})


WRONG = [
    ("num_gpu", "20"), ("num_batch", 64.0), ("num_batch", True), ("main_gpu", None), ("mirostat", "on"),
    ("typical_p", "0.5"), ("typical_p", False), ("tfs_z", float("nan")), ("presence_penalty", float("inf")),
    ("use_mmap", 1), ("penalize_newline", "yes"), ("numa", None),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_an_option_of_the_wrong_type_is_refused_when_the_client_is_made(connect, server, name, value):
    with pytest.raises(InvalidRequestError, match=f"{name} in model_options must be (an? |true)"):
        connect(model_options={name: value})
    assert server.requests == []


@pytest.mark.parametrize(
    ("name", "value"), [*WRONG, ("num_ctx", 0), ("num_ctx", "4096"), ("stop", "END"), ("stop", [1]), ("seed", 0.5)]
)
def test_an_option_of_the_wrong_type_is_refused_before_a_call_is_sent(connect, server, name, value):
    with pytest.raises(InvalidRequestError, match=rf"{name} in extra\['options'\] must be"):
        connect().generate("Hello", extra={"options": {name: value}})
    assert server.bodies("/api/chat") == []


def test_options_of_the_right_type_pass(connect, server):
    options = {
        "num_gpu": -1, "use_mmap": False, "typical_p": 1, "mirostat_tau": 0.5, "presence_penalty": -2, "newer": "any",
    }  # fmt: skip
    connect(model_options=options).generate("Hello", extra={"options": {"stop": ["a"], "num_keep": 8}})
    assert options.items() <= server.bodies("/api/chat")[0]["options"].items()


def test_type_that_only_the_server_knows_to_be_wrong_is_not_asked_again(connect, server):
    answer = {"error": 'option "newer" must be of type integer'}
    server.replies["/api/chat"].append(Reply(500, [answer], content_type="application/json"))
    with pytest.raises(InvalidRequestError, match="must be of type integer") as caught:
        connect(max_retries=2, model_options={"newer": "x"}).generate("Hello")
    assert (caught.value.status_code, len(server.bodies("/api/chat"))) == (500, 1)
    assert "model_options" in caught.value.hint


@given(st.sampled_from(["num_gpu", "temperature", "use_mmap", "stop", "seed", "num_ctx"]), st.from_type(object))
def test_any_value_is_an_option_or_refused(name, value):
    with contextlib.suppress(InvalidRequestError):
        check_options({name: value}, "options")
        json.dumps(value, allow_nan=False)


@pytest.mark.parametrize("seed", [-1, 0, 2**32 - 1])
def test_seeds(connect, server, seed):
    connect().generate("Hello", 3, seed=seed)
    assert server.bodies("/api/chat")[0]["options"]["seed"] == seed


@pytest.mark.parametrize("seed", [2**32, 2**32 + 7, -2])
def test_a_seed_that_stands_for_another_one_is_refused(connect, server, seed):
    with pytest.raises(InvalidRequestError, match=f"between -1 and 4294967295, not {seed}"):
        connect().generate("Hello", seed=seed)
    with pytest.raises(InvalidRequestError, match=str(seed)):
        connect().generate("Hello", extra={"options": {"seed": seed}})
    assert server.bodies("/api/chat") == []


def test_the_stand_in_takes_seeds_modulo_two_to_the_32(server):
    def answer(seed):
        options = {"seed": seed, "temperature": 1.5, "num_predict": 20}
        body = {"model": "tiny-text", "prompt": "Hello", "raw": True, "options": options}
        return [json.loads(line).get("response") for line in _post(f"{server.address}/api/generate", body)]

    assert answer(7) == answer(2**32 + 7) != answer(8)


def _post(url, body):
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as response:
        return response.read().splitlines()


@pytest.mark.parametrize("limit", [0, -1])
def test_limits_that_mean_something_else_to_the_server_are_never_sent(limit):
    """0 is no limit there, and a negative number ten windows. The client refuses them; so does the backend."""
    sampling = SamplingParams(n_predict=limit, chosen=frozenset({"n_predict"}))
    request = GenerationRequest(prompt="Hello", sampling=sampling)
    with pytest.raises(InvalidRequestError, match="n_predict must be at least 1"):
        answer_body(request, "tiny", OllamaOptions(), None)


def test_no_model_and_no_text_are_errors(connect, server):
    with pytest.raises(ModelRequiredError) as caught:
        connect(None).generate("Hello")
    assert "client.pull_model" in caught.value.hint
    with pytest.raises(EmptyPromptError):
        connect().chat([Message("user", "")], completion_format=INSTRUCT)
    assert server.bodies("/api/generate") == []


def test_limit_that_was_chosen_must_fit_the_window(connect, server):
    with pytest.raises(ContextWindowError, match="n_predict=3000 is more than the window of 2048"):
        connect().generate("Hello", 3000)
    connect(ctx_size=256).generate("Hello")
    assert server.bodies("/api/chat")[0]["options"]["num_predict"] == 256


def test_nothing_is_left_unhonoured(connect):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        connect(strict=True, ctx_size=512).generate(
            "Hello", 5, temperature=0.5, top_k=3, top_p=0.5, min_p=0.1, repeat_penalty=1.2, repeat_last_n=3, seed=1,
            n_threads=3, stop="x", system_prompt="s", think=False, completion_format=INSTRUCT,
        )  # fmt: skip


@pytest.mark.parametrize("source", ["argument", "environment"])
def test_key(connect, server, monkeypatch, source):
    server.key = "sk-secret"
    if source == "environment":
        monkeypatch.setenv("OLLAMA_API_KEY", "sk-secret")
    connect(**({"service_key": "sk-secret"} if source == "argument" else {})).generate("Hello", 3)
    assert server.requests[-1].headers["Authorization"] == "Bearer sk-secret"


async def test_async_calls_send_the_same(connect, server):
    client = connect()
    client.generate("Hello", 5, seed=3)
    await client.agenerate("Hello", 5, seed=3)
    first, second = server.bodies("/api/chat")
    assert first == second
    assert server.bodies("/api/show") == [{"model": "tiny"}]
