"""One answer in the making: a row of the batch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lollms_core import CancelToken, Chunk, FinishReason, Usage
from lollms_core.mailbox import Mailbox
from lollms_core.text import StopFilter
from lollms_transformers.sampling import Sampler
from lollms_transformers.text import IncrementalDecoder

__all__ = ["Row"]


class Row:
    """Takes tokens and hands text to its consumer until the answer ends.

    Args:
        tokens: the prompt.
        limit: new tokens at most.
        inputs: what the model's processor made of images, empty for text.
    """

    def __init__(
        self,
        tokens: list[int],
        limit: int,
        sampler: Sampler,
        stop: tuple[str, ...],
        mailbox: Mailbox,
        cancel: CancelToken,
        *,
        tokenizer: Any,
        end_tokens: frozenset[int],
        inputs: Mapping[str, Any],
        threads: int | None,
    ) -> None:
        self.tokens = tokens
        self.limit = limit
        self.sampler = sampler
        self.inputs = inputs
        self.threads = threads
        self.finished = False
        self.cached = 0
        """Prompt tokens served from the prefix cache."""
        self._last_unread = 0
        self._prompt = len(tokens)
        self._stop = StopFilter(stop)
        self._decoder = IncrementalDecoder(tokenizer)
        self._mailbox = mailbox
        self._cancel = cancel
        self._end_tokens = end_tokens

    @property
    def generated(self) -> int:
        return len(self.tokens) - self._prompt

    @property
    def remaining(self) -> int:
        return self.limit - self.generated

    @property
    def computed(self) -> int:
        """How many of the tokens the model has read: all but the last, which it has only given."""
        return len(self.tokens) - self._last_unread

    @property
    def unwanted(self) -> bool:
        """The caller cancelled, or nobody reads on."""
        return self._cancel.cancelled or self._mailbox.abandoned

    def accept(self, token: int) -> None:
        """Take the next token of the answer."""
        self.tokens.append(token)
        self._last_unread = 1
        if token in self._end_tokens:
            self.finish("stop")
            return
        self._emit(self._stop.feed(self._decoder.feed(token)))
        if self._stop.stopped:
            self.finish("stop")
        elif self.remaining <= 0:
            self.finish("length")

    def cancel(self) -> None:
        """End the answer before it takes the token that the model has just given."""
        self._last_unread = 0
        self.finish("cancelled")

    def finish(self, reason: FinishReason) -> None:
        """End the answer; what was held back goes out first."""
        self._emit(self._stop.feed(self._decoder.flush()) + self._stop.flush())
        if self._stop.stopped:
            reason = "stop"
        self.finished = True
        usage = Usage(prompt_tokens=self._prompt, completion_tokens=self.generated, cached_tokens=self.cached)
        self._mailbox.put(Chunk(finish_reason=reason, usage=usage))

    def fail(self, error: Exception) -> None:
        """End the answer with an error that reaches its consumer as itself."""
        self.finished = True
        self._last_unread = 0
        self._mailbox.put(error)

    def _emit(self, text: str) -> None:
        if text:
            self._mailbox.put(Chunk(text))
