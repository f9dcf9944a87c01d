"""The text that a command works on: from its arguments, from standard input, or both."""

from __future__ import annotations

import os
import select
import stat
import sys

import click

from lollms_core._cli.messages import note

__all__ = ["has_input", "read_stdin", "text_from"]

_PATIENCE = 2.0
"""Seconds of silence on a pipe after which the user is told what is being waited for."""


def text_from(words: tuple[str, ...], what: str) -> str:
    """The arguments joined by spaces; then, after an empty line, what comes through a pipe or from a file.

    An argument `-` says where in the text standard input belongs.

    Args:
        words: the arguments.
        what: what the text is, for the message when there is none.

    Raises:
        click.UsageError: there are no arguments, and standard input is a terminal or empty.
    """
    if "-" in words:
        place = words.index("-")
        parts = (" ".join(words[:place]), read_stdin(), " ".join(words[place + 1 :]))
        return "\n\n".join(part for part in parts if part)
    given = " ".join(words)
    if not given:
        no_text = click.UsageError(f"There is no {what}: give it as an argument or on standard input.")
        if sys.stdin.isatty():
            raise no_text
        piped = read_stdin()
        if not piped.strip():
            raise no_text
        return piped
    if not has_input():
        return given
    piped = read_stdin()
    return f"{given}\n\n{piped}" if piped.strip() else given


def has_input() -> bool:
    """Whether standard input is a pipe or a file: something that was put there on purpose."""
    try:
        mode = os.fstat(sys.stdin.fileno()).st_mode
    except (OSError, ValueError):
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISREG(mode)


def read_stdin() -> str:
    """All of standard input, as UTF-8, without the newline at its end.

    Raises:
        click.UsageError: it is not UTF-8.
    """
    _tell_if_silent()
    stream = getattr(sys.stdin, "buffer", None)
    if stream is None:
        return sys.stdin.read().removesuffix("\n")
    try:
        text: str = stream.read().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise click.UsageError(f"Standard input is not UTF-8: {error.reason} at byte {error.start}.") from None
    return text.replace("\r\n", "\n").removesuffix("\n")


def _tell_if_silent() -> None:
    try:
        ready, _, _ = select.select([sys.stdin], [], [], _PATIENCE)
    except (OSError, ValueError):  # not something that can be waited for: a test's buffer, or a file on Windows
        return
    if not ready:
        note("waiting for standard input; close it, or use </dev/null if nothing comes from there")
