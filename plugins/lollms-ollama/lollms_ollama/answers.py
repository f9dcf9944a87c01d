"""Decoders of Ollama's streams: NDJSON in, chunks out. No IO."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from lollms_core import (
    MSG_TYPE,
    Chunk,
    FinishReason,
    IncompleteStreamError,
    LollmsError,
    ProtocolError,
    Usage,
)
from lollms_core.http import Decoder, NDJSONDecoder

__all__ = ["AnswerDecoder", "PullDecoder"]

_REASONS: Mapping[str, FinishReason] = {"stop": "stop", "length": "length"}
"""`load` and `unload` say that the server did that and answered nothing; they stay visible in the metadata."""
_COLLECTED = ("tool_calls", "logprobs", "images")
"""What can come in pieces besides text."""
_REASONING = MSG_TYPE.MSG_TYPE_REASONING

Failure = Callable[[Mapping[str, Any]], LollmsError]
"""From an object that has an `error` to the error."""


class AnswerDecoder(Decoder):
    """One answer of `/api/chat` or `/api/generate`.

    Args:
        failure: what an error in the stream is.
        at_end: called once with the last object; what it returns joins the metadata of the closing chunk.
    """

    def __init__(self, failure: Failure, at_end: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> None:
        self._lines = NDJSONDecoder()
        self._failure = failure
        self._at_end = at_end
        self._further: dict[str, list[Any]] = {}

    def feed(self, data: bytes) -> Iterator[Chunk]:
        """The chunks that these bytes complete."""
        return self._chunks(self._lines.feed(data))

    def close(self) -> Iterator[Chunk]:
        """The last line, where it lacks its newline. Raises `IncompleteStreamError` if none said `done`."""
        yield from self._chunks(self._lines.close())
        if not self.finished:
            raise IncompleteStreamError("Ollama's answer ended before it was complete: no line said that it was done")

    def _chunks(self, objects: Iterator[dict[str, Any]]) -> Iterator[Chunk]:
        if self.finished:
            return
        for item in objects:
            if item.get("error") is not None:
                raise self._failure(item)
            message = item.get("message", item)  # /api/generate has the same fields on the outside
            try:
                text, thinking = message.get("content", item.get("response")), message.get("thinking")
            except AttributeError:
                raise ProtocolError("Ollama sent a message that is not an object") from None
            if thinking:
                yield Chunk(_checked(thinking), _REASONING)
            if text:
                yield Chunk(_checked(text))
            for name in _COLLECTED:
                if found := message.get(name) or item.get(name):
                    self._further.setdefault(name, []).extend(found if isinstance(found, list) else [found])
            if item.get("done"):
                self.finished = True
                yield self._closing(item)
                return  # before the next line is even read: what follows the end is nobody's business

    def _closing(self, item: Mapping[str, Any]) -> Chunk:
        said = item.get("done_reason")
        reason = _REASONS.get(said, "unknown") if isinstance(said, str) else "unknown"
        if self._further.get("tool_calls"):
            reason = "tool_calls"
        usage = Usage(
            prompt_tokens=_count(item.get("prompt_eval_count")) or None,
            completion_tokens=_count(item.get("eval_count")),
            cached_tokens=_count(item.get("prompt_eval_cached_count")),
        )
        left_out = ("message", "response", "thinking", "done", "context", *_COLLECTED)
        metadata = {name: value for name, value in item.items() if name not in left_out}
        metadata |= self._further
        metadata |= self._at_end(item)
        return Chunk(finish_reason=reason, usage=usage, metadata=metadata)


class PullDecoder(Decoder):
    """The progress of one `/api/pull`: chunks whose text is the status, with the sizes as metadata."""

    def __init__(self, failure: Failure) -> None:
        self._lines = NDJSONDecoder()
        self._failure = failure

    def feed(self, data: bytes) -> Iterator[Chunk]:
        """The steps that these bytes complete."""
        return self._steps(self._lines.feed(data))

    def close(self) -> Iterator[Chunk]:
        """The last line, where it lacks its newline. Raises `IncompleteStreamError` if none said `success`."""
        yield from self._steps(self._lines.close())
        if not self.finished:
            raise IncompleteStreamError(
                "the download ended before it was complete", hint="Start it again: it goes on where it stopped."
            )

    def _steps(self, objects: Iterator[dict[str, Any]]) -> Iterator[Chunk]:
        if self.finished:
            return
        for item in objects:
            if item.get("error") is not None:
                raise self._failure(item)
            status = _checked(item.get("status", ""))
            self.finished = status == "success"
            sizes = {name: _count(item.get(name)) for name in ("completed", "total")}
            yield Chunk(status, metadata=sizes)
            if self.finished:
                return


def _checked(text: Any) -> str:
    if not isinstance(text, str):
        raise ProtocolError(f"Ollama sent a {type(text).__name__} where text is due")
    return text


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
