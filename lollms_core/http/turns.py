"""One after another: for servers that end one client's answer when another answer of that client ends."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any

__all__ = ["Turns"]


class Turns:
    """A line in which threads and tasks stand alike; the first one in it has the turn. Thread-safe."""

    def __init__(self) -> None:
        # Reentrant: the garbage collector may end an abandoned call, which leaves, while another one joins.
        self._lock = threading.RLock()
        self._line: deque[tuple[object, object, Callable[[], None]]] = deque()

    def join(self, who: object, owner: object, wake: Callable[[], None]) -> bool:
        """Stand in line. `wake` is called, from any thread, once or twice, when it is the turn of `who`.

        Args:
            who: the call.
            owner: the thread or task in which it runs.

        Returns:
            `False` if the turn is held by a call of the same owner, who would wait for itself; then it is not in line.
        """
        with self._lock:
            if self._line and self._line[0][1] == owner:
                return False
            self._line.append((who, owner, wake))
            first = self._line[0][0] is who
        if first:
            wake()
        return True

    def leave(self, who: Any) -> None:
        """Go, whether or not it had its turn. The next one in line is woken."""
        with self._lock:
            self._line = deque(place for place in self._line if place[0] is not who)
            following = self._line[0][2] if self._line else None
        if following is not None:
            following()
