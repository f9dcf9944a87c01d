"""How a command ends: every way to fail becomes one line on stderr and an exit status."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import click

from lollms_core._cli.interrupts import INTERRUPTED, announced
from lollms_core._cli.messages import note, print_json, report, report_wrong_usage, tell_as_it_is, trace, warn
from lollms_core._cli.screen import printable
from lollms_core._cli.state import current_state, fresh_state, redacted
from lollms_core._cli.status_line import status_line

__all__ = ["BROKEN_PIPE", "ERROR", "guarded", "report_os_error"]

ERROR = 1
"""Exit status of an error. Wrong usage is 2, by click."""
BROKEN_PIPE = 141
"""Exit status when the reader of the output went away: 128 and the number of SIGPIPE."""

_OUTPUT_FAILS = {errno.EBADF, errno.EFBIG, errno.EIO, errno.ENOSPC}


class _LogLines(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        from lollms_core._cli.phrases import in_command_words

        if record.levelno >= logging.WARNING:
            warn(in_command_words(record.getMessage()))
        else:
            trace(record.getMessage())


class _Progress(logging.Handler):
    """Shows what backends say to the logger `lollms.progress` about work that takes long.

    A record's message names the stage. Its attribute `part`, from `extra`, is how much is done, 0 to 1, or `None`
    where that is not known. A record without that attribute is a remark.
    """

    def emit(self, record: logging.LogRecord) -> None:
        if hasattr(record, "part"):
            status_line.progress(record.getMessage(), record.part)
        else:
            note(record.getMessage())


@contextlib.contextmanager
def _handled(name: str, handler: logging.Handler) -> Iterator[None]:
    """A logger's records go to this handler and nowhere else."""
    logger = logging.getLogger(name)
    propagate, level = logger.propagate, logger.level
    logger.addHandler(handler)
    logger.propagate = False
    logger.setLevel(handler.level or level)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagate
        logger.setLevel(level)


@contextlib.contextmanager
def _one_line_warnings() -> Iterator[None]:
    """Warnings and log records of lollms as lines on stderr, each once."""
    said: set[str] = set()

    def show(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
        from lollms_core._cli.phrases import in_command_words

        if issubclass(category, UserWarning) and str(message) not in said:
            said.add(str(message))
            warn(in_command_words(str(message)))

    with (
        _handled("lollms", _LogLines()),
        _handled("lollms.progress", _Progress(logging.INFO)),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("default", UserWarning)
        warnings.showwarning = show
        yield


@contextlib.contextmanager
def guarded(ctx: click.Context) -> Iterator[None]:
    """Run a command. Errors, bugs, wrong usage, Ctrl-C and an output that takes nothing end it with their status."""
    fresh_state()
    # What no encoding can carry, such as half an emoji, is shown as a question mark rather than ending the answer.
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")
    try:
        with _one_line_warnings(), announced():
            yield
            sys.stdout.flush()
    except click.exceptions.Exit:
        raise
    except click.ClickException as error:
        report_wrong_usage(error)
        ctx.exit(error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        if not current_state().hurry:  # else it has been said already
            tell_as_it_is("\nInterrupted.\n")
        _show_what_had_come()
        ctx.exit(INTERRUPTED)
    except BrokenPipeError:
        _drop_output()
        ctx.exit(BROKEN_PIPE)
    except OSError as error:
        report_os_error(error)
        ctx.exit(ERROR)
    except Exception as error:
        report(error)
        ctx.exit(ERROR)


def _show_what_had_come() -> None:
    state = current_state()
    arrived = redacted("".join(state.so_far))
    if state.as_json:
        from lollms_core import CallCancelledError

        print_json(CallCancelledError("interrupted", partial_text=arrived).to_dict())
    elif arrived:
        tell_as_it_is(f"{printable(arrived)}\n")


def report_os_error(error: OSError) -> None:
    """A file has a name. What fails without one is the output: a full disk, a descriptor that is closed."""
    if error.filename is not None or error.errno not in _OUTPUT_FAILS:
        report(error)
        return
    _drop_output()
    from lollms_core import LollmsError

    current_state().as_json = False
    why = "it is closed" if error.errno == errno.EBADF else error.strerror or str(error)
    report(LollmsError(f"the output cannot be written: {why}"))


def _drop_output() -> None:
    """Or Python complains when it flushes stdout at exit."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
