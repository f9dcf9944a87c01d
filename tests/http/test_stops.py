"""The plan by which a server is asked to stop, without a server."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from lollms_core.http import _stops as stops_module
from lollms_core.http._driver import run
from lollms_core.http._stops import Stops, ask_to_stop


class Task:
    """Who runs a stop."""


class Call:
    """A call whose answer comes in, and does not end."""

    stopping = True

    def __init__(self) -> None:
        self.running = self.reading = True
        self.over = self.aborted = False

    def comes(self, event: Callable[[], bool], within: float) -> bool:
        deadline = time.monotonic() + within
        while not event() and time.monotonic() < deadline:
            time.sleep(0.001)
        return event()

    def wake(self) -> None:
        """It looks often enough."""

    def is_alive(self) -> bool:
        return True

    def goes_on_elsewhere(self) -> bool:
        return False

    def abort(self) -> None:
        self.aborted = self.over = True


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stops_module, "STOP_LIMIT", 0.05)
    monkeypatch.setattr(stops_module, "LAST_LOOK", 0.001)


def test_a_turn_that_never_comes_is_not_waited_for() -> None:
    """Whoever has it may wait for this very call: the garbage collector ends streams in any thread."""
    call, stops, said = Call(), Stops(), list[str]()
    stops.line.join("another", None, lambda: None, lambda: True)
    run(ask_to_stop(call, stops, lambda: said.append("stop"), task=Task()))
    assert (call.aborted, said) == (True, [])


def test_the_word_is_said_once_to_a_server_that_does_not_listen() -> None:
    call, stops, said = Call(), Stops(), list[str]()
    run(ask_to_stop(call, stops, lambda: said.append("stop"), task=None))
    assert (call.aborted, said) == (True, ["stop"])


def test_the_word_is_said_again_where_another_answer_took_it() -> None:
    call, stops, said = Call(), Stops(), list[str]()

    def tell() -> None:
        said.append("stop")
        call.over = len(said) == 2
        stops.one_ended(wanted=True)

    run(ask_to_stop(call, stops, tell, task=None))
    assert (call.aborted, said) == (False, ["stop", "stop"])


@pytest.mark.parametrize("listens", [False, True])
def test_who_waits_is_given_up_only_where_the_server_does_not_listen(listens: bool) -> None:
    """The word may have ended an answer that was not to end: its server listens all the same."""
    stops = Stops()
    first, second, said = Call(), Call(), list[str]()
    plan = ask_to_stop(second, stops, lambda: said.append("second"), task=Task())
    step = next(plan)  # it has begun to wait before the first one gives up

    def tell() -> None:
        said.append("first")
        if listens:
            stops.one_ended(wanted=False)

    run(ask_to_stop(first, stops, tell, task=Task()))
    with pytest.raises(StopIteration):
        while True:
            step = plan.send(step())
    assert said == (["first", "second"] if listens else ["first"])
    assert first.aborted
    assert second.aborted


@pytest.mark.parametrize("lacking", ["running", "reading"])
def test_nothing_is_said_while_the_end_may_lie_unread(lacking: str) -> None:
    call, stops, said = Call(), Stops(), list[str]()
    setattr(call, lacking, False)
    run(ask_to_stop(call, stops, lambda: said.append("stop"), task=None))
    assert (call.aborted, said) == (True, [])


def test_a_question_waits_only_for_answers_that_can_still_end() -> None:
    stops, ending, dead = Stops(), Call(), Call()
    assert stops.patience() == 0.0
    dead.is_alive = lambda: False  # type: ignore[method-assign]
    stops.began(dead)
    assert stops.patience() == 0.0
    stops.began(ending)
    assert 0.0 < stops.patience() <= 2 * stops_module.STOP_LIMIT
    time.sleep(2 * stops_module.STOP_LIMIT)
    assert stops.patience() == 0.0
    stops.began(ending)
    stops.done(ending)
    assert stops.patience() == 0.0
