"""From a backend's chunks to what callers see, without IO and threads.

A `Pipeline` turns a backend's chunks into the caller's: reasoning tags become reasoning chunks, stop sequences cut the
text, and everything is collected.
"""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import (
    Callable,
    Iterator,
    Sequence,
)
from typing import Any

from lollms_core._bridges.signals import raised_by_handler
from lollms_core._client.hook_checks import chunk_problem
from lollms_core.contract.errors import BackendError, ContractError, InvalidAnswerError, LollmsError, described
from lollms_core.contract.types import (
    MSG_TYPE,
    CancelToken,
    Chunk,
    Completion,
    FinishReason,
    Part,
    ReasoningPart,
    TextPart,
    Timings,
    ToolCall,
    Usage,
)
from lollms_core.text import ReasoningSplitter, StopFilter, SurrogateJoiner

__all__ = [
    "ONLY_REASONING",
    "ONLY_REASONING_HINT",
    "Pipeline",
    "as_lollms_error",
]

logger = logging.getLogger("lollms")

_TEXT = MSG_TYPE.MSG_TYPE_CHUNK
_REASONING = MSG_TYPE.MSG_TYPE_REASONING

ONLY_REASONING = "the model used up its tokens with reasoning, and gave no answer"
ONLY_REASONING_HINT = "Raise n_predict, or pass think=False where the model can answer without reasoning."


_WHAT_TO_DO = {
    "length": "Raise n_predict.",
    "content_filter": "The provider's content filter ended the answer: ask in other words.",
}
"""After an answer that is not what a schema asks for, by its finish reason."""
_NOT_TOLD = "This format does not tell the model of the schema: put it into the prompt, or choose a format that does."


class Pipeline:
    """Turns a backend's chunks into the caller's and remembers them.

    Args:
        stop: sequences that the backend does not look for itself.
        cancel: the request's token; decides whether an end counts as cancelled.
        format: the format's name, for errors.
        check: gives the value in a whole answer, or raises `ValueError` that says what is wrong with it.
        model: the model's name, for the completion.
    """

    def __init__(
        self,
        stop: tuple[str, ...],
        cancel: CancelToken,
        format: str,
        check: Callable[[str], Any] | None = None,
        model: str | None = None,
        guided: bool = True,
    ) -> None:
        self._check = check
        self._otherwise = "Ask again, or simplify the schema." if guided else _NOT_TOLD
        self._parsed: Any = None
        self._model = model
        self.cancel = cancel
        self.format = format
        self._splitter = ReasoningSplitter()
        self._stop = StopFilter(stop) if stop else None
        self._filtering = True
        self._joiners: dict[MSG_TYPE, SurrogateJoiner] = {}
        self._halves = False
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._further: list[tuple[int, int, Part]] = []
        """Parts that are neither, each with how many pieces of text and of reasoning stand before it."""
        self._finish: FinishReason | None = None
        self._usage: Usage | None = None
        self._metadata: dict[str, Any] = {}
        self._started = time.perf_counter()
        self._first: float | None = None
        self.ended = False
        """A stop sequence was found: nothing that follows counts."""

    def feed(self, chunk: Chunk) -> Sequence[Chunk]:
        """The caller's chunks for one of the backend's."""
        if type(chunk) is not Chunk or type(chunk.text) is not str:
            raise self._broken(chunk)
        text, kind, finish, usage, metadata, part = chunk
        if text and self._first is None:
            self._first = time.perf_counter() - self._started
        if self._halves or not text.isascii():
            text = self._joined(text, kind)
            chunk = chunk._replace(text=text)
        if kind != _TEXT and kind != _REASONING:
            raise self._broken(chunk)
        if finish is None and usage is None and metadata is None and part is None and not self._filtering:
            (self._text if kind == _TEXT else self._reasoning).append(text)
            return (chunk,)
        if chunk_problem(chunk, ended=self._finish is not None):
            raise self._broken(chunk)
        if finish is not None:
            self._finish = finish
        if usage is not None:
            self._usage = usage
        if metadata:
            self._metadata.update(metadata)
        out = self._filter(text, kind) if text else ()
        if part is not None and not self.ended:
            # What is held back of the text before it may still become a stop sequence.
            out = [*out, *self.flush(), Chunk(part=part)]
            self._further.append((len(self._text), len(self._reasoning), part))
        if self._finish is not None:
            self._filtering = True  # what comes after the end is looked at
        return out

    def _joined(self, text: str, kind: MSG_TYPE) -> str:
        if not text or (kind != _TEXT and kind != _REASONING):
            return text
        text = self._joiners.setdefault(kind, SurrogateJoiner()).feed(text)
        self._halves = any(other.held for other in self._joiners.values())
        return text

    def _filter(self, text: str, kind: MSG_TYPE) -> Sequence[Chunk]:
        if kind != _TEXT:
            self._reasoning.append(text)
            return (Chunk(text, kind),)
        out: list[Chunk] = []
        if self._splitter.active:
            for is_reasoning, piece in self._splitter.feed(text):
                self._emit(piece, is_reasoning, out)
        else:
            self._emit(text, False, out)
        self._filtering = self._splitter.active or self._stop is not None
        return out

    def _emit(self, piece: str, is_reasoning: bool, out: list[Chunk]) -> None:
        if self.ended:
            return
        if is_reasoning:
            self._reasoning.append(piece)
            out.append(Chunk(piece, _REASONING))
            return
        if self._stop is not None:
            piece = self._stop.feed(piece)
            self.ended = self._stop.stopped
        if piece:
            self._text.append(piece)
            out.append(Chunk(piece))

    def _broken(self, chunk: object) -> ContractError:
        problem = chunk_problem(chunk, ended=self._finish is not None)
        return ContractError(f"`generate` of the {self.format} format {problem}", format=self.format)

    def flush(self) -> Sequence[Chunk]:
        """Text that was held back, at the end of the stream or before an error."""
        out: list[Chunk] = []
        for kind, joiner in self._joiners.items():
            if half := joiner.flush():
                out += self._filter(half, kind)
        for is_reasoning, piece in self._splitter.flush():
            self._emit(piece, is_reasoning, out)
        if self._stop is not None and not self.ended and (rest := self._stop.flush()):
            self._text.append(rest)
            out.append(Chunk(rest))
        return out

    def end(self) -> Sequence[Chunk]:
        """The closing record. Raises `InvalidAnswerError` for an answer that is not what its JSON schema asks for."""
        if logger.isEnabledFor(logging.DEBUG):
            self._log(f"finish reason {self.finish_reason}")
        if self._check is not None and self.finish_reason != "cancelled" and not self._calls_a_tool:
            try:
                self._parsed = self._check(self.text)
            except ValueError as error:
                raise self._not_as_asked(str(error)) from error.__cause__
        return (self.closing(),)

    def closing(self) -> Chunk:
        """The closing record, whatever the answer is."""
        return Chunk(finish_reason=self.finish_reason, usage=self._usage, metadata=self._metadata or None)

    def _log(self, how: str) -> None:
        parts = [f"{self.format}: {how} after {time.perf_counter() - self._started:.3f} s"]
        if self._first is not None:
            parts.append(f"first text after {self._first:.3f} s")
        if self._usage is not None:
            parts.append(f"{self._usage.prompt_tokens} tokens in, {self._usage.completion_tokens} out")
        logger.debug("%s", ", ".join(parts))

    def _not_as_asked(self, problem: str) -> LollmsError:
        if self.only_reasoning:
            message, hint = f"{ONLY_REASONING}; an answer by the JSON schema never began", ONLY_REASONING_HINT
        else:
            message = f"the answer does not satisfy the JSON schema: {problem}"
            hint = _WHAT_TO_DO.get(self.finish_reason, self._otherwise)
            hint += " The answer is in partial_text."
        error = InvalidAnswerError(message, hint=hint, partial_text=self.text, format=self.format)
        error.problem = problem
        return error

    @property
    def _calls_a_tool(self) -> bool:
        # Many servers say `stop` then.
        return self.finish_reason == "tool_calls" or any(isinstance(part, ToolCall) for _, _, part in self._further)

    @property
    def only_reasoning(self) -> bool:
        """The model reasoned, and then there was nothing left for an answer."""
        hidden = self._usage is not None and bool(self._usage.reasoning_tokens)
        return (bool(self._reasoning) or hidden) and not self.text.strip()

    @property
    def finish_reason(self) -> FinishReason:
        if self.ended:
            return "stop"
        if self.cancel.cancelled:
            return "cancelled"
        return self._finish or "unknown"

    @property
    def text(self) -> str:
        """The answer so far."""
        return "".join(self._text)

    @property
    def reasoning(self) -> str:
        """The reasoning so far."""
        return "".join(self._reasoning)

    def failed(self, error: BaseException) -> LollmsError:
        """The error to raise for one that ended the stream: ours, with the text so far."""
        known = as_lollms_error(error, self.format)
        if logger.isEnabledFor(logging.DEBUG):
            self._log(known.type)
        if getattr(known, "_raised", False):
            # A backend raises one object for several calls. What the others got must stay as it is.
            traceback, cause = known.__traceback__, known.__cause__
            known = copy.copy(known).with_traceback(traceback)
            known.__cause__, known.partial_text = cause, ""
        known._raised = True  # type: ignore[attr-defined]
        known.partial_text = self.text or known.partial_text
        known.partial_reasoning = self.reasoning
        return known

    def completion(self) -> Completion:
        """The whole answer. Call after the end."""
        return Completion(
            text=self.text,
            reasoning=self.reasoning,
            finish_reason=self.finish_reason,
            usage=self._usage or Usage(),
            timings=Timings(total=time.perf_counter() - self._started, first_chunk=self._first),
            model=self._model,
            parsed=self._parsed,
            parts=tuple(self._parts()),
            metadata=self._metadata,
        )

    def _parts(self) -> Iterator[Part]:
        texts = thoughts = 0
        for more_texts, more_thoughts, part in (*self._further, (len(self._text), len(self._reasoning), None)):
            if thought := "".join(self._reasoning[thoughts:more_thoughts]):
                yield ReasoningPart(thought)
            if text := "".join(self._text[texts:more_texts]):
                yield TextPart(text)
            texts, thoughts = more_texts, more_thoughts
            if part is not None:
                yield part


def as_lollms_error(error: BaseException, format: str) -> LollmsError:
    """The error itself if it is ours, else a `BackendError` that has it as its cause.

    A warning that the caller's filters have made an error is raised, and so is what a signal handler of theirs raised:
    it is no fault of the format.
    """
    if isinstance(error, Warning) or raised_by_handler(error):
        raise error
    if isinstance(error, LollmsError):
        error.format = error.format or format
        return error
    known = BackendError(
        f"the {format} format failed: {described(error)}",
        hint="The original exception is in `__cause__`; the command prints it with --debug.",
        format=format,
    )
    known.__cause__ = error
    return known
