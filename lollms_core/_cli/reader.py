"""Reading what somebody says in a chat: from a pipe, with plain line editing, or with all comforts.

At a terminal `prompt_toolkit` is used where it is installed (`pip install "lollms-core[chat]"`), else Python's
readline. With both, several lines that are pasted are one message.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Protocol

import click

__all__ = ["FENCE", "Completer", "PipeReader", "Reader", "unfenced"]

FENCE = '"""'
"""Text between two lines of it is one message of several lines."""

Completer = Callable[[str], list[str]]
"""What the line so far may become."""


class Reader(Protocol):
    """Gives one message after the other."""

    interactive: bool
    """Somebody sits there."""

    def read(self) -> str | None:
        """The next message, `None` at the end of the input. Ctrl-C raises `KeyboardInterrupt`."""


class PipeReader:
    """Reads lines as they are. At a terminal that understands nothing, a sign on stderr says that it is one's turn."""

    def __init__(self) -> None:
        self.interactive = sys.stdin.isatty()
        self._begun = False

    def read(self) -> str | None:
        return unfenced(self._line)

    def _line(self, sign: str) -> str | None:
        if self.interactive:
            click.echo(sign, nl=False, err=True)
        try:
            line = sys.stdin.readline()
        except KeyboardInterrupt:
            if self.interactive:
                click.echo(err=True)
            raise
        if not self._begun:
            self._begun = True
            line = line.removeprefix("\ufeff")  # which editors on Windows put in front
        return line.rstrip("\r\n") if line else None


def unfenced(next_line: Callable[[str], str | None]) -> str | None:
    """A message: one line, or those between two fences.

    Args:
        next_line: gives a line, `None` at the end; its argument is the sign that asks for it.
    """
    line = next_line("> ")
    if line is None or not line.lstrip().startswith(FENCE):
        return line
    lines = [line.lstrip().removeprefix(FENCE)]
    while not lines[-1].rstrip().endswith(FENCE):
        more = next_line("… ")
        if more is None:  # the end of the input ends the message, too
            break
        lines.append(more)
    lines[-1] = lines[-1].rstrip().removesuffix(FENCE)
    return "\n".join(lines).strip("\n")
