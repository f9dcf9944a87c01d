"""The window that is asked for and the one that a request gets, and prompts that do not fit into it."""

from __future__ import annotations

import warnings
from dataclasses import replace

import pytest
from lollms_ollama import TruncatedPromptWarning
from lollms_ollama.models import loaded_window, same_model

from lollms_core import (
    ELF_COMPLETION_FORMAT,
    ContextWindowError,
    Message,
    ModelLoadError,
    ModelNotFoundError,
    ProtocolError,
    ServerError,
    ToolCall,
    ToolResult,
    UnsupportedError,
)
from lollms_core.testing import png
from tests.ollama.runner import full_name
from tests.ollama.texts import ENGLISH, PROSE, TEXTS
from tests.ollama.tiny_model import tokens_of
from tests.support.ollama_server import Reply

INSTRUCT = ELF_COMPLETION_FORMAT.Instruct
DONE = {"message": {"role": "assistant", "content": "Hi"}, "done": True, "done_reason": "stop"}


def num_ctx(server):
    return [body["options"].get("num_ctx") for body in server.bodies("/api/chat")]


# --- what is asked for --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "options", "sent", "window"),
    [
        ("tiny", {}, 2048, 2048),  # the guide's 32000 is more than the model has
        ("tiny-large", {}, 32000, 32000),
        ("tiny-large", {"ctx_size": 100000}, 100000, 100000),
        ("tiny-large", {"ctx_size": None}, None, 4096),  # the server's own choice
        ("tiny", {"ctx_size": None}, None, 2048),
        ("tiny", {"ctx_size": 512}, 512, 512),
        ("tiny", {"ctx_size": 32000}, 32000, 2048),  # chosen: sent as it is, the server bounds it
        ("tiny-pinned", {}, None, 512),  # its Modelfile says 512
        ("tiny-pinned", {"ctx_size": 1024}, 1024, 1024),
    ],
)
def test_window(connect, server, model, options, sent, window):
    client = connect(model, **options)
    client.generate("Hello", 3)
    assert num_ctx(server) == [sent]
    assert client.model_info().context_window == window
    assert [loaded.window for loaded in server.runners.running()] == [window]


def test_default_does_not_bound_a_model_that_runs_elsewhere(connect, server):
    model_info = {"general.architecture": "big", "big.context_length": 262144}
    server.replies["/api/show"].append(Reply(lines=[{"remote_host": "https://ollama.com", "model_info": model_info}]))
    connect().generate("Hello", 3)
    assert num_ctx(server) == [None]
    assert [request.path for request in server.requests] == ["/api/show", "/api/chat"]


@pytest.mark.parametrize("status", [404, 405, 400, 501])
def test_server_without_the_route_is_not_asked_again(connect, server, status):
    server.replies["/api/show"].append(Reply(status, [{"error": "404 page not found"}]))
    client = connect()
    client.generate("Hello", 3)
    client.generate("Hello", 3)
    assert [request.path for request in server.requests] == ["/api/show", "/api/chat", "/api/chat"]
    assert num_ctx(server) == [None, None]


def test_server_that_fails_is_asked_again(connect, server):
    server.replies["/api/show"].append(Reply(500, [{"error": "out of luck"}]))
    client = connect()
    with pytest.raises(ServerError, match="out of luck"):
        client.generate("Hello", 3)
    client.generate("Hello", 3)
    assert num_ctx(server) == [2048]


@pytest.mark.parametrize(
    "answer", [{}, {"model_info": None, "capabilities": None}, {"model_info": {"a.context_length": "x"}}]
)
def test_a_model_of_which_nothing_is_said(connect, server, answer):
    server.replies["/api/show"].append(Reply(lines=[answer]))
    connect().generate_with_images("Hello", [png(0, 0, 0)])
    assert num_ctx(server) == [None]


# --- a window that nobody chose -----------------------------------------------------------------------------


def test_window_that_nobody_chose_is_read_from_the_server_once(connect, server):
    client = connect("tiny-large", ctx_size=None, model_options={"num_gpu": 1}, keep_alive=0)
    for _ in range(2):
        client.generate("Hello")
    assert [request.path for request in server.requests] == [
        "/api/show", "/api/generate", "/api/ps", "/api/chat", "/api/chat",
    ]  # fmt: skip
    [load] = server.bodies("/api/generate")
    assert (load["model"], load["stream"], load["options"]["num_gpu"]) == ("tiny-large", False, 1)
    assert not {"prompt", "keep_alive"} & set(load)
    assert len(server.runners.loads) == 1, "the request loaded the model anew"
    assert server.bodies("/api/chat")[0]["options"]["num_predict"] == 4096


def test_the_limit_is_bounded_by_a_window_that_nobody_chose(connect, server):
    client = connect(ctx_size=None)
    client.generate("Hello")
    assert server.bodies("/api/chat")[0]["options"]["num_predict"] == 2048
    with pytest.raises(ContextWindowError, match="more than the window of 2048"):
        client.generate("Hello", 3000)


def test_window_of_another_client_does_not_mislead(connect, server):
    connect("tiny-large", ctx_size=512).generate("Hello", 3)
    client = connect("tiny-large", ctx_size=None)
    with pytest.warns(TruncatedPromptWarning, match=r"\(num_ctx\) is 4096"):
        client.generate(ENGLISH * 150, 3)


def test_model_info_loads_nothing(connect, server):
    assert connect("tiny-large", ctx_size=None).model_info().context_window == 131072
    assert server.runners.loads == []


@pytest.mark.parametrize("path", ["/api/generate", "/api/ps"])
@pytest.mark.parametrize("status", [400, 404, 501])
def test_server_that_cannot_say_its_window(connect, server, path, status):
    client = connect("tiny-large", ctx_size=None)
    server.replies[path].append(Reply(status, [{"error": "404 page not found"}]))
    assert client.generate("Hello", 3)
    server.replies["/api/ps"].append(Reply(status, [{"error": "404 page not found"}]))
    assert client.model_info().context_window == 131072


def test_what_keeps_a_model_from_loading_is_said(connect, server):
    client = connect(ctx_size=None)
    short = {"error": "model requires more system memory (8.4 GiB) than is available (3.2 GiB)"}
    server.replies["/api/generate"].append(Reply(500, [short]))
    with pytest.raises(ModelLoadError):
        client.generate("Hello")
    assert client.generate("Hello", 3)


def test_model_that_does_not_write(connect):
    for size in (None, 64):
        with pytest.raises(UnsupportedError, match=r"tiny-embed\" does not support (chat|generate)") as caught:
            connect("tiny-embed", ctx_size=size).generate("Hello", 3)
        assert "completion" in caught.value.hint


@pytest.mark.parametrize(
    ("name", "window"), [("a", 4096), ("A:LATEST", 4096), ("b:7b", 8192), ("b", None), ("c", None), ("d", None)]
)
def test_loaded_window(name, window):
    models = [
        {"name": "a:latest", "context_length": 4096},
        {"name": "x", "model": "b:7b", "context_length": 8192},
        {"name": "d", "context_length": 0},
    ]
    assert loaded_window({"models": models}, name) == window
    assert loaded_window({"models": None}, name) is None
    with pytest.raises(ProtocolError, match="/api/ps"):
        loaded_window({}, name)


def test_names():
    assert same_model("hf.co/Someone/Model", "hf.co/someone/model:latest")
    assert not same_model("a:7b", "a")
    assert not same_model("localhost:5000/a", "localhost:5000/b")


# --- cut prompts --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cut", ["half", "full"])
@pytest.mark.parametrize("format", list(ELF_COMPLETION_FORMAT))
def test_cut_prompt_is_noticed(connect, server, cut, format):
    server.cut = cut
    client = connect(ctx_size=512)
    with pytest.warns(TruncatedPromptWarning, match=r"the model saw \d+; the window \(num_ctx\) is 512\. Set a larger"):
        completion = client.complete(ENGLISH * 40, 3, completion_format=format)
    assert completion.metadata["prompt_truncated"] is True
    assert completion.usage.prompt_tokens == (512 if cut == "full" else 258)


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
@pytest.mark.parametrize("size", [512, None])
def test_cut_prompt_is_noticed_in_any_language(connect, text, size):
    """With the first request, and where it is a quarter longer than the window."""
    window = size or 2048
    prompt = text * (window // len(tokens_of(text)) + 1)
    prompt += prompt[: len(prompt) // 4]
    with pytest.warns(TruncatedPromptWarning, match=f"is {window}"):
        connect(ctx_size=size).generate(prompt, 3)


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
@pytest.mark.parametrize("filled", [0.2, 0.5, 0.9])
def test_prompt_that_fits_is_no_alarm(connect, text, filled):
    prompt = text * int(filled * 2000 / len(tokens_of(text)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        completion = connect().complete(prompt or text, 3)
    assert completion.usage.prompt_tokens >= len(tokens_of(prompt))
    assert "prompt_truncated" not in completion.metadata


def test_the_models_own_window_cannot_be_raised(connect):
    with pytest.warns(TruncatedPromptWarning, match=r"is 2048\. Shorten the prompt"):
        connect(ctx_size=100000).generate(ENGLISH * 150, 3)


READ = ToolCall(name="read_file", arguments={"path": "a.txt"}, id="1")
WRITE = ToolCall(name="write_file", arguments={"text": ENGLISH * 40}, id="1")
READ_AND_WRITTEN = [
    [READ, ToolResult(text=ENGLISH * 40, id="1", name="read_file")],
    [WRITE, ToolResult(text="ok", id="1", name="write_file")],
]


@pytest.mark.parametrize(("call", "result"), READ_AND_WRITTEN, ids=["a tool's result", "a tool's arguments"])
def test_cut_prompt_is_noticed_whatever_it_is_that_is_long(connect, server, call, result):
    server.models["tiny"] = replace(server.models["tiny"], capabilities=("completion", "tools"))
    reply = {"message": {"content": "No."}, "done": True, "done_reason": "stop", "prompt_eval_count": 258}
    server.replies["/api/chat"].append(Reply(200, [reply]))
    talk = [Message("user", "Do it."), Message("assistant", [call]), Message("tool", [result])]
    with pytest.warns(TruncatedPromptWarning, match=r"the model saw 258; the window \(num_ctx\) is 512"):
        connect(ctx_size=512).chat(talk, 3)


async def test_cut_prompt_is_noticed_by_async_callers(connect):
    with pytest.warns(TruncatedPromptWarning):
        await connect(ctx_size=512).agenerate(ENGLISH * 40, 3)


def test_window_set_for_one_call(connect):
    client = connect()
    with pytest.warns(TruncatedPromptWarning, match="is 256"):
        client.generate(ENGLISH * 30, 3, extra={"options": {"num_ctx": 256}})


def test_window_of_one_call_bounds_its_limit(connect, server):
    client = connect()
    client.generate("Hello", extra={"options": {"num_ctx": 256}})
    client.generate("Hello", extra={"options": {"num_predict": 3000}})  # said in Ollama's own words
    assert [body["options"]["num_predict"] for body in server.bodies("/api/chat")] == [256, 3000]


def test_truncate_false_makes_it_an_error(connect):
    with pytest.raises(ContextWindowError, match="exceeds the available context size") as caught:
        connect(ctx_size=512, truncate=False).generate(ENGLISH * 40, 3)
    assert "ctx_size" in caught.value.hint


def test_cut_prompt_with_an_image_is_noticed(connect):
    with pytest.warns(TruncatedPromptWarning):
        connect(ctx_size=512).generate_with_images(ENGLISH * 40, [png(1, 2, 3)], n_predict=3)


@pytest.mark.parametrize("text", [*PROSE.values(), "Yes."], ids=[*PROSE, "short lines"])
def test_messages_that_were_left_out_are_noticed(connect, text):
    conversation = [Message(("user", "assistant")[number % 2], text) for number in range(401 if text == "Yes." else 41)]
    with pytest.warns(TruncatedPromptWarning):
        completion = connect(ctx_size=700).complete(conversation, 3)
    assert 350 < completion.usage.prompt_tokens <= 700, "the stand-in cut the last message"


@pytest.mark.parametrize("reported", [None, 0, -5, True, "12"])
def test_count_that_is_missing_proves_nothing(connect, server, reported):
    """A server that speaks Ollama's protocol may leave it out."""
    server.replies["/api/chat"].append(
        Reply(lines=[DONE if reported is None else DONE | {"prompt_eval_count": reported}])
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        connect(ctx_size=512).generate(ENGLISH * 40, 3)


def test_unknown_window_is_not_named(connect, server):
    server.replies["/api/show"].append(Reply(lines=[{}]))
    server.replies["/api/chat"].append(Reply(lines=[DONE | {"prompt_eval_count": 2050}]))
    with pytest.warns(TruncatedPromptWarning, match=r"the model saw 2050\. Set a larger ctx_size"):
        connect().generate(ENGLISH * 200, 3)


# --- one load for all ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [{}, {"ctx_size": 512}, {"ctx_size": None}, {"ctx_size": 512, "n_threads": 3, "model_options": {"num_batch": 64}}],
)
def test_embeddings_and_generations_load_the_model_once(connect, server, options):
    client = connect(**options)
    for _ in range(2):
        client.embed("The sea")
        client.generate("Hello", 3)
    assert [loaded.name for loaded in server.runners.loads] == ["tiny:latest"]


def test_the_stand_in_loads_anew_for_another_window(connect, server):
    connect(ctx_size=512).generate("Hello", 3)
    connect(ctx_size=256).generate("Hello", 3)
    assert [loaded.window for loaded in server.runners.loads] == [512, 256]


def test_name_in_the_hint_is_the_one_to_type(connect):
    with pytest.raises(ModelNotFoundError, match=full_name("none")) as caught:
        connect("none").model_info()
    assert "`client.pull_model('none')`" in caught.value.hint
