"""One after another: for servers that end one client's answer when another answer of that client ends."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

__all__ = ["Turns"]


class Owner(NamedTuple):
    """Who runs a call."""

    thread: int
    task: object | None
    """`None` for a sync call."""

    def waits_for_itself(self, holder: Owner) -> bool:
        """Whether `holder` cannot go on before this one's call returns: the same task, or code of the same thread."""
        return self.thread == holder.thread and (holder.task is None or holder.task is self.task)


class Turns:
    """A line in which threads and tasks stand alike; the first one in it has the turn. Thread-safe."""

    def __init__(self) -> None:
        # Reentrant: the garbage collector may end an abandoned call, which leaves, while another one joins.
        self._lock = threading.RLock()
        self._line: deque[tuple[object, Owner, Callable[[], None]]] = deque()

    def join(self, who: object, task: object | None, wake: Callable[[], None]) -> bool:
        """Stand in line, on behalf of this thread. `wake` is called, from any thread, when it is the turn of `who`.

        Args:
            who: the call.
            task: the task that runs it; `None` for a sync call.

        Returns:
            `False` if the turn is held by a call that cannot go on before this one does; then it is not in line.
        """
        owner = Owner(threading.get_ident(), task)
        with self._lock:
            if self._line and owner.waits_for_itself(self._line[0][1]):
                return False
            self._line.append((who, owner, wake))
            first = self._line[0][0] is who
        if first:
            wake()
        return True

    def leave(self, who: object) -> None:
        """Go, whether or not it had its turn. If it had, the next one in line is woken."""
        with self._lock:
            had_it = bool(self._line) and self._line[0][0] is who
            self._line = deque(place for place in self._line if place[0] is not who)
            following = self._line[0][2] if had_it and self._line else None
        if following is not None:
            following()
