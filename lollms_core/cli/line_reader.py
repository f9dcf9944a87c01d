"""Reading what a person types: line editing, and a history that is still there tomorrow."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from lollms_core.cli.guard import warn
from lollms_core.cli.terminal import is_terminal

__all__ = ["LineReader", "history_path"]

_FENCE = '"""'
_HISTORY_LENGTH = 1000


def history_path() -> Path:
    """The file with what was typed: `chat_history` in the user's state directory."""
    import platformdirs

    return platformdirs.user_state_path("lollms", appauthor=False) / "chat_history"


class LineReader:
    """Reads prompts from standard input.

    At a terminal there are a prompt sign, line editing and history where Python has readline. Elsewhere every line
    is a prompt. Text between two lines of three double quotes is one prompt of several lines.
    """

    def __init__(self) -> None:
        self.interactive = sys.stdin.isatty()
        self._editing = self.interactive and is_terminal(sys.stdout)

    def read(self) -> str | None:
        """The next prompt, `None` at the end of the input. Ctrl-C raises `KeyboardInterrupt`."""
        line = self._line("> ")
        if line is None or not line.lstrip().startswith(_FENCE):
            return line
        lines = [line.lstrip().removeprefix(_FENCE)]
        while not lines[-1].rstrip().endswith(_FENCE):
            more = self._line("… ")
            if more is None:
                return None
            lines.append(more)
        lines[-1] = lines[-1].rstrip().removesuffix(_FENCE)
        return "\n".join(lines).strip("\n")

    def _line(self, sign: str) -> str | None:
        if self._editing:
            try:
                return input(sign)
            except EOFError:
                click.echo()  # the shell's prompt shall not stand behind ours
                return None
        if self.interactive:
            click.echo(sign, nl=False, err=True)
        line = sys.stdin.readline()
        return line.rstrip("\r\n") if line else None

    @contextlib.contextmanager
    def history(self) -> Iterator[None]:
        """Have the history of former times, and keep this one's. A history that cannot be kept is no error."""
        if not self._editing:
            yield
            return
        try:
            import readline
        except ImportError:  # Windows: input() edits lines by itself and keeps nothing
            yield
            return
        path = history_path()
        readline.set_history_length(_HISTORY_LENGTH)
        with contextlib.suppress(OSError):
            readline.read_history_file(path)
        try:
            yield
        finally:
            try:
                path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                # Prompts are private: nobody else reads them, not even between making the file and writing it.
                os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
                readline.write_history_file(path)
            except OSError as error:
                warn(f"the history cannot be kept: {error}")
