"""One after another: for servers that end one client's answer when another answer of that client ends."""

from __future__ import annotations

import contextlib
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

from lollms_core._bridges import processes
from lollms_core._bridges.whole_calls import runs_whole

__all__ = ["LOOK_AGAIN", "Turns"]

LOOK_AGAIN = 1.0
"""Seconds after which whoever stands in line looks whether those before it can still go on."""
_SHORTEST_REST = 0.25
_LONGEST_REST = 2.0
"""Seconds for a server to see that somebody has gone."""


class Owner(NamedTuple):
    """Who runs a call."""

    thread: int
    task: weakref.ref[Any] | None
    """`None` for a sync call. Weak: a task that has failed holds its frames, and a stream that one of them forgot."""
    whole: bool
    """The thread reads the answer to its end: what waits in it is called back by the call."""

    def waits_for_itself(self, holder: Owner) -> bool:
        """Whether `holder` cannot go on before this one's call returns: the same task, or code of the same thread.

        Tasks of one thread can go on beside each other; a sync call keeps all of them waiting. But a sync call that
        began in one thread of a pool may go on in another one, as with web frameworks.
        """
        if self.thread != holder.thread:
            return False
        if self.task is None and holder.task is None:
            return holder.whole or self.thread == threading.main_thread().ident
        return None in (self.task, holder.task) or holder.task == self.task


class _Place(NamedTuple):
    who: object
    owner: Owner
    wake: Callable[[], None]
    alive: Callable[[], bool]


class Turns:
    """A line in which threads and tasks stand alike; the first one in it has the turn. Thread-safe.

    In a forked child nobody stands in line: the calls are its parent's.
    """

    def __init__(self) -> None:
        # Reentrant: the garbage collector may end an abandoned call, which leaves, while another one joins.
        self._lock = processes.Lock()
        self.renew()
        processes.renewed_in_child(self)

    def renew(self) -> None:
        """Forget who stands in line."""
        self._line: deque[_Place] = deque()
        self._holder: object | None = None
        self.moves = 0
        """How often the turn has passed on."""
        self._free_at = float("-inf")
        self._asks = False
        self._gap = 0.0
        self._last_piece: float | None = None

    def join(self, who: object, task: object | None, wake: Callable[[], None], alive: Callable[[], bool]) -> bool:
        """Stand in line, on behalf of this thread. `wake` is called, from any thread, when it is the turn of `who`.

        Args:
            who: the call.
            task: the task that runs it; `None` for a sync call.
            alive: whether the call can go on at all; one whose event loop has been closed cannot, and is passed over.

        Returns:
            `False` if the turn is held by a call that cannot go on before this one does; then it is not in line.
        """
        owner = Owner(threading.get_ident(), None if task is None else weakref.ref(task), runs_whole())
        with self._lock:
            self._skip_the_dead()
            if self._line and owner.waits_for_itself(self._line[0].owner):
                return False
            self._line.append(_Place(who, owner, wake, alive))
        self.look()
        return True

    def asks(self) -> None:
        """Whose turn it is asks for an answer: from now on the server is at it, until the answer has `ended`."""
        self._asks, self._gap, self._last_piece = True, 0.0, None

    def ended(self) -> None:
        """The server has ended that answer, or refused to give one."""
        self._asks = False

    def left(self) -> None:
        """That answer is left to the server, which may still be at it."""
        if not self._asks:
            return
        self._asks = False
        known = self._last_piece is not None
        rest = min(max(3 * self._gap, _SHORTEST_REST), _LONGEST_REST) if known else _LONGEST_REST
        self._free_at = time.monotonic() + rest

    def noticed_piece(self) -> None:
        """A piece of that answer has come."""
        now = time.monotonic()
        if self._last_piece is not None:
            self._gap = max(self._gap, now - self._last_piece)
        self._last_piece = now

    def rest(self) -> float:
        """Seconds to wait before a question, though it is one's turn.

        A server sees that a reader has gone when it sends the next piece or two. Only then does it end that answer, and
        with it whatever the client asks meanwhile.
        """
        return max(0.0, self._free_at - time.monotonic())

    def leave(self, who: object) -> None:
        """Go, whether or not it had its turn. If it had, the next one in line is woken."""
        with self._lock:
            if self._holder is who:
                self.left()
            # In place: the garbage collector may let another one leave meanwhile.
            for place in [place for place in self._line if place.who is who]:
                with contextlib.suppress(ValueError):
                    self._line.remove(place)
        self.look()

    def look(self) -> None:
        """Wake whoever is the first now and was not before. Those who cannot go on are passed over."""
        with self._lock:
            self._skip_the_dead()
            first = self._line[0] if self._line else None
            changed = first is not None and first.who is not self._holder
            self._holder = first and first.who
            if changed:
                self.moves += 1
        if changed and first is not None:
            first.wake()

    def _skip_the_dead(self) -> None:
        while self._line and not self._line[0].alive():
            self._line.popleft()
