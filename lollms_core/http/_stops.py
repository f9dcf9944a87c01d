"""How a server is asked to end an answer that is running: written once, for both drivers, as a plan of steps.

A classic LoLLMS server has one flag for everybody. Whoever's next piece finds it ends there; where no answer is
running, the next one of anybody comes out empty. So the word goes out only while the answer runs, once for each answer
that is to end, and never twice at the same time; nor while another answer of the client runs that is wanted. Then the
connection is closed, which harms nobody.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Generator
from typing import Any, Protocol

from lollms_core._bridges import processes
from lollms_core.http._turns import LOOK_AGAIN, Turns

__all__ = ["STOP_LIMIT", "Stops", "ask_to_stop"]

STOP_LIMIT = 2.0
"""Seconds that a server has to end an answer when it is asked to; and before that, to give the first piece of it."""
LAST_LOOK = 0.05
"""Seconds for the end of an answer that is on its way, before the server is asked to stop."""


class Stops:
    """The stop requests of one client, sync and async ones alike."""

    def __init__(self) -> None:
        self.line = Turns()
        self.asking: Callable[[], None] | None = None
        """Wakes the call whose request is out."""
        self.ended = False
        """An answer that was to end has ended since."""
        self.heard = False
        """An answer has ended since, be it another one than those that were to end."""
        self.unheard = float("-inf")
        """When the server had last let the limit pass (`time.monotonic`)."""
        self.moved = float("-inf")
        """When the turn had last passed on."""
        self.renew()
        processes.renewed_in_child(self)
        processes.waited_for(self)

    def renew(self) -> None:
        """Forget which answers there are: in a forked child they are its parent's."""
        self._under_way: dict[Stopping, float] = {}
        self._asked: dict[Stopping, None] = {}

    def asks(self, call: Stopping) -> None:
        """An answer is asked for: until it is `over`, a word that is meant for another one could end it."""
        self._asked[call] = None

    def over(self, call: Stopping) -> None:
        """The call is over. From any thread."""
        self._asked.pop(call, None)

    def would_harm(self) -> bool:
        """Whether an answer is asked for that nobody wants to end."""
        return any(not call.stopping and call.is_alive() for call in list(self._asked))

    def began(self, call: Stopping) -> None:
        """The answer of `call` is to end, and the server may be asked for that until `done`. From any thread."""
        self._under_way[call] = time.monotonic()

    def done(self, call: Stopping) -> None:
        """The server is not asked any more to end the answer of `call`. From any thread."""
        self._under_way.pop(call, None)

    def is_busy(self) -> bool:
        """Whether a server is about to be told something by another thread."""
        return any(call.goes_on_elsewhere() for call in list(self._under_way))

    def patience(self) -> float:
        """Seconds for which a new question should wait at most: it could take a word that is meant for another answer.

        0.0 as soon as no such word is under way.
        """
        if not self._under_way:
            return 0.0
        alive = [began for call, began in list(self._under_way.items()) if call.is_alive()]
        return max(0.0, max(alive, default=float("-inf")) + 2 * STOP_LIMIT - time.monotonic())

    def one_ended(self, wanted: bool) -> None:
        """An answer of the client has ended; `wanted`: it was to end. From any thread."""
        self.heard = True
        if not wanted:
            return
        self.ended = True
        if (wake := self.asking) is not None:
            wake()


class Stopping(Protocol):
    """A call whose answer is to end. See `SyncCall`."""

    running: bool
    reading: bool
    stopping: bool
    over: bool

    def comes(self, event: Callable[[], bool], within: float) -> Any: ...
    def wake(self) -> None: ...
    def is_alive(self) -> bool: ...
    def goes_on_elsewhere(self) -> bool: ...
    def abort(self) -> None: ...


def ask_to_stop(
    call: Stopping, stops: Stops, tell: Callable[[], Any], *, task: object | None, look: bool = True
) -> Generator[Callable[[], Any], Any, None]:
    """Ask the server to end the answer of `call` as soon as that is safe; abort the call if the answer does not end.

    Args:
        call: it has been stopped, and is being read on.
        stops: those of its client.
        tell: sends the word, and ignores what comes of it.
        task: who runs this; `None` for a thread.
        look: whether the end can be here already, only not read.
    """
    began = time.monotonic()

    def comes(event: Callable[[], bool], within: float) -> Callable[[], Any]:
        return functools.partial(call.comes, event, within)

    # An answer of which nothing has come may not be running: a server may take the word for the next one's. And what
    # has come and was not read may have its end behind it: where its reader does not read on, `comes` does.
    if not (yield comes(lambda: (call.running and call.reading) or call.over, STOP_LIMIT)):
        call.abort()
        return
    its_turn = False

    def begin() -> None:
        nonlocal its_turn
        its_turn, stops.moved = True, time.monotonic()
        call.wake()

    stops.line.join(begin, task, begin, call.is_alive)
    try:
        while not (its_turn or call.over):
            if not (yield comes(lambda: its_turn or call.over, min(LOOK_AGAIN, STOP_LIMIT))):
                stops.line.look()
                # Whoever has the turn may wait for this call: the garbage collector ends streams in any thread.
                if time.monotonic() > max(began, stops.moved) + 3 * STOP_LIMIT:
                    break
        while its_turn and not call.over and stops.unheard < began:
            if look and (yield comes(lambda: call.over, LAST_LOOK)):
                break
            if stops.would_harm():
                break  # whichever answer has its next piece first would take the word
            stops.asking, stops.ended, stops.heard = call.wake, False, False
            yield tell
            # It may have been the answer of another call that is to end; then the word is still to be said for this.
            if not (yield comes(lambda: call.over or stops.ended, STOP_LIMIT)):
                if not stops.heard:
                    stops.unheard = time.monotonic()
                break  # another answer of ours may have taken the word, and a second one might take a third answer
    finally:
        if its_turn:
            stops.asking = None
        stops.line.leave(begin)
    if not call.over:
        call.abort()
