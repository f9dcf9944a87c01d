"""Models, embeddings, downloads; and that importing and choosing the format costs nothing."""

from __future__ import annotations

import json
import subprocess
import sys
import threading

import pytest
from lollms_ollama.models import listed_models, parameter_count, shown_model

from lollms_core import (
    APIStatusError,
    ContextWindowError,
    IncompleteStreamError,
    LollmsClient,
    ModelInfo,
    ModelNotFoundError,
    ProtocolError,
    PullModelRequest,
    PullProgress,
    UnsupportedError,
)
from tests.support.ollama_server import MODELS, Model, Reply
from tests.support.waiting import PATIENCE


def test_list_models(connect):
    client = connect(None)
    assert client.list_models() == [f"{name}:latest" for name in MODELS]
    first = client.list_models(details=True)[0]
    assert (first.name, first.parameters, first.dtype) == ("tiny:latest", 134_520_000, "Q4_1")
    assert (first.size_bytes, first.context_window) == (98_000_000, 2048)
    assert first.metadata["details"]["family"] == "tiny"


def test_capabilities_of_the_list_and_of_the_model_can_differ(connect):
    client = connect("tiny")
    assert client.list_models(details=True)[0].capabilities == ("completion", "vision", "embedding")
    assert client.model_info().capabilities == ("completion", "vision", "thinking", "embedding")


@pytest.mark.parametrize("length", [None, "8192", 0, True])
def test_a_list_that_does_not_tell_windows(length):
    [model] = listed_models({"models": [{"name": "m", "details": {"context_length": length}}]})
    assert model.context_window is None


@pytest.mark.parametrize("answer", [{"models": []}, {"models": None}])
def test_a_server_without_models(connect, server, answer):
    server.replies["/api/tags"].append(Reply(lines=[answer]))
    assert connect(None).list_models() == []


@pytest.mark.parametrize("answer", [[], {}, {"models": {}}, {"models": ["tiny"]}, 3])
def test_what_is_no_list_of_models(answer):
    with pytest.raises(ProtocolError):
        listed_models(answer)


def test_model_info(connect, server):
    info = connect().model_info()
    assert (info.name, info.context_window, info.parameters, info.dtype) == ("tiny", 2048, 134515008, "Q4_1")
    assert info.capabilities == ("completion", "vision", "thinking", "embedding")
    assert info.metadata["details"]["format"] == "gguf"
    assert "license" not in info.metadata
    assert connect().model_info("tiny-embed").capabilities == ("embedding",)
    with pytest.raises(ModelNotFoundError, match="model 'none:latest' not found") as caught:
        connect().model_info("none")
    assert "`client.pull_model('none')`" in caught.value.hint
    assert connect().model_info("tiny:latest").capabilities == info.capabilities
    assert [body["model"] for body in server.bodies("/api/show")] == ["tiny", "tiny-embed", "none", "tiny:latest"]


def test_an_error_under_200_is_no_model(connect, server):
    server.replies["/api/show"].append(Reply(lines=[{"error": "model 'tiny' not found"}]))
    with pytest.raises(ModelNotFoundError, match="model 'tiny' not found"):
        connect().model_info()


@pytest.mark.parametrize("end", ["/v1", "/api"])
def test_an_address_that_goes_too_far(server, end):
    with LollmsClient(
        default_generation_mode="ollama", host_address=server.address + end, model_name="tiny", raise_errors=True
    ) as client:
        with pytest.raises(APIStatusError) as caught:
            client.generate("hello")
    assert caught.value.hint == f"Leave {end} out of host_address: it is the address of the server alone."


def test_an_answer_needs_no_word_about_the_model(connect, server):
    server.replies["/api/show"].append(Reply(lines=[{"error": "no such route"}]))
    assert connect().generate("hello")


@pytest.mark.parametrize(
    ("facts", "length"),
    [
        ({"general.architecture": "gemma4", "gemma4.context_length": 131072}, 131072),
        ({"general.architecture": "gemma4", "gemma4.context_length": 8192, "gemma4.vision.context_length": 5}, 8192),
        ({"llama.context_length": 4096}, 4096),
        ({"general.architecture": "a", "b.context_length": 0}, None),
        ({"general.architecture": "a", "a.context_length": True}, None),
        ({"b.context_length": 1, "c.context_length": 2}, None),
        ({}, None),
    ],
)
def test_context_length(facts, length):
    shown, info = shown_model("m", {"model_info": facts})
    assert shown.context_length == info.context_window == length


@pytest.mark.parametrize(
    ("parameters", "own"),
    [
        ("temperature 0.7\nnum_ctx 2048", 2048),
        ("num_ctx                        8192", 8192),
        ("num_ctx 0", None),
        ('stop "num_ctx 5"', None),
        ("", None),
        (None, None),
    ],
)
def test_window_of_the_modelfile(parameters, own):
    assert shown_model("m", {"parameters": parameters})[0].own_num_ctx == own


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("8.0B", 8 * 10**9),
        ("137M", 137 * 10**6),
        ("22.57M", 22570000),
        ("1.5T", 15 * 10**11),
        ("100k", 10**5),
        ("7", 7),
        ("", None),
        ("0B", None),
        ("8x7B", None),
        ("9" * 400, None),
        (None, None),
    ],
)
def test_parameter_count(text, count):
    assert parameter_count(text) == count


def test_embed(connect, server):
    client = connect("tiny-embed")
    one, many = client.embed("The sea"), client.embed(["The sea", "A tower"])
    assert many[0] == one != many[1]
    assert len(one) == 16
    assert server.bodies("/api/embed") == [
        {"model": "tiny-embed", "input": ["The sea"], "truncate": False, "options": {"num_ctx": 64}},
        {"model": "tiny-embed", "input": ["The sea", "A tower"], "truncate": False, "options": {"num_ctx": 64}},
    ]


def test_text_too_long_to_embed_is_an_error_unless_cutting_is_allowed(connect, server):
    with pytest.raises(ContextWindowError, match="exceeds the context length") as caught:
        connect("tiny-embed").embed("the sea " * 100)
    assert "num_batch" in caught.value.hint
    assert "n_predict" not in caught.value.hint, "an embedding has no such thing"
    assert len(connect("tiny-embed", truncate=True, ctx_size=32).embed("the sea " * 100)) == 16
    assert server.bodies("/api/embed")[-1]["truncate"] is True
    assert server.bodies("/api/embed")[-1]["options"] == {"num_ctx": 32}


@pytest.mark.parametrize("truncate", [None, True])
def test_a_text_to_embed_is_bounded_by_the_batch_and_not_by_the_window(connect, server, truncate):
    server.models["long"] = Model(("embedding",), context_length=8192)
    text = "the sea " * 1500
    with pytest.raises(ContextWindowError) as caught:
        connect("long", truncate=truncate).embed(text)
    assert "model_options={'num_batch': …}" in caught.value.hint
    assert len(connect("long", truncate=truncate, model_options={"num_batch": 8192}).embed(text)) == 16


@pytest.mark.parametrize(
    "said",
    [
        "the input is too long for the model",
        "input (3000 tokens) is too large to process. increase the physical batch size (current batch size: 2048)",
        "the input length exceeds the context length",
    ],
)
def test_a_text_that_is_too_long_to_embed_whatever_the_status(connect, server, said):
    server.replies["/api/embed"].append(Reply(500, [{"error": said}]))
    with pytest.raises(ContextWindowError) as caught:
        connect(max_retries=0).embed("The sea")
    assert "Split the text" in caught.value.hint


def test_model_that_does_not_embed(connect):
    with pytest.raises(UnsupportedError, match="the model tiny-text does not support embeddings") as caught:
        connect("tiny-text").embed("The sea")
    assert caught.value.status_code == 501
    assert "`client.pull_model('nomic-embed-text')`" in caught.value.hint
    assert "--embeddings" not in f"{caught.value} {caught.value.hint}", "that is about another program"


def test_model_that_does_not_embed_as_older_servers_say_it(connect, server):
    server.replies["/api/embed"].append(Reply(500, [{"error": "this model does not support embeddings"}]))
    with pytest.raises(UnsupportedError, match="the model tiny does not support embeddings"):
        connect(max_retries=2).embed("The sea")
    assert len(server.bodies("/api/embed")) == 1


def test_model_to_embed_with_that_is_not_there(connect):
    with pytest.raises(ModelNotFoundError) as caught:
        connect("none").embed("The sea")
    assert "client.pull_model('none')" in caught.value.hint


@pytest.mark.parametrize("answer", [{}, {"embeddings": []}, {"embeddings": [["a"]]}, {"embeddings": [3]}, []])
def test_what_is_no_embedding(connect, server, answer):
    server.replies["/api/embed"].append(Reply(lines=[answer]))
    with pytest.raises(ProtocolError, match="embedding"):
        connect().embed("The sea")


# --- downloads --------------------------------------------------------------------------------------------------------


def test_pull(connect, server):
    client = connect("new")
    with pytest.raises(ModelNotFoundError):
        client.generate("Hello")
    total = 98_000_000
    layer = "pulling 8daa9615cce3"
    assert list(client.pull_model("new")) == [
        PullProgress("pulling manifest"),
        PullProgress(layer, None, total),
        PullProgress(layer, 49_000_000, total),
        PullProgress(layer, total, total),
        PullProgress("verifying sha256 digest"),
        PullProgress("writing manifest"),
        PullProgress("success"),
    ]
    assert server.bodies("/api/pull") == [{"model": "new", "stream": True}]
    assert client.generate("Hello", 3)


async def test_pull_async(connect):
    assert [step.status async for step in connect().apull_model("new")][-1] == "success"


def test_pull_begins_with_its_first_step(connect, server):
    connect().pull_model("new").close()
    assert server.bodies("/api/pull") == []


def test_pull_of_a_name_that_the_library_has_not(connect):
    with pytest.raises(ModelNotFoundError, match="file does not exist") as caught:
        list(connect().pull_model("missing-model"))
    assert "spelling" in caught.value.hint


@pytest.mark.parametrize("cut", [True, False])
def test_pull_that_is_cut_off(connect, server, cut):
    server.replies["/api/pull"].append(Reply(lines=[{"status": "pulling manifest"}], cut=cut))
    with pytest.raises(IncompleteStreamError):
        list(connect().pull_model("new"))


def test_closing_a_pull_ends_the_servers_work(connect, server):
    progress = connect().pull_model("silent")
    assert next(progress) == PullProgress("pulling manifest")
    progress.close()
    assert server.gone.wait(PATIENCE)


def test_pull_can_be_cancelled_from_another_thread(connect, server):
    request = PullModelRequest(model="silent")
    steps = iter(connect().backend.pull_model(request))
    assert next(steps) == PullProgress("pulling manifest")
    threading.Thread(target=request.cancel.cancel).start()
    assert list(steps) == []
    assert server.gone.wait(PATIENCE)


async def test_the_stream_of_a_pull_is_native_to_async_callers(connect):
    steps = [step async for step in connect().backend.pull_model(PullModelRequest(model="new"))]
    assert steps[0] == PullProgress("pulling manifest")


def test_import_is_light():
    code = "import sys, lollms_ollama; print([m for m in ('requests', 'aiohttp', 'tiktoken') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_metadata_can_be_written_as_json(connect):
    assert json.dumps(dict(connect().complete("Hello", 3).metadata))
    assert isinstance(connect().model_info(), ModelInfo)
