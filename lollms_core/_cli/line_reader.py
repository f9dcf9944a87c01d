"""Line editing with Python's readline; on Windows, which has none, with what the console offers."""

from __future__ import annotations

import contextlib
from typing import Any

import click

from lollms_core._cli.history import History
from lollms_core._cli.reader import Completer, unfenced

__all__ = ["LineReader"]


class LineReader:
    """Reads messages from a terminal.

    GNU readline takes a pasted block for one message ("bracketed paste"). The library that macOS has in its place does
    not: there every line of a block is a message, unless it stands between fences.
    """

    interactive = True

    def __init__(self, history: History, complete: Completer) -> None:
        self._history = history
        self._readline: Any = None
        with contextlib.suppress(ImportError):
            import readline

            self._readline = readline
            self._set_up(readline, complete)

    def _set_up(self, readline: Any, complete: Completer) -> None:
        if "libedit" in (readline.__doc__ or ""):
            readline.parse_and_bind("bind ^I rl_complete")
        else:
            readline.parse_and_bind("set enable-bracketed-paste on")
            readline.parse_and_bind("tab: complete")
        readline.set_auto_history(False)  # a message of several lines is one entry
        readline.set_completer_delims(" ")
        readline.set_completer(lambda _, number: _nth(complete(readline.get_line_buffer()), number))
        readline.clear_history()
        for prompt in self._history.load():
            readline.add_history(prompt)

    def read(self) -> str | None:
        message = unfenced(self._line)
        if message is not None and message.strip():
            self._history.add(message)
            if self._readline is not None:
                self._readline.add_history(message)
        return message

    def _line(self, sign: str) -> str | None:
        try:
            return input(sign)
        except EOFError:
            click.echo()  # the shell's prompt shall not stand behind ours
            return None
        except KeyboardInterrupt:
            click.echo()
            raise


def _nth(words: list[str], number: int) -> str | None:
    return words[number] if number < len(words) else None
