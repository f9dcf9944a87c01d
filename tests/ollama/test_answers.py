"""What comes back: text, thinking, counts, endings, and failures before and in the middle of a stream."""

from __future__ import annotations

import asyncio
import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lollms_ollama.answers import AnswerDecoder

from lollms_core import (
    ELF_COMPLETION_FORMAT,
    MSG_TYPE,
    APIConnectionError,
    AuthenticationError,
    BackendError,
    ContextWindowError,
    IncompleteStreamError,
    InvalidRequestError,
    LollmsClient,
    LollmsError,
    Message,
    ModelLoadError,
    ModelNotFoundError,
    ProtocolError,
    ServerError,
    TextPart,
    ToolCall,
    ToolResult,
    UnsupportedError,
    UnsupportedOptionError,
    Usage,
)
from tests.support.ollama_server import Reply
from tests.support.results import error_of
from tests.support.waiting import PATIENCE, in_background

DONE = {"message": {"role": "assistant", "content": ""}, "done": True, "done_reason": "stop"}
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


def piece(text, **more):
    return {"message": {"role": "assistant", "content": text} | more, "done": False}


def script(server, *lines, path="/api/chat", **reply):
    server.replies[path].append(Reply(lines=list(lines), **reply))


def test_text_arrives_in_pieces_as_it_was_said(connect, server):
    words = ["Hel", "lo\n\n", "\t", " 👩‍👩‍👧‍👦 日本", "語 é", ""]
    script(server, *map(piece, words), DONE)
    chunks = list(connect().stream("Hello"))
    assert [chunk.text for chunk in chunks] == [*filter(None, words), ""]
    assert chunks[-1].finish_reason == "stop"


def test_thinking_is_reasoning(connect):
    client = connect()
    got = []
    completion = client.complete("Hello", 20, think="low", temperature=0, streaming_callback=lambda *a: got.append(a))
    assert [kind for _, kind in got[:4]] == [MSG_TYPE.MSG_TYPE_REASONING] * 3 + [MSG_TYPE.MSG_TYPE_CHUNK]
    assert completion.reasoning == "".join(text for text, kind in got if kind == MSG_TYPE.MSG_TYPE_REASONING) != ""
    assert completion.text == client.generate("Hello", 17, temperature=0)
    deeper = client.complete("Hello", 20, think="high", temperature=0)
    assert len(deeper.reasoning) > len(completion.reasoning)


def test_raw_answers_come_from_the_other_field(connect, server):
    lines = [{"response": "", "thinking": "Hm"}, {"response": "Yes"}, {"response": "", "done": True}]
    script(server, *lines, path="/api/generate")
    completion = connect().complete("Hello", completion_format=ELF_COMPLETION_FORMAT.Instruct)
    assert (completion.reasoning, completion.text, completion.finish_reason) == ("Hm", "Yes", "unknown")


def test_counts_and_durations(connect, server):
    counts = {"prompt_eval_count": 11, "prompt_eval_cached_count": 4, "eval_count": 18}
    durations = {"total_duration": 174560334, "load_duration": 101397084, "eval_duration": 52479709}
    script(server, piece("Hi"), DONE | {"model": "tiny"} | counts | durations)
    completion = connect().complete("Hello")
    assert completion.usage == Usage(prompt_tokens=11, completion_tokens=18, cached_tokens=4)
    assert completion.metadata == {"model": "tiny", "done_reason": "stop"} | counts | durations


def test_counts_may_be_missing(connect, server):
    script(server, piece("Hi"), DONE | {"eval_count": 18})
    assert connect().complete("Hello").usage == Usage(completion_tokens=18)


@pytest.mark.parametrize("said", ["stop", "length", "load", "unload", "other", None])
def test_endings(connect, server, said):
    script(server, piece("Hi"), DONE | {"done_reason": said})
    completion = connect().complete("Hello")
    assert completion.finish_reason == (said if said in ("stop", "length") else "unknown")
    assert completion.metadata["done_reason"] == said


def test_limit_and_stop_sequence(connect):
    client = connect()
    whole = client.complete("Hello", temperature=0)
    assert (whole.finish_reason, whole.usage.completion_tokens > 25) == ("stop", True)
    cut = client.complete("Hello", 3, temperature=0)
    assert (cut.finish_reason, cut.usage.completion_tokens) == ("length", 3)
    assert whole.text.startswith(cut.text)
    mark = whole.text[20:24]
    stopped = client.complete("Hello", temperature=0, stop=mark)
    assert (stopped.text, stopped.finish_reason) == (whole.text[: whole.text.index(mark)], "stop")


def test_tool_calls_that_nobody_asked_for_are_kept(connect, server):
    calls = [{"id": "call_1", "function": {"name": "search", "arguments": {"q": "ships"}}}]
    script(server, piece("Let me look."), piece("", tool_calls=calls), DONE)
    script(server, {"response": "", "tool_calls": calls, "done": True, "done_reason": "stop"}, path="/api/generate")
    client = connect()
    last = list(client.stream("Any ships?"))[-1]
    assert (last.finish_reason, last.metadata["tool_calls"]) == ("tool_calls", calls)
    raw = client.complete("Any ships?", completion_format=ELF_COMPLETION_FORMAT.Instruct)
    assert (raw.finish_reason, raw.metadata["tool_calls"]) == ("tool_calls", calls)


def test_a_limit_is_told_beside_a_tool_call(connect, server):
    calls = [{"function": {"name": "search", "arguments": {"q": "ships"}}}]
    script(server, piece("", tool_calls=calls), DONE | {"done_reason": "length"})
    completion = connect().complete("Any ships?")
    assert (completion.finish_reason, [call.name for call in completion.tool_calls]) == ("length", ["search"])


def test_a_conversation_with_tools(connect, server):
    calls = [{"id": "call_1", "function": {"name": "search", "arguments": {"q": "ships"}}}]
    script(server, piece("Let me look."), piece("", tool_calls=calls), DONE)
    client = connect()
    completion = client.complete("Any ships?")
    call = ToolCall(name="search", arguments={"q": "ships"}, id="call_1")
    assert completion.parts == (TextPart("Let me look."), call)
    script(server, piece("Two."), DONE)
    result = Message("tool", [ToolResult(text="2", id="call_1", name="search")])
    client.chat([Message("user", "Any ships?"), completion.message, result])
    assert server.bodies("/api/chat")[-1]["messages"] == [
        {"role": "user", "content": "Any ships?"},
        {"role": "assistant", "content": "Let me look.", "tool_calls": calls},
        {"role": "tool", "content": "2", "tool_name": "search", "tool_call_id": "call_1"},
    ]


def test_whatever_else_is_said_is_kept(connect, server):
    first = piece("Hi", annotations=[1]) | {"remote_host": "https://ollama.com", "notes": ["a"]}
    last = DONE | {"notes": ["b"], "peak_memory": 5, "context": [1, 2], "error": None}
    script(server, first, piece("!", annotations=[2], mood="calm"), last)
    completion = connect().complete("Hello")
    assert completion.text == "Hi!"
    assert completion.metadata == {
        "annotations": [1, 2], "mood": "calm", "remote_host": "https://ollama.com", "notes": ["a", "b"],
        "peak_memory": 5, "done_reason": "stop",
    }  # fmt: skip


def test_arguments_that_are_no_object_are_refused_before_anything_is_sent(connect, server):
    cut = ToolCall.from_text("search", '{"q": "Par')
    with pytest.raises(InvalidRequestError, match=r"arguments of the call of 'search' are not a JSON object"):
        connect().complete([Message("user", "a"), Message("assistant", [cut]), Message("user", "b")])
    assert not [each for each in server.requests if each.path == "/api/chat"]


def test_tool_calls_and_logprobs_are_kept(connect, server):
    calls = [{"function": {"name": "now", "arguments": {}}}, {"function": {"name": "then", "arguments": {}}}]
    script(
        server, piece("", tool_calls=calls[:1]), piece("a", tool_calls=calls[1:]) | {"logprobs": [{"token": "a"}]}, DONE
    )
    completion = connect().complete("What time is it?", extra={"tools": []})
    assert completion.finish_reason == "tool_calls"
    assert (completion.metadata["tool_calls"], completion.metadata["logprobs"]) == (calls, [{"token": "a"}])


@pytest.mark.parametrize("cut", [True, False])
def test_stream_without_an_end_is_an_error_with_the_text_so_far(connect, server, cut):
    script(server, piece("Hel"), piece("lo"), cut=cut)
    with pytest.raises(IncompleteStreamError) as caught:
        connect().generate("Hello")
    assert caught.value.partial_text == "Hello"


# --- a model that loops -----------------------------------------------------------------------------------------------


def is_loop(error):
    return (type(error), error.retryable) == (BackendError, False) and "repeat_penalty" in error.hint


def test_a_loop_that_the_server_gave_up_on_is_no_broken_connection(connect, server):
    client = connect("stuck", max_retries=2)
    with pytest.raises(BackendError, match=r"said 'and on' 31 times in a row") as caught:
        client.generate("Hello")
    assert is_loop(caught.value)
    assert "temperature" in caught.value.hint
    assert caught.value.partial_text == "It goes" + " and on" * 31
    assert len(server.bodies("/api/chat")) == 1
    assert client.generate("Hello", repeat_penalty=1.1), "the hint is wrong"


async def test_a_loop_seen_by_async_callers(connect):
    with pytest.raises(BackendError, match="31 times") as caught:
        await connect("stuck").agenerate("Hello", completion_format=ELF_COMPLETION_FORMAT.Instruct)
    assert is_loop(caught.value)


@pytest.mark.parametrize(
    "pieces",
    [
        [piece("\n"), piece("\n\n"), piece(" ")] * 11,  # the server looks at pieces without their blanks
        [piece("", thinking="hm ")] * 31,
        [piece("well"), *[piece(" no")] * 25],
    ],
)
def test_what_a_loop_is(connect, server, pieces):
    script(server, *pieces)
    with pytest.raises(BackendError) as caught:
        connect().generate("Hello")
    assert is_loop(caught.value)


@pytest.mark.parametrize(
    "pieces",
    [
        [piece(".")] * 12,
        [*[piece(" no")] * 40, piece(" yes")],  # it was not the run that ended it
        [piece(" no"), piece(" yes")] * 40,
        [],
    ],
)
def test_what_no_loop_is(connect, server, pieces):
    script(server, *pieces)
    with pytest.raises(IncompleteStreamError) as caught:
        connect().generate("Hello")
    assert caught.value.retryable


def test_a_run_that_ends_well_is_an_answer(connect, server):
    script(server, *[piece("ha")] * 90, DONE)
    assert connect().generate("Laugh") == "ha" * 90


@pytest.mark.parametrize("before", [0, 3])
def test_a_loop_as_newer_servers_say_it(connect, server, before):
    answer = {"error": "prediction aborted, token repeat limit reached"}
    script(server, *[piece(" no")] * before, answer, status=200 if before else 500)
    with pytest.raises(BackendError, match="token repeat limit reached") as caught:
        connect(max_retries=2).generate("Hello")
    assert is_loop(caught.value)
    assert (caught.value.partial_text, len(server.bodies("/api/chat"))) == (" no" * before, 1)


# --- ends -------------------------------------------------------------------------------------------------------------


def test_last_line_without_a_newline_counts(connect, server):
    script(server, piece("Hi"), json.dumps(DONE).encode())
    assert connect().generate("Hello") == "Hi"


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ({"error": "an error was encountered while running the model: CUDA error"}, ServerError),
        ({"error": "model runner has unexpectedly stopped", "status": 500}, ServerError),
        ({"error": "the input length exceeds the context length"}, ContextWindowError),
        ({"error": "unauthorized", "status": 401}, AuthenticationError),
        ({"error": ""}, ServerError),
        ({"message": "text"}, ServerError),
        ({"message": {"content": 3}}, ProtocolError),
        (b"[]\n", ProtocolError),
        (b"not json\n", ProtocolError),
    ],
)
def test_error_in_the_middle_of_a_stream(connect, server, line, kind):
    script(server, piece("Hel"), piece("lo"), line, DONE)
    with pytest.raises(kind) as caught:
        connect().generate("Hello")
    assert (type(caught.value), caught.value.partial_text) == (kind, "Hello")
    if isinstance(line, dict) and line.get("error"):
        assert line["error"] in caught.value.message


@pytest.mark.parametrize(
    ("status", "error", "kind"),
    [
        (400, 'invalid think value: "very"', InvalidRequestError),
        (400, '"tiny" does not support thinking', UnsupportedOptionError),
        (400, '"tiny" does not support chat', UnsupportedError),
        (400, '{"error":{"code":400,"message":"request exceeds the available context size"}}', ContextWindowError),
        (401, "unauthorized", AuthenticationError),
        (404, "model 'tiny' not found", ModelNotFoundError),
        (404, 'model "tiny" not found, try pulling it first', ModelNotFoundError),
        (500, "model requires more system memory (8.4 GiB) than is available (3.2 GiB)", ModelLoadError),
        (500, "llama runner process has terminated: signal: killed", ServerError),
        (503, "server busy, please try again.  maximum pending requests exceeded", ServerError),
    ],
)  # fmt: skip
def test_error_before_the_stream(connect, server, status, error, kind):
    script(server, {"error": error}, status=status, content_type="application/json; charset=utf-8")
    with pytest.raises(LollmsError) as caught:
        connect().generate("Hello")
    assert (type(caught.value), caught.value.status_code) == (kind, status)
    assert "{" not in caught.value.message
    assert caught.value.format == "ollama"
    if kind is ModelNotFoundError:
        assert "`client.pull_model('tiny')`" in caught.value.hint


def test_a_model_of_the_cloud_on_a_server_that_is_not_signed_in(connect, server):
    said = {"error": "unauthorized", "signin_url": "https://ollama.com/connect?name=x"}
    script(server, said, status=401, content_type="application/json; charset=utf-8")
    with pytest.raises(AuthenticationError) as caught:
        connect().generate("Hello")
    assert caught.value.hint == "Sign the server in: `ollama signin`."


def test_busy_server_is_asked_again(connect, server):
    script(server, {"error": "server busy"}, status=503, content_type="application/json")
    client = connect(max_retries=1)
    client.backend.backoff = 0.0
    assert client.generate("Hello", 3)
    assert len(server.bodies("/api/chat")) == 2


def test_missing_model_says_how_to_get_it(connect):
    with pytest.raises(ModelNotFoundError, match="nobody/none:7b") as caught:
        connect("nobody/none:7b").generate("Hello")
    assert "`client.pull_model('nobody/none:7b')`" in caught.value.hint


def test_nobody_listens():
    with LollmsClient(default_generation_mode="ollama", host_address="http://127.0.0.1:1", model_name="m") as client:
        error = error_of(client.generate("Hello"))
    assert error["type"] == APIConnectionError.__name__
    assert "http://127.0.0.1:1" in error["error"]
    assert "ollama serve" in error["hint"]


@pytest.mark.parametrize("model", ["silent", "endless"])
def test_cancelling_ends_the_servers_work(connect, server, model):
    client = connect(model)
    completion = in_background(lambda: client.complete("Hello"))
    assert server.busy.wait(PATIENCE)
    client.cancel()
    assert completion.result().finish_reason == "cancelled"
    assert server.gone.wait(PATIENCE)


def test_closing_the_iterator_ends_the_servers_work(connect, server):
    stream = connect("endless").stream("Hello")
    assert next(stream).text == " more"
    stream.close()
    assert server.gone.wait(PATIENCE)


async def test_cancelling_a_task_ends_the_servers_work(connect, server):
    task = asyncio.create_task(connect("endless").agenerate("Hello"))
    assert await asyncio.to_thread(server.busy.wait, PATIENCE)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, PATIENCE)
    assert await asyncio.to_thread(server.gone.wait, PATIENCE)


# --- the decoder alone ------------------------------------------------------------------------------------------------


def decoded(pieces, formatted=False):
    decoder = AnswerDecoder(lambda item: ServerError(str(item["error"])), lambda *_: {}, formatted=formatted)
    chunks = [chunk for data in pieces for chunk in decoder.feed(data)]
    return [*chunks, *decoder.close()]


LINES = [piece("日本"), piece("", thinking="hm\n"), piece('"\\'), DONE | {"eval_count": 3}]
STREAM = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in LINES).encode()


@given(st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_any_split_gives_the_same_chunks(cuts):
    ends = [0, *sorted(cuts), len(STREAM)]
    pieces = [STREAM[start:end] for start, end in itertools.pairwise(ends)]
    assert decoded(pieces) == decoded([STREAM])


SCALARS = st.none() | st.booleans() | st.integers() | st.text(max_size=3)
JSON = SCALARS | st.lists(SCALARS, max_size=2) | st.dictionaries(st.text(max_size=2), SCALARS, max_size=2)
FIELDS = st.sampled_from(
    ["message", "content", "response", "thinking", "done", "done_reason", "error", "eval_count", "tool_calls"]
)
OBJECTS = st.dictionaries(FIELDS, JSON | st.dictionaries(FIELDS, JSON, max_size=3), max_size=4)


@given(st.lists(OBJECTS, max_size=3), st.binary(max_size=8), st.booleans())
def test_any_lines_give_chunks_or_a_documented_error(objects, rest, formatted):
    stream = "".join(json.dumps(item) + "\n" for item in objects).encode() + rest
    try:
        chunks = decoded([stream], formatted)
    except LollmsError:
        return
    assert chunks[-1].finish_reason is not None
    assert all(isinstance(chunk.text, str) for chunk in chunks)


# --- schemas ----------------------------------------------------------------------------------------------------------


def test_the_mechanism_behind_a_schema_is_said(connect):
    completion = connect().complete("A city?", json_schema=SCHEMA)
    assert completion.metadata["json_schema"] == {"mechanism": "format"}


@pytest.mark.parametrize("asked", [{"json_schema": SCHEMA}, {"extra": {"format": "json"}}])
def test_thinking_that_left_nothing_for_the_json(connect, asked):
    with pytest.raises(BackendError, match="thinking used up n_predict before the answer began") as caught:
        connect("tiny-thinking").generate("A city?", 5, **asked)
    assert not caught.value.retryable
    assert "think=False" in caught.value.hint
    assert caught.value.partial_reasoning
    assert json.loads(connect("tiny-thinking").generate("A city?", 50, **asked)) is not None
    assert json.loads(connect("tiny-thinking").generate("A city?", 50, think=False, **asked)) is not None


def test_thinking_that_left_nothing_for_the_answer(connect):
    completion = connect("tiny-thinking").complete("Hello", 5)
    assert (completion.text, completion.finish_reason, bool(completion.reasoning)) == ("", "length", True)


def test_thinking_after_which_no_json_comes(connect, server):
    script(server, piece("", thinking="Hm."), piece("\n"), DONE)
    with pytest.raises(BackendError, match="the model ended when it had thought"):
        connect().generate("A city?", json_schema=SCHEMA)


def test_tool_calls_in_place_of_json_are_kept(connect, server):
    calls = [{"function": {"name": "search", "arguments": {}}}]
    script(server, piece("", thinking="Hm."), piece("", tool_calls=calls), DONE)
    assert connect().complete("A city?", extra={"format": "json"}).metadata["tool_calls"] == calls


def test_schema_that_the_server_ignored_is_an_error(connect, server):
    server.ignore_format = True
    with pytest.raises(BackendError, match="does not satisfy the JSON schema: it is not JSON"):
        list(connect().stream("A city?", json_schema=SCHEMA))


def test_json_of_another_shape_is_an_error(connect, server):
    script(server, piece('{"town": '), piece('"Rome"}'), DONE)
    client = connect(raise_errors=False)
    error = client.complete("A city?", json_schema=SCHEMA)
    assert '"city" is a required property' in error["error"]
    assert error["partial_text"] == '{"town": "Rome"}'
