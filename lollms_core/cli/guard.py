"""How a command ends: every way to fail becomes one line on stderr and an exit status."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

import click

__all__ = [
    "BROKEN_PIPE",
    "ERROR",
    "INTERRUPTED",
    "State",
    "current_state",
    "debug_option",
    "guarded",
    "note",
    "printable",
    "redacted",
    "report",
    "traceback_of",
    "warn",
]

F = TypeVar("F", bound=Callable[..., Any])

ERROR = 1
"""Exit status of an error. Wrong usage is 2, by click."""
INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells have it: 128 and the number of SIGINT."""
BROKEN_PIPE = 141
"""Exit status when the reader of the output went away: 128 and the number of SIGPIPE."""


@dataclass
class State:
    """What holds for one run of the command."""

    debug: bool = False
    secrets: set[str] = field(default_factory=set)
    """Keys and passwords that were read; they are taken out of everything that is said on stderr."""


_state = State()


def current_state() -> State:
    """The state of this run. The same in every thread: backends warn and log from threads of their own."""
    return _state


def _set_debug(_: click.Context, __: click.Parameter, wanted: bool) -> None:
    if wanted:
        _state.debug = True


def debug_option(command: F) -> F:
    """`--debug` after the command's name, where it is easily added to a line that failed."""
    return click.option(
        "--debug", is_flag=True, expose_value=False, callback=_set_debug, help="Show the traceback of an error."
    )(command)


# C0 and C1 control characters but tab and newline. A model's or a server's text must not move the cursor, set the
# window's title or write to the clipboard.
_CONTROL: dict[int, int | None] = {code: 0x2400 + code for code in range(0x20) if chr(code) not in "\t\n\r"}
_CONTROL |= {0x0D: None, 0x7F: 0x2421} | dict.fromkeys(range(0x80, 0xA0), 0xFFFD)


def printable(text: str) -> str:
    """The text with control characters made visible, for a terminal."""
    return text if text.isascii() and text.isprintable() else text.translate(_CONTROL)


def redacted(text: str) -> str:
    """The text without the secrets of this run."""
    for secret in current_state().secrets:
        text = text.replace(secret, "***")
    return text


def _say(label: str, text: str, colour: str) -> None:
    line = " ".join(printable(redacted(text)).split("\n"))
    click.echo(f"{click.style(label, fg=colour, bold=True)} {line}", err=True)


def note(text: str) -> None:
    """Tell something that is worth knowing, on stderr."""
    _say("Note:", text, "cyan")


def warn(text: str) -> None:
    """Tell something that is probably wrong, on stderr."""
    _say("Warning:", text, "yellow")


def traceback_of(error: BaseException) -> str:
    """The traceback with its causes, without secrets."""
    import traceback

    return printable(redacted("".join(traceback.format_exception(type(error), error, error.__traceback__))))


def report(error: Exception) -> None:
    """Say what went wrong in one line, and what to do in another; the traceback before them under `--debug`."""
    from lollms_core import LollmsError

    state = current_state()
    if state.debug:
        click.echo(traceback_of(error), err=True, nl=False)
    if isinstance(error, LollmsError):
        message, hint = error.message, error.hint
    else:
        message = f"{type(error).__name__}: {error}"
        hint = "" if state.debug else "This should not happen. Run it again with --debug to see where it comes from."
    _say("Error:", message, "red")
    if hint:
        _say("Hint:", hint, "cyan")


class _LogLines(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        _say(f"{record.levelname.capitalize()}:", record.getMessage(), "yellow")


@contextlib.contextmanager
def _one_line_warnings() -> Iterator[None]:
    """Warnings and log records of lollms as lines on stderr, each once."""
    said: set[str] = set()

    def show(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
        if issubclass(category, UserWarning) and str(message) not in said:
            said.add(str(message))
            warn(str(message))

    logger = logging.getLogger("lollms")
    handler = _LogLines(logging.WARNING)
    propagate = logger.propagate
    logger.addHandler(handler)
    logger.propagate = False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("default", UserWarning)
            warnings.showwarning = show
            yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagate


@contextlib.contextmanager
def guarded(ctx: click.Context) -> Iterator[None]:
    """Run a command. Errors of ours, bugs, Ctrl-C and a closed pipe end it with their exit status.

    Wrong usage stays with click, which says how the command is used.
    """
    global _state
    _state = State()
    # What no encoding can carry, such as half an emoji, is shown as a question mark rather than ending the answer.
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")
    try:
        with _one_line_warnings():
            yield
            sys.stdout.flush()
    except (click.ClickException, click.exceptions.Exit):
        raise
    except (KeyboardInterrupt, click.Abort):
        click.echo("\nInterrupted.", err=True)
        ctx.exit(INTERRUPTED)
    except BrokenPipeError:
        # Or Python complains when it flushes stdout at exit.
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        ctx.exit(BROKEN_PIPE)
    except Exception as error:
        report(error)
        ctx.exit(ERROR)
