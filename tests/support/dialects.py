"""What servers of different protocols say: the same answer, end and errors in each one's words."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["LOLLMS", "OLLAMA", "OPENAI", "Dialect"]


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()


def _sse(value: Any) -> bytes:
    return b"data: " + _json(value) + b"\n\n"


def _utf8_json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()


@dataclass(frozen=True)
class Dialect:
    """One protocol's way of putting things."""

    name: str
    generation_paths: tuple[str, ...]
    """Ends of the paths that ask for an answer; faults happen there, all other paths work."""
    content_type: str
    piece: Callable[[str], bytes]
    """A piece of text as it stands in the stream, its characters as UTF-8."""
    end: bytes
    """The end mark; empty where there is none."""
    error: bytes
    """An error object as the whole body of an answer, saying "the model is on fire"."""
    error_event: bytes
    """The same in the middle of a stream; empty where the protocol has no way to say it."""
    broken: bytes
    """Something in the middle of a stream that is not what the protocol allows; empty where anything is allowed."""
    answers: Mapping[str, Any] = field(default_factory=dict)
    """JSON answers by the end of the path."""


_MODELS = {"object": "list", "data": [{"id": "m", "object": "model", "created": 1, "owned_by": "tests"}]}


def _delta(text: str) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
    event = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
    return b"data: " + _utf8_json(event) + b"\n\n"


def _line(text: str) -> bytes:
    event = {"model": "m", "message": {"role": "assistant", "content": text}, "response": text, "done": False}
    return _utf8_json(event) + b"\n"


LOLLMS = Dialect(
    name="lollms",
    generation_paths=("/lollms_generate", "/lollms_generate_with_images"),
    content_type="text/event-stream",
    piece=str.encode,
    end=b"",
    error=_json({"status": False, "error": "the model is on fire"}),
    error_event=b"",
    broken=b"",
    answers={
        "/get_generation_status": {"status": False},
        "/list_models": ["m"],
        "/stop_gen": {"status": True},
        "/lollms_tokenize": [1, 2],
    },
)

OPENAI = Dialect(
    name="openai",
    generation_paths=("/chat/completions", "/completions"),
    content_type="text/event-stream",
    piece=_delta,
    end=_sse({"id": "c", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}) + b"data: [DONE]\n\n",
    error=_json({"error": {"message": "the model is on fire", "type": "server_error"}}),
    error_event=_sse({"error": {"message": "the model is on fire", "type": "server_error"}}),
    broken=b'data: {"choices": [{"delta": {"cont\n\n',
    answers={"/models": _MODELS},
)

OLLAMA = Dialect(
    name="ollama",
    generation_paths=("/api/chat", "/api/generate"),
    content_type="application/x-ndjson",
    piece=_line,
    end=_json({"model": "m", "message": {"role": "assistant", "content": ""}, "response": "", "done": True,
               "done_reason": "stop", "prompt_eval_count": 5, "eval_count": 3}) + b"\n",
    error=_json({"error": "the model is on fire"}),
    error_event=_json({"error": "the model is on fire"}) + b"\n",
    broken=b'{"model": "m", "message": {"cont\n',
    answers={
        "/api/tags": {"models": [{"name": "m", "model": "m", "size": 1, "details": {}}]},
        "/api/show": {"details": {}, "model_info": {"llama.context_length": 4096}, "capabilities": ["completion"]},
        "/api/version": {"version": "0.12.0"},
    },
)  # fmt: skip
