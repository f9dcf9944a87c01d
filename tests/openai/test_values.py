"""Models, tokens, vectors and schemas."""

from __future__ import annotations

import json

import pytest
from pydantic import BaseModel

from lollms_core import (
    APIConnectionError,
    BackendError,
    InvalidRequestError,
    ModelNotFoundError,
    ModelRequiredError,
    ServerError,
    UnsupportedError,
)
from lollms_core.tokenizers import encoding_for
from tests.openai.conftest import MakeClient
from tests.support.openai_stub import OpenAIStub, Recorded, Reply, error
from tests.support.results import result_of


def test_models_in_every_shape(client: MakeClient, stub: OpenAIStub) -> None:
    stub.models = [{"id": "a", "max_model_len": 2048}, {"id": "b", "context_length": 8192}, {"id": "c"}]
    assert client().list_models() == ["a", "b", "c"]
    assert [info.context_window for info in result_of(client().list_models(details=True))] == [2048, 8192, None]
    stub.on("/v1/models", lambda _: Reply(stub.models))
    assert client().list_models() == ["a", "b", "c"]


def test_the_only_model_is_taken(client: MakeClient, stub: OpenAIStub) -> None:
    one = client(model_name=None)
    one.generate("Hi?")
    one.generate("Hi?")
    assert [request.path for request in stub.requests] == ["/v1/models", *["/v1/chat/completions"] * 2]
    assert stub.bodies[0]["model"] == "stub-model"


def test_of_several_models_one_must_be_named(client: MakeClient, stub: OpenAIStub) -> None:
    stub.models = [{"id": "a"}, {"id": "b"}]
    with pytest.raises(ModelRequiredError, match=r"2 models.*a, b"):
        client(model_name=None).generate("Hi?")
    assert client(model_name=None).generate("Hi?", model_name="b") == "Hello from the stub."


def test_adapters_are_not_counted_as_models(client: MakeClient, stub: OpenAIStub) -> None:
    stub.models = [{"id": "base", "parent": None}, {"id": "adapter", "parent": "base"}]
    client(model_name=None).generate("Hi?")
    assert stub.bodies[0]["model"] == "base"


def test_what_is_known_about_a_model(client: MakeClient, stub: OpenAIStub) -> None:
    stub.models = [{"id": "stub-model", "max_model_len": 4096, "owned_by": "me"}]
    info = result_of(client().model_info())
    assert (info.name, info.context_window, info.metadata["owned_by"]) == ("stub-model", 4096, "me")
    with pytest.raises(ModelNotFoundError, match="stub-modle") as caught:
        client().model_info("stub-modle")
    assert "stub-model" in caught.value.hint


def test_vllms_model_looks_the_same_each_time(client: MakeClient, stub: OpenAIStub) -> None:
    stub.models = [
        {"id": "stub-model", "owned_by": "vllm", "created": 1, "permission": [{"id": "random"}], "root": "x"}
    ]
    assert result_of(client().model_info()).metadata == {"id": "stub-model", "owned_by": "vllm", "root": "x"}


def bytes_route(request: Recorded) -> Reply:
    """A tokenizer whose tokens are bytes, in vLLM's shape."""
    if request.path == "/tokenize":
        return Reply({"tokens": list(request.body["prompt"].encode()), "count": 0, "max_model_len": 2048})
    return Reply({"prompt": bytes(request.body["tokens"]).decode()})


def test_the_servers_tokenizer(client: MakeClient, stub: OpenAIStub) -> None:
    stub.on("/tokenize", bytes_route)
    stub.on("/detokenize", bytes_route)
    one = client()
    assert one.tokenize("hé") == [104, 195, 169]
    assert one.detokenize([104, 195, 169]) == "hé"
    count = result_of(one.count_tokens("hé"))
    assert (count, count.exact) == (3, True)
    assert stub.bodies[0]["add_special_tokens"] is False
    assert stub.bodies[0]["model"] == "stub-model"


def test_a_server_with_llama_cpps_tokenizer(client: MakeClient, stub: OpenAIStub) -> None:
    stub.on("/tokenize", lambda request: Reply({"tokens": list(request.body["content"].encode())}))
    stub.on("/detokenize", lambda request: Reply({"content": bytes(request.body["tokens"]).decode()}))
    assert client().detokenize(result_of(client().tokenize("hello"))) == "hello"


@pytest.mark.parametrize(
    "reply",
    [
        Reply({"detail": "Not Found"}, 404),
        Reply("<html>Not here</html>", content_type="text/html"),
        Reply({"tokens": []}),
        Reply({"error": "no such route"}, 405),
        error(400, "no such route"),
        error(401, "this route needs another key"),
        error(403, "this route is not for you"),
        error(500, "no handler"),
    ],
)
def test_without_a_tokenizer_it_asks_once(client: MakeClient, stub: OpenAIStub, reply: Reply) -> None:
    stub.on("/tokenize", lambda _: reply)
    one = client(max_retries=0)
    count = result_of(one.count_tokens("hello there"))
    assert (count, count.exact) == (len(encoding_for("stub-model").encode("hello there")), False)
    assert one.detokenize(result_of(one.tokenize("hello there"))) == "hello there"
    assert [request.path for request in stub.requests] == ["/tokenize"]


def test_a_moments_failure_is_not_taken_for_a_server_without_a_tokenizer(client: MakeClient, stub: OpenAIStub) -> None:
    loading = [error(503, "loading the model")]
    stub.on("/tokenize", lambda request: loading.pop() if loading else bytes_route(request))
    one = client(max_retries=0)
    with pytest.raises(ServerError, match="loading"):
        one.tokenize("hello")
    assert one.tokenize("hi") == [104, 105]


def test_a_server_that_is_down_is_not_a_server_without_a_tokenizer(client: MakeClient, stub: OpenAIStub) -> None:
    stub.stop()
    with pytest.raises(APIConnectionError):
        client().count_tokens("hello")


def test_openais_tokens_are_counted_here(openai_client: MakeClient, stub: OpenAIStub) -> None:
    one = openai_client(model_name="gpt-4")
    assert one.tokenize("hello there") == encoding_for("gpt-4").encode("hello there")
    assert one.detokenize(result_of(one.tokenize("hello there"))) == "hello there"
    assert result_of(one.count_tokens("hello there")).exact == encoding_for("gpt-4").exact
    assert stub.requests == []


def test_vectors_come_in_the_order_of_the_texts(client: MakeClient, stub: OpenAIStub) -> None:
    assert client().embed(["a", "bbb", "cc"]) == [[1.0, 0.5], [3.0, 0.5], [2.0, 0.5]]
    assert client().embed("four") == [4.0, 0.5]
    client(embedding_model="embedder").embed("four")
    assert [body["model"] for body in stub.bodies] == ["stub-model", "stub-model", "embedder"]
    assert stub.bodies[0]["input"] == ["a", "bbb", "cc"]


def test_many_texts_are_several_requests(client: MakeClient, stub: OpenAIStub) -> None:
    vectors = client().embed([f"{number:04}" for number in range(2050)])
    assert len(vectors) == 2050
    assert [len(body["input"]) for body in stub.bodies] == [2048, 2]


def test_a_server_without_embeddings(client: MakeClient, stub: OpenAIStub) -> None:
    stub.on("/v1/embeddings", lambda _: Reply({"detail": "Not Found"}, 404))
    with pytest.raises(UnsupportedError, match="embeddings"):
        client().embed("four")


class City(BaseModel):
    name: str
    people: int


def test_a_schema_is_asked_for_and_the_way_is_told(client: MakeClient, stub: OpenAIStub) -> None:
    stub.answer = ['{"name": "Pa', 'ris", "people": 2100000}']
    completion = result_of(client().complete("The capital of France", json_schema=City))
    assert json.loads(completion.text) == {"name": "Paris", "people": 2100000}
    assert completion.metadata["json_schema"] == "response_format: json_schema, strict"
    assert stub.bodies[0]["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "City", "schema": City.model_json_schema(), "strict": True},
    }


def test_a_schema_that_was_ignored_is_an_error(client: MakeClient, stub: OpenAIStub) -> None:
    stub.answer = ["Paris, of course!"]
    with pytest.raises(BackendError, match="JSON schema") as caught:
        client().generate("The capital of France", json_schema=City)
    assert caught.value.partial_text == "Paris, of course!"


def test_a_schema_that_the_server_refuses(client: MakeClient, stub: OpenAIStub) -> None:
    text = (
        "Invalid schema for response_format 'City': 'additionalProperties' is required to be supplied and to be false."
    )
    stub.refuse(error(400, text, param="response_format"), lambda body: "response_format" in body)
    with pytest.raises(InvalidRequestError, match="refused the JSON schema") as caught:
        client().generate("The capital of France", json_schema=City)
    assert "additionalProperties: false" in caught.value.hint
    assert len(stub.requests) == 1
