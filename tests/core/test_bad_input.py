"""Bad input gets a clear error, and nothing is left behind."""

from __future__ import annotations

import asyncio
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lollms_core import LollmsClient
from lollms_core._client.argument_checks import check_text, checked_number
from lollms_core.contract import errors


@pytest.fixture
def client():
    with LollmsClient(default_generation_mode="echo") as client:
        yield client


@pytest.mark.parametrize(
    ("call", "type", "words"),
    [
        ({"prompt": ""}, "EmptyPromptError", "empty"),
        ({"prompt": "a\ud800b"}, "InvalidRequestError", r"lone surrogate \(U\+D800\) at position 1"),
        ({"prompt": "a\0b"}, "InvalidRequestError", "NUL character at position 1"),
        ({"prompt": "x", "n_predict": 0}, "InvalidRequestError", "n_predict must be at least 1, not 0"),
        ({"prompt": "x", "n_predict": -5}, "InvalidRequestError", "at least 1"),
        ({"prompt": "x", "temperature": -0.1}, "InvalidRequestError", "temperature must be at least 0"),
        ({"prompt": "x", "top_p": 1.5}, "InvalidRequestError", "top_p must be between 0 and 1, not 1.5"),
        ({"prompt": "x", "top_p": -0.1}, "InvalidRequestError", "top_p"),
        ({"prompt": "x", "top_k": -1}, "InvalidRequestError", "top_k"),
        ({"prompt": "x", "repeat_penalty": 0}, "InvalidRequestError", "repeat_penalty"),
        ({"prompt": "x", "temperature": float("nan")}, "InvalidRequestError", "finite"),
        ({"prompt": "x", "images": ["no/such/file.png"]}, "ImageError", "no/such/file.png"),
        ({"prompt": "x", "system_prompt": "\udfff"}, "InvalidRequestError", "system_prompt"),
    ],
)
def test_values_that_cannot_work(client, call, type, words):
    import re

    error = client.generate(**call)
    assert error["status"] is False
    assert error["type"] == type
    assert re.search(words, error["error"])


@pytest.mark.parametrize(
    "call",
    [
        {"prompt": 5},
        {"prompt": b"bytes"},
        {"prompt": None},
        {"prompt": "x", "n_predict": "many"},
        {"prompt": "x", "n_predict": 1.5},
        {"prompt": "x", "n_predict": True},
        {"prompt": "x", "temperature": "hot"},
        {"prompt": "x", "stop": [1]},
        {"prompt": "x", "images": "one.png"},
        {"prompt": "x", "no_such_option": 1},
        {"prompt": "x", "json_schema": 3},
    ],
)
def test_wrong_types_always_raise(client, call):
    with pytest.raises(TypeError):
        client.generate(**call)


@pytest.mark.parametrize("call", ["generate_code", "generate_codes"])
@pytest.mark.parametrize("prompt", ["", None])
def test_nothing_to_write_code_for(client, call, prompt):
    wanted = client.generate("")
    assert getattr(client, call)(prompt) == wanted
    assert asyncio.run(getattr(client, f"a{call}")(prompt)) == wanted
    client.raise_errors = True
    with pytest.raises(errors.EmptyPromptError, match="the prompt is empty"):
        getattr(client, call)(prompt)


def test_a_template_is_something_to_write_code_for(client):
    assert client.generate_code("", template="x = 1") == "x = 1"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"prompt": 5}, "prompt must be a str, not int"),
        ({"prompt": b""}, "prompt must be a str, not bytes"),
        ({"prompt": "```\nx\n```", "max_continuations": "3"}, "max_continuations must be an int, not str"),
        ({"prompt": "```\nx\n```", "max_continuations": True}, "max_continuations must be an int, not bool"),
    ],
)
def test_wrong_types_are_refused_before_the_model_is_asked_for_code(client, arguments, said):
    seen = []
    with pytest.raises(TypeError, match=said):
        client.generate_code(**arguments, streaming_callback=lambda piece, kind: seen.append(piece))
    assert not seen


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "there is nothing to embed"),
        ([], "there is nothing to embed"),
        ("", "there is nothing to embed: a text is empty"),
        (["a", ""], "there is nothing to embed: a text is empty"),
    ],
)
def test_nothing_to_embed(client, text, said):
    error = client.embed(text)
    assert (error["type"], error["error"]) == ("InvalidRequestError", said)


@pytest.mark.parametrize(("text", "name"), [(5, "int"), ([None], "NoneType"), (b"ab", "int")])
def test_what_is_no_text_to_embed(client, text, name):
    with pytest.raises(TypeError, match=f"text must be a str.*, not {name}"):
        client.embed(text)


@pytest.mark.parametrize("tokens", ["text", None, [1.5], ["1"], [True], 7])
def test_tokens_of_a_wrong_type(client, tokens):
    with pytest.raises(TypeError):
        client.detokenize(tokens)


def test_tokens_that_are_none(client):
    assert client.detokenize([-1])["type"] == "InvalidRequestError"
    assert client.detokenize([300])["type"] == "InvalidRequestError"


@pytest.mark.parametrize(
    "messages", [[], [{"role": "robot", "content": "x"}], [{"role": "user", "content": [{"type": "audio"}]}]]
)
def test_conversations_that_cannot_work(client, messages):
    assert client.chat(messages)["type"] in {"InvalidRequestError", "EmptyPromptError"}


def test_messages_of_a_wrong_type(client):
    with pytest.raises(TypeError):
        client.chat(["hello"])
    with pytest.raises(TypeError):
        client.complete({"role": "user"})


def test_a_format_of_a_wrong_type():
    with pytest.raises(TypeError):
        LollmsClient(default_generation_mode=3)  # type: ignore[arg-type]


@given(st.text())
def test_text_that_can_be_encoded_passes_and_other_text_is_refused(text):
    sendable = "\0" not in text and not any("\ud800" <= c <= "\udfff" for c in text)
    if sendable:
        assert check_text(text, "prompt") is text
    else:
        with pytest.raises(errors.InvalidRequestError):
            check_text(text, "prompt")


@given(st.one_of(st.floats(), st.integers(), st.text(), st.booleans(), st.none()))
def test_a_number_is_checked_or_refused_with_a_documented_error(value):
    for name in ("temperature", "top_p", "n_predict", "top_k", "seed", "repeat_penalty"):
        try:
            number = checked_number(name, value)
        except (TypeError, errors.InvalidRequestError):
            continue
        assert number in (value, float(value))


def test_a_number_beyond_every_float_is_refused(client):
    assert client.generate("x", temperature=10**400)["type"] == "InvalidRequestError"


ALL_ERRORS = [
    value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, errors.LollmsError)
]


@pytest.mark.parametrize("error_class", ALL_ERRORS, ids=lambda e: e.__name__)
def test_errors_survive_a_process_boundary(error_class):
    error = error_class("it failed", hint="do that", status_code=418, partial_text="so far")
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is error_class
    assert copy.to_dict() == error.to_dict()
    assert str(copy) == "it failed"
    assert copy.__notes__ == ["Hint: do that"]


def test_a_stream_is_asked_for_by_its_own_call() -> None:
    wrong: Any = {"stream": True}
    with LollmsClient(default_generation_mode="echo", raise_errors=True) as client:
        with pytest.raises(TypeError, match=r"'stream' is not an option.*`client\.stream\(\)` gives"):
            client.generate("x", **wrong)
