"""What the commands write: answers as they arrive, tables, JSON, and a sign of life while there is nothing yet."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, TextIO

import click

from lollms_core.cli.guard import printable, redacted

if TYPE_CHECKING:
    from rich.console import Console
    from rich.status import Status

    from lollms_core import MSG_TYPE

__all__ = ["AnswerPrinter", "Waiting", "console", "is_terminal", "print_json", "print_table", "progress_console"]

_DIM = "\x1b[2m"
_RESET = "\x1b[0m"
_DELAY = 0.3
"""Seconds before a spinner appears: what is quicker needs none."""


def is_terminal(stream: TextIO) -> bool:
    """Whether a stream is a terminal that understands control sequences."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def print_json(value: Any) -> None:
    """A value as JSON on stdout."""
    click.echo(json.dumps(value, ensure_ascii=False, indent=2))


def console(stream: TextIO) -> Console:
    """A rich console on a stream that guesses nothing about what is text and what is markup."""
    from rich.console import Console

    return Console(file=stream, highlight=False, markup=False, emoji=False)


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A table on stdout. Columns without any value are left out.

    A terminal gets one that fits its width; a file or a pipe gets aligned columns in which nothing is cut.
    """
    cells = [["" if cell is None else printable(redacted(str(cell))) for cell in row] for row in rows]
    used = [index for index in range(len(columns)) if index == 0 or any(row[index] for row in cells)]
    head = [columns[index] for index in used]
    body = [[row[index].replace("\n", " ") for index in used] for row in cells]
    if is_terminal(sys.stdout):
        from rich.table import Table
        from rich.text import Text

        table = Table(*head, box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
        for row in body:
            table.add_row(*map(Text, row))
        console(sys.stdout).print(table)
        return
    widths = [max(len(row[index]) for row in [head, *body]) for index in range(len(head))]
    for row in [head, *body]:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def progress_console() -> Console | None:
    """The console for spinners and bars: stderr, if somebody looks at it."""
    return console(sys.stderr) if is_terminal(sys.stderr) else None


class Waiting:
    """A spinner on stderr while nothing happens. `stop` may be called at any time, and more than once.

    Nothing is shown for a short wait, nor where stderr is not a terminal.
    """

    def __init__(self, message: str) -> None:
        self._message = message
        self._status: Status | None = None
        self._timer: threading.Timer | None = None
        self._lock = threading.Lock()

    def start(self) -> Waiting:
        """Begin to wait."""
        if is_terminal(sys.stderr):
            self._timer = threading.Timer(_DELAY, self._show)
            self._timer.daemon = True
            self._timer.start()
        return self

    def _show(self) -> None:
        from rich.text import Text

        console = progress_console()
        with self._lock:
            if self._timer is not None and console is not None:
                self._status = console.status(Text(printable(self._message)))
                self._status.start()

    def stop(self) -> None:
        """Take the spinner away."""
        if self._timer is None:
            return
        with self._lock:
            timer, self._timer = self._timer, None
            status, self._status = self._status, None
        if timer is not None:
            timer.cancel()
        if status is not None:
            status.stop()

    def __enter__(self) -> Waiting:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()


class AnswerPrinter:
    """Prints an answer piece by piece; the callback of a generating call, and the context around it.

    A spinner turns until the first piece. On a terminal, reasoning is dimmed and control characters are made visible.
    Elsewhere stdout gets the answer's text alone, exactly, and reasoning goes to stderr if it is asked for. However
    the call ends, what was printed stands on lines of its own.

    Args:
        subject: who answers, for the spinner.
        show_reasoning: print reasoning on stderr where stdout is not a terminal.
    """

    def __init__(self, subject: str, show_reasoning: bool = False) -> None:
        self._waiting = Waiting(f"Waiting for {subject}")
        self._terminal = is_terminal(sys.stdout)
        self._reasoning_to_stderr = show_reasoning and not self._terminal
        self._pieces: list[str] = []
        self._open = {id(sys.stdout): False, id(sys.stderr): False}
        self._in_reasoning = False

    @property
    def text(self) -> str:
        """The answer so far."""
        return "".join(self._pieces)

    def __call__(self, piece: str, kind: MSG_TYPE) -> None:
        if kind == 0:
            self._waiting.stop()
            self._leave_reasoning()
            self._pieces.append(piece)
            self._write(sys.stdout, piece)
        elif self._terminal:
            self._waiting.stop()
            self._in_reasoning = True
            self._write(sys.stdout, piece, dim=True)
        elif self._reasoning_to_stderr:
            self._waiting.stop()
            self._write(sys.stderr, piece)

    def _leave_reasoning(self) -> None:
        if self._in_reasoning:
            self._in_reasoning = False
            self._end_line(sys.stdout)
            self._write(sys.stdout, "\n")

    def _write(self, stream: TextIO, piece: str, *, dim: bool = False) -> None:
        if not piece:
            return
        if is_terminal(stream):
            piece = printable(piece)
        self._open[id(stream)] = not piece.endswith("\n")
        stream.write(f"{_DIM}{piece}{_RESET}" if dim else piece)
        stream.flush()

    def _end_line(self, stream: TextIO) -> None:
        if self._open[id(stream)]:
            self._write(stream, "\n")

    def __enter__(self) -> AnswerPrinter:
        self._waiting.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._waiting.stop()
        # A pipe that broke has already ended the call; ending its line must not hide that.
        with contextlib.suppress(BrokenPipeError):
            self._end_line(sys.stdout)
            self._end_line(sys.stderr)
