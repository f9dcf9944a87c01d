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

from lollms_core import ProtocolError
from lollms_core.protocols.openai import text_pieces, told_error

__all__ = ["Heard"]


class Heard:
    """The end and the error of one stream in the provider's words; what LiteLLM would lose is put where it looks."""

    def __init__(self) -> None:
        self.reason: str | None = None
        """Why the answer ended."""
        self.listening = False
        """Whatever the provider says is heard."""
        self.heard = False
        """It has said something."""
        self.says_why = False
        """It is a protocol that gives a reason: without one an answer is not known to be whole."""
        self.cut_without = False
        """An answer without a reason has been cut."""
        self.error: Mapping[str, Any] | None = None
        """A value that says what went wrong."""

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
            self.listening = True

    def hear(self, value: Mapping[str, Any]) -> bool:
        """Take note of one value of a stream; whether something in it was put where LiteLLM looks."""
        self.heard = True
        changed = False
        if "candidates" not in value and (error := told_error(value)) is not None:
            self.error = error
        kind = value.get("type")
        if isinstance(choices := value.get("choices"), list):  # OpenAI's protocol
            self.says_why = True
            for choice in choices:
                if isinstance(choice, dict) and not choice.get("index"):
                    changed |= _made_plain(choice)
                    self._because(choice.get("finish_reason"))
        elif "candidates" in value or "promptFeedback" in value:  # Gemini's
            self.says_why = self.cut_without = True
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
        return changed

    def _because(self, reason: Any) -> None:
        if isinstance(reason, str) and reason:
            self.reason = reason


def _made_plain(choice: dict[str, Any]) -> bool:
    """Put into a delta what LiteLLM reads nowhere else; whether there was something.

    That is a whole message, text that is a list of parts, and a refusal. A reason that is the word `null` is none.
    """
    changed = False
    if choice.get("finish_reason") == "null":
        choice["finish_reason"], changed = None, True
    if not isinstance(choice.get("delta"), dict) and isinstance(choice.get("message"), dict):
        choice["delta"], changed = choice["message"], True
    delta = choice.get("delta")
    if not isinstance(delta, dict):
        return changed
    if isinstance(delta.get("content"), list):
        with contextlib.suppress(ProtocolError):  # it is no text; LiteLLM may know what it is
            parts = list(text_pieces(delta["content"]))
            delta["content"], changed = "".join(part.text for part in parts if part.is_answer), True
            if thought := "".join(part.text for part in parts if not part.is_answer):
                delta["reasoning_content"] = thought
    if isinstance(refusal := delta.get("refusal"), str) and refusal:
        delta["content"], changed = f"{delta.get('content') or ''}{refusal}", True
        delta["refusal"] = None
    return changed
