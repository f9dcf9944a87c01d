"""What can be known about a terminal: whether there is one, how wide it is, and what may be sent to it."""

from __future__ import annotations

import os
import sys
from typing import TextIO

__all__ = ["colours_wanted", "columns", "is_terminal", "printable", "write_at_once"]

_USUAL_WIDTH = 80


def is_terminal(stream: TextIO) -> bool:
    """Whether a stream is a terminal that understands control sequences."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def colours_wanted() -> bool:
    """Whether text on a terminal may be coloured or dimmed. `NO_COLOR`: https://no-color.org."""
    return os.environ.get("TERM") != "dumb" and not os.environ.get("NO_COLOR")


def columns(stream: TextIO) -> int | None:
    """The width of a terminal, a dumb one too; `None` for a file or a pipe, where no line is broken."""
    if not stream.isatty():
        return None
    try:
        return os.get_terminal_size(stream.fileno()).columns or _USUAL_WIDTH
    except (OSError, ValueError):
        return _USUAL_WIDTH


# C0 and C1 control characters but tab and newline. A model's or a server's text must not move the cursor, set the
# window's title or write to the clipboard.
_CONTROL: dict[int, int | None] = {code: 0x2400 + code for code in range(0x20) if chr(code) not in "\t\n\r"}
_CONTROL |= {0x0D: None, 0x7F: 0x2421} | dict.fromkeys(range(0x80, 0xA0), 0xFFFD)


def printable(text: str) -> str:
    """The text with control characters made visible, for a terminal."""
    return text if text.isascii() and text.isprintable() else text.translate(_CONTROL)


def write_at_once(text: str) -> None:
    """Write to stderr; also from a signal handler, which may have interrupted a write to it."""
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except RuntimeError:  # "reentrant call"
        os.write(sys.stderr.fileno(), text.encode(sys.stderr.encoding or "utf-8", "replace"))
