"""The standard streams as a process finds them: closed ones are replaced, a Windows console is made to understand."""

from __future__ import annotations

import os
import sys

__all__ = ["prepare_streams"]


def prepare_streams() -> None:
    """Make the standard streams usable. For the start of a process.

    Where the caller has closed a descriptor, Python has no stream, and the next file that is opened would get its
    number. Nothing comes from a closed standard input; what is said on a closed stderr is lost; writing to a closed
    standard output fails, as it does for every other program.
    """
    if sys.stdin is None:
        sys.stdin = os.fdopen(_devnull(0, os.O_RDONLY), encoding="utf-8")
    if sys.stdout is None:
        sys.stdout = os.fdopen(_devnull(1, os.O_RDONLY), "w", encoding="utf-8")
    if sys.stderr is None:
        sys.stderr = os.fdopen(_devnull(2, os.O_WRONLY), "w", encoding="utf-8")
    if sys.platform == "win32":
        _understand_control_sequences()


def _devnull(number: int, flags: int) -> int:
    descriptor = os.open(os.devnull, flags)
    if descriptor != number:
        os.dup2(descriptor, number)
        os.close(descriptor)
    return number


if sys.platform == "win32":

    def _understand_control_sequences() -> None:
        """Old consoles need to be asked: ENABLE_VIRTUAL_TERMINAL_PROCESSING beside the two usual bits."""
        import ctypes

        for handle in (-11, -12):  # stdout and stderr
            ctypes.windll.kernel32.SetConsoleMode(ctypes.windll.kernel32.GetStdHandle(handle), 7)
