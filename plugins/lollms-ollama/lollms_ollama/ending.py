"""What is done when an answer has ended: learn from the server's counts, and notice what it did in silence."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from lollms_core import GenerationRequest
from lollms_core.tokenizers import Utf8Tokenizer
from lollms_ollama.bodies import conversation, is_raw, raw_text
from lollms_ollama.meter import TokenMeter
from lollms_ollama.models import Shown
from lollms_ollama.truncation import TruncatedPromptWarning, was_cut

__all__ = ["Ending"]


class Ending:
    """What is done when an answer has ended: learn from the counts, notice what the server did not do, and say so."""

    def __init__(
        self, request: GenerationRequest, model: str, window: int | None, shown: Shown, meter: TokenMeter
    ) -> None:
        self._model = model
        self._window = window
        self._longest = shown.context_length
        self._meter = meter
        self._schema = request.json_schema
        self._raw = is_raw(request)
        self._images = bool(request.all_images)
        self._texts = [raw_text(request)] if self._raw else [m.content for m in conversation(request)]

    def __call__(self, last: Mapping[str, Any]) -> dict[str, Any]:
        """What joins the metadata of the closing chunk."""
        reported = last.get("prompt_eval_count")
        more: dict[str, Any] = {}
        if isinstance(reported, int) and not self._images:
            if self._was_cut(reported):
                more["prompt_truncated"] = True
            else:
                self._meter.learn(self._model, self._texts, reported, raw=self._raw)
        if self._schema is not None:
            more["json_schema"] = {"mechanism": "format"}
        return more

    def _was_cut(self, reported: int) -> bool:
        size = sum(len(text.encode()) for text in self._texts)
        tokens = 0

        def estimate() -> tuple[int, bool]:
            nonlocal tokens
            # Not tiktoken: its vocabulary takes half a second to load, in the middle of a program's event loop.
            factor = self._meter.factor(self._model, "utf8", _rough)
            tokens = round(sum(map(_rough, self._texts)) * (factor or 1.0))
            return tokens, factor is not None

        if not was_cut(reported, self._window, size, estimate, several_messages=len(self._texts) > 1):
            return False
        assert self._window is not None
        more = self._longest is None or self._window < self._longest
        warnings.warn(
            f"Ollama cut the prompt for {self._model}: it has about {tokens} tokens, of which the model saw "
            f"{reported}; the window (num_ctx) is {self._window}. "
            + ("Set a larger ctx_size, or shorten the prompt." if more else "Shorten the prompt."),
            TruncatedPromptWarning,
            stacklevel=2,
        )
        return True


_rough_tokenizer = Utf8Tokenizer()


def _rough(text: str) -> int:
    return len(_rough_tokenizer.encode(text))
