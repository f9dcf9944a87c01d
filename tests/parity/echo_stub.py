"""An OpenAI-compatible stub that repeats what it is told, so that the kit can compare every character."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from tests.support.openai_stub import OpenAIStub, Recorded, Reply, error, running, sse

__all__ = ["GENERATING", "MODEL", "echoing", "last_body"]

MODEL = "stub-model"
GENERATING = ("/v1/chat/completions", "/v1/completions")


@contextlib.contextmanager
def echoing() -> Iterator[OpenAIStub]:
    """The stub, while the block runs."""
    with running() as stub:
        stub.rules.append(_answer)
        yield stub


def last_body(stub: OpenAIStub) -> Any:
    """What the last question sent."""
    return next(request.body for request in reversed(stub.requests) if request.path in GENERATING)


def _answer(request: Recorded) -> Reply | None:
    if request.path not in GENERATING:
        return None
    body = request.body
    if body["model"] != MODEL:
        return error(404, f"The model `{body['model']}` does not exist", code="model_not_found", param="model")
    pieces, reason = _limited(_cut(_pieces(body), body.get("stop") or ()), body)
    return sse(*_events(body, pieces, reason))


def _pieces(body: dict[str, Any]) -> list[str]:
    """The words of the last message or of the raw prompt, or what satisfies the JSON schema."""
    if "response_format" in body:
        schema = body["response_format"]["json_schema"]["schema"]
        text = json.dumps(dict.fromkeys(schema["required"], "a word"))
    elif "prompt" in body:
        text = body["prompt"]
    else:
        content = body["messages"][-1]["content"]
        text = content if isinstance(content, str) else "".join(part.get("text", "") for part in content)
    return re.findall(r"\s*\S+|\s+\Z", text)


def _cut(pieces: list[str], stops: Sequence[str]) -> list[str]:
    text = "".join(pieces)
    end = min((text.index(stop) for stop in stops if stop in text), default=len(text))
    kept = []
    for piece in pieces:
        kept.append(piece[:end])
        end -= len(kept[-1])
    return [piece for piece in kept if piece]


def _limited(pieces: list[str], body: dict[str, Any]) -> tuple[list[str], str]:
    limit = body.get("max_completion_tokens", body.get("max_tokens", len(pieces)))
    return pieces[:limit], "length" if len(pieces) > limit else "stop"


def _events(body: dict[str, Any], pieces: list[str], reason: str) -> Iterator[dict[str, Any]]:
    raw = "prompt" in body
    common = {
        "id": "c", "object": "text_completion" if raw else "chat.completion.chunk", "created": 1,
        "model": body["model"],
    }  # fmt: skip
    for piece in pieces:
        said = {"text": piece} if raw else {"delta": {"content": piece}}
        yield {**common, "choices": [{"index": 0, **said, "finish_reason": None}]}
    yield {**common, "choices": [{"index": 0, **({"text": ""} if raw else {"delta": {}}), "finish_reason": reason}]}
    if (body.get("stream_options") or {}).get("include_usage"):
        prompt = len(json.dumps(body.get("messages", body.get("prompt"))).split())
        counts = {"prompt_tokens": prompt, "completion_tokens": len(pieces), "total_tokens": prompt + len(pieces)}
        yield {**common, "choices": [], "usage": counts}
