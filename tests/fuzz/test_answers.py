"""Decoders of whole answers, given anything in any pieces: the same outcome, and only documented errors.

The parsers below them (SSE, NDJSON, text, chunked bodies) and those of texts (code blocks, reasoning, stop sequences)
are fuzzed where they are tested.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from lollms_ollama.answers import AnswerDecoder, PullDecoder
from lollms_openai.decoders import NotingDecoder, StopDecoder

from lollms_core import BackendError, Chunk, InvalidRequestError, LollmsError, ProtocolError
from lollms_core._backends.lollms_classic import RawTextDecoder
from lollms_core.http import Decoder, answer_error, status_error
from lollms_core.protocols.openai import ChatDecoder

Make = Callable[[], Decoder]

SSE = {"content-type": "text/event-stream"}
JSON = {"content-type": "application/json; charset=utf-8"}

CHAT: dict[str, Make] = {
    "chat": lambda: ChatDecoder(SSE),
    "chat that stops": lambda: NotingDecoder(StopDecoder(ChatDecoder(SSE), ("b", "aé")), {"note": 1}),
}
OLLAMA: dict[str, Make] = {
    "answer": lambda: AnswerDecoder(answer_error, lambda _: {}),
    "pull": lambda: PullDecoder(answer_error),
}
CLASSIC: dict[str, Make] = {"text": lambda: RawTextDecoder(SSE), "labelled as JSON": lambda: RawTextDecoder(JSON)}


def outcome(decoder: Decoder, pieces: list[bytes]) -> tuple[list[Any], str]:
    """The chunks, neighbours of one type joined, and the name of the error, read as a driver reads."""
    chunks: list[Chunk] = []
    error = ""
    try:
        for piece in pieces:
            chunks.extend(decoder.feed(piece))
            if decoder.finished:
                break
        else:
            chunks.extend(decoder.close())
    except (BackendError, InvalidRequestError) as caught:
        error = type(caught).__name__
    assert all(isinstance(chunk.text, str) for chunk in chunks)
    assert error or chunks[-1].finish_reason or isinstance(decoder, PullDecoder), "an end that says nothing"
    joined: list[Any] = []
    for kind, group in itertools.groupby(chunks, key=lambda chunk: (chunk.type, *chunk[2:])):
        joined.append((kind, "".join(chunk.text for chunk in group)))
    return joined, error


def split(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted({cut % (len(data) + 1) for cut in cuts}), len(data)]
    return [piece for start, end in itertools.pairwise(edges) if (piece := data[start:end])]


values = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["", "a", "b", "é😀", "stop", "error"])
)


def objects(*names: str) -> st.SearchStrategy[str]:
    """JSON objects with the names that mean something to a decoder, and values that do or do not."""
    inner = st.recursive(
        values,
        lambda some: st.lists(some, max_size=2) | st.dictionaries(st.sampled_from(names), some, max_size=3),
        max_leaves=6,
    )
    return st.dictionaries(st.sampled_from(names), inner, max_size=4).map(lambda o: json.dumps(o, ensure_ascii=False))


def soup(*parts: st.SearchStrategy[bytes] | bytes) -> st.SearchStrategy[bytes]:
    whole = [st.just(part) if isinstance(part, bytes) else part for part in parts]
    return st.lists(st.one_of(*whole), max_size=8).map(b"".join)


def delta(**fields: Any) -> bytes:
    return b"data: " + json.dumps({"choices": [{"delta": fields, "finish_reason": None}]}).encode() + b"\n\n"


STOP = b'data: {"choices": [{"delta": {}, "finish_reason": "stop"}]}\n\n'
chat_objects = objects(
    "choices", "delta", "message", "content", "text", "reasoning", "refusal", "finish_reason", "usage", "error", "code",
    "object", "prompt_tokens", "completion_tokens_details",
)  # fmt: skip
chat_bytes = soup(
    delta(content="aé"), delta(content="b"), delta(reasoning="é", content=""), STOP, b"data: [DONE]\n\n",
    chat_objects.map(lambda text: f"data: {text}\r\n\r\n".encode()), chat_objects.map(str.encode),
    st.binary(max_size=6), b": ping\n\n", b"\r", b"\n", b" ", b"<", b"{", b"data: {\n\n", b"\xf0\x9f",
)  # fmt: skip
line_objects = objects(
    "message", "content", "response", "thinking", "done", "done_reason", "error", "eval_count", "tool_calls", "status",
    "total", "completed",
)  # fmt: skip
line_bytes = soup(
    line_objects.map(lambda text: f"{text}\n".encode()), line_objects.map(str.encode), st.binary(max_size=6),
    b'{"message": {"content": "a\xc3\xa9"}}\n', b'{"done": true, "done_reason": "stop"}\n', b'{"status": "success"}\n',
    b"\r\n", b"\n", b"{", b"[]\n",
)  # fmt: skip
classic_bytes = soup(
    b'{"status": false, "error": "boom"}', b'{"status":', b"false", b"true", b',"error":', b'{"', b"}", b"null", b'"',
    b" ", b"\n", b"a", "é😀".encode(), b"\xf0\x9f", st.binary(max_size=4),
)  # fmt: skip
cuts = st.lists(st.integers(0, 10_000), max_size=10)
quick = settings(deadline=None, max_examples=200)


@pytest.mark.parametrize("name", CHAT)
@quick
@given(data=chat_bytes, where=cuts)
@example(data=b"\rdata: {\n\n", where=[8])  # the line feed does not belong to a carriage return that is long past
def test_openai(name: str, data: bytes, where: list[int]) -> None:
    make = CHAT[name]
    assert outcome(make(), split(data, where)) == outcome(make(), [data])


@pytest.mark.parametrize("name", OLLAMA)
@quick
@given(data=line_bytes, where=cuts)
@example(data=b'{"done": true}\n[]\n', where=[15])  # what follows the end, in the same piece or in the next
@example(data=b'{"status": "success"}\n[]\n', where=[22])
def test_ollama(name: str, data: bytes, where: list[int]) -> None:
    make = OLLAMA[name]
    assert outcome(make(), split(data, where)) == outcome(make(), [data])


@pytest.mark.parametrize("name", CLASSIC)
@quick
@given(data=classic_bytes, where=cuts)
def test_classic_lollms(name: str, data: bytes, where: list[int]) -> None:
    make = CLASSIC[name]
    assert outcome(make(), split(data, where)) == outcome(make(), [data])


def test_an_error_object_behind_much_white_space() -> None:
    data = b" " * 5000 + b'{"status": false, "error": "boom"}'
    assert outcome(RawTextDecoder(SSE), split(data, [100, 4999])) == outcome(RawTextDecoder(SSE), [data])
    assert outcome(RawTextDecoder(SSE), [data]) == ([], "ServerError")


@pytest.mark.parametrize(
    ("make", "begin"),
    [
        (CHAT["chat"], b"data: "),
        (CHAT["chat"], b'{"choices": "'),
        (OLLAMA["answer"], b'{"message": "'),
        (OLLAMA["pull"], b'{"status": "'),
        (CLASSIC["text"], b'{"status": false, "error": "'),
        (CLASSIC["labelled as JSON"], b'"'),
    ],
)
def test_what_never_ends_is_refused(make: Make, begin: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """At 64 MiB. The pieces are one and the same object, so the test itself needs no such memory."""
    # This decoder makes text of what it gets, which would be new memory for each piece.
    monkeypatch.setattr("lollms_core._backends.lollms_classic.MAX_SIZE", 2**21)
    decoder = make()
    assert list(decoder.feed(begin)) == []
    piece = b"x" * 2**20
    with pytest.raises(ProtocolError):
        for _ in range(66):
            assert list(decoder.feed(piece)) == []


@quick
@given(body=st.one_of(st.binary(max_size=40), chat_objects.map(str.encode)), status=st.integers(300, 599))
def test_any_refusal_is_an_error_of_ours(body: bytes, status: int) -> None:
    for content_type in ("application/json", "text/html", ""):
        error = status_error(status, {"content-type": content_type}, body, where="http://here")
        assert isinstance(error, LollmsError)
        assert error.status_code == status
        assert "http://here" in error.message or status == 407  # which is what proxies answer
        assert len(error.message) < 3000
