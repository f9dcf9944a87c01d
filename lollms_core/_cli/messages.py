"""What the command says beside its output: notes, warnings and errors, on stderr, each in lines of whole words."""

from __future__ import annotations

import contextlib
import sys
from typing import Any

import click

from lollms_core._cli.screen import columns, printable
from lollms_core._cli.state import current_state, redacted
from lollms_core._cli.status_line import status_line
from lollms_core._cli.wrapping import wrap

__all__ = [
    "note",
    "print_json",
    "report",
    "report_wrong_usage",
    "tell",
    "tell_as_it_is",
    "trace",
    "traceback_of",
    "warn",
]


def tell(text: str, *, end: str = "\n") -> None:
    """Say a sentence or two on stderr."""
    tell_as_it_is(wrap(printable(redacted(text)), columns(sys.stderr)) + end)


def tell_as_it_is(text: str) -> None:
    """Write to stderr. If nothing can be written there, the work still goes on."""
    if (held := current_state().held) is not None:
        held.append(text)
        return
    with contextlib.suppress(OSError), status_line.aside():
        click.echo(text, err=True, nl=False)


def _say(label: str, text: str, colour: str) -> None:
    first, *more = printable(redacted(text)).split("\n")
    lines = [wrap(first, columns(sys.stderr), column=len(label) + 1), *more]  # more: commands to be copied
    tell_as_it_is(f"{click.style(label, fg=colour, bold=True)} " + "\n".join(lines) + "\n")


def _in_one_line(text: str) -> str:
    return " ".join(text.split("\n"))


def note(text: str) -> None:
    """Tell something that is worth knowing."""
    _say("Note:", _in_one_line(text), "cyan")


def warn(text: str) -> None:
    """Tell something that is probably wrong."""
    _say("Warning:", _in_one_line(text), "yellow")


def trace(text: str) -> None:
    """Tell what helps to find out what went wrong."""
    _say("Debug:", _in_one_line(text), "bright_black")


def traceback_of(error: BaseException) -> str:
    """The traceback with its causes, without secrets."""
    import traceback

    return printable(redacted("".join(traceback.format_exception(type(error), error, error.__traceback__))))


def report(error: Exception) -> None:
    """Say what went wrong, and what to do about it; the traceback before them under `--debug`.

    A command that prints JSON prints the error as such, too.
    """
    state = current_state()
    if state.debug:
        tell_as_it_is(traceback_of(error))
    record = _record(error)
    if state.as_json:
        print_json({name: redacted(value) if isinstance(value, str) else value for name, value in record.items()})
    _say("Error:", _in_one_line(record["error"]), "red")
    if record["hint"]:
        _say("Hint:", record["hint"], "cyan")


def report_wrong_usage(error: click.ClickException) -> None:
    """Say how the command is used, and what was wrong; what click does, in lines of whole words."""
    if current_state().as_json:
        from lollms_core import LollmsError

        print_json({**LollmsError(error.format_message()).to_dict(), "type": type(error).__name__})
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        tell_as_it_is(f"{error.format_message()}\n")
        return
    if isinstance(error, click.UsageError) and error.ctx is not None:
        tell_as_it_is(f"{error.ctx.get_usage()}\nTry '{error.ctx.command_path} --help' for help.\n\n")
    _say("Error:", _in_one_line(error.format_message()), "red")


def _record(error: Exception) -> dict[str, Any]:
    """The dictionary form of an error, in the words of somebody at a terminal."""
    from lollms_core import LollmsError
    from lollms_core._cli.phrases import words_of

    if isinstance(error, LollmsError):
        message, hint = words_of(error)
        return {**error.to_dict(), "error": message, "hint": hint}
    again = "" if current_state().debug else "Run it again with --debug to see where it comes from."
    unexpected = LollmsError(f"{type(error).__name__}: {error}", hint=f"This should not happen. {again}".strip())
    return {**unexpected.to_dict(), "type": type(error).__name__}


def print_json(value: Any) -> None:
    """A value as JSON on stdout; what JSON has no word for, as a provider's metadata may have it, as text."""
    import json

    click.echo(json.dumps(value, ensure_ascii=False, indent=2, default=str))
