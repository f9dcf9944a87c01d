"""What is done when an answer has ended: notice what the server did in silence, and say it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lollms_core import GenerationRequest, Message
from lollms_core.contract.errors import warn_caller
from lollms_ollama.bodies import conversation, is_raw
from lollms_ollama.models import Shown
from lollms_ollama.truncation import TruncatedPromptWarning, size_if_cut

__all__ = ["Ending"]

_SMALL_VOCABULARY = 65536
"""Those with fewer tokens have few for scripts other than Latin: Llama 2, Mistral 7B, Phi 3, SmolLM2."""


class Ending:
    """Looks at the last object of one answer. Called once with it; returns what joins the closing chunk's metadata."""

    def __init__(self, request: GenerationRequest, model: str, window: int | None, shown: Shown) -> None:
        self._model = model
        self._window = window
        self._shown = shown
        self._schema = request.json_schema is not None
        self._raw = is_raw(request)
        self._texts = [request.as_text()] if self._raw else [_said(m) for m in conversation(request)]

    def __call__(self, last: Mapping[str, Any]) -> dict[str, Any]:
        """What joins the metadata of the closing chunk."""
        more: dict[str, Any] = {}
        if self._was_cut(last.get("prompt_eval_count")):
            more["prompt_truncated"] = True
        if self._schema:
            more["json_schema"] = {"mechanism": "format"}
        return more

    def _was_cut(self, reported: Any) -> bool:
        if not isinstance(reported, int) or isinstance(reported, bool):
            return False
        small = self._shown.vocabulary is not None and self._shown.vocabulary < _SMALL_VOCABULARY
        size = size_if_cut(reported, self._window, self._texts, raw=self._raw, small_vocabulary=small)
        if size is None:
            return False
        warn_caller(
            f"Ollama cut the prompt for {self._model}: it has about {size} tokens, of which the model saw {reported}"
            + ("" if self._window is None else f"; the window (num_ctx) is {self._window}")
            + (". Set a larger ctx_size, or shorten the prompt." if self._can_grow() else ". Shorten the prompt."),
            TruncatedPromptWarning,
        )
        return True

    def _can_grow(self) -> bool:
        longest = self._shown.context_length
        return longest is None or self._window is None or self._window < longest


def _said(message: Message) -> str:
    """What the server's template writes of a message. Reasoning is not in it: most templates leave that out."""
    results = [result.text for result in message.tool_results]
    calls = [call.as_text() for call in message.tool_calls if call.arguments]
    return "\n".join((message.text, *results, *calls))
