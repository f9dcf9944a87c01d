"""What a decoder holds back is given by `close()` before it raises, so that a broken connection need not lose it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from lollms_ollama.answers import AnswerDecoder, PullDecoder
from lollms_openai.decoders import NotingDecoder, StopDecoder

from lollms_core import Chunk, LollmsError, ToolCall
from lollms_core._backends.lollms_classic import RawTextDecoder
from lollms_core.http import Decoder, answer_error
from lollms_core.protocols.openai import ChatDecoder

SSE: Mapping[str, str] = {"content-type": "text/event-stream"}
JSON: Mapping[str, str] = {"content-type": "application/json"}


def chat(**fields: Any) -> bytes:
    return json.dumps({"choices": [{"index": 0, **fields}]}).encode()


def stopping() -> Decoder:
    return NotingDecoder(StopDecoder(ChatDecoder(SSE), ("END",)), {"note": 1})


def ollama() -> Decoder:
    return AnswerDecoder(answer_error, lambda _: {})


@pytest.mark.parametrize(
    ("make", "data", "given", "held"),
    [
        # An event or a line whose end has not come, though all of its text has.
        (lambda: ChatDecoder(SSE), b"data: " + chat(delta={"content": "so far"}) + b"\n", "", "so far"),
        (lambda: ChatDecoder(SSE), b"data: " + chat(delta={"content": "so far"}), "", "so far"),
        (ollama, b'{"message": {"content": "so far"}}', "", "so far"),
        (lambda: PullDecoder(answer_error), b'{"status": "verifying"}', "", "verifying"),
        # Only its beginning.
        (lambda: ChatDecoder(SSE), b'data: {"choices": [{"delta": {"content": "so', "", ""),
        (ollama, b'{"message": {"content": "so', "", ""),
        # A whole answer of which all has come but the end of the body.
        (lambda: ChatDecoder(JSON), chat(message={"content": "so far"}, finish_reason="stop"), "", "so far"),
        (lambda: ChatDecoder(JSON), chat(message={"content": "so far"})[:-5], "", "so far"),
        # What may be the beginning of a stop sequence, of a failure, of a character.
        (stopping, b"data: " + chat(delta={"content": "so far EN"}) + b"\n\n", "so far ", "EN"),
        (stopping, b"data: " + chat(delta={"content": "so far EN"}), "", "so far EN"),
        (lambda: RawTextDecoder(SSE), b' {"status": fal', "", ' {"status": fal'),
        (lambda: RawTextDecoder(SSE), b"so far \xf0\x9f", "so far ", "\ufffd"),
        (lambda: RawTextDecoder(JSON), b'"so far"', "", "so far"),
        (lambda: RawTextDecoder(JSON), b'"so far', "", ""),
    ],
)
def test_close_gives_what_was_held(make: Callable[[], Decoder], data: bytes, given: str, held: str) -> None:
    decoder = make()
    assert "".join(chunk.text for chunk in decoder.feed(data)) == given
    rest: list[Chunk] = []
    with contextlib.suppress(LollmsError):
        rest.extend(decoder.close())
    assert "".join(chunk.text for chunk in rest) == held


@pytest.mark.parametrize(
    "body", ['{"detail": "no such route"}', '{"error": "no such route"}', '{"error": {"message": "no such route"}}']
)
def test_an_error_object_labelled_as_json_is_no_answer(body: str) -> None:
    decoder = RawTextDecoder(JSON)
    with pytest.raises(LollmsError, match="answered with an error: no such route"):
        [*decoder.feed(body.encode()), *decoder.close()]


class Given(Decoder):
    """Gives the chunks that it was made with."""

    def __init__(self, *chunks: Chunk) -> None:
        self.chunks = chunks

    def feed(self, data: bytes) -> tuple[Chunk, ...]:
        return self.chunks

    def close(self) -> tuple[Chunk, ...]:
        return ()


def test_a_call_of_a_tool_passes_a_stop_sequence_that_does_not_come() -> None:
    call, end = Chunk(part=ToolCall(name="look")), Chunk(finish_reason="tool_calls")
    decoder = StopDecoder(Given(Chunk("Let me see EN"), call, end), ("END",))
    assert list(decoder.feed(b"")) == [Chunk("Let me see "), Chunk("EN"), call, end]
    assert not decoder.finished


def test_nothing_is_waited_for_behind_a_stop_sequence() -> None:
    """The server does not know of it, and writes on."""
    decoder = NotingDecoder(StopDecoder(Given(Chunk("one END two")), ("END",)), {})
    assert [chunk.text for chunk in decoder.feed(b"")] == ["one ", ""]
    assert (decoder.finished, decoder.cut) == (True, True)
