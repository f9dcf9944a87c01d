"""What `/v1/models` may answer, and what is no list of models."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lollms_openai.models import read_models

from lollms_core import LollmsError, ProtocolError, ServerError
from tests.openai.conftest import MakeClient
from tests.support.openai_stub import OpenAIStub, Reply
from tests.support.results import known


@pytest.mark.parametrize("value", [{"data": [{"id": "a"}, {"id": "b"}]}, [{"id": "a"}, {"id": "b"}]])
def test_both_forms(value: Any) -> None:
    assert [info.name for info in read_models(value)] == ["a", "b"]


def test_a_list_that_is_null_is_empty(client: MakeClient, stub: OpenAIStub) -> None:
    """As Ollama's `/v1/models` where no model is installed."""
    stub.on("/v1/models", lambda _: Reply({"object": "list", "data": None}))
    assert client().list_models() == []


def test_the_only_model_is_another_one_after_a_restart(client: MakeClient, stub: OpenAIStub) -> None:
    one = client(model_name=None)
    stub.models = [{"id": "before"}]
    assert one.generate("hi")
    stub.models = [{"id": "after"}]
    missing = {"error": {"message": "The model `before` does not exist.", "code": "model_not_found"}}
    stub.refuse(Reply(missing, 404), lambda body: body["model"] == "before")
    assert one.generate("hi")
    assert one.generate("hi")
    assert [body["model"] for body in stub.bodies] == ["before", "before", "after", "after"]


@pytest.mark.parametrize("data", [{"a": {"id": "a"}}, "a", 5, True])
def test_what_is_no_list(data: Any) -> None:
    for value in ({"data": data}, data):
        with pytest.raises(ProtocolError, match="is not a list"):
            read_models(value)


@pytest.mark.parametrize(
    ("entry", "named"),
    [
        ({}, "entry 2 has no id"),
        ({"name": "b"}, "entry 2 has no id"),
        ({"id": None}, "the id of entry 2 is null"),
        ({"id": 7}, "the id of entry 2 is a number: 7"),
        ({"id": 1.5}, "the id of entry 2 is a number: 1.5"),
        ({"id": True}, "the id of entry 2 is true or false"),
        ({"id": ["b"]}, "the id of entry 2 is a list"),
        ({"id": {"b": 1}}, "the id of entry 2 is an object"),
        ({"id": ""}, "the id of entry 2 is empty"),
        ({"id": " \n"}, "the id of entry 2 is empty"),
        ("b", "entry 2 is a text: 'b'"),
        (None, "entry 2 is null"),
        ([], "entry 2 is a list"),
    ],
)
def test_an_entry_that_is_no_model_is_named(client: MakeClient, stub: OpenAIStub, entry: Any, named: str) -> None:
    stub.models = [{"id": "a"}, entry, {"id": "c"}]
    with pytest.raises(ProtocolError) as caught:
        client().list_models()
    assert named in caught.value.message


@pytest.mark.parametrize(
    "value",
    [
        {"error": {"message": "boom"}},
        {"detail": "boom"},
        {"object": "error", "message": "boom"},
        {"data": [], "error": "boom"},
    ],
)
def test_an_error_in_place_of_the_list(client: MakeClient, stub: OpenAIStub, value: Any) -> None:
    stub.on("/v1/models", lambda _: Reply(value))
    with pytest.raises(ServerError, match="boom"):
        client().list_models()


@pytest.mark.parametrize("size", [True, "4096", 0, -1, None, 1.5])
def test_a_window_that_is_none(size: Any) -> None:
    [info] = read_models([{"id": "a", "context_length": size}])
    assert info.context_window is None


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["data", "id", "error", "detail"]), inner)
    ),
    max_leaves=8,
)


@given(anything)
def test_each_entry_is_a_model_or_the_list_is_an_error(value: Any) -> None:
    entries = value.get("data") if isinstance(value, dict) else value
    try:
        models = read_models(value)
    except LollmsError:
        return
    assert [info.name for info in models] == [entry["id"] for entry in known(entries or [])]
    assert all(info.name.strip() for info in models)
