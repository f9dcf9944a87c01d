"""Answers as they arrive, and what is to be said about how they ended."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, TextIO

from lollms_core._cli.messages import note, tell_as_it_is
from lollms_core._cli.screen import colours_wanted, columns, is_terminal, printable
from lollms_core._cli.state import current_state
from lollms_core._cli.status_line import Waiting
from lollms_core._cli.wrapping import WordWrap

if TYPE_CHECKING:
    from lollms_core import MSG_TYPE, Completion

__all__ = ["AnswerPrinter", "explain_end"]

_DIM = "\x1b[2m"
_RESET = "\x1b[0m"


class AnswerPrinter:
    """Prints an answer piece by piece; the callback of a generating call, and the context around it.

    A spinner turns until the first piece. On a terminal lines are broken at spaces, reasoning is dimmed and control
    characters are made visible. Elsewhere stdout gets the answer's text alone, exactly, and reasoning goes to stderr if
    it is asked for. However the call ends, what was printed stands on lines of its own.

    Args:
        subject: who answers, for the spinner.
        show_reasoning: print reasoning on stderr where stdout is not a terminal.
    """

    def __init__(self, subject: str, show_reasoning: bool = False) -> None:
        self._waiting = Waiting(f"Waiting for {subject}")
        self._answer = _Writer(sys.stdout)
        self._thoughts = None
        self._in_thoughts = False
        if is_terminal(sys.stdout):
            self._thoughts = _Writer(sys.stdout, dim=colours_wanted())
        elif show_reasoning:
            self._thoughts = _Writer(sys.stderr)
        self._pieces: list[str] = []

    @property
    def text(self) -> str:
        """The answer so far."""
        return "".join(self._pieces)

    def __call__(self, piece: str, kind: MSG_TYPE) -> None:
        if not piece:
            return
        if current_state().held is None and is_terminal(sys.stdout):
            current_state().held = []  # a warning must not break a line of the answer
        if kind == 0:
            self._waiting.stop()
            self._leave_reasoning()
            self._pieces.append(piece)
            self._answer.write(piece)
        elif self._thoughts is not None:
            self._waiting.stop()
            self._in_thoughts = True
            self._thoughts.write(piece)

    def _leave_reasoning(self) -> None:
        """Where both are on one stream, an empty line stands between them."""
        if self._in_thoughts and self._thoughts is not None and self._thoughts.stream is sys.stdout:
            self._thoughts.end_line()
            self._answer.write("\n")
        self._in_thoughts = False

    def __enter__(self) -> AnswerPrinter:
        self._waiting.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._waiting.stop()
        # An output that fails has already ended the call; ending its line must not hide that.
        with contextlib.suppress(OSError):
            self._answer.end_line()
            if self._thoughts is not None:
                self._thoughts.end_line()
        held, current_state().held = current_state().held, None
        for text in held or ():
            tell_as_it_is(text)


class _Writer:
    """One kind of text on one stream."""

    def __init__(self, stream: TextIO, *, dim: bool = False) -> None:
        self.stream = stream
        self._dim = dim
        self._in_line = False
        self._wrap: WordWrap | None = None
        self._shown: Callable[[str], str] = str
        if stream.isatty():
            self._wrap = WordWrap(self._room, eager=is_terminal(stream))
            self._shown = printable

    def _room(self) -> int | None:
        """Without the last column: a cursor that stands behind it cannot be moved back in the same way everywhere."""
        width = columns(self.stream)
        return None if width is None else width - 1

    def write(self, piece: str) -> None:
        if piece:
            self._in_line = not piece.endswith("\n")
        text = self._shown(piece)
        self._put(text if self._wrap is None else self._wrap.feed(text))

    def end_line(self) -> None:
        """Leave the cursor at the beginning of a line."""
        if self._in_line:
            self.write("\n")

    def _put(self, text: str) -> None:
        if text:
            self.stream.write(f"{_DIM}{text}{_RESET}" if self._dim else text)
            self.stream.flush()


def explain_end(completion: Completion, subject: str) -> None:
    """Say why an answer is empty, or not whole."""
    if not completion.text and (calls := completion.metadata.get("tool_calls")):
        note(f"the model called tools in place of an answer: {json.dumps(calls, ensure_ascii=False, default=str)}")
    elif completion.only_reasoning:
        note("the model used up its tokens with reasoning, and gave no answer; raise --n-predict, or try --no-think")
    elif completion.finish_reason == "length":
        note("the answer was cut off at the limit of tokens; --n-predict raises it")
    elif completion.finish_reason == "content_filter":
        note(f"the content filter of {subject} ended the answer")
