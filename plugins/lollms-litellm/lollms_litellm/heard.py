"""What a provider says in its own words, before LiteLLM translates it.

LiteLLM has four reasons for an end, and takes some for another: an answer of Gemini's without a reason for one that
stopped, Mistral's `model_length` for `stop`. Its iterators for providers other than OpenAI give every JSON value of a
stream to their method `chunk_parser`; what is listened to here is that.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Mapping
from typing import Any

__all__ = ["Heard"]


class Heard:
    """The end, the error and the whole answer of one stream, as the provider wrote them."""

    def __init__(self) -> None:
        self.reason: str | None = None
        """Why the answer ended."""
        self.always_says_why = False
        """It is a protocol in which an answer without a reason has been cut, whatever LiteLLM makes of it."""
        self.error: Mapping[str, Any] | None = None
        """A value that says what went wrong."""
        self.whole: Mapping[str, Any] | None = None
        """The message of a server that answers at once though a stream was asked for."""

    def listen(self, stream: Any) -> None:
        """Hear what a stream's `chunk_parser` is given, if it has one."""
        parse = getattr(type(stream), "chunk_parser", None)
        if parse is None:
            return
        try:
            itself = weakref.ref(stream)  # a stream that holds itself would not end with its last reader
        except TypeError:
            return

        def overheard(*given: Any, **named: Any) -> Any:
            for value in (*given, *named.values()):
                if isinstance(value, Mapping):
                    self.hear(value)
            return parse(itself(), *given, **named)

        with contextlib.suppress(AttributeError):  # it lets nobody change it
            stream.chunk_parser = overheard

    def hear(self, value: Mapping[str, Any]) -> None:
        """Take note of one value of a stream."""
        if value.get("error"):
            self.error = value
        kind = value.get("type")
        if isinstance(choices := value.get("choices"), list):  # OpenAI's protocol
            self._choices(choices)
        elif "candidates" in value or "promptFeedback" in value:  # Gemini's
            self.always_says_why = True
            for candidate in value.get("candidates") or ():
                if isinstance(candidate, Mapping) and not candidate.get("index"):
                    self._because(candidate.get("finishReason"))
            if isinstance(feedback := value.get("promptFeedback"), Mapping):
                self._because(feedback.get("blockReason"))
        elif value.get("done") is True:  # Ollama's
            self._because(value.get("done_reason"))
        elif kind in ("message_delta", "message-end"):  # Anthropic's, Cohere's
            delta = value.get("delta")
            if isinstance(delta, Mapping):
                self._because(delta.get("stop_reason") or delta.get("finish_reason"))

    def _choices(self, choices: list[Any]) -> None:
        for choice in choices:
            if not isinstance(choice, Mapping) or choice.get("index"):
                continue
            self._because(choice.get("finish_reason"))
            if isinstance(message := choice.get("message"), Mapping) and not choice.get("delta"):
                self.whole = message

    def _because(self, reason: Any) -> None:
        if isinstance(reason, str) and reason:
            self.reason = reason
