"""The one line on stderr that changes while something is being waited for: a spinner, or how far the work is.

Whoever writes to the terminal in the meantime does it inside `aside()`, so that nothing stands in the middle of a line.
"""

from __future__ import annotations

import contextlib
import itertools
import sys
import threading
import time
from collections.abc import Iterator
from types import TracebackType

from lollms_core._cli.screen import columns, is_terminal, printable, write_at_once
from lollms_core._cli.wrapping import cells, shortened

__all__ = ["StatusLine", "Waiting", "status_line"]

_DELAY = 0.3
"""Seconds before the line appears: what is quicker needs none."""
_PERIOD = 0.1
_PATIENCE = 5.0
"""Seconds after which the line says how long it has taken, or will take."""
_BAR = 20
_CLEAR = "\r\x1b[K"
_FANCY, _PLAIN = ("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏", "━", "─"), ("|/-\\", "#", ".")


class StatusLine:
    """A line that is drawn again and again until `end`. Where stderr is no terminal, each new stage is a line.

    A signal handler may call `end` at any moment: the lock is reentrant.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._ended = threading.Event()
        self._message = ""
        self._stage = ""
        self._part: float | None = None
        self._since = 0.0
        self._first_part = 0.0
        self._drawn = False
        self._open = False

    def begin(self, message: str) -> None:
        """Show that something is being waited for."""
        with self._lock:
            self.end()
            self._message, self._stage, self._part = printable(message), "", None
            self._since = time.monotonic()
            self._open = True
            self._ended = threading.Event()
            if is_terminal(sys.stderr):
                threading.Thread(target=self._draw_until, args=(self._ended,), name="status-line", daemon=True).start()

    def progress(self, stage: str, part: float | None) -> None:
        """Say what is being done, and how much of it is done, 0 to 1. Without a wait nothing is shown."""
        with self._lock:
            if not self._open:
                return
            stage = printable(stage)
            if part is not None and part >= 1:  # done; what was waited for is still to come
                stage, part = "", None
            if stage != self._stage:
                self._stage, self._since, self._first_part = stage, time.monotonic(), part or 0.0
                if stage and not is_terminal(sys.stderr):
                    _write(f"{stage}\n")
            self._part = part

    def end(self) -> bool:
        """Take the line away. May be called at any time, and more than once. Returns whether there was one to see."""
        with self._lock:
            self._ended.set()
            self._open = False
            return self._clear()

    @contextlib.contextmanager
    def aside(self) -> Iterator[None]:
        """Write something else; the line comes back below it."""
        with self._lock:
            self._clear()
            yield

    def _clear(self) -> bool:
        if not self._drawn:
            return False
        self._drawn = False
        _write(_CLEAR)
        return True

    def _draw_until(self, ended: threading.Event) -> None:
        if ended.wait(_DELAY):
            return
        frames, full, empty = _FANCY if _can_encode(_FANCY) else _PLAIN
        for frame in itertools.cycle(frames):
            with self._lock:
                if ended.is_set():
                    return
                self._drawn = True
                _write(_CLEAR + self._text(frame, full, empty))
            if ended.wait(_PERIOD):
                return

    def _text(self, frame: str, full: str, empty: str) -> str:
        # The "^C" with which terminals answer that key must not begin a new line: only one can be cleared.
        width = (columns(sys.stderr) or 80) - 3
        tail = self._tail(width // 2, full, empty)
        return f"{frame} {shortened(self._stage or self._message, width - 2 - cells(tail))}{tail}"

    def _tail(self, width: int, full: str, empty: str) -> str:
        """How far the work is, or how long it has taken: a bar as long as there is room for, and numbers."""
        took = time.monotonic() - self._since
        if self._part is None:
            return f"  {_duration(took)}" if took > _PATIENCE else ""
        numbers = f"  {round(self._part * 100):3d}%"
        progressed = self._part - self._first_part
        if took > _PATIENCE and progressed > 0.02:
            numbers += f", {_duration(took / progressed * (1 - self._part))} left"
        length = min(_BAR, width - len(numbers) - 2)
        done = round(self._part * length)
        return f"  {full * done}{empty * (length - done)}{numbers}" if length > 0 else numbers


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def _can_encode(texts: tuple[str, ...]) -> bool:
    try:
        "".join(texts).encode(sys.stderr.encoding or "ascii")
    except (UnicodeError, LookupError):
        return False
    return True


def _write(text: str) -> None:
    with contextlib.suppress(OSError, ValueError):
        write_at_once(text)


status_line = StatusLine()
"""The line of this process: there is never more than one."""


class Waiting:
    """The status line for as long as a block runs, or until `stop`."""

    def __init__(self, message: str) -> None:
        self._message = message

    def stop(self) -> None:
        """Take the line away. May be called at any time, and more than once."""
        status_line.end()

    def __enter__(self) -> Waiting:
        status_line.begin(self._message)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()
