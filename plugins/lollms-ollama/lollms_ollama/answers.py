"""Decoders of Ollama's streams: NDJSON in, chunks out. No IO."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from lollms_core import (
    MSG_TYPE,
    BackendError,
    Chunk,
    FinishReason,
    IncompleteStreamError,
    LollmsError,
    ProtocolError,
    Usage,
)
from lollms_core.http import Decoder, NDJSONDecoder, not_due
from lollms_core.protocols.openai import called_functions
from lollms_ollama.errors import looping

__all__ = ["AnswerDecoder", "PullDecoder"]

_REASONS: Mapping[str, FinishReason] = {"stop": "stop", "length": "length"}
"""`load` and `unload` say that the server did that and answered nothing; they stay visible in the metadata."""
_TEXT = frozenset({"role", "content", "response", "thinking"})
"""What is chunks, not metadata."""
_EACH = frozenset({"model", "created_at", "message", "done"})
"""What every line says; of these the last one counts."""
_NOWHERE = frozenset({"message", "done", "error", "context"})
"""What is no metadata: `context` is the whole conversation as token ids."""
_LOOP = 25
"""Ollama 0.33 gives up after 31 pieces that are the same but for the blanks around them (`tokenRepeat` in its
llm/llama_server.go). A parser between the two may keep some back."""
_REASONING = MSG_TYPE.MSG_TYPE_REASONING

Failure = Callable[[Mapping[str, Any]], LollmsError]
"""From an object that has an `error` to the error."""


class AnswerDecoder(Decoder):
    """One answer of `/api/chat` or `/api/generate`.

    Args:
        failure: what an error in the stream is.
        at_end: called once with the last object; what it returns joins the metadata of the closing chunk.
        formatted: the request has a `format`: an answer that is all thinking is an error.
    """

    def __init__(
        self, failure: Failure, at_end: Callable[[Mapping[str, Any]], Mapping[str, Any]], *, formatted: bool = False
    ) -> None:
        self._lines = NDJSONDecoder()
        self._failure = failure
        self._at_end = at_end
        self._formatted = formatted
        self._further: dict[str, Any] = {}
        self._thought = self._answered = False
        self._piece = ""
        self._repeats = 0

    def feed(self, data: bytes) -> Iterator[Chunk]:
        """The chunks that these bytes complete."""
        return self._chunks(self._lines.feed(data))

    def close(self) -> Iterator[Chunk]:
        """The last line, where it lacks its newline.

        Raises:
            BackendError: none said `done` after a run of the same piece: the server gave up on a model that loops.
            IncompleteStreamError: none said `done`.
        """
        yield from self._chunks(self._lines.close())
        if self.finished:
            return
        if self._repeats >= _LOOP:
            said = repr(self._piece) if self._piece else "nothing but blanks"
            raise looping(f"Ollama gave up on the answer: the model said {said} {self._repeats} times in a row")
        raise IncompleteStreamError("Ollama's answer ended before it was complete: no line said that it was done")

    def _chunks(self, objects: Iterator[dict[str, Any]]) -> Iterator[Chunk]:
        if self.finished:
            return
        for item in objects:
            if item.get("error") is not None or (item.get("detail") and "done" not in item):
                raise self._failure(item)
            message = item.get("message", item)  # /api/generate has the same fields on the outside
            try:
                text, thinking = message.get("content", item.get("response")), message.get("thinking")
            except AttributeError:
                raise not_due(item, "Ollama sent a message that is not an object") from None
            if thinking:
                yield Chunk(self._said(thinking), _REASONING)
                self._thought = True
            if text:
                chunk = Chunk(self._said(text))
                self._answered = self._answered or self._piece != ""
                yield chunk
            if message is not item:
                self._keep(message, _TEXT)
            if item.get("done"):
                self._keep(item, _TEXT | _NOWHERE)
                self.finished = True
                closing = self._closing(item)
                for call in called_functions(self._further.get("tool_calls")):
                    yield Chunk(part=call)
                yield closing
                return  # before the next line is even read: what follows the end is nobody's business
            self._keep(item, _TEXT | _EACH)

    def _said(self, text: Any) -> str:
        checked = _checked(text)
        piece = checked.strip()
        if piece == self._piece:
            self._repeats += 1
        else:
            self._piece, self._repeats = piece, 1
        return checked

    def _keep(self, source: Mapping[str, Any], known: frozenset[str]) -> None:
        """Keep whatever else is said: what comes in lists is collected, of the rest the last counts."""
        for name in source:
            if name in known:
                continue
            value = source[name]
            held = self._further.get(name)
            if not isinstance(value, list):
                self._further[name] = value
            elif isinstance(held, list):
                held.extend(value)
            elif value:
                self._further[name] = list(value)

    def _closing(self, item: Mapping[str, Any]) -> Chunk:
        said = item.get("done_reason")
        reason = _REASONS.get(said, "unknown") if isinstance(said, str) else "unknown"
        if self._further.get("tool_calls"):
            reason = reason if reason == "length" else "tool_calls"
        elif self._formatted and self._thought and not self._answered:
            raise _all_thinking(reason)
        usage = Usage(
            prompt_tokens=_count(item.get("prompt_eval_count")) or None,
            completion_tokens=_count(item.get("eval_count")),
            cached_tokens=_count(item.get("prompt_eval_cached_count")),
        )
        return Chunk(finish_reason=reason, usage=usage, metadata={**self._further, **self._at_end(item)})


def _all_thinking(reason: FinishReason) -> LollmsError:
    if reason == "length":
        return BackendError(
            "the answer has no JSON: thinking used up n_predict before the answer began",
            hint="Raise n_predict, or let the model answer at once with think=False.",
        )
    return BackendError(
        "the answer has no JSON: the model ended when it had thought",
        hint="Ask again, or let the model answer at once with think=False.",
        retryable=True,
    )


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
