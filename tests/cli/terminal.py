"""A real pseudo-terminal around the command: type into it, read what it wrote and what its screen shows."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pyte

__all__ = ["Terminal"]

_PATIENCE = 30.0
_ROWS = 50


class Terminal:
    """The command on a terminal. `shown` is all that was written to it, control sequences included."""

    def __init__(self, *args: str, environment: Mapping[str, str], folder: Path, columns: int = 100) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", _ROWS, columns, 0, 0))
        self.shown = ""
        self._seen = 0
        self._screen = pyte.Screen(columns, _ROWS)
        # Programs ask where the cursor is, and wait for the answer.
        self._screen.write_process_input = self.type  # type: ignore[assignment, method-assign]
        self._stream = pyte.ByteStream(self._screen)
        # The shell's session: Ctrl-C typed here becomes SIGINT of the command, as at any terminal.
        self._process = subprocess.Popen(
            [sys.executable, "-m", "lollms_core", *args],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=dict(environment),
            cwd=folder,
            start_new_session=True,
            preexec_fn=_own_terminal,
        )
        os.close(slave)

    @property
    def lines(self) -> list[str]:
        """What the screen shows, without what is empty at the end."""
        lines = [line.rstrip() for line in self._screen.display]
        while lines and not lines[-1]:
            lines.pop()
        return lines

    def type(self, keys: str) -> None:
        os.write(self._master, keys.encode())

    def paste(self, text: str) -> None:
        """Paste as terminals do where a program has asked for bracketed paste: the text between two marks."""
        assert "\x1b[?2004h" in self.shown, "bracketed paste was not asked for"
        self.type(f"\x1b[200~{text}\x1b[201~")

    def expect(self, text: str, patience: float = _PATIENCE) -> str:
        """Wait until `text` is shown, and return what was shown up to its end since the last call."""
        seen = self._seen
        deadline = time.monotonic() + patience
        while (place := self.shown.find(text, seen)) < 0:
            if not self._more(deadline):
                raise AssertionError(f"{text!r} was not shown in {self.shown[seen:]!r}")
        self._seen = place + len(text)
        return self.shown[seen : self._seen]

    def until(self, condition: Callable[[list[str]], bool]) -> list[str]:
        """Wait until the screen's lines are as they should be. For programs that draw, and not only write."""
        deadline = time.monotonic() + _PATIENCE
        while not condition(self.lines):
            if not self._more(deadline):
                raise AssertionError("the screen shows\n" + "\n".join(self.lines))
        self._seen = len(self.shown)
        return self.lines

    def interrupt(self, until: str) -> str:
        """Press Ctrl-C until `until` is shown.

        Once is not always enough: a signal that arrives just before Python begins to wait, in readline or for a lock,
        is noticed with the next.
        """
        for _ in range(int(_PATIENCE)):
            self.type("\x03")
            with contextlib.suppress(AssertionError):
                return self.expect(until, patience=1.0)
        raise AssertionError(f"{until!r} was not shown in {self.shown!r}")

    def end(self) -> int:
        """Wait for the command's end; its exit status."""
        deadline = time.monotonic() + _PATIENCE
        while self._more(deadline):
            pass
        return self._process.wait(timeout=_PATIENCE)

    def _more(self, deadline: float) -> bool:
        ready, _, _ = select.select([self._master], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            return False
        try:
            data = os.read(self._master, 65536)
        except OSError:  # Linux says so when the last process has closed the terminal
            return False
        self.shown += data.decode(errors="replace")
        self._stream.feed(data)
        return bool(data)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        os.close(self._master)


def _own_terminal() -> None:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
